package ingest

import (
	"errors"
	"fmt"
	"time"

	"vedette/ingest/listen"
)

// Config sets the addresses for agents and the resources they may use.
type Config struct {
	// Listen is the address of the agent port.
	Listen string `mapstructure:"listen"`
	// ListenUDP is the same for datagrams; empty takes none.
	ListenUDP string `mapstructure:"listen_udp"`
	// WindowBytes is how much of one agent may wait for its acknowledgement;
	// TotalBytes is the same for all agents of this gateway.
	WindowBytes int64 `mapstructure:"window_bytes"`
	TotalBytes  int64 `mapstructure:"total_bytes"`
	// MaxConnections bounds the agents connected here.
	MaxConnections int `mapstructure:"max_connections"`
	// OvertakeTime is how long an agent's connection must have been silent
	// before another one may take its place; 0 is never.
	OvertakeTime time.Duration `mapstructure:"overtake_time"`
	// DisconnectionTime is how long an agent may send no keepalive.
	DisconnectionTime time.Duration `mapstructure:"disconnection_time"`
	// DisconnectionAlertTime is how long an agent must be disconnected, without
	// having become active, before an event reports it.
	DisconnectionAlertTime time.Duration `mapstructure:"disconnection_alert_time"`
	// RemoveTime is how long an agent must be disconnected to be removed; 0 is
	// never. RemovePurge lets it disappear; otherwise it stays, marked as removed.
	RemoveTime  time.Duration `mapstructure:"remove_time"`
	RemovePurge bool          `mapstructure:"remove_purge"`
	// PushBytesPerSecond bounds the network use of shared configuration.
	PushBytesPerSecond int64 `mapstructure:"push_bytes_per_second"`
	// AllowHigherVersions admits agents newer than ServerVersion.
	AllowHigherVersions bool `mapstructure:"allow_higher_versions"`

	// Node names this gateway in events and presence records.
	Node string `mapstructure:"-"`
	// ServerVersion is the release this server is compatible with.
	ServerVersion string `mapstructure:"-"`
	// Limits are those no operator needs to change; WindowBytes, TotalBytes and
	// MaxConnections replace theirs.
	Limits listen.Limits `mapstructure:"-"`
}

// Default returns the configuration of a server that configures nothing.
func Default() Config {
	l := listen.DefaultLimits()
	return Config{
		Listen: ":1514", WindowBytes: l.WindowBytes, TotalBytes: l.TotalBytes, MaxConnections: l.Connections,
		OvertakeTime: time.Minute, DisconnectionTime: 15 * time.Minute, PushBytesPerSecond: 64 << 20, Node: "node01", ServerVersion: "v4.14.7", Limits: l,
	}
}

// Validate returns every problem, joined; each names its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if c.WindowBytes < 1024 {
		bad("ingest.window_bytes: %d is less than 1024", c.WindowBytes)
	}
	if c.TotalBytes < 256<<10 || c.TotalBytes < c.WindowBytes {
		bad("ingest.total_bytes: %d is less than 262144 or than ingest.window_bytes", c.TotalBytes)
	}
	if c.MaxConnections < 1 {
		bad("ingest.max_connections: %d is not positive", c.MaxConnections)
	}
	if c.OvertakeTime < 0 || c.OvertakeTime > time.Hour {
		bad("ingest.overtake_time: %v is not in 0s…1h", c.OvertakeTime)
	}
	if c.DisconnectionTime < time.Second {
		bad("ingest.disconnection_time: %v is less than 1s", c.DisconnectionTime)
	}
	if c.DisconnectionAlertTime < 0 {
		bad("ingest.disconnection_alert_time: %v is negative", c.DisconnectionAlertTime)
	}
	if c.RemoveTime < 0 || c.RemoveTime%time.Second != 0 {
		bad("ingest.remove_time: %v; whole seconds, 0 or more", c.RemoveTime)
	}
	if c.PushBytesPerSecond < 64<<10 {
		bad("ingest.push_bytes_per_second: %d is less than 65536", c.PushBytesPerSecond)
	}
	return errors.Join(errs...)
}
