package dnsserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"syscall"

	"github.com/mmsrouter/mmsrouter/cluster/freebind"
)

// udpSocket is one UDP socket with the goroutine that serves it; see udp_linux.go and udp_other.go.
type udpSocket struct {
	conn *net.UDPConn
	any  bool // bound to no address in particular: an answer must say which one it comes from
	batch
}

func (u *udpSocket) close() {
	_ = u.conn.Close() // datagrams not yet read are lost, as on any path
	u.closeSender()
}

// bind opens the sockets. TCP comes first: it is exclusive, while UDP sockets of one user share a port without a word.
func (s *Server) bind(c Config) error {
	sockets := c.Sockets
	if sockets == 0 {
		sockets = runtime.GOMAXPROCS(0)
	}
	if !reusePort {
		sockets = 1
	}
	for _, l := range c.Listen {
		if err := s.bindOne(l, sockets, c.Freebind); err != nil {
			return err
		}
	}
	s.openSenders()
	return nil
}

// portTries bounds the search for a port that is free for UDP and TCP, where 0 asks for any.
const portTries = 16

func (s *Server) bindOne(listen string, sockets int, free bool) error {
	if s.handed != nil {
		if tcp, udp := s.handed(listen); tcp != nil && len(udp) > 0 {
			s.tcp = append(s.tcp, tcp)
			for _, c := range udp {
				s.udp = append(s.udp, newUDPSocket(c))
			}
			return nil
		}
	}
	host, port, _ := net.SplitHostPort(listen) // compile has checked it
	var last error
	for range portTries {
		tcp, err := listenTCP(listen, free)
		if err != nil {
			return explainBind(listen, "TCP", err)
		}
		actual := net.JoinHostPort(host, strconv.Itoa(tcp.Addr().(*net.TCPAddr).Port))
		udp, err := listenUDP(actual, sockets, free)
		if err == nil {
			s.tcp = append(s.tcp, tcp)
			s.udp = append(s.udp, udp...)
			return nil
		}
		_ = tcp.Close() // nobody has connected
		last = explainBind(actual, "UDP", err)
		if port != "0" || !errors.Is(err, syscall.EADDRINUSE) {
			return last
		}
	}
	return last
}

// explainBind names the address and the key, and what to do where it is known.
func explainBind(addr, proto string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = ": another program has it"
	case errors.Is(err, syscall.EACCES):
		hint = ": ports below 1024 need CAP_NET_BIND_SERVICE"
	default:
		hint = freebind.Hint(err, "dns.freebind")
	}
	return fmt.Errorf("dns.listen: %s (%s)%s: %w", addr, proto, hint, err)
}

func listenTCP(addr string, free bool) (*net.TCPListener, error) {
	lc := net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) error {
		return control(c, func(fd int) error { return bindFree(fd, network, free) })
	}}
	// Four system calls less for each connection. It has deadlines: who has gone is noticed by them, and hardly anybody stays.
	lc.KeepAlive = -1
	lc.SetMultipathTCP(false) // dearer for the kernel, and nothing to gain for two short messages
	l, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

func listenUDP(addr string, n int, free bool) ([]*udpSocket, error) {
	lc := net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) error {
		return control(c, func(fd int) error { return errors.Join(udpOptions(fd, network), bindFree(fd, network, free)) })
	}}
	var out []*udpSocket
	for range n {
		c, err := lc.ListenPacket(context.Background(), "udp", addr)
		if err != nil {
			for _, u := range out {
				u.close()
			}
			return nil, err
		}
		out = append(out, newUDPSocket(c.(*net.UDPConn)))
	}
	return out, nil
}

// bindFree lets the socket take an address that the machine does not have yet.
func bindFree(fd int, network string, on bool) error {
	if !on {
		return nil
	}
	return freebind.Set(fd, network)
}

func newUDPSocket(c *net.UDPConn) *udpSocket {
	return &udpSocket{conn: c, any: c.LocalAddr().(*net.UDPAddr).IP.IsUnspecified()}
}

// control runs f on the descriptor.
func control(c syscall.RawConn, f func(fd int) error) error {
	var inner error
	if err := c.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
