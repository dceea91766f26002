package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"

	"vedette/internal/kafka"
	"vedette/schemas"
)

var discard = slog.New(slog.DiscardHandler)

// Comparable removes from an alert what differs by design between two ways to
// the same document: its id, its coordinates, what the indexer adds, and the
// counter that only state of the whole hour gives.
func Comparable(doc map[string]any) map[string]any {
	for _, k := range []string{"id", "vedette", "@timestamp", "input"} {
		delete(doc, k)
	}
	if rule, ok := doc["rule"].(map[string]any); ok {
		delete(rule, "firedtimes")
	}
	return doc
}

// IndexedAlerts returns every alert in the index that came of one incarnation of
// the topic events, as comparable documents by "partition/offset". Two documents
// for one event are an error.
func IndexedAlerts(ctx context.Context, url, topicID string) (map[string]map[string]any, error) {
	if err := call(ctx, http.MethodPost, url+"/wazuh-alerts-4.x-*/_refresh?ignore_unavailable=true", nil, nil); err != nil {
		return nil, err
	}
	type hit struct {
		Source map[string]any `json:"_source"`
		Sort   []any          `json:"sort"`
	}
	out := map[string]map[string]any{}
	var after []any
	for {
		query := map[string]any{
			"size":  5000,
			"query": map[string]any{"term": map[string]any{"vedette.topic_id": topicID}},
			"sort":  []any{map[string]any{"vedette.partition": "asc"}, map[string]any{"vedette.offset": "asc"}, map[string]any{"vedette.n": "asc"}},
		}
		if after != nil {
			query["search_after"] = after
		}
		var page struct {
			Hits struct {
				Hits []hit `json:"hits"`
			} `json:"hits"`
		}
		if err := call(ctx, http.MethodPost, url+"/wazuh-alerts-4.x-*/_search?ignore_unavailable=true", query, &page); err != nil {
			return nil, err
		}
		for _, h := range page.Hits.Hits {
			v, _ := h.Source["vedette"].(map[string]any)
			at := fmt.Sprintf("%v/%.0f", v["partition"], v["offset"])
			if _, twice := out[at]; twice {
				return nil, fmt.Errorf("two documents for the event at %s", at)
			}
			out[at] = Comparable(h.Source)
			after = h.Sort
		}
		if len(page.Hits.Hits) == 0 {
			return out, nil
		}
	}
}

func call(ctx context.Context, method, url string, body, into any) error {
	var r io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, r)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %.300s", method, url, resp.Status, raw)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(raw, into)
}

// ReadTopic returns the records of a topic, by partition and offset.
func ReadTopic(ctx context.Context, c *kafka.Cluster, topic string) ([]schemas.Record, error) {
	var recs []schemas.Record
	f := c.Follow(topic, discard, func(r schemas.Record) { recs = append(recs, r) })
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	select {
	case <-f.Ready():
		cancel()
		<-done
	case err := <-done:
		if err != nil {
			return nil, err
		}
		return nil, ctx.Err()
	}
	slices.SortFunc(recs, func(a, b schemas.Record) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return int(a.Offset - b.Offset)
	})
	return recs, nil
}
