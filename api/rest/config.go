package rest

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"vedette/api/rbac"
)

// Config holds the settings of the frame.
type Config struct {
	Listen      string
	Certificate tls.Certificate
	// MaxUploadBytes bounds a body; 0 is no bound.
	MaxUploadBytes int64
	// RequestTimeout bounds a request without wait_for_complete.
	RequestTimeout time.Duration
	// MaxRequestsPerMinute bounds all requests together; 0 is no bound.
	MaxRequestsPerMinute int
	// TokenLifetime is how long a token is good for.
	TokenLifetime time.Duration
	// Identity describes the server. Errors name its node to callers that may read
	// nodes.
	Identity Identity
	// Audit is told of each request that was to change something, and of logins. It
	// must not block; nil tells nobody.
	Audit func(ctx context.Context, a Audited)
}

// Identity describes the server in answers.
type Identity struct {
	// Manager is the host name that alerts carry as manager.name.
	Manager string
	// Node is the node's name.
	Node string
	// InstallationID is a UUID that stays for the life of the installation.
	InstallationID string
	// Path is the data directory.
	Path string
	// Started is the registration time shown for agent 000.
	Started time.Time
}

// Version is the version of the API that clients compare.
const Version = "4.14.7"

// Default returns the settings used when nothing is configured.
//
// Source: spec/api.md §1, §2 and §8.
func Default() Config {
	return Config{
		Listen: ":55000", MaxUploadBytes: 10 << 20, RequestTimeout: 10 * time.Second, MaxRequestsPerMinute: 300, TokenLifetime: 900 * time.Second,
	}
}

// Bounds of the listener.
const (
	headerTimeout  = 10 * time.Second
	readTimeout    = 60 * time.Second
	writeTimeout   = 10 * time.Minute
	idleTimeout    = 2 * time.Minute
	headerBytesMax = 64 << 10
	drainTimeout   = 10 * time.Second
	jsonDepthMax   = 100
)

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if len(c.Certificate.Certificate) == 0 {
		bad("api: no certificate")
	}
	if c.TokenLifetime < 30*time.Second {
		bad("api.token_lifetime: %s, at least 30s is needed", c.TokenLifetime)
	}
	if c.RequestTimeout <= 0 {
		bad("api: request_timeout must be above 0")
	}
	if c.MaxUploadBytes < 0 || c.MaxRequestsPerMinute < 0 {
		bad("api: max_upload_bytes and max_requests_per_minute must not be negative")
	}
	if c.Identity.Manager == "" || c.Identity.Node == "" {
		bad("api: the names of the manager and the node are needed")
	}
	return errors.Join(errs...)
}

// Users are who may log in.
type Users interface {
	// Authenticate checks a password, in the same time for unknown users.
	Authenticate(name, password string) (User, bool)
	User(name string) (User, bool)
	// PoliciesOf returns the policies of roles, in order.
	PoliciesOf(roles []int) []rbac.Policy
	// NotBefore returns the time (Unix seconds) that ends tokens with any of these
	// roles, or of a login with a context, which are not younger; 0 ends none.
	NotBefore(roles []int, runAs bool) int64
	Settings() Settings
	// TokenKey returns the key that signs tokens on every node.
	TokenKey(ctx context.Context) (*ecdsa.PrivateKey, error)
}

// Settings are those that operators change while the API runs.
type Settings struct {
	// Lifetime is how long tokens are good; 0 is the configured time.
	Lifetime time.Duration
	// Black allows all that no policy denies.
	Black bool
}

// User is one API user.
type User struct {
	// ID is 1 for wazuh and 2 for wazuh-wui, as in 4.14; others have 100 or more.
	ID   int
	Name string
	// RunAs says that the user may log in for others.
	RunAs bool
	// Roles are role ids in order; 1 is the administrator.
	Roles []int
	// Policies are those of the roles, in order.
	Policies []rbac.Policy
	// NotBefore (Unix seconds) ends every token that is not younger; 0: none.
	NotBefore int64
}
