package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestASecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	s := String("hunter2")
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "password", s, "in", struct{ P String }{s})
	j, _ := json.Marshal(map[string]any{"p": s, "l": []String{s}})
	for _, out := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %s %q %x %X %d %#v %+v", s, s, s, s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v", struct{ P String }{s}, &struct{ P String }{s}, struct{ P String }{s}),
		string(j), log.String(),
	} {
		if strings.Contains(out, "hunter2") || strings.Contains(out, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("printed: %s", out)
		}
	}
	if s.Reveal() != "hunter2" {
		t.Error("Reveal lost the text")
	}
}

func TestASealedValueOpensOnlyUnderItsKeyPurposeAndData(t *testing.T) {
	t.Parallel()
	a, _ := NewBox(bytes.Repeat([]byte{1}, 32))
	b, _ := NewBox(bytes.Repeat([]byte{2}, 32))
	sealed := a.Seal("agent key", []byte("k"), []byte("id"))
	if got, err := a.Open("agent key", sealed, []byte("id")); err != nil || string(got) != "k" {
		t.Fatal(got, err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"other key":     func() ([]byte, error) { return b.Open("agent key", sealed, []byte("id")) },
		"other purpose": func() ([]byte, error) { return a.Open("user", sealed, []byte("id")) },
		"other data":    func() ([]byte, error) { return a.Open("agent key", sealed, []byte("ie")) },
		"cut":           func() ([]byte, error) { return a.Open("agent key", sealed[:10], []byte("id")) },
		"empty":         func() ([]byte, error) { return a.Open("agent key", nil, []byte("id")) },
	} {
		if _, err := open(); !errors.Is(err, ErrOpen) {
			t.Errorf("%s: err = %v, want ErrOpen", name, err)
		}
	}
	if !a.Verify("registry", []byte("x"), a.MAC("registry", []byte("x"))) ||
		a.Verify("files", []byte("x"), a.MAC("registry", []byte("x"))) ||
		a.Verify("registry", []byte("y"), a.MAC("registry", []byte("x"))) {
		t.Error("MAC does not separate purposes or data")
	}
}

func TestProcessesThatStartTogetherAgreeOnOneKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sub", "cluster.key")
	var wg sync.WaitGroup
	keys := make([][]byte, 8)
	for i := range keys {
		wg.Go(func() {
			k, err := LoadOrCreateKeys(path, nil)
			if err != nil || len(k) != 1 {
				t.Error(err)
				return
			}
			keys[i] = k[0]
		})
	}
	wg.Wait()
	for _, k := range keys {
		if !bytes.Equal(k, keys[0]) || len(k) != KeyBytes {
			t.Fatal("keys differ")
		}
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestABadKeyFileIsRefusedWithoutPrintingIt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "k")
	for _, text := range []string{"", "zz-not-hex", strings.Repeat("ab", 31)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadOrCreateKeys(path, nil)
		if err == nil || (text != "" && strings.Contains(err.Error(), text)) {
			t.Errorf("%q: err = %v", text, err)
		}
	}
	if _, err := NewBox(make([]byte, 31)); err == nil {
		t.Error("short key accepted")
	}
}

func TestAPasswordHoldsEveryClassOfCharacter(t *testing.T) {
	t.Parallel()
	a, b := RandomPassword(20), RandomPassword(20)
	if a == b || len(a) != 20 || len(RandomPassword(1)) != 8 || len(RandomHex(16)) != 32 {
		t.Error("not random, or of another length")
	}
}

func TestAClusterKeyMayBeAnyTextOfEnoughBytes(t *testing.T) {
	t.Parallel()
	f := func(text string, want int) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		keys, err := LoadOrCreateKeys(path, nil)
		if (err == nil) != (want > 0) || want > 0 && (len(keys) != 1 || len(keys[0]) != want) {
			t.Errorf("%d bytes of text give %d keys, want one of %d bytes: %v", len(text), len(keys), want, err)
		}
	}
	f(strings.Repeat("0a", 32)+"\n", 32)
	f("c29tZSBiYXNlNjQgdGV4dCBvZiBlbm91Z2ggYnl0ZXM=\n", 44)
	f(strings.Repeat("0a", 16), 0)
	f("short", 0)
	f("", 0)
	f("c29tZSBiYXNlNjQgdGV4dCBvZiBlbm91Z2ggYnl0ZXM=\nc29tZSBiYXNlNjQgdGV4dCBvZiBlbm91Z2ggYnl0ZXM=\n", 89) // wrapped text
	f(strings.Repeat("0a", 32)+"\nshort\n", 70)
}

func TestAClusterKeyIsReplacedStepByStep(t *testing.T) {
	t.Parallel()
	older, newer := strings.Repeat("0a", 32), strings.Repeat("0b", 32)
	text := "c29tZSBiYXNlNjQgdGV4dCBvZiBlbm91Z2ggYnl0ZXM="
	box := func(lines ...string) *Box {
		t.Helper()
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		keys, err := LoadOrCreateKeys(path, nil)
		if err != nil || len(keys) != len(lines) {
			t.Fatalf("%d keys of %d lines: %v", len(keys), len(lines), err)
		}
		b, err := NewBox(keys[0], keys[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// reads reports whether b reads what a writes.
	reads := func(b, a *Box) bool {
		v := b.Verify("p", []byte("x"), a.MAC("p", []byte("x")))
		_, err := b.Open("p", a.Seal("p", []byte("x"), []byte("ad")), []byte("ad"))
		if v != (err == nil) {
			t.Error("a value verifies and does not open, or the reverse")
		}
		return v
	}
	for _, first := range []string{older, text} {
		before, both, after, done := box(first), box(first, newer), box(newer, first), box(newer)
		for i, ok := range []bool{reads(both, before), reads(before, both), reads(after, both), reads(both, after), reads(after, before), reads(done, after), reads(after, done)} {
			if !ok {
				t.Errorf("step %d: neighbors do not read one another", i)
			}
		}
		if reads(done, before) || reads(before, done) {
			t.Error("a key that is gone still opens")
		}
		if n := after.OldUses(); n != 4 {
			t.Errorf("%d uses of the old key counted", n)
		}
	}
	if _, err := NewBox(make([]byte, 32), make([][]byte, KeysMax)...); err == nil {
		t.Error("any number of keys")
	}
	if _, err := NewBox(make([]byte, 32), make([]byte, 5)); err == nil {
		t.Error("a short older key")
	}
}
