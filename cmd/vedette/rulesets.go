package main

import (
	"context"
	"errors"
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
	"vedette/rulesets"
)

// withRulesets gives fn the published versions.
func (s *shell) withRulesets(cmd *cobra.Command, fn func(ctx context.Context, c config.Config, store *published.Store) error) error {
	return s.withData(cmd, func(cfg config.Config, data *app.Data, log *slog.Logger) error {
		return data.Rulesets(cmd.Context(), cfg, log, func(ctx context.Context, store *published.Store) error { return fn(ctx, cfg, store) })
	})
}

func (s *shell) rulesetVersionsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "versions", Short: "List the published versions, the newest first, and which workers run them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withRulesets(cmd, func(_ context.Context, _ config.Config, store *published.Store) error {
				printVersions(cmd.OutOrStdout(), store)
				return nil
			})
		},
	}
}

func printVersions(w io.Writer, store *published.Store) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer tw.Flush()
	current, _, _ := store.Current()
	workers := store.Workers()
	versions := store.Versions()
	fmt.Fprintln(tw, "VERSION\tPUBLISHED\tBY\tFILES\tSTATE\tWORKERS")
	for i := len(versions) - 1; i >= 0; i-- {
		v := &versions[i]
		state := ""
		switch v.Version {
		case current.Version:
			state = "current"
		case current.Previous:
			state = "previous"
		}
		runs := ""
		for _, x := range workers {
			if n := x.Partitions[v.Version]; n > 0 || x.Version == v.Version {
				runs += fmt.Sprintf("%s (%s) ", x.Node, counted(n, "partition"))
			}
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\t%s\n", v.Version, v.Time.UTC().Format(time.RFC3339), v.Node, len(v.Files), state, strings.TrimSpace(runs))
	}
}

func (s *shell) rulesetPublishCommand() *cobra.Command {
	return &cobra.Command{
		Use: "publish DIR…", Short: "Publish a ruleset and let all workers run it; a broken one is refused",
		Long: `Compiles the ruleset (directories, an ossec.conf, "builtin"; several are one
ruleset), publishes it as a version and makes it the current one. Each worker
changes over between two events; what rules of both versions remember stays.

A node whose own directories change later publishes those in turn.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withRulesets(cmd, func(ctx context.Context, c config.Config, store *published.Store) error {
				r, err := rulesets.Publish(ctx, store, args, c.Analyze.GeoIPFile)
				if err != nil {
					return err
				}
				for _, w := range r.Warnings {
					fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", w)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "ruleset %s is the current version\n", r.Version)
				return nil
			})
		},
	}
}

func (s *shell) rulesetPromoteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "promote VERSION", Short: "Let all workers run a version that was published before", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withRulesets(cmd, func(ctx context.Context, _ config.Config, store *published.Store) error {
				return promote(ctx, cmd.OutOrStdout(), store, args[0])
			})
		},
	}
}

func (s *shell) rulesetRollbackCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rollback", Short: "Let all workers run the version before the current one", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withRulesets(cmd, func(ctx context.Context, _ config.Config, store *published.Store) error {
				current, ok, _ := store.Current()
				if !ok || current.Previous == "" {
					return errors.New("there is no version before the current one")
				}
				return promote(ctx, cmd.OutOrStdout(), store, current.Previous)
			})
		},
	}
}

func promote(ctx context.Context, w io.Writer, store *published.Store, version string) error {
	if err := rulesets.Promote(ctx, store, version); err != nil {
		return err
	}
	fmt.Fprintf(w, "ruleset %s is the current version\n", version)
	return nil
}
