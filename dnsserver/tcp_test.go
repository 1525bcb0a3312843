package dnsserver_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mmsrouter/mmsrouter/dnsserver"
	"github.com/mmsrouter/mmsrouter/router"
)

func dialTCP(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func framed(pkt []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(pkt))), pkt...)
}

func TestPipelining(t *testing.T) {
	addr, _, _ := start(t, testConfig())
	c := dialTCP(t, addr)
	var all []byte
	for i := range 500 {
		pkt := ednsCase{qtype: dns.TypeTXT}.packet([]string{"huge.mms.example.net", "mms.example.net"}[i%2])
		binary.BigEndian.PutUint16(pkt, uint16(i))
		all = append(all, framed(pkt)...)
	}
	go func() { _, _ = c.Write(all) }() // a write that fails shows as a missing answer
	co := &dns.Conn{Conn: c}
	for i := range 500 {
		m, err := co.ReadMsg()
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if int(m.Id) != i || len(m.Answer) != 1 || m.Truncated {
			t.Fatalf("answer %d: %v", i, m)
		}
	}
}

// A query that comes octet by octet is answered.
func TestTricklingQuery(t *testing.T) {
	addr, _, _ := start(t, testConfig())
	c := dialTCP(t, addr)
	for _, b := range framed(ednsCase{}.packet("mms.example.net")) {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := (&dns.Conn{Conn: c}).ReadMsg(); err != nil || len(m.Answer) != 1 {
		t.Errorf("answer: %v, %v", m, err)
	}
}

// ended waits until the server has closed the connection.
func ended(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("not closed: read %d, %v", n, err)
	}
}

func TestTCPEnds(t *testing.T) {
	conf := testConfig()
	conf.TCP.IdleTimeout = 100 * time.Millisecond
	conf.TCP.MaxQueries = 3
	addr, _, _ := start(t, conf)
	t.Run("idle", func(t *testing.T) { ended(t, dialTCP(t, addr)) })
	t.Run("half a query", func(t *testing.T) {
		c := dialTCP(t, addr)
		if _, err := c.Write([]byte{0, 50, 1, 2, 3}); err != nil {
			t.Fatal(err)
		}
		ended(t, c)
	})
	t.Run("more than a query", func(t *testing.T) {
		c := dialTCP(t, addr)
		if _, err := c.Write([]byte{0x10, 0x01}); err != nil { // 4097 octets are to come
			t.Fatal(err)
		}
		ended(t, c)
	})
	t.Run("an answer", func(t *testing.T) {
		c := dialTCP(t, addr)
		if _, err := c.Write(framed([]byte{0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0})); err != nil {
			t.Fatal(err)
		}
		ended(t, c)
	})
	t.Run("too many queries", func(t *testing.T) {
		c := dialTCP(t, addr)
		q := framed(ednsCase{}.packet("mms.example.net"))
		if _, err := c.Write([]byte(strings.Repeat(string(q), 3))); err != nil {
			t.Fatal(err)
		}
		co := &dns.Conn{Conn: c}
		for range 3 {
			if _, err := co.ReadMsg(); err != nil {
				t.Fatal(err)
			}
		}
		ended(t, c)
	})
}

func TestTCPConnectionLimit(t *testing.T) {
	conf := testConfig()
	conf.TCP.MaxConnections = 2
	addr, _, _ := start(t, conf)
	ask := func(c net.Conn) error {
		if _, err := c.Write(framed(ednsCase{}.packet("mms.example.net"))); err != nil {
			return err
		}
		_, err := (&dns.Conn{Conn: c}).ReadMsg()
		return err
	}
	a, b := dialTCP(t, addr), dialTCP(t, addr)
	for _, c := range []net.Conn{a, b} {
		if err := ask(c); err != nil {
			t.Fatal(err)
		}
	}
	ended(t, dialTCP(t, addr))
	if err := ask(a); err != nil {
		t.Errorf("an old connection suffers: %v", err)
	}
	_ = b.Close()
	deadline := time.Now().Add(5 * time.Second)
	for { // the server has to notice that b has gone
		if ask(dialTCP(t, addr)) == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no place is freed")
		}
	}
}

func TestKeepaliveOption(t *testing.T) {
	addr, _, _ := start(t, testConfig())
	var r dns.Msg
	if err := r.Unpack(raw(t, "tcp", addr, ednsCase{edns: true, options: optKeepTCP}.packet("mms.example.net"))); err != nil {
		t.Fatal(err)
	}
	o := r.IsEdns0().Option
	if len(o) != 1 || o[0].(*dns.EDNS0_TCP_KEEPALIVE).Timeout != 100 {
		t.Errorf("options: %v", o)
	}
}

