package dnsserver_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/dnsserver"
	"github.com/mmsrouter/mmsrouter/router"
)

// counter reads one counter without labels.
func counter(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// queued makes a server with one socket, puts queries of each client into its buffer, and only then lets it run: it finds all
// of them in one batch. It gives the answers by client and id.
func queued(t *testing.T, listen, host string, prepare func(*dnsserver.Server), pkts [][]byte, clients int) (answers []map[uint16]*dns.Msg, sends float64) {
	t.Helper()
	c := unlimited()
	c.Listen = []string{listen}
	c.Sockets = 1
	reg := prometheus.NewRegistry()
	board := router.NewBoard(1000)
	zones, err := c.BoardZones()
	if err != nil {
		t.Fatal(err)
	}
	if err := board.Configure(nil, zones, nil); err != nil {
		t.Fatal(err)
	}
	s, err := dnsserver.New(dnsserver.Options{Config: c, Board: board, Metrics: reg})
	if err != nil {
		t.Skipf("can't listen on %s: %v", listen, err)
	}
	if prepare != nil {
		prepare(s)
	}
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), s.Addrs()[0].(*net.TCPAddr).AddrPort().Port()))
	conns := make([]*net.UDPConn, clients)
	for i := range conns {
		if conns[i], err = net.DialUDP("udp", nil, to); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
		if err := conns[i].SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range pkts { // the clients' queries are mixed
		p[0], p[1] = byte(i>>8), byte(i)
		if _, err := conns[i%clients].Write(p); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for i, conn := range conns {
		got := map[uint16]*dns.Msg{}
		buf := make([]byte, 4096)
		for range (len(pkts) - i + clients - 1) / clients {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("client %d after %d answers: %v", i, len(got), err)
			}
			m := new(dns.Msg)
			if err := m.Unpack(buf[:n]); err != nil {
				t.Fatalf("client %d: %x: %v", i, buf[:n], err)
			}
			got[m.Id] = m
		}
		answers = append(answers, got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return answers, counter(t, reg, "mmsrouter_dns_sends_total")
}

// Answers to one client go as one datagram where their lengths allow it; each arrives as a datagram of its own, at the client
// that asked, from the address that was asked.
func TestAnswersInGroups(t *testing.T) {
	names := []struct {
		name  string
		qtype uint16
		rcode int
	}{{"mms.example.net", dns.TypeA, 0}, {"mms.example.net", dns.TypeA, 0}, {"other.example", dns.TypeA, 0}, {"no.other.example", dns.TypeA, 3}, {"huge.mms.example.net", dns.TypeTXT, 0}, {"example.org", dns.TypeA, 5}}
	for _, c := range []struct {
		name, listen, host string
		clients            int
		same               bool // all ask the same
		sends              float64
		prepare            func(*dnsserver.Server)
	}{
		{name: "one client, one question", listen: "127.0.0.1:0", host: "127.0.0.1", clients: 1, same: true, sends: 1},
		{name: "four clients, one question", listen: "127.0.0.1:0", host: "127.0.0.1", clients: 4, same: true, sends: 4},
		{name: "all addresses", listen: "0.0.0.0:0", host: "127.0.0.7", clients: 2, same: true, sends: 2},
		{name: "all addresses of both kinds, by IPv4", listen: ":0", host: "127.0.0.7", clients: 2, same: true, sends: 2},
		{name: "all addresses of both kinds, by IPv6", listen: ":0", host: "::1", clients: 2, same: true, sends: 2},
		{name: "IPv6", listen: "[::1]:0", host: "::1", clients: 2, same: true, sends: 2},
		{name: "many questions", listen: "127.0.0.1:0", host: "127.0.0.1", clients: 1},
		{name: "many questions and clients", listen: "0.0.0.0:0", host: "127.0.0.1", clients: 5},
		{name: "as many clients as questions", listen: "127.0.0.1:0", host: "127.0.0.1", clients: 60, same: true, sends: 60},
		{name: "a path that can't cut", listen: "127.0.0.1:0", host: "127.0.0.1", clients: 4, same: true, sends: 60, prepare: (*dnsserver.Server).RefuseSegments},
		{name: "a path that can't cut, many questions", listen: "0.0.0.0:0", host: "127.0.0.1", clients: 3, prepare: (*dnsserver.Server).RefuseSegments},
	} {
		t.Run(c.name, func(t *testing.T) {
			const n = 60 // below the size of a batch
			var pkts [][]byte
			for i := range n {
				q := names[0]
				if !c.same {
					q = names[i%len(names)]
				}
				pkts = append(pkts, ednsCase{qtype: q.qtype, edns: true}.packet(q.name))
			}
			answers, sends := queued(t, c.listen, c.host, c.prepare, pkts, c.clients)
			if c.sends > 0 && sends != c.sends {
				t.Errorf("%v datagrams, want %v", sends, c.sends)
			}
			for i := range n {
				q := names[0]
				if !c.same {
					q = names[i%len(names)]
				}
				m := answers[i%c.clients][uint16(i)]
				if m == nil {
					t.Fatalf("query %d has no answer", i)
				}
				if m.Rcode != q.rcode || m.Question[0].Name != q.name+"." || m.Truncated != (q.qtype == dns.TypeTXT) {
					t.Errorf("query %d: %v", i, m)
				}
			}
		})
	}
}
