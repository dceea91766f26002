package httpsend

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vedette/internal/leaktest"
	"vedette/internal/retry"
	"vedette/internal/secret"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// client sends to url; change may alter its settings.
func client(t *testing.T, url string, change func(*Config)) *Client {
	t.Helper()
	cfg := Default()
	cfg.URL = secret.String(url)
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg, http.Header{"X-Kind": {"test"}})
	if err != nil {
		t.Fatalf("the configuration is refused: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

func server(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func file(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEveryStatusHasAClass(t *testing.T) {
	t.Parallel()
	want := map[int]Class{
		200: Taken, 201: Taken, 202: Taken, 204: Taken, 299: Taken,
		408: Again, 423: Again, 425: Again, 429: Again, 500: Again, 502: Again, 503: Again, 504: Again, 507: Again, 520: Again,
		400: Drop, 406: Drop, 409: Drop, 414: Drop, 415: Drop, 422: Drop, 431: Drop,
		413: TooLarge,
		300: Person, 301: Person, 302: Person, 304: Person, 307: Person, 308: Person, 401: Person, 402: Person, 403: Person, 404: Person, 405: Person, 407: Person,
		410: Person, 418: Person, 501: Person, 505: Person, 511: Person, 600: Person, 999: Person,
	}
	var status atomic.Int32
	c := client(t, server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }), nil)
	for code, class := range want {
		if got := ClassOf(code); got != class {
			t.Errorf("status %d has class %d, want %d", code, got, class)
		}
		if code == 304 {
			continue // its own form, without a body
		}
		status.Store(int32(code))
		err := c.Post(t.Context(), []byte("{}"), nil)
		var e *StatusError
		switch {
		case class == Taken && err != nil:
			t.Errorf("status %d: Post returned %v, want nil", code, err)
		case class != Taken && (!errors.As(err, &e) || e.Class != class || e.Status != code):
			t.Errorf("status %d: Post returned %v, want a *StatusError of class %d", code, err, class)
		}
		wait := time.Duration(0)
		if class == Person {
			wait = time.Minute
		}
		if d := retry.Asked(err); d != wait {
			t.Errorf("status %d: the sender is asked to pause for %s, want %s", code, d, wait)
		}
	}
}

func TestARequestCarriesItsHeaders(t *testing.T) {
	t.Parallel()
	var got http.Header
	var body string
	c := client(t, server(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, body = r.Header, r.Method+" "+r.URL.RequestURI()+" "+string(b)
	})+"/in?x=1", nil)
	if err := c.Post(t.Context(), []byte("hello"), http.Header{"X-More": {"yes"}}); err != nil {
		t.Fatalf("Post returned %v", err)
	}
	if got.Get("X-Kind") != "test" || got.Get("X-More") != "yes" || got.Get("User-Agent") != "vedette" || body != "POST /in?x=1 hello" {
		t.Errorf("the server got %q with headers %v", body, got)
	}
}

func TestRetryAfterIsPassedOn(t *testing.T) {
	t.Parallel()
	header := ""
	status := 429
	c := client(t, server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", header)
		w.WriteHeader(status)
	}), nil)
	for _, status = range []int{429, 503} {
		header = "17"
		if d := retry.Asked(c.Post(t.Context(), nil, nil)); d != 17*time.Second {
			t.Errorf("status %d with %q asks for a pause of %s, want 17s", status, header, d)
		}
		header = time.Now().Add(3 * time.Minute).UTC().Format(http.TimeFormat)
		if d := retry.Asked(c.Post(t.Context(), nil, nil)); d < time.Minute || d > 3*time.Minute {
			t.Errorf("status %d with a date in 3 minutes asks for a pause of %s", status, d)
		}
		header = "1000000"
		if d := retry.Asked(c.Post(t.Context(), nil, nil)); d != retry.AfterMax {
			t.Errorf("status %d with %q asks for a pause of %s, want at most %s", status, header, d, retry.AfterMax)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var reached atomic.Int32
	inside := server(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := client(t, server(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inside+"/latest/meta-data", status) }), nil)
		err := c.Post(t.Context(), []byte("{}"), nil)
		var e *StatusError
		if !errors.As(err, &e) || e.Class != Person || !strings.Contains(err.Error(), "redirects to "+inside) {
			t.Errorf("redirect %d: error %v; want one of class Person that names %s", status, err, inside)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("the place that the redirects name was asked %d times, want none", n)
	}
}

