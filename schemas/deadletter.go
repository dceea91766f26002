package schemas

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// MaxDeadLetterValueBytes bounds how much of a record's value is kept.
const MaxDeadLetterValueBytes = 512 << 10

// maxDeadLetterDetailBytes bounds the explanation, which may quote what an
// indexer answered.
const maxDeadLetterDetailBytes = 4 << 10

// DeadLetter is a record that could not be processed, with the reason why, and
// where it stood.
type DeadLetter struct {
	// Topic, Partition and Offset are the coordinates of the record, the topic
	// without the prefix.
	Topic     string
	Partition int32
	Offset    int64
	// Cause is one of a closed set of words per stage, such as `mapping`.
	Cause string
	// Detail is for people.
	Detail string
	// Time is the record's own timestamp.
	Time    time.Time
	Headers []Header
	// Value is the record's value, cut at MaxDeadLetterValueBytes; ValueBytes is
	// the length it had.
	Value      []byte
	ValueBytes int
}

// NewDeadLetter describes why r could not be processed.
func NewDeadLetter(r *Record, cause, detail string) DeadLetter {
	return DeadLetter{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Cause: cause, Detail: detail,
		Time: r.Timestamp, Headers: r.Headers, Value: r.Value, ValueBytes: len(r.Value),
	}
}

type deadLetterJSON struct {
	Topic      string             `json:"topic"`
	Partition  int32              `json:"partition"`
	Offset     int64              `json:"offset"`
	Cause      string             `json:"cause"`
	Detail     string             `json:"detail,omitempty"`
	Time       string             `json:"time"`
	Headers    []deadLetterHeader `json:"headers,omitempty"`
	Value      string             `json:"value"`
	ValueBytes int                `json:"value_bytes"`
}

type deadLetterHeader struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Record returns d as a record of TopicDeadLetter: a JSON object whose header
// values and value are base64.
func (d *DeadLetter) Record() Record {
	j := deadLetterJSON{
		Topic: d.Topic, Partition: d.Partition, Offset: d.Offset, Cause: d.Cause, Detail: d.Detail,
		Time: d.Time.UTC().Format(time.RFC3339Nano), ValueBytes: max(d.ValueBytes, len(d.Value)),
	}
	if len(j.Detail) > maxDeadLetterDetailBytes {
		j.Detail = j.Detail[:maxDeadLetterDetailBytes]
	}
	budget := MaxDeadLetterValueBytes
	for _, h := range d.Headers {
		if budget -= len(h.Key) + len(h.Value); budget < 0 {
			break
		}
		j.Headers = append(j.Headers, deadLetterHeader{Key: h.Key, Value: base64.StdEncoding.EncodeToString(h.Value)})
	}
	j.Value = base64.StdEncoding.EncodeToString(d.Value[:min(len(d.Value), MaxDeadLetterValueBytes)])
	b, err := json.Marshal(j)
	if err != nil {
		panic("schemas: a struct of strings and integers did not encode: " + err.Error())
	}
	return Record{Topic: TopicDeadLetter, Key: []byte(d.Topic), Value: b}
}

// ErrDeadLetter says that a record of TopicDeadLetter does not have the form of Record.
var ErrDeadLetter = errors.New("not a dead letter record")

// ParseDeadLetter reads a record of TopicDeadLetter. Unknown members are ignored.
func ParseDeadLetter(r *Record) (DeadLetter, error) {
	var j deadLetterJSON
	if err := json.Unmarshal(r.Value, &j); err != nil {
		return DeadLetter{}, fmt.Errorf("%w: %w", ErrDeadLetter, err)
	}
	d := DeadLetter{
		Topic: j.Topic, Partition: j.Partition, Offset: j.Offset, Cause: j.Cause, Detail: j.Detail, ValueBytes: j.ValueBytes,
	}
	if d.Topic == "" || d.Cause == "" {
		return d, fmt.Errorf("%w: topic or cause is empty", ErrDeadLetter)
	}
	var err error
	if d.Time, err = time.Parse(time.RFC3339Nano, j.Time); err != nil {
		return d, fmt.Errorf("%w: %w", ErrDeadLetter, err)
	}
	if d.Value, err = base64.StdEncoding.DecodeString(j.Value); err != nil {
		return d, fmt.Errorf("%w: value: %w", ErrDeadLetter, err)
	}
	for _, h := range j.Headers {
		v, err := base64.StdEncoding.DecodeString(h.Value)
		if err != nil {
			return d, fmt.Errorf("%w: header %q: %w", ErrDeadLetter, h.Key, err)
		}
		d.Headers = append(d.Headers, Header{Key: h.Key, Value: v})
	}
	return d, nil
}
