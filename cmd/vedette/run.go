package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"vedette/app"
	"vedette/internal/resources"
)

func (s *shell) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run [role…]",
		Short: "Run roles until SIGTERM; all of them if none is named",
		Long: "Roles: " + strings.Join(app.Roles(), ", ") + ".\n" +
			"SIGTERM stops taking input and drains what was accepted; a second one ends at once.\n" +
			"SIGHUP reads the rulesets of analyze.rulesets anew; a broken one changes nothing.",
		Args: func(_ *cobra.Command, args []string) error {
			if err := app.CheckRoles(args); err != nil {
				return usageError{err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			log, err := s.logger(os.Stderr)
			if err != nil {
				return err
			}
			roles := args
			if len(roles) == 0 {
				roles = app.Roles()
			}
			cfg, err := s.load(roles...)
			if err != nil {
				return fmt.Errorf("configuration:\n%w", err)
			}
			memory := resources.Memory(log)
			files, err := resources.Files()
			if err != nil {
				log.Warn("the limit of open files is not known", "err", err)
			}
			for _, w := range append(cfg.Warnings(), cfg.Fit(memory, files, args)...) {
				log.Warn("configuration", "warning", w)
			}
			defer reserveHeap(args, memory)()
			a, err := app.Start(cmd.Context(), cfg, args, log)
			if err != nil {
				return err
			}
			go func() {
				select {
				case <-a.Ready():
					a.Describe(cmd.OutOrStdout())
				case <-cmd.Context().Done():
				}
			}()
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, syscall.SIGHUP)
			defer signal.Stop(hangups)
			go reload(cmd.Context(), hangups, a, log)
			return a.Run(cmd.Context())
		},
	}
}

// reload reads the rulesets anew at each hang-up.
func reload(ctx context.Context, hangups <-chan os.Signal, a *app.App, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			if err := a.Reload(ctx); err != nil {
				log.Error("the ruleset is not taken over; the one before goes on", "err", err)
			}
		}
	}
}

// heapReserve counts as used when the collector decides how much garbage may
// pile up. Events leave garbage while little lives long, so that a small heap
// would be collected all the time. No page of it is touched, so it takes no
// memory itself (docs/performance.md).
const heapReserve = 64 << 20

// reserveHeap holds the reserve until the returned function is called. A process
// that does not analyze may hold 100,000 agents. There garbage is bounded by
// half of the live heap, with twice the reserve, so that each agent costs less.
// GOGC, if set, overrules that share. Where the memory is limited below a
// gigabyte there is no reserve, since the runtime counts it as used.
func reserveHeap(roles []string, memory int64) (release func()) {
	size := heapReserve
	if len(roles) > 0 && !slices.Contains(roles, app.RoleAnalyze) {
		size *= 2
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(50)
		}
	}
	if memory > 0 && memory < 1<<30 {
		return func() {}
	}
	reserve := make([]byte, size)
	return func() { runtime.KeepAlive(reserve) }
}