// Run ends although clients hold connections open, and a half-read query does not keep it.
func TestRunEndsWithOpenConnections(t *testing.T) {
	s, _ := newServer(t, testConfig())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	addr := s.Addrs()[0].String()
	idle, half := dialTCP(t, addr), dialTCP(t, addr)
	for _, c := range []net.Conn{idle, half} {
		if _, err := c.Write(framed(ednsCase{}.packet("mms.example.net"))); err != nil {
			t.Fatal(err)
		}
		if _, err := (&dns.Conn{Conn: c}).ReadMsg(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := half.Write([]byte{0, 40, 1}); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Run does not end")
	}
	ended(t, idle)
	ended(t, half)
}

func TestTransfer(t *testing.T) {
	conf := testConfig()
	for i := range 3000 { // several messages
		conf.Zones[0].Records = append(conf.Zones[0].Records, fmt.Sprintf("h%d.hosts TXT %s", i, strings.Repeat("z", 1+i%200)))
	}
	addr, _, _ := start(t, conf)
	tr := new(dns.Transfer)
	m := new(dns.Msg)
	m.SetAxfr("mms.example.net.")
	ch, err := tr.In(m, addr)
	if err != nil {
		t.Fatal(err)
	}
	var all []dns.RR
	messages := 0
	for e := range ch {
		if e.Error != nil {
			t.Fatal(e.Error)
		}
		messages++
		all = append(all, e.RR...)
	}
	if messages < 2 || all[0].Header().Rrtype != dns.TypeSOA || all[len(all)-1].String() != all[0].String() {
		t.Errorf("%d messages from %v to %v", messages, all[0], all[len(all)-1])
	}
	// All static records, 5 addresses, 3 of them at ns1 too, one NS, the SOA twice.
	if want := len(conf.Zones[0].Records) + 5 + 3 + 1 + 2; len(all) != want {
		t.Errorf("%d records, want %d", len(all), want)
	}
	t.Run("up to date", func(t *testing.T) {
		q := new(dns.Msg)
		q.SetIxfr("mms.example.net.", all[0].(*dns.SOA).Serial, "ns1.", "host.")
		for _, network := range []string{"udp", "tcp"} {
			if r := exchange(t, network, addr, q); len(r.Answer) != 1 || r.Answer[0].Header().Rrtype != dns.TypeSOA {
				t.Errorf("%s: %v", network, r)
			}
		}
	})
	for _, c := range []struct {
		name, zone string
		rcode      int
	}{{"a zone without a list", "other.example", dns.RcodeRefused}, {"below a zone", "mail.mms.example.net", dns.RcodeNotAuth}, {"not ours", "example.org", dns.RcodeRefused}} {
		t.Run(c.name, func(t *testing.T) {
			if r := exchange(t, "tcp", addr, question(c.zone, dns.TypeAXFR)); r.Rcode != c.rcode || len(r.Answer) != 0 {
				t.Errorf("answer: %v", r)
			}
		})
	}
}

// Loopback is never limited, so the table of connections is asked directly.
func TestTCPPerClient(t *testing.T) {
	conf := testConfig()
	conf.TCP.PerClient = 2
	conf.Gateways = []string{"198.51.100.1"}
	s, _ := newServer(t, conf)
	for _, c := range []struct {
		name, src string
		want      []bool
	}{
		{"a stranger", "203.0.113.1", []bool{true, true, false}},
		{"another stranger", "203.0.113.2", []bool{true, true, false}},
		{"a listed gateway", "198.51.100.1", []bool{true, true, true, true}},
		{"a private network", "10.0.0.1", []bool{true, true, true, true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var release func()
			for i, want := range c.want {
				ok, r := s.Admit(netip.MustParseAddr(c.src))
				if ok != want {
					t.Errorf("connection %d: admitted %v", i, ok)
				}
				if ok {
					release = r
				}
			}
			release()
			if ok, _ := s.Admit(netip.MustParseAddr(c.src)); !ok {
				t.Error("no place after one has left")
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	conf := testConfig()
	board := router.NewBoard(1)
	s, err := dnsserver.New(dnsserver.Options{Config: conf, Board: board, Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dnsserver.New(dnsserver.Options{Config: conf, Board: board, Metrics: reg}); err == nil {
		t.Error("two servers count under the same names")
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	addr := s.Addrs()[0].String()
	for range 3 {
		exchange(t, "udp", addr, question("mms.example.net", dns.TypeMX))
	}
	exchange(t, "tcp", addr, question("nothing.mms.example.net", dns.TypeA))
	exchange(t, "udp", addr, question("www.example.org", 666))
	exchange(t, "udp", addr, question("huge.mms.example.net", dns.TypeTXT))
	raw(t, "udp", addr, ednsCase{edns: true, version: 1}.packet("mms.example.net"))
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want := `
# HELP mmsrouter_dns_queries_total Queries answered, by type and answer.
# TYPE mmsrouter_dns_queries_total counter
mmsrouter_dns_queries_total{qtype="A",rcode="NXDOMAIN"} 1
mmsrouter_dns_queries_total{qtype="MX",rcode="NOERROR"} 3
mmsrouter_dns_queries_total{qtype="SOA",rcode="BADVERS"} 1
mmsrouter_dns_queries_total{qtype="TXT",rcode="NOERROR"} 1
mmsrouter_dns_queries_total{qtype="other",rcode="REFUSED"} 1
# HELP mmsrouter_dns_tcp_accepted_total TCP connections accepted.
# TYPE mmsrouter_dns_tcp_accepted_total counter
mmsrouter_dns_tcp_accepted_total 1
# HELP mmsrouter_dns_tcp_connections Open TCP connections.
# TYPE mmsrouter_dns_tcp_connections gauge
mmsrouter_dns_tcp_connections 0
# HELP mmsrouter_dns_truncated_total Answers cut down to: ask by TCP.
# TYPE mmsrouter_dns_truncated_total counter
mmsrouter_dns_truncated_total 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "mmsrouter_dns_queries_total", "mmsrouter_dns_tcp_accepted_total",
		"mmsrouter_dns_tcp_connections", "mmsrouter_dns_truncated_total"); err != nil {
		t.Error(err)
	}
}
