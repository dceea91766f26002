//go:build api_ready

package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"vedette/api"
	"vedette/internal/datadir"
	"vedette/internal/registry"
	"vedette/internal/secret"
	"vedette/internal/store"
)

func (a *App) buildAPI(rules *Ruleset, alerts store.Store) error {
	c := a.cfg.API
	cfg := api.Default()
	cfg.Listen, cfg.Certificate, cfg.Key, cfg.DataDir = c.Listen, c.Certificate, c.Key, a.dir.File(datadir.Certificates)
	cfg.Node, cfg.ClusterName = a.node, a.cfg.Cluster.Name
	r, err := api.New(cfg, api.Deps{
		Agents: api.RegistryAgents(a.registry), Users: api.RegistryUsers(a.registry), Rules: rules.Program, Alerts: alerts, Health: a.Health,
	}, a.log, a.reg)
	if err != nil {
		return err
	}
	a.cleanup = append(a.cleanup, func() { _ = r.Close() })
	a.roles[RoleAPI], a.ends.API = r, r.Addr().String()
	a.credentials = a.dir.File(datadir.APICredentials)
	b := &bootstrap{a: a, done: make(chan struct{})}
	a.infra["bootstrap"] = b
	a.checks.add("api users", b.err)
	return nil
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
	for {
		err := b.make(ctx)
		if err == nil {
			close(b.done)
			<-ctx.Done()
			return nil
		}
		a.log.Warn("making the first API user", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
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
