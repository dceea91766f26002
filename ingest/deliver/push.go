package deliver

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"vedette/ingest/secure"
	"vedette/internal/groups"
	"vedette/internal/registry"
	"vedette/internal/retry"
	"vedette/schemas"
)

// How shared configuration is sent.
const (
	// pieceBytes is how much of the file one message carries.
	pieceBytes = 900
	// PushWorkers is how many agents are sent files at once.
	PushWorkers = 32
	// pushTimeout is how long an agent may take to accept one piece.
	pushTimeout = 30 * time.Second
	// pushRetryMin and pushRetryMax bound how soon an agent that goes on reporting
	// another sum is sent the same file again; it doubles each time.
	pushRetryMin = 15 * time.Second
	pushRetryMax = 10 * time.Minute
	// assignTime bounds the wait for the registry to give an agent its group.
	assignTime = 30 * time.Second
	// udpPieces is after how many pieces, and udpPause for how long, a transfer on
	// UDP rests, because nothing there tells when the agent is behind.
	udpPieces = 30
	udpPause  = time.Second
)

// State is what this package knows of one agent's shared configuration. The zero
// value is ready. mu guards all of it; pusher.mu may be taken under it.
type State struct {
	mu       sync.Mutex
	reported string // the sum of the agent's last keepalive; empty before
	sent     string // the sum sent last
	tries    int    // how often it was
	next     time.Time
	queued   bool
	// again says that the files or groups may have changed while it was queued.
	again bool
	// assigning says that a group is being given to the agent.
	assigning bool
}

// pusher sends agents their merged files, a bounded number at once and within a
// bounded share of the network. Each agent waits in it at most once. mu guards
// the queue alone, and no other lock is taken under it.
type pusher struct {
	fleet  Fleet
	reg    Registry
	groups Groups
	rate   bandwidth
	log    *slog.Logger
	m      *metrics
	// unassigned is about agents that were not given a group.
	unassigned retry.Log

	wake chan struct{}
	// all says that groups' files have changed and every agent is to be looked at.
	all chan struct{}

	mu    sync.Mutex
	queue []Agent
}

func newPusher(fleet Fleet, reg Registry, files Groups, bytesPerSecond int64, log *slog.Logger, m *metrics) *pusher {
	return &pusher{
		fleet: fleet, reg: reg, groups: files, rate: bandwidth{perSecond: bytesPerSecond}, log: log, m: m,
		wake: make(chan struct{}, PushWorkers), all: make(chan struct{}, 1),
	}
}

func (p *pusher) lookAtAll() {
	select {
	case p.all <- struct{}{}:
	default:
	}
}

func (p *pusher) configured(a Agent, reported string, now time.Time) {
	reg, ok := p.reg.Agent(a.ID())
	if !ok {
		return
	}
	st := a.Delivery()
	st.mu.Lock()
	st.reported = reported
	if len(reg.Groups) == 0 && !st.assigning {
		st.assigning = true
		go p.assign(a)
	}
	st.mu.Unlock()
	p.want(a, reg.Groups, now)
}

// assign puts an agent without a group into the default group.
func (p *pusher) assign(a Agent) {
	ctx, cancel := context.WithTimeout(context.Background(), assignTime)
	defer cancel()
	if err := p.reg.SetGroups(ctx, a.ID(), schemas.GroupsIfNone, []string{schemas.DefaultGroup}); err != nil {
		if _, due := p.unassigned.Due(); due {
			p.log.Warn("an agent was not given its group; tried again at its next keepalive", "agent_id", a.ID(), "err", err)
		}
	}
	st := a.Delivery()
	st.mu.Lock()
	st.assigning = false
	st.mu.Unlock()
}

// want queues an agent if it is to be sent a file now.
func (p *pusher) want(a Agent, names []string, now time.Time) {
	want := p.groups.Merged(names).Sum
	st := a.Delivery()
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.queued:
		st.again = true
		return
	case st.reported == "":
		return
	case st.reported == want:
		st.tries, st.sent = 0, ""
		return
	case st.sent == want && now.Before(st.next):
		return // it has been sent; the agent's next keepalives tell whether it came
	}
	st.queued = true
	p.mu.Lock()
	p.queue = append(p.queue, a)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pusher) take() Agent {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return nil
	}
	a := p.queue[0]
	p.queue[0] = nil
	p.queue = p.queue[1:]
	p.m.pushWaiting.Set(float64(len(p.queue)))
	return a
}

