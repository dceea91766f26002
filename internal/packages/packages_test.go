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

	"vedette/internal/blobs"
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

// chunks returns how many chunks the topic blobs ever got.
func chunks(t *testing.T, cluster *kafka.Cluster) int64 {
	t.Helper()
	r, err := cluster.Ranges(t.Context(), schemas.TopicBlobs)
	if err != nil {
		t.Fatalf("no range of the topic blobs: %v", err)
	}
	return r[0].End
}

// holds waits until a store knows of n packages.
func holds(t *testing.T, s *Store, n int) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); len(s.named()) != n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the store knows of %d packages, want %d", len(s.named()), n)
		}
	}
}

func TestAPackageIsWrittenOnceAndReadWholeElsewhere(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	a, b := open(t, cluster, 1), open(t, cluster, 1)
	data := testPackage(1, 2*schemas.MaxFileChunkBytes+17)
	u := put(t, a, data)
	put(t, b, data)
	if n := chunks(t, cluster); n != 3 {
		t.Errorf("%d chunks were written for two puts of one package, want 3", n)
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
	s.wait = 10 * time.Millisecond
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

func TestABrokenPackageIsCompletedByTheNextPut(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	s := open(t, cluster, 1)
	data := testPackage(1, 2*schemas.MaxFileChunkBytes)
	u := put(t, s, data)
	// Its chunks are gone, as when the topic was made anew.
	broken := schemas.Blob{Owner: schemas.BlobPackage, Content: schemas.Content{SHA256: u.SHA256, Size: u.Size}, First: 100, Last: 101, Time: time.Now()}
	if err := s.files.Put(t.Context(), broken.Record()); err != nil {
		t.Fatalf("the record is not written: %v", err)
	}
	if _, err := s.Package(t.Context(), u); !errors.Is(err, ErrMissing) {
		t.Errorf("a package that is gone gives %v, want ErrMissing", err)
	}
	put(t, s, data)
	if got, err := s.Package(t.Context(), u); err != nil || !bytes.Equal(got, data) {
		t.Errorf("after another put it has %d bytes and the error %v", len(got), err)
	}
}

func TestAPackageThatIsOrderedAMomentTooEarlyIsAwaited(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	a, b := open(t, cluster, 1), open(t, cluster, 1)
	b.wait = 2 * time.Minute
	data := testPackage(1, 100)
	got := make(chan []byte, 1)
	go func() {
		c := blobs.ContentOf(data)
		d, err := b.Package(t.Context(), &schemas.AgentUpgrade{SHA256: c.SHA256, Size: c.Size})
		if err != nil {
			t.Errorf("the package is not given: %v", err)
		}
		got <- d
	}()
	put(t, a, data)
	if d := <-got; !bytes.Equal(d, data) {
		t.Errorf("the package has %d bytes, want %d", len(d), len(data))
	}
}

func TestOldPackagesAndTooManyGo(t *testing.T) {
	t.Parallel()
	s := open(t, kafkatest.New(t), 1)
	select {
	case <-s.files.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("the store does not become ready")
	}
	old := schemas.Package{File: "old.wpk", SHA256: fmt.Sprintf("%064x", 1), Size: 3, Node: "n1", Time: time.Now().Add(-25 * time.Hour)}
	rec, err := old.Record()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.files.Put(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	holds(t, s, 1)
	first := put(t, s, testPackage(0, 10))
	holds(t, s, 1)
	if named := s.named(); named[0].SHA256 != first.SHA256 {
		t.Errorf("%s stayed, want the new package", named[0].SHA256)
	}
	for i := range uint64(keptMax) {
		put(t, s, testPackage(1+i, 10))
	}
	holds(t, s, keptMax)
	for _, c := range s.named() {
		if c.SHA256 == first.SHA256 {
			t.Error("the oldest of too many packages stayed")
		}
	}
}
