package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"vedette/internal/datadir"
	"vedette/internal/secret"
	"vedette/simulate"
)

func (s *shell) simulateCommand() *cobra.Command {
	var cfg simulate.Config
	var logs, password, passwordFile string
	cmd := &cobra.Command{
		Use:   "simulate --agents N --eps M --duration D --manager HOST [--logs FILE]",
		Short: "Enroll agents that connect, keep alive and send log lines",
		Long: `Enrolls N agents, connects them, keeps them alive with a real agent's timers and sends log lines, from FILE in turn or from a corpus of our own.
The first agent begins with the lines of an attack, which the builtin rules alert on; not with --logs, --idle or --mark.
They take shared configuration, answer requests, take packages and act on active responses, whose log they send as events.
Prints sent, refused and reconnects as it goes. --eps 0 sends as fast as the server takes. Without --duration and --count it goes on until it is stopped.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.NamePrefix == "" && cfg.KeysFile == "" {
				// A server refuses a name that it gave away within the hour.
				cfg.NamePrefix = "sim-" + secret.RandomHex(3) + "-"
			}
			switch {
			case password != "" && passwordFile != "":
				return usageError{errors.New("give --password or --password-file, not both")}
			case password != "":
				cfg.Password = secret.String(password)
			case passwordFile == "":
				// The password of a server on this machine that was started without configuration.
				c, err := s.load()
				if err == nil {
					cfg.Password = c.Enroll.Password
					passwordFile = c.Enroll.PasswordFile
					if passwordFile == "" {
						passwordFile = filepath.Join(c.DataDir, datadir.EnrollmentPassword)
					}
				}
				if _, err := os.Stat(passwordFile); err != nil || cfg.Password != "" {
					passwordFile = ""
				}
			}
			if passwordFile != "" {
				raw, err := os.ReadFile(passwordFile)
				if err != nil {
					return err
				}
				line, _, _ := strings.Cut(string(raw), "\n")
				cfg.Password = secret.String(strings.TrimRight(line, "\r"))
			}
			if logs != "" {
				raw, err := os.ReadFile(logs)
				if err != nil {
					return err
				}
				cfg.Logs = raw
			}
			cfg.Story = logs == "" && !cfg.Idle && !cfg.Mark
			report, err := simulate.Run(cmd.Context(), cfg, cmd.OutOrStdout())
			if err != nil {
				return err
			}
			seconds := report.Elapsed.Seconds()
			fmt.Fprintf(cmd.OutOrStdout(), "total sent=%d refused=%d reconnects=%d enrolled=%d enroll_failed=%d unsent=%d seconds=%.1f eps=%.0f\n",
				report.Sent, report.Refused, report.Reconnects, report.Enrolled, report.EnrollFailed, report.Unsent, seconds, float64(report.Sent)/max(seconds, 0.001))
			fmt.Fprintf(cmd.OutOrStdout(), "up=%d half_within=%.2fs all_within=%.2fs files=%d bad_files=%d requests=%d responses=%d upgrades=%d module_events=%d\n",
				report.Up.Agents, report.Up.Half.Seconds(), report.Up.All.Seconds(), report.Files, report.BadFiles, report.Requests, report.Responses, report.Upgrades, report.ModuleEvents)
			if report.EnrollFailed > 0 && report.Sent == 0 {
				return errors.New("no agent could enroll")
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Agents, "agents", 1, "number of agents")
	f.Float64Var(&cfg.EPS, "eps", 0, "lines per second of all agents together; 0: as fast as the server takes")
	f.DurationVar(&cfg.Duration, "duration", 0, "how long to send; 0: no end")
	f.Int64Var(&cfg.Count, "count", 0, "lines to send in all; 0: no bound")
	f.StringVar(&cfg.Manager, "manager", "127.0.0.1", "host of both ports")
	f.IntVar(&cfg.EnrollPort, "enroll-port", 1515, "enrollment port")
	f.IntVar(&cfg.Port, "port", 1514, "agent port")
	f.StringVar(&password, "password", "", "enrollment password")
	f.StringVar(&passwordFile, "password-file", "", "file with it; default: that of data_dir, if it is there")
	f.StringVar(&logs, "logs", "", "file of lines to send in turn")
	f.StringVar(&cfg.Location, "location", "/var/log/auth.log", "where the lines claim to be from")
	f.StringVar(&cfg.Cipher, "cipher", "aes", "aes or blowfish")
	f.StringVar(&cfg.NamePrefix, "name", "", "start of the agents' names; default: sim, with digits of its own per run unless --keys keeps them")
	f.StringVar(&cfg.KeysFile, "keys", "", "file that keeps the agents' identities between runs")
	f.StringVar(&cfg.CAFile, "ca", "", "authority that the enrollment server's certificate must come from")
	f.BoolVar(&cfg.Idle, "idle", false, "send no lines, but keepalives and all that the server asks for")
	f.BoolVar(&cfg.UDP, "udp", false, "talk by datagrams")
	f.BoolVar(&cfg.Modules, "modules", false, "a changed file and a new package of each agent with every keepalive")
	f.DurationVar(&cfg.Keepalive, "keepalive", 0, "between two keepalives; default: 20s")
	f.StringVar(&cfg.ResponseDir, "response-dir", "", "directory with executables that active responses run here")
	f.BoolVar(&cfg.Mark, "mark", false, "add seq=<agent>-<n> to the end of each line")
	return cmd
}
