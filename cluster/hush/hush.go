// Package hush keeps a listener from answering new connections to an address that is about to move to another machine. Their SYN is
// dropped without a word, so the client's kernel sends it again (after 1 s, then 3 s; RFC 6298) and by then meets the new holder:
// the client waits a little instead of failing. Connections that exist are not touched.
//
// The kernel does it, by a filter on the listening socket that any user may set; it ends with the socket. Where the system
// can't, Set is an error and nothing has changed.
package hush

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// errOther says that it is not one of the system's own sockets.
var errOther = errors.New("hush: this listener has no socket of its own")

// Set hushes a TCP listener for connections to these addresses; with none it answers all again.
func Set(l net.Listener, addresses []netip.Addr) error {
	s, ok := l.(syscall.Conn)
	if !ok {
		return errOther
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = set(int(fd), addresses) }); err != nil {
		return err
	}
	return inner
}
