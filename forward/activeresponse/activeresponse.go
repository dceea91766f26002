package activeresponse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/forward"
	"vedette/internal/commands"
	"vedette/internal/responses"
	"vedette/internal/secret"
	"vedette/schemas"
)

const (
	// expiresAfter is how long after its event a command may be sent.
	expiresAfter = time.Minute
	// recipientsMax bounds the agents that one alert's `all` reaches.
	recipientsMax = 1 << 20
	batchMax      = 1000
)

// Agents is what is asked of the registry.
type Agents interface {
	Ready() <-chan struct{}
	Presences(keep func(*schemas.Presence) bool) []schemas.Presence
}

// Producer takes commands; *kafka.Producer is one.
type Producer interface {
	ProduceSync(ctx context.Context, recs ...schemas.Record) ([]schemas.Record, error)
}

// Destination is the one that gives commands.
type Destination struct {
	set    *responses.Set
	agents Agents
	prod   Producer
	box    *secret.Box
	node   string
	log    *slog.Logger
	now    func() time.Time

	commands prometheus.Counter
	skipped  *prometheus.CounterVec
}

var _ forward.Destination = (*Destination)(nil)

// New prepares the destination. node is the name in the messages to agents.
func New(set *responses.Set, agents Agents, prod Producer, box *secret.Box, node string, log *slog.Logger, reg prometheus.Registerer) (*Destination, error) {
	d := &Destination{
		set: set, agents: agents, prod: prod, box: box, node: node, log: log, now: time.Now,
		commands: prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_activeresponse_commands_total", Help: "Commands given to agents and to the server."}),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_activeresponse_skipped_total", Help: "Alerts with a response that gave no command, by reason.",
		}, []string{"reason"}),
	}
	for _, r := range []string{reasonLate, string(responses.SkipCrafted), string(responses.SkipWhiteList), string(responses.SkipUnread), reasonTooLong} {
		d.skipped.WithLabelValues(r)
	}
	if reg != nil {
		if err := errors.Join(reg.Register(d.commands), reg.Register(d.skipped)); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Reasons besides those of package responses.
const (
	reasonLate    = "late"
	reasonTooLong = "unusable"
)

// Ready implements forward.Destination.
func (d *Destination) Ready(context.Context) error {
	select {
	case <-d.agents.Ready():
		return nil
	default:
		return errors.New("the registry was not read to its end yet")
	}
}

// Deliver implements forward.Destination. It fails no alert for good: one that
// gives no command is counted by its reason.
func (d *Destination) Deliver(ctx context.Context, alerts []schemas.Alert) ([]forward.Failure, error) {
	select {
	case <-d.agents.Ready():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var recs []schemas.Record
	for i := range alerts {
		now := d.now()
		if expires := alerts[i].Time.Add(expiresAfter); now.After(expires) {
			d.skipped.WithLabelValues(reasonLate).Inc()
			continue
		}
		a, orders, skip := d.set.Orders(alerts[i].Document, d.node)
		if skip != responses.SkipNothing {
			d.skipped.WithLabelValues(string(skip)).Inc()
			if skip == responses.SkipCrafted {
				d.log.Warn("an alert's address or user looks crafted; no response is sent", "alert_id", a.ID, "rule_id", a.RuleID)
			}
		}
		for _, o := range orders {
			recs = append(recs, d.records(&alerts[i], &a, &o, now)...)
		}
	}
	for len(recs) > 0 {
		n := min(len(recs), batchMax)
		if _, err := d.prod.ProduceSync(ctx, recs[:n]...); err != nil {
			return nil, fmt.Errorf("write commands: %w", err)
		}
		d.commands.Add(float64(n))
		recs = recs[n:]
	}
	return nil, nil
}

// records makes the commands of one response.
//
// Source: spec/active-response.md §1 "Location": server is tested first.
func (d *Destination) records(alert *schemas.Alert, a *responses.Alert, o *responses.Order, now time.Time) (out []schemas.Record) {
	to := func(id string) {
		c := schemas.Command{
			ID: alert.ID + "/" + o.Identity + "/" + id, Kind: schemas.CommandResponse, AgentID: id, Text: o.Text, Legacy: o.Legacy,
			Time: now.UnixMilli(), Expires: alert.Time.Add(expiresAfter).UnixMilli(), Origin: d.node, Response: o.Identity, AlertID: a.ID, RuleID: a.RuleID,
		}
		rec, err := c.Record()
		if err != nil {
			d.skipped.WithLabelValues(reasonTooLong).Inc()
			d.log.Warn("a response cannot be sent", "agent_id", id, "alert_id", a.ID, "err", err)
			return
		}
		out = append(out, commands.Seal(d.box, rec))
	}
	if o.Server {
		to(schemas.ManagerID)
		return out
	}
	if o.Local {
		to(a.AgentID)
	}
	if o.Defined {
		to(o.AgentID)
	}
	if o.All {
		for _, p := range d.agents.Presences(func(p *schemas.Presence) bool { return p.State == schemas.StateActive }) {
			if len(out) >= recipientsMax {
				break
			}
			to(p.ID)
		}
	}
	return out
}