// raw answers each connection by fn, which gets it after the head of the request.
func raw(t *testing.T, fn func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 64<<10))
				fn(conn)
			}()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return "http://" + ln.Addr().String()
}

// flood writes until the client hangs up.
func flood(conn net.Conn, text string) {
	block := []byte(strings.Repeat(text, 4096/len(text)))
	for {
		if _, err := conn.Write(block); err != nil {
			return
		}
	}
}

func TestAHostileServerCostsLittle(t *testing.T) {
	t.Parallel()
	second := func(c *Config) { c.Timeout = time.Second }
	for name, f := range map[string]struct {
		serve  func(net.Conn)
		change func(*Config)
		want   string // of the error; empty: taken
	}{
		"an answer without end":      {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); flood(c, "x") }, nil, ""},
		"a refusal without end":      {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 No\r\n\r\n"); flood(c, "no ") }, nil, "answered 400: no no no"},
		"headers without end":        {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"); flood(c, "X: y\r\n") }, nil, "header"},
		"a status line without end":  {func(c net.Conn) { flood(c, "HTTP/1.1 200 OK") }, nil, "send to 127.0.0.1"},
		"hints without end":          {func(c net.Conn) { flood(c, "HTTP/1.1 103 Early Hints\r\n\r\n") }, nil, "send to 127.0.0.1"},
		"an answer that never comes": {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, second, "gave no answer within 1s"},
		"an answer that stops":       {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc") }, nil, ""},
		"an answer whose rest is slow": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
			_, _ = io.Copy(io.Discard, c)
		}, nil, ""},
		"a refusal whose text is slow": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 422 No\r\nContent-Length: 10\r\n\r\nabc")
			_, _ = io.Copy(io.Discard, c)
		}, nil, "answered 422: abc"},
		"a head that stops": {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 20") }, nil, "send to 127.0.0.1"},
		"no HTTP":           {func(c net.Conn) { _, _ = io.WriteString(c, "220 mail.example.com ESMTP\r\n") }, nil, "send to 127.0.0.1"},
		"nothing":           {func(net.Conn) {}, nil, "send to 127.0.0.1"},
		"control characters": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 400 No\r\nContent-Length: 14\r\n\r\na\x1b[2J\r\n\x00b\xff\xe2\x80\xaec")
		}, nil, "answered 400: a [2J b c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := client(t, raw(t, f.serve), f.change).Post(t.Context(), []byte("{}"), nil)
			switch {
			case f.want == "" && err != nil:
				t.Errorf("Post returned %v; the receiver said that it took the request", err)
			case f.want != "" && (err == nil || !strings.Contains(err.Error(), f.want)):
				t.Errorf("Post returned %v, want an error with %q", err, f.want)
			case err != nil && len(err.Error()) > 600:
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestAnEndedContextEndsARequest(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c := client(t, raw(t, func(c net.Conn) { cancel(); _, _ = io.Copy(io.Discard, c) }), nil)
	if err := c.Post(ctx, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Post returned %v, want the context's error", err)
	}
}

func TestErrorsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	const token, path, password = "s3cr3t-t0ken-abcdef", "T00000001/B0000002/XXXXsecretXXXX", "pass-w0rd"
	echo := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(400)
		fmt.Fprintf(w, "%s %v %v", r.URL.Path, r.Header, r.URL)
	})
	filler := server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		// The secret lies where the text is cut.
		fmt.Fprint(w, strings.Repeat("-", reasonShown-5)+token+"!")
	})
	bare := Default()
	bare.URLFile = file(t, strings.Replace(echo, "://", "://user:"+password+"@", 1))
	if c, err := New(bare, nil); err != nil {
		t.Fatal(err)
	} else if err := c.Post(t.Context(), nil, nil); err == nil || strings.Contains(err.Error(), base64.StdEncoding.EncodeToString([]byte("user:"+password))) {
		t.Errorf("the login of the URL is shown: %v", err)
	} else {
		c.Close()
	}
	closed := raw(t, func(net.Conn) {})
	for name, base := range map[string]string{"echo": echo, "cut": filler, "closed": closed, "no such host": "http://vedette.invalid"} {
		cfg := Default()
		cfg.URLFile = file(t, strings.Replace(base, "://", "://user:"+password+"@", 1)+"/services/"+path+"?token="+token+"\n")
		c, err := New(cfg, http.Header{"Authorization": {"Bearer " + token}}, "Bearer "+token)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		err = c.Post(t.Context(), []byte("{}"), nil)
		if err == nil {
			t.Fatalf("%s: taken", name)
		}
		for _, s := range []string{token, token[:6], path, "XXXXsecretXXXX", password} {
			if strings.Contains(err.Error(), s) {
				t.Errorf("%s: the error shows %q: %v", name, s, err)
			}
		}
	}
	// The same of a configuration that is refused.
	cfg := Default()
	cfg.URLFile = file(t, "ftp://host/"+token)
	for _, err := range []error{cfg.Validate(true), Config{URL: "ftp://x/" + token, Timeout: time.Minute}.Validate(false), Config{URL: "http://a b/" + token, Proxy: "gopher://" + token, Timeout: time.Minute}.Validate(false)} {
		if err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("the error is missing or shows the address: %v", err)
		}
	}
	if s := fmt.Sprintf("%v %+v", Config{URL: token, Proxy: token}, Config{URL: token}); strings.Contains(s, token) {
		t.Errorf("a printed configuration shows the address: %s", s)
	}
}

