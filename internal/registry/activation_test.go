package registry

import (
	"bytes"
	"errors"
	"testing"

	"vedette/internal/kafka/kafkatest"
	"vedette/schemas"
)

// announcement is the one that a process with these formats writes.
func announcement(name string, formats schemas.Formats) schemas.Node {
	return schemas.Node{V: 1, Name: name, Roles: []string{"api"}, Registry: formats}
}

func formatsWith(kind schemas.ProposalKind, format int) schemas.Formats {
	f := schemas.KnownFormats()
	f[kind] = format
	return f
}

func TestAFormatIsWrittenOnlyAfterItsActivation(t *testing.T) {
	t.Parallel()
	cluster, box := kafkatest.New(t), testBox(t, 7)
	young, _ := startWith(t, cluster, box, "young", 0, later)
	other, _ := startWith(t, cluster, box, "other", 0)
	ready(t, young)
	ready(t, other)
	// The older node is there first: a new registry would begin with all formats.
	if err := other.AddGroup(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the newer node reads the first records", func() bool { return young.GroupExists("first") })
	// Before the activation, the newest format that all nodes read is written.
	if err := young.AddGroup(t.Context(), "early"); err != nil {
		t.Fatalf("add a group before the activation: %v", err)
	}
	if err := other.RemoveGroup(t.Context(), "early"); err != nil {
		t.Errorf("the older node does not know the group: %v", err)
	}
	nodes := []schemas.Node{
		announcement("young", formatsWith(schemas.ProposalGroupAdd, 2)),
		announcement("other", schemas.KnownFormats()),
		announcement("analyze1", nil), // reads no registry
	}
	_, err := young.Activate(t.Context(), nodes, nil)
	missing := new(MissingError)
	if !errors.As(err, &missing) || len(missing.Nodes) != 1 || missing.Nodes[0].Node != "other" {
		t.Fatalf("activation while a node lacks the format: %v; it must name that node only", err)
	}
	if got := missing.Nodes[0].Lacks; len(got) != 1 || got[0] != schemas.ProposalGroupAdd {
		t.Errorf("the node is said to lack %q", got)
	}
	if isHalted(other) {
		t.Fatal("a refused activation stopped the older node")
	}
	done, err := young.Activate(t.Context(), nodes, []string{"other"})
	if err != nil || done[schemas.ProposalGroupAdd] != 2 || len(done) != 1 {
		t.Fatalf("activation without the node: %v, %v", done, err)
	}
	if again, err := young.Activate(t.Context(), nodes, nil); err != nil || len(again) != 0 {
		t.Errorf("a second activation: %v, %v; nothing is left to activate", again, err)
	}
	eventually(t, "the older node stops", func() bool { return isHalted(other) })
}

func TestANewRegistryBeginsWithAllFormats(t *testing.T) {
	t.Parallel()
	cluster, box := kafkatest.New(t), testBox(t, 7)
	r, _ := startWith(t, cluster, box, "young", 0, later)
	ready(t, r)
	if err := r.AddGroup(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if left := r.Inactive(); len(left) != 0 {
		t.Errorf("these formats are not active: %v", left)
	}
	if got := r.Status().Offset; got != 1 {
		t.Errorf("the last record is at offset %d; the activation and the group take 0 and 1", got)
	}
}

func TestAGatewayThatAnnouncesNothingIsMissing(t *testing.T) {
	t.Parallel()
	cluster, box := kafkatest.New(t), testBox(t, 7)
	r, _ := startWith(t, cluster, box, "young", 0, later)
	ready(t, r)
	for id, p := range map[string]schemas.Presence{
		"001": {State: schemas.StateActive, Gateway: "gone-by"},
		"002": {State: schemas.StateDisconnected, Gateway: "left-long-ago"},
		"003": {State: schemas.StatePending, Gateway: "young"},
	} {
		p.V, p.ID = schemas.PresenceVersion, id
		rec, err := p.Record()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.prod.ProduceSync(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "three presences are read", func() bool {
		r.mu.RLock()
		defer r.mu.RUnlock()
		return len(r.presences) == 3
	})
	_, err := r.Activate(t.Context(), []schemas.Node{announcement("young", formatsWith(schemas.ProposalGroupAdd, 2))}, nil)
	missing := new(MissingError)
	if !errors.As(err, &missing) || len(missing.Nodes) != 1 || missing.Nodes[0].Node != "gone-by" || missing.Nodes[0].Announced != nil {
		t.Errorf("activation beside a gateway of an earlier program: %v; it must name gone-by only", err)
	}
}

// All nodes alike refuse a proposal that breaks the rule.
func TestTheStateRefusesAFormatThatIsNotActive(t *testing.T) {
	t.Parallel()
	s := NewState()
	p := schemas.Proposal{V: 2, ID: "00000000000000000000000000000001", Kind: schemas.ProposalGroupAdd, GroupAdd: &schemas.GroupName{Name: "web"}}
	if out := s.Apply(&p, "", 0); out.Refusal == nil || out.Refusal.Reason != ReasonNotActive {
		t.Errorf("a format that is not active: %+v", out.Refusal)
	}
	before := s.AppendBinary(nil)
	if before[0] != formFirst {
		t.Errorf("a state without activations has the form %d; earlier programs read form %d", before[0], formFirst)
	}
	s.Apply(&schemas.Proposal{V: 1, ID: "00000000000000000000000000000002", Kind: schemas.ProposalActivate, Activate: &schemas.Activate{Formats: schemas.Formats{schemas.ProposalGroupAdd: 2}}}, "", 1)
	p.ID = "00000000000000000000000000000003"
	if out := s.Apply(&p, "", 2); out.Refusal != nil {
		t.Errorf("an active format: %+v", out.Refusal)
	}
	b := s.AppendBinary(nil)
	again, err := DecodeState(b)
	if err != nil || b[0] != formActivation || !bytes.Equal(again.AppendBinary(nil), b) || again.format(schemas.ProposalGroupAdd) != 2 {
		t.Errorf("the activation does not survive a snapshot: form %d, %v", b[0], err)
	}
}

// A snapshot with formats that a program does not read is not used by it: the next
// one it wrote would lack their content.
func TestASnapshotOfLaterFormatsIsNotUsed(t *testing.T) {
	t.Parallel()
	cluster, box := kafkatest.New(t), testBox(t, 7)
	young, _ := startWith(t, cluster, box, "young", 0, later)
	ready(t, young)
	writeLater(t, young, "founded")
	for i := range 2 { // the second cuts the log behind the first
		addAgents(t, young, i, i+1)
		if _, err := young.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if logStart(t, cluster, schemas.TopicRegistry) == 0 {
		t.Fatal("the log was not cut, so that this test shows nothing")
	}
	old, _ := startWith(t, cluster, box, "old", 0)
	eventually(t, "the older node says why it cannot start", func() bool { return errors.Is(old.Err(), ErrNewer) })
	select {
	case <-old.Ready():
		t.Error("the older node is ready")
	default:
	}
}
