package app

import (
	"context"
	"fmt"
	"time"

	"vedette/api"
	apigroups "vedette/api/groups"
	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/config"
	"vedette/internal/commands"
	"vedette/internal/datadir"
	"vedette/internal/groups"
	"vedette/internal/responses"
	"vedette/internal/store"
	"vedette/internal/tlsconf"
	"vedette/schemas"
)

func (a *App) buildAPI(alerts store.Store) error {
	cert, err := tlsconf.LoadOrCreate(a.cfg.API.Certificate, a.cfg.API.Key, a.dir.File(datadir.Certificates), a.cfg.Cluster.Hosts)
	if err != nil {
		return fmt.Errorf("api: %w", err)
	}
	cfg := apiConfig(a.cfg)
	cfg.Certificate = cert
	cfg.Identity = rest.Identity{
		Manager: a.cfg.Cluster.Name, Node: a.node, InstallationID: a.installationID(), Path: a.cfg.DataDir, Started: time.Now(),
	}
	p, err := a.cluster.NewProducer("api-audit", a.log, a.reg)
	if err != nil {
		return err
	}
	a.cleanup = append(a.cleanup, p.Close)
	cfg.Audit = api.Audit(a.cfg.Cluster.Name, a.node, func(rec schemas.Record) {
		p.Produce(rec, func(err error) {
			if err != nil {
				a.log.Error("the event about a change over the API was not written", "err", err)
			}
		})
	})
	deps, err := a.apiDeps(alerts)
	if err != nil {
		return err
	}
	r, err := api.New(cfg, deps, a.apiLog, a.reg)
	if err != nil {
		return err
	}
	a.roles[RoleAPI], a.ends.API = r, r.Addr().String()
	a.user = api.NewFirstUser(a.registry, a.dir.File(datadir.APICredentials), a.log)
	a.infra["first user"] = a.user
	a.checks.Add("api", a.user.Err)
	return nil
}

// apiConfig returns the settings of the API that the configuration holds.
func apiConfig(c config.Config) api.Config {
	out := api.Default()
	out.Listen, out.PackagesDir = c.API.Listen, c.Agents.PackagesDir
	out.MaxRequestsPerMinute, out.MaxLoginAttempts, out.BlockTime = c.API.MaxRequestsPerMinute, c.API.MaxLoginAttempts, c.API.BlockTime
	return out
}

// apiDeps opens the sources of the API's answers.
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
	set, err := responses.Load(a.cfg.ActiveResponse)
	if err != nil {
		return api.Deps{}, err
	}
	own, err := settings(a.cfg)
	if err != nil {
		return api.Deps{}, err
	}
	own.Check = a.check
	reg := api.NewRegistry(a.registry, a.cfg.Enroll.Policy(), a.cfg.Cluster.Name)
	reg.CompareFiles(func(groups []string) string { return files.Merged(groups).Sum })
	return api.Deps{
		Agents: reg, Groups: groupsWithFiles{reg, files}, GroupSums: apigroups.Sums(files), GroupFiles: files, Users: api.NewAccess(a.registry),
		Rules: a.rules, Alerts: alerts, Logtest: a.rules.Logtest, Rulesets: a.rules, Shadow: a.rules.ShadowSummary(a.cluster, a.reg),
		Orders: orders, Packages: upgrades, ARConf: set.ARConf(), Health: a.Health, Nodes: a.otherNodes, Metrics: a.reg, Logs: a.lines.Lines, Settings: own,
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

// installationID is a UUID that all nodes with one cluster key agree on.
func (a *App) installationID() string {
	h := a.box.MAC("installation", []byte("id"))
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}
