package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"vedette/api"
	apigroups "vedette/api/groups"
	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/internal/commands"
	"vedette/internal/datadir"
	"vedette/internal/groups"
	"vedette/internal/registry"
	"vedette/internal/retry"
	"vedette/internal/secret"
	"vedette/internal/store"
	"vedette/internal/tlsconf"
	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

func (a *App) buildAPI(alerts store.Store) error {
	cert, err := tlsconf.LoadOrCreate(a.cfg.API.Certificate, a.cfg.API.Key, a.dir.File(datadir.Certificates), a.cfg.Cluster.Hosts)
	if err != nil {
		return fmt.Errorf("api: %w", err)
	}
	cfg := api.Default()
	cfg.Listen, cfg.Certificate, cfg.PackagesDir = a.cfg.API.Listen, cert, a.cfg.Agents.PackagesDir
	cfg.Identity = rest.Identity{
		Manager: a.cfg.Cluster.Name, Node: a.node, InstallationID: a.installationID(), Path: a.cfg.DataDir, Started: time.Now(),
	}
	deps, err := a.apiDeps(alerts)
	if err != nil {
		return err
	}
	r, err := api.New(cfg, deps, a.log, a.reg)
	if err != nil {
		return err
	}
	a.roles[RoleAPI], a.ends.API = r, r.Addr().String()
	a.credentials = a.dir.File(datadir.APICredentials)
	b := &bootstrap{a: a, done: make(chan struct{})}
	a.infra["bootstrap"] = b
	a.checks.add("api", b.err)
	return nil
}

// apiDeps opens what the API answers from.
func (a *App) apiDeps(alerts store.Store) (api.Deps, error) {
	files, err := a.openGroups()
	if err != nil {
		return api.Deps{}, err
	}
	upgrades, err := a.openPackages()
	if err != nil {
		return api.Deps{}, err
	}
	orders, err := commands.Open(a.cluster, a.box, a.node, a.log, a.reg)
	if err != nil {
		return api.Deps{}, err
	}
	a.infra["commands"] = orders
	set, err := Responses(a.cfg)
	if err != nil {
		return api.Deps{}, err
	}
	reg := api.NewRegistry(a.registry, a.cfg.Enroll.Policy(), a.cfg.Cluster.Name)
	reg.CompareFiles(func(groups []string) string { return files.Merged(groups).Sum })
	return api.Deps{
		Agents: reg, Groups: groupsWithFiles{reg, files}, GroupSums: apigroups.Sums(files), GroupFiles: files, Users: reg,
		Rules: a.rules, Alerts: alerts, Logtest: a.rules.Logtest, Rulesets: a.rules, Shadow: a.rules.shadowSummary(a.cluster),
		Orders: orders, Packages: upgrades, ARConf: set.ARConf(), Health: a.Health,
	}, nil
}

// groupsWithFiles are the registry's groups, which take their files with them.
type groupsWithFiles struct {
	*api.Registry
	files *groups.Store
}

// RemoveGroup implements api.Groups. Files that stay, because the brokers do not
// answer, would come back with a group of that name, so that it fails then; done
// again it goes on there.
func (g groupsWithFiles) RemoveGroup(ctx context.Context, name string) error {
	// First the files: once the group is gone nobody could ask for this again.
	if name != schemas.DefaultGroup {
		if err := g.files.Remove(ctx, name); err != nil {
			return problem.New(problem.EnrolmentDown, "")
		}
	}
	return g.Registry.RemoveGroup(ctx, name)
}

// logtestLimits bound a log test over the API, of which there can be many. All
// its events have one key.
var logtestLimits = engine.Limits{Keys: 16, EventBytes: 4 << 20, TotalBytes: 4 << 20}

func texts(problems []ruleset.Problem) []string {
	out := make([]string, len(problems))
	for i, p := range problems {
		out[i] = p.String()
	}
	return out
}

// installationID is a UUID that all nodes with one cluster key agree on.
func (a *App) installationID() string {
	h := a.box.MAC("installation", []byte("id"))
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// bootstrap makes the first API user of an installation. Of several processes
// that start at once one wins; it writes the credentials.
type bootstrap struct {
	a    *App
	done chan struct{}
}

// firstUser is the name of the API user that the first start makes.
const firstUser = "wazuh"

func (b *bootstrap) err() error {
	select {
	case <-b.done:
		return nil
	default:
		return errors.New("the first API user has not been made yet")
	}
}

func (b *bootstrap) Run(ctx context.Context) error {
	a := b.a
	select {
	case <-a.registry.Ready():
	case <-ctx.Done():
		return nil
	}
	pause := retry.Backoff{Min: time.Second, Max: 10 * time.Second}
	for {
		err := b.make(ctx)
		if err == nil {
			close(b.done)
			<-ctx.Done()
			return nil
		}
		a.log.Warn("making the first API user", "err", err)
		if pause.Wait(ctx) != nil {
			return nil
		}
	}
}

func (b *bootstrap) make(ctx context.Context) error {
	a := b.a
	if len(a.registry.Users()) > 0 {
		if _, err := os.Stat(a.credentials); err != nil {
			a.credentials = ""
		}
		return nil
	}
	// The file comes first: a password nobody knows would be worse than a file too many.
	password := secret.RandomPassword(24).Reveal() + "aA1."
	if err := datadir.WriteFile(a.credentials, []byte(firstUser+":"+password+"\n"), 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err := a.registry.AddUser(ctx, registry.User{Name: firstUser, PasswordHash: secret.String(api.HashPassword(password)), Roles: []string{"administrator"}, RunAs: true})
	var refusal *registry.Refusal
	if errors.As(err, &refusal) && refusal.Reason == registry.ReasonUserExists {
		_ = os.Remove(a.credentials)
		a.credentials = ""
		a.log.Info("API users exist already; another process holds their credentials")
		return nil
	}
	if err == nil {
		a.log.Info("API credentials written", "path", filepath.Clean(a.credentials))
	}
	return err
}
