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
	"vedette/internal/replica"
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
)

// ErrBusy says that waitingMax commands are awaited already.
var ErrBusy = errors.New("too many commands wait for an answer")

// Seal gives a command's record its MAC.
func Seal(box *secret.Box, rec schemas.Record) schemas.Record { return replica.Seal(box, purpose, rec) }

// Verify reports whether a command's record was made under the cluster key.
func Verify(box *secret.Box, rec *schemas.Record) bool {
	return box.Verify(purpose, schemas.MACInput(rec), rec.Header(schemas.HeaderMAC))
}

// Client gives commands. It is safe for concurrent use.
type Client struct {
	node     string
	commands *replica.Topic
	replies  *replica.Topic

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
	c := &Client{node: node, waiting: map[string]*await{}}
	var err error
	if c.commands, err = replica.Open(cluster, box, replica.Config{Name: "commands", Topic: schemas.TopicCommands, Purpose: purpose, Apply: c.onCommand}, log, reg); err != nil {
		return nil, err
	}
	// Replies act on nothing, so they carry no MAC.
	if c.replies, err = replica.Open(cluster, box, replica.Config{Name: "replies", Topic: schemas.TopicReplies, Apply: c.onReply}, log, reg); err != nil {
		c.commands.Close()
		return nil, err
	}
	return c, nil
}

// Run follows commands and replies until ctx ends and returns nil.
func (c *Client) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	other := make(chan error, 1)
	go func() {
		defer cancel()
		other <- c.commands.Run(ctx)
	}()
	err := c.replies.Run(ctx)
	cancel()
	return errors.Join(err, <-other)
}

// onCommand remembers that a command was given.
func (c *Client) onCommand(_ context.Context, rec *schemas.Record) error {
	cmd, err := schemas.ParseCommand(rec)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.orders.given(&cmd)
	return nil
}

// Ready is closed once the replies were read to the end they had when Run began.
func (c *Client) Ready() <-chan struct{} { return c.replies.Ready() }

func (c *Client) onReply(_ context.Context, rec *schemas.Record) error {
	r, err := schemas.ParseReply(rec)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.orders.replied(&r)
	if w := c.waiting[r.CommandID]; w != nil && w.final(&r) {
		delete(c.waiting, r.CommandID)
		w.ch <- r // has room for one
	}
	return nil
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
// expiry and origin where they are missing. It does not wait for this node's own
// reading: the outcome of a command is its reply.
func (c *Client) Give(ctx context.Context, cmds ...schemas.Command) error {
	recs := make([]schemas.Record, len(cmds))
	for i := range cmds {
		c.fill(&cmds[i])
		rec, err := cmds[i].Record()
		if err != nil {
			return err
		}
		recs[i] = rec
	}
	if _, err := c.commands.Write(ctx, recs...); err != nil {
		return fmt.Errorf("write commands: %w", err)
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
