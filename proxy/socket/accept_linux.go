package socket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Listener is net's, accepting our way.
type Listener struct {
	*net.TCPListener
	poller *Poller
	file   *os.File // the same socket: net lets nobody wait on a listener's own descriptor
	raw    syscall.RawConn
	local  netip.AddrPort // invalid: each connection is asked
	over   atomic.Bool    // Close was called
}

// Listen makes a TCP listener accept our way. What it accepts sends without delay (TCP_NODELAY), as with net. On an error l is as it was.
func Listen(l *net.TCPListener, p *Poller) (*Listener, error) {
	f, err := l.File()
	if err != nil {
		return nil, fmt.Errorf("duplicate the listener: %w", err)
	}
	r, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	var inner error
	err = r.Control(func(fd uintptr) {
		// connections have it from their listener, which saves a call for each
		inner = os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1))
	})
	if err = errors.Join(err, inner); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	ours := &Listener{TCPListener: l, poller: p, file: f, raw: r}
	if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsUnspecified() {
		ours.local = plain(a.AddrPort())
	}
	return ours, nil
}

// Accept waits for a connection: a *Conn. Errors are net's; of a listener that was closed net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	var c *Conn
	var errno syscall.Errno
	told := false
	err := l.raw.Read(func(fd uintptr) bool {
		if !told && !waits(fd) {
			told = true
			return false
		}
		for {
			var from syscall.RawSockaddrAny
			size := uint32(syscall.SizeofSockaddrAny)
			var n uintptr
			n, _, errno = syscall.RawSyscall6(syscall.SYS_ACCEPT4, fd, uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)),
				syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
			switch errno {
			case 0:
				c = newConn(l.poller, n, l.at(n), address(&from))
				return true
			case syscall.EAGAIN:
				return false
			case syscall.EINTR, syscall.ECONNABORTED: // it was gone again before it was taken
			default:
				return true
			}
		}
	})
	switch {
	case err != nil && l.over.Load():
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	case err != nil:
		return nil, err
	case errno != 0:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: os.NewSyscallError("accept4", errno)}
	}
	return c, nil
}

// Close ends Accept. The socket goes when no other process has it either.
func (l *Listener) Close() error {
	l.over.Store(true)
	return errors.Join(l.TCPListener.Close(), l.file.Close())
}

// waits says that somebody waits to be accepted. It is a quarter of the price of an accept4 that finds nobody, which makes a socket and
// a file first.
func waits(fd uintptr) bool {
	p := struct {
		fd              int32
		events, revents int16
	}{int32(fd), pollIn, 0}
	var now syscall.Timespec
	n, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return n > 0 || errno != 0
}

// pollIn is POLLIN of poll(2).
const pollIn = 1

// at is where a connection has come to.
func (l *Listener) at(fd uintptr) netip.AddrPort {
	if l.local.IsValid() {
		return l.local
	}
	var at syscall.RawSockaddrAny
	size := uint32(syscall.SizeofSockaddrAny)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_GETSOCKNAME, fd, uintptr(unsafe.Pointer(&at)), uintptr(unsafe.Pointer(&size))); errno != 0 {
		return netip.AddrPort{} // it knows: the descriptor is a socket of ours
	}
	return address(&at)
}

// address reads what the kernel has written.
func address(a *syscall.RawSockaddrAny) netip.AddrPort {
	port := func(p *uint16) uint16 {
		b := (*[2]byte)(unsafe.Pointer(p)) // in network order
		return uint16(b[0])<<8 | uint16(b[1])
	}
	switch a.Addr.Family {
	case syscall.AF_INET:
		in := (*syscall.RawSockaddrInet4)(unsafe.Pointer(a))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), port(&in.Port))
	case syscall.AF_INET6:
		in := (*syscall.RawSockaddrInet6)(unsafe.Pointer(a))
		return plain(netip.AddrPortFrom(netip.AddrFrom16(in.Addr), port(&in.Port)))
	}
	return netip.AddrPort{}
}

// plain gives IPv4 as IPv4, and leaves the zone out.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
