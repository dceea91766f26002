package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"vedette/app"
	"vedette/config"
	"vedette/rulesets"
)

func (s *shell) configCommand() *cobra.Command {
	parent := &cobra.Command{Use: "config", Short: "Check or show the configuration"}
	check := &cobra.Command{
		Use: "check", Short: "List every problem and every warning; exit 1 if there is a problem", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.load(app.Roles()...)
			if err != nil {
				return fmt.Errorf("configuration:\n%w", err)
			}
			rules, err := rulesets.Load(cfg.Analyze.Rulesets, cfg.Analyze.GeoIPFile)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			for _, w := range rules.Warnings {
				fmt.Fprintf(out, "warning: %s\n", w)
			}
			if len(cfg.Analyze.Shadow) > 0 {
				if _, err := rulesets.Load(cfg.Analyze.Shadow, cfg.Analyze.GeoIPFile); err != nil {
					return fmt.Errorf("analyze.shadow: %w", err)
				}
			}
			for _, w := range cfg.Warnings() {
				fmt.Fprintf(out, "warning: %s\n", w)
			}
			fmt.Fprintln(out, "configuration is valid")
			return nil
		},
	}
	show := &cobra.Command{
		Use: "show", Short: "Print the configuration in force; secrets are left out", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.load(app.Roles()...)
			if err != nil {
				return fmt.Errorf("configuration:\n%w", err)
			}
			text, err := config.Show(cfg)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	parent.AddCommand(check, show)
	return parent
}
