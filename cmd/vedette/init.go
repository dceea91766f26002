package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"vedette/app"
	"vedette/config"
	"vedette/internal/kafka"
	"vedette/internal/retry"
	"vedette/internal/secret"
	"vedette/internal/tlsconf"
)

func (s *shell) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Make the key, password and certificate files that the configuration names, then the topics",
		Long: `For an installation of several processes, once before the first of them starts.
Files that exist are left alone. Certificates name localhost and cluster.hosts. Ends
when every broker knows a leader of every partition, so that roles can start. A single process with nothing configured needs no init.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := s.quietLogger(cmd)
			if err != nil {
				return err
			}
			cfg, err := config.Parse(s.configPath, os.Environ())
			if err != nil {
				return fmt.Errorf("configuration:\n%w", err)
			}
			out := cmd.OutOrStdout()
			if path := cfg.Cluster.KeyFile; path != "" {
				if _, err := secret.LoadOrCreateKeys(path, log); err != nil {
					return err
				}
				fmt.Fprintf(out, "cluster key          %s\n", path)
			}
			if path := cfg.Enroll.PasswordFile; path != "" {
				if err := writeOnce(path, secret.RandomPassword(24).Reveal()+"\n"); err != nil {
					return err
				}
				fmt.Fprintf(out, "enrollment password  %s\n", path)
			}
			for _, pair := range [][2]string{{cfg.Enroll.Certificate, cfg.Enroll.Key}, {cfg.API.Certificate, cfg.API.Key}} {
				if pair[0] == "" || pair[1] == "" {
					continue
				}
				if err := tlsconf.Ensure(pair[0], pair[1], cfg.Cluster.Hosts); err != nil {
					return err
				}
				fmt.Fprintf(out, "certificate          %s\n", pair[0])
			}
			if err := cfg.ValidateFor(nil); err != nil {
				return fmt.Errorf("configuration:\n%w", err)
			}
			if cfg.Kafka.Embedded() {
				return nil
			}
			data, err := app.OpenTopics(cmd.Context(), cfg, log)
			if err != nil {
				return err
			}
			defer data.Close()
			plans, err := makeTopics(cmd.Context(), data.Cluster, app.Retention(cfg.Events), log)
			if err == nil {
				printPlans(out, plans)
			}
			return err
		},
	}
}

// topicsWithin bounds how long init tries to make the topics.
const topicsWithin = 3 * time.Minute

// makeTopics applies the topics again and again while the failure may pass, such
// as brokers that begin or are slow. It returns refusals of the brokers at once.
func makeTopics(ctx context.Context, c *kafka.Cluster, events kafka.Retention, log *slog.Logger) ([]kafka.TopicPlan, error) {
	ctx, cancel := context.WithTimeout(ctx, topicsWithin)
	defer cancel()
	pause := retry.Backoff{Min: time.Second, Max: 5 * time.Second}
	for {
		plans, err := c.ApplyTopics(ctx, events)
		if err == nil || !kafka.MayPass(err) || ctx.Err() != nil {
			return plans, err
		}
		log.Warn("topics are not made yet; tried again", "err", err)
		if pause.Wait(ctx) != nil {
			return plans, err
		}
	}
}

// writeOnce creates a secret file, readable by its owner and group of services.
func writeOnce(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
