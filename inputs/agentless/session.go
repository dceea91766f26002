package agentless

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"vedette/schemas"
)

const (
	// outputMax bounds the output of one command, in bytes.
	outputMax = 4 << 20
	// textMax is how much of it an event holds; the hash of all follows.
	textMax = 64_000
	// stderrMax is how much a failed command says why.
	stderrMax = 1 << 10
)

// failure is a run that ended without output.
type failure struct {
	result string
	hint   string
	err    error
}

func (f *failure) Error() string { return f.err.Error() }

// target is a check of one host.
type target struct {
	Config
	host   string
	ignore []*regexp.Regexp
}

// id names the target for people and for its place.
func (t *target) id() string { return t.Name + "/" + t.host }

// item is one command of a run, with the title and the location of its output.
type item struct{ command, title, where string }

func (t *target) items() (out []item) {
	if t.Type == CommandDiff {
		return []item{{t.Command, t.Name, "agentless"}}
	}
	for _, f := range t.Files {
		out = append(out, item{"cat -- '" + strings.ReplaceAll(f, "'", `'\''`) + "'", f, f})
	}
	return out
}

// event makes the event of one output.
//
// Source: spec/ruleset-language.md §1.3 and example E2i.
func (t *target) event(it item, output []byte, node string, now time.Time) schemas.Event {
	text := append([]byte("ossec: output: '"+it.title+"':\n"), t.body(output)...)
	return schemas.Event{
		Time: now.Truncate(time.Millisecond), AgentID: schemas.ManagerID, Queue: '2', Gateway: node,
		Location: "(" + t.Name + ") " + t.User + "@" + t.host + "->" + it.where, Log: text,
	}
}

// body returns an output without the ignored lines, cut to the size that an
// event holds. A hash of the cut part keeps its differences visible.
func (t *target) body(output []byte) []byte {
	output = bytes.ReplaceAll(output, []byte{0}, nil) // it would end the text
	if len(t.ignore) > 0 {
		kept := make([]byte, 0, len(output))
		for line := range bytes.Lines(output) {
			bare := bytes.TrimRight(line, "\r\n")
			if !slices.ContainsFunc(t.ignore, func(p *regexp.Regexp) bool { return p.Match(bare) }) {
				kept = append(kept, line...)
			}
		}
		output = kept
	}
	output = bytes.TrimRight(output, "\r\n")
	if len(output) <= textMax {
		return output
	}
	return fmt.Appendf(slices.Clone(output[:textMax]), "…\n[cut: %d bytes, SHA-256 %x]", len(output), sha256.Sum256(output))
}

// run logs in and passes each output to fn. It ends within the check's timeout.
func (t *target) run(ctx context.Context, fn func(it item, output []byte)) error {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	client, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, it := range t.items() {
		output, err := t.exec(client, it.command)
		if err != nil {
			return t.late(ctx, err)
		}
		fn(it, output)
	}
	return nil
}

// late tells a run that took too long, or was ended, from other failures.
func (t *target) late(ctx context.Context, err error) error {
	var fail *failure
	switch {
	case errors.As(err, &fail) && fail.result == resultTooLarge: // more time would not help
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &failure{resultTimeout, "raise timeout, or find out why the device is slow", fmt.Errorf("not done within %v: %w", t.Timeout, err)}
	case ctx.Err() != nil:
		return &failure{resultStopped, "", ctx.Err()}
	}
	return err
}

func (t *target) dial(ctx context.Context) (*ssh.Client, error) {
	cfg, err := t.client()
	if err != nil {
		return nil, err
	}
	addr := net.JoinHostPort(t.host, strconv.Itoa(t.Port))
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, t.late(ctx, &failure{resultConnect, "is the device up, and does it listen on this port?", err})
	}
	context.AfterFunc(ctx, func() { nc.Close() }) // so ctx says why, and not the connection
	conn, chans, reqs, err := ssh.NewClientConn(nc, addr, cfg)
	if err != nil {
		nc.Close()
		var f *failure
		switch {
		case errors.As(err, &f):
			return nil, f
		case strings.Contains(err.Error(), "unable to authenticate"):
			return nil, &failure{resultLogin, "the device refuses the user with this key or password", err}
		}
		return nil, t.late(ctx, &failure{resultConnect, "an old device may need legacy_algorithms: true", err})
	}
	return ssh.NewClient(conn, chans, reqs), nil
}

