package dnsserver

import "golang.org/x/sys/unix"

// RefuseSegments makes the kernel refuse datagrams to be cut, as a path without checksum offload does: it does not cut where
// checksums are off.
func (s *Server) RefuseSegments() {
	for _, u := range s.udp {
		raw, err := u.conn.SyscallConn()
		if err == nil {
			err = control(raw, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) })
		}
		if err != nil {
			panic(err)
		}
	}
}
