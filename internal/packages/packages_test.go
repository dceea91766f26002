package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	"vedette/internal/secret"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func open(t *testing.T, cluster *kafka.Cluster, key byte) *Store {
	t.Helper()
	box, err := secret.NewBox(bytes.Repeat([]byte{key}, 32))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(cluster, box, fmt.Sprint("n", key), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func testPackage(seed uint64, size int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, size)
	_, _ = r.Read(b)
	return b
}

func put(t *testing.T, s *Store, data []byte) *schemas.AgentUpgrade {
	t.Helper()
	sum, err := s.Put(t.Context(), "x.wpk", data)
	if err != nil {
		t.Fatal(err)
	}
	return &schemas.AgentUpgrade{File: "x.wpk", SHA256: sum, Size: int64(len(data))}
}

// records counts the topic's records of packages: chunks, completions, tombstones.
func records(t *testing.T, s *Store) (chunks, puts, gone int) {
	t.Helper()
	err := s.read(t.Context(), func(rec *schemas.Record, _ string, n int) bool {
		switch {
		case len(rec.Value) == 0:
			gone++
		case n < 0:
			puts++
		default:
			chunks++
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return chunks, puts, gone
}

func TestAPackageIsWrittenOnceAndReadWholeElsewhere(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	a, b := open(t, cluster, 1), open(t, cluster, 1)
	data := testPackage(1, 2*schemas.MaxFileChunkBytes+17)
	u := put(t, a, data)
	put(t, b, data)
	if chunks, puts, gone := records(t, a); chunks != 3 || puts != 2 || gone != 0 {
		t.Errorf("%d chunks, %d, %d", chunks, puts, gone)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := b.Package(t.Context(), u); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	if n := testutil.ToFloat64(b.reads.WithLabelValues("topic")); n != 1 {
		t.Errorf("read %v times", n)
	}
	for seed := range uint64(3) {
		if _, err := b.Package(t.Context(), put(t, a, testPackage(10+seed, 100))); err != nil {
			t.Error(err)
		}
	}
	if len(b.cached) != cachedMax {
		t.Errorf("%d packages in memory", len(b.cached))
	}
}

func TestWhatIsNotWholeIsNotGiven(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	s, stranger := open(t, cluster, 1), open(t, cluster, 2)
	data := testPackage(1, schemas.MaxFileChunkBytes+1)
	u := put(t, stranger, data) // not under this cluster key
	f := func(u schemas.AgentUpgrade, want error) {
		t.Helper()
		if _, err := s.Package(t.Context(), &u); !errors.Is(err, want) {
			t.Errorf("%v", err)
		}
	}
	f(*u, ErrMissing)
	put(t, s, data)
	f(schemas.AgentUpgrade{SHA256: u.SHA256, Size: u.Size - 1}, ErrMissing)
	f(schemas.AgentUpgrade{SHA256: u.SHA256, Size: schemas.MaxPackageBytes + 1}, ErrTooLarge)
	f(schemas.AgentUpgrade{SHA256: u.SHA256}, ErrTooLarge)
	if got, err := s.Package(t.Context(), u); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := s.Put(t.Context(), "x.wpk", nil); !errors.Is(err, ErrEmpty) {
		t.Error(err)
	}
	if _, err := s.Put(t.Context(), "x.wpk", make([]byte, schemas.MaxPackageBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Package(ctx, &schemas.AgentUpgrade{SHA256: "00", Size: 1}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestABrokenPutIsCompletedByTheNextOne(t *testing.T) {
	t.Parallel()
	s := open(t, kafkatest.New(t), 1)
	data := testPackage(1, 2*schemas.MaxFileChunkBytes)
	u := put(t, s, data)
	if err := s.write(t.Context(), []schemas.Record{schemas.PackageTombstone(u.SHA256), schemas.PackageChunk(u.SHA256, 1, nil)}); err != nil {
		t.Fatal(err)
	}
	have, err := s.scan(t.Context())
	if x := have[u.SHA256]; err != nil || x == nil || x.put || len(x.chunks) != 1 {
		t.Fatalf("%+v, %v", have, err)
	}
	put(t, s, data)
	if chunks, _, _ := records(t, s); chunks != 3 {
		t.Errorf("%d chunks written, want two and the one that was gone", chunks)
	}
}

func TestOldPackagesAndTooManyGo(t *testing.T) {
	t.Parallel()
	s := open(t, kafkatest.New(t), 1)
	old := schemas.Package{File: "old.wpk", SHA256: fmt.Sprintf("%064x", 1), Size: 3, Node: "n1", Time: time.Now().Add(-25 * time.Hour)}
	rec, err := old.Record()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.write(t.Context(), []schemas.Record{schemas.PackageChunk(old.SHA256, 0, []byte("abc")), rec}); err != nil {
		t.Fatal(err)
	}
	first := put(t, s, testPackage(0, 10))
	have, err := s.scan(t.Context())
	if err != nil || len(have) != 1 || have[old.SHA256] != nil {
		t.Fatalf("%v, %v", have, err)
	}
	for i := range uint64(keptMax) {
		put(t, s, testPackage(1+i, 10))
	}
	have, err = s.scan(t.Context())
	if err != nil || len(have) != keptMax || have[first.SHA256] != nil {
		t.Errorf("%d packages, %v", len(have), err)
	}
	if got := outdated(map[string]*standing{"x": {chunks: map[int]bool{1: true}, time: time.Now().Add(-26 * time.Hour)}}, time.Now()); len(got) != 2 {
		t.Errorf("%d records take away what was never completed", len(got))
	}
}
