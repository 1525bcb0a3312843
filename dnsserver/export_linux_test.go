package dnsserver

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// RefuseSegments makes the kernel refuse datagrams to be cut, as a path without checksum offload does: it does not cut where
// checksums are off.
func (s *Server) RefuseSegments() {
	for _, u := range s.udp {
		var raw syscall.RawConn
		var err error
		if f := u.out.sender.file; f != nil {
			raw, err = f.SyscallConn()
		} else {
			raw, err = u.conn.SyscallConn()
		}
		if err == nil {
			err = control(raw, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) })
		}
		if err != nil {
			panic(err)
		}
	}
}

// SenderAddr is the address of the sockets that answers leave by.
var SenderAddr = senderAddr

// Senders is the number of those sockets.
func (s *Server) Senders() (n int) {
	for _, u := range s.udp {
		if u.out.sender.file != nil {
			n++
		}
	}
	return n
}
