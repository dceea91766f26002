package literal

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// check compares a Scan with a search for each text.
func check(t *testing.T, texts []string, subject string) {
	t.Helper()
	s := New(texts)
	var h Hits
	s.Scan(strings.Join(texts, "\x00"), &h) // must be cleared
	s.Scan(subject, &h)
	if n := len(h.List); n > len(texts) {
		t.Errorf("%d hits", n)
	}
	for i, text := range texts {
		want := len(text) >= Min && strings.Contains(subject, text)
		got := h.Found[i/64]>>(i%64)&1 == 1
		if got != want || got != slices.Contains(h.List, int32(i)) {
			t.Errorf("%q in %q: %v, want %v", text, subject, got, want)
		} else if first := strings.Index(subject, text); got && (int(h.At[i]) != first && int(h.At[i]) != first-1) {
			t.Errorf("%q in %q at %d, want %d", text, subject, h.At[i], first)
		}
	}
}

func TestScanFindsWhatContainsFinds(t *testing.T) {
	t.Parallel()
	texts := []string{"failed password", "password", "accepted", "short", "tiny", "aaaaaaa", "aaaaaaaaa", "ssword for", "1234567", "12345678", "123456789", "", "password"}
	for _, subject := range []string{
		"", "fail", "failed password for root", "xfailed password", "aaaaaaa", "aaaaaa", "baaaaaaaaa", "x12345678", "123456789", "x1234567", "12345678", "accepte", "accepted", " accepted", "short",
	} {
		check(t, texts, subject)
	}
	var many []string
	for i := range 3000 {
		many = append(many, fmt.Sprintf("text number %d", i))
	}
	check(t, many, "a text number 17 and a text number 2999; text number")
}

func FuzzScanAgreesWithContains(f *testing.F) {
	f.Add("failed password|accepted|aaaaa", "xx accepted password failed password")
	f.Add("abcde|bcdef|cdefg", "zabcdefgh")
	f.Fuzz(func(t *testing.T, texts, subject string) {
		check(t, strings.Split(texts, "|"), subject)
	})
}