func TestMistakesInTheConfigurationAreNamed(t *testing.T) {
	t.Parallel()
	f := func(change func(*Config), wants ...string) {
		t.Helper()
		cfg := Default()
		cfg.URL = "https://example.com/in"
		change(&cfg)
		err := cfg.Validate(true)
		if len(wants) == 0 && err != nil {
			t.Errorf("%+v is refused: %v", cfg, err)
		}
		for _, want := range wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: error %v, want one with %q", cfg, err, want)
			}
		}
	}
	f(func(*Config) {})
	f(func(c *Config) { c.URL, c.URLFile = "", file(t, "https://example.com\r\n") })
	f(func(c *Config) { c.Proxy = "socks5://127.0.0.1:1080" })
	f(func(c *Config) { c.ProxyFile = file(t, "http://user:pw@proxy:3128") })
	f(func(c *Config) { c.URL = "" }, "url: empty")
	f(func(c *Config) { c.URLFile = "x" }, "url: give it or url_file, not both")
	f(func(c *Config) { c.URL, c.URLFile = "", "/no/such" }, "url_file: open /no/such")
	f(func(c *Config) { c.URL, c.URLFile = "", file(t, "\n") }, "url_file: ", "is empty")
	f(func(c *Config) { c.URL, c.URLFile = "", file(t, "a\nb") }, "url_file: ", "more than one line")
	f(func(c *Config) { c.URL, c.URLFile = "", file(t, strings.Repeat("x", 3000)) }, "url_file: ", "larger than")
	f(func(c *Config) { c.URL, c.URLFile = "", file(t, "hello") }, "url_file: it is not like https://host/path")
	f(func(c *Config) { c.URL = "example.com" }, "url: it is not like https://host/path")
	f(func(c *Config) { c.URL = "https:///in" }, "url: it is not like")
	f(func(c *Config) { c.URL = "https://u:p@example.com" }, "url: holds a login")
	f(func(c *Config) { c.Proxy, c.ProxyFile = "http://a", "b" }, "proxy: give it or proxy_file")
	f(func(c *Config) { c.Proxy = "http://u:p@a" }, "proxy: holds a login")
	f(func(c *Config) { c.Proxy = "a:3128" }, "proxy: it is not like")
	f(func(c *Config) { c.Certificate, c.Timeout = "x", 0 }, "certificate, key: give both or neither", "timeout: 0s")
	f(func(c *Config) { c.Timeout = time.Hour }, "timeout: 1h0m0s")
	f(func(c *Config) { c.CA, c.InsecureSkipVerify = "x", true }, "ca: has no effect")
	f(func(c *Config) { c.CA = file(t, "no PEM") }, "ca: ", "no PEM certificate")
	f(func(c *Config) { c.CA, c.Certificate, c.Key = "/no/ca", "/no/cert", "/no/key" }, "ca: open /no/ca", "certificate, key: open /no/cert")
	cfg := Default()
	if cfg.URL, cfg.CA = "https://a", "/no/ca"; cfg.Validate(false) != nil {
		t.Error("a process that does not send looks at the files")
	}
	if w := (Config{URL: "http://a", InsecureSkipVerify: true}).Warnings(); len(w) != 2 {
		t.Errorf("warnings %q, want one of http and one of insecure_skip_verify", w)
	}
	if Default().InsecureSkipVerify {
		t.Error("certificates are not verified by default")
	}
}

