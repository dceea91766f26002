package logring

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

func texts(r *Ring) (out []string) {
	for _, l := range r.Lines() {
		out = append(out, l.Level.String()+" "+l.Text)
	}
	return out
}

func TestTheNewestLinesAreKept(t *testing.T) {
	t.Parallel()
	r := New()
	if got := r.Lines(); len(got) != 0 {
		t.Fatalf("an empty ring has %v", got)
	}
	log := slog.New(r.Handler(slog.DiscardHandler, slog.LevelDebug))
	if log.Enabled(t.Context(), slog.LevelError) {
		t.Fatal("the ring takes lines that the log does not")
	}
	log = slog.New(r.Handler(slog.NewTextHandler(&bytes.Buffer{}, nil), slog.LevelDebug))
	for _, n := range []int{1, 2, 3, Lines, Lines + 1, 2*Lines + 5} {
		*r = Ring{}
		for i := range n {
			log.Info(fmt.Sprint(i))
		}
		got := r.Lines()
		if len(got) != min(n, Lines) {
			t.Fatalf("of %d lines %d are kept, want %d", n, len(got), min(n, Lines))
		}
		for i, l := range got {
			if l.Text != fmt.Sprint(n-1-i) {
				t.Fatalf("of %d lines the one at %d is %s, want %d", n, i, l.Text, n-1-i)
			}
		}
	}
}

func TestALineHasItsAttributesLevelAndPackage(t *testing.T) {
	t.Parallel()
	r, out := New(), &bytes.Buffer{}
	next := slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelInfo})
	log := slog.New(r.Handler(next, slog.LevelInfo))
	log.Debug("not enabled")
	log.With("node", "n 1").WithGroup("g").With("k", "v").Warn("it failed", "err", errors.New("a=b"), slog.Group("in", "x", 1), slog.Group("", "y", ""), "z", true)
	log.Info("plain")
	want := []string{"INFO plain", `WARN it failed node="n 1" g.k=v g.err="a=b" g.in.x=1 g.y="" g.z=true`}
	if got := texts(r); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the lines are %q, want %q", got, want)
	}
	if got := r.Lines()[0].Package; got != "internal/logring" {
		t.Errorf("the package is %q, want internal/logring", got)
	}
	if !strings.Contains(out.String(), "it failed") || strings.Contains(out.String(), "not enabled") {
		t.Errorf("the log itself got %q", out)
	}
	// Lines below the level go to the log only.
	slog.New(r.Handler(next, slog.LevelWarn)).Info("request")
	if got := texts(r); len(got) != 2 || !strings.Contains(out.String(), "request") {
		t.Errorf("the lines are %q, want no request, and the log %q with one", got, out)
	}
}

func TestALineIsBounded(t *testing.T) {
	t.Parallel()
	r := New()
	log := slog.New(r.Handler(slog.NewTextHandler(&bytes.Buffer{}, nil), slog.LevelInfo))
	log.Info(strings.Repeat("ä", lineBytes), "k", "v")
	log.Info("x"+strings.Repeat("ä", lineBytes), "k", "v")
	for _, l := range r.Lines() {
		if len(l.Text) > lineBytes || len(l.Text) < lineBytes-4 || !utf8.ValidString(l.Text) {
			t.Errorf("a line has %d bytes, valid: %v; want about %d", len(l.Text), utf8.ValidString(l.Text), lineBytes)
		}
	}
}

func TestManyMayWriteAndRead(t *testing.T) {
	t.Parallel()
	r := New()
	log := slog.New(r.Handler(slog.NewTextHandler(&bytes.Buffer{}, nil), slog.LevelInfo))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range Lines {
				log.Info("x")
				if i%50 == 0 && len(r.Lines()) == 0 {
					t.Error("a written line is not there")
					return
				}
			}
		})
	}
	wg.Wait()
	if n := len(r.Lines()); n != Lines {
		t.Errorf("%d lines are kept, want %d", n, Lines)
	}
}
