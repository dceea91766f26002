package indexer

import (
	"log/slog"
	"testing"

	"vedette/forward/forwardtest"
	"vedette/internal/store"
	"vedette/internal/store/embedded"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	forwardtest.Run(t, func(t *testing.T) forwardtest.Subject {
		cfg := embedded.Default()
		cfg.Dir = t.TempDir()
		s, err := embedded.Open(cfg, slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return forwardtest.Subject{Destination: New(s), Count: func(t testing.TB) int {
			p, err := s.Search(t.Context(), store.Query{})
			if err != nil {
				t.Fatal(err)
			}
			return p.Total
		}}
	})
}
