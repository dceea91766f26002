package opensearch

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"vedette/internal/geoip"
)

var errNoObject = errors.New("not a JSON object")

// document puts an alert into the indexer's form: on one line, with `@timestamp`
// and `input`, and the fields of the ingest pipeline: AWS fields, and
// GeoLocation if there is a database.
func document(doc []byte, at time.Time, db *geoip.DB) ([]byte, error) {
	doc = bytes.TrimSpace(doc)
	if len(doc) == 0 || doc[0] != '{' || !json.Valid(doc) {
		return nil, errNoObject
	}
	geo := geoLocation(db, doc)
	if bytes.Contains(doc, []byte(`"aws"`)) || bytes.Contains(doc, []byte(`"@timestamp"`)) || bytes.Contains(doc, []byte(`"input"`)) {
		return rewrite(doc, at, geo)
	}
	if bytes.ContainsAny(doc, "\n\r") {
		var b bytes.Buffer
		if err := json.Compact(&b, doc); err != nil {
			return nil, err
		}
		doc = b.Bytes()
	}
	out := make([]byte, 0, len(doc)+80)
	out = append(out, bytes.TrimSpace(doc[:len(doc)-1])...)
	if len(out) > 1 {
		out = append(out, ',')
	}
	out = append(out, `"@timestamp":"`...)
	out = at.UTC().AppendFormat(out, timestampLayout)
	out = append(out, `","input":{"type":"log"}`...)
	if geo != nil {
		b, err := json.Marshal(geo)
		if err != nil {
			return nil, err
		}
		out = append(append(out, `,"GeoLocation":`...), b...)
	}
	return append(out, '}'), nil
}

const timestampLayout = "2006-01-02T15:04:05.000Z"

// rewrite is the slow way, for documents in which something has to be looked at.
func rewrite(doc []byte, at time.Time, geo *geoMember) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var o map[string]any
	if err := dec.Decode(&o); err != nil {
		return nil, err
	}
	o["@timestamp"] = at.UTC().Format(timestampLayout)
	o["input"] = map[string]any{"type": "log"}
	if geo != nil {
		o["GeoLocation"] = geo
	}
	data, _ := o["data"].(map[string]any)
	if aws, ok := data["aws"].(map[string]any); ok {
		for to, from := range map[string]string{"region": "awsRegion", "accountId": "aws_account_id"} {
			if v, ok := aws[from]; ok && v != nil && v != "" && aws[to] == nil {
				aws[to] = v
			}
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(o); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
