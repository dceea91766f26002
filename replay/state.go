package replay

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// stateVersion is the version of the form of State.
const stateVersion = 1

// stateBytesMax bounds the state of one engine in one lane.
const stateBytesMax = 1 << 30

// State is where an interrupted replay goes on.
type State struct {
	Version int
	// Source, Ruleset, Against and Workers must be those of the replay that goes on.
	Source, Ruleset, Against string
	Workers                  int
	Refused                  map[string]int64
	Lanes                    []LaneState
}

// LaneState is the state of one lane.
type LaneState struct {
	Index          int
	At             Position
	State, Against []byte
	Tally          Tally
}

// Tally is what a lane has counted.
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
func save(o *Options, lanes []Lane, runs []*run, refused map[string]int64) (*State, error) {
	s := &State{Version: stateVersion, Source: o.Source.Name(), Ruleset: o.Ruleset.Version, Workers: o.Workers, Refused: refused}
	if o.Against != nil {
		s.Against = o.Against.Version
	}
	for i, r := range runs {
		l := LaneState{Index: i, At: lanes[i].At(), Tally: Tally{*r.tally, r.tally.times}}
		var err error
		if l.State, err = r.state.AppendSnapshot(nil, stateBytesMax); err != nil {
			return nil, err
		}
		if r.against != nil {
			if l.Against, err = r.against.AppendSnapshot(nil, stateBytesMax); err != nil {
				return nil, err
			}
		}
		s.Lanes = append(s.Lanes, l)
	}
	return s, nil
}

// Fits tells why a state is not one of this replay.
func (s *State) Fits(o *Options) error {
	against := ""
	if o.Against != nil {
		against = o.Against.Version
	}
	switch {
	case s.Source != o.Source.Name():
		return fmt.Errorf("it was a replay of %s", s.Source)
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
	err = gob.NewEncoder(f).Encode(s)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("keep the state of the replay: %w", err)
	}
	return nil
}

// ReadState reads what Write wrote; nil if there is no such file.
func ReadState(path string) (*State, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("resume: %w", err)
	}
	defer f.Close()
	s := &State{}
	if err := gob.NewDecoder(io.LimitReader(f, 64<<30)).Decode(s); err != nil || s.Version != stateVersion {
		return nil, fmt.Errorf("resume: %s is not the state of a replay of this version (%v)", path, err)
	}
	return s, nil
}
