package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"vedette/ruleset/engine"
)

// explain judges parts of the history once more, up to the last example. It
// notes for each example why the verdicts differ: the fate of each verdict's
// rule under the other ruleset. Judging with a trace is slow, so that the replay
// itself does without. As keys know nothing of one another, only the examples'
// keys are judged.
func explain(ctx context.Context, o *Options, r *Report, runs []*run) error {
	x := &explainer{o: o, wanted: map[Position]*Sample{}, last: map[int32]int64{}, keys: map[string]bool{}}
	for i := range r.Samples {
		s := &r.Samples[i]
		x.wanted[Position{s.Partition, s.Offset}] = s
		x.last[s.Partition] = max(x.last[s.Partition], s.Offset)
		x.keys[s.Key] = true
	}
	if len(r.Samples) == 0 {
		return nil
	}
	var from []Place
	for _, run := range runs {
		p := run.lane.At().start()
		if _, file := o.Source.(*File); file {
			from = nil // one lane, from its first line
			break
		}
		if _, ok := x.last[p.Partition]; ok {
			from = append(from, p)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lanes, err := o.Source.Open(ctx, 1, from)
	if err != nil {
		return err
	}
	work := make(chan Lane, len(lanes))
	for _, l := range lanes {
		work <- l
	}
	close(work)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for range min(o.Workers, len(lanes)) {
		wg.Go(func() {
			for l := range work {
				if err := x.lane(ctx, l); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// explainer knows which events are to be explained.
type explainer struct {
	o      *Options
	wanted map[Position]*Sample // each belongs to one lane
	last   map[int32]int64
	keys   map[string]bool
}

// lane goes through one lane up to its last example.
func (x *explainer) lane(ctx context.Context, l Lane) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for err := error(nil); err == nil; {
			_, err = l.Next(ctx) // until the lane's reader has ended
		}
	}()
	j := newJudges(x.o)
	for {
		items, err := l.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range items {
			it := &items[i]
			if it.Offset > x.last[it.Partition] {
				return nil
			}
			if j.seen.Seen(it.Key, it.Event.EventID) || !x.keys[it.Event.Key()] {
				continue
			}
			s := x.wanted[Position{it.Partition, it.Offset}]
			if s == nil {
				j.verdict(x.o.Ruleset.Engine, j.state, it)
				if j.against != nil {
					j.verdict(x.o.Against.Engine, j.against, it)
				}
				continue
			}
			_, now := x.o.Ruleset.Engine.Explain(j.state, &it.Event)
			var was *engine.Trace
			if j.against != nil {
				_, was = x.o.Against.Engine.Explain(j.against, &it.Event)
			}
			s.Reason = why(x.o, s, now, was)
		}
	}
}

// why compares the fates of the rules in both.
func why(o *Options, s *Sample, now, was *engine.Trace) string {
	switch {
	case s.Kind == Added && was == nil:
		return fmt.Sprintf("rule %d fires; nothing was recorded", s.Now.Rule)
	case s.Kind == Added:
		return fmt.Sprintf("rule %d fires; in %s, %s", s.Now.Rule, o.Against.Name, fate(o.Against, was, s.Now.Rule))
	case s.Was.Rule == s.Now.Rule && s.Was.Level != s.Now.Level:
		return fmt.Sprintf("the level of rule %d was %d and is %d", s.Now.Rule, s.Was.Level, s.Now.Level)
	case s.Was.Rule == s.Now.Rule:
		return fmt.Sprintf("the groups of rule %d were %s and are %s", s.Now.Rule, s.Was.Groups, s.Now.Groups)
	}
	return fmt.Sprintf("rule %d fired before; in %s, %s", s.Was.Rule, o.Ruleset.Name, fate(&o.Ruleset, now, s.Was.Rule))
}

// fate describes the outcome of a rule.
func fate(r *Ruleset, t *engine.Trace, id int) string {
	var tried, chosen *engine.RuleTry
	for i := range t.Rules {
		x := &t.Rules[i]
		if x.ID == id && (tried == nil || x.Matched) {
			tried = x
		}
		if x.Chosen {
			chosen = x
		}
	}
	switch {
	case r.Engine.Program().RuleByID[id] == nil && chosen != nil && t.Outcome == "alert":
		return "there is no such rule"
	case r.Engine.Program().RuleByID[id] == nil:
		return "there is no such rule: " + t.Outcome
	case chosen != nil && chosen.ID == id:
		return fmt.Sprintf("it is chosen too, with level %d: %s", chosen.Level, t.Outcome)
	case tried != nil && !tried.Matched && tried.Failed != nil:
		return "it fails: " + failure(tried.Failed)
	case tried != nil && tried.Matched && chosen != nil:
		return fmt.Sprintf("it matches, but rule %d is chosen", chosen.ID)
	case tried != nil && tried.Matched:
		return "it matches, but gives no alert: " + t.Outcome
	case chosen != nil:
		return fmt.Sprintf("it is not reached, rule %d is chosen", chosen.ID)
	}
	return "it is not reached: no rule above it matches"
}

func failure(f *engine.Failure) string {
	text := "<" + f.Element + ">"
	if f.Pattern != "" {
		text += " " + f.Pattern
	}
	if f.Negate {
		text += " (negated)"
	}
	switch {
	case f.Note != "":
		return text + ": " + f.Note
	case f.Missing:
		return text + ": the event has no such value"
	case f.Value != "":
		return text + " does not hold for " + fmt.Sprintf("%q", f.Value)
	}
	return text + " does not hold"
}