// authority makes certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	_, _, a.pem = a.issue(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// issue returns a pair, and the certificate as PEM in files' form.
func (a *authority) issue(t *testing.T, c *x509.Certificate) (pair tls.Certificate, keyPEM, certPEM string) {
	t.Helper()
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert == nil {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		a.key = key
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	certPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, keyPEM, certPEM
}

func TestCertificatesAreVerified(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	own, _, _ := a.issue(t, &x509.Certificate{SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	_, key, cert := a.issue(t, &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "vedette"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	var name atomic.Value
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		name.Store(r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ca, certFile, keyFile := file(t, a.pem), file(t, cert), file(t, key)
	pair := func(c *Config) { c.Certificate, c.Key = certFile, keyFile }

	c := client(t, srv.URL, func(c *Config) { pair(c); c.CA = ca })
	if err := c.Post(t.Context(), nil, nil); err != nil || name.Load() != "vedette" {
		t.Errorf("with the authority and a certificate of our own: %v, the server saw %v", err, name.Load())
	}
	c = client(t, srv.URL, pair)
	if err := c.Post(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), "name its certificate in ca") {
		t.Errorf("a receiver of an unknown authority: %v, want an error that names the key ca", err)
	}
	c = client(t, srv.URL, func(c *Config) { c.CA = ca })
	if err := c.Post(t.Context(), nil, nil); err == nil {
		t.Error("taken without the certificate that the receiver demands")
	}
	c = client(t, srv.URL, func(c *Config) { pair(c); c.InsecureSkipVerify = true })
	if err := c.Post(t.Context(), nil, nil); err != nil {
		t.Errorf("with insecure_skip_verify: %v", err)
	}
}

func TestAProxyIsUsedOnlyWhenItIsConfigured(t *testing.T) {
	var got atomic.Value
	proxy := server(t, func(_ http.ResponseWriter, r *http.Request) {
		got.Store(r.URL.String() + " " + r.Header.Get("Proxy-Authorization"))
	})
	c := client(t, "http://receiver.invalid/in", func(c *Config) { c.ProxyFile = file(t, strings.Replace(proxy, "://", "://u:pw@", 1)) })
	if err := c.Post(t.Context(), nil, nil); err != nil || got.Load() != "http://receiver.invalid/in Basic dTpwdw==" {
		t.Errorf("by a proxy: %v, the proxy got %v", err, got.Load())
	}
	t.Setenv("HTTP_PROXY", proxy)
	if err := client(t, "http://receiver.invalid/in", nil).Post(t.Context(), nil, nil); err == nil {
		t.Error("the proxy of the environment was used; configuration comes from one place")
	}
}
