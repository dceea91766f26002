package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"vedette/app"
	"vedette/ruleset/engine"
	"vedette/ruleset/logtest"
)

func (s *shell) logtestCommand() *cobra.Command {
	var rulesets []string
	var format, input string
	var fresh, live bool
	cmd := &cobra.Command{
		Use:   "logtest [--ruleset DIR]… --format json [--input ndjson] [--fresh] < lines",
		Short: "Print what the ruleset says of each line of standard input",
		Long: `Prints one JSON object per input line, in order:
{"alert": bool, "output": {the alert document}}.

--input ndjson reads {"log","location","queue","timestamp","agent":{"id","name","ip"}}
a line; the timestamp is the engine's clock. No broker and no running server is needed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "json" {
				return usageError{fmt.Errorf("--format %q: json is the only one so far", format)}
			}
			if input != "lines" && input != "ndjson" {
				return usageError{fmt.Errorf("--input %q: choose lines or ndjson", input)}
			}
			cfg, err := s.load()
			if err != nil {
				return fmt.Errorf("configuration:\n%w", err)
			}
			if len(rulesets) > 0 {
				cfg.Analyze.Rulesets = rulesets
			}
			rules, err := app.LoadRuleset(cfg.Analyze.Rulesets)
			if err != nil {
				return err
			}
			for _, w := range rules.Warnings {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", w)
			}
			ec, err := app.EngineConfig(cfg, !live)
			if err != nil {
				return err
			}
			return logtest.Run(engine.New(rules.Program, ec), cmd.InOrStdin(), cmd.OutOrStdout(),
				logtest.Options{Fresh: fresh, NDJSON: input == "ndjson", Now: time.Now})
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&rulesets, "ruleset", nil, "directory with decoders/, rules/, lists/, or \"builtin\"; may be repeated; default: analyze.rulesets")
	f.StringVar(&format, "format", "json", "json")
	f.StringVar(&input, "input", "lines", "lines or ndjson")
	f.BoolVar(&fresh, "fresh", false, "forget all state before each line")
	f.BoolVar(&live, "live", false, "judge ignore= and firedtimes as the running worker does, not as the log test")
	return cmd
}
