package dnsserver_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mmsrouter/mmsrouter/dnsserver"
	"github.com/mmsrouter/mmsrouter/router"
)

// testConfig has one of everything.
func testConfig() dnsserver.Config {
	c := dnsserver.DefaultConfig()
	c.Listen = []string{"127.0.0.1:0"}
	c.Sockets = 2
	c.CookieSecrets = []string{"e5e973e5a6b2a43f48e7dc849e37bfcf"}
	c.Zones = []dnsserver.ZoneConfig{
		{
			Name: "mms.example.net", TTL: 30 * time.Second, NegativeTTL: 20 * time.Second,
			Addresses: []string{"192.0.2.1", "192.0.2.2", "2001:db8::1", "00-00-5e-00-53-2a", "00-00-5e-ef-10-00-00-2a"},
			Transfer:  []string{"127.0.0.0/8"},
			Records: []string{
				"@ MX 10 mail", "@ MX 20 mail.example.org.", `@ TXT "v=spf1 -all"`,
				`@ 300 NAPTR 10 10 "u" "E2U+mms:mailto" "!^.*$!mailto:mms@example.net!" .`,
				"mail A 192.0.2.25", "mail AAAA 2001:db8::25",
				"_mm1._tcp SRV 0 0 80 @", "alias CNAME mail", "outside CNAME www.example.org.",
				"chain1 CNAME chain2", "chain2 CNAME @", "loop1 CNAME loop2", "loop2 CNAME loop1", "dangling CNAME nothing",
				"*.wild A 192.0.2.99", "*.wild TXT wild", "deep.er.wild TXT deeper",
				"sub NS ns.sub", "sub NS ns.example.org.", "ns.sub A 192.0.2.53",
				"big TXT " + strings.Repeat(`"`+strings.Repeat("x", 200)+`" `, 5),
				"huge TXT " + strings.Repeat(`"`+strings.Repeat("y", 250)+`" `, 12),
			},
		},
		{Name: "other.example", Addresses: []string{"198.51.100.7"}, NS: []string{"ns.example.org"}, Order: "fixed"},
		{Name: "deep.other.example", Addresses: []string{"198.51.100.8"}},
	}
	return c
}

