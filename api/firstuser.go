package api

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"vedette/internal/datadir"
	"vedette/internal/registry"
	"vedette/internal/retry"
	"vedette/internal/secret"
)

// FirstUserName is the name of the API user that the first start makes.
const FirstUserName = "wazuh"

// FirstUser makes the first API user of an installation. Of several processes
// that start at once one wins; it keeps the file with the credentials.
type FirstUser struct {
	reg  *registry.Registry
	path string
	log  *slog.Logger
	done chan struct{}
}

// NewFirstUser prepares the first user; path is the file for the credentials.
func NewFirstUser(reg *registry.Registry, path string, log *slog.Logger) *FirstUser {
	return &FirstUser{reg: reg, path: path, log: log, done: make(chan struct{})}
}

// Err is nil once there is a user.
func (f *FirstUser) Err() error {
	select {
	case <-f.done:
		return nil
	default:
		return errors.New("the first API user has not been made yet")
	}
}

// Path returns the file with the credentials; "" if this process has none.
func (f *FirstUser) Path() string {
	if _, err := os.Stat(f.path); err != nil {
		return ""
	}
	return f.path
}

// Run makes the user, or finds that there are users, and waits for the end of ctx.
func (f *FirstUser) Run(ctx context.Context) error {
	select {
	case <-f.reg.Ready():
	case <-ctx.Done():
		return nil
	}
	pause := retry.Backoff{Min: time.Second, Max: 10 * time.Second}
	for {
		err := f.make(ctx)
		if err == nil {
			close(f.done)
			<-ctx.Done()
			return nil
		}
		f.log.Warn("the first API user could not be made; tried again", "err", err)
		if pause.Wait(ctx) != nil {
			return nil
		}
	}
}

func (f *FirstUser) make(ctx context.Context) error {
	if len(f.reg.Users()) > 0 {
		return nil
	}
	// The file comes first: a password nobody knows would be worse than a file too many.
	password := secret.RandomPassword(24).Reveal() + "aA1."
	if err := datadir.WriteFile(f.path, []byte(FirstUserName+":"+password+"\n"), 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err := f.reg.AddUser(ctx, registry.User{Name: FirstUserName, PasswordHash: secret.String(HashPassword(password)), Roles: []string{"administrator"}, RunAs: true})
	var refusal *registry.Refusal
	if errors.As(err, &refusal) && refusal.Reason == registry.ReasonUserExists {
		_ = os.Remove(f.path)
		f.log.Info("API users exist already; another process holds their credentials")
		return nil
	}
	if err == nil {
		f.log.Info("API credentials written", "path", filepath.Clean(f.path))
	}
	return err
}
