package registry

import (
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/internal/kafka/kafkatest"
	"vedette/schemas"
)

// later makes r a node of a later program, which knows a newer format of group.add.
func later(r *Registry) { r.formats[schemas.ProposalGroupAdd] = 2 }

// writeLater activates the newer format at r and writes a record of it.
func writeLater(t *testing.T, r *Registry, group string) {
	t.Helper()
	if _, err := r.Activate(t.Context(), nil, nil); err != nil {
		t.Fatalf("activate the newer format: %v", err)
	}
	if err := r.AddGroup(t.Context(), group); err != nil {
		t.Fatalf("write a record of the newer format: %v", err)
	}
}

func isHalted(r *Registry) bool { return errors.Is(r.Err(), ErrNewer) }

// An old node and a new one share a registry. The old one must neither lose the
// record that it does not know, nor let others lose it.
func TestANodeStopsAtARecordOfALaterProgram(t *testing.T) {
	t.Parallel()
	cluster, box := kafkatest.New(t), testBox(t, 7)
	old, stopOld := startWith(t, cluster, box, "old", 20)
	young, _ := startWith(t, cluster, box, "young", 0, later)
	ready(t, old)
	ready(t, young)
	addAgents(t, old, 0, 15)
	same(t, young, old)
	written := testutil.ToFloat64(old.m.snapshots)

	writeLater(t, young, "founded")
	eventually(t, "the old node stops", func() bool { return isHalted(old) })
	if msg := old.Err().Error(); !strings.Contains(msg, string(schemas.ProposalGroupAdd)) || !strings.Contains(msg, `"young"`) {
		t.Errorf("the message names neither the record nor the node to follow: %s", msg)
	}
	before := old.Status().Offset
	addAgents(t, young, 15, 60) // far more than lie between two snapshots of the old node
	eventually(t, "the new node goes on", func() bool { return young.Status().Agents == 60 })

	if s := old.Status(); s.Offset != before || s.Agents != 15 {
		t.Errorf("the old node went on: offset %d, was %d; %d agents", s.Offset, before, s.Agents)
	}
	if _, ok := old.AgentByName("agent3"); !ok {
		t.Error("the old node forgot an agent that it knew")
	}
	if _, err := old.Add(t.Context(), AddRequest{Name: "late"}); !errors.Is(err, ErrNewer) {
		t.Errorf("the old node proposes: %v", err)
	}
	if _, err := old.Snapshot(t.Context()); !errors.Is(err, ErrNewer) || old.snapshotDue() || testutil.ToFloat64(old.m.snapshots) != written {
		t.Errorf("the old node writes a snapshot: %v", err)
	}
	if start := logStart(t, cluster, schemas.TopicRegistry); start != 0 {
		t.Errorf("the log was cut at %d", start)
	}
	if testutil.ToFloat64(old.m.halted) != 1 {
		t.Error("no metric says that the node has stopped reading")
	}

	// The upgrade of the old node. Its snapshots and cuts hold the record.
	stopOld()
	for range 2 {
		if _, err := young.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		addAgents(t, young, young.Status().Agents, young.Status().Agents+3)
	}
	upgraded, _ := startWith(t, cluster, box, "old", 0, later)
	ready(t, upgraded)
	same(t, young, upgraded)
	upgraded.mu.RLock()
	_, kept := upgraded.state.groups["founded"]
	upgraded.mu.RUnlock()
	if !kept {
		t.Error("what the record said is lost")
	}
}

// A node that is started beside newer ones reads up to the record, says why, and
// leaves all as it is.
func TestAnOldNodeStartsBesideNewerOnes(t *testing.T) {
	t.Parallel()
	cluster, box := kafkatest.New(t), testBox(t, 7)
	young, _ := startWith(t, cluster, box, "young", 0, later)
	ready(t, young)
	r, stop := startWith(t, cluster, box, "before", 0)
	ready(t, r)
	addAgents(t, r, 0, 3)
	stop()
	writeLater(t, young, "founded")
	addAgents(t, young, 3, 5)
	old, _ := startWith(t, cluster, box, "old", 1)
	ready(t, old)
	if !isHalted(old) {
		t.Fatalf("the old node does not say that it stopped: %v", old.Err())
	}
	if s := old.Status(); s.Agents != 3 {
		t.Errorf("%d agents, three stand in front of the record", s.Agents)
	}
	if old.snapshotDue() {
		t.Error("the old node is about to write a snapshot")
	}
}
