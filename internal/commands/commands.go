// Package commands gives orders to agents through the topic `commands` and tells
// what came of them, from the topic `replies`.
package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/secret"
	"vedette/schemas"
)

// purpose under the cluster key.
const purpose = "command"

const (
	// waitingMax bounds the commands of this process whose outcome is awaited.
	waitingMax = 4096
	// DefaultExpiry is how long after it was given a command may be sent.
	DefaultExpiry = time.Minute
	// batchMax bounds the records that wait for acknowledgement together.
	batchMax = 1000
)

// ErrBusy says that waitingMax commands are awaited already.
var ErrBusy = errors.New("too many commands wait for an answer")

// Seal gives a command's record its MAC.
func Seal(box *secret.Box, rec schemas.Record) schemas.Record {
	rec.Headers = append(rec.Headers, schemas.Header{Key: schemas.HeaderMAC, Value: box.MAC(purpose, schemas.MACInput(&rec))})
	return rec
}

// Verify reports whether a command's record was made under the cluster key.
func Verify(box *secret.Box, rec *schemas.Record) bool {
	return box.Verify(purpose, schemas.MACInput(rec), rec.Header(schemas.HeaderMAC))
}

// Client gives commands. It is safe for concurrent use.
type Client struct {
	box  *secret.Box
	node string
	prod *kafka.Producer
	foll *kafka.Follower // of the replies
	give *kafka.Follower // of the commands

	mu      sync.Mutex
	waiting map[string]*await // by command id
	orders  orders
}

// await is one command whose end somebody waits for.
type await struct {
	final func(*schemas.Reply) bool
	ch    chan schemas.Reply
}

// Open prepares a client. Nothing is read before Run.
func Open(cluster *kafka.Cluster, box *secret.Box, node string, log *slog.Logger, reg prometheus.Registerer) (*Client, error) {
	p, err := cluster.NewProducer("commands", log, reg)
	if err != nil {
		return nil, err
	}
	c := &Client{box: box, node: node, prod: p, waiting: map[string]*await{}}
	c.foll = cluster.Follow(schemas.TopicReplies, log, c.onReply)
	c.give = cluster.Follow(schemas.TopicCommands, log, c.onCommand)
	return c, nil
}

// Run follows commands and replies until ctx ends, closes the producer and
// returns nil.
func (c *Client) Run(ctx context.Context) error {
	defer c.prod.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	other := make(chan error, 1)
	go func() {
		defer cancel()
		other <- c.give.Run(ctx)
	}()
	err := c.foll.Run(ctx)
	cancel()
	return errors.Join(err, <-other)
}

// onCommand remembers that a command was given.
func (c *Client) onCommand(rec schemas.Record) {
	if !Verify(c.box, &rec) {
		return // whoever would have sent it says so
	}
	cmd, err := schemas.ParseCommand(&rec)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.orders.given(&cmd)
}

// Ready is closed once the replies were read to the end they had when Run began.
func (c *Client) Ready() <-chan struct{} { return c.foll.Ready() }

func (c *Client) onReply(rec schemas.Record) {
	r, err := schemas.ParseReply(&rec)
	if err != nil {
		return // replies act on nothing; what is no reply is of no use to anybody
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.orders.replied(&r)
	if w := c.waiting[r.CommandID]; w != nil && w.final(&r) {
		delete(c.waiting, r.CommandID)
		w.ch <- r // has room for one
	}
}

// Recent returns the orders of the last day for which keep is true, the newest
// first, at most n. keep must be quick and must not keep what it is given.
func (c *Client) Recent(n int, keep func(*Order) bool) []Order {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.orders.recent(n, keep)
}

// fill gives a command what every one has.
func (c *Client) fill(cmd *schemas.Command) {
	now := time.Now()
	if cmd.ID == "" {
		cmd.ID = secret.RandomHex(16)
	}
	if cmd.Time == 0 {
		cmd.Time = now.UnixMilli()
	}
	if cmd.Expires == 0 {
		cmd.Expires = now.Add(DefaultExpiry).UnixMilli()
	}
	if cmd.Origin == "" {
		cmd.Origin = c.node
	}
}

// Give writes commands and returns when they are durable. It fills in id, time,
// expiry and origin where they are missing.
func (c *Client) Give(ctx context.Context, cmds ...schemas.Command) error {
	recs := make([]schemas.Record, len(cmds))
	for i := range cmds {
		c.fill(&cmds[i])
		rec, err := cmds[i].Record()
		if err != nil {
			return err
		}
		recs[i] = Seal(c.box, rec)
	}
	for len(recs) > 0 {
		n := min(len(recs), batchMax)
		if _, err := c.prod.ProduceSync(ctx, recs[:n]...); err != nil {
			return fmt.Errorf("write commands: %w", err)
		}
		recs = recs[n:]
	}
	return nil
}

// Do gives a command and waits for its end: until it was sent, or, of a request
// or an upgrade, until the agent has answered. What no gateway sends, because the
// agent is not connected, ends with ctx.
func (c *Client) Do(ctx context.Context, cmd schemas.Command) (schemas.Reply, error) {
	select {
	case <-c.Ready():
	case <-ctx.Done():
		return schemas.Reply{}, ctx.Err()
	}
	c.fill(&cmd)
	w := &await{ch: make(chan schemas.Reply, 1), final: func(r *schemas.Reply) bool { return r.Status != schemas.ReplyProgress }}
	c.mu.Lock()
	if len(c.waiting) >= waitingMax {
		c.mu.Unlock()
		return schemas.Reply{}, ErrBusy
	}
	c.waiting[cmd.ID] = w
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, cmd.ID)
		c.mu.Unlock()
	}()
	if err := c.Give(ctx, cmd); err != nil {
		return schemas.Reply{}, err
	}
	select {
	case r := <-w.ch:
		return r, nil
	case <-ctx.Done():
		return schemas.Reply{}, ctx.Err()
	}
}
