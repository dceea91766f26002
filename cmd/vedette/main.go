// Command vedette is the whole server: every role, and the commands to look
// after them.
//
// Exit codes: 0 done, 1 failed, 2 used wrongly.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"vedette/app"
	"vedette/config"
	"vedette/internal/buildinfo"
	"vedette/internal/datadir"
)

// usageError is for errors that reading the help would have prevented.
type usageError struct{ error }

func main() { os.Exit(Main()) }

// Main runs the command line and returns the exit code.
func Main() int {
	// The first signal drains, the second ends at once.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(1)
	}()
	root := newRoot()
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "vedette: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// stoppable runs fn and returns when it ends, or at once when ctx does. Then the
// process is about to end, and with it any rest of fn: commands that only read
// and compute do not look at the context in each of their loops.
func stoppable(ctx context.Context, fn func() error) error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.New("interrupted")
	}
}

// shell holds the state that the commands share.
type shell struct {
	configPath string
	logLevel   string
}

func newRoot() *cobra.Command {
	s := &shell{}
	root := &cobra.Command{
		Use:           "vedette",
		Short:         "A security server for Wazuh 4.x agents, rulesets and scripts, built as a stream pipeline",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       buildinfo.Version(),
	}
	root.PersistentFlags().StringVar(&s.configPath, "config", "", "configuration file (YAML); none: the defaults")
	root.PersistentFlags().StringVar(&s.logLevel, "log-level", "info", "debug, info, warn or error")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		_, err := s.logger(io.Discard)
		return err
	}
	root.AddCommand(s.runCommand(), s.initCommand(), s.configCommand(), s.topicsCommand(), s.agentsCommand(), s.groupsCommand(), s.registryCommand(), s.logtestCommand(), s.rulesetCommand(), s.shadowCommand(), s.replayCommand(), s.simulateCommand(), versionCommand())
	strict(root)
	return root
}

// strict makes wrong arguments usage errors, and words that name no command
// errors at all: cobra prints the help of a command that only has others.
func strict(c *cobra.Command) {
	for _, sub := range c.Commands() {
		strict(sub)
	}
	switch args := c.Args; {
	case c.HasSubCommands():
		c.Args = cobra.ArbitraryArgs
		c.DisableFlagsInUseLine = true
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q for %q; see `%s --help`", args[0], c.CommandPath(), c.CommandPath())}
			}
			return c.Help()
		}
	case args != nil:
		c.Args = func(c *cobra.Command, a []string) error {
			err := args(c, a)
			if usage := (usageError{}); err != nil && !errors.As(err, &usage) {
				err = usageError{err}
			}
			return err
		}
	}
}

// load reads the configuration, and lists every problem of it at once. Secrets
// and files count only where one of the roles opens them.
func (s *shell) load(roles ...string) (config.Config, error) {
	return config.LoadFor(s.configPath, os.Environ(), roles)
}

// withData gives fn the topics, and the cluster key.
func (s *shell) withData(cmd *cobra.Command, fn func(cfg config.Config, data *app.Data, log *slog.Logger) error) error {
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
	data, err := app.OpenData(cmd.Context(), cfg, log)
	if err != nil {
		return err
	}
	defer data.Close()
	return fn(cfg, data, log)
}

// making are the commands that may begin an installation. All others only look
// at an installation, or change an existing one, and never make its directory.
var making = []string{"agents add", "agents import", "groups add", "groups publish", "ruleset publish", "topics apply"}

// needsData says when a command would look at an installation that is not there.
func needsData(cmd *cobra.Command, cfg config.Config) error {
	if !cfg.Kafka.Embedded() || slices.Contains(making, strings.TrimPrefix(cmd.CommandPath(), "vedette ")) || datadir.Exists(cfg.DataDir) {
		return nil
	}
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		dir = cfg.DataDir
	}
	return fmt.Errorf("%s is no data directory of vedette; go to the directory where `vedette run` was started, or name its configuration by --config", dir)
}

// quietLogger is the logger of commands that end: people read their output, so
// they log only failures, unless --log-level asks for more.
func (s *shell) quietLogger(cmd *cobra.Command) (*slog.Logger, error) {
	if f := cmd.Flag("log-level"); f != nil && f.Changed {
		return s.logger(cmd.ErrOrStderr())
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelError})), nil
}

// logger writes text to a terminal and JSON anywhere else.
func (s *shell) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.logLevel)); err != nil {
		return nil, usageError{fmt.Errorf("--log-level %q: choose debug, info, warn or error", s.logLevel)}
	}
	opts := &slog.HandlerOptions{Level: level}
	if f, ok := w.(*os.File); ok {
		if st, err := f.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 {
			return slog.New(slog.NewTextHandler(w, opts)), nil
		}
	}
	return slog.New(slog.NewJSONHandler(w, opts)), nil
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "vedette %s (compatible with 4.14.7)\n", buildinfo.Version())
			return err
		},
	}
}
