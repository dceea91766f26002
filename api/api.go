package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"vedette/api/auth"
)

// API is the role.
type API struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	metrics *metrics
	handler http.Handler
	ln      net.Listener

	now      func() time.Time
	limit    *requestLimit
	logins   *loginLimit
	checking chan struct{} // one token per password check
	ruleset  rulesetCache
	logtests logtests
	// publishing is held while a group's files are read, changed and published,
	// packaging while upgrade packages are read and put.
	publishing, packaging chan struct{}
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
	a := &API{
		cfg: cfg, deps: deps, log: log, metrics: newMetrics(reg), now: time.Now,
		limit: &requestLimit{max: cfg.MaxRequestsPerMinute}, logins: newLoginLimit(cfg.MaxLoginAttempts, cfg.BlockTime),
		checking: make(chan struct{}, passwordChecks), publishing: make(chan struct{}, 1), packaging: make(chan struct{}, 1),
	}
	ops, err := loadOperations()
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	if err := bind(ops, a.functions()); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	a.handler = a.router(ops)
	return a, nil
}

// bind gives each operation its function; the two lists must agree.
func bind(ops []*operation, fns map[string]opFunc) error {
	var errs []error
	for _, op := range ops {
		fn, ok := fns[op.id]
		if !ok {
			errs = append(errs, fmt.Errorf("operation %s (%s %s) has no function", op.id, op.method, op.path))
			continue
		}
		op.fn = fn
		delete(fns, op.id)
	}
	for id := range fns {
		errs = append(errs, fmt.Errorf("function %s has no operation in openapi.yaml", id))
	}
	return errors.Join(errs...)
}

// functions are the operations by the ids that openapi.yaml gives them.
func (a *API) functions() map[string]opFunc {
	return map[string]opFunc{
		"banner":                 a.banner,
		"healthz":                a.healthz,
		"readyz":                 a.readyz,
		"login":                  a.login,
		"login_deprecated":       a.loginDeprecated,
		"list_agents":            a.listAgents,
		"add_agent":              a.addAgent,
		"delete_agents":          a.deleteAgents,
		"insert_agent":           a.insertAgent,
		"insert_agent_quick":     a.insertAgentQuick,
		"read_agent_key":         a.readKey,
		"list_agents_no_group":   a.listAgentsWithoutGroup,
		"assign_agent":           a.assignAgent,
		"assign_agents":          a.assignAgents,
		"unassign_agent":         a.unassignAgent,
		"unassign_agent_groups":  a.unassignAgentGroups,
		"unassign_agents":        a.unassignAgents,
		"list_groups":            a.listGroups,
		"add_group":              a.addGroup,
		"delete_groups":          a.deleteGroups,
		"list_group_agents":      a.listGroupAgents,
		"list_group_files":       a.listGroupFiles,
		"read_group_file":        a.readGroupFile,
		"read_group_config":      a.readGroupConfig,
		"write_group_config":     a.writeGroupConfig,
		"summarize_agent_status": a.summarizeAgentStatus,
		"restart_agents":         a.restartAgents,
		"restart_agent":          a.restartAgent,
		"restart_group":          a.restartGroup,
		"restart_node":           a.restartNode,
		"reconnect_agents":       a.reconnectAgents,
		"upgrade_agents":         a.upgradeAgents,
		"upgrade_agents_custom":  a.upgradeByFile,
		"list_upgrades":          a.upgradeResults,
		"list_tasks":             a.listTasks,
		"read_agent_config":      a.agentConfig,
		"read_agent_stats":       a.agentStats,
		"is_agent_synced":        a.agentSynced,
		"run_response":           a.runResponse,
		"list_responses":         a.listResponses,
		"manager_status":         a.managerStatus,
		"manager_info":           a.managerInfo,
		"reload_ruleset":         a.reloadRuleset,
		"list_rulesets":          a.listRulesets,
		"promote_ruleset":        a.promoteRuleset,
		"summarize_shadow":       a.summarizeShadow,
		"list_rules":             a.listRules,
		"list_decoders":          a.listDecoders,
		"list_alerts":            a.listAlerts,
		"run_logtest":            a.runLogtest,
		"end_logtest":            a.endLogtest,
	}
}

// Addr is where the API listens.
func (a *API) Addr() net.Addr { return a.ln.Addr() }

// Handler serves the API without a listener.
func (a *API) Handler() http.Handler { return a.handler }

// Run serves until ctx ends, then finishes the requests under way, and returns nil.
func (a *API) Run(ctx context.Context) error {
	srv := &http.Server{
		Handler:           a.handler,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: headerBytesMax,
		TLSConfig:      &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{a.cfg.Certificate}},
		// Scanners and clients that mistrust the certificate are no event.
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.ServeTLS(a.ln, "", "") }()
	a.log.Info(fmt.Sprintf("Listening on [%s]", a.ln.Addr())) // readiness checks look for this text (spec/api.md §9)
	select {
	case err := <-served:
		return fmt.Errorf("api: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		_ = srv.Close()
	}
	<-served
	return nil
}

func (a *API) router(ops []*operation) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.HandleMethodNotAllowed = true
	r.RedirectTrailingSlash = false
	r.RedirectFixedPath = false
	r.ForwardedByClientIP = false
	r.UseRawPath = true
	r.Use(a.envelop)
	r.NoRoute(func(c *gin.Context) { a.refuse(c, notFound) })
	r.NoMethod(func(c *gin.Context) { a.refuse(c, notAllowed) })
	for _, op := range ops {
		r.Handle(op.method, op.ginPath, func(c *gin.Context) { a.serve(c, op) })
	}
	return r
}

// HashPassword returns the stored form of a password.
func HashPassword(password string) string { return auth.HashPassword(password) }
