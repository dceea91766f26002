package engine

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestASnapshotCoversEveryField fails when a field is added to the engine's state,
// so that its author decides whether a snapshot must hold it.
func TestASnapshotCoversEveryField(t *testing.T) {
	t.Parallel()
	f := func(v any, names string) {
		t.Helper()
		var got []string
		for i := range reflect.TypeOf(v).NumField() {
			got = append(got, reflect.TypeOf(v).Field(i).Name)
		}
		if want := strings.Fields(names); !slices.Equal(got, want) {
			t.Errorf("%T has the fields %v, the snapshot knows %v: extend AppendSnapshot and RestoreState, then this list", v, got, want)
		}
	}
	// Only keys outlive an event; the others are scratch space and caches.
	f(Keyed{}, "keys scratch decoding modules matching history document res")
	// bytes follows from the keys, evicted is a counter for people.
	f(keyStore{}, "limits byName newest oldest bytes evicted")
	f(keyState{}, "key next prev now firings memory firsts lastLogs accumulator")
	f(firings{}, "fired firedHour ignored")
	f(memory{}, "queues bySid byGroup events bytes seq")
	f(firsts{}, "firstSeen firstOrder lastKeys")
	f(lastLogs{}, "diffs diffOrder")
	f(accumulator{}, "acc accLookups")
	// dropped events are left out, seq is their order.
	f(remembered{}, "at mark agentID fullLog dropped category log location located static few dynamics fields rule seq")
	f(accumulation{}, "at values set")
	f(diffKey{}, "rule host")
	f(rememberedField{}, "id text")
	f(value{}, "text low set lowered")
}

func TestASnapshotOfAnotherRulesetIsRefused(t *testing.T) {
	t.Parallel()
	one, two := testProgram(t), testProgram(t)
	one.Version, two.Version = "one", "two"
	s := New(one, Config{}).NewState()
	b, err := s.AppendSnapshot(nil, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(two, Config{}).RestoreState(b); !errors.Is(err, ErrSnapshotForeign) {
		t.Errorf("err = %v", err)
	}
	two.Version, two.FieldIDs = "one", map[string]int{"x": 0}
	if _, err := New(two, Config{}).RestoreState(b); !errors.Is(err, ErrSnapshotForeign) {
		t.Errorf("the same version with other numbers: err = %v", err)
	}
	if _, err := New(one, Config{}).RestoreState(append(b, 0)); !errors.Is(err, ErrSnapshotBroken) {
		t.Errorf("a byte too many: err = %v", err)
	}
}
