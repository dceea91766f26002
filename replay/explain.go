package replay

import (
	"context"
	"errors"
	"fmt"
	"io"

	"vedette/ruleset/engine"
)

// explain judges the history once more, up to the last example, and notes for
// each example why the verdicts differ: of the rule that one of them names, what
// became of it in the other.
func explain(ctx context.Context, o *Options, r *Report) error {
	wanted := map[Position]*Sample{}
	last := map[int32]int64{}
	for i := range r.Samples {
		s := &r.Samples[i]
		wanted[Position{s.Partition, s.Offset}] = s
		last[s.Partition] = max(last[s.Partition], s.Offset)
	}
	again := *o
	again.State = nil
	lanes, err := o.Source.Open(ctx, 1)
	if err != nil {
		return err
	}
	for _, l := range lanes {
		j := newJudges(&again)
		done := false
		for !done {
			items, err := l.Next(ctx)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			for i := range items {
				it := &items[i]
				if it.Offset > last[it.Partition] {
					done = true // of this partition: nothing of it is wanted any more
					break
				}
				s := wanted[Position{it.Partition, it.Offset}]
				if s == nil {
					j.verdict(o.Ruleset.Engine, j.state, it)
					if j.against != nil {
						j.verdict(o.Against.Engine, j.against, it)
					}
					continue
				}
				_, now := o.Ruleset.Engine.Explain(j.state, &it.Event)
				var was *engine.Trace
				if j.against != nil {
					_, was = o.Against.Engine.Explain(j.against, &it.Event)
				}
				s.Reason = why(o, s, now, was)
			}
		}
		// The rest of the lane is read to its end, so that what feeds it ends.
		for {
			if _, err := l.Next(ctx); err != nil {
				break
			}
		}
	}
	return nil
}

// why compares what became of the rules in both.
func why(o *Options, s *Sample, now, was *engine.Trace) string {
	switch s.Kind {
	case Added:
		if was == nil {
			return fmt.Sprintf("rule %d fires; nothing was recorded", s.Now.Rule)
		}
		return fmt.Sprintf("rule %d fires; in %s, %s", s.Now.Rule, o.Against.Name, fate(o.Against, was, s.Now.Rule))
	default:
		return fmt.Sprintf("rule %d fired before; in %s, %s", s.Was.Rule, o.Ruleset.Name, fate(&o.Ruleset, now, s.Was.Rule))
	}
}

// fate says what became of a rule.
func fate(r *Ruleset, t *engine.Trace, id int) string {
	rule := r.Engine.Program().RuleByID[id]
	if rule == nil {
		return "there is no such rule"
	}
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
	case chosen != nil && chosen.ID == id && rule.Level == chosen.Level:
		return "it fires too, with level " + fmt.Sprint(chosen.Level) + ": " + t.Outcome
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
