package forward

import (
	"fmt"
	"regexp"
	"time"

	"vedette/forward/route"
)

// Names of the destinations that are there without an entry in the configuration.
const (
	// IndexerName is the destination that keeps alerts for searching.
	IndexerName = "indexer"
	// ResponsesName is the destination that starts active responses.
	ResponsesName = "activeresponse"
)

// Settings are the settings of one type of destination: a pointer to the Config of
// its package. Their fields have the tag `mapstructure`.
type Settings interface {
	// Validate reports every problem; each begins with its key. With files it also
	// reads the files that the settings name: false in a process that does not
	// forward, which need not have them.
	Validate(files bool) error
	// Warnings returns the settings that are allowed but unwise; each begins with
	// its key.
	Warnings() []string
}

// Env holds the settings of the process that destinations need beside their own.
type Env struct {
	// DataDir is data_dir.
	DataDir string
	// Zone is cluster.timezone.
	Zone *time.Location
}

// Factory makes the destinations of one type. Package all lists the factories.
type Factory struct {
	// Name is the type's, as entries of forward.destinations give it.
	Name string
	// Default returns new settings with their defaults.
	Default func() Settings
	// New opens a destination. If it is an io.Closer, it is closed in the end.
	New func(Settings, Env) (Destination, error)
}

// NewFactory returns the factory of a type with the settings C.
func NewFactory[C any, P interface {
	*C
	Settings
}](name string, settings func() C, open func(C, Env) (Destination, error)) Factory {
	return Factory{
		Name:    name,
		Default: func() Settings { c := settings(); return P(&c) },
		New:     func(s Settings, env Env) (Destination, error) { return open(*s.(P), env) },
	}
}

// Decode returns the settings of one entry. fill decodes the entry's keys into the
// struct that it gets a pointer to.
func (f Factory) Decode(fill func(to any) error) (Settings, error) {
	s := f.Default()
	return s, fill(s)
}

// Entry is one entry of forward.destinations.
type Entry struct {
	// Name is unique. It names the destination in metrics, logs and the consumer
	// group: under another name a destination begins with the oldest alerts anew.
	Name string
	// Type is the name of a Factory.
	Type     string
	Route    route.Config
	Settings Settings
}

// Target is a destination with its name, and with its conditions for alerts; nil
// conditions take every alert.
type Target struct {
	Name  string
	Route *route.Matcher
	Destination
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// CheckName refuses a name of an entry that cannot be used.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("empty; it names the destination in metrics and logs")
	case name == IndexerName || name == ResponsesName:
		return fmt.Errorf("%q is the name of a destination that is always there; use another", name)
	case !nameForm.MatchString(name):
		return fmt.Errorf("%q is not 1 to 63 of a-z, 0-9, '_' and '-', with a letter first", name)
	}
	return nil
}
