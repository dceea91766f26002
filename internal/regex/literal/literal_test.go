package literal

import (
	"fmt"
	"strings"
	"testing"
)

// check compares a Scan with a search for each text.
func check(t *testing.T, texts []string, subject string) {
	t.Helper()
	s := New(texts)
	hits := make([]uint64, s.Words())
	for i := range hits {
		hits[i] = ^uint64(0) // must be cleared
	}
	at := make([]int32, s.Texts())
	s.Scan(subject, hits, at)
	for i, text := range texts {
		want := len(text) >= Min && strings.Contains(subject, text)
		if got := hits[i/64]>>(i%64)&1 == 1; got != want {
			t.Errorf("%q in %q: %v, want %v", text, subject, got, want)
		} else if first := strings.Index(subject, text); got && (int(at[i]) != first && int(at[i]) != first-1) {
			t.Errorf("%q in %q at %d, want %d", text, subject, at[i], first)
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
