package replay

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// stateMagic begins the file of a State, and names its form.
const stateMagic = "vedette replay state 2\n"

// Bounds of a state that is read: its lanes, and its size in bytes.
const (
	stateLanesMax = 100_000
	stateFileMax  = 64 << 30
)

// stateBytesMax bounds the state of one engine in one lane.
const stateBytesMax = 1 << 30

// State is where an interrupted replay goes on.
type State struct {
	// Source, Ruleset and Against must equal the values of the replay that goes
	// on; so must Workers for a file, whose lanes they are.
	Source, Ruleset, Against string
	Workers                  int
	Kept                     Kept
	// OutBytes is how long the file of alerts was.
	OutBytes int64
	Refused  map[string]int64
	Lanes    []LaneState
}

// Kept holds results that a continued replay must not work out anew.
type Kept struct {
	// Request names all else that must be as it was.
	Request string
	// Range holds times that were given as back from now.
	Range Range
	// Agents are those that were in the groups.
	Agents []string
	// Unjudged are the records that the workers had not judged, by partition.
	Unjudged map[int32]int64
}

// LaneState is the state of one lane.
type LaneState struct {
	At Place
	// Begun says that it was judged in part, and has states; Done that it has ended.
	Begun, Done    bool
	State, Against []byte
	// Seen is the memory of sources that repeat themselves.
	Seen  []byte
	Tally Tally
}

// Tally holds the counts of a lane.
type Tally struct {
	Tally tally
	Times histogram
}

func (t *Tally) restore() *tally {
	n := newTally()
	n.merge(&t.Tally, samplesMax)
	n.times = t.Times
	return n
}

// save takes the state of an interrupted replay.
func save(o *Options, runs []*run, refused map[string]int64) (*State, error) {
	s := &State{Source: o.Source.Name(), Ruleset: o.Ruleset.Version, Workers: o.Workers, Kept: o.Kept, Refused: refused}
	if o.Against != nil {
		s.Against = o.Against.Version
	}
	if f, ok := o.Out.(*FileSink); ok {
		s.OutBytes = f.Size()
	}
	for _, r := range runs {
		l := LaneState{At: r.lane.At(), Done: r.done, Tally: Tally{*r.tally, r.tally.times}}
		switch {
		case r.kept != nil: // it did not go on this time
			l.Begun, l.State, l.Against, l.Seen = r.kept.Begun, r.kept.State, r.kept.Against, r.kept.Seen
		case r.state != nil:
			l.Begun, l.Seen = true, r.seen.AppendSnapshot(nil)
			var err error
			if l.State, err = r.state.AppendSnapshot(nil, stateBytesMax); err != nil {
				return nil, fmt.Errorf("keep the state of the replay: %w", err)
			}
			if r.against != nil {
				if l.Against, err = r.against.AppendSnapshot(nil, stateBytesMax); err != nil {
					return nil, fmt.Errorf("keep the state of the replay: %w", err)
				}
			}
		}
		s.Lanes = append(s.Lanes, l)
	}
	return s, nil
}

func (s *State) places() []Place {
	out := make([]Place, len(s.Lanes))
	for i := range s.Lanes {
		out[i] = s.Lanes[i].At
	}
	return out
}

// Fits tells why a state is not one of this replay.
func (s *State) Fits(o *Options) error {
	against := ""
	if o.Against != nil {
		against = o.Against.Version
	}
	switch {
	case s.Kept.Request != o.Kept.Request:
		return errors.New("it was another command: " + s.Kept.Request)
	case s.Ruleset != o.Ruleset.Version || s.Against != against:
		return errors.New("a ruleset has changed since; begin anew")
	}
	return nil
}

// Write keeps the state in a file, which it replaces whole.
func (s *State) Write(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".replay-*")
	if err != nil {
		return fmt.Errorf("keep the state of the replay: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	sum := sha256.New()
	body := io.MultiWriter(w, sum)
	_, err = io.WriteString(body, stateMagic)
	if err == nil {
		err = gob.NewEncoder(body).Encode(s)
	}
	if err == nil {
		_, err = w.Write(sum.Sum(nil))
	}
	if err == nil {
		err = w.Flush()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("keep the state of the replay: %w", err)
	}
	return nil
}

// ReadState reads the file of Write; nil if there is no such file.
func ReadState(path string) (*State, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("resume: %w", err)
	}
	defer f.Close()
	s, err := readState(f)
	if err != nil {
		return nil, fmt.Errorf("resume: %s is not the state of a replay of this version: %w", path, err)
	}
	return s, nil
}

// errDamaged reports that a file is not in the form of Write.
var errDamaged = errors.New("it is another file, or damaged")

// readState reads a state whose sum is right. gob can take for ever over one
// that was damaged.
func readState(r io.ReadSeeker) (*State, error) {
	size, err := r.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = r.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, err
	}
	if size < int64(len(stateMagic)+sha256.Size) || size > stateFileMax {
		return nil, errDamaged
	}
	magic, sum, want := make([]byte, len(stateMagic)), sha256.New(), make([]byte, sha256.Size)
	body := io.TeeReader(io.LimitReader(r, size-sha256.Size), sum)
	if _, err := io.ReadFull(body, magic); err != nil || string(magic) != stateMagic {
		return nil, errDamaged
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(r, want); err != nil || !bytes.Equal(want, sum.Sum(nil)) {
		return nil, errDamaged
	}
	if _, err := r.Seek(int64(len(stateMagic)), io.SeekStart); err != nil {
		return nil, err
	}
	s := &State{}
	if err := gob.NewDecoder(bufio.NewReaderSize(io.LimitReader(r, size), 1<<20)).Decode(s); err != nil {
		return nil, err
	}
	switch {
	case len(s.Lanes) == 0 || len(s.Lanes) > stateLanesMax || s.Workers < 1 || s.Workers > stateLanesMax || s.OutBytes < 0:
		return nil, errors.New("its numbers make no sense")
	}
	for i := range s.Lanes {
		if p := &s.Lanes[i].At; p.Partition < 0 || p.Begin < 0 || p.Next < p.Begin {
			return nil, errors.New("its numbers make no sense")
		}
	}
	return s, nil
}
