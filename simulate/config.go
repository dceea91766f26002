package simulate

import (
	"errors"
	"time"

	"vedette/internal/secret"
)

// Config sets the number and the behavior of agents. The zero value of a field
// means its default.
type Config struct {
	// Agents is how many there are (1).
	Agents int
	// EPS is how many lines all agents together send per second; 0 is as many as they can.
	EPS float64
	// Duration ends the run; 0 is without end.
	Duration time.Duration
	// Count is how many lines are sent in all; 0 is without bound.
	Count int64
	// Manager is the host of both ports (127.0.0.1).
	Manager string
	// EnrollPort (1515) and Port (1514).
	EnrollPort int
	Port       int
	Password   secret.String
	// Logs are lines to send in turn, as they are; empty means the built-in corpus.
	Logs []byte
	// Location is where the lines claim to be from (/var/log/auth.log).
	Location string
	// Cipher is aes (default) or blowfish.
	Cipher string
	// Level is the zlib level of messages, 1 (default) to 9; agents use 9, which costs most of a core.
	Level int
	// NamePrefix is followed by a number to name an agent (sim).
	NamePrefix string
	// CAFile verifies the enrollment server; without it nothing is verified, like an agent's default.
	CAFile string
	// KeysFile keeps identities between runs, in the form of client.keys.
	KeysFile string
	// Mark adds ` seq=<agent>-<n>` to each line, n from 1, so that each can be told.
	Mark bool
	// Keepalive is the interval of keepalives (20 s).
	Keepalive time.Duration
	// SilenceMax is how long an agent hears nothing before it reconnects (60 s).
	SilenceMax time.Duration
	// RetryMax bounds the growing wait between attempts to connect (10 s).
	RetryMax time.Duration
	// Version is the version that agents report (v4.14.7).
	Version string
	// Story has the first agent begin with the lines of an attack, which the builtin
	// rules alert on, at once and counted as lines. It tells none with Logs or Idle.
	Story bool
	// Idle has agents send no lines, but all the rest, for Duration.
	Idle bool
	// UDP has agents talk by datagrams, which may be lost.
	UDP bool
	// Modules has each agent send a changed file and a new package with every
	// keepalive.
	Modules bool
	// ResponseDir holds executables that the active responses of all agents run;
	// empty: agents only report the effect that a script would have had.
	ResponseDir string
}

func (c *Config) defaults() error {
	def := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	defInt := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	defTime := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	def(&c.Manager, "127.0.0.1")
	def(&c.Location, "/var/log/auth.log")
	def(&c.Cipher, "aes")
	def(&c.NamePrefix, "sim")
	def(&c.Version, "v4.14.7")
	defInt(&c.Agents, 1)
	defInt(&c.EnrollPort, 1515)
	defInt(&c.Port, 1514)
	defInt(&c.Level, 1)
	defTime(&c.Keepalive, 20*time.Second)
	defTime(&c.SilenceMax, time.Minute)
	defTime(&c.RetryMax, 10*time.Second)
	switch {
	case c.Agents < 1 || c.Agents > 100_000:
		return errors.New("simulate: the number of agents is not in 1…100000")
	case c.Cipher != "aes" && c.Cipher != "blowfish":
		return errors.New("simulate: the cipher is neither aes nor blowfish")
	case c.Level < 1 || c.Level > 9:
		return errors.New("simulate: the compression level is not in 1…9")
	case c.Idle && (c.EPS != 0 || c.Count != 0):
		return errors.New("simulate: idle agents send no lines, so that there is no rate or count of them")
	case c.EPS < 0 || c.Count < 0 || c.Duration < 0:
		return errors.New("simulate: a negative rate, count or duration")
	}
	return nil
}
