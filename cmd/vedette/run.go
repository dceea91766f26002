package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"vedette/app"
)

func (s *shell) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run [role…]",
		Short: "Run roles until SIGTERM; all of them if none is named",
		Long: "Roles: " + strings.Join(app.Roles(), ", ") + ".\n" +
			"SIGTERM stops taking input and drains what was accepted; a second one ends at once.",
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
			cfg, err := s.load()
			if err != nil {
				return fmt.Errorf("configuration:\n%w", err)
			}
			for _, w := range cfg.Warnings() {
				log.Warn("configuration", "warning", w)
			}
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
			return a.Run(cmd.Context())
		},
	}
}
