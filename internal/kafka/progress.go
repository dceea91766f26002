package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"vedette/internal/metrics"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// observeEvery is the pause between two looks at a group's progress.
	observeEvery = 10 * time.Second
	// A partition counts as stalled when records wait and nothing moved for so many
	// looks in a row. Looks are counted and not seconds: a process that was stopped
	// or starved cannot take its own sleep for a stall.
	stalledLooks = 6
	// observeTimeout bounds one look.
	observeTimeout = 15 * time.Second
)

// Progress returns nil while every partition that this process consumes moves on.
// Otherwise it names those with waiting records and no progress for a minute. A
// partition that another member owns is that member's to report.
func (c *Cluster) Progress() error {
	s := c.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.stalled) == 0 {
		return nil
	}
	texts := make([]string, 0, len(s.stalled))
	for at, why := range s.stalled {
		texts = append(texts, fmt.Sprintf("%s: %s", at, why))
	}
	slices.Sort(texts)
	const shown = 3
	if more := len(texts) - shown; more > 0 {
		texts = append(texts[:shown], fmt.Sprintf("and %d more partitions", more))
	}
	return errors.New("records wait and nothing moved for a minute: " + strings.Join(texts, "; "))
}

// String names the partition, with its group if it is read by one.
func (p stalledPart) String() string {
	at := fmt.Sprintf("%s/%d", p.topic, p.partition)
	if p.group == "" {
		return at
	}
	return "group " + p.group + ", " + at
}

// progress is the metrics of an observer.
type progress struct {
	lag        *prometheus.GaugeVec
	partitions *prometheus.GaugeVec
}

func newProgress(reg prometheus.Registerer, labels prometheus.Labels) *progress {
	return &progress{
		lag: metrics.Register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "vedette_kafka_lag_records", ConstLabels: labels,
			Help: "Records between the group's commit and the end of the partition, by the brokers. Every member reports all partitions: take the maximum, not the sum.",
		}, []string{"partition"})),
		partitions: metrics.Register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "vedette_kafka_partitions", ConstLabels: labels,
			Help: "Partitions that this member owns, by state: owned is all of them, read moved since the last look or has all records handled just now, idle has no waiting records, stalled has waiting records and made no progress for a minute.",
		}, []string{"state"})),
	}
}

// seen is the result of the last look at a partition.
type seen struct {
	w                  *worker // the worker of this member, if it owns the partition
	committed, handled int64
	looks              int   // looks in a row with waiting records and no progress
	emptyTo            int64 // no record was found between the group's position and this end
}

// observe compares the brokers' records with the group's commits, until ctx
// ends. It asks the brokers itself, so that a consumer that stands still without
// noticing it is found too.
func (m *member) observe(ctx context.Context) {
	every := m.cfg.ObserveEvery
	if every == 0 {
		every = observeEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := map[int32]*seen{}
	defer m.forget(last)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		look, cancel := context.WithTimeout(ctx, observeTimeout)
		err := m.look(look, last)
		cancel()
		if err != nil && ctx.Err() == nil {
			m.cfg.Log.Debug("the group's progress is not known", "group", m.cfg.Group, "err", err)
		}
	}
}

func (m *member) forget(last map[int32]*seen) {
	for p := range last {
		m.setStalled(p, "")
		m.progress.lag.DeleteLabelValues(strconv.Itoa(int(p)))
	}
	m.progress.partitions.Reset()
}

func (m *member) setStalled(p int32, why string) {
	at := stalledPart{m.cfg.Group, m.cfg.Topic, p}
	if why == "" {
		m.c.shared.move(at)
		return
	}
	m.c.shared.stall(m.cfg.Log, at, why)
}

// stall notes that a partition makes no progress, and logs it the first time.
func (s *shared) stall(log *slog.Logger, at stalledPart, why string) {
	s.mu.Lock()
	_, known := s.stalled[at]
	s.stalled[at] = why
	s.mu.Unlock()
	if !known {
		log.Error("a partition makes no progress", "group", at.group, "topic", at.topic, "partition", at.partition, "reason", why)
	}
}

// move notes that a partition makes progress.
func (s *shared) move(at stalledPart) {
	s.mu.Lock()
	delete(s.stalled, at)
	s.mu.Unlock()
}