// run sends until ctx ends.
func (p *pusher) run(ctx context.Context) {
	var wg sync.WaitGroup
	for range PushWorkers {
		wg.Go(func() {
			for {
				a := p.take()
				if a == nil {
					select {
					case <-p.wake:
						continue
					case <-ctx.Done():
						return
					}
				}
				p.push(ctx, a)
				if ctx.Err() != nil {
					return
				}
			}
		})
	}
	for {
		select {
		case <-p.all:
			p.look()
		case <-ctx.Done():
			wg.Wait()
			return
		}
	}
}

// look finds the connected agents whose files are others now.
func (p *pusher) look() {
	connected := p.fleet.Connected()
	now := time.Now()
	for _, a := range connected {
		if reg, ok := p.reg.Agent(a.ID()); ok {
			p.want(a, reg.Groups, now)
		}
	}
}

func (p *pusher) regrouped(reg *registry.Agent) {
	if a, ok := p.fleet.Agent(reg.ID); ok {
		p.want(a, reg.Groups, time.Now())
	}
}

// push sends an agent its merged file.
//
// Source: spec/agent-protocol.md §9 "Transfer".
func (p *pusher) push(ctx context.Context, a Agent) {
	result := "aborted"
	reg, ok := p.reg.Agent(a.ID())
	var m *groups.Merged
	if ok {
		m = p.groups.Merged(reg.Groups)
		if r, reachable := a.Route(time.Now()); reachable && p.transfer(ctx, r, m) {
			result = "sent"
		}
	}
	p.m.pushes.WithLabelValues(result).Inc()
	st := a.Delivery()
	st.mu.Lock()
	again := st.again
	st.queued, st.again = false, false
	if result == "sent" {
		if st.sent != m.Sum {
			st.tries = 0
		}
		st.sent = m.Sum
		st.next = time.Now().Add(min(pushRetryMin<<min(st.tries, 6), pushRetryMax))
		st.tries++
	}
	st.mu.Unlock()
	if reg, ok = p.reg.Agent(a.ID()); again && ok {
		p.want(a, reg.Groups, time.Now())
	}
}

func (p *pusher) transfer(ctx context.Context, r Route, m *groups.Merged) bool {
	if !r.SendBulk("#!-up file "+m.Sum+" "+groups.MergedName+"\n", pushTimeout) {
		return false
	}
	n := 0
	for piece := range pieces(m.Data) {
		if !p.rate.take(ctx, len(piece)) {
			return false
		}
		if n++; r.Datagram() && n%udpPieces == 0 && retry.Sleep(ctx, udpPause) != nil {
			return false
		}
		if !r.SendBulk(string(piece), pushTimeout) {
			return false
		}
		p.m.pushBytes.Add(float64(len(piece)))
	}
	return r.SendBulk("#!-close file ", pushTimeout)
}

// pieces cuts a file into pieces that each fit one message. No piece begins like
// a control message, which would end the transfer.
func pieces(data []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(data) > 0 {
			n := min(pieceBytes, len(data))
			for n > 1 && n < len(data) && strings.HasPrefix(secure.ControlPrefix, string(data[n:min(n+3, len(data))])) {
				n--
			}
			if !yield(data[:n]) {
				return
			}
			data = data[n:]
		}
	}
}

// bandwidth spreads sent bytes over time. mu guards free.
type bandwidth struct {
	perSecond int64

	mu   sync.Mutex
	free time.Time // when the network has room again
}

// take waits until the network has room for n bytes more; false when ctx ended
// before.
func (b *bandwidth) take(ctx context.Context, n int) bool {
	b.mu.Lock()
	now := time.Now()
	if b.free.Before(now) {
		b.free = now
	}
	wait := b.free.Sub(now)
	b.free = b.free.Add(time.Duration(float64(n) / float64(b.perSecond) * float64(time.Second)))
	b.mu.Unlock()
	if wait < 5*time.Millisecond { // timers are no finer; the debt stays
		return ctx.Err() == nil
	}
	return retry.Sleep(ctx, wait) == nil
}
