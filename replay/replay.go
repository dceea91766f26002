package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vedette/ruleset/engine"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// Ruleset is what a history is judged by.
type Ruleset struct {
	Name    string // as people named it
	Version string
	Engine  *engine.Engine
}

// Options say what is judged by what.
type Options struct {
	Source  Source
	Ruleset Ruleset
	// Against is another ruleset to compare with; nil for none.
	Against *Ruleset
	// Recorded compares with what the source says came of its events, and
	// RecordedAlerts, if set, with these.
	Recorded       bool
	RecordedAlerts map[Position]Verdict
	// Workers is how many lanes are judged at once.
	Workers int
	// Out takes the alerts; nil for nobody.
	Out Sink
	// Samples is how many events are kept as examples of each difference of a rule.
	Samples int
	// Explain judges the history once more up to the last example, and says of
	// each why it differs.
	Explain bool
	// Timing measures each event.
	Timing bool
	// OnProgress is told now and then how far the replay is.
	OnProgress func(Progress)
	// State is where an interrupted replay goes on; nil begins.
	State *State
}

// Sink takes alerts. Write is called by several goroutines; the bytes are valid
// during the call only.
type Sink interface {
	Write(it *Item, doc []byte) error
	Close() error
}

// Progress is how far a replay is.
type Progress struct {
	Done, Total int64 // in the source's unit
	Events      int64
}

// progressEvery is how often OnProgress is called.
const progressEvery = 250 * time.Millisecond

// Run judges the history. When ctx ends it returns the report so far, with
// Report.Interrupted set, and the State to go on from.
func Run(ctx context.Context, o Options) (*Report, *State, error) {
	if o.Workers < 1 {
		o.Workers = 1
	}
	lanes, err := o.Source.Open(ctx, o.Workers)
	if err != nil {
		return nil, nil, err
	}
	begin, cpu := time.Now(), cpuTime()
	runs := make([]*run, len(lanes))
	for i, l := range lanes {
		if runs[i], err = newRun(&o, l, i); err != nil {
			return nil, nil, err
		}
	}
	if err := each(ctx, &o, runs); err != nil {
		return nil, nil, err
	}
	interrupted := ctx.Err() != nil
	r := newReport(&o)
	for i, x := range runs {
		r.add(x.tally)
		for reason, n := range lanes[i].Refused() {
			r.Refused[reason] += n
		}
	}
	if o.State != nil {
		for reason, n := range o.State.Refused {
			r.Refused[reason] += n
		}
	}
	r.Interrupted = interrupted
	r.finish(&o, runs, time.Since(begin), cpuTime()-cpu)
	var state *State
	if interrupted {
		if state, err = save(&o, lanes, runs, r.Refused); err != nil {
			return r, nil, err
		}
	}
	if o.Out != nil {
		if err := o.Out.Close(); err != nil {
			return r, state, err
		}
	}
	if o.Explain && !interrupted && (o.Against != nil || o.comparesRecorded()) {
		if err := explain(ctx, &o, r); err != nil && ctx.Err() == nil {
			return r, state, err
		}
	}
	return r, state, nil
}

func (o *Options) comparesRecorded() bool { return o.Recorded || o.RecordedAlerts != nil }

// each lets workers go through all lanes.
func each(ctx context.Context, o *Options, runs []*run) error {
	work := make(chan *run, len(runs))
	for _, r := range runs {
		work <- r
	}
	close(work)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	failing, fail := context.WithCancel(ctx)
	defer fail()
	workers := o.Workers
	if _, ok := o.Source.(*File); ok {
		workers = len(runs) // the lanes of a file wait for one another
	}
	for range workers {
		wg.Go(func() {
			for r := range work {
				if err := r.all(failing); err != nil && failing.Err() == nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
					fail()
				}
			}
		})
	}
	if o.OnProgress != nil {
		stop := make(chan struct{})
		var told sync.WaitGroup
		told.Go(func() { tell(o, runs, stop) })
		defer told.Wait()
		defer close(stop)
	}
	wg.Wait()
	return errors.Join(errs...)
}

func tell(o *Options, runs []*run, stop <-chan struct{}) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case <-stop:
			ended = true
		case <-tick.C:
		}
		var p Progress
		for _, r := range runs {
			done, total := r.lane.Progress()
			p.Done, p.Total, p.Events = p.Done+done, p.Total+total, p.Events+r.events.Load()
		}
		o.OnProgress(p)
	}
}

