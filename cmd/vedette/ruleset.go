package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vedette/ruleset"
	"vedette/ruleset/check"
	"vedette/ruleset/engine"
	"vedette/ruleset/rulesettest"
	"vedette/rulesets"
)

// builtinRuleset names the ruleset of the binary, as in analyze.rulesets.
const builtinRuleset = "builtin"

func (s *shell) rulesetCommand() *cobra.Command {
	parent := &cobra.Command{Use: "ruleset", Short: "Check, test and publish decoders, rules and lists"}
	parent.AddCommand(rulesetCheckCommand(), rulesetTestCommand(),
		s.rulesetVersionsCommand(), s.rulesetPublishCommand(), s.rulesetPromoteCommand(), s.rulesetRollbackCommand())
	return parent
}

func rulesetCheckCommand() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "check DIR… [--strict]",
		Short: "List all problems of a ruleset, each with place, cause and a hint",
		Long: `Prints each problem to standard error as

file:line:col: error: [rule N:] cause
hint: what to do

or with "warning:" in place of "error:".

DIR holds decoders/, rules/ and lists/, or just XML files; an ossec.conf stands
for the files its <ruleset> names; "builtin" is the ruleset of the binary.
Several are checked as one ruleset.

Exit codes: 0 no errors, 1 errors, 2 used wrongly. It is an error when the load
would be refused or a rule be left out of it; the rest are warnings.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var rep *check.Report
			err := stoppable(cmd.Context(), func() error {
				src, err := loadSources(args)
				if err == nil {
					rep = check.Run(src)
				}
				return err
			})
			if err != nil {
				return err
			}
			if err := rep.Write(cmd.ErrOrStderr()); err != nil {
				return err
			}
			errs, warnings := rep.Errors(), rep.Warnings()
			if errs > 0 || strict && warnings > 0 {
				return fmt.Errorf("ruleset has %s and %s", counted(errs, "error"), counted(warnings, "warning"))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "ruleset is valid: %s, %s, %s\n",
				counted(len(rep.Program.AllDecoders), "decoder"), counted(rep.Program.Written(), "rule"), counted(warnings, "warning"))
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "take warnings as errors")
	return cmd
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func rulesetTestCommand() *cobra.Command {
	var paths []string
	var junit string
	var coverage bool
	cmd := &cobra.Command{
		Use:   "test DIR… [--tests PATH]… [--junit FILE] [--coverage]",
		Short: "Run the tests of a ruleset",
		Long: `Runs tests in the text form (.txt, .test) or in the .ini form, each on fresh
state, and prints what differs. Without --tests they are all such files below
DIR/tests. The text form, blocks with empty lines between them:

# Seven refused passwords are a brute force.
agent: 001 web1 10.0.0.5
location: /var/log/auth.log
log: Nov 22 10:00:01 web1 sshd[1]: Failed password for root from 203.0.113.7 port 1 ssh2
expect: rule=900102 level=5 decoder=sshd srcip=203.0.113.7 alert=true
wait: 10s
log: Nov 22 10:00:11 web1 cron[1]: nothing
expect: rule=none srcip!=203.0.113.7

Further lines: queue: C, time: 2026-01-05T12:00:00Z (the clock's start), and
fresh, which forgets all events before. Names are decoded fields and whatever
else the alert holds, by its path; a value with blanks stands in double quotes.

Exit codes: 0 all tests passed, 1 a test failed or there is none, 2 used wrongly.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return stoppable(cmd.Context(), func() error { return runRulesetTests(cmd, args, paths, junit, coverage) })
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&paths, "tests", nil, "test file or directory of them; may be repeated; default: DIR/tests")
	f.StringVar(&junit, "junit", "", "write the results to this file as JUnit XML")
	f.BoolVar(&coverage, "coverage", false, "list the rules and decoders that no test hit")
	return cmd
}

// runRulesetTests runs the tests of paths, or of the directories.
func runRulesetTests(cmd *cobra.Command, args, paths []string, junit string, coverage bool) error {
	src, err := loadSources(args)
	if err != nil {
		return err
	}
	p, problems, err := ruleset.Compile(src)
	if err != nil {
		return fmt.Errorf("ruleset refused:\n%w", err)
	}
	for _, x := range problems {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", x)
	}
	tests, err := findTests(args, paths)
	if err != nil {
		return err
	}
	eng := engine.New(p, engine.Config{ManagerName: "manager", Logtest: true})
	cov := rulesettest.NewCoverage(p)
	results := make([]rulesettest.Result, len(tests))
	failed := 0
	out := cmd.OutOrStdout()
	for i := range tests {
		results[i] = rulesettest.RunTest(eng, &tests[i], cov)
		if len(results[i].Failures) > 0 {
			failed++
		}
		if err := results[i].Write(out); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%s, %d passed, %d failed\n", counted(len(tests), "test"), len(tests)-failed, failed)
	if coverage {
		if err := cov.Write(out); err != nil {
			return err
		}
	}
	if junit != "" {
		if err := writeJUnit(junit, results); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d tests failed", failed, len(tests))
	}
	return nil
}

func writeJUnit(name string, results []rulesettest.Result) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(rulesettest.WriteJUnit(f, results), f.Close())
}

// testBytesMax bounds a file of tests.
const testBytesMax = 64 << 20

// findTests reads all tests of the paths, or of each directory's tests folder.
func findTests(dirs, paths []string) ([]rulesettest.Test, error) {
	given := len(paths) > 0
	if !given {
		for _, d := range dirs {
			if d != builtinRuleset {
				paths = append(paths, filepath.Join(d, "tests"))
			}
		}
	}
	var tests []rulesettest.Test
	var errs []error
	for _, root := range paths {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				if path == root && !given && errors.Is(err, fs.ErrNotExist) {
					return fs.SkipAll
				}
				return err
			}
			ext := strings.ToLower(filepath.Ext(path))
			if d.IsDir() || path != root && !slices.Contains([]string{".ini", ".txt", ".test"}, ext) {
				return nil
			}
			data, err := ruleset.ReadFile(path, testBytesMax)
			if err != nil {
				return err
			}
			t, err := rulesettest.ParseFile(path, data)
			if err != nil {
				errs = append(errs, err)
			}
			tests = append(tests, t...)
			return nil
		})
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("tests cannot be read:\n%w", errors.Join(errs...))
	}
	if len(tests) == 0 {
		return nil, fmt.Errorf("no tests in %s; write some there, or name them by --tests", strings.Join(paths, ", "))
	}
	return tests, nil
}

// loadSources reads rulesets by name and puts them together.
func loadSources(names []string) (ruleset.Source, error) {
	var parts []ruleset.Source
	for _, name := range names {
		s, err := rulesets.LoadSource(name)
		if err != nil {
			return ruleset.Source{}, err
		}
		parts = append(parts, s)
	}
	return ruleset.Merge(parts...), nil
}
