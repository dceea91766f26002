package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"

	"vedette/config"
)

// The file cannot be run where these tests run; what can be checked without an
// engine is that every command line and variable in it is one of this binary's.
func TestComposeFileFitsTheBinary(t *testing.T) {
	opts, err := cli.NewProjectOptions([]string{filepath.Join("..", "..", "docker-compose.yml")}, cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := opts.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var roles []string
	for name, svc := range project.Services {
		if svc.Image != "vedette:local" {
			continue
		}
		root := newRoot()
		cmd, rest, err := root.Find(svc.Command)
		if err != nil || cmd == root {
			t.Errorf("%s: %v is no command: %v", name, svc.Command, err)
			continue
		}
		if cmd.Args != nil {
			if err := cmd.Args(cmd, rest); err != nil {
				t.Errorf("%s: %v: %v", name, svc.Command, err)
			}
		}
		if cmd.Name() == "run" {
			roles = append(roles, rest...)
		}
		// Every file that the environment names is there once init ran.
		dir := t.TempDir()
		var environ []string
		for k, v := range svc.Environment {
			if v == nil {
				t.Errorf("%s: %s has no value", name, k)
				continue
			}
			value := *v
			if strings.HasPrefix(value, "/run/vedette/") {
				value = filepath.Join(dir, filepath.Base(value))
				if err := os.WriteFile(value, []byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			environ = append(environ, k+"="+value)
		}
		if _, err := config.Load("", environ); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if cmd.Name() == "run" && (svc.HealthCheck == nil || len(svc.HealthCheck.Test) == 0) {
			t.Errorf("%s has no health check", name)
		}
	}
	slices.Sort(roles)
	if want := []string{"analyze", "api", "enroll", "forward", "ingest"}; !slices.Equal(roles, want) {
		t.Errorf("the services run %v, want %v", roles, want)
	}
}
