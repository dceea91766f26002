package opensearch

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"vedette/internal/geoip"
)

// Bounds of a bulk request.
const (
	bulkBytesMax = 5 << 20
	bulkDocsMax  = 2000
)

// Config says where the indexer is and how to log in.
type Config struct {
	// URLs are its nodes; requests go round them.
	URLs []string `mapstructure:"urls" yaml:"urls"`
	// Username and PasswordFile are sent with HTTP Basic; empty: none.
	Username     string `mapstructure:"username" yaml:"username"`
	PasswordFile string `mapstructure:"password_file" yaml:"password_file"`
	// CAFile holds the PEM certificates that sign the nodes'; empty: the system's.
	CAFile string `mapstructure:"ca_file" yaml:"ca_file"`
	// InsecureSkipVerify accepts any certificate. For trials only.
	InsecureSkipVerify bool `mapstructure:"insecure_skip_verify" yaml:"insecure_skip_verify"`
	// Timeout bounds one request.
	Timeout time.Duration `mapstructure:"timeout" yaml:"timeout"`
	// Template installs our index template at start.
	Template bool `mapstructure:"template" yaml:"template"`
	// GeoIP gives documents their GeoLocation; nil leaves it out.
	GeoIP *geoip.DB `mapstructure:"-" yaml:"-"`
	// Refresh is the bulk request's parameter: empty, `wait_for` or `true`. Only
	// tests need it.
	Refresh string `mapstructure:"-" yaml:"-"`
}

// Default returns the settings used when nothing is configured; URLs are left open.
func Default() Config { return Config{Timeout: time.Minute, Template: true} }

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	var errs []error
	if len(c.URLs) == 0 {
		errs = append(errs, errors.New("urls is empty"))
	}
	for _, s := range c.URLs {
		u, err := url.Parse(s)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("urls: %w", err))
		case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			errs = append(errs, fmt.Errorf("urls: %q is not like https://host:9200", u.Redacted()))
		case u.User != nil:
			errs = append(errs, fmt.Errorf("urls: %q holds a password; use username and password_file", u.Redacted()))
		}
	}
	if (c.Username == "") != (c.PasswordFile == "") {
		errs = append(errs, errors.New("username and password_file need one another"))
	}
	if c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("timeout is %s, it must be above 0", c.Timeout))
	}
	return errors.Join(errs...)
}
