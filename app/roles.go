package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vedette/analyze"
	"vedette/analyze/shadow"
	"vedette/config"
	"vedette/enroll"
	"vedette/internal/datadir"
	"vedette/internal/geoip"
	"vedette/internal/kafka"
	"vedette/internal/ports"
	"vedette/internal/responses"
	published "vedette/internal/rulesets"
	"vedette/internal/secret"
	"vedette/internal/store"
	"vedette/internal/store/embedded"
	"vedette/internal/store/opensearch"
	"vedette/ruleset/engine"
	"vedette/rulesets"
	"vedette/schemas"
)

// openRulesets prepares the rulesets for the roles that need them. Where the
// configured one is refused, a published one must be there to run instead: what
// is broken never replaces what is good, not at a start either.
func (a *App) openRulesets(ctx context.Context, names []string, own *rulesets.Ruleset, refused error) error {
	if !needsRules(names) {
		return nil
	}
	if refused != nil {
		if there, err := rulesets.Published(ctx, a.cluster, a.box, a.node); err != nil || !there {
			return errors.Join(refused, err)
		}
		a.log.Error("the configured ruleset is refused; the one published before goes on", "err", refused)
	}
	s, err := published.Open(a.cluster, a.box, a.node, a.log, a.reg)
	if err != nil {
		return err
	}
	cfg, err := rulesetConfig(a.cfg)
	if err != nil {
		return err
	}
	a.rules = rulesets.NewLive(cfg, s, own, slices.Contains(names, RoleAnalyze), a.log, a.reg)
	a.infra["rulesets"] = a.rules
	a.checks.Add("ruleset", a.rules.Err)
	return nil
}

// EngineConfig is the configuration of engines, equal on every worker.
func EngineConfig(c config.Config, logtest bool) (engine.Config, error) {
	zone, err := time.LoadLocation(c.Cluster.Timezone)
	if err != nil {
		return engine.Config{}, fmt.Errorf("cluster.timezone: %w", err)
	}
	return engine.Config{ManagerName: c.Cluster.Name, ClusterName: c.Cluster.Name, Timezone: zone, Logtest: logtest, Limits: engine.Limits{TotalBytes: int(c.Analyze.StateBytes)}}, nil
}

func rulesetConfig(c config.Config) (rulesets.Config, error) {
	ec, err := EngineConfig(c, false)
	return rulesets.Config{Names: c.Analyze.Rulesets, Shadow: c.Analyze.Shadow, GeoIPFile: c.Analyze.GeoIPFile, Engine: ec, Node: NodeName(c)}, err
}

func needsRules(names []string) bool {
	return slices.Contains(names, RoleAnalyze) || slices.Contains(names, RoleAPI)
}

// build makes the named roles; every listener is bound when it returns.
func (a *App) build(names []string) error {
	has := func(role string) bool { return slices.Contains(names, role) }
	set, err := responses.Load(a.cfg.ActiveResponse)
	if err != nil {
		return err
	}
	for _, w := range set.Warnings {
		a.log.Warn("configuration", "warning", w)
	}
	if has(RoleIngest) || has(RoleEnroll) || has(RoleAPI) || has(RoleForward) && len(set.Bound()) > 0 {
		if err := a.openRegistry(has(RoleEnroll)); err != nil {
			return err
		}
	}
	var alerts store.Store
	if has(RoleForward) || has(RoleAPI) {
		var err error
		if alerts, err = a.openStore(!has(RoleForward)); err != nil {
			return err
		}
		a.cleanup = append(a.cleanup, func() { _ = alerts.Close() })
		a.checks.Add("store", func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			return alerts.Ready(ctx)
		})
	}
	// Every port is tried, so that all that are taken are named at once.
	var errs []error
	if has(RoleEnroll) {
		errs = append(errs, ports.Taken(a.buildEnroll(), "enroll.listen"))
	}
	if has(RoleIngest) {
		errs = append(errs, ports.Taken(a.buildIngest(), "ingest"), a.buildInputs())
	}
	if has(RoleAnalyze) {
		errs = append(errs, a.buildAnalyze())
	}
	if has(RoleForward) {
		errs = append(errs, a.buildForward(alerts, set))
	}
	if has(RoleAPI) {
		errs = append(errs, ports.Taken(a.buildAPI(alerts), "api.listen"))
	}
	return errors.Join(errs...)
}

// openRegistry follows the registry. bury keeps records that could not be
// applied in the dead letter.
func (a *App) openRegistry(bury bool) error {
	r, err := OpenRegistry(a.cfg, a.cluster, a.box, a.log, a.reg)
	if err != nil {
		return err
	}
	a.registry = r
	a.infra["registry"] = r
	a.checks.Add("registry", a.registryRead)
	if !bury {
		return nil
	}
	p, err := a.cluster.NewProducer("registry-deadletter", a.log, a.reg)
	if err != nil {
		return err
	}
	a.cleanup = append(a.cleanup, p.Close)
	r.OnRejected(func(rec schemas.Record, cause string) {
		// A record from before this start was kept when it was new.
		if a.registryRead() == nil {
			d := schemas.NewDeadLetter(&rec, "registry_"+cause, "the record was not applied")
			p.Produce(d.Record(), nil)
		}
	})
	return nil
}

