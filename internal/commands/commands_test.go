package commands

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	"vedette/internal/secret"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func testBox(t *testing.T, b byte) *secret.Box {
	t.Helper()
	box, err := secret.NewBox(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func open(t *testing.T, cluster *kafka.Cluster) *Client {
	t.Helper()
	c, err := Open(cluster, testBox(t, 1), "n1", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// answering replies to each command as a gateway would, by fn.
func answering(t *testing.T, cluster *kafka.Cluster, fn func(c *schemas.Command) []schemas.Reply) {
	t.Helper()
	p, err := cluster.NewProducer("gateway", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	f := cluster.Follow(schemas.TopicCommands, slog.New(slog.DiscardHandler), func(rec schemas.Record) {
		c, err := schemas.ParseCommand(&rec)
		if err != nil {
			return
		}
		for _, r := range fn(&c) {
			p.Produce(r.Record(), nil)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; p.Close() })
}

func TestWhoAsksGetsTheWholeAnswerAndTheListAPart(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	c := open(t, cluster)
	long := strings.Repeat("x", 10*textMax)
	answering(t, cluster, func(c *schemas.Command) []schemas.Reply {
		return []schemas.Reply{
			c.Reply("gw1", schemas.ReplyProgress, "on its way", time.Now()), c.Reply("gw1", schemas.ReplyAnswered, long, time.Now()),
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := c.Do(ctx, schemas.Command{Kind: schemas.CommandRequest, AgentID: "001", Text: "agent getstate", Origin: "wazuh"})
	if err != nil || r.Text != long || r.Status != schemas.ReplyAnswered {
		t.Fatalf("%s %v", r.Status, err)
	}
	var got []Order
	for len(got) == 0 || got[0].Given.IsZero() { // the two topics are read side by side
		if ctx.Err() != nil {
			t.Fatalf("%+v", got)
		}
		got = c.Recent(10, nil)
		time.Sleep(5 * time.Millisecond)
	}
	o := got[0]
	if len(got) != 1 || o.AgentID != "001" || o.Origin != "wazuh" || o.Node != "gw1" || len(o.Text) != textMax || !o.Final(time.Now()) {
		t.Errorf("%d orders, %+v", len(got), o)
	}
}

func TestAnOrderThatNobodySendsIsListedAndEndsWithItsTime(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	c := open(t, cluster)
	if err := c.Give(t.Context(), schemas.Command{Kind: schemas.CommandControl, AgentID: "002", Text: "force_reconnect"}); err != nil {
		t.Fatal(err)
	}
	// One that was not made under this key is not told of.
	forged := schemas.Command{ID: "forged", Kind: schemas.CommandControl, AgentID: "002", Text: "force_reconnect", Time: 1, Expires: 2}
	rec, err := forged.Record()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := cluster.NewProducer("stranger", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.ProduceSync(t.Context(), Seal(testBox(t, 2), rec)); err != nil {
		t.Fatal(err)
	}
	if err := c.Give(t.Context(), schemas.Command{Kind: schemas.CommandControl, AgentID: "002", Text: "force_reconnect"}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(2 * time.Minute); len(c.Recent(10, nil)) < 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the orders are not listed")
		}
	}
	got := c.Recent(10, nil)
	if len(got) != 2 || got[0].ID == "forged" || got[1].ID == "forged" {
		t.Fatalf("%+v", got)
	}
	if o := got[0]; o.Status != "" || o.Final(time.Now()) || !o.Final(time.Now().Add(2*DefaultExpiry)) {
		t.Errorf("%+v", o)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Do(ctx, schemas.Command{Kind: schemas.CommandRequest, AgentID: "003", Text: "a b"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestOnlyTheNewestOrdersAreRemembered(t *testing.T) {
	t.Parallel()
	var s orders
	for i := range ordersMax + 3 {
		s.given(&schemas.Command{ID: fmt.Sprint(i), AgentID: "001"})
	}
	s.replied(&schemas.Reply{CommandID: fmt.Sprint(ordersMax + 1), AgentID: "001", Status: schemas.ReplySent})
	got := s.recent(2, nil)
	if len(s.ring) != ordersMax || len(s.byID) != ordersMax || got[0].ID != fmt.Sprint(ordersMax+2) || got[1].Status != schemas.ReplySent {
		t.Errorf("%d, %d, %+v", len(s.ring), len(s.byID), got)
	}
	if got := s.recent(ordersMax, func(o *Order) bool { return o.ID == "2" || o.ID == "3" }); len(got) != 1 || got[0].ID != "3" {
		t.Errorf("%+v", got)
	}
}
