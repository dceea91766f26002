package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"vedette/app"
	"vedette/config"
	"vedette/internal/groups"
	"vedette/internal/registry"
)

// withGroupFiles runs fn with the groups' files, read to their end, and the
// registry.
func (s *shell) withGroupFiles(cmd *cobra.Command, fn func(ctx context.Context, r *registry.Registry, files *groups.Store) error) error {
	return s.withData(cmd, func(cfg config.Config, data *app.Data, log *slog.Logger) error {
		return readRegistry(cmd.Context(), data, cfg, log, func(ctx context.Context, r *registry.Registry) error {
			given, err := app.SharedByAll(cfg)
			if err != nil {
				return err
			}
			files, err := groups.Open(data.Cluster, data.Box, app.NodeName(cfg), given, log, prometheus.NewRegistry())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(ctx)
			done := make(chan error, 1)
			go func() { done <- files.Run(ctx) }()
			defer func() { cancel(); <-done }()
			select {
			case <-files.Ready():
			case <-time.After(30 * time.Second):
				return fmt.Errorf("the brokers do not answer")
			case <-ctx.Done():
				return ctx.Err()
			}
			return fn(ctx, r, files)
		})
	})
}

func (s *shell) groupsPublish() *cobra.Command {
	return &cobra.Command{
		Use: "publish DIR", Short: "Publish the groups below a directory laid out as etc/shared, a directory each", Args: cobra.ExactArgs(1),
		Long: "Makes groups that are not there yet and replaces the files of each. Agents are sent what has changed.\nA process with agents.groups_dir does the same by itself.",
		RunE: func(cmd *cobra.Command, args []string) error {
			dirs, err := groups.ReadDir(args[0])
			if err != nil {
				return err
			}
			if len(dirs) == 0 {
				return fmt.Errorf("%s holds no directory", args[0])
			}
			return s.withGroupFiles(cmd, func(ctx context.Context, r *registry.Registry, files *groups.Store) error {
				for _, g := range dirs {
					if !r.GroupExists(g.Group) {
						if err := r.AddGroup(ctx, g.Group); err != nil {
							return fmt.Errorf("add group %s: %w", g.Group, err)
						}
					}
					if err := files.Publish(ctx, g.Group, g.Files); err != nil {
						return fmt.Errorf("publish %s: %w", g.Group, err)
					}
					for _, skipped := range g.Skipped {
						fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s is not shared\n", g.Group, skipped)
					}
					fmt.Fprintf(cmd.OutOrStdout(), "published %s, %d files, merged sum %s\n", g.Group, len(g.Files), files.Merged([]string{g.Group}).Sum)
				}
				return nil
			})
		},
	}
}
