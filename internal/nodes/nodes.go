// Package nodes announces this process to the others and keeps the list of those
// that run: their names, roles, versions, and the formats they read.
package nodes

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/replica"
	"vedette/internal/retry"
	"vedette/internal/secret"
	"vedette/schemas"
)

const (
	// every is the pause between two announcements of a process.
	every = time.Minute
	// forgetAfter is when others remove the announcement of a process that was
	// killed and never came back under its name.
	forgetAfter = 24 * time.Hour
	// nodesMax bounds the announcements kept.
	nodesMax = 10_000
	// endTimeout bounds the writing of the tombstone.
	endTimeout = 5 * time.Second
)

const purpose = "node"

// Nodes is one process's view of all processes. It is safe for concurrent use.
type Nodes struct {
	topic *replica.Topic
	log   *slog.Logger
	self  *schemas.Node // nil for a view that announces nothing
	count func() map[string]float64

	every time.Duration // the constant, shorter in tests

	mu    sync.RWMutex
	byKey map[string]schemas.Node
}

// Open prepares the view. self is announced until Run ends; nil announces nothing.
func Open(cluster *kafka.Cluster, box *secret.Box, self *schemas.Node, log *slog.Logger, reg prometheus.Registerer) (*Nodes, error) {
	n := &Nodes{log: log, self: self, every: every, byKey: map[string]schemas.Node{}}
	var err error
	n.topic, err = replica.Open(cluster, box, replica.Config{Name: "nodes", Topic: schemas.TopicNodes, Purpose: purpose, Apply: n.apply}, log, reg)
	if err != nil {
		return nil, fmt.Errorf("open the list of nodes: %w", err)
	}
	return n, nil
}

// OnAnnounce sets the source of the counters that each announcement carries. Set it
// before Run. It must not block.
func (n *Nodes) OnAnnounce(count func() map[string]float64) { n.count = count }

// Ready is closed once the list was read to the end that it had when Run began.
func (n *Nodes) Ready() <-chan struct{} { return n.topic.Ready() }

// Run follows the list and announces this process until ctx ends; then it says
// that the process has ended, and returns nil.
func (n *Nodes) Run(ctx context.Context) error {
	follow, end := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx by the tombstone
	defer end()
	followed := make(chan error, 1)
	go func() { followed <- n.topic.Run(follow) }()
	n.announce(ctx)
	end()
	return <-followed
}

func (n *Nodes) announce(ctx context.Context) {
	if n.self == nil {
		<-ctx.Done()
		return
	}
	for {
		if err := n.write(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("this node could not announce itself; it tries again", "err", err, "pause", n.every.String())
		}
		if retry.Sleep(ctx, n.every) != nil {
			break
		}
		n.forget(ctx)
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if _, err := n.topic.Write(end, schemas.NodeTombstone(n.self.Key())); err != nil {
		n.log.Warn("this node could not say that it has ended", "err", err)
	}
}

func (n *Nodes) write(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.every)
	defer cancel()
	self := *n.self
	self.Updated = time.Now().UnixMilli()
	if n.count != nil {
		self.Counters = n.count()
	}
	value, err := self.Encode()
	if err == nil {
		_, err = n.topic.Write(ctx, schemas.NodeRecord(self.Key(), value))
	}
	return err
}

// forget removes announcements of processes that have been silent for long. Each
// node does: a second tombstone does no harm.
func (n *Nodes) forget(ctx context.Context) {
	before := time.Now().Add(-forgetAfter).UnixMilli()
	var gone []schemas.Record
	for _, x := range n.List() {
		if x.Updated < before {
			gone = append(gone, schemas.NodeTombstone(x.Key()))
		}
	}
	if _, err := n.topic.Write(ctx, gone...); err != nil && ctx.Err() == nil {
		n.log.Warn("announcements of processes that are gone stay until the next try", "err", err)
	}
}

// errFull says that too many processes announce themselves.
var errFull = fmt.Errorf("more than %d processes announce themselves", nodesMax)

// apply runs in the order of the topic.
func (n *Nodes) apply(_ context.Context, rec *schemas.Record) error {
	key := string(rec.Key)
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(rec.Value) == 0 {
		delete(n.byKey, key)
		return nil
	}
	node, err := schemas.ParseNode(rec)
	if err != nil {
		return err
	}
	if _, known := n.byKey[key]; !known && len(n.byKey) >= nodesMax {
		return &replica.Refusal{Cause: "full", Err: errFull}
	}
	n.byKey[key] = node
	return nil
}

// List returns the announcements of all processes that have not ended, sorted by
// key. A process that was killed stays for a day, or until it starts again.
func (n *Nodes) List() []schemas.Node {
	n.mu.RLock()
	defer n.mu.RUnlock()
	out := make([]schemas.Node, 0, len(n.byKey))
	for _, key := range slices.Sorted(maps.Keys(n.byKey)) {
		out = append(out, n.byKey[key])
	}
	return out
}
