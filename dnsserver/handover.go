package dnsserver

import (
	"context"
	"net"
	"time"
)

// Sockets gives the sockets by their text in Config.Listen, for another process to take over.
func (s *Server) Sockets() map[string]Sockets {
	all := map[string]Sockets{}
	for i, at := range s.listen {
		all[at] = Sockets{TCP: s.tcp[i], UDP: nil}
	}
	for _, u := range s.udp {
		for i, at := range s.listen {
			if s.tcp[i].Addr().String() == u.conn.LocalAddr().String() {
				x := all[at]
				x.UDP = append(x.UDP, u.conn)
				all[at] = x
			}
		}
	}
	return all
}

// Sockets are those of one address.
type Sockets struct {
	TCP *net.TCPListener
	UDP []*net.UDPConn
}

// HandOver is the end of a server whose sockets another process reads as well: what was read here is answered, what waits in the sockets is
// the other one's. It returns when the TCP connections that were accepted here have ended, or ctx ends; Run's context ends those left.
func (s *Server) HandOver(ctx context.Context) {
	s.handing.Store(true)
	for _, u := range s.udp {
		_ = u.conn.SetReadDeadline(time.Unix(1, 0)) // it fails only on a closed socket, which reads nothing either
	}
	for _, l := range s.tcp {
		_ = l.Close() // what waits in its queue is the other process's
	}
	select {
	case <-s.conns.ended():
	case <-ctx.Done():
	}
}
