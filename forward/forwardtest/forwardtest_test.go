package forwardtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"vedette/forward"
	"vedette/internal/retry"
	"vedette/schemas"
)

// memory is a correct destination with its receiver; faults makes it a wrong one.
type memory struct {
	mu     sync.Mutex
	got    map[string]int
	refuse int
	busy   time.Duration
	hang   chan struct{} // closed: answers
	asked  chan struct{}
	once   *sync.Once
	faults string
	queue  []schemas.Alert
}

func (m *memory) Ready(context.Context) error {
	if m.faults == "not ready" {
		return errors.New("not ready")
	}
	return nil
}

func (m *memory) Deliver(ctx context.Context, alerts []schemas.Alert) ([]forward.Failure, error) {
	if err := ctx.Err(); err != nil {
		if m.faults == "deaf" {
			return nil, nil
		}
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hang != nil {
		m.once.Do(func() { close(m.asked) })
		select {
		case <-m.hang:
		case <-ctx.Done():
			if m.faults == "optimist" {
				return nil, nil
			}
			return nil, ctx.Err()
		}
	}
	if m.busy > 0 {
		wait := m.busy
		m.busy = 0
		err := errors.New("busy")
		if m.faults == "impatient" {
			return nil, err
		}
		return nil, &retry.After{Err: err, Wait: wait}
	}
	var fs []forward.Failure
	for i := range alerts {
		if m.refuse > 0 && i == 2 {
			m.refuse--
			switch m.faults {
			case "forgetful":
				return fs, nil
			case "quitter":
				return []forward.Failure{{Index: i, Reason: "refused"}}, &forward.Partial{Done: len(alerts), Err: errors.New("down")}
			case "liar":
				return fs, &forward.Partial{Done: 4, Err: errors.New("down")}
			case "wild":
				return fs, &forward.Partial{Done: 99, Err: errors.New("down")}
			case "stuck":
				m.refuse++
				return nil, errors.New("down")
			}
			return fs, &forward.Partial{Done: i, Err: errors.New("down")}
		}
		key := string(alerts[i].Document)
		switch {
		case m.faults == "doubling":
			key = fmt.Sprint(len(m.got))
		case m.faults == "leaky" && i == 5:
			continue
		case m.faults == "picky" && i == 5:
			fs = append(fs, forward.Failure{Index: i, Reason: "refused"})
			continue
		case m.faults == "miscounting" && i == 5:
			fs = append(fs, forward.Failure{Index: 1000})
			continue
		case m.faults == "lazy":
			m.queue = append(m.queue, alerts[i])
			continue
		}
		m.got[key]++
	}
	if m.faults == "strict" && len(alerts) == 0 {
		return nil, errors.New("nothing to do")
	}
	return fs, nil
}

func (m *memory) Close() error { return nil }

func subject(faults string) Subject {
	m := &memory{got: map[string]int{}, faults: faults}
	return Subject{
		Destination: m,
		Count: func(testing.TB) int {
			m.mu.Lock()
			defer m.mu.Unlock()
			return len(m.got)
		},
		Refuse: func(n int) { m.refuse = n },
		Busy:   func(d time.Duration) { m.busy = d },
		Hang: func() (<-chan struct{}, func()) {
			m.hang, m.asked, m.once = make(chan struct{}), make(chan struct{}), &sync.Once{}
			return m.asked, func() { close(m.hang) }
		},
	}
}

func TestACorrectDestinationPasses(t *testing.T) {
	t.Parallel()
	Run(t, func(*testing.T) Subject { return subject("") })
}

// recorder is a test that only notes its failures.
type recorder struct {
	testing.TB
	mu   sync.Mutex
	said []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func TestAnAuthorLearnsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for faults, want := range map[string]string{
		"strict":      "Deliver refused 0 good alerts",
		"not ready":   "Ready of a fresh destination",
		"doubling":    "tell repeats by their ID",
		"leaky":       "Deliver must return nil only when the receiver has every alert",
		"picky":       "sends a good alert to the dead letter topic",
		"miscounting": "Index is the place in the alerts of this call",
		"deaf":        "after its context ended; the offset would be committed",
		"optimist":    "while the receiver had not answered",
		"forgetful":   "while the receiver refused a request for a while",
		"quitter":     "sends a good alert to the dead letter topic",
		"liar":        "Deliver must return nil only when the receiver has every alert",
		"wild":        "a Partial with Done 99 for 10 alerts",
		"stuck":       "still returns an error after 20 tries",
		"impatient":   "return a *retry.After",
		"lazy":        "after Close; alerts are taken when Deliver returns",
	} {
		r := &recorder{TB: t}
		for _, c := range tests {
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				c.run(r, subject(faults))
			}()
			<-ended
		}
		if all := strings.Join(r.said, "\n"); !strings.Contains(all, want) {
			t.Errorf("a destination that is %s is told:\n%s\nwant a message with %q", faults, all, want)
		}
	}
}

func TestAlertsOfASeriesHoldTheirCoordinates(t *testing.T) {
	t.Parallel()
	for i, a := range Series("s", 3) {
		var d struct {
			Vedette struct {
				TopicID string `json:"topic_id"`
				Offset  int    `json:"offset"`
			} `json:"vedette"`
		}
		if err := json.Unmarshal(a.Document, &d); err != nil || schemas.AlertDocID(d.Vedette.TopicID, 0, int64(d.Vedette.Offset), 0) != a.ID {
			t.Errorf("alert %d has the id %s and the coordinates %+v (%v); want the same", i, a.ID, d.Vedette, err)
		}
	}
}
