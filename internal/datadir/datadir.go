// Package datadir owns the directory of one process: its lock, the addresses of
// the process that holds it, and small secret files.
package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Names of files under a data directory.
const (
	LockFile           = "lock"
	EndpointsFile      = "endpoints.json"
	KafkaPassword      = "kafka-password"
	ClusterKey         = "cluster.key"
	APICredentials     = "api-credentials"
	EnrollmentPassword = "enrollment-password"
	Certificates       = "tls"
	Store              = "store"
	History            = "history"
	// ActiveResponse holds the executables of the server's own responses,
	// ResponsesInForce the responses that are to be undone.
	ActiveResponse   = "active-response"
	ResponsesInForce = "active-response.json"
)

// ErrLocked says that another process holds the directory.
var ErrLocked = errors.New("another process is using this data directory")

// Dir is a locked data directory.
type Dir struct {
	Path     string
	lock     *os.File
	identity os.FileInfo // of the lock, as it was opened
	statfs   func(path string, to *syscall.Statfs_t) error
}

// Open creates the directory if needed and takes its lock, which ends with the
// process however it ends. A held lock gives ErrLocked with the holder's id.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o750); err != nil {
		return nil, fmt.Errorf("data_dir %s cannot be created: %w", path, err)
	}
	f, err := os.OpenFile(filepath.Join(path, LockFile), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("data_dir %s cannot be written: %w", path, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(f.Name())
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("data_dir %s: %w (process %s); stop it, or give this one a data_dir of its own", path, ErrLocked, strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("lock data_dir %s: %w", path, err)
	}
	// The holder's id only serves a message; a full disk must not prevent a start.
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	identity, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("data_dir %s: %w", path, err)
	}
	return &Dir{Path: path, lock: f, identity: identity, statfs: syscall.Statfs}, nil
}

// Exists reports whether path is a data directory that was opened before.
func Exists(path string) bool {
	_, err := os.Stat(filepath.Join(path, LockFile))
	return err == nil
}

// Close removes the endpoints and frees the lock.
func (d *Dir) Close() error {
	_ = os.Remove(d.File(EndpointsFile))
	return d.lock.Close()
}

// File returns the path of a name in the directory.
func (d *Dir) File(name string) string { return filepath.Join(d.Path, name) }

// Endpoints is where a running process listens; commands read it to talk to it.
type Endpoints struct {
	PID     int    `json:"pid"`
	Kafka   string `json:"kafka,omitempty"`
	Enroll  string `json:"enroll,omitempty"`
	Ingest  string `json:"ingest,omitempty"`
	API     string `json:"api,omitempty"`
	Metrics string `json:"metrics,omitempty"`
	// IngestUDP is the agent port's on UDP.
	IngestUDP string `json:"ingest_udp,omitempty"`
	// Syslog holds addresses by transport: "udp", "tcp", "tls".
	Syslog map[string][]string `json:"syslog,omitempty"`
}

// WriteEndpoints publishes where this process listens.
func (d *Dir) WriteEndpoints(e Endpoints) error {
	e.PID = os.Getpid()
	raw, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(d.File(EndpointsFile), append(raw, '\n'), 0o640)
}

// ReadEndpoints returns where the process that holds path listens.
func ReadEndpoints(path string) (Endpoints, error) {
	var e Endpoints
	raw, err := os.ReadFile(filepath.Join(path, EndpointsFile))
	if err != nil {
		return e, err
	}
	return e, json.Unmarshal(raw, &e)
}

// WriteFile writes a file as a whole: a reader sees the old one or the new one.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(tmp.Name(), path)
}

// SecretFile returns the first line of a file, creating it with fresh (mode
// 0600) if it is not there. created tells which.
func (d *Dir) SecretFile(name string, fresh func() string) (value string, created bool, err error) {
	path := d.File(name)
	raw, err := os.ReadFile(path)
	if err == nil {
		line, _, _ := strings.Cut(string(raw), "\n")
		if line == "" {
			return "", false, fmt.Errorf("%s is empty; remove it to have it made anew", path)
		}
		return line, false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", false, err
	}
	value = fresh()
	return value, true, WriteFile(path, []byte(value+"\n"), 0o600)
}
