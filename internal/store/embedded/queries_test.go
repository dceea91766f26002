package embedded

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vedette/internal/qlang"
	"vedette/internal/store"
	"vedette/internal/store/storetest"
	"vedette/schemas"
)

func BenchmarkQueries(b *testing.B) {
	s := open(b, b.TempDir())
	pad := strings.Repeat("some words that stand in a log line of an ordinary daemon ", 14)
	const n = 170_000
	begin := cpuTime()
	for i := 0; i < n; i += 5000 {
		as := make([]schemas.Alert, 5000)
		for j := range as {
			k := i + j
			as[j] = storetest.Alert("b", k, map[string]any{
				"full_log": fmt.Sprintf("%s w%d", pad, k),
				"decoder":  map[string]any{"name": []string{"sshd", "windows_eventchannel", "json", "web-accesslog"}[k%4]},
				"data":     map[string]any{"srcip": fmt.Sprintf("10.0.%d.%d", k/250%250, k%250), "dstuser": fmt.Sprintf("u%d", k%500), "odd": fmt.Sprintf("v%d", k%100)},
				"location": fmt.Sprintf("/var/log/f%d", k%40), "syscheck": map[string]any{"path": fmt.Sprintf("/etc/dir%d/file%d", k%1000, k%20000)},
			})
			as[j].Time = storetest.Base().Add(time.Duration(k) * 50 * time.Millisecond)
		}
		if f, err := s.Put(b.Context(), as); err != nil || len(f) > 0 {
			b.Fatal(f, err)
		}
	}
	b.Logf("put: %s of CPU per alert", (cpuTime()-begin)/n)
	x := func(s string) *qlang.Expr {
		e, err := qlang.Parse(s)
		if err != nil {
			b.Fatal(err)
		}
		return e
	}
	measure := func(name string, q store.Query) {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			cpu := cpuTime()
			for b.Loop() {
				start := time.Now()
				if _, err := s.Search(b.Context(), q); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/1000/float64(len(took)), "cpu-ms/op")
			slices.Sort(took)
			b.ReportMetric(float64(took[0].Microseconds())/1000, "best-ms")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
		})
	}
	for _, q := range []string{
		"decoder.name~win", "data.srcip=192.0.2.9", "data.srcip=10.0.3.7", "data.srcip~10.0.3", "rule.groups=g1", "rule.groups!=g1", "data.dstuser=u7;decoder.name=sshd",
		"syscheck.path~dir7/", "data.odd=v3", "data.odd=none", "agent.name=web-2;rule.level>5", "rule.id=5701", "agent.name=web-2,data.srcip=10.0.3.7",
	} {
		measure(q, store.Query{Limit: 50, Filter: x(q)})
	}
	for _, f := range []string{"rule.level", "data.srcip", "agent.name", "rule.firedtimes"} {
		measure("sort "+f, store.Query{Limit: 50, Sort: []store.Order{{Field: f, Desc: true}}})
	}
}

// cpuTime is the CPU time of this process, because a shared machine's clock says
// little.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
