package main

import (
	"context"
	"crypto/sha1" //nolint:gosec // agents compare it
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"vedette/app"
	"vedette/config"
	"vedette/internal/commands"
	"vedette/internal/packages"
	"vedette/internal/registry"
	"vedette/internal/responses"
	"vedette/schemas"
)

const (
	// orderWait is how long a command waits for the outcome of an order.
	// upgradeWait is the wait for an upgrade, of which the installer may take
	// most.
	orderWait   = 20 * time.Second
	upgradeWait = 30 * time.Minute
	// packageChunk is how much of a package one message to an agent carries.
	//
	// Source: spec/agent-protocol.md §8a.
	packageChunk = 32768
)

// orders holds the dependencies of commands that send agents orders.
type orders struct {
	*commands.Client
	data *app.Data
	node string
	log  *slog.Logger
}

// withOrders runs fn with a client of the commands, after it has seen that the
// agents are there.
func (s *shell) withOrders(cmd *cobra.Command, ids []string, fn func(ctx context.Context, o *orders) error) error {
	return s.withData(cmd, func(cfg config.Config, data *app.Data, log *slog.Logger) error {
		return readRegistry(cmd.Context(), data, cfg, log, func(ctx context.Context, r *registry.Registry) error {
			for _, id := range ids {
				if _, ok := r.Agent(id); !ok {
					return fmt.Errorf("there is no agent %s", id)
				}
			}
			c, err := commands.Open(data.Cluster, data.Box, app.NodeName(cfg), log, prometheus.NewRegistry())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(ctx)
			done := make(chan error, 1)
			go func() { done <- c.Run(ctx) }()
			defer func() { cancel(); <-done }()
			return fn(ctx, &orders{c, data, app.NodeName(cfg), log})
		})
	})
}

// each gives every agent an order, one after the other, and prints its outcome.
func (o *orders) each(ctx context.Context, w io.Writer, ids []string, wait time.Duration, order func() schemas.Command) error {
	failed := 0
	for _, id := range ids {
		c := order()
		c.AgentID, c.Origin = id, o.node
		r, err := o.do(ctx, c, wait)
		if err != nil {
			failed++
			fmt.Fprintf(w, "%s %v\n", id, err)
			continue
		}
		fmt.Fprintf(w, "%s %s\n", id, strings.TrimSpace(string(r.Status)+" by "+r.Node+" "+r.Text))
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d agents did not get it", failed, len(ids))
	}
	return nil
}

// do is Do with errors that a person can do something about.
func (o *orders) do(ctx context.Context, c schemas.Command, wait time.Duration) (schemas.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	r, err := o.Do(ctx, c)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return r, fmt.Errorf("nothing was heard of it within %s; is the agent connected?", wait)
	case err != nil:
		return r, err
	}
	switch r.Status {
	case schemas.ReplySent, schemas.ReplyAnswered, schemas.ReplyDone:
		return r, nil
	}
	return r, fmt.Errorf("%s by %s: %s", r.Status, r.Node, r.Text)
}

func (s *shell) agentsRestart() *cobra.Command {
	return &cobra.Command{
		Use: "restart ID…", Short: "Tell agents to restart", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withOrders(cmd, args, func(ctx context.Context, o *orders) error {
				// Source: spec/active-response.md §3.
				const response = "restart-wazuh0"
				text, err := responses.Message(response, o.node, nil, nil)
				if err != nil {
					return err
				}
				return o.each(ctx, cmd.OutOrStdout(), args, orderWait, func() schemas.Command {
					return schemas.Command{
						Kind: schemas.CommandResponse, Text: text, Legacy: "restart-ossec0 - null (from_the_server) (no_rule_id)", Response: response,
					}
				})
			})
		},
	}
}

func (s *shell) agentsReconnect() *cobra.Command {
	return &cobra.Command{
		Use: "reconnect ID…", Short: "Tell agents to connect anew", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withOrders(cmd, args, func(ctx context.Context, o *orders) error {
				return o.each(ctx, cmd.OutOrStdout(), args, orderWait, func() schemas.Command {
					return schemas.Command{Kind: schemas.CommandControl, Text: "force_reconnect"}
				})
			})
		},
	}
}

func (s *shell) agentsRequest() *cobra.Command {
	return &cobra.Command{
		Use: `request ID "TARGET COMMAND"`, Short: "Ask an agent something and print its answer, such as \"agent getconfig client\"", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if target, command, ok := strings.Cut(args[1], " "); !ok || target == "" || command == "" {
				return usageError{fmt.Errorf("%q is no target and command, such as \"agent getstate\"", args[1])}
			}
			return s.withOrders(cmd, args[:1], func(ctx context.Context, o *orders) error {
				r, err := o.do(ctx, schemas.Command{Kind: schemas.CommandRequest, AgentID: args[0], Text: args[1], Origin: o.node}, 2*time.Minute)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), r.Text)
				return err
			})
		},
	}
}

func (s *shell) agentsUpgrade() *cobra.Command {
	var file, installer string
	cmd := &cobra.Command{
		Use: "upgrade ID… --package FILE", Short: "Upgrade agents, from 4.1 on, by a package", Args: cobra.MinimumNArgs(1),
		Long: "Puts the package into the topic blobs, from where gateways read it, and upgrades one agent after the other.\nThe installer's own report follows as an event of the agent.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "" {
				return usageError{errors.New("--package FILE is needed")}
			}
			st, err := os.Stat(file)
			if err != nil {
				return err
			}
			if st.Size() > schemas.MaxPackageBytes {
				return fmt.Errorf("%s: %w", file, packages.ErrTooLarge)
			}
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			return s.withOrders(cmd, args, func(ctx context.Context, o *orders) error {
				store, err := packages.Open(o.data.Cluster, o.data.Box, o.node, o.log, prometheus.NewRegistry())
				if err != nil {
					return err
				}
				defer store.Close()
				sum, err := store.Put(ctx, filepath.Base(file), data)
				if err != nil {
					return err
				}
				short := sha1.Sum(data)
				return o.each(ctx, cmd.OutOrStdout(), args, upgradeWait, func() schemas.Command {
					return schemas.Command{Kind: schemas.CommandUpgrade, Response: "upgrade_custom", Upgrade: &schemas.AgentUpgrade{
						File: filepath.Base(file), SHA256: sum, SHA1: hex.EncodeToString(short[:]), Size: int64(len(data)), Installer: installer, ChunkBytes: packageChunk,
					}}
				})
			})
		},
	}
	cmd.Flags().StringVar(&file, "package", "", "the package, a .wpk file")
	cmd.Flags().StringVar(&installer, "installer", "upgrade.sh", "the package's script that is run; on Windows upgrade.bat")
	return cmd
}
