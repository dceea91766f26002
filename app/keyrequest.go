package app

import (
	"vedette/ingest"
	"vedette/internal/keyrequest"
)

// keyRequester asks for the keys of agents that the gateway does not know, where
// that is configured.
func (a *App) keyRequester() ingest.KeyRequester {
	c := a.cfg.Enroll.KeyRequest
	if !c.Enabled {
		return nil
	}
	k := keyrequest.New(c, a.registry, a.cfg.Enroll.Policy(), a.log, a.reg)
	a.infra["keyrequest"] = k
	return k
}
