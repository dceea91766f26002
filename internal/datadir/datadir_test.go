package datadir

import (
	"errors"
	"os"
	"testing"
)

func TestASecondHolderIsRefused(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	if err := d.WriteEndpoints(Endpoints{Kafka: "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	if e, err := ReadEndpoints(path); err != nil || e.Kafka != "127.0.0.1:1" || e.PID != os.Getpid() {
		t.Fatalf("%+v, %v", e, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(path); err != nil {
		t.Fatalf("after the holder ended: %v", err)
	}
	if _, err := ReadEndpoints(path); err == nil {
		t.Fatal("the endpoints outlived their process")
	}
	d.Close()
}

func TestASecretIsMadeOnce(t *testing.T) {
	t.Parallel()
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	first, created, err := d.SecretFile("s", func() string { return "one" })
	if err != nil || !created || first != "one" {
		t.Fatal(first, created, err)
	}
	again, created, err := d.SecretFile("s", func() string { return "two" })
	if err != nil || created || again != "one" {
		t.Fatal(again, created, err)
	}
	if st, _ := os.Stat(d.File("s")); st.Mode().Perm() != 0o600 {
		t.Fatal(st.Mode())
	}
}
