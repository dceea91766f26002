package rulesets

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vedette/internal/geoip"
	"vedette/ruleset"
	"vedette/ruleset/content"
	"vedette/ruleset/engine"
	"vedette/ruleset/program"
)

// Ruleset is a compiled ruleset with the settings that all workers share.
type Ruleset struct {
	Source  ruleset.Source
	Program *program.Program
	Version string
	// Warnings are the findings of loading that refuse nothing.
	Warnings []ruleset.Problem

	places *geoip.DB // nil without one
}

// Builtin names the ruleset that the binary carries.
const Builtin = "builtin"

// Config says where the rulesets of a process come from, and how engines are made
// of them.
type Config struct {
	// Names are Builtin, directories, or configuration files that name their files
	// (ruleset.LoadConf). Shadow names the candidate in the same way; empty for none.
	Names, Shadow []string
	// GeoIPFile is a database of the MaxMind format, or empty.
	GeoIPFile string
	// Engine is equal on all workers.
	Engine engine.Config
	// Node names this process.
	Node string
}

// LoadSource reads one ruleset by its name in the configuration.
func LoadSource(name string) (ruleset.Source, error) {
	if name == Builtin {
		return ruleset.LoadFS(content.FS)
	}
	if strings.HasSuffix(name, ruleset.ConfSuffix) {
		return ruleset.LoadConf(name)
	}
	return ruleset.LoadDir(name)
}

func loadSources(names []string) (ruleset.Source, error) {
	var parts []ruleset.Source
	for _, name := range names {
		s, err := LoadSource(name)
		if err != nil {
			return ruleset.Source{}, err
		}
		parts = append(parts, s)
	}
	return ruleset.Merge(parts...), nil
}

func compileSource(src ruleset.Source) (*Ruleset, error) {
	p, problems, err := ruleset.Compile(src)
	if err != nil {
		return nil, fmt.Errorf("ruleset refused:\n%w", err)
	}
	r := &Ruleset{Source: src, Program: p, Version: src.Version()}
	if g := src.GeoIP; g != nil {
		if r.places, err = geoip.New(g.Data); err != nil {
			return nil, fmt.Errorf("ruleset refused: GeoIP database %s: %w", g.Path, err)
		}
	}
	for _, pr := range problems {
		if !pr.Fatal {
			r.Warnings = append(r.Warnings, pr)
		}
	}
	return r, nil
}

// Load reads and compiles the named rulesets (Config.Names), with the database of
// geoipFile if that is not empty. The error names file, line and cause of every
// problem.
func Load(names []string, geoipFile string) (*Ruleset, error) {
	src, err := (&sources{names: names, geoipFile: geoipFile}).load()
	if err != nil {
		return nil, err
	}
	return compileSource(src)
}

// sources reads the configured ruleset, again and again.
type sources struct {
	names     []string
	geoipFile string
	// The database is read anew only when its file looks different: it is large.
	geoip   *ruleset.GeoIP
	size    int64
	changed time.Time

	seen string // the version last decided upon, good or broken
	last string // what the last look saw
}

// look is load for those who ask again and again: due says that what is there,
// good or broken, is to be decided upon, since it is new and two looks in a row
// saw the same; or since it is asked for. A broken ruleset has its error for a version.
func (s *sources) look(asked bool) (src ruleset.Source, version string, due bool, err error) {
	src, err = s.load()
	if err == nil {
		version = src.Version()
	} else {
		version = err.Error() // it may pass, like a directory that is being exchanged
	}
	settled := version == s.last
	s.last = version
	if !asked && (version == s.seen || !settled) {
		return src, version, false, err
	}
	s.seen = version // what is broken is refused once, not at every look
	return src, version, true, err
}

func (s *sources) load() (ruleset.Source, error) {
	src, err := loadSources(s.names)
	if err != nil || s.geoipFile == "" {
		return src, err
	}
	st, err := os.Stat(s.geoipFile)
	if err != nil {
		return src, fmt.Errorf("analyze.geoip_file: %w", err)
	}
	if s.geoip == nil || st.Size() != s.size || !st.ModTime().Equal(s.changed) {
		data, err := geoip.Read(s.geoipFile)
		if err != nil {
			return src, fmt.Errorf("analyze.geoip_file: %w", err)
		}
		f := ruleset.File{Name: filepath.Base(s.geoipFile), Path: s.geoipFile, Data: data}
		s.geoip, s.size, s.changed = ruleset.NewGeoIP(f), st.Size(), st.ModTime()
	}
	src.GeoIP = s.geoip
	return src, nil
}

// Engine returns an engine for the ruleset, with its GeoIP database.
func (r *Ruleset) Engine(c engine.Config) *engine.Engine {
	if r.places != nil {
		c.Geo = r.places.Country
	}
	return engine.New(r.Program, c)
}
