package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"vedette/app"
	"vedette/config"
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
			ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Minute)
			defer cancel()
			pause := retry.Backoff{Min: time.Second, Max: 5 * time.Second}
			for {
				plans, err := data.Cluster.ApplyTopics(ctx, app.Retention(cfg.Events))
				if err == nil {
					printPlans(out, plans)
					return nil
				}
				if len(plans) > 0 || pause.Wait(ctx) != nil {
					return err // the brokers answered, and refused; or time is up
				}
			}
		},
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
