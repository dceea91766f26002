package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"vedette/app"
	"vedette/config"
	"vedette/internal/registry"
	"vedette/schemas"
)

func (s *shell) agentsCommand() *cobra.Command {
	parent := &cobra.Command{
		Use: "agents", Short: "List, add, remove, import or export agents, or tell them something",
		Long: "Talks to the configured brokers, or to the process that holds data_dir, or opens data_dir itself.",
	}
	parent.AddCommand(s.agentsList(), s.agentsAdd(), s.agentsRemove(), s.agentsImport(), s.agentsExport(),
		s.agentsRestart(), s.agentsReconnect(), s.agentsRequest(), s.agentsUpgrade())
	return parent
}

// withRegistry runs fn with a registry that was read to its end.
func (s *shell) withRegistry(cmd *cobra.Command, fn func(ctx context.Context, r *registry.Registry) error) error {
	return s.withData(cmd, func(cfg config.Config, data *app.Data, log *slog.Logger) error {
		return readRegistry(cmd.Context(), data, cfg, log, fn)
	})
}

// readRegistry is withRegistry for callers that have the topics open.
func readRegistry(ctx context.Context, data *app.Data, cfg config.Config, log *slog.Logger, fn func(ctx context.Context, r *registry.Registry) error) error {
	r, err := app.OpenRegistry(cfg, data.Cluster, data.Box, log, prometheus.NewRegistry())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	defer func() { cancel(); <-done }()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	end := time.After(30 * time.Second)
	for {
		select {
		case <-r.Ready():
			if err := r.Err(); err != nil {
				return err
			}
			return fn(ctx, r)
		case err := <-done:
			done <- nil
			return err
		case <-look.C:
			if err := r.Err(); errors.Is(err, registry.ErrWrongKey) || errors.Is(err, registry.ErrNewer) { // waiting does not mend it
				return err
			}
		case <-end:
			if err := r.Err(); err != nil {
				return err
			}
			return fmt.Errorf("the brokers do not answer; are they running, and were the topics made (`vedette topics apply`)?")
		}
	}
}

func (s *shell) agentsList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List agents", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withRegistry(cmd, func(_ context.Context, r *registry.Registry) error {
				return printAgents(cmd.OutOrStdout(), r, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object per line")
	return cmd
}

func printAgents(w io.Writer, r *registry.Registry, asJSON bool) error {
	enc := json.NewEncoder(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if !asJSON {
		fmt.Fprintln(tw, "ID\tNAME\tADDRESS\tSTATUS\tVERSION\tLAST SIGN OF LIFE")
	}
	for _, a := range r.Agents() {
		if a.Removed {
			continue
		}
		status, version, last := schemas.StateNeverConnected, "", ""
		if p, ok := r.Presence(a.ID); ok {
			status, version = p.State, p.Version
			if p.LastKeepalive > 0 {
				last = time.UnixMilli(p.LastKeepalive).UTC().Format(time.RFC3339)
			}
		}
		if asJSON {
			if err := enc.Encode(map[string]any{"id": a.ID, "name": a.Name, "ip": a.IP, "status": status, "version": version, "lastKeepAlive": last, "groups": a.Groups}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", a.ID, a.Name, a.IP, status, version, last)
	}
	return tw.Flush()
}

func (s *shell) agentsAdd() *cobra.Command {
	var ip string
	var force bool
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Add an agent and print its key line", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withRegistry(cmd, func(ctx context.Context, r *registry.Registry) error {
				policy := schemas.ForcePolicy{}
				if force {
					policy = schemas.ForcePolicy{Enabled: true}
				}
				a, err := r.Add(ctx, registry.AddRequest{Name: args[0], IP: ip, Force: policy})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s %s %s\n", a.ID, a.Name, a.IP, a.Key.Reveal())
				return err
			})
		},
	}
	cmd.Flags().StringVar(&ip, "ip", "any", "address rule: any, an address, or address/prefix")
	cmd.Flags().BoolVar(&force, "force", false, "replace an agent of the same name or address")
	return cmd
}

