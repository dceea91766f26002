package httpsend

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"vedette/internal/secret"
)

// secretBytesMax bounds a file that holds a URL, a header or a key.
const secretBytesMax = 2 << 10

// Config is the part of a destination's settings that says where requests go and
// how. A destination embeds it with the tag `mapstructure:",squash"`.
type Config struct {
	// URL takes the requests; URLFile holds it when a part of it is secret. One of
	// both is required.
	URL     secret.String `mapstructure:"url"`
	URLFile string        `mapstructure:"url_file"`
	// CA is a PEM file with the authorities that sign the receiver's certificate;
	// empty: the system's.
	CA string `mapstructure:"ca"`
	// Certificate and Key are PEM files that identify this sender; empty: none.
	Certificate string `mapstructure:"certificate"`
	Key         string `mapstructure:"key"`
	// InsecureSkipVerify accepts any certificate. For trials only.
	InsecureSkipVerify bool `mapstructure:"insecure_skip_verify"`
	// Proxy is the URL of a proxy (http, https or socks5); ProxyFile holds it when
	// it has a password. Empty: none. The environment is not asked.
	Proxy     secret.String `mapstructure:"proxy"`
	ProxyFile string        `mapstructure:"proxy_file"`
	// Timeout bounds one request, from the connection to the end of the answer.
	Timeout time.Duration `mapstructure:"timeout"`
}

// Default returns the settings used when nothing is configured; the URL is left open.
func Default() Config { return Config{Timeout: 30 * time.Second} }

// Validate reports every problem of the configuration. With files it also reads
// the files that the configuration names.
func (c Config) Validate(files bool) error {
	errs := []error{address("url", c.URL, c.URLFile, urlSchemes), address("proxy", c.Proxy, c.ProxyFile, proxySchemes)}
	bad := func(err error) { errs = append(errs, err) }
	if c.URL == "" && c.URLFile == "" {
		bad(errors.New("url: empty; give the address that takes the alerts, or url_file with a file that holds it"))
	}
	if (c.Certificate == "") != (c.Key == "") {
		bad(errors.New("certificate, key: give both or neither"))
	}
	if c.CA != "" && c.InsecureSkipVerify {
		bad(errors.New("ca: has no effect with insecure_skip_verify; leave one of them out"))
	}
	if c.Timeout < time.Second || c.Timeout > timeoutMax {
		bad(fmt.Errorf("timeout: %s is not in 1s…%s", c.Timeout, timeoutMax))
	}
	err := errors.Join(errs...)
	if files && err == nil {
		_, err = c.load()
	}
	return err
}

// address checks an address that stands in the configuration or in a file.
func address(key string, text secret.String, file string, schemes []string) error {
	if text == "" {
		return nil
	}
	if file != "" {
		return fmt.Errorf("%s: give it or %s_file, not both", key, key)
	}
	u, err := parseURL(key, text.Reveal(), schemes)
	if err == nil && u.User != nil {
		err = fmt.Errorf("%s: holds a login; put the whole address into a file and name it in %s_file", key, key)
	}
	return err
}

// timeoutMax keeps a request well within the time of one delivery.
const timeoutMax = 2 * time.Minute

// Schemes of addresses; the last one is shown as an example.
var (
	urlSchemes   = []string{"http", "https"}
	proxySchemes = []string{"socks5", "https", "http"}
)

// Warnings returns the settings that are allowed but unwise.
func (c Config) Warnings() []string {
	var w []string
	if strings.HasPrefix(c.URL.Reveal(), "http://") {
		w = append(w, "url: alerts travel in the clear over http")
	}
	if c.InsecureSkipVerify {
		w = append(w, "insecure_skip_verify is true: anyone on the way can read and change the requests")
	}
	return w
}

// loaded is a configuration with the content of its files.
type loaded struct {
	url   *url.URL
	proxy *url.URL
	tls   *tls.Config
}

// load reads the files; it reports every problem.
func (c Config) load() (*loaded, error) {
	l := &loaded{tls: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.InsecureSkipVerify}} //nolint:gosec // G402: asked for by configuration, off by default
	var errs []error
	for _, part := range []struct {
		to         **url.URL
		key        string
		text, file string
		schemes    []string
	}{
		{&l.url, "url", c.URL.Reveal(), c.URLFile, urlSchemes},
		{&l.proxy, "proxy", c.Proxy.Reveal(), c.ProxyFile, proxySchemes},
	} {
		key, text := part.key, part.text
		if part.file != "" {
			key += "_file"
			held, err := ReadSecret(part.file)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", key, err))
				continue
			}
			text = held.Reveal()
		}
		if text == "" {
			continue
		}
		u, err := parseURL(key, text, part.schemes)
		if err != nil {
			errs = append(errs, err)
		}
		*part.to = u
	}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			errs = append(errs, fmt.Errorf("ca: %w", err))
		} else if l.tls.RootCAs = x509.NewCertPool(); !l.tls.RootCAs.AppendCertsFromPEM(pem) {
			errs = append(errs, fmt.Errorf("ca: %s holds no PEM certificate", c.CA))
		}
	}
	if c.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
		if err != nil {
			errs = append(errs, fmt.Errorf("certificate, key: %w", err))
		}
		l.tls.Certificates = []tls.Certificate{pair}
	}
	return l, errors.Join(errs...)
}

// parseURL reads an address. Its errors do not repeat the address, which may be
// secret.
func parseURL(key, text string, schemes []string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.Hostname() == "" || u.Fragment != "" {
		return nil, fmt.Errorf("%s: it is not like %s://host/path", key, schemes[len(schemes)-1])
	}
	return u, nil
}

// ReadSecret reads a file with a secret of one line, at most 2 KiB long; line ends
// at its end do not count. Errors name the file, never its content.
func ReadSecret(path string) (secret.String, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, secretBytesMax+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	text := strings.TrimRight(string(b), "\r\n")
	switch {
	case len(b) > secretBytesMax:
		return "", fmt.Errorf("%s is larger than %d bytes", path, secretBytesMax)
	case text == "":
		return "", fmt.Errorf("%s is empty", path)
	case strings.ContainsAny(text, "\r\n"):
		return "", fmt.Errorf("%s has more than one line", path)
	}
	return secret.String(text), nil
}
