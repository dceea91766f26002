package ingest

import (
	"context"
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
	// pushWorkers is how many agents are sent files at once.
	pushWorkers = 32
	// pushTimeout is how long an agent may take to accept one piece.
	pushTimeout = 30 * time.Second
	// pushRetryMin and pushRetryMax bound how soon an agent that goes on reporting
	// another sum is sent the same file again; it doubles each time.
	pushRetryMin = 15 * time.Second
	pushRetryMax = 10 * time.Minute
	// udpPieces is after how many pieces, and udpPause for how long, a transfer on
	// UDP rests, because nothing there tells when the agent is behind.
	udpPieces = 30
	udpPause  = time.Second
)

// push is the known state of an agent's shared configuration.
type push struct {
	mu       sync.Mutex
	reported string // the sum of the agent's last keepalive; empty before
	sent     string // the sum sent last
	tries    int    // how often it was
	next     time.Time
	queued   bool
	// assigning says that a group is being given to the agent.
	assigning bool
}

// pusher sends agents their merged files, a bounded number at once and within a
// bounded share of the network. Each agent waits in it at most once.
type pusher struct {
	g *Gateway

	mu    sync.Mutex
	queue []*agent
	wake  chan struct{}

	// all says that groups' files have changed and every agent is to be looked at.
	all chan struct{}

	rateMu sync.Mutex
	free   time.Time // when the network has room again
}

func newPusher(g *Gateway) *pusher {
	return &pusher{g: g, wake: make(chan struct{}, pushWorkers), all: make(chan struct{}, 1)}
}

// GroupsChanged has every agent looked at whose files may have changed.
func (g *Gateway) GroupsChanged() {
	select {
	case g.pushes.all <- struct{}{}:
	default:
	}
}

// configure compares an agent's reported configuration with the wanted one.
//
// Source: spec/agent-protocol.md §7 "Effects".
func (g *Gateway) configure(a *agent, reported string, now time.Time) {
	if g.svc.Groups == nil {
		return
	}
	now1, ok := g.reg.Agent(a.reg.ID)
	if !ok {
		return
	}
	p := &a.pushed
	p.mu.Lock()
	p.reported = reported
	if len(now1.Groups) == 0 && !p.assigning {
		p.assigning = true
		go g.assign(a)
	}
	p.mu.Unlock()
	g.pushes.want(a, now1.Groups, now)
}

// assign puts an agent without a group into the default group.
func (g *Gateway) assign(a *agent) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err := g.reg.SetGroups(ctx, a.reg.ID, schemas.GroupsIfNone, []string{schemas.DefaultGroup})
	if err != nil && g.logNow("assign", time.Now()) {
		g.log.Warn("an agent was not given its group; tried again at its next keepalive", "agent_id", a.reg.ID, "err", err)
	}
	a.pushed.mu.Lock()
	a.pushed.assigning = false
	a.pushed.mu.Unlock()
}

// want queues an agent if it is to be sent a file now.
func (p *pusher) want(a *agent, names []string, now time.Time) {
	want := p.g.svc.Groups.Merged(names).Sum
	a.pushed.mu.Lock()
	defer a.pushed.mu.Unlock()
	switch {
	case a.pushed.reported == "" || a.pushed.queued:
		return
	case a.pushed.reported == want:
		a.pushed.tries, a.pushed.sent = 0, ""
		return
	case a.pushed.sent == want && now.Before(a.pushed.next):
		return // it has been sent; the agent's next keepalives tell whether it came
	}
	a.pushed.queued = true
	p.mu.Lock()
	p.queue = append(p.queue, a)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pusher) take() *agent {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return nil
	}
	a := p.queue[0]
	p.queue[0] = nil
	p.queue = p.queue[1:]
	p.g.m.pushWaiting.Set(float64(len(p.queue)))
	return a
}

// run sends until ctx ends.
func (p *pusher) run(ctx context.Context) {
	var wg sync.WaitGroup
	for range pushWorkers {
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
	g := p.g
	g.mu.RLock()
	connected := make([]*agent, 0, len(g.agents))
	for _, a := range g.agents {
		if a.conn != nil || a.udp.addr.IsValid() {
			connected = append(connected, a)
		}
	}
	g.mu.RUnlock()
	now := time.Now()
	for _, a := range connected {
		if reg, ok := g.reg.Agent(a.reg.ID); ok {
			p.want(a, reg.Groups, now)
		}
	}
}

// regrouped has one agent looked at whose groups have changed.
func (p *pusher) regrouped(reg *registry.Agent) {
	p.g.mu.RLock()
	a := p.g.agents[reg.ID]
	p.g.mu.RUnlock()
	if a != nil && p.g.svc.Groups != nil {
		p.want(a, reg.Groups, time.Now())
	}
}

// push sends an agent its merged file.
//
// Source: spec/agent-protocol.md §9 "Transfer".
func (p *pusher) push(ctx context.Context, a *agent) {
	g := p.g
	result := "aborted"
	reg, ok := g.reg.Agent(a.reg.ID)
	var m *groups.Merged
	if ok {
		m = g.svc.Groups.Merged(reg.Groups)
		if r, reachable := g.route(a, time.Now()); reachable && p.transfer(ctx, a, &r, m) {
			result = "sent"
		}
	}
	g.m.pushes.WithLabelValues(result).Inc()
	a.pushed.mu.Lock()
	defer a.pushed.mu.Unlock()
	a.pushed.queued = false
	if result != "sent" {
		return
	}
	if a.pushed.sent != m.Sum {
		a.pushed.tries = 0
	}
	a.pushed.sent = m.Sum
	a.pushed.next = time.Now().Add(min(pushRetryMin<<min(a.pushed.tries, 6), pushRetryMax))
	a.pushed.tries++
}

func (p *pusher) transfer(ctx context.Context, a *agent, r *route, m *groups.Merged) bool {
	g := p.g
	if !g.sendBulk(a, r, "#!-up file "+m.Sum+" "+groups.MergedName+"\n") {
		return false
	}
	n := 0
	for piece := range pieces(m.Data) {
		if !p.rest(ctx, len(piece)) {
			return false
		}
		if n++; r.datagram() && n%udpPieces == 0 && retry.Sleep(ctx, udpPause) != nil {
			return false
		}
		if !g.sendBulk(a, r, string(piece)) {
			return false
		}
		g.m.pushBytes.Add(float64(len(piece)))
	}
	return g.sendBulk(a, r, "#!-close file ")
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

// rest waits until the network has room for n bytes more.
func (p *pusher) rest(ctx context.Context, n int) bool {
	p.rateMu.Lock()
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	wait := p.free.Sub(now)
	p.free = p.free.Add(time.Duration(float64(n) / float64(p.g.cfg.PushBytesPerSecond) * float64(time.Second)))
	p.rateMu.Unlock()
	if wait < 5*time.Millisecond { // timers are no finer; the debt stays
		return ctx.Err() == nil
	}
	return retry.Sleep(ctx, wait) == nil
}
