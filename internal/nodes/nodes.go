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
	"vedette/internal/metrics"
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
	cluster *kafka.Cluster
	box     *secret.Box
	log     *slog.Logger
	self    *schemas.Node // nil for a view that announces nothing
	prod    *kafka.Producer
	follow  *kafka.Follower

	rejected *prometheus.CounterVec
	every    time.Duration // the constant, shorter in tests

	mu     sync.RWMutex
	byKey  map[string]schemas.Node
	reject func(rec schemas.Record, cause string)
}

// Open prepares the view. self is announced until Run ends; nil announces nothing.
func Open(cluster *kafka.Cluster, box *secret.Box, self *schemas.Node, log *slog.Logger, reg prometheus.Registerer) (*Nodes, error) {
	n := &Nodes{
		cluster: cluster, box: box, log: log, self: self, every: every, byKey: map[string]schemas.Node{},
		rejected: metrics.Set{Registerer: reg, Prefix: "vedette_nodes_"}.CounterVec("rejected_records_total", "Announcements of nodes that were not taken: mac, shape, full.", "reason"),
	}
	if self != nil {
		var err error
		if n.prod, err = cluster.NewProducer("nodes", log, reg); err != nil {
			return nil, fmt.Errorf("open the list of nodes: %w", err)
		}
	}
	n.follow = cluster.Follow(schemas.TopicNodes, log, n.take)
	return n, nil
}

// OnRejected sets the receiver of records that were not taken; cause is mac, shape
// or full. Set it before Run. It must not block.
func (n *Nodes) OnRejected(fn func(rec schemas.Record, cause string)) { n.reject = fn }

// Ready is closed once the list was read to the end that it had when Run began.
func (n *Nodes) Ready() <-chan struct{} { return n.follow.Ready() }

// Run follows the list and announces this process until ctx ends; then it says
// that the process has ended, and returns nil.
func (n *Nodes) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	if n.self != nil {
		wg.Go(func() { n.announce(ctx) })
	}
	err := n.follow.Run(ctx)
	wg.Wait()
	return err
}

func (n *Nodes) announce(ctx context.Context) {
	defer n.prod.Close()
	for {
		if err := n.write(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("this node could not announce itself; it tries again", "err", err, "pause", n.every.String())
		}
		if retry.Sleep(ctx, n.every) != nil {
			break
		}
		n.forget()
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if _, err := n.prod.ProduceSync(end, schemas.NodeTombstone(n.self.Key())); err != nil {
		n.log.Warn("this node could not say that it has ended", "err", err)
	}
}

func (n *Nodes) write(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.every)
	defer cancel()
	self := *n.self
	self.Updated = time.Now().UnixMilli()
	value, err := self.Encode()
	if err != nil {
		return err
	}
	rec := schemas.NodeRecord(self.Key(), value, nil)
	rec.Headers[0].Value = n.box.MAC(purpose, schemas.MACInput(&rec))
	_, err = n.prod.ProduceSync(ctx, rec)
	return err
}

// forget removes announcements of processes that have been silent for long. Each
// node does: a second tombstone does no harm.
func (n *Nodes) forget() {
	before := time.Now().Add(-forgetAfter).UnixMilli()
	for _, x := range n.List() {
		if x.Updated < before {
			n.prod.Produce(schemas.NodeTombstone(x.Key()), nil)
		}
	}
}

// take runs on one goroutine, in the order of the topic.
func (n *Nodes) take(rec schemas.Record) {
	if len(rec.Value) == 0 {
		n.mu.Lock()
		delete(n.byKey, string(rec.Key))
		n.mu.Unlock()
		return
	}
	cause := ""
	var node schemas.Node
	if !n.box.Verify(purpose, schemas.MACInput(&rec), rec.Header(schemas.HeaderMAC)) {
		cause = "mac"
	} else if x, err := schemas.ParseNode(&rec); err != nil {
		cause = "shape"
	} else {
		node = x
	}
	n.mu.Lock()
	_, known := n.byKey[string(rec.Key)]
	if cause == "" && !known && len(n.byKey) >= nodesMax {
		cause = "full"
	}
	if cause == "" {
		n.byKey[string(rec.Key)] = node
	}
	n.mu.Unlock()
	if cause == "" {
		return
	}
	n.rejected.WithLabelValues(cause).Inc()
	if n.reject != nil {
		n.reject(rec, cause)
	}
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
