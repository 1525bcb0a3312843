//go:build !linux

package socket

import (
	"net"
	"net/netip"
)

// Poller has nothing to do here.
type Poller struct{ done chan struct{} }

// NewPoller makes one.
func NewPoller() (*Poller, error) { return &Poller{make(chan struct{})}, nil }

// Run waits for Close.
func (p *Poller) Run() error {
	<-p.done
	return nil
}

// Len is 0.
func (p *Poller) Len() int { return 0 }

// Close ends Run.
func (p *Poller) Close() error {
	close(p.done)
	return nil
}

// Conn is net's.
type Conn struct{ *net.TCPConn }

// LocalAddrPort is where the peer has come to.
func (c *Conn) LocalAddrPort() netip.AddrPort { return addrPort(c.LocalAddr()) }

// RemoteAddrPort is the peer.
func (c *Conn) RemoteAddrPort() netip.AddrPort { return addrPort(c.RemoteAddr()) }

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(t.AddrPort().Addr().Unmap().WithZone(""), t.AddrPort().Port())
}

// Try calls f, which reads what is there.
func (c *Conn) Try(f func(fd uintptr)) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(f)
}

// Await calls f, which reads, until it says that it is done, and waits in between until the read deadline.
func (c *Conn) Await(_ bool, f func(fd uintptr) bool) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(f)
}

// Listener is net's.
type Listener struct{ *net.TCPListener }

// Listen makes one.
func Listen(l *net.TCPListener, _ *Poller) (*Listener, error) { return &Listener{l}, nil }

// Accept gives a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return &Conn{c}, nil
}
