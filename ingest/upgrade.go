package ingest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"vedette/internal/retry"
	"vedette/schemas"
)

// Packages gives the content of upgrade packages, which the topic `blobs` holds.
type Packages interface {
	// Package returns a content by its SHA-256, whole.
	Package(ctx context.Context, u *schemas.AgentUpgrade) ([]byte, error)
}

const (
	// upgradesMax bounds the agents upgraded at once by one gateway: each holds
	// a package's content only as long as the cache of Packages does.
	// upgradesWaiting bounds the upgrades under way and waiting together; a waiting
	// upgrade says so every upgradeWord.
	upgradesMax     = 32
	upgradesWaiting = 10_000
	upgradeWord     = 5 * time.Minute
	// upgradeOpenTries is how often opening the file on the agent is tried.
	upgradeOpenTries = 10
	// upgradeInstallTime is how long an agent may take to start its installer.
	upgradeInstallTime = 10 * time.Minute
)

// upgrade runs a package's way to an agent: lock, open, write, close, check,
// install. It ends before the installer's result, which the upgraded agent sends
// as an event.
//
// Source: spec/agent-protocol.md §8a "Upgrade over this channel".
func (g *Gateway) upgrade(a *agent, c *schemas.Command) {
	if g.svc.Packages == nil {
		g.reply(c, schemas.ReplyRefused, "this gateway has no packages")
		return
	}
	if g.upgrades.Add(1) > upgradesWaiting {
		g.upgrades.Add(-1)
		g.reply(c, schemas.ReplyRefused, fmt.Sprintf("%d upgrades wait here already", upgradesWaiting))
		return
	}
	command := *c
	go func() {
		defer g.upgrades.Add(-1)
		for waiting := true; waiting; {
			select {
			case g.upgrading <- struct{}{}:
				waiting = false
			case <-time.After(upgradeWord):
				g.reply(&command, schemas.ReplyProgress, "waiting for others to end")
			case <-g.stopping:
				g.reply(&command, schemas.ReplyFailed, "the gateway has ended")
				return
			}
		}
		defer func() { <-g.upgrading }()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			select {
			case <-g.stopping:
				cancel()
			case <-ctx.Done():
			}
		}()
		if err := g.runUpgrade(ctx, a, &command); err != nil {
			g.reply(&command, schemas.ReplyFailed, err.Error())
			return
		}
		g.reply(&command, schemas.ReplyDone, "the agent runs the installer; its own report follows as an event")
	}()
}

func (g *Gateway) runUpgrade(ctx context.Context, a *agent, c *schemas.Command) error {
	u := c.Upgrade
	if !schemas.ValidSharedPath(u.File) || strings.ContainsAny(u.File, "/ ") || strings.ContainsAny(u.Installer, "/\\ ") {
		return fmt.Errorf("package %q or installer %q is no plain name", u.File, u.Installer)
	}
	data, err := g.svc.Packages.Package(ctx, u)
	if err != nil {
		return err
	}
	if _, err := g.ask(ctx, a, "com lock_restart -1", requestTimeout); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	step := func(command string, params any, timeout time.Duration) (string, error) {
		b, err := json.Marshal(map[string]any{"command": command, "parameters": params})
		if err != nil {
			return "", err
		}
		text, err := g.ask(ctx, a, "upgrade "+string(b), timeout)
		if err != nil {
			return "", fmt.Errorf("%s: %w", command, err)
		}
		var answer struct {
			Error   int    `json:"error"`
			Message string `json:"message"`
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			return "", fmt.Errorf("%s: the agent answered %.100q", command, text)
		}
		if answer.Error != 0 {
			return "", fmt.Errorf("%s: the agent answered error %d: %.200s", command, answer.Error, answer.Message)
		}
		return answer.Message, nil
	}
	pause := retry.Backoff{Min: time.Second, Max: 2 * time.Second}
	for try := 1; ; try++ {
		_, err := step("open", map[string]any{"file": u.File, "mode": "wb"}, requestTimeout)
		if err == nil {
			break
		}
		if try == upgradeOpenTries || ctx.Err() != nil {
			return err
		}
		if err := pause.Wait(ctx); err != nil {
			return err
		}
	}
	sent := 0
	for told := time.Now(); sent < len(data); {
		n := min(u.ChunkBytes, len(data)-sent)
		chunk := base64.StdEncoding.EncodeToString(data[sent : sent+n])
		if _, err := step("write", map[string]any{"file": u.File, "buffer": chunk, "length": n}, requestTimeout); err != nil {
			return err
		}
		if sent += n; time.Since(told) > 5*time.Second {
			told = time.Now()
			g.reply(c, schemas.ReplyProgress, fmt.Sprintf("%d of %d bytes", sent, len(data)))
		}
	}
	if _, err := step("close", map[string]any{"file": u.File}, requestTimeout); err != nil {
		return err
	}
	sum, err := step("sha1", map[string]any{"file": u.File}, requestTimeout)
	if err != nil {
		return err
	}
	if !strings.EqualFold(sum, u.SHA1) {
		return fmt.Errorf("the agent has received another file: SHA-1 %.60s instead of %s", sum, u.SHA1)
	}
	status, err := step("upgrade", map[string]any{"file": u.File, "installer": u.Installer}, upgradeInstallTime)
	if err != nil {
		return err
	}
	if status != "0" {
		return fmt.Errorf("the installer %s ended with %.60s", u.Installer, status)
	}
	return nil
}

// ask is request for a caller that waits.
func (g *Gateway) ask(ctx context.Context, a *agent, text string, timeout time.Duration) (string, error) {
	type outcome struct {
		text string
		err  error
	}
	r, ok := g.route(a, time.Now())
	if !ok {
		return "", errors.New("the agent is not connected here any more")
	}
	ch := make(chan outcome, 1)
	g.request(a, &r, text, timeout, func(answer string, err error) { ch <- outcome{answer, err} })
	select {
	case o := <-ch:
		return o.text, o.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// upgradeReported passes on an agent's report of its upgrade, and confirms it:
// until then the agent repeats it.
//
// Source: spec/agent-protocol.md §8a "Upgrade over this channel".
func (g *Gateway) upgradeReported(a *agent, text []byte, now time.Time) {
	var r struct {
		Command    string `json:"command"`
		Parameters struct {
			Error   int    `json:"error"`
			Message string `json:"message"`
			Status  string `json:"status"`
		} `json:"parameters"`
	}
	if json.Unmarshal(text, &r) != nil || r.Command != "upgrade_update_status" {
		return
	}
	status := schemas.ReplyDone
	if r.Parameters.Error != 0 || r.Parameters.Status == "Failed" {
		status = schemas.ReplyFailed
	}
	c := schemas.Command{ID: schemas.UpgradeReport, Kind: schemas.CommandUpgrade, AgentID: a.reg.ID, Origin: g.cfg.Node}
	g.reply(&c, status, r.Parameters.Message)
	if to, ok := g.route(a, now); ok {
		g.request(a, &to, `upgrade {"command":"clear_upgrade_result","parameters":{}}`, requestTimeout, func(string, error) {})
	}
}
