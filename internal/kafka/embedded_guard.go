package kafka

import (
	"fmt"
	"log/slog"
	"os"
	"syscall"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"vedette/internal/datadir"
	"vedette/internal/retry"
)

// guard refuses writes that the disk would not keep. The broker itself does not
// look: it goes on acknowledging into files that were removed, and a write that
// fails half way can leave records that it has refused. Producers hold refused
// records and send them again, so agents wait meanwhile.
type guard struct {
	check func() error // of the whole data directory
	log   *slog.Logger
	warn  retry.Log

	// Of the goroutine that handles requests.
	path   string      // of the broker's log
	opened os.FileInfo // path, as it was at the start
	links  uint64      // most links of path: one for each partition's folder on most file systems
	loose  bool        // topics were deleted, so links may fall
}

func newGuard(path string, check func() error, log *slog.Logger) (*guard, error) {
	opened, err := os.Stat(path)
	return &guard{check: check, log: log, path: path, opened: opened}, err
}

// watch lets the guard see every write of the broker.
func (g *guard) watch(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		err := g.err()
		if err == nil {
			return nil, nil, false
		}
		if skipped, due := g.warn.Due(); due {
			g.log.Error("the embedded broker refuses writes; senders hold their records until it takes them again", "err", err, "not_logged", skipped)
		}
		return refuse(r.(*kmsg.ProduceRequest), err), nil, true
	})
	c.ControlKey(int16(kmsg.DeleteTopics), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		g.loose = true
		return nil, nil, false
	})
}

func (g *guard) err() error {
	now, err := os.Stat(g.path)
	if err != nil || !os.SameFile(now, g.opened) {
		return fmt.Errorf("%w: %s", datadir.ErrGone, g.path)
	}
	if st, ok := now.Sys().(*syscall.Stat_t); ok && !g.loose {
		links := uint64(st.Nlink)
		if links < g.links {
			return fmt.Errorf("%w: folders of partitions in %s are missing", datadir.ErrGone, g.path)
		}
		g.links = links
	}
	return g.check()
}

// refuse answers a write with an error after which clients send it again.
func refuse(req *kmsg.ProduceRequest, cause error) kmsg.Response {
	text := cause.Error()
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.ErrorMessage = p.Partition, kerr.KafkaStorageError.Code, &text
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}
