package embedded

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"vedette/internal/datadir"
	"vedette/test/harness"
)

// A node with the alerts file in the form of earlier versions gets the new one, and
// a webhook beside it: the file goes on where it was, and the webhook gets every
// alert of its conditions from the beginning, though it is busy at times.
func TestDestinationsTakeOverTheEarlierForm(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	got, requests := map[string]int{}, 0
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if requests++; requests%7 == 3 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		var list []struct {
			Rule struct {
				Level int `json:"level"`
			} `json:"rule"`
			Vedette struct {
				TopicID   string `json:"topic_id"`
				Partition int    `json:"partition"`
				Offset    int64  `json:"offset"`
				N         int    `json:"n"`
			} `json:"vedette"`
		}
		if err := json.Unmarshal(body, &list); err != nil {
			t.Errorf("a request of the webhook is no list of alerts: %v", err)
		}
		for _, a := range list {
			if a.Rule.Level < 5 || r.Header.Get("X-Team") != "soc" {
				t.Errorf("the webhook got an alert of level %d with the header %q; want levels from 5 and soc", a.Rule.Level, r.Header.Get("X-Team"))
			}
			got[fmt.Sprintf("%s-%d-%d-%d", a.Vedette.TopicID, a.Vedette.Partition, a.Vedette.Offset, a.Vedette.N)]++
		}
	}))
	t.Cleanup(hook.Close)
	dir := filepath.Join(t.TempDir(), "data")
	play := func(at datadir.Endpoints, prefix string) {
		harness.StartSimulate(t, harness.SimulateConfig{Agents: 2, Count: 300, EPS: 1000, Front: at, Prefix: prefix, PasswordFile: filepath.Join(dir, datadir.EnrollmentPassword)}).Wait(t)
	}
	total := func(at datadir.Endpoints, query string) int {
		var p page
		api(t, dir, at, "/alerts?limit=1&q="+query, &p)
		return p.Data.Total
	}
	// inFile waits until the file holds every alert of the store, each once.
	inFile := func(at datadir.Endpoints) (n int) {
		eventually(t, "alerts.json holds every alert of the store", func() bool {
			n = total(at, "")
			return n > 0 && len(alertsFile(t, dir)) == n
		})
		for id, times := range alertsFile(t, dir) {
			if times != 1 {
				t.Errorf("alert %s stands in alerts.json %d times", id, times)
			}
		}
		return n
	}

	first := harness.Launch(t, bin, "first", dir, append(env(datadir.Endpoints{}), "VEDETTE_FORWARD_ALERTS_FILE_ENABLED=true"), "run")
	at := first.Endpoints(t, time.Minute)
	play(at, "before")
	before := inFile(at)
	if err := first.Stop(time.Minute); err != nil {
		t.Fatalf("the first process did not end well: %v", err)
	}
	destinations := fmt.Sprintf(`[{name: alerts_file, type: file}, {name: soc, type: webhook, url: "%s", when: "rule.level>=5", batch: 20, headers: {X-Team: soc}}]`, hook.URL)
	second := harness.Launch(t, bin, "second", dir, append(env(at), "VEDETTE_FORWARD_DESTINATIONS="+destinations), "run")
	at = second.Endpoints(t, time.Minute)
	play(at, "after")
	if after := inFile(at); after <= before {
		t.Errorf("%d alerts before and %d after more events; want more", before, after)
	}
	want := 0
	eventually(t, "the webhook has every alert of level 5 and more", func() bool {
		want = total(at, "rule.level%3E4")
		mu.Lock()
		defer mu.Unlock()
		return want > 0 && len(got) == want
	})
	mu.Lock()
	defer mu.Unlock()
	for id, n := range got {
		if n != 1 {
			t.Errorf("the webhook got alert %s %d times, though every refusal said that nothing was taken", id, n)
		}
	}
	t.Logf("%d alerts in the file, %d at the webhook in %d requests", total(at, ""), want, requests)
}
