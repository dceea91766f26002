package topics

import (
	"bytes"
	"encoding/json"
	"time"

	"vedette/schemas"
)

// Causes for which a record is no event.
const (
	causeEmpty     = "source_empty"
	causeTooLarge  = "source_too_large"
	causeNotJSON   = "source_not_json"
	causeNoMessage = "source_no_message"
	causeProduce   = "source_refused_by_broker"
)

// documentMax bounds a document of which only a part becomes the event.
const documentMax = 1 << 20

// content is the part of a record that becomes an event.
type content struct {
	text []byte
	// where is the file and its host, or nothing.
	host, path string
	// time is the document's own, or zero.
	time time.Time
}

// read takes a record's value apart; a cause says why it is no event. The text
// may alias value.
func read(format string, value []byte) (c content, cause, detail string) {
	most := schemas.MaxEventBytes
	if format == FormatBeats {
		most = documentMax
	}
	if len(value) > most {
		return c, causeTooLarge, "the value is larger than an event may be"
	}
	switch format {
	case FormatJSON:
		c.text = bytes.TrimSpace(value)
		if len(c.text) > 0 && !json.Valid(c.text) {
			return c, causeNotJSON, "the value is not JSON"
		}
	case FormatBeats:
		if c, cause, detail = beats(value); cause != "" {
			return c, cause, detail
		}
	default:
		c.text = bytes.TrimSuffix(value, []byte{'\n'})
	}
	// As in every event, a NUL ends the text (spec/ruleset-language.md §1.1).
	if i := bytes.IndexByte(c.text, 0); i >= 0 {
		c.text = c.text[:i]
	}
	switch {
	case len(c.text) == 0:
		return c, causeEmpty, "there is no text"
	case len(c.text) > schemas.MaxEventBytes:
		return c, causeTooLarge, "the message is larger than an event may be"
	}
	return c, "", ""
}

// beats reads a document of Elastic Beats. A field of an unexpected type counts
// as absent, except for the message.
func beats(value []byte) (c content, cause, detail string) {
	if len(bytes.TrimSpace(value)) == 0 {
		return c, causeEmpty, "there is no text"
	}
	var doc struct {
		Message json.RawMessage `json:"message"`
		Host    json.RawMessage `json:"host"`
		Log     json.RawMessage `json:"log"`
		Time    json.RawMessage `json:"@timestamp"`
	}
	if err := json.Unmarshal(value, &doc); err != nil {
		return c, causeNotJSON, err.Error()
	}
	var message *string
	if err := json.Unmarshal(doc.Message, &message); err != nil || message == nil {
		return c, causeNoMessage, "the document has no text in message"
	}
	c.text = []byte(*message)
	var host struct {
		Name string `json:"name"`
	}
	var log struct {
		File struct {
			Path string `json:"path"`
		} `json:"file"`
	}
	var at string
	if json.Unmarshal(doc.Host, &host) == nil {
		c.host = host.Name
	}
	if json.Unmarshal(doc.Log, &log) == nil {
		c.path = log.File.Path
	}
	if json.Unmarshal(doc.Time, &at) == nil {
		c.time, _ = time.Parse(time.RFC3339Nano, at)
	}
	return c, "", ""
}

// location says where an event comes from.
func (c *Config) location(of *content) string {
	loc := c.Location
	if loc == "" {
		loc = of.path
		// Of an agent the host is known; of none it is part of the source.
		if c.agent() == schemas.ManagerID && of.host != "" {
			loc = of.host + "->" + of.path
		}
	}
	switch {
	case loc == "":
		loc = c.Topic
	case c.Location == "" && (loc[0] == '[' || loc[0] == '('):
		// A writer of the topic must not pass for an agent or an agentless
		// device (spec/ruleset-language.md §1.3).
		loc = c.Topic + "->" + loc
	}
	return loc[:min(len(loc), locationMax)]
}
