package main

import (
	"fmt"
	"io"
	"os"
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
		Use:   "logtest [--ruleset DIR]… [--format text|json] [--input ndjson] [--fresh] < lines",
		Short: "Print what the ruleset says of each line of standard input",
		Long: `Prints a report per input line, in order: what the header says, what the
decoder finds, which rule is chosen. At a terminal it asks for the lines.

--format json prints one JSON object per line instead:
{"alert": bool, "output": {the alert document}}.

--input ndjson reads {"log","location","queue","timestamp","agent":{"id","name","ip"}}
a line; the timestamp is the engine's clock. No broker and no running server is needed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "json" && format != "text" {
				return usageError{fmt.Errorf("--format %q: choose text or json", format)}
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
			opts := logtest.Options{Fresh: fresh, NDJSON: input == "ndjson", Text: format == "text", Now: time.Now}
			if opts.Text && terminal(cmd.InOrStdin()) {
				opts.Prompt, opts.Flush = "log> ", true
				fmt.Fprintln(cmd.OutOrStdout(), "Type or paste a log line; earlier lines count for composite rules. Ctrl-D ends.")
			}
			return logtest.Run(engine.New(rules.Program, ec), cmd.InOrStdin(), cmd.OutOrStdout(), opts)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&rulesets, "ruleset", nil, "directory with decoders/, rules/, lists/, or \"builtin\"; may be repeated; default: analyze.rulesets")
	f.StringVar(&format, "format", "text", "text or json")
	f.StringVar(&input, "input", "lines", "lines or ndjson")
	f.BoolVar(&fresh, "fresh", false, "forget all state before each line")
	f.BoolVar(&live, "live", false, "judge ignore= and firedtimes as the running worker does, not as the log test")
	return cmd
}

// terminal tells whether people type here; the null device is none.
func terminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	if err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(st, null)
}
