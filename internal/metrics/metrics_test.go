package metrics

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestAPartThatIsMadeAnewGoesOnCounting(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	for range 2 {
		s := Set{reg, "part_"}
		s.Counter("done_total", "Done.").Inc()
		s.CounterVec("refused_total", "Refused.", "reason").WithLabelValues("full").Inc()
	}
	s := Set{reg, "part_"}
	if n := testutil.ToFloat64(s.Counter("done_total", "Done.")); n != 2 {
		t.Errorf("the counter is at %v, want 2", n)
	}
	if n := testutil.ToFloat64(s.CounterVec("refused_total", "Refused.", "reason").WithLabelValues("full")); n != 2 {
		t.Errorf("the labeled counter is at %v, want 2", n)
	}
}

func TestWithoutARegistererMetricsCountAllTheSame(t *testing.T) {
	t.Parallel()
	c := Set{}.Counter("done_total", "Done.")
	c.Inc()
	if n := testutil.ToFloat64(c); n != 1 {
		t.Errorf("the counter is at %v, want 1", n)
	}
}

func TestTwoKindsOfMetricUnderOneNamePanic(t *testing.T) {
	t.Parallel()
	s := Set{prometheus.NewRegistry(), ""}
	s.Counter("x", "A counter.")
	defer func() {
		if recover() == nil {
			t.Error("a gauge took the name of a counter")
		}
	}()
	s.Gauge("x", "A gauge.")
}
