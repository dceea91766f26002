package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"vedette/api/agents"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/api/auth"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/registry"
	"vedette/internal/secret"
	"vedette/schemas"
)

// BenchmarkListAgents asks for 500 of 10,000 agents, 20 clients at a time, while
// agents report.
func BenchmarkListAgents(b *testing.B) {
	const count, clients = 10_000, 20
	box, err := secret.NewBox(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		b.Fatal(err)
	}
	reg, err := registry.Open(kafkatest.New(b), box, "node1", quiet, nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = reg.Run(ctx) })
	b.Cleanup(func() { cancel(); wg.Wait() })
	<-reg.Ready()
	for _, err := range agents.ForEach(count, func(i int) error {
		_, err := reg.Add(b.Context(), registry.AddRequest{Name: fmt.Sprintf("agent-%d", i)})
		return err
	}) {
		if err != nil {
			b.Fatal(err)
		}
	}
	report := func(i int) {
		reg.SetPresence(schemas.Presence{
			V: 1, ID: fmt.Sprintf("%03d", 1+i%count), State: schemas.StateActive, Gateway: "node1", Address: "192.0.2.1", Version: "Wazuh v4.14.7",
			OS: schemas.OS{Name: "Ubuntu", Platform: "ubuntu", Version: "22.04", Uname: "Linux |host |5.15 |#1 SMP |x86_64"}, LastKeepalive: time.Now().UnixMilli(), Updated: int64(i + 1),
		}, nil)
	}
	for i := range count {
		report(i)
	}
	r, f := NewRegistry(reg, schemas.ForcePolicy{}, "siem"), newFakes()
	cfg := testConfig(b)
	a, err := build(cfg, Deps{Agents: r, Groups: r, Users: f, Rules: f}, quiet, prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	token, err := auth.NewToken(f.key, auth.Claims{Subject: "wazuh", Roles: []int{1}, Mode: "white", NotBefore: time.Now().Unix() - 1, Expires: time.Now().Unix() - 1 + int64(cfg.TokenLifetime/time.Second)})
	if err != nil {
		b.Fatal(err)
	}
	var mu sync.Mutex
	var took []time.Duration
	next := count
	for b.Loop() {
		var round sync.WaitGroup
		for range clients {
			report(next)
			next++
			round.Go(func() {
				start := time.Now()
				w := httptest.NewRecorder()
				q := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/agents?limit=500", nil)
				q.Header.Set("Authorization", "Bearer "+token)
				a.Handler().ServeHTTP(w, q)
				if w.Code != 200 {
					b.Errorf("%d %s", w.Code, w.Body)
				}
				mu.Lock()
				took = append(took, time.Since(start))
				mu.Unlock()
			})
		}
		round.Wait()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[0].Microseconds())/1000, "best-ms")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
