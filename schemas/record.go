package schemas

import "time"

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

// MACInput is what the MAC of a record of TopicCheckpoints or TopicFiles is made
// over: its key and its value, so that one cannot be passed off as another.
func MACInput(r *Record) []byte {
	b := make([]byte, 0, len(r.Key)+1+len(r.Value))
	b = append(append(b, r.Key...), 0)
	return append(b, r.Value...)
}
