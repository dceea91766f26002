package kafka

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"vedette/internal/retry"
)

// sturdyListener outlives errors of Accept. The embedded broker ends its accept
// loop at the first one, so that running out of file descriptors once would close
// its port for good.
type sturdyListener struct {
	open   func() (net.Listener, error)
	log    *slog.Logger
	warn   retry.Log
	closed chan struct{}

	mu sync.Mutex
	ln net.Listener
}

func listenSturdily(network, address string, log *slog.Logger) (*sturdyListener, error) {
	ln, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	at := ln.Addr().String() // of port 0 the assigned port
	return &sturdyListener{ln: ln, open: func() (net.Listener, error) { return net.Listen(network, at) }, log: log, closed: make(chan struct{})}, nil
}

func (l *sturdyListener) current() net.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ln
}

// Accept waits for a connection until Close. After an error it pauses; a listener
// that was closed by another is opened again.
func (l *sturdyListener) Accept() (net.Conn, error) {
	pause := retry.Backoff{Min: retry.AcceptPause / 4, Max: 10 * retry.AcceptPause}
	for {
		conn, err := l.current().Accept()
		if err == nil {
			return conn, nil
		}
		select {
		case <-l.closed:
			return nil, net.ErrClosed
		default:
		}
		if skipped, due := l.warn.Due(); due {
			l.log.Error("the embedded broker cannot take a connection; it tries again. If descriptors are missing, raise the limit of open files", "err", err, "not_logged", skipped)
		}
		select {
		case <-l.closed:
			return nil, net.ErrClosed
		case <-time.After(pause.Next()):
		}
		if errors.Is(err, net.ErrClosed) {
			l.reopen()
		}
	}
}

func (l *sturdyListener) reopen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return
	default:
	}
	if ln, err := l.open(); err == nil {
		l.ln = ln
	}
}

// Close ends Accept.
func (l *sturdyListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return nil
	default:
		close(l.closed)
	}
	return l.ln.Close()
}

// Addr is where it listens.
func (l *sturdyListener) Addr() net.Addr { return l.current().Addr() }
