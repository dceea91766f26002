package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Bounds of the prompt.
const (
	historyMax = 1000
	// historyBytesMax is the largest file of history that is read.
	historyBytesMax = 8 << 20
	// promptLineMax is the longest line that the line editor takes, in
	// characters; it drops longer ones without a word.
	promptLineMax = 4096
)

// lineEditor reads lines at a terminal, with editing and history. It is an
// io.Reader of the lines and an io.Writer of the text printed between them.
type lineEditor struct {
	in, out *os.File // for the mode and the size
	t       *term.Terminal
	old     *term.State
	history *history
	line    []byte // read and not yet given out
}

// newLineEditor puts the terminal into raw mode, until close.
func newLineEditor(in, out *os.File, prompt string, h *history) (*lineEditor, error) {
	old, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("set up the terminal: %w", err)
	}
	rw := struct {
		io.Reader
		io.Writer
	}{in, out}
	return &lineEditor{in: in, out: out, t: editing(rw, prompt, h), old: old, history: h}, nil
}

// editing reads lines from a terminal in raw mode.
func editing(rw io.ReadWriter, prompt string, h *history) *term.Terminal {
	t := term.NewTerminal(rw, prompt)
	t.History = h
	// Else the tabs of pasted logs would be lost.
	t.SetBracketedPasteMode(true)
	t.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		if key != '\t' {
			return "", 0, false
		}
		return line[:pos] + "\t" + line[pos:], pos + 1, true
	}
	return t
}

func (e *lineEditor) close() error {
	e.t.SetBracketedPasteMode(false)
	return errors.Join(term.Restore(int(e.in.Fd()), e.old), e.history.close())
}

func (e *lineEditor) Write(p []byte) (int, error) { return e.t.Write(p) }

func (e *lineEditor) Read(p []byte) (int, error) {
	for len(e.line) == 0 {
		if w, h, err := term.GetSize(int(e.out.Fd())); err == nil && w > 0 {
			_ = e.t.SetSize(w, h) // the window may have changed; a wrong size only looks odd
		}
		line, err := e.t.ReadLine()
		if err != nil && !errors.Is(err, term.ErrPasteIndicator) {
			return 0, err
		}
		if utf8.RuneCountInString(line) >= promptLineMax {
			fmt.Fprintf(e.t, "Not judged: a line typed or pasted here ends at %d characters; give longer ones on standard input.\n", promptLineMax)
			continue
		}
		if line != "" {
			e.line = append([]byte(line), '\n')
		}
	}
	n := copy(p, e.line)
	e.line = e.line[n:]
	return n, nil
}

// history keeps the last lines, oldest first, in memory and in a file. A file
// that cannot be read or written is done without.
type history struct {
	lines []string
	file  *os.File
}

// openHistory reads the file at path, if it can, and keeps it short.
func openHistory(path string) *history {
	h := &history{}
	if path == "" || os.MkdirAll(filepath.Dir(path), 0o700) != nil {
		return h
	}
	if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Size() <= historyBytesMax {
		if data, err := os.ReadFile(path); err == nil {
			for line := range bytes.Lines(data) {
				h.keep(string(bytes.TrimRight(line, "\r\n")))
			}
		}
	}
	// Rewritten each time, so that it never grows by more than one session.
	next, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600: logs can be secret
	if err != nil {
		return h
	}
	if len(h.lines) > 0 {
		_, err = next.WriteString(strings.Join(h.lines, "\n") + "\n")
	}
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		_ = os.Remove(next.Name())
		return h
	}
	if f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o600); err == nil {
		h.file = f
	}
	return h
}

// historyPath is the history file of that name in the user's state directory, or
// "".
func historyPath(what string) string {
	dir := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "vedette", what)
}

// keep adds a line to memory and tells whether it is worth keeping: not empty,
// not the last one again, and without controls, which would steer the terminal.
func (h *history) keep(line string) bool {
	if line == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return false
	}
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return false
	}
	if len(h.lines) == historyMax {
		h.lines = append(h.lines[:0], h.lines[1:]...)
	}
	h.lines = append(h.lines, line)
	return true
}

// Add, Len and At are the methods that the line editor calls; At(0) is the
// newest.
func (h *history) Add(line string) {
	if h.keep(line) && h.file != nil {
		_, _ = h.file.WriteString(line + "\n") // only convenience is lost
	}
}

func (h *history) Len() int { return len(h.lines) }

func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }

func (h *history) close() error {
	if h.file == nil {
		return nil
	}
	return h.file.Close()
}