// client reads the credentials and the known keys anew.
func (t *target) client() (*ssh.ClientConfig, error) {
	cfg := &ssh.ClientConfig{User: t.User, Timeout: t.Timeout, ClientVersion: "SSH-2.0-Vedette"}
	if t.KeyFile != "" {
		s, err := signer(t.KeyFile)
		if err != nil {
			return nil, &failure{resultCredentials, "mend key_file", err}
		}
		cfg.Auth = append(cfg.Auth, ssh.PublicKeys(s))
	}
	if t.PasswordFile != "" {
		p, err := password(t.PasswordFile)
		if err != nil {
			return nil, &failure{resultCredentials, "mend password_file", err}
		}
		cfg.Auth = append(cfg.Auth, ssh.Password(p.Reveal()), ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
			// Devices ask for the password, however they call it, and once.
			answers := make([]string, len(questions))
			for i := range answers {
				answers[i] = p.Reveal()
			}
			return answers, nil
		}))
	}
	if t.LegacyAlgorithms {
		safe, unsafe := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms()
		cfg.KeyExchanges = append(safe.KeyExchanges, unsafe.KeyExchanges...)
		cfg.Ciphers = append(safe.Ciphers, unsafe.Ciphers...)
		cfg.MACs = append(safe.MACs, unsafe.MACs...)
		cfg.HostKeyAlgorithms = append(safe.HostKeys, unsafe.HostKeys...)
	}
	known, err := knownhosts.New(t.KnownHosts)
	if err != nil {
		return nil, &failure{resultCredentials, "mend known_hosts", err}
	}
	cfg.HostKeyCallback = t.verify(known)
	algos := hostKeyAlgorithms(known, net.JoinHostPort(t.host, strconv.Itoa(t.Port)))
	if !t.LegacyAlgorithms {
		algos = slices.DeleteFunc(algos, func(a string) bool { return !slices.Contains(ssh.SupportedAlgorithms().HostKeys, a) })
	}
	if len(algos) > 0 {
		cfg.HostKeyAlgorithms = algos
	}
	return cfg, nil
}

// verify decides about a host key that differs from known_hosts.
func (t *target) verify(known ssh.HostKeyCallback) ssh.HostKeyCallback {
	return func(hostname string, remote net.Addr, key ssh.PublicKey) error {
		err := known(hostname, remote, key)
		var ke *knownhosts.KeyError
		var revoked *knownhosts.RevokedError
		shown := ssh.FingerprintSHA256(key) + " (" + key.Type() + ")"
		switch {
		case err == nil:
			return nil
		case errors.As(err, &ke) && len(ke.Want) == 0:
			return &failure{resultHostUnknown, fmt.Sprintf("compare the fingerprint at the device, then `ssh-keyscan -p %d %s >> %s`", t.Port, t.host, t.KnownHosts),
				fmt.Errorf("%s is not in %s; it shows the key %s", t.host, t.KnownHosts, shown)}
		case errors.As(err, &ke), errors.As(err, &revoked):
			return &failure{resultHostChanged, fmt.Sprintf("if the device was replaced, `ssh-keygen -R %s -f %s` and add the new key; if not, somebody stands between", knownhosts.Normalize(hostname), t.KnownHosts),
				fmt.Errorf("%s shows the key %s, and %s has another or has revoked it", t.host, shown, t.KnownHosts)}
		}
		return &failure{resultHostUnknown, "mend known_hosts", err}
	}
}

// hostKeyAlgorithms returns the algorithms of a host's known keys. Without them,
// a device with several keys might show a key that is not in the file.
func hostKeyAlgorithms(known ssh.HostKeyCallback, addr string) (out []string) {
	probe, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		return nil
	}
	var ke *knownhosts.KeyError
	if !errors.As(known(addr, &net.TCPAddr{IP: net.IPv4zero}, probe), &ke) {
		return nil
	}
	for _, k := range ke.Want {
		algos := []string{k.Key.Type()}
		if k.Key.Type() == ssh.KeyAlgoRSA {
			algos = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
		}
		for _, a := range algos {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// exec runs one command and returns its output. A failed command also gives an
// output: a failure that is new is a difference.
func (t *target) exec(client *ssh.Client, command string) ([]byte, error) {
	s, err := client.NewSession()
	if err != nil {
		return nil, &failure{resultSession, "does the device allow commands over SSH?", err}
	}
	defer s.Close()
	// A device that prints on would be waited for, so it is left at once.
	stdout, stderr := &capped{max: outputMax, full: func() { client.Close() }}, &capped{max: stderrMax}
	s.Stdout, s.Stderr = stdout, stderr
	err = s.Run(command)
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case stdout.over:
		return nil, &failure{resultTooLarge, "let the command print less", fmt.Errorf("the output is larger than %d bytes", outputMax)}
	case err == nil:
	case errors.As(err, &exit):
		stdout.buf = fmt.Appendf(stdout.buf, "\n%s\nexit status %d", bytes.TrimRight(stderr.buf, "\r\n"), exit.ExitStatus())
	case errors.As(err, &missing) && len(stdout.buf) > 0: // simple devices say nothing
	default:
		return nil, &failure{resultSession, "does the device allow commands over SSH?", err}
	}
	return stdout.buf, nil
}

// capped keeps the first bytes written to it; full, if any, is called when more come.
type capped struct {
	buf  []byte
	max  int
	full func()
	over bool
}

func (c *capped) Write(p []byte) (int, error) {
	room := c.max - len(c.buf)
	c.buf = append(c.buf, p[:min(room, len(p))]...)
	if len(p) > room && !c.over {
		if c.over = true; c.full != nil {
			c.full()
		}
	}
	return len(p), nil
}
