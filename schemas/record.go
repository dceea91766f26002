package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrNewer says that a newer program wrote the record: this one knows an older
// form only.
var ErrNewer = errors.New("the record has a form that only a newer program reads")

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record of a topic, free of any client library's types.
//
// Topic is the name without the configured prefix. Partition, Offset and
// Timestamp are filled when the record was read; a zero Timestamp on produce
// means the time of producing. LeaderEpoch is -1 when unknown.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Timestamp time.Time
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Header returns the value of the first header named key, or nil.
func (r *Record) Header(key string) []byte {
	for i := range r.Headers {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value
		}
	}
	return nil
}

// MACInput returns the bytes that the MAC of a record of TopicCheckpoints, TopicFiles,
// TopicBlobs or TopicCommands is made over: its key and its value, so that one record
// cannot be passed off as another.
func MACInput(r *Record) []byte {
	b := make([]byte, 0, len(r.Key)+1+len(r.Value))
	b = append(append(b, r.Key...), 0)
	return append(b, r.Value...)
}

// decode reads a value of JSON with a version in the member `v`. Another version
// than known is refused with wrongVersion, a later one also with ErrNewer; every
// other fault with wrong. The version is read first, because later forms may hold
// members of other types.
func decode(value []byte, known int, into any, wrong, wrongVersion error) error {
	var head struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(value, &head); err != nil {
		return fmt.Errorf("%w: %w", wrong, err)
	}
	switch {
	case head.V > known:
		return fmt.Errorf("%w: version %d, this program knows %d: %w", wrongVersion, head.V, known, ErrNewer)
	case head.V != known:
		return fmt.Errorf("%w: version %d", wrongVersion, head.V)
	}
	if err := json.Unmarshal(value, into); err != nil {
		return fmt.Errorf("%w: %w", wrong, err)
	}
	return nil
}
