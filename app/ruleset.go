package app

import (
	"fmt"
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
}

// LoadRuleset reads and compiles the named rulesets: "builtin", directories, or
// configuration files that name their files (ruleset.LoadConf). The error names
// file, line and cause of every problem.
func LoadRuleset(names []string) (*Ruleset, error) {
	src, err := loadSources(names)
	if err != nil {
		return nil, err
	}
	return compileSource(src)
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
	for _, pr := range problems {
		if !pr.Fatal {
			r.Warnings = append(r.Warnings, pr)
		}
	}
	return r, nil
}

// EngineConfig is what the engine reads of the configuration; equal on every worker.
func EngineConfig(c config.Config, logtest bool) (engine.Config, error) {
	zone, err := time.LoadLocation(c.Cluster.Timezone)
	if err != nil {
		return engine.Config{}, fmt.Errorf("cluster.timezone: %w", err)
	}
	ec := engine.Config{ManagerName: c.Cluster.Name, ClusterName: c.Cluster.Name, Timezone: zone, Logtest: logtest}
	if f := c.Analyze.GeoIPFile; f != "" {
		db, err := geoip.Open(f)
		if err != nil {
			return engine.Config{}, fmt.Errorf("analyze.geoip_file: %w", err)
		}
		ec.Geo = db.Country
	}
	return ec, nil
}
