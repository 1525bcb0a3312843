package socket

import (
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"
)

// Both are what the methods below promise.
var (
	_ net.Conn     = (*Conn)(nil)
	_ syscall.Conn = (*Conn)(nil)
)

// raw is the connection as a syscall.RawConn, whose Read and Write are not net.Conn's.
type raw struct{ c *Conn }

func (r raw) Read(f func(fd uintptr) bool) error  { return r.c.operate(&r.c.r, false, f) }
func (r raw) Write(f func(fd uintptr) bool) error { return r.c.operate(&r.c.w, false, f) }
func (r raw) Control(f func(fd uintptr)) error {
	if err := r.c.begin(); err != nil {
		return err
	}
	defer r.c.end()
	f(r.c.fd)
	return nil
}

// SyscallConn gives the descriptor to functions that don't block. It never fails.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return raw{c}, nil }

// Read waits for octets until the read deadline.
func (c *Conn) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	var errno syscall.Errno
	err = c.operate(&c.r, false, func(fd uintptr) bool {
		n, errno = again(syscall.SYS_RECVFROM, fd, p)
		return errno != syscall.EAGAIN
	})
	switch {
	case err != nil:
		return 0, err
	case errno != 0:
		return 0, os.NewSyscallError("read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write writes all of p, waiting for room until the write deadline.
func (c *Conn) Write(p []byte) (n int, err error) {
	var errno syscall.Errno
	err = c.operate(&c.w, false, func(fd uintptr) bool {
		for n < len(p) {
			var k int
			if k, errno = again(syscall.SYS_SENDTO, fd, p[n:]); errno != 0 {
				return errno != syscall.EAGAIN
			}
			n += k
		}
		return true
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("write", errno)
	}
	return n, err
}

// again is recvfrom or sendto, repeated when a signal came between. What is written to a peer that is gone is an error, no signal.
func again(call, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(call, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), syscall.MSG_NOSIGNAL, 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != syscall.EINTR {
			return 0, errno
		}
	}
}

// CloseWrite says that nothing more is sent.
func (c *Conn) CloseWrite() error {
	return c.call("shutdown", func(fd uintptr) syscall.Errno {
		_, _, errno := syscall.RawSyscall(syscall.SYS_SHUTDOWN, fd, syscall.SHUT_WR, 0)
		return errno
	})
}

// SetLinger with 0 makes Close a reset; less than 0 is the system's way.
func (c *Conn) SetLinger(sec int) error {
	l := syscall.Linger{Onoff: 1, Linger: int32(sec)}
	if sec < 0 {
		l = syscall.Linger{}
	}
	return c.call("setsockopt", func(fd uintptr) syscall.Errno {
		_, _, errno := syscall.RawSyscall6(syscall.SYS_SETSOCKOPT, fd, syscall.SOL_SOCKET, syscall.SO_LINGER, uintptr(unsafe.Pointer(&l)), unsafe.Sizeof(l), 0)
		return errno
	})
}

func (c *Conn) call(name string, f func(fd uintptr) syscall.Errno) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.end()
	if errno := f(c.fd); errno != 0 {
		return os.NewSyscallError(name, errno)
	}
	return nil
}

// LocalAddrPort is where the peer has come to; an IPv4 address is one, whatever the listener is.
func (c *Conn) LocalAddrPort() netip.AddrPort { return c.local }

// RemoteAddrPort is the peer.
func (c *Conn) RemoteAddrPort() netip.AddrPort { return c.remote }

// LocalAddr is LocalAddrPort as a *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr is RemoteAddrPort as a *net.TCPAddr.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }
