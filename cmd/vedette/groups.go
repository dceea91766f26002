package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"vedette/internal/groups"
	"vedette/internal/registry"
	"vedette/schemas"
)

func (s *shell) groupsCommand() *cobra.Command {
	parent := &cobra.Command{Use: "groups", Short: "List, add or remove groups of agents, put agents into them, or publish their files"}
	parent.AddCommand(s.groupsList(), s.groupsAdd(), s.groupsRemove(), s.groupsSet(), s.groupsPublish())
	return parent
}

func (s *shell) groupsList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List groups and how many agents are in them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withRegistry(cmd, func(_ context.Context, r *registry.Registry) error {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "GROUP\tAGENTS")
				for _, g := range r.Groups() {
					fmt.Fprintf(w, "%s\t%d\n", g.Name, g.Agents)
				}
				return w.Flush()
			})
		},
	}
}

// eachGroup is a command that does something to each group named.
func (s *shell) eachGroup(use, short, done string, fn func(r *registry.Registry, ctx context.Context, name string) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " GROUP…", Short: short, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withRegistry(cmd, func(ctx context.Context, r *registry.Registry) error {
				for _, name := range args {
					if err := fn(r, ctx, name); err != nil {
						return fmt.Errorf("%s %s: %w", use, name, err)
					}
					fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", done, name)
				}
				return nil
			})
		},
	}
}

func (s *shell) groupsAdd() *cobra.Command {
	return s.eachGroup("add", "Add groups", "added", (*registry.Registry).AddGroup)
}

func (s *shell) groupsRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove GROUP…", Short: "Remove groups with their files; their agents lose them, those left with none are in default", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withGroupFiles(cmd, func(ctx context.Context, r *registry.Registry, files *groups.Store) error {
				for _, name := range args {
					if err := r.RemoveGroup(ctx, name); err != nil {
						return fmt.Errorf("remove %s: %w", name, err)
					}
					if err := files.Remove(ctx, name); err != nil {
						return fmt.Errorf("the files of %s are left: %w", name, err)
					}
					fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", name)
				}
				return nil
			})
		},
	}
}

func (s *shell) groupsSet() *cobra.Command {
	var appendTo, remove bool
	cmd := &cobra.Command{
		Use: "set AGENT-ID [GROUP…]", Short: "Put an agent into exactly these groups; none is default", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			mode := schemas.GroupsOverride
			switch {
			case appendTo && remove:
				return usageError{fmt.Errorf("--append and --remove exclude one another")}
			case appendTo:
				mode = schemas.GroupsAppend
			case remove:
				mode = schemas.GroupsRemove
			}
			return s.withRegistry(cmd, func(ctx context.Context, r *registry.Registry) error {
				if err := r.SetGroups(ctx, args[0], mode, args[1:]); err != nil {
					return err
				}
				a, _ := r.Agent(args[0])
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s is in %s\n", a.ID, a.Name, strings.Join(a.Groups, ", "))
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&appendTo, "append", false, "add to the groups it has")
	cmd.Flags().BoolVar(&remove, "remove", false, "take out of these groups")
	return cmd
}
