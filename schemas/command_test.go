package schemas

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCommandsAndRepliesSurviveTheirRecords(t *testing.T) {
	t.Parallel()
	c := Command{
		ID: "T-0-7-0/block60/001", Kind: CommandResponse, AgentID: "001", Text: `{"a":1}`, Legacy: "block60 - -", Time: 1795309100271, Expires: 1795309160271,
		Origin: "n1", Response: "block60", AlertID: "1795309100.1", RuleID: "5712",
	}
	rec, err := c.Record()
	if err != nil {
		t.Fatal(err)
	}
	goldenFile(t, "command-v1.json", rec)
	got, err := ParseCommand(&rec)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(c, got); d != "" {
		t.Error(d)
	}
	r := c.Reply("gw1", ReplySent, "", time.UnixMilli(1795309100300))
	rrec := r.Record()
	goldenFile(t, "reply-v1.json", rrec)
	back, err := ParseReply(&rrec)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, back); d != "" {
		t.Error(d)
	}
}

func TestCommandsThatNobodyMaySendAreRefused(t *testing.T) {
	t.Parallel()
	good := Command{ID: "x", Kind: CommandControl, AgentID: "001", Text: "force_reconnect", Time: 1, Expires: 2}
	f := func(change func(*Command)) {
		t.Helper()
		c := good
		change(&c)
		if _, err := c.Record(); !errors.Is(err, ErrCommand) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	f(func(c *Command) { c.ID = "" })
	f(func(c *Command) { c.AgentID = "../x" })
	f(func(c *Command) { c.Kind = "other" })
	f(func(c *Command) { c.Text = "" })
	f(func(c *Command) { c.Text = strings.Repeat("x", MaxCommandText+1) })
	f(func(c *Command) { c.Text = "a\x00b" })
	f(func(c *Command) { c.Expires = 0 })
	f(func(c *Command) { c.Kind = CommandUpgrade })
	rec, err := good.Record()
	if err != nil {
		t.Fatal(err)
	}
	rec.Key = []byte("002")
	if _, err := ParseCommand(&rec); !errors.Is(err, ErrCommand) {
		t.Errorf("under another agent's key: %v", err)
	}
}

func FuzzParseCommand(f *testing.F) {
	f.Add([]byte("001"), []byte(`{"v":1,"id":"x","kind":"control","agent_id":"001","text":"force_reconnect","time":1,"expires":2}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		rec := Record{Key: key, Value: value}
		if c, err := ParseCommand(&rec); err == nil {
			if _, err := c.Record(); err != nil {
				t.Errorf("a command that was read cannot be written: %v", err)
			}
		}
		_, _ = ParseReply(&rec)
	})
}

func TestGroupFilesSurviveTheirRecord(t *testing.T) {
	t.Parallel()
	g := GroupFiles{Group: "web", Node: "n1", Time: time.UnixMilli(1795309100271).UTC(), Files: []SharedFile{
		{Path: "agent.conf", Size: 10, SHA256: strings.Repeat("ab", 32)}, {Path: "sub/x", Size: 0, SHA256: strings.Repeat("cd", 32)},
	}}
	rec, err := g.Record()
	if err != nil {
		t.Fatal(err)
	}
	goldenFile(t, "group-files-v1.json", rec)
	got, err := ParseGroupFiles(&rec)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(g, got); d != "" {
		t.Error(d)
	}
}

func TestNoPathLeadsOutOfAGroup(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", ".hidden", "a/.hidden", "merged.mg", "merged.mg.tmp", `a\b`, "a\x00b", "a\nb", strings.Repeat("x", MaxSharedPath+1)} {
		if ValidSharedPath(p) {
			t.Errorf("%q may be shared", p)
		}
	}
	for _, p := range []string{"agent.conf", "sub/d.txt", "a b", "x.mg"} {
		if !ValidSharedPath(p) {
			t.Errorf("%q may not be shared", p)
		}
	}
}

func FuzzParseGroupFiles(f *testing.F) {
	f.Add([]byte("group/web"), []byte(`{"v":1,"group":"web","node":"n","time":1,"files":[]}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		rec := Record{Key: key, Value: value}
		if g, err := ParseGroupFiles(&rec); err == nil && g.Check() != nil {
			t.Error("a list was read that does not hold")
		}
		_, _, _ = SharedChunkOf(key)
	})
}
