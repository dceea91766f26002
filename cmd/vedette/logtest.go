package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"vedette/app"
	"vedette/ruleset/logtest"
	"vedette/rulesets"
)

func (s *shell) logtestCommand() *cobra.Command {
	var names []string
	var format, input, explain string
	var fresh, live bool
	cmd := &cobra.Command{
		Use:   "logtest [--ruleset DIR]… [--format text|json] [--input ndjson] [--fresh] [--explain] < lines",
		Short: "Print what the ruleset says of each line of standard input",
		Long: `Prints a report per input line, in order: what the header says, what the
decoder finds, which rule is chosen. At a terminal it asks for the lines; the
arrow keys bring back earlier ones, also of earlier sessions.

--format json prints one JSON object per line instead:
{"alert": bool, "output": {the alert document}}.

--input ndjson reads {"log","location","queue","timestamp",
"agent":{"id","name","ip","address"}} a line. The timestamp is the engine's clock,
ip the agent's address of the moment, and address its registered one ("any" if
missing), which rules see in the location. No running server is needed.

--explain adds which decoders and rules were tried and why each failed: what
matched and what nearly did, the rest as a count; --explain=all shows everything.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if format != "json" && format != "text" {
				return usageError{fmt.Errorf("--format %q: choose text or json", format)}
			}
			if input != "lines" && input != "ndjson" {
				return usageError{fmt.Errorf("--input %q: choose lines or ndjson", input)}
			}
			how, ok := map[string]logtest.Explain{"": logtest.ExplainNothing, "near": logtest.ExplainNear, "all": logtest.ExplainAll}[explain]
			if !ok {
				return usageError{fmt.Errorf("--explain=%q: choose near or all", explain)}
			}
			cfg, err := s.load(app.RoleAnalyze)
			if err != nil {
				return fmt.Errorf("configuration:\n%w", err)
			}
			if len(names) > 0 {
				cfg.Analyze.Rulesets = names
			}
			var rules *rulesets.Ruleset
			err = stoppable(cmd.Context(), func() (err error) {
				rules, err = rulesets.Load(cfg.Analyze.Rulesets, cfg.Analyze.GeoIPFile)
				return err
			})
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
			opts := logtest.Options{Fresh: fresh, NDJSON: input == "ndjson", Text: format == "text", Explain: how, Now: time.Now}
			in, out := cmd.InOrStdin(), cmd.OutOrStdout()
			if opts.Text && terminal(in) {
				opts.Flush = true
				fmt.Fprintln(out, "Type or paste a log line; earlier lines count for composite rules. Ctrl-D ends.")
				if !bothTerminals(in, out) {
					opts.Prompt = logtestPrompt
				} else {
					e, err := newLineEditor(os.Stdin, os.Stdout, logtestPrompt, openHistory(historyPath("logtest_history")))
					if err != nil {
						return err
					}
					in, out = e, e
					defer func() { err = errors.Join(err, e.close()); fmt.Fprintln(cmd.OutOrStdout()) }()
				}
			}
			run := func() error { return logtest.Run(rules.Engine(ec), in, out, opts) }
			if opts.Prompt == "" && opts.Flush {
				return run() // the line editor ends by itself, and must restore the terminal
			}
			return stoppable(cmd.Context(), run)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&names, "ruleset", nil, "directory with decoders/, rules/ and lists/, or with XML files; an ossec.conf; or \"builtin\"; may be repeated; default: analyze.rulesets")
	f.StringVar(&format, "format", "text", "text or json")
	f.StringVar(&input, "input", "lines", "lines or ndjson")
	f.StringVar(&explain, "explain", "", "also tell what was tried and why it failed: near (what nearly matched) or all")
	f.Lookup("explain").NoOptDefVal = "near"
	f.BoolVar(&fresh, "fresh", false, "forget all state before each line")
	f.BoolVar(&live, "live", false, "judge ignore= and firedtimes as the running worker does, not as the log test")
	return cmd
}

const logtestPrompt = "log> "

// bothTerminals reports whether lines can be edited.
func bothTerminals(in io.Reader, out io.Writer) bool {
	return in == io.Reader(os.Stdin) && out == io.Writer(os.Stdout) && term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
}

// terminal reports whether people type here; the null device is none.
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
