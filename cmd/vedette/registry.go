package main

import (
	"context"
	"fmt"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"vedette/app"
	"vedette/config"
	"vedette/internal/registry"
)

func (s *shell) registryCommand() *cobra.Command {
	parent := &cobra.Command{Use: "registry", Short: "Look after the registry: its state, its snapshots, the cluster key"}
	parent.AddCommand(s.registryStatus(), s.registrySnapshot(), s.registryRekey())
	return parent
}

func (s *shell) registryStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Tell what the registry holds and which snapshots there are", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withRegistry(cmd, func(_ context.Context, r *registry.Registry) error {
				st := r.Status()
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintf(w, "agents\t%d\nremoved agents\t%d\ngroups\t%d\nusers\t%d\noffset\t%d\n", st.Agents, st.Removed, st.Groups, st.Users, st.Offset)
				fmt.Fprintf(w, "records that do not verify\t%d\n", st.Unverified)
				for _, m := range st.Snapshots {
					fmt.Fprintf(w, "snapshot\toffset %d, %d bytes, %s by %s\n", m.Offset, m.Bytes, time.UnixMilli(m.Time).UTC().Format(time.RFC3339), m.Node)
				}
				return w.Flush()
			})
		},
	}
}

func (s *shell) registrySnapshot() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "snapshot", Short: "Write a snapshot now; running nodes do it by themselves", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withRegistry(cmd, func(ctx context.Context, r *registry.Registry) error {
				return snapshots(ctx, cmd, r, 1, force)
			})
		},
	}
	addForce(cmd, &force)
	return cmd
}

func (s *shell) registryRekey() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "rekey", Short: "Seal the whole registry anew under the first cluster key, so that older ones can go",
		Long: `Seal the whole registry anew under the first key of cluster.key_file.

The file holds one key a line. To replace a key without an interruption:
 1. add the new key as the last line, on every node, and restart one after the other;
 2. move it to the first line, on every node, and restart one after the other;
 3. run this command;
 4. take the old key out, on every node, and restart one after the other.
See docs/operations.md for what else is sealed under it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withData(cmd, func(cfg config.Config, data *app.Data, log *slog.Logger) error {
				return readRegistry(cmd.Context(), data, cfg, log, func(ctx context.Context, r *registry.Registry) error {
					if data.Box.Keys() == 1 {
						fmt.Fprintln(cmd.ErrOrStderr(), "cluster.key_file holds one key only")
					}
					// Two, so that the one to fall back on is sealed anew too and nothing
					// stays in the log.
					return snapshots(ctx, cmd, r, 2, force)
				})
			})
		},
	}
	addForce(cmd, &force)
	return cmd
}

func addForce(cmd *cobra.Command, force *bool) {
	cmd.Flags().BoolVar(force, "force", false, "also if some records do not verify; what they say is left out")
}

func snapshots(ctx context.Context, cmd *cobra.Command, r *registry.Registry, n int, force bool) error {
	if bad := r.Status().Unverified; bad > 0 && !force {
		return fmt.Errorf("%d records do not verify under any key of cluster.key_file, and a snapshot would leave out what they say; if that is right, add --force", bad)
	}
	for range n {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		offset, err := r.Snapshot(ctx)
		cancel()
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "snapshot of %d agents written at offset %d\n", r.Status().Agents, offset)
	}
	return nil
}
