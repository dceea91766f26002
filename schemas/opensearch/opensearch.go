// Package opensearch holds the index templates that Vedette installs.
//
// They keep the field names and types that existing dashboards expect
// (spec/indexer-documents.md §1). Our own choices: a composable template instead
// of the legacy one named `wazuh`, which stays as it is and yields to ours by
// the indexer's rules; values that do not fit a number, date or address field
// are not indexed instead of refusing the document; and texts too long for a
// keyword are stored without being indexed.
package opensearch

import (
	_ "embed" // the template
	"encoding/json"
	"sync"
)

// AlertsTemplateName is the composable template's name.
const AlertsTemplateName = "vedette-alerts"

// AlertsIndexPrefix is followed by YYYY.MM.DD of the alert's time in UTC.
const AlertsIndexPrefix = "wazuh-alerts-4.x-"

//go:embed alerts.json
var alertsTemplate []byte

// AlertsTemplate returns the body of PUT _index_template/vedette-alerts.
func AlertsTemplate() []byte { return alertsTemplate }

// AlertFieldTypes maps each field the template names to its type. What it does
// not name is a keyword when it is text. The map must not be changed.
var AlertFieldTypes = sync.OnceValue(func() map[string]string {
	type field struct {
		Type       string           `json:"type"`
		Properties map[string]field `json:"properties"`
	}
	var t struct {
		Template struct {
			Mappings field `json:"mappings"`
		} `json:"template"`
	}
	if err := json.Unmarshal(alertsTemplate, &t); err != nil {
		panic("schemas/opensearch: the embedded template is not JSON: " + err.Error())
	}
	out := map[string]string{}
	var walk func(prefix string, fs map[string]field)
	walk = func(prefix string, fs map[string]field) {
		for name, f := range fs {
			if f.Properties != nil {
				walk(prefix+name+".", f.Properties)
			} else {
				out[prefix+name] = f.Type
			}
		}
	}
	walk("", t.Template.Mappings.Properties)
	return out
})
