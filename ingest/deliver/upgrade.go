package deliver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"vedette/internal/retry"
	"vedette/schemas"
)

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
	// upgradeChunkMax bounds a chunk: as base64 it fits into one message.
	upgradeChunkMax = 32 << 10
	// upgradeInstallTime is how long an agent may take to start its installer.
	upgradeInstallTime = 10 * time.Minute
)

// upgrades runs packages' ways to agents: lock, open, write, close, check,
// install. An upgrade ends before the installer's result, which the upgraded agent
// sends as an event. It has no lock: count and running change atomically, and the
// other fields do not change.
//
// Source: spec/agent-protocol.md §8a "Upgrade over this channel".
type upgrades struct {
	life     context.Context // of the gateway
	requests *requests
	replies  *replies
	packages Packages // nil without

	count   atomic.Int64  // under way or waiting
	running chan struct{} // those under way
}

// start begins an upgrade and returns at once.
func (us *upgrades) start(a Agent, c *schemas.Command) {
	if us.packages == nil {
		us.replies.write(c, schemas.ReplyRefused, "this gateway has no packages")
		return
	}
	if us.count.Add(1) > upgradesWaiting {
		us.count.Add(-1)
		us.replies.write(c, schemas.ReplyRefused, fmt.Sprintf("%d upgrades wait here already", upgradesWaiting))
		return
	}
	command := *c
	go func() {
		defer us.count.Add(-1)
		if !us.await(&command) {
			return
		}
		defer func() { <-us.running }()
		if err := us.run(us.life, a, &command); err != nil {
			us.replies.write(&command, schemas.ReplyFailed, err.Error())
			return
		}
		us.replies.write(&command, schemas.ReplyDone, "the agent runs the installer; its own report follows as an event")
	}()
}

// await waits until an upgrade may run; false when the gateway has ended before.
func (us *upgrades) await(c *schemas.Command) bool {
	for {
		select {
		case us.running <- struct{}{}:
			return true
		case <-time.After(upgradeWord):
			us.replies.write(c, schemas.ReplyProgress, "waiting for others to end")
		case <-us.life.Done():
			us.replies.write(c, schemas.ReplyFailed, "the gateway has ended")
			return false
		}
	}
}

// run brings a package to an agent and has it installed.
func (us *upgrades) run(ctx context.Context, a Agent, c *schemas.Command) error {
	u := c.Upgrade
	if !schemas.ValidSharedPath(u.File) || strings.ContainsAny(u.File, "/ ") || strings.ContainsAny(u.Installer, "/\\ ") || len(u.Installer) > schemas.MaxSharedPath {
		return fmt.Errorf("package %q or installer %q is no plain name", u.File, u.Installer)
	}
	if u.ChunkBytes < 1 || u.ChunkBytes > upgradeChunkMax {
		return fmt.Errorf("chunks of %d bytes; 1 to %d are possible", u.ChunkBytes, upgradeChunkMax)
	}
	data, err := us.packages.Package(ctx, u)
	if err != nil {
		return err
	}
	if _, err := us.requests.ask(ctx, a, "com lock_restart -1", requestTimeout); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if err := us.openFile(ctx, a, u); err != nil {
		return err
	}
	if err := us.writeFile(ctx, a, c, data); err != nil {
		return err
	}
	if _, err := us.step(ctx, a, "close", map[string]any{"file": u.File}, requestTimeout); err != nil {
		return err
	}
	sum, err := us.step(ctx, a, "sha1", map[string]any{"file": u.File}, requestTimeout)
	if err != nil {
		return err
	}
	if !strings.EqualFold(sum, u.SHA1) {
		return fmt.Errorf("the agent has received another file: SHA-1 %.60s instead of %s", sum, u.SHA1)
	}
	status, err := us.step(ctx, a, "upgrade", map[string]any{"file": u.File, "installer": u.Installer}, upgradeInstallTime)
	if err != nil {
		return err
	}
	if status != "0" {
		return fmt.Errorf("the installer %s ended with %.60s", u.Installer, status)
	}
	return nil
}

// openFile opens the package's file on the agent, at the latest with the last of
// upgradeOpenTries.
func (us *upgrades) openFile(ctx context.Context, a Agent, u *schemas.AgentUpgrade) error {
	pause := retry.Backoff{Min: time.Second, Max: 2 * time.Second}
	for try := 1; ; try++ {
		_, err := us.step(ctx, a, "open", map[string]any{"file": u.File, "mode": "wb"}, requestTimeout)
		if err == nil {
			return nil
		}
		if try == upgradeOpenTries || ctx.Err() != nil {
			return err
		}
		if err := pause.Wait(ctx); err != nil {
			return err
		}
	}
}

// writeFile sends the package in chunks, and says every five seconds how far it is.
func (us *upgrades) writeFile(ctx context.Context, a Agent, c *schemas.Command, data []byte) error {
	u, sent := c.Upgrade, 0
	for told := time.Now(); sent < len(data); {
		n := min(u.ChunkBytes, len(data)-sent)
		chunk := base64.StdEncoding.EncodeToString(data[sent : sent+n])
		if _, err := us.step(ctx, a, "write", map[string]any{"file": u.File, "buffer": chunk, "length": n}, requestTimeout); err != nil {
			return err
		}
		if sent += n; time.Since(told) > 5*time.Second {
			told = time.Now()
			us.replies.write(c, schemas.ReplyProgress, fmt.Sprintf("%d of %d bytes", sent, len(data)))
		}
	}
	return nil
}

// step has the agent do one step of an upgrade, and returns its message.
func (us *upgrades) step(ctx context.Context, a Agent, command string, params any, timeout time.Duration) (string, error) {
	b, err := json.Marshal(map[string]any{"command": command, "parameters": params})
	if err != nil {
		return "", err
	}
	text, err := us.requests.ask(ctx, a, "upgrade "+string(b), timeout)
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

func (us *upgrades) reported(a Agent, text []byte, now time.Time) {
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
	c := schemas.Command{ID: schemas.UpgradeReport, Kind: schemas.CommandUpgrade, AgentID: a.ID(), Origin: us.replies.node}
	us.replies.write(&c, status, r.Parameters.Message)
	if to, ok := a.Route(now); ok {
		us.requests.send(a, to, `upgrade {"command":"clear_upgrade_result","parameters":{}}`, requestTimeout, func(string, error) {})
	}
}
