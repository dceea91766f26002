package app

import (
	"errors"

	"vedette/ingest/syslog"
	"vedette/internal/datadir"
)

// buildInputs makes the roles that take events from what is no agent. They run
// beside the gateway, as parts of the role ingest.
func (a *App) buildInputs() error {
	return errors.Join(a.buildSyslog())
}

func (a *App) buildSyslog() error {
	cfg := a.cfg.Ingest.Syslog
	if !cfg.Enabled() {
		return nil
	}
	cfg.Node, cfg.CertificateDir = a.node, a.dir.File(datadir.Certificates)
	p, err := a.cluster.NewProducer("ingest-syslog", a.log, a.reg)
	if err != nil {
		return err
	}
	r, err := syslog.New(cfg, p, a.log, a.reg)
	if err != nil {
		p.Close()
		return err
	}
	a.cleanup = append(a.cleanup, func() { _ = r.Close() })
	a.checks.add("syslog", r.Ready)
	a.roles["ingest/syslog"], a.ends.Syslog = closing{r, p}, r.Addrs()
	return nil
}
