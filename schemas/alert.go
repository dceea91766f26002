package schemas

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"
)

// MaxAlertBytes bounds an alert document (docs/design.md D3).
const MaxAlertBytes = 1 << 20

// maxAlertIDBytes is the longest document id an indexer takes.
const maxAlertIDBytes = 512

// Names of the headers of an alert record; both are required.
const (
	HeaderAlertID    = "id"
	HeaderAlertEpoch = "epoch"
)

// Alert is one alert document as it stands in TopicAlerts.
type Alert struct {
	// ID names the document wherever it is stored; see AlertDocID.
	ID string
	// Epoch is the group generation of the worker that wrote it. Of two
	// documents with the same ID, the one with the higher epoch holds.
	Epoch int64
	// Key is the event's key.
	Key string
	// Time is the alert's time, in milliseconds. The day of its index or file
	// comes from it, in UTC.
	Time time.Time
	// Document is one JSON object (spec/alert-format.md §1) whose last member is
	// `vedette`.
	Document []byte
}

// AlertDocID returns the id of the n-th alert of an event: where the event
// stood, and n. With a Kafka topic id (base64url) it needs no escaping in a URL.
func AlertDocID(topicID string, partition int32, offset int64, n int) string {
	b := make([]byte, 0, len(topicID)+32)
	b = append(b, topicID...)
	b = append(b, '-')
	b = strconv.AppendInt(b, int64(partition), 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, offset, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, int64(n), 10)
	return string(b)
}

// Record returns the alert as a record of TopicAlerts. The value aliases a.Document.
func (a *Alert) Record() Record {
	return Record{
		Topic: TopicAlerts, Timestamp: a.Time, Key: []byte(a.Key), Value: a.Document,
		Headers: []Header{
			{Key: HeaderAlertID, Value: []byte(a.ID)},
			{Key: HeaderAlertEpoch, Value: strconv.AppendInt(nil, a.Epoch, 10)},
		},
	}
}

// Errors of ParseAlert. Each is a cause under which a record goes to the dead letter.
var (
	ErrAlertID       = errors.New("header id is missing or not 1 to 512 of [A-Za-z0-9_.-]")
	ErrAlertEpoch    = errors.New("header epoch is missing or not a decimal number from 0")
	ErrAlertTooLarge = errors.New("alert document larger than 1 MiB")
	ErrAlertDocument = errors.New("alert document is not a JSON object")
)

// ParseAlert reads a record of TopicAlerts. The document aliases the record.
func ParseAlert(r *Record) (Alert, error) {
	a := Alert{ID: string(r.Header(HeaderAlertID)), Key: string(r.Key), Time: r.Timestamp, Document: r.Value}
	if !urlSafe(a.ID) {
		return a, ErrAlertID
	}
	var err error
	if a.Epoch, err = strconv.ParseInt(string(r.Header(HeaderAlertEpoch)), 10, 64); err != nil || a.Epoch < 0 {
		return a, ErrAlertEpoch
	}
	if len(a.Document) > MaxAlertBytes {
		return a, ErrAlertTooLarge
	}
	if !json.Valid(a.Document) || !startsObject(a.Document) {
		return a, ErrAlertDocument
	}
	return a, nil
}

// urlSafe reports whether s may stand in a URL's path as it is.
func urlSafe(s string) bool {
	if s == "" || len(s) > maxAlertIDBytes {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

func startsObject(b []byte) bool {
	for _, c := range b {
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			return c == '{'
		}
	}
	return false
}
