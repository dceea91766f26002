package api

import (
	"context"
	_ "embed" // the document
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/api/agents"
	"vedette/api/alerts"
	"vedette/api/auth"
	"vedette/api/groups"
	"vedette/api/logtest"
	"vedette/api/manager"
	"vedette/api/responses"
	"vedette/api/rest"
	"vedette/api/rules"
	"vedette/api/rulesets"
	"vedette/api/security"
	"vedette/api/upgrades"
)

//go:embed openapi.yaml
var document []byte

// Document returns openapi.yaml.
func Document() []byte { return document }

// API is the role.
type API struct {
	frame *rest.Frame
	ln    net.Listener
}

// New reads the document, matches it with the functions and binds the listener.
func New(cfg Config, deps Deps, log *slog.Logger, reg prometheus.Registerer) (*API, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a, err := build(cfg, deps, log, reg)
	if err != nil {
		return nil, err
	}
	if a.ln, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	return a, nil
}

// build is New without a listener.
func build(cfg Config, deps Deps, log *slog.Logger, reg prometheus.Registerer) (*API, error) {
	own := &manager.Service{
		Identity: cfg.Identity, Health: deps.Health, Nodes: deps.Nodes, Agents: deps.Agents, Rulesets: deps.Rulesets, Metrics: deps.Metrics, Logs: deps.Logs,
		Settings: deps.Settings,
	}
	own.Settings.API = manager.APISettings{
		Listen: cfg.Listen, MaxUploadBytes: cfg.MaxUploadBytes, RequestTimeoutSeconds: int(cfg.RequestTimeout.Seconds()),
		MaxLoginAttempts: cfg.MaxLoginAttempts, BlockTimeSeconds: int(cfg.BlockTime.Seconds()), MaxRequestsPerMinute: cfg.MaxRequestsPerMinute,
	}
	agent := &agents.Service{Agents: deps.Agents, Orders: deps.Orders, Own: own.Component, Identity: cfg.Identity, Log: log}
	group := groups.New(groups.Service{Service: agent, Groups: deps.Groups, Sums: deps.GroupSums, Files: deps.GroupFiles, ARConf: deps.ARConf})
	frame, err := rest.New(cfg.Config, document, deps.Users, []rest.Part{
		agent.Part(),
		group.Part(),
		(&responses.Service{Service: agent, ARConf: deps.ARConf}).Part(),
		upgrades.New(upgrades.Service{Service: agent, Packages: deps.Packages, Dir: cfg.PackagesDir}).Part(),
		(&rules.Service{Rules: deps.Rules}).Part(),
		(&rulesets.Service{Rulesets: deps.Rulesets, Shadow: deps.Shadow, Node: cfg.Identity.Node, Log: log}).Part(),
		(&alerts.Service{Alerts: deps.Alerts, Log: log}).Part(),
		(&logtest.Service{Logtest: deps.Logtest}).Part(),
		own.Part(),
		security.New(deps.Users, cfg.MaxLoginAttempts, cfg.BlockTime, log).Part(),
	}, log, reg)
	return &API{frame: frame}, err
}

// Addr is where the API listens.
func (a *API) Addr() net.Addr { return a.ln.Addr() }

// Handler serves the API without a listener.
func (a *API) Handler() http.Handler { return a.frame.Handler() }

// Run serves until ctx ends, then finishes the requests under way, and returns nil.
func (a *API) Run(ctx context.Context) error { return a.frame.Serve(ctx, a.ln) }

// HashPassword returns the stored form of a password.
func HashPassword(password string) string { return auth.HashPassword(password) }
