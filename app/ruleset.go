package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vedette/analyze"
	"vedette/config"
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
	// Warnings are what loading had to say without refusing.
	Warnings []ruleset.Problem

	places *geoip.DB // nil without one
}

// LoadSource reads one ruleset by its name in the configuration.
func LoadSource(name string) (ruleset.Source, error) {
	if name == analyze.Builtin {
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

// LoadRuleset reads and compiles what c.Rulesets names: "builtin", directories, or
// configuration files that name their files (ruleset.LoadConf); with c.GeoIPFile.
// The error names file, line and cause of every problem.
func LoadRuleset(c analyze.Config) (*Ruleset, error) {
	src, err := (&sources{c: c}).load()
	if err != nil {
		return nil, err
	}
	return compileSource(src)
}

// sources reads the configured ruleset, again and again.
type sources struct {
	c analyze.Config
	// The database is read anew only when its file looks different: it is large.
	geoip   *ruleset.GeoIP
	size    int64
	changed time.Time

	seen string // the version last decided upon, good or broken
	last string // what the last look saw
}

// look is load for those who ask again and again: due says that what is there,
// good or broken, is to be decided upon, since it is new and two looks in a row
// saw the same; or since it is asked for. What is broken has its error for a version.
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
	src, err := loadSources(s.c.Rulesets)
	if err != nil || s.c.GeoIPFile == "" {
		return src, err
	}
	st, err := os.Stat(s.c.GeoIPFile)
	if err != nil {
		return src, fmt.Errorf("analyze.geoip_file: %w", err)
	}
	if s.geoip == nil || st.Size() != s.size || !st.ModTime().Equal(s.changed) {
		data, err := geoip.Read(s.c.GeoIPFile)
		if err != nil {
			return src, fmt.Errorf("analyze.geoip_file: %w", err)
		}
		f := ruleset.File{Name: filepath.Base(s.c.GeoIPFile), Path: s.c.GeoIPFile, Data: data}
		s.geoip, s.size, s.changed = ruleset.NewGeoIP(f), st.Size(), st.ModTime()
	}
	src.GeoIP = s.geoip
	return src, nil
}

// EngineConfig is what the engine reads of the configuration; equal on every
// worker. Where addresses are comes with a Ruleset, see Engine.
func EngineConfig(c config.Config, logtest bool) (engine.Config, error) {
	zone, err := time.LoadLocation(c.Cluster.Timezone)
	if err != nil {
		return engine.Config{}, fmt.Errorf("cluster.timezone: %w", err)
	}
	return engine.Config{ManagerName: c.Cluster.Name, ClusterName: c.Cluster.Name, Timezone: zone, Logtest: logtest, Limits: engine.Limits{TotalBytes: int(c.Analyze.StateBytes)}}, nil
}

// Engine returns an engine for the ruleset, with its GeoIP database.
func (r *Ruleset) Engine(c engine.Config) *engine.Engine {
	if r.places != nil {
		c.Geo = r.places.Country
	}
	return engine.New(r.Program, c)
}