func (s *shell) agentsRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove ID…", Short: "Remove agents; their ids are not used again", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withRegistry(cmd, func(ctx context.Context, r *registry.Registry) error {
				for _, id := range args {
					if err := r.Remove(ctx, id, true); err != nil {
						return fmt.Errorf("remove %s: %w", id, err)
					}
					fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", id)
				}
				return nil
			})
		},
	}
}

func (s *shell) agentsImport() *cobra.Command {
	return &cobra.Command{
		Use: "import FILE", Short: "Take over the agents of a client.keys file, with their ids and keys; ids of removed lines are not used again", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			lines, err := registry.ParseClientKeys(f)
			unread := err
			if unread != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: lines left out:\n%v\n", args[0], unread)
			}
			return s.withRegistry(cmd, func(ctx context.Context, r *registry.Registry) error {
				added, there, refused := 0, 0, 0
				if id := lastRemoved(lines); id != "" {
					if err := r.ReserveIDs(ctx, id); err != nil {
						return fmt.Errorf("reserve the ids of removed agents: %w", err)
					}
				}
				for i, err := range addLines(ctx, r, lines) {
					switch {
					case lines[i].Removed:
					case err != nil && alreadyThere(r, lines[i]):
						there++
					case err != nil:
						refused++
						fmt.Fprintf(cmd.ErrOrStderr(), "%s %s: %v\n", lines[i].ID, lines[i].Name, err)
					default:
						added++
					}
				}
				already := ""
				if there > 0 {
					already = fmt.Sprintf(" already there %d,", there)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "added %d,%s refused %d\n", added, already, refused)
				if refused > 0 {
					return fmt.Errorf("%d of %d agents were refused", refused, added+there+refused)
				}
				if unread != nil {
					return errors.New("some lines were left out")
				}
				return nil
			})
		},
	}
}

// alreadyThere reports whether an agent is registered just as a line has it, so
// that a file can be imported again.
func alreadyThere(r *registry.Registry, l registry.KeyLine) bool {
	a, ok := r.Agent(l.ID)
	rule, err := schemas.ParseAddressRule(l.IP)
	return ok && err == nil && a.Name == l.Name && a.Key == l.Key && a.IP == rule.String()
}

// importsAtOnce is how many lines an import has under way.
const importsAtOnce = 128

// addLines adds the agents of a key file and returns an error or nil for each
// line. Many are under way at once, but lines that name the same agent, address
// or id go in their order: the first one counts.
func addLines(ctx context.Context, r *registry.Registry, lines []registry.KeyLine) []error {
	errs := make([]error, len(lines))
	add := func(i int) {
		l := lines[i]
		_, errs[i] = r.Add(ctx, registry.AddRequest{ID: l.ID, Name: l.Name, IP: l.IP, Key: l.Key})
	}
	claims := func(l registry.KeyLine) []string {
		host, _, _ := strings.Cut(l.IP, "/")
		return []string{"id " + l.ID, "name " + l.Name, "address " + host}
	}
	claimed := map[string]int{}
	for _, l := range lines {
		for _, c := range claims(l) {
			if !l.Removed && c != "address any" {
				claimed[c]++
			}
		}
	}
	slots := make(chan struct{}, importsAtOnce)
	var wg sync.WaitGroup
	var inOrder []int
	for i, l := range lines {
		switch {
		case l.Removed:
		case slices.ContainsFunc(claims(l), func(c string) bool { return claimed[c] > 1 }):
			inOrder = append(inOrder, i)
		default:
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				add(i)
			})
		}
	}
	wg.Wait()
	for _, i := range inOrder {
		add(i)
	}
	return errs
}

// lastRemoved is the largest id of the removed lines, whose ids are not given again.
func lastRemoved(lines []registry.KeyLine) string {
	last, id := 0, ""
	for _, l := range lines {
		if n, err := strconv.Atoi(l.ID); l.Removed && err == nil && n > last {
			last, id = n, l.ID
		}
	}
	return id
}

func (s *shell) agentsExport() *cobra.Command {
	return &cobra.Command{
		Use: "export", Short: "Print all agents in the form of client.keys; the keys are secrets", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withRegistry(cmd, func(_ context.Context, r *registry.Registry) error {
				return registry.WriteClientKeys(cmd.OutOrStdout(), r.Agents())
			})
		},
	}
}
