package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHistoryIsKeptBetweenSessions(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state", "history")
	h := openHistory(path)
	for i := range historyMax + 5 {
		h.Add(fmt.Sprintf("line %d", i))
	}
	h.Add("last")
	h.Add("last")            // repeated
	h.Add("")                // empty
	h.Add("steers \x1b[31m") // controls
	h.Add("a\ttab")
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second reading is of a file rewritten
		h = openHistory(path)
		if h.Len() != historyMax || h.At(0) != "a\ttab" || h.At(1) != "last" || h.At(2) != fmt.Sprintf("line %d", historyMax+4) {
			t.Errorf("%d lines: %q, %q, %q", h.Len(), h.At(0), h.At(1), h.At(2))
		}
		if err := h.close(); err != nil {
			t.Fatal(err)
		}
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	data, err := os.ReadFile(path)
	if err != nil || strings.Count(string(data), "\n") != historyMax {
		t.Errorf("the file has %d lines, %v", strings.Count(string(data), "\n"), err)
	}
}

func TestHistoryDoesWithoutAFile(t *testing.T) {
	t.Parallel()
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", filepath.Join(blocked, "history")} {
		h := openHistory(path)
		h.Add("one")
		h.Add("two")
		if h.Len() != 2 || h.At(0) != "two" || h.close() != nil {
			t.Errorf("path %q: %v", path, h.lines)
		}
	}
}

func TestLineEditor(t *testing.T) {
	t.Parallel()
	const up, enter, end = "\x1b[A", "\r", "\x04"
	typed := "one" + enter + // a line
		enter + // nothing: asked again
		"a\tb" + enter + // a tab is typed
		"\x1b[200~pasted\ttab" + enter + "\x1b[201~" + // and pasted
		up + up + "!" + enter + // the line before the last, edited
		strings.Repeat("x", promptLineMax+10) + enter + // longer than the editor takes
		"last" + enter + end
	out, err := os.Create(filepath.Join(t.TempDir(), "out")) // no terminal: it has no size
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var shown bytes.Buffer
	h := openHistory("")
	e := &lineEditor{in: out, out: out, history: h, t: editing(struct {
		io.Reader
		io.Writer
	}{strings.NewReader(typed), &shown}, "> ", h)}
	got, err := io.ReadAll(e)
	if err != nil {
		t.Fatal(err)
	}
	if want := "one\na\tb\npasted\ttab\na\tb!\nlast\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !strings.Contains(shown.String(), "Not judged: a line typed or pasted here ends at 4096 characters") {
		t.Error("nothing is said of a line that was cut")
	}
}