// newServer makes a Server that does not run, with its Board.
func newServer(t testing.TB, c dnsserver.Config) (*dnsserver.Server, *router.Board) {
	t.Helper()
	board := router.NewBoard(1000)
	zones, err := c.BoardZones()
	if err != nil {
		t.Fatal(err)
	}
	if err := board.Configure(nil, zones, nil); err != nil {
		t.Fatal(err)
	}
	s, err := dnsserver.New(dnsserver.Options{Config: c, Board: board, Version: "1.2.3", NodeName: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, board
}

// start runs a Server until the test ends and gives its address.
func start(t testing.TB, c dnsserver.Config) (addr string, board *router.Board, s *dnsserver.Server) {
	t.Helper()
	s, board = newServer(t, c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s.Addrs()[0].String(), board, s
}

func question(name string, qtype uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), qtype)
	return m
}

func exchange(t testing.TB, network, addr string, m *dns.Msg) *dns.Msg {
	t.Helper()
	c := &dns.Client{Net: network, Timeout: 5 * time.Second, UDPSize: 4096}
	r, _, err := c.Exchange(m, addr)
	if err != nil {
		t.Fatalf("%s %s: %v", network, m.Question[0].String(), err)
	}
	return r
}

// texts gives a section's records as text with single spaces.
func texts(rrs []dns.RR) string {
	var out []string
	for _, rr := range rrs {
		if rr.Header().Rrtype != dns.TypeOPT {
			out = append(out, strings.Join(strings.Fields(rr.String()), " "))
		}
	}
	return strings.Join(out, "\n")
}

const soaText = "SOA ns1.mms.example.net. hostmaster.mms.example.net. 1002 3600 600 604800 20"

func TestAnswers(t *testing.T) {
	addr, _, _ := start(t, testConfig())
	negative := "mms.example.net. 20 IN " + soaText
	for _, c := range []struct {
		name, qname, qtype string
		rcode              string
		aa                 bool
		answer, ns, extra  string
	}{
		{"SOA", "mms.example.net", "SOA", "NOERROR", true, "mms.example.net. 30 IN " + soaText, "", ""},
		{"NS with its addresses", "mms.example.net", "NS", "NOERROR", true, "mms.example.net. 3600 IN NS ns1.mms.example.net.", "",
			"ns1.mms.example.net. 30 IN A 192.0.2.1\nns1.mms.example.net. 30 IN A 192.0.2.2\nns1.mms.example.net. 30 IN AAAA 2001:db8::1"},
		{"AAAA", "mms.example.net", "AAAA", "NOERROR", true, "mms.example.net. 30 IN AAAA 2001:db8::1", "", ""},
		{"EUI48", "mms.example.net", "EUI48", "NOERROR", true, "mms.example.net. 30 IN EUI48 00-00-5e-00-53-2a", "", ""},
		{"EUI64", "mms.example.net", "EUI64", "NOERROR", true, "mms.example.net. 30 IN EUI64 00-00-5e-ef-10-00-00-2a", "", ""},
		{"MX, addresses of the one inside", "mms.example.net", "MX", "NOERROR", true,
			"mms.example.net. 30 IN MX 10 mail.mms.example.net.\nmms.example.net. 30 IN MX 20 mail.example.org.", "",
			"mail.mms.example.net. 30 IN A 192.0.2.25\nmail.mms.example.net. 30 IN AAAA 2001:db8::25"},
		{"TXT", "mms.example.net", "TXT", "NOERROR", true, `mms.example.net. 30 IN TXT "v=spf1 -all"`, "", ""},
		{"NAPTR with its own TTL", "mms.example.net", "NAPTR", "NOERROR", true,
			`mms.example.net. 300 IN NAPTR 10 10 "u" "E2U+mms:mailto" "!^.*$!mailto:mms@example.net!" .`, "", ""},
		{"SRV", "_mm1._tcp.mms.example.net", "SRV", "NOERROR", true, "_mm1._tcp.mms.example.net. 30 IN SRV 0 0 80 mms.example.net.", "",
			"mms.example.net. 30 IN A 192.0.2.1\nmms.example.net. 30 IN A 192.0.2.2\nmms.example.net. 30 IN AAAA 2001:db8::1"},
		{"case of the question", "MmS.eXample.NET", "AAAA", "NOERROR", true, "MmS.eXample.NET. 30 IN AAAA 2001:db8::1", "", ""},
		{"NODATA at the apex", "mms.example.net", "CAA", "NOERROR", true, "", negative, ""},
		{"NODATA at an empty non-terminal", "_tcp.mms.example.net", "A", "NOERROR", true, "", negative, ""},
		{"NXDOMAIN", "nothing.mms.example.net", "A", "NXDOMAIN", true, "", negative, ""},
		{"NXDOMAIN below a name", "x.mail.mms.example.net", "A", "NXDOMAIN", true, "", negative, ""},
		{"CNAME followed", "alias.mms.example.net", "AAAA", "NOERROR", true,
			"alias.mms.example.net. 30 IN CNAME mail.mms.example.net.\nmail.mms.example.net. 30 IN AAAA 2001:db8::25", "", ""},
		{"CNAME asked for", "alias.mms.example.net", "CNAME", "NOERROR", true, "alias.mms.example.net. 30 IN CNAME mail.mms.example.net.", "", ""},
		{"CNAME to NODATA", "alias.mms.example.net", "MX", "NOERROR", true, "alias.mms.example.net. 30 IN CNAME mail.mms.example.net.", negative, ""},
		{"CNAME to elsewhere", "outside.mms.example.net", "A", "NOERROR", true, "outside.mms.example.net. 30 IN CNAME www.example.org.", "", ""},
		{"CNAME to NXDOMAIN", "dangling.mms.example.net", "A", "NXDOMAIN", true, "dangling.mms.example.net. 30 IN CNAME nothing.mms.example.net.", negative, ""},
		{"chain to the apex", "chain1.mms.example.net", "AAAA", "NOERROR", true,
			"chain1.mms.example.net. 30 IN CNAME chain2.mms.example.net.\nchain2.mms.example.net. 30 IN CNAME mms.example.net.\nmms.example.net. 30 IN AAAA 2001:db8::1", "", ""},
		{"wildcard", "a.wild.mms.example.net", "A", "NOERROR", true, "a.wild.mms.example.net. 30 IN A 192.0.2.99", "", ""},
		{"wildcard over two labels", "a.b.wild.mms.example.net", "TXT", "NOERROR", true, `a.b.wild.mms.example.net. 30 IN TXT "wild"`, "", ""},
		{"wildcard without the type", "a.wild.mms.example.net", "AAAA", "NOERROR", true, "", negative, ""},
		{"wildcard hidden by an empty non-terminal", "er.wild.mms.example.net", "A", "NOERROR", true, "", negative, ""},
		{"wildcard hidden by a closer encloser", "x.er.wild.mms.example.net", "A", "NXDOMAIN", true, "", negative, ""},
		{"wildcard itself", "*.wild.mms.example.net", "A", "NOERROR", true, "*.wild.mms.example.net. 30 IN A 192.0.2.99", "", ""},
		{"delegation", "www.sub.mms.example.net", "A", "NOERROR", false, "",
			"sub.mms.example.net. 30 IN NS ns.sub.mms.example.net.\nsub.mms.example.net. 30 IN NS ns.example.org.", "ns.sub.mms.example.net. 30 IN A 192.0.2.53"},
		{"delegation's own name", "sub.mms.example.net", "NS", "NOERROR", false, "",
			"sub.mms.example.net. 30 IN NS ns.sub.mms.example.net.\nsub.mms.example.net. 30 IN NS ns.example.org.", "ns.sub.mms.example.net. 30 IN A 192.0.2.53"},
		{"glue is not ours to answer", "ns.sub.mms.example.net", "A", "NOERROR", false, "",
			"sub.mms.example.net. 30 IN NS ns.sub.mms.example.net.\nsub.mms.example.net. 30 IN NS ns.example.org.", "ns.sub.mms.example.net. 30 IN A 192.0.2.53"},
		{"DS of a delegation", "sub.mms.example.net", "DS", "NOERROR", true, "", negative, ""},
		{"ANY is minimal", "mms.example.net", "ANY", "NOERROR", true, `mms.example.net. 30 IN HINFO "RFC8482" ""`, "", ""},
		{"ANY at a CNAME", "alias.mms.example.net", "ANY", "NOERROR", true, "alias.mms.example.net. 30 IN CNAME mail.mms.example.net.", "", ""},
		{"ANY of nothing", "nothing.mms.example.net", "ANY", "NXDOMAIN", true, "", negative, ""},
		{"outside", "www.example.org", "A", "REFUSED", false, "", "", ""},
		{"the root", ".", "NS", "REFUSED", false, "", "", ""},
		{"a parent of ours", "example.net", "A", "REFUSED", false, "", "", ""},
		{"another zone", "other.example", "A", "NOERROR", true, "other.example. 30 IN A 198.51.100.7", "", ""},
		{"another zone's NS outside", "other.example", "NS", "NOERROR", true, "other.example. 3600 IN NS ns.example.org.", "", ""},
		{"a zone within a zone", "deep.other.example", "A", "NOERROR", true, "deep.other.example. 30 IN A 198.51.100.8", "", ""},
		{"DS of a zone within a zone is the parent's", "deep.other.example", "DS", "NXDOMAIN", true, "",
			"other.example. 30 IN SOA ns.example.org. hostmaster.other.example. 1002 3600 600 604800 30", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, network := range []string{"udp", "tcp"} {
				m := question(c.qname, dns.StringToType[c.qtype])
				m.SetEdns0(4096, false)
				r := exchange(t, network, addr, m)
				if got := dns.RcodeToString[r.Rcode]; got != c.rcode || r.Authoritative != c.aa || r.Truncated || r.RecursionAvailable {
					t.Errorf("%s: rcode %s, aa %v, tc %v, ra %v", network, got, r.Authoritative, r.Truncated, r.RecursionAvailable)
				}
				if r.Question[0].Name != dns.Fqdn(c.qname) {
					t.Errorf("%s: question came back as %s", network, r.Question[0].Name)
				}
				for _, s := range []struct {
					section, got, want string
				}{{"answer", texts(r.Answer), c.answer}, {"authority", texts(r.Ns), c.ns}, {"additional", texts(r.Extra), c.extra}} {
					if s.got != s.want {
						t.Errorf("%s: %s:\n%s\nwant\n%s", network, s.section, s.got, s.want)
					}
				}
			}
		})
	}
}

