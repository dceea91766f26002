package analyze

import (
	"context"
	"fmt"
	"time"

	"vedette/internal/stage"
	"vedette/ruleset/engine"
)

// Rulesets gives workers the rulesets to judge by. All workers must get the same
// engine for the same version. It is safe for concurrent use.
type Rulesets interface {
	// Ready is closed once Current has an answer.
	Ready() <-chan struct{}
	// Current names the version that is to run. Its engine is at hand.
	Current() string
	// Engine returns the engine of a version. It gives ErrRulesetGone for one
	// that cannot be had any more; other errors pass.
	Engine(ctx context.Context, version string) (*engine.Engine, error)
}

// ErrRulesetGone says that a version is not published any more, or that this
// program cannot run it.
var ErrRulesetGone = fmt.Errorf("no such ruleset: %w", stage.ErrGone)

// rewind is how far back a partition is read again that has no checkpoint.
func (r *Role) rewind(ctx context.Context) time.Duration {
	e, err := r.o.Rulesets.Engine(ctx, r.o.Rulesets.Current())
	if err != nil {
		return 0
	}
	return e.Program().LongestWindow()
}

// Fixed is one ruleset that never changes.
type Fixed struct {
	Version string
	Of      *engine.Engine
}

var always = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Ready implements Rulesets.
func (Fixed) Ready() <-chan struct{} { return always }

// Current implements Rulesets.
func (f Fixed) Current() string { return f.Version }

// Engine implements Rulesets.
func (f Fixed) Engine(_ context.Context, version string) (*engine.Engine, error) {
	if version != f.Version {
		return nil, ErrRulesetGone
	}
	return f.Of, nil
}
