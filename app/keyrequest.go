package app

import (
	"fmt"
	"os"

	"vedette/ingest"
	"vedette/internal/keyrequest"
)

// keyRequester asks for the keys of agents that the gateway does not know, where
// that is configured.
func (a *App) keyRequester() (ingest.KeyRequester, error) {
	c := a.cfg.Enroll.KeyRequest
	if !c.Enabled {
		return nil, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("this machine's name, which no agent may take: %w", err)
	}
	k := keyrequest.New(c, a.registry, a.cfg.Enroll.Policy(), host, a.log, a.reg)
	a.infra["keyrequest"] = k
	return k, nil
}
