package kafka

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"vedette/internal/datadir"
)

// The embedded broker forgets where a partition ends once retention has removed
// its last record and the process starts anew: offsets would begin at 0 again,
// where commits, alert ids and the history mean other records. So the ends are
// noted while the broker runs, and handed to it in the form it reads before it
// starts (TestAnEmptyPartitionKeepsItsPlace holds the form).

const (
	// endsEvery is how often ends are noted. Retention takes nothing that is
	// younger than a minute, less a quarter for events that come late.
	endsEvery = 10 * time.Second
	// snapshotVersion is the version of the broker's snapshots of partitions.
	snapshotVersion = 1
)

// ends are the ends of the partitions that were ever written to, by the name of
// their folder.
type ends map[string]int64

func endsFile(dir string) string      { return filepath.Join(dir, "kafka-ends.json") }
func partitionsDir(dir string) string { return filepath.Join(dir, "kafka", "partitions") }

// partitionFolders lists the folders of partitions.
func partitionFolders(dir string) ([]string, error) {
	entries, err := os.ReadDir(partitionsDir(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// readEnds returns the noted ends; none when nothing is noted.
func readEnds(dir string) (ends, error) {
	raw, err := os.ReadFile(endsFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return ends{}, nil
	}
	e := ends{}
	if err == nil {
		err = json.Unmarshal(raw, &e)
	}
	return e, err
}

// restoreEnds has the broker begin the partitions without any record where they ended.
func restoreEnds(dir string) error {
	noted, err := readEnds(dir)
	if err != nil {
		return err
	}
	names, err := partitionFolders(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := restoreEnd(filepath.Join(partitionsDir(dir), name), noted[name]); err != nil {
			return fmt.Errorf("partition %s: %w", name, err)
		}
	}
	return nil
}

// restoreEnd writes an empty segment at the end of a partition without a record,
// and a snapshot that knows of it.
func restoreEnd(folder string, end int64) error {
	segments, err := filepath.Glob(filepath.Join(folder, "*.dat"))
	if err != nil {
		return err
	}
	for _, s := range segments {
		if whole, err := beginsWithBatch(s); err != nil || whole {
			return err // the broker finds the end itself
		}
	}
	snapshot := map[string]any{"epoch": 0, "created_at": time.Now().UTC()}
	path := filepath.Join(folder, "snapshot.json")
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default: // written at the last end in order
		var was struct {
			HighWatermark int64 `json:"high_watermark"`
		}
		if err := json.Unmarshal(raw, &was); err != nil {
			return err
		}
		if err := json.Unmarshal(raw, &snapshot); err != nil {
			return err
		}
		end = max(end, was.HighWatermark)
	}
	if end == 0 {
		return nil
	}
	for _, s := range segments {
		if err := os.Remove(s); err != nil {
			return err
		}
		if err := os.Remove(strings.TrimSuffix(s, ".dat") + ".idx"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	maps.Copy(snapshot, map[string]any{
		"version": snapshotVersion, "high_watermark": end, "last_stable_offset": end, "log_start_offset": end,
		"segments": []any{map[string]any{"base_offset": end, "size": 0}},
	})
	delete(snapshot, "aborted_txns")
	if raw, err = json.Marshal(snapshot); err != nil {
		return err
	}
	if err := datadir.WriteFile(filepath.Join(folder, strconv.FormatInt(end, 10)+".dat"), nil, 0o600); err != nil {
		return err
	}
	return datadir.WriteFile(path, raw, 0o600)
}

// beginsWithBatch reports whether a segment holds at least one batch. A batch
// that a crash has cut short was never acknowledged, and the broker drops it.
func beginsWithBatch(segment string) (bool, error) {
	f, err := os.Open(segment)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	var head [12]byte // base offset, length of the rest
	if _, err := io.ReadFull(f, head[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
		return false, err
	}
	return info.Size() >= int64(len(head))+int64(binary.BigEndian.Uint32(head[8:])), nil
}

// noteEnds writes down where partitions end, at once and then as they grow,
// until stop is closed. It retries failed writes.
func noteEnds(cluster *kfake.Cluster, dir string, log *slog.Logger, stop <-chan struct{}) {
	tick := time.NewTicker(endsEvery)
	defer tick.Stop()
	var noted ends
	for {
		now, err := endsOf(cluster, dir)
		if err == nil && !maps.Equal(now, noted) {
			var raw []byte
			if raw, err = json.Marshal(now); err == nil {
				err = datadir.WriteFile(endsFile(dir), raw, 0o600)
			}
			if err == nil {
				noted = now
			}
		}
		if err != nil {
			log.Error("the ends of partitions cannot be noted; one that retention empties would begin anew after a restart", "err", err)
		}
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}

func endsOf(cluster *kfake.Cluster, dir string) (ends, error) {
	names, err := partitionFolders(dir)
	if err != nil {
		return nil, err
	}
	e := ends{}
	for _, name := range names {
		at := strings.LastIndexByte(name, '-')
		if at < 0 {
			continue
		}
		topic, err := url.PathUnescape(name[:at])
		partition, perr := strconv.ParseInt(name[at+1:], 10, 32)
		if err = errors.Join(err, perr); err != nil {
			continue // none of the broker's
		}
		if info := cluster.PartitionInfo(topic, int32(partition)); info != nil && info.HighWatermark > 0 {
			e[name] = info.HighWatermark
		}
	}
	return e, nil
}
