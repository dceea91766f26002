// Package logring keeps the newest log lines of this process, for people who ask
// for them over the API.
package logring

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"
)

const (
	// Lines bounds the lines that are kept; the oldest make room.
	Lines = 2000
	// lineBytes bounds the text of one line; the rest is cut.
	lineBytes = 4 << 10
)

// Line is one log line.
type Line struct {
	Time  time.Time
	Level slog.Level
	// Package is the package that wrote the line, such as ingest/listen; empty if
	// it is not of this program.
	Package string
	// Text is the message and its attributes, as message key=value, at most 4 KiB.
	Text string
}

// Ring holds the newest lines. It is safe for concurrent use.
type Ring struct {
	mu    sync.Mutex
	lines []Line
	next  int // where the next line goes once the ring is full
}

// New returns an empty ring.
func New() *Ring { return &Ring{} }

// Lines returns the lines that are kept, the newest first.
func (r *Ring) Lines() []Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Line, 0, len(r.lines))
	for i := range r.lines {
		out = append(out, r.lines[(r.next-1-i+2*len(r.lines))%len(r.lines)])
	}
	return out
}

func (r *Ring) add(l Line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) < Lines {
		r.lines = append(r.lines, l)
		return
	}
	r.lines[r.next] = l
	r.next = (r.next + 1) % Lines
}

// Handler returns a handler that gives every line to next, and keeps those from a
// level on that next takes.
func (r *Ring) Handler(next slog.Handler, from slog.Level) slog.Handler {
	return &handler{ring: r, next: next, from: from}
}

type handler struct {
	ring  *Ring
	next  slog.Handler
	from  slog.Level
	attrs string // of WithAttrs, as text
	group string // of WithGroup, with a dot behind each
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, rec slog.Record) error {
	if rec.Level >= h.from {
		var b strings.Builder
		b.WriteString(rec.Message)
		b.WriteString(h.attrs)
		rec.Attrs(func(a slog.Attr) bool {
			write(&b, h.group, a)
			return b.Len() < lineBytes
		})
		text := b.String()
		if len(text) > lineBytes {
			text = strings.ToValidUTF8(text[:lineBytes], "")
		}
		h.ring.add(Line{Time: rec.Time, Level: rec.Level, Package: packageOf(rec.PC), Text: text})
	}
	return h.next.Handle(ctx, rec)
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	b.WriteString(h.attrs)
	for _, a := range attrs {
		write(&b, h.group, a)
	}
	out := *h
	out.next, out.attrs = h.next.WithAttrs(attrs), b.String()
	return &out
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	out := *h
	out.next = h.next.WithGroup(name)
	if name != "" {
		out.group += name + "."
	}
	return &out
}

// write appends an attribute as key=value, a group's members each with the names
// of the groups around them.
func write(b *strings.Builder, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, x := range v.Group() {
			write(b, group, x)
		}
		return
	}
	if a.Key == "" {
		return
	}
	text := v.String()
	if text == "" || strings.ContainsAny(text, " \t\n\r\"=") {
		text = fmt.Sprintf("%q", text)
	}
	fmt.Fprintf(b, " %s%s=%s", group, a.Key, text)
}

const module = "vedette/"

// packageOf returns the package of this program that holds a program counter.
func packageOf(pc uintptr) string {
	if pc == 0 {
		return ""
	}
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	name, ours := strings.CutPrefix(frame.Function, module)
	if !ours {
		return ""
	}
	dir, last := "", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		dir, last = name[:i+1], name[i+1:]
	}
	last, _, _ = strings.Cut(last, ".")
	return dir + last
}
