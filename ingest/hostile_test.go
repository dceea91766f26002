package ingest

import (
	"bytes"
	"crypto/md5" //nolint:gosec // the protocol's
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/klauspost/compress/zlib"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/ingest/deliver"
	"vedette/ingest/secure"
)

// sealed is a unit whose plaintext the test makes itself.
func (c *client) sealed(counted string, pad int) []byte {
	sum := md5.Sum([]byte(counted))
	var z bytes.Buffer
	w, err := zlib.NewWriterLevel(&z, zlib.BestCompression)
	if err != nil {
		c.b.t.Fatal(err)
	}
	_, _ = w.Write([]byte(hex.EncodeToString(sum[:]) + counted))
	if pad > 0 {
		_, _ = w.Write(bytes.Repeat([]byte("a"), pad))
	}
	_ = w.Close()
	return secure.SealCompressed(nil, c.key, c.method, c.id, z.Bytes())
}

func TestABombOfZerosIsRefusedAndCounted(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	// 32 MiB in less than one unit.
	u := b.agent().sealed("123450000000001:0001:1:x:y", 32<<20)
	if len(u) > secure.MaxUnit {
		t.Fatalf("the bomb takes %d bytes", len(u))
	}
	c := b.agent() // making it has taken longer than a stranger may be silent
	c.raw(u)
	c.ends("a bomb")
	b.wait("it is counted", func() bool { return b.closedFor(string(reasonTooLong)) == 1 }) // the peer sees the end first
}

func TestHugeCountersAreTakenAsTheyAre(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	c := b.agent()
	c.raw(c.sealed("655359999999999:9999:#!-agent startup ", 0))
	if got, _ := c.answer(); got != "#!-agent ack " {
		t.Errorf("%q", got)
	}
	c.raw(c.sealed("00000000000000a:0001:1:x:y", 0))
	c.ends("counters that are none")
	b.wait("it is counted", func() bool { return b.closedFor(string(reasonCounters)) == 1 }) // the peer sees the end first
}

func TestWrongKeysAtSpeedKeepNobodyOut(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *Config) { c.Limits.Strangers, c.Limits.StrangerGrace = 64, 100*time.Millisecond })
	const tries = 300
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range tries {
			c := b.dial("001", "ag1", "wrong")
			c.send("#!-agent startup ")
		}
	}()
	c := b.agent()
	for range 50 {
		c.expect("#!-agent startup ", "#!-agent ack ")
	}
	<-done
	b.wait("all are refused", func() bool {
		return testutil.ToFloat64(b.g.m.units.WithLabelValues(string(reasonKey)))+testutil.ToFloat64(b.g.m.units.WithLabelValues(string(reasonInflate)))+
			b.closedFor("too_many_strangers") >= tries
	})
	c.expect(keepalive, "#!-agent ack ")
}

// A connection that has shown one agent's key cannot speak for another.
func TestACopiedIDDoesNotTakeAConnectionOver(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.reg.put("002", "ag2", "any", "key-2")
	victim := b.dial("002", "ag2", "key-2")
	victim.expect("#!-agent startup ", "#!-agent ack ")
	thief := b.agent()
	thief.expect("#!-agent startup ", "#!-agent ack ")
	thief.id = "002" // its own key under the victim's id
	thief.send("1:x:y")
	thief.ends("a copied id")
	fresh := b.dial("001", "ag1", "key-1")
	fresh.id = "002"
	fresh.send("#!-agent startup ")
	fresh.ends("a copied id from the start")
	victim.expect(keepalive, "#!-agent ack ")
	b.wait("it is counted", func() bool { return b.closedFor(string(reasonOther)) == 1 }) // the peer sees the end first
}

// A peer that reads nothing holds up neither other agents' files nor answers.
func TestASlowReaderHoldsUpNobody(t *testing.T) {
	t.Parallel()
	// More than the kernel's buffers take, and nothing that could be compressed.
	noise := make([]byte, 2<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(' ' + rng.UintN(90))
	}
	fg := &fakeGroups{text: map[string]string{"default": "#default\n" + string(noise)}}
	b := startWith(t, deliver.Services{Groups: fg}, func(c *Config) { c.Limits.WriteTimeout = 10 * time.Second; c.Limits.OutBytes = 64 << 10 })
	const slow = deliver.PushWorkers + 2
	for i := range slow {
		id := fmt.Sprintf("%03d", 100+i)
		b.reg.put(id, "slow"+id, "any", "key-"+id)
		c := b.dial(id, "slow"+id, "key-"+id)
		_ = c.c.SetReadBuffer(4096)
		c.send("#!-agent startup ")
		c.send(sumKeepalive("x"))
	}
	good := b.agent()
	good.expect("#!-agent startup ", "#!-agent ack ")
	good.send(sumKeepalive("x"))
	if got := good.file(); got != fg.text["default"] {
		t.Errorf("%d bytes", len(got))
	}
	b.wait("the slow are let go", func() bool { return b.closedFor("write_failed") == slow })
	if _, ok := b.reg.Presence("100"); !ok {
		t.Error("the slow agents were never known")
	}
}