// run judges one lane.
type run struct {
	o     *Options
	lane  Lane
	index int
	judges
	tally  *tally
	doc    []byte
	clock  time.Time     // when the batch began
	before time.Duration // of the clock, when the event began
	events atomic.Int64
}

// judges are the states of the rulesets, and how their verdicts are put.
type judges struct {
	state, against *engine.Keyed
	groups         map[*program.Rule]string
}

func newJudges(o *Options) judges {
	j := judges{state: o.Ruleset.Engine.NewState(), groups: map[*program.Rule]string{}}
	if o.Against != nil {
		j.against = o.Against.Engine.NewState()
	}
	return j
}

func newRun(o *Options, l Lane, index int) (*run, error) {
	r := &run{o: o, lane: l, index: index, judges: newJudges(o), tally: newTally()}
	if o.State == nil {
		return r, nil
	}
	for i := range o.State.Lanes {
		s := &o.State.Lanes[i]
		if s.Index != index {
			continue
		}
		var err error
		if r.state, err = o.Ruleset.Engine.RestoreState(s.State); err != nil {
			return nil, fmt.Errorf("resume: %w", err)
		}
		if o.Against != nil {
			if r.against, err = o.Against.Engine.RestoreState(s.Against); err != nil {
				return nil, fmt.Errorf("resume: %w", err)
			}
		}
		r.tally = s.Tally.restore()
		return r, nil
	}
	return nil, errors.New("resume: the source has other parts than when it was interrupted")
}

// all judges the whole lane. It returns nil when ctx ends.
func (r *run) all(ctx context.Context) error {
	for {
		items, err := r.lane.Next(ctx)
		if errors.Is(err, io.EOF) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return nil
		}
		if err != nil {
			return err
		}
		r.clock, r.before = time.Now(), 0
		for i := range items {
			if err := r.judge(&items[i]); err != nil {
				return err
			}
		}
		r.events.Add(int64(len(items)))
	}
}

// judge judges one event.
func (r *run) judge(it *Item) error {
	res, got := r.verdict(r.o.Ruleset.Engine, r.state, it)
	if res.Alert && !it.Silent {
		id := schemas.AlertID(it.Event.Time, it.Partition, it.Offset, 0)
		r.doc = res.AppendAlert(r.doc[:0], id, nil)
		if r.o.Out != nil {
			if err := r.o.Out.Write(it, r.doc); err != nil {
				return fmt.Errorf("write alert of %s: %w", position(it.Partition, it.Offset), err)
			}
		}
	}
	if r.o.Timing {
		now := time.Since(r.clock)
		r.tally.times.add(now - r.before)
		r.before = now
	}
	var want Verdict
	if r.against != nil {
		_, want = r.verdict(r.o.Against.Engine, r.against, it)
	}
	if it.Silent {
		r.tally.Warm++
		return nil
	}
	r.tally.count(it, got)
	switch {
	case r.against != nil:
		r.tally.compare(r.o, it, want, got)
	case r.o.RecordedAlerts != nil:
		r.tally.compare(r.o, it, r.o.RecordedAlerts[Position{it.Partition, it.Offset}], got)
	case r.o.Recorded && it.Recorded != nil:
		want = *it.Recorded
		if want.Level < alertLevel {
			want = Verdict{} // archives hold events that did not alert
		}
		r.tally.compare(r.o, it, want, got)
	}
	return nil
}

// alertLevel is the least level that alerts.
const alertLevel = engine.DefaultAlertLevel

// verdict judges an event by one engine; a zero verdict is no alert. The result
// stands until the state's next event.
func (j *judges) verdict(e *engine.Engine, s *engine.Keyed, it *Item) (*engine.Result, Verdict) {
	res := e.Process(s, &it.Event)
	if !res.Alert {
		return res, Verdict{}
	}
	rule := res.Rule()
	g, ok := j.groups[rule]
	if !ok {
		g = joined(rule.Info.Groups)
		j.groups[rule] = g
	}
	return res, Verdict{Rule: res.RuleID, Level: res.Level, Groups: g}
}

// joined puts groups into the form in which they are compared.
func joined(groups []string) string {
	g := slices.Clone(groups)
	slices.Sort(g)
	return strings.Join(g, ",")
}
