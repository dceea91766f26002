package syslog

import (
	"errors"
	"net"
	"syscall"
	"unsafe"
)

const (
	soReceiveBufferForce = 33 // SO_RCVBUFFORCE, which passes net.core.rmem_max by privilege
	soMemInfo            = 55 // SO_MEMINFO
	memInfoDrops         = 8  // SK_MEMINFO_DROPS
	memInfoWords         = 9
)

// enlarge asks for a receive buffer and returns the resulting size, in bytes.
func enlarge(c *net.UDPConn, bytes int) (got int, err error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := rc.Control(func(fd uintptr) {
		if syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReceiveBufferForce, bytes) != nil {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes)
		}
		var gerr error
		got, gerr = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
		err = errors.Join(err, gerr)
	})
	return got / 2, errors.Join(err, cerr) // the kernel doubles it for its own needs
}

// drops is how many datagrams the kernel dropped for want of room; 0 if it does not tell.
func (u *socket) drops() uint64 {
	rc, err := u.c.SyscallConn()
	if err != nil {
		return 0
	}
	var words [memInfoWords]uint32
	size := uint32(unsafe.Sizeof(words))
	var errno syscall.Errno
	err = rc.Control(func(fd uintptr) {
		_, _, errno = syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, fd, syscall.SOL_SOCKET, soMemInfo,
			uintptr(unsafe.Pointer(&words[0])), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err != nil || errno != 0 || size < 4*memInfoWords {
		return 0
	}
	return uint64(words[memInfoDrops])
}
