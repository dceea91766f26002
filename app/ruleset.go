package app

import (
	"fmt"
	"time"

	"vedette/analyze"
	"vedette/config"
	"vedette/ruleset"
	"vedette/ruleset/content"
	"vedette/ruleset/engine"
	"vedette/ruleset/program"
)

// Ruleset is a compiled ruleset with the settings that all workers share.
type Ruleset struct {
	Program *program.Program
	Version string
	// Warnings are what loading had to say without refusing.
	Warnings []ruleset.Problem
}

// LoadRuleset reads and compiles the named rulesets: "builtin" or directories.
// The error names file, line and cause of every problem.
func LoadRuleset(names []string) (*Ruleset, error) {
	var parts []ruleset.Source
	for _, name := range names {
		var s ruleset.Source
		var err error
		if name == analyze.Builtin {
			s, err = ruleset.LoadFS(content.FS)
		} else {
			s, err = ruleset.LoadDir(name)
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, s)
	}
	src := ruleset.Merge(parts...)
	p, problems, err := ruleset.Compile(src)
	if err != nil {
		return nil, fmt.Errorf("ruleset refused:\n%w", err)
	}
	r := &Ruleset{Program: p, Version: src.Version()}
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
	return engine.Config{ManagerName: c.Cluster.Name, ClusterName: c.Cluster.Name, Timezone: zone, Logtest: logtest}, nil
}
