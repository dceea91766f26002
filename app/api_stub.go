//go:build !api_ready

package app

import "vedette/internal/store"

func (a *App) buildAPI(rules *Ruleset, alerts store.Store) error { return nil }