// registryRead is nil once the registry was read to its end, and can be relied on.
func (a *App) registryRead() error {
	if err := a.registry.Err(); err != nil {
		return err
	}
	select {
	case <-a.registry.Ready():
		return nil
	default:
		return errors.New("the registry has not been read to its end yet")
	}
}

// openStore opens the indexer, or the embedded store; readOnly if another
// process of this data_dir writes it.
func (a *App) openStore(readOnly bool) (store.Store, error) {
	if indexer := a.cfg.Forward.OpenSearch; len(indexer.URLs) > 0 {
		cfg := opensearch.Default()
		cfg.URLs, cfg.Username, cfg.PasswordFile, cfg.CAFile = indexer.URLs, indexer.Username, indexer.PasswordFile, indexer.CA
		if f := a.cfg.Analyze.GeoIPFile; f != "" {
			db, err := geoip.Open(f)
			if err != nil {
				return nil, fmt.Errorf("analyze.geoip_file: %w", err)
			}
			cfg.GeoIP = db
		}
		return opensearch.Open(cfg, a.log, a.reg)
	}
	cfg := embedded.Default()
	dir, err := filepath.Abs(a.dir.File(datadir.Store)) // SQLite's URIs take no relative path
	if err != nil {
		return nil, err
	}
	cfg.Dir, cfg.ReadOnly = dir, readOnly
	return embedded.Open(cfg, a.log, a.reg)
}

func (a *App) buildEnroll() error {
	c := a.cfg.Enroll
	cfg := enroll.Default()
	cfg.Listen, cfg.UsePassword = c.Listen, c.UsePassword
	cfg.Certificate, cfg.Key, cfg.DataDir, cfg.Hosts = c.Certificate, c.Key, a.dir.File(datadir.Certificates), a.cfg.Cluster.Hosts
	cfg.Password = c.Password
	cfg.AgentCA, cfg.VerifyAgentAddress, cfg.UseSourceIP = c.AgentCA, c.VerifyAgentAddress, c.UseSourceIP
	cfg.RatePerSource, cfg.Force, cfg.AllowHigherVersions = c.RatePerSource, c.Policy(), a.cfg.Agents.AllowHigherVersions
	switch {
	case !c.UsePassword || c.Password != "":
	case c.PasswordFile != "":
		raw, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return fmt.Errorf("enroll.password_file: %w", err)
		}
		line, _, _ := strings.Cut(string(raw), "\n")
		cfg.Password = secret.String(strings.TrimRight(line, "\r"))
		a.password = c.PasswordFile
	default:
		value, _, err := a.dir.SecretFile(datadir.EnrollmentPassword, func() string { return secret.RandomPassword(24).Reveal() })
		if err != nil {
			return fmt.Errorf("enrollment password: %w", err)
		}
		cfg.Password = secret.String(value)
		a.password = a.dir.File(datadir.EnrollmentPassword)
	}
	r, err := enroll.New(cfg, a.registry, a.log, a.reg)
	if err != nil {
		return err
	}
	a.cleanup = append(a.cleanup, func() { _ = r.Close() })
	a.checks.Add(RoleEnroll, a.registryRead)
	a.roles[RoleEnroll], a.ends.Enroll = r, r.Addr().String()
	return nil
}

// closing is a role with the producer that ends after it.
type closing struct {
	Role
	p *kafka.Producer
}

func (c closing) Run(ctx context.Context) error {
	defer c.p.Close()
	return c.Role.Run(ctx)
}

func (a *App) buildAnalyze() error {
	r, err := analyze.New(analyze.Options{
		Config: a.cfg.Analyze, Cluster: a.cluster, Rulesets: a.rules, Node: a.node, Box: a.box, Log: a.log, Registerer: a.reg,
	})
	if err != nil {
		return err
	}
	a.rules.Observe(r.Running)
	a.checks.Add(RoleAnalyze, r.Ready)
	a.roles[RoleAnalyze] = r
	return a.buildShadow()
}

// buildShadow tries the candidate beside the role analyze.
func (a *App) buildShadow() error {
	if len(a.cfg.Analyze.Shadow) == 0 {
		return nil
	}
	cfg, err := rulesetConfig(a.cfg)
	if err != nil {
		return err
	}
	c := rulesets.NewCandidate(cfg, a.rules, a.log, a.reg)
	r, err := shadow.New(shadow.Options{Cluster: a.cluster, Running: a.rules, Candidate: c, Log: a.log, Registerer: a.reg})
	if err != nil {
		return err
	}
	a.infra["candidate"], a.roles["shadow"] = c, r
	return nil
}