func TestAddressesRotate(t *testing.T) {
	addr, _, _ := start(t, testConfig())
	first := map[string]int{}
	for range 40 {
		r := exchange(t, "udp", addr, question("mms.example.net", dns.TypeA))
		if len(r.Answer) != 2 {
			t.Fatalf("answer: %v", r.Answer)
		}
		first[r.Answer[0].(*dns.A).A.String()]++
	}
	// Each socket turns by itself, but all share one counter.
	if first["192.0.2.1"] != 20 || first["192.0.2.2"] != 20 {
		t.Errorf("first addresses: %v", first)
	}
}

func TestFollowsTheBoard(t *testing.T) {
	addr, board, _ := start(t, testConfig())
	serial := func() uint32 {
		return exchange(t, "udp", addr, question("mms.example.net", dns.TypeSOA)).Answer[0].(*dns.SOA).Serial
	}
	if s := serial(); s != 1002 {
		t.Errorf("serial %d at first", s)
	}
	board.SetAddresses("mms.example.net", []router.Address{{IP: netip.MustParseAddr("192.0.2.77")}})
	for _, name := range []string{"mms.example.net", "ns1.mms.example.net"} {
		r := exchange(t, "udp", addr, question(name, dns.TypeA))
		if got := texts(r.Answer); got != name+". 30 IN A 192.0.2.77" {
			t.Errorf("after a change: %s", got)
		}
	}
	if s := serial(); s != 1003 {
		t.Errorf("serial %d after a change", s)
	}
	board.SetAddresses("mms.example.net", nil)
	r := exchange(t, "udp", addr, question("mms.example.net", dns.TypeA))
	if r.Rcode != dns.RcodeSuccess || len(r.Answer) != 0 || len(r.Ns) != 1 {
		t.Errorf("without addresses: %v", r)
	}
}

