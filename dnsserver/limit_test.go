package dnsserver_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mmsrouter/mmsrouter/dnsserver"
	"github.com/mmsrouter/mmsrouter/router"
)

// outcome says what became of a query.
func outcome(t *testing.T, h dnsserver.Handler, pkt []byte, src netip.Addr) string {
	t.Helper()
	buf := make([]byte, dnsserver.SlotSize)
	n := h.UDP(buf, copy(buf, pkt), src)
	if n == 0 {
		return "dropped"
	}
	var m dns.Msg
	if err := m.Unpack(buf[:n]); err != nil {
		t.Fatal(err)
	}
	if m.Truncated {
		if len(m.Answer)+len(m.Ns) > 0 {
			t.Errorf("truncated, but with records: %v", m)
		}
		return "truncated"
	}
	return "answered"
}

func TestRateLimit(t *testing.T) {
	start := time.Unix(1800000000, 0)
	a := ednsCase{qtype: dns.TypeA, edns: true}.packet("mms.example.net")
	wild := ednsCase{qtype: dns.TypeA, edns: true}.packet("a.wild.mms.example.net") // by the slow path
	refusal := ednsCase{qtype: dns.TypeA}.packet("www.example.org")
	garbage := []byte{0, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0}
	secret := [16]byte(unhex(t, testConfig().CookieSecrets[0]))
	foreign := netip.MustParseAddr("198.51.100.10")
	cookie := append([]byte{0, 10, 0, 24}, dnsserver.SealCookie(secret, [8]byte{7}, foreign, uint32(start.Unix()))...)
	known := ednsCase{qtype: dns.TypeA, edns: true, options: cookie}.packet("mms.example.net")
	for _, c := range []struct {
		name string
		edit func(*dnsserver.Config)
		pkt  []byte
		src  func(i int) netip.Addr
		step time.Duration
		want map[string]int // of 20 queries; 10 answers and 4 errors a second are allowed
	}{
		{name: "one client", pkt: a, want: map[string]int{"answered": 10, "dropped": 5, "truncated": 5}},
		{name: "one client, slow path", pkt: wild, want: map[string]int{"answered": 10, "dropped": 5, "truncated": 5}},
		{name: "its neighbours count together", pkt: a, src: func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}) },
			want: map[string]int{"answered": 10, "dropped": 5, "truncated": 5}},
		{name: "other networks do not", pkt: a, src: func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, byte(i), 1}) },
			want: map[string]int{"answered": 20}},
		{name: "IPv6 by /56", pkt: a, src: func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", i)) },
			want: map[string]int{"answered": 10, "dropped": 5, "truncated": 5}},
		{name: "tokens come back", pkt: a, step: 100 * time.Millisecond, want: map[string]int{"answered": 20}},
		{name: "errors", pkt: refusal, want: map[string]int{"answered": 4, "dropped": 8, "truncated": 8}},
		{name: "garbage", pkt: garbage, want: map[string]int{"answered": 12, "dropped": 8}}, // slipped: the header alone, as it is
		{name: "slip 1: all truncated", edit: func(c *dnsserver.Config) { c.RateLimit.Slip = 1 }, pkt: a, want: map[string]int{"answered": 10, "truncated": 10}},
		{name: "slip 0: all dropped", edit: func(c *dnsserver.Config) { c.RateLimit.Slip = 0 }, pkt: a, want: map[string]int{"answered": 10, "dropped": 10}},
		{name: "off", edit: func(c *dnsserver.Config) { c.RateLimit.Answers = 0 }, pkt: a, want: map[string]int{"answered": 20}},
		{name: "a valid cookie", pkt: known, want: map[string]int{"answered": 20}},
		{name: "somebody else's cookie", pkt: known, src: func(int) netip.Addr { return netip.MustParseAddr("198.51.100.11") },
			want: map[string]int{"answered": 10, "dropped": 5, "truncated": 5}},
		{name: "loopback", pkt: a, src: func(int) netip.Addr { return netip.MustParseAddr("127.0.0.1") }, want: map[string]int{"answered": 20}},
		{name: "IPv6 loopback", pkt: a, src: func(int) netip.Addr { return netip.MustParseAddr("::1") }, want: map[string]int{"answered": 20}},
		{name: "a private network", pkt: a, src: func(int) netip.Addr { return netip.MustParseAddr("10.1.2.3") }, want: map[string]int{"answered": 20}},
		{name: "a listed gateway", edit: func(c *dnsserver.Config) { c.Gateways = []string{"198.51.100.10"} }, pkt: a, want: map[string]int{"answered": 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := testConfig()
			conf.RateLimit.Answers, conf.RateLimit.Errors = 10, 4
			if c.edit != nil {
				c.edit(&conf)
			}
			s, _ := newServer(t, conf)
			h := s.NewHandler()
			got := map[string]int{}
			for i := range 20 {
				h.At(start.Add(time.Duration(i) * c.step))
				src := foreign
				if c.src != nil {
					src = c.src(i)
				}
				got[outcome(t, h, c.pkt, src)]++
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestRateLimitTellsNamesApart(t *testing.T) {
	conf := testConfig()
	conf.RateLimit.Answers = 5
	s, _ := newServer(t, conf)
	h := s.NewHandler()
	h.At(time.Unix(1800000000, 0))
	src := netip.MustParseAddr("198.51.100.10")
	for i := range 20 { // four questions, five times each
		name := []string{"mms.example.net", "mail.mms.example.net"}[i%2]
		qtype := []uint16{dns.TypeA, dns.TypeAAAA}[i/2%2]
		if got := outcome(t, h, ednsCase{qtype: qtype}.packet(name), src); got != "answered" {
			t.Fatalf("query %d: %s", i, got)
		}
	}
}

func TestSizes(t *testing.T) {
	conf := unlimited()
	secret := [16]byte(unhex(t, conf.CookieSecrets[0]))
	s, board := newServer(t, conf)
	var many []router.Address
	for i := range 100 {
		many = append(many, router.Address{IP: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})})
	}
	board.SetAddresses("other.example", many)
	h := s.NewHandler()
	now := time.Unix(1800000000, 0)
	h.At(now)
	src := netip.MustParseAddr("198.51.100.10")
	valid := append([]byte{0, 10, 0, 24}, dnsserver.SealCookie(secret, [8]byte{7}, src, uint32(now.Unix()))...)
	forged := append([]byte(nil), valid...)
	forged[27] ^= 1
	for _, c := range []struct {
		name, qname string
		form        ednsCase
		tcp         bool
		truncated   bool
		answers     int
		max         int
	}{
		{"large, without EDNS", "big.mms.example.net", ednsCase{qtype: dns.TypeTXT}, false, true, 0, 512},
		{"large, without a cookie", "big.mms.example.net", ednsCase{qtype: dns.TypeTXT, edns: true}, false, true, 0, 512},
		{"large, client cookie only", "big.mms.example.net", ednsCase{qtype: dns.TypeTXT, edns: true, options: optCookie}, false, true, 0, 512},
		{"large, forged cookie", "big.mms.example.net", ednsCase{qtype: dns.TypeTXT, edns: true, options: forged}, false, true, 0, 512},
		{"large, valid cookie", "big.mms.example.net", ednsCase{qtype: dns.TypeTXT, edns: true, options: valid}, false, false, 1, 1232},
		{"large, valid cookie, little room", "big.mms.example.net", ednsCase{qtype: dns.TypeTXT, edns: true, size: 600, options: valid}, false, true, 0, 600},
		{"larger than UDP carries", "huge.mms.example.net", ednsCase{qtype: dns.TypeTXT, edns: true, size: 65535, options: valid}, false, true, 0, 1232},
		{"the same over TCP", "huge.mms.example.net", ednsCase{qtype: dns.TypeTXT, edns: true}, true, false, 1, 65535},
		{"own addresses without a cookie", "other.example", ednsCase{qtype: dns.TypeA, edns: true}, false, false, 74, 1232},
		{"own addresses without EDNS", "other.example", ednsCase{qtype: dns.TypeA}, false, false, 30, 512},
		{"own addresses over TCP: all", "other.example", ednsCase{qtype: dns.TypeA}, true, false, 100, 65535},
		{"useful addresses give way to the answer", "mms.example.net", ednsCase{qtype: dns.TypeMX, edns: true, size: 512}, false, false, 2, 512},
	} {
		t.Run(c.name, func(t *testing.T) {
			pkt := c.form.packet(c.qname)
			var b []byte
			if c.tcp {
				b = h.Slow(pkt, src, true)
			} else {
				buf := make([]byte, dnsserver.SlotSize)
				b = buf[:h.UDP(buf, copy(buf, pkt), src)]
			}
			var m dns.Msg
			if err := m.Unpack(b); err != nil {
				t.Fatal(err)
			}
			if m.Truncated != c.truncated || len(m.Answer) != c.answers || len(b) > c.max || (m.IsEdns0() != nil) != c.form.edns {
				t.Errorf("truncated %v, %d answers in %d octets, EDNS %v", m.Truncated, len(m.Answer), len(b), m.IsEdns0() != nil)
			}
		})
	}
}
