package topics

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"vedette/schemas"
)

// Formats of records.
const (
	// FormatPlain makes the value the event's text.
	FormatPlain = "plain"
	// FormatJSON does so for a value that must be JSON.
	FormatJSON = "json"
	// FormatBeats takes `message` out of a document of Elastic Beats, `host.name`
	// and `log.file.path` as where it comes from, and `@timestamp`.
	FormatBeats = "beats"
)

// Formats returns every format.
func Formats() []string { return []string{FormatPlain, FormatJSON, FormatBeats} }

// Config is one topic to take events from.
type Config struct {
	// Topic is the full name.
	Topic string `mapstructure:"topic" yaml:"topic"`
	// Format is one of Formats; empty is FormatPlain.
	Format string `mapstructure:"format" yaml:"format"`
	// Location is the events' location; empty: the topic's name or, with
	// FormatBeats, host and file.
	Location string `mapstructure:"location" yaml:"location"`
	// Agent is the id of the agent that the events belong to; empty or 000: none.
	Agent string `mapstructure:"agent" yaml:"agent"`
	// Group is the consumer group's full name; empty: the topic prefix, `ingest-`
	// and the topic.
	Group string `mapstructure:"group" yaml:"group"`
}

const (
	topicMax    = 249 // of Kafka
	locationMax = 1024
)

func (c Config) format() string {
	if c.Format == "" {
		return FormatPlain
	}
	return c.Format
}

func (c Config) agent() string {
	if c.Agent == "" {
		return schemas.ManagerID
	}
	return c.Agent
}

func (c Config) group(prefix string) string {
	if c.Group == "" {
		return prefix + "ingest-" + c.Topic
	}
	return c.Group
}

// Validate returns every problem of a list, joined; each names its key. prefix
// is the topic prefix of this installation.
func Validate(list []Config, prefix string) error {
	var errs []error
	topics, groups := map[string]bool{}, map[string]bool{}
	for i, c := range list {
		bad := func(key, format string, a ...any) {
			errs = append(errs, fmt.Errorf("ingest.kafka[%d].%s: %s", i, key, fmt.Sprintf(format, a...)))
		}
		own := prefix != "" && strings.HasPrefix(c.Topic, prefix) || prefix == "" && slices.ContainsFunc(schemas.Topics(), func(t schemas.Topic) bool { return t.Name == c.Topic })
		switch {
		case c.Topic == "":
			bad("topic", "empty; give the topic's full name")
		case len(c.Topic) > topicMax || strings.Trim(c.Topic, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "":
			bad("topic", "%q is no topic's name", c.Topic)
		case own:
			bad("topic", "%q is one of Vedette's own topics", c.Topic)
		case topics[c.Topic]:
			bad("topic", "%q stands there twice", c.Topic)
		case groups[c.group(prefix)]:
			bad("group", "%q is the group of another topic", c.group(prefix))
		}
		topics[c.Topic], groups[c.group(prefix)] = true, true
		if !slices.Contains(Formats(), c.format()) {
			bad("format", "%q is not one of %s", c.Format, strings.Join(Formats(), ", "))
		}
		if c.agent() != schemas.ManagerID && !schemas.ValidAgentID(c.Agent) {
			bad("agent", "%q is no agent's id, such as 007", c.Agent)
		}
		if strings.HasPrefix(c.Location, "[") || len(c.Location) > locationMax || strings.ContainsAny(c.Location, "\x00\r\n") {
			bad("location", "at most %d bytes on one line, not beginning with [", locationMax)
		}
	}
	return errors.Join(errs...)
}
