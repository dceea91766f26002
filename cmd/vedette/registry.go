package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"vedette/app"
	"vedette/config"
	"vedette/internal/registry"
)

func (s *shell) registryCommand() *cobra.Command {
	parent := &cobra.Command{Use: "registry", Short: "Look after the registry: its state, its snapshots, the cluster key"}
	parent.AddCommand(s.registryStatus(), s.registrySnapshot(), s.registryRekey(), s.registryActivate())
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
				fmt.Fprintf(w, "kinds of changes that are not active\t%d\n", len(r.Inactive()))
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

func (s *shell) registryActivate() *cobra.Command {
	var without []string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "activate", Short: "Allow the new kinds of changes that this version writes, once all nodes run it",
		Long: `Allow the new kinds of changes that this version writes.

A node that runs an older version stops at the first such change: it keeps serving
what it knows, but changes nothing until it is upgraded. So the command refuses
while a node is there that cannot read them, and names it.

Nodes of versions that do not announce themselves are known only while they hold
agents. Make sure that no other node of such a version runs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withData(cmd, func(cfg config.Config, data *app.Data, log *slog.Logger) error {
				return readRegistry(cmd.Context(), data, cfg, log, func(ctx context.Context, r *registry.Registry) error {
					list, err := app.ReadNodes(ctx, data, log)
					if err != nil {
						return err
					}
					printSupport(cmd.OutOrStdout(), r.Support(list))
					if dryRun {
						return nil
					}
					done, err := r.Activate(ctx, list, without)
					switch {
					case err != nil:
						return err
					case len(done) == 0:
						fmt.Fprintln(cmd.OutOrStdout(), "nothing is left to activate")
					default:
						for _, kind := range slices.Sorted(maps.Keys(done)) {
							fmt.Fprintf(cmd.OutOrStdout(), "activated %s, format %d\n", kind, done[kind])
						}
					}
					return nil
				})
			})
		},
	}
	cmd.Flags().StringSliceVar(&without, "without", nil, "nodes to leave out because they are gone for good, by name")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show which nodes read the new kinds")
	return cmd
}

func printSupport(w io.Writer, nodes []registry.Support) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer tw.Flush()
	fmt.Fprintln(tw, "NODE\tROLES\tVERSION\tLAST ANNOUNCED\tLACKS")
	for _, n := range nodes {
		lacks := make([]string, len(n.Lacks))
		for i, kind := range n.Lacks {
			lacks[i] = string(kind)
		}
		roles, version, seen := "ingest", "announces nothing", "never"
		if a := n.Announced; a != nil {
			roles, version, seen = strings.Join(a.Roles, ","), a.Version, time.UnixMilli(a.Updated).UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", n.Node, roles, version, seen, cmp.Or(strings.Join(lacks, ","), "nothing"))
	}
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