// look takes one look at every partition of the topic.
func (m *member) look(ctx context.Context, last map[int32]*seen) error {
	// The commits come first: a commit made meanwhile cannot lie beyond the
	// ends.
	committed, err := m.c.committed(ctx, m.adm, m.cfg.Group, m.cfg.Topic)
	if err != nil {
		return err
	}
	ranges, err := m.c.rangesBy(ctx, m.adm, m.cfg.Topic)
	if err != nil {
		return err
	}
	others, err := m.assigned(ctx)
	if err != nil {
		return err
	}
	var owned, read, idle, stalled int
	for i, r := range ranges {
		p := int32(i)
		m.mu.Lock()
		w := m.workers[p]
		m.mu.Unlock()
		at, known := committed[p]
		if !known || at < r.Start {
			at = r.Start
		}
		now := &seen{w: w, committed: at, handled: NoOffset}
		before := last[p]
		last[p] = now
		var waiting bool // for the handler
		if w != nil {
			owned++
			now.handled, waiting = w.state()
		}
		if before != nil {
			now.emptyTo = before.emptyTo
		}
		behind := max(0, r.End-at)
		if now.emptyTo == r.End {
			behind = 0 // no records lie there
		}
		m.progress.lag.WithLabelValues(strconv.Itoa(i)).Set(float64(behind))
		moved := before == nil || before.w != w || before.committed != at || before.handled != now.handled
		switch {
		case behind == 0:
			m.setStalled(p, "")
			if w != nil {
				idle++
			}
			continue
		case moved:
			m.setStalled(p, "")
			if w != nil {
				read++
			}
			continue
		}
		now.looks = before.looks + 1
		if now.looks < stalledLooks || w == nil && others[p] {
			continue
		}
		why := m.judge(ctx, p, now, waiting, r.End)
		m.setStalled(p, why)
		if why != "" && w != nil {
			stalled++
		}
	}
	for state, n := range map[string]int{"owned": owned, "read": read, "idle": idle, "stalled": stalled} {
		m.progress.partitions.WithLabelValues(state).Set(float64(n))
	}
	return nil
}

// judge returns why a partition stands still, "" if it only seems to, and
// repairs the faults that it can.
func (m *member) judge(ctx context.Context, p int32, now *seen, waiting bool, end int64) string {
	w := now.w
	from := now.committed
	if w != nil {
		if waiting {
			return "its handler does not come to an end"
		}
		w.mu.Lock()
		from = max(w.next, 0)
		if w.handled >= end { // only the commit is missing: a rebalance overtook it
			w.again = true
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
		w.mu.Unlock()
		if from >= end {
			return ""
		}
	}
	// Marks of transactions and records that compaction removed take offsets too.
	if found, err := m.c.holds(ctx, m.cfg.Topic, p, Range{from, end}); err != nil || !found {
		if err == nil {
			now.emptyTo, now.looks = end, 0
		}
		return ""
	}
	if w == nil {
		return "no member of the group reads it"
	}
	if now.looks%stalledLooks == 0 {
		m.mu.Lock()
		m.stuck[p] = w
		if m.interrupt != nil {
			m.interrupt()
		}
		m.mu.Unlock()
	}
	return "it is not read"
}

// state returns the offset behind the last handled record, and reports whether
// records, or opening the handler, keep the worker busy.
func (w *worker) state() (handled int64, busy bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.handled, w.busy || len(w.queue) > 0
}

// assigned returns the partitions of the topic that other members of the group own.
func (m *member) assigned(ctx context.Context) (map[int32]bool, error) {
	name := m.c.Topic(m.cfg.Group)
	groups, err := m.adm.DescribeGroups(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("ask for the members of group %s: %w", m.cfg.Group, err)
	}
	out := map[int32]bool{}
	self, _ := m.cl.GroupMetadata()
	for _, other := range groups[name].Members {
		topics, ok := other.Assigned.AsConsumer()
		if !ok || other.MemberID == self {
			continue
		}
		for _, t := range topics.Topics {
			if t.Topic != m.c.Topic(m.cfg.Topic) {
				continue
			}
			for _, p := range t.Partitions {
				out[p] = true
			}
		}
	}
	return out, nil
}
