package topics

import (
	"fmt"
	"testing"
	"time"

	"vedette/internal/kafka/kafkatest"
	"vedette/schemas"
)

// A client reads no topic that was made anew under its old name, and its offsets
// begin anew: under the old stream's name they would all be repeats.
func TestATopicMadeAnewIsReadAsAnotherStream(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	topic(t, c, "app", 1)
	rec := func(s string) schemas.Record { return schemas.Record{Topic: "app", Value: []byte(s)} }
	produce(t, c.Foreign(), rec("a0"), rec("a1"), rec("a2"))
	_, stop := run(t, Options{Cluster: c, Topics: []Config{{Topic: "app"}}, watchEvery: 100 * time.Millisecond})
	defer stop()
	has := func(n int) error {
		if got := len(records(t, c, schemas.TopicEvents)); got != n {
			return fmt.Errorf("%d events, want %d", got, n)
		}
		return nil
	}
	eventually(t, func() error { return has(3) })
	first, err := c.Foreign().TopicID(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	adm, err := c.Admin()
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	if _, err := adm.DeleteTopic(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	topic(t, c, "app", 1)
	second, err := c.Foreign().TopicID(t.Context(), "app")
	if err != nil || first == second {
		t.Fatal(first, second, err)
	}
	produce(t, c.Foreign(), rec("b0"))
	eventually(t, func() error { return has(4) })
	for _, r := range records(t, c, schemas.TopicEvents) {
		want := first
		if r.Value[0] == 'b' {
			want = second
		}
		if got := string(r.Header(schemas.HeaderEventID)); got != want+"/0/"+string(r.Value[1:]) {
			t.Errorf("%s: %s", r.Value, got)
		}
	}
}