func TestReload(t *testing.T) {
	c := testConfig()
	addr, _, s := start(t, c)
	bad := c
	bad.Zones = []dnsserver.ZoneConfig{{Name: "mms.example.net", Order: "random"}}
	if err := s.Reload(bad); err == nil || !strings.Contains(err.Error(), "order") {
		t.Errorf("faulty: %v", err)
	}
	moved := c
	moved.Listen = []string{"127.0.0.1:1"}
	if err := s.Reload(moved); err == nil || !strings.Contains(err.Error(), "dns.listen") {
		t.Errorf("moved: %v", err)
	}
	if got := texts(exchange(t, "udp", addr, question("mail.mms.example.net", dns.TypeA)).Answer); got != "mail.mms.example.net. 30 IN A 192.0.2.25" {
		t.Errorf("after faulty ones: %s", got)
	}
	good := c
	good.Zones = []dnsserver.ZoneConfig{{Name: "mms.example.net", Records: []string{"mail A 192.0.2.26"}}}
	if err := s.Reload(good); err != nil {
		t.Fatal(err)
	}
	if got := texts(exchange(t, "udp", addr, question("mail.mms.example.net", dns.TypeA)).Answer); got != "mail.mms.example.net. 30 IN A 192.0.2.26" {
		t.Errorf("after a good one: %s", got)
	}
	if r := exchange(t, "udp", addr, question("other.example", dns.TypeA)); r.Rcode != dns.RcodeRefused {
		t.Errorf("a zone that went away: %s", dns.RcodeToString[r.Rcode])
	}
}

func TestPortInUse(t *testing.T) {
	for _, c := range []struct{ name, proto string }{{"by TCP", "TCP"}, {"by UDP", "UDP"}} {
		t.Run(c.name, func(t *testing.T) {
			var addr string
			if c.proto == "TCP" {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				addr = l.Addr().String()
			} else {
				// An address that nobody else's connections use: the same port must be free for TCP.
				l, err := net.ListenPacket("udp", "127.71.3.9:0")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				addr = l.LocalAddr().String()
			}
			conf := testConfig()
			conf.Listen = []string{addr}
			_, err := dnsserver.New(dnsserver.Options{Config: conf, Board: router.NewBoard(1)})
			if err == nil {
				t.Fatal("New bound a port that is taken")
			}
			for _, want := range []string{"dns.listen", addr, c.proto, "another program has it"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not name %q", err, want)
				}
			}
		})
	}
}

