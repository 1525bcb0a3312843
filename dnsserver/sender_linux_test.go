package dnsserver_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/mmsrouter/mmsrouter/dnsserver"
)

// Answers leave by a socket of their own where that is possible. Who asks can't tell: they come from the address asked (the client
// hears no other), and no address that the server listens on is lost to them.
func TestSenders(t *testing.T) {
	elsewhere := dnsserver.SenderAddr.String()
	for _, c := range []struct {
		name, listen, host string
		senders            int
	}{
		{"an IPv4 address", "127.0.0.1", "127.0.0.1", 2},
		{"another one", "127.0.0.9", "127.0.0.9", 2},
		{"the address that senders would have", elsewhere, elsewhere, 0},
		{"all IPv4 addresses", "0.0.0.0", elsewhere, 0},
		{"all addresses", "::", elsewhere, 0},
		{"an IPv6 address", "::1", "::1", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := unlimited()
			conf.Listen = []string{net.JoinHostPort(c.listen, "0")}
			conf.Sockets = 2
			if l, err := net.Listen("tcp", conf.Listen[0]); err != nil {
				t.Skipf("no such address: %v", err)
			} else if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			asked(t, conf, c.host, c.senders)
		})
	}
}

// Where another program has the senders' port, answers leave by the socket that received the query.
func TestSenderRefused(t *testing.T) {
	for range 10 { // the port has to be free on the other address too
		other, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(dnsserver.SenderAddr, 0)))
		if err != nil {
			t.Skipf("no such address: %v", err)
		}
		defer other.Close()
		at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), other.LocalAddr().(*net.UDPAddr).AddrPort().Port()).String()
		if l, err := net.Listen("tcp", at); err != nil {
			continue
		} else if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		conf := unlimited()
		conf.Listen = []string{at}
		asked(t, conf, "127.0.0.1", 0)
		return
	}
	t.Skip("no free port")
}

// asked starts a server, counts its senders and asks it by UDP.
func asked(t *testing.T, conf dnsserver.Config, host string, senders int) {
	t.Helper()
	addr, _, s := start(t, conf)
	if n := s.Senders(); n != senders {
		t.Errorf("%d senders, want %d", n, senders)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // some for each socket
		m := new(dns.Msg)
		m.SetQuestion("mms.example.net.", dns.TypeA)
		if r := exchange(t, "udp", net.JoinHostPort(host, port), m); r.Rcode != dns.RcodeSuccess || len(r.Answer) == 0 {
			t.Fatalf("answer: %v", r)
		}
	}
}
