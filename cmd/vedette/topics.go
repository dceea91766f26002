package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"vedette/app"
	"vedette/internal/kafka"
)

func (s *shell) topicsCommand() *cobra.Command {
	parent := &cobra.Command{Use: "topics", Short: "Plan or apply the topics that the roles need"}
	run := func(apply bool) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.load()
			if err != nil {
				return fmt.Errorf("configuration:\n%w", err)
			}
			log, err := s.quietLogger(cmd)
			if err != nil {
				return err
			}
			if err := needsData(cmd, cfg); err != nil {
				return err
			}
			data, err := app.OpenTopics(cmd.Context(), cfg, log)
			if err != nil {
				return err
			}
			defer data.Close()
			var plans []kafka.TopicPlan
			if apply {
				plans, err = data.Cluster.ApplyTopics(cmd.Context(), app.Retention(cfg.Events))
			} else {
				plans, err = data.Cluster.PlanTopics(cmd.Context(), app.Retention(cfg.Events))
			}
			printPlans(cmd.OutOrStdout(), plans)
			return err
		}
	}
	parent.AddCommand(
		&cobra.Command{Use: "plan", Short: "Show what apply would do", Args: cobra.NoArgs, RunE: run(false)},
		&cobra.Command{Use: "apply", Short: "Create what is missing, adapt settings; never changes a number of partitions", Args: cobra.NoArgs, RunE: run(true)},
	)
	return parent
}

func printPlans(w io.Writer, plans []kafka.TopicPlan) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer tw.Flush()
	fmt.Fprintln(tw, "TOPIC\tPARTITIONS\tREPLICATION\tACTION\tSETTINGS")
	for _, p := range plans {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%s\t%s\n", p.Name, p.Partitions, p.Replication, p.Action(), strings.Join(p.Changes, " "))
	}
}
