package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"vedette/app"
	"vedette/config"
	published "vedette/internal/rulesets"
	"vedette/internal/shadowlog"
	"vedette/rulesets"
)

func (s *shell) shadowCommand() *cobra.Command {
	format := "text"
	cmd := &cobra.Command{
		Use: "shadow", Short: "Show what the candidate ruleset would change about the alerts of live traffic",
		Long: `A worker tries the ruleset of analyze.shadow on every event, beside the one that
runs, and writes down where their verdicts differ. This is the sum by rule; an
alert that changes counts for the rule that would fire. The last event of each
rule is shown by --format json, and by GET /shadow.

Bring it in with ` + "`vedette ruleset publish DIR…`" + `.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return usageError{fmt.Errorf("--format %q: choose text or json", format)}
			}
			return s.withData(cmd, func(cfg config.Config, data *app.Data, log *slog.Logger) error {
				return data.Rulesets(cmd.Context(), cfg, log, func(ctx context.Context, store *published.Store) error {
					sum, err := rulesets.ShadowSummary(ctx, data.Cluster, store)
					if err != nil {
						return err
					}
					if format == "json" {
						e := json.NewEncoder(cmd.OutOrStdout())
						e.SetIndent("", "  ")
						e.SetEscapeHTML(false)
						return e.Encode(sum)
					}
					return printShadow(cmd.OutOrStdout(), sum)
				})
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "text or json")
	return cmd
}

func printShadow(w io.Writer, s *shadowlog.Summary) error {
	if s.Problem != "" {
		fmt.Fprintf(w, "a candidate cannot run: %s\n", s.Problem)
	}
	if s.Ruleset == "" {
		_, err := fmt.Fprintln(w, "no ruleset is tried; name one in analyze.shadow")
		return err
	}
	lag := "it has not begun"
	if s.Lag != nil {
		lag = counted(int(*s.Lag), "event") + " behind"
	}
	fmt.Fprintf(w, "ruleset %s against %s: %s, %s\n", s.Ruleset, s.Against, counted(int(s.Differences), "difference"), lag)
	if s.Cut {
		fmt.Fprintln(w, "there are older differences, which do not count here")
	}
	if s.Others > 0 {
		fmt.Fprintf(w, "%s from before either ruleset changed\n", counted(int(s.Others), "difference"))
	}
	if len(s.Rules) == 0 {
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\nRULE\tLEVEL\tADDED\tREMOVED\tCHANGED\tLAST\tAGENT\tDESCRIPTION")
	for _, r := range s.Rules {
		agent := strings.TrimSpace(r.Last.AgentID + " " + r.Last.AgentName)
		fmt.Fprintf(tw, "%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", r.ID, r.Level, r.Added, r.Removed, r.Changed, r.Last.Time.Format(time.RFC3339), printable(agent), printable(r.Description))
	}
	return tw.Flush()
}

// printable keeps an agent's text from steering the terminal or the table.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
