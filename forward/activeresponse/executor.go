package activeresponse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/commands"
	"vedette/internal/kafka"
	"vedette/internal/responses"
	"vedette/internal/secret"
	"vedette/schemas"
)

const (
	// ExecutorGroup is the consumer group of those who run the server's commands.
	ExecutorGroup = "activeresponse-server"
	// waitingMax bounds the commands that wait for a script to end; further ones
	// are refused.
	waitingMax = 1024
)

// Executor runs the responses of location server.
type Executor struct {
	runner  *responses.Runner
	byName  map[string]responses.Bound
	box     *secret.Box
	node    string
	log     *slog.Logger
	prod    Producer
	reg     prometheus.Registerer
	results *prometheus.CounterVec
	waiting chan schemas.Command
}

// NewExecutor prepares the executor.
func NewExecutor(set *responses.Set, runner *responses.Runner, box *secret.Box, node string, prod Producer, log *slog.Logger, reg prometheus.Registerer) (*Executor, error) {
	x := &Executor{
		runner: runner, byName: map[string]responses.Bound{}, box: box, node: node, prod: prod, log: log, reg: reg, waiting: make(chan schemas.Command, waitingMax),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_activeresponse_runs_total", Help: "Responses of the server itself, by what came of them.",
		}, []string{"result"}),
	}
	for _, b := range set.Bound() {
		if _, again := x.byName[b.Identity]; !again {
			x.byName[b.Identity] = b
		}
	}
	runner.OnUndo = func(executable string, err error) {
		if err != nil {
			x.results.WithLabelValues("undo_failed").Inc()
			log.Error("a response was not undone; undo it by hand", "executable", executable, "err", err)
			return
		}
		x.results.WithLabelValues("undone").Inc()
	}
	runner.OnKeep = func(err error) {
		log.Error("what is to be undone could not be kept; a restart would forget it", "err", err)
	}
	if reg != nil {
		if err := reg.Register(x.results); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// Run runs commands until ctx ends, undoes what is in force, and returns nil.
func (x *Executor) Run(ctx context.Context, cluster *kafka.Cluster) error {
	var wg sync.WaitGroup
	for range responses.RunsMax {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case c := <-x.waiting:
					x.run(ctx, &c)
				}
			}
		})
	}
	wg.Go(func() { x.runner.Tick(ctx) })
	err := cluster.Consume(ctx, kafka.GroupConfig{
		Group: ExecutorGroup, Topic: schemas.TopicCommands, Log: x.log, Registerer: x.reg,
		Open: func(context.Context, kafka.Assignment) (kafka.Handler, error) { return executing{x}, nil },
	})
	wg.Wait()
	x.runner.UndoAll()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

type executing struct{ x *Executor }

func (executing) Close() {}

// Handle takes commands over. They count as done when it returns, so that nobody
// runs them twice.
func (e executing) Handle(_ context.Context, recs []schemas.Record) error {
	for i := range recs {
		if string(recs[i].Key) != schemas.ManagerID {
			continue
		}
		if !commands.Verify(e.x.box, &recs[i]) {
			e.x.results.WithLabelValues("mac").Inc()
			e.x.log.Warn("a command was not run: it was not made under this cluster key", "offset", recs[i].Offset)
			continue
		}
		c, err := schemas.ParseCommand(&recs[i])
		switch {
		case err != nil:
			e.x.results.WithLabelValues("shape").Inc()
		case c.Kind != schemas.CommandResponse:
		case time.Now().UnixMilli() > c.Expires:
			e.x.reply(&c, schemas.ReplyExpired, "it came after its time")
		default:
			select {
			case e.x.waiting <- c:
			default:
				e.x.reply(&c, schemas.ReplyRefused, fmt.Sprintf("%d responses are waiting already", waitingMax))
			}
		}
	}
	return nil
}

func (x *Executor) reply(c *schemas.Command, status schemas.ReplyStatus, text string) {
	x.results.WithLabelValues(string(status)).Inc()
	r := c.Reply(x.node, status, text, time.Now())
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := x.prod.ProduceSync(ctx, r.Record()); err != nil {
		x.log.Warn("what came of a response could not be written", "response", c.Response, "err", err)
	}
}

// run is one command's way.
func (x *Executor) run(ctx context.Context, c *schemas.Command) {
	name, timeout, err := x.lookup(c)
	if err != nil {
		x.reply(c, schemas.ReplyRefused, err.Error())
		return
	}
	outcome, err := x.runner.Run(ctx, name, c.Text, timeout)
	if err != nil {
		x.reply(c, schemas.ReplyFailed, err.Error())
		return
	}
	x.reply(c, schemas.ReplyDone, outcome)
}

// lookup finds the executable of a response: one of the configuration, or a
// script that somebody named.
func (x *Executor) lookup(c *schemas.Command) (name string, timeout time.Duration, err error) {
	if script, ok := strings.CutPrefix(c.Response, "!"); ok {
		return script, 0, nil
	}
	if b, ok := x.byName[c.Response]; ok {
		return b.Exec.Executable, time.Duration(b.Timeout) * time.Second, nil
	}
	return "", 0, fmt.Errorf("this node's configuration has no response %q", c.Response)
}