func TestListensEverywhere(t *testing.T) {
	c := testConfig()
	c.Listen = []string{"0.0.0.0:0", "127.0.0.2:0"}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		_ = l.Close()
		c.Listen = append(c.Listen, ":0", "[::1]:0")
	}
	s, _ := newServer(t, c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for i, a := range s.Addrs() {
		port := a.(*net.TCPAddr).AddrPort().Port()
		hosts := [][]string{{"127.0.0.1", "127.0.0.3"}, {"127.0.0.2"}, {"127.0.0.1", "127.0.0.9", "::1"}, {"::1"}}[i]
		for _, host := range hosts {
			to := netip.AddrPortFrom(netip.MustParseAddr(host), port).String()
			// The client's socket is connected: an answer from another address would not reach it.
			if r := exchange(t, "udp", to, question("other.example", dns.TypeA)); len(r.Answer) != 1 {
				t.Errorf("%s: %v", to, r)
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Run(context.Background()); err == nil {
		t.Error("Run ran twice")
	}
	if _, err := net.DialTimeout("tcp", s.Addrs()[0].String(), time.Second); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("still listening after Run: %v", err)
	}
}

func TestFreebind(t *testing.T) {
	c := testConfig()
	c.Listen = []string{"192.0.2.123:0"} // nobody's
	_, err := dnsserver.New(dnsserver.Options{Config: c, Board: router.NewBoard(1)})
	if err == nil || !strings.Contains(err.Error(), "dns.freebind") {
		t.Errorf("without it: %v", err)
	}
	c.Freebind = true
	s, err := dnsserver.New(dnsserver.Options{Config: c, Board: router.NewBoard(1)})
	if err != nil {
		if runtime.GOOS != "linux" {
			t.Skipf("IP_FREEBIND is Linux's: %v", err)
		}
		t.Fatalf("with it: %v", err)
	}
	s.Close()
	s.Close()
}

// While the Board and the configuration change, every answer is a whole one of some moment: both addresses of one generation.
func TestChangesUnderLoad(t *testing.T) {
	conf := testConfig()
	addr, board, s := start(t, conf)
	sets := [][]router.Address{
		{{IP: netip.MustParseAddr("192.0.2.1")}, {IP: netip.MustParseAddr("192.0.2.2")}},
		{{IP: netip.MustParseAddr("198.51.100.1")}, {IP: netip.MustParseAddr("198.51.100.2")}},
	}
	stop := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			board.SetAddresses("mms.example.net", sets[i%2])
			if i%10 == 0 {
				if err := s.Reload(conf); err != nil {
					t.Errorf("reload: %v", err)
				}
			}
		}
	})
	var asking sync.WaitGroup
	for _, network := range []string{"udp", "tcp", "udp"} {
		asking.Go(func() {
			c := &dns.Client{Net: network, Timeout: 5 * time.Second}
			conn, err := c.Dial(addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			var serial uint32
			for range 300 {
				r, _, err := c.ExchangeWithConn(question("mms.example.net", dns.TypeA), conn)
				if err != nil || len(r.Answer) != 2 {
					t.Errorf("%s: %v, %v", network, r, err)
					return
				}
				a, b := r.Answer[0].(*dns.A).A, r.Answer[1].(*dns.A).A
				if a[0] != b[0] || a[3]+b[3] != 3 {
					t.Errorf("%s: %v and %v of two generations", network, a, b)
				}
				if r, _, err = c.ExchangeWithConn(question("mms.example.net", dns.TypeSOA), conn); err != nil || len(r.Answer) != 1 {
					t.Errorf("%s: %v, %v", network, r, err)
					return
				}
				next := r.Answer[0].(*dns.SOA).Serial
				if next < serial {
					t.Errorf("%s: serial %d after %d", network, next, serial)
				}
				serial = next
			}
		})
	}
	asking.Wait()
	close(stop)
	changing.Wait()
}
