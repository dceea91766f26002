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
	"unsafe"

	"vedette/internal/repeats"
	"vedette/ruleset/engine"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// Ruleset is the ruleset that judges a history.
type Ruleset struct {
	Name    string // as people named it
	Version string
	Engine  *engine.Engine
}

// Options sets the history and the rulesets that judge it.
type Options struct {
	Source  Source
	Ruleset Ruleset
	// Against is another ruleset to compare with; nil for none.
	Against *Ruleset
	// Recorded compares with the verdicts that the source records for its
	// events, and RecordedAlerts, if set, with these.
	Recorded       bool
	RecordedAlerts *Recorded
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
	// OnProgress is called now and then with the progress of the replay.
	OnProgress func(Progress)
	// Kept goes into the State of an interrupted replay.
	Kept Kept
	// State is where an interrupted replay goes on; nil begins.
	State *State

	judged func() // of tests: called for each event
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
	var from []Place
	if o.State != nil {
		from = o.State.places()
	}
	lanes, err := o.Source.Open(ctx, o.Workers, from)
	if err != nil {
		return nil, nil, err
	}
	if o.State != nil && len(o.State.Lanes) != len(lanes) {
		return nil, nil, errors.New("resume: the source has other parts than when it was interrupted")
	}
	if o.State != nil {
		o.Kept.Unjudged = o.State.Kept.Unjudged
	} else if t, ok := o.Source.(*Topic); ok {
		o.Kept.Unjudged = t.Unjudged()
	}
	begin, cpu := time.Now(), cpuTime()
	runs := make([]*run, len(lanes))
	for i, l := range lanes {
		runs[i] = newRun(&o, l, i)
	}
	err = each(ctx, &o, runs)
	if o.Out != nil {
		err = errors.Join(err, o.Out.Close())
	}
	if err != nil {
		return nil, nil, err
	}
	r := newReport(&o)
	for _, x := range runs {
		r.add(x.tally)
		for reason, n := range x.lane.Refused() {
			r.Refused[reason] += n
		}
		r.Interrupted = r.Interrupted || !x.done
	}
	if o.State != nil {
		for reason, n := range o.State.Refused {
			r.Refused[reason] += n
		}
	}
	r.finish(&o, runs, time.Since(begin), cpuTime()-cpu)
	if r.Interrupted {
		state, err := save(&o, runs, r.Refused)
		return r, state, err
	}
	if o.Explain && (o.Against != nil || o.comparesRecorded()) {
		if err := explain(ctx, &o, r, runs); err != nil {
			if ctx.Err() == nil {
				return r, nil, err
			}
			// Everything is judged; the lanes that go on have only to explain.
			r.Interrupted = true
			state, err := save(&o, runs, r.Refused)
			return r, state, err
		}
	}
	return r, nil, nil
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
				if err := r.all(failing); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
					fail()
					// Other lanes may wait for this one to be taken from.
					for err = nil; err == nil; {
						_, err = r.lane.Next(failing)
					}
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
	kept   *LaneState // where it goes on; nil once it has begun
	done   bool       // the lane has ended
	tally  *tally
	id     []byte
	doc    []byte
	clock  time.Time     // when the batch began
	before time.Duration // of the clock, when the event began
	events atomic.Int64
}

// judges are the states of the rulesets, and how their verdicts are put.
type judges struct {
	seen           repeats.Memory
	state, against *engine.Keyed
	groups         map[*program.Rule]string // nil if nothing is compared
}

func newJudges(o *Options) judges {
	j := judges{state: o.Ruleset.Engine.NewState(), groups: newGroups(o)}
	if o.Against != nil {
		j.against = o.Against.Engine.NewState()
	}
	return j
}

func newGroups(o *Options) map[*program.Rule]string {
	if o.Against == nil && !o.comparesRecorded() {
		return nil
	}
	return map[*program.Rule]string{}
}

func newRun(o *Options, l Lane, index int) *run {
	r := &run{o: o, lane: l, index: index, tally: newTally()}
	if o.State != nil {
		r.kept = &o.State.Lanes[index]
		r.tally, r.done = r.kept.Tally.restore(), r.kept.Done
	}
	return r
}

// begin makes the states of the rulesets, which a lane has only while it is
// judged: a topic may have more partitions than states have room in memory.
func (r *run) begin() error {
	kept := r.kept
	r.kept = nil
	if kept == nil || !kept.Begun {
		r.judges = newJudges(r.o)
		return nil
	}
	r.groups = newGroups(r.o)
	var err error
	if r.state, err = r.o.Ruleset.Engine.RestoreState(kept.State); err == nil && r.o.Against != nil {
		r.against, err = r.o.Against.Engine.RestoreState(kept.Against)
	}
	if err == nil {
		r.seen, _, err = repeats.Restore(kept.Seen)
	}
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	return nil
}

// end gives the states up.
func (r *run) end() {
	if r.state != nil {
		r.count()
	}
	r.done, r.judges = true, judges{}
}

// count adds the numbers of the state to the tally.
func (r *run) count() {
	r.tally.Steps += r.state.StepsExceeded()
	r.tally.Evicted += r.state.Evicted()
}

// all judges the whole lane. It returns nil when ctx ends.
func (r *run) all(ctx context.Context) error {
	if r.done {
		return nil
	}
	for {
		items, err := r.lane.Next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			r.end()
			return nil
		case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return nil
		case err != nil:
			return err
		}
		if r.state == nil {
			if err := r.begin(); err != nil {
				return err
			}
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
	if r.seen.Seen(it.Key, it.Event.EventID) {
		if !it.Silent {
			r.tally.Repeated++
		}
		return nil
	}
	res, got := r.verdict(r.o.Ruleset.Engine, r.state, it)
	if res.Alert && !it.Silent && (r.o.Out != nil || r.o.Timing) {
		r.id = schemas.AppendAlertID(r.id[:0], it.Event.Time, it.Partition, it.Offset, 0)
		r.doc = res.AppendAlert(r.doc[:0], unsafe.String(unsafe.SliceData(r.id), len(r.id)), nil)
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
	if r.o.judged != nil {
		r.o.judged()
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
		r.tally.compare(r.o, it, r.o.RecordedAlerts.verdict(it.Partition, it.Offset), got)
	case r.o.Recorded && it.Recorded != nil:
		// Archives name the rule only of events that alerted.
		r.tally.compare(r.o, it, *it.Recorded, got)
	}
	if r.o.Timing && r.against != nil {
		r.before = time.Since(r.clock) // the comparison's time counts for no event
	}
	return nil
}

// verdict judges an event by one engine; a zero verdict is no alert. The result
// is valid until the state's next event.
func (j *judges) verdict(e *engine.Engine, s *engine.Keyed, it *Item) (*engine.Result, Verdict) {
	res := e.Process(s, &it.Event)
	if !res.Alert {
		return res, Verdict{}
	}
	if j.groups == nil {
		return res, Verdict{Rule: res.RuleID, Level: res.Level}
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
