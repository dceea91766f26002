package main

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"gopkg.in/yaml.v3"

	"vedette/config"
)

const composeFile = "../../docker-compose.yml"

func loadCompose(t *testing.T, env ...string) *types.Project {
	t.Helper()
	opts, err := cli.NewProjectOptions([]string{filepath.FromSlash(composeFile)}, cli.WithProfiles([]string{"*"}), cli.WithEnv(env))
	if err != nil {
		t.Fatal(err)
	}
	project, err := opts.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// Each command line and variable is one of this binary's, and each service finds
// the files that its roles open. test/containers runs the file.
func TestComposeFileFitsTheBinary(t *testing.T) {
	t.Parallel()
	var ran []string
	for name, svc := range loadCompose(t).Services {
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
		var roles []string
		if cmd.Name() == "run" {
			roles = rest
			ran = append(ran, rest...)
			if svc.HealthCheck == nil || len(svc.HealthCheck.Test) == 0 {
				t.Errorf("%s has no health check", name)
			}
		}
		mounted := map[string]bool{}
		for _, v := range svc.Volumes {
			mounted[v.Target] = true
			if secret := strings.HasPrefix(v.Target, "/run/vedette"); secret && v.ReadOnly == (name == "init") {
				t.Errorf("%s mounts %s with read_only: %v; only init writes secrets", name, v.Target, v.ReadOnly)
			}
		}
		dir := t.TempDir()
		var environ []string
		used := map[string]bool{}
		for k, v := range svc.Environment {
			if v == nil {
				t.Errorf("%s: %s has no value", name, k)
				continue
			}
			value := *v
			if strings.HasPrefix(value, "/run/vedette/") {
				at := path.Dir(value)
				used[at] = true
				value = filepath.Join(dir, strings.ReplaceAll(value, "/", "_"))
				if mounted[at] { // then init has made it
					if err := os.WriteFile(value, []byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			environ = append(environ, k+"="+value)
		}
		if _, err := config.LoadFor("", environ, roles); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for at := range mounted {
			if strings.HasPrefix(at, "/run/vedette") && !used[at] {
				t.Errorf("%s mounts %s and names no file in it", name, at)
			}
		}
		secrets := map[string][]string{"init": {"api", "cluster", "enroll"}, "enroll": {"cluster", "enroll"}, "api": {"api", "cluster"}}[name]
		if secrets == nil {
			secrets = []string{"cluster"}
		}
		for _, s := range []string{"api", "cluster", "enroll"} {
			if want := slices.Contains(secrets, s); mounted["/run/vedette/"+s] != want {
				t.Errorf("%s sees the secrets of %s: %v, want %v", name, s, !want, want)
			}
		}
		if !svc.ReadOnly {
			t.Errorf("%s has a root file system that can be written", name)
		}
	}
	slices.Sort(ran)
	if want := []string{"analyze", "api", "enroll", "forward", "ingest"}; !slices.Equal(ran, want) {
		t.Errorf("the services run %v, want %v", ran, want)
	}
}

func TestEveryServiceIsConfinedAndBounded(t *testing.T) {
	t.Parallel()
	for name, svc := range loadCompose(t).Services {
		if !slices.Contains(svc.CapDrop, "ALL") || !slices.Contains(svc.SecurityOpt, "no-new-privileges:true") || svc.Privileged {
			t.Errorf("%s keeps privileges: cap_drop %v, security_opt %v", name, svc.CapDrop, svc.SecurityOpt)
		}
		if svc.Logging == nil || svc.Logging.Options["max-size"] == "" || svc.Logging.Options["max-file"] == "" {
			t.Errorf("%s: its log grows without a bound", name)
		}
		if name == "dashboard" {
			continue // neither ours nor needed; its memory is its operator's to bound
		}
		if svc.MemLimit <= 0 {
			t.Errorf("%s has no mem_limit", name)
		}
		if name != "init" && svc.StopGracePeriod == nil {
			t.Errorf("%s has no stop_grace_period: the engine kills it after 10s", name)
		}
		if h := svc.HealthCheck; name != "init" && (h == nil || h.StartPeriod == nil) {
			t.Errorf("%s: a slow start counts as a failure without start_period", name)
		}
	}
}

// Compose 1.29 refuses top-level keys that came later, such as name.
func TestComposeFileHasOnlyKeysOfBothComposes(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.FromSlash(composeFile))
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	for key := range tree {
		if key != "services" && key != "volumes" && !strings.HasPrefix(key, "x-") {
			t.Errorf("top-level key %s is unknown to Compose 1.29", key)
		}
	}
}

func TestPortsReplicasAndMemoryComeFromTheEnvironment(t *testing.T) {
	t.Parallel()
	p := loadCompose(t, "AGENT_LISTEN=127.0.0.1:2514-2515", "API_LISTEN=10.0.0.5:443", "INGEST_REPLICAS=2", "ANALYZE_REPLICAS=4", "INGEST_MEMORY=2g", "AGENT_FILES=100000", "CERTIFICATE_HOSTS=siem.example.org,192.0.2.1")
	ingest := p.Services["ingest"]
	for name, want := range map[string]int{"ingest": 2, "analyze": 4, "forward": 1, "enroll": 1} {
		svc := p.Services[name]
		if got := svc.GetScale(); got != want {
			t.Errorf("%s has %d replicas, want %d", name, got, want)
		}
	}
	if got := ingest.Ports[0]; got.HostIP != "127.0.0.1" || got.Published != "2514-2515" || got.Target != 1514 {
		t.Errorf("ingest publishes %+v, want 127.0.0.1:2514-2515:1514", got)
	}
	if got := p.Services["api"].Ports[0]; got.HostIP != "10.0.0.5" || got.Published != "443" {
		t.Errorf("api publishes %+v, want 10.0.0.5:443", got)
	}
	if ingest.MemLimit != 2<<30 || ingest.Ulimits["nofile"].Single != 100000 {
		t.Errorf("ingest may take %d bytes and %d files, want 2 GiB and 100000", ingest.MemLimit, ingest.Ulimits["nofile"].Single)
	}
	if hosts := *p.Services["init"].Environment["VEDETTE_CLUSTER_HOSTS"]; hosts != "enroll,ingest,api,siem.example.org,192.0.2.1" {
		t.Errorf("certificates name %q", hosts)
	}
}
