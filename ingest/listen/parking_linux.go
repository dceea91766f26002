package listen

import (
	"fmt"
	"os"
	"sync"
	"syscall"
)

// parking waits for all parked connections at once.
type parking struct {
	epoll *os.File
	fd    int

	mu     sync.Mutex
	conns  map[int]*Conn // by descriptor
	closed bool
}

// newParking begins to wait. It must be closed.
func newParking() (*parking, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	// Not blocking, so that waiting for it takes no thread: the runtime's own poller does.
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	p := &parking{epoll: os.NewFile(uintptr(fd), "epoll"), fd: fd, conns: map[int]*Conn{}}
	go p.run()
	return p, nil
}

func (p *parking) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.epoll.Close()
}

// await has c woken when something arrives or the peer closes. again says that it
// is not the first time. It returns false when it cannot. The caller holds c.mu,
// and the socket is open.
func (p *parking) await(c *Conn, again bool) bool {
	e := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: int32(c.fd)}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return false
	case again:
		return syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_MOD, c.fd, &e) == nil
	case syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, c.fd, &e) != nil:
		return false
	}
	p.conns[c.fd] = c
	return true
}

// remove forgets c. The caller is about to close its socket, which takes it out
// of the epoll, and holds c.mu.
func (p *parking) remove(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c.fd)
}

// run wakes connections until the parking is closed. A connection that is woken
// for nothing, because its descriptor was another's a moment ago, parks again.
func (p *parking) run() {
	raw, err := p.epoll.SyscallConn()
	if err != nil {
		return
	}
	var (
		events [128]syscall.EpollEvent
		n      int
		awake  []*Conn
	)
	for {
		err := raw.Read(func(fd uintptr) bool {
			n, _ = syscall.EpollWait(int(fd), events[:], 0)
			return n > 0
		})
		if err != nil {
			return
		}
		p.mu.Lock()
		for _, e := range events[:n] {
			if c := p.conns[int(e.Fd)]; c != nil {
				awake = append(awake, c)
			}
		}
		p.mu.Unlock()
		for i, c := range awake {
			c.wakeUp()
			awake[i] = nil
		}
		awake = awake[:0]
	}
}
