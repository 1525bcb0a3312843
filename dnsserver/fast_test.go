package dnsserver_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mmsrouter/mmsrouter/dnsserver"
)

// canonical gives an answer as text in which what may differ between the paths is alike: the order of addresses, and the
// case of names that compression lets follow the question.
func canonical(t testing.TB, b []byte) string {
	t.Helper()
	if len(b) == 0 {
		return "silence"
	}
	var m dns.Msg
	if err := m.Unpack(b); err != nil {
		t.Fatalf("answer %x can't be read: %v", b, err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%x %x\n", b[:4], b[4:12])
	for _, q := range m.Question {
		fmt.Fprintf(&out, "%s %d %d\n", q.Name, q.Qtype, q.Qclass)
	}
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		var lines []string
		for _, rr := range section {
			if _, ok := rr.(*dns.OPT); ok {
				lines = append(lines, rr.String()) // the case of a cookie's digits is ours
			} else {
				lines = append(lines, strings.ToLower(rr.String()))
			}
		}
		sort.Strings(lines)
		fmt.Fprintf(&out, "--\n%s\n", strings.Join(lines, "\n"))
	}
	return out.String()
}

var clients = []netip.Addr{netip.MustParseAddr("192.0.2.200"), netip.MustParseAddr("2001:db8:1::2")}

// compare hands a packet to both paths and says whether the fast one took it. The rate limiter must be off: it counts.
func compare(t testing.TB, h dnsserver.Handler, pkt []byte, src netip.Addr) bool {
	t.Helper()
	buf := make([]byte, dnsserver.SlotSize)
	n := copy(buf, pkt)
	m, ok := h.Fast(buf, n, src)
	if !ok {
		if !bytes.Equal(buf[:n], pkt[:n]) {
			t.Fatalf("left to the slow path, but changed: %x -> %x", pkt, buf[:n])
		}
		return false
	}
	fast, slow := canonical(t, buf[:m]), canonical(t, h.Slow(pkt, src, false))
	if fast != slow {
		t.Fatalf("%x from %s\nfast: %s\nslow: %s", pkt, src, fast, slow)
	}
	return true
}

func unlimited() dnsserver.Config {
	c := testConfig()
	c.RateLimit = dnsserver.RateLimitConfig{IPv4Prefix: 24, IPv6Prefix: 56}
	return c
}

// Every name of the zones and some beside them, every type, every kind of EDNS, in odd case: where the fast path answers, it
// answers as the slow one does.
func TestFastIsSlow(t *testing.T) {
	names := []string{
		"mms.example.net", "ns1.mms.example.net", "mail.mms.example.net", "_mm1._tcp.mms.example.net", "_tcp.mms.example.net",
		"alias.mms.example.net", "chain1.mms.example.net", "loop1.mms.example.net", "a.wild.mms.example.net", "wild.mms.example.net", "*.wild.mms.example.net",
		"sub.mms.example.net", "ns.sub.mms.example.net", "x.sub.mms.example.net", "big.mms.example.net", "huge.mms.example.net", "nothing.mms.example.net",
		"other.example", "x.other.example", "a.b.c.other.example", "deep.other.example", "x.deep.other.example", "ns1.deep.other.example",
		"example.org", "example", "net", "xmms.example.net",
	}
	types := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeSOA, dns.TypeMX, dns.TypeTXT, dns.TypeSRV, dns.TypeNAPTR, dns.TypeCNAME, dns.TypeEUI48,
		dns.TypeEUI64, dns.TypeDS, dns.TypeANY, dns.TypeCAA, dns.TypeHTTPS, dns.TypeDNSKEY, 666, 65535}
	conf := unlimited()
	s, _ := newServer(t, conf)
	h := s.NewHandler()
	now := time.Unix(1800000000, 0)
	h.At(now)
	secret := [16]byte(unhex(t, conf.CookieSecrets[0]))
	fast, all := 0, 0
	for _, src := range clients {
		cookie := func(at time.Time) []byte {
			return append([]byte{0, 10, 0, 24}, dnsserver.SealCookie(secret, [8]byte{7}, src, uint32(at.Unix()))...)
		}
		forms := append([]ednsCase{
			{edns: true, size: 512}, {edns: true, size: 700}, {edns: true, size: 1}, {edns: true, size: 65535},
			{edns: true, options: cookie(now)}, {edns: true, options: cookie(now.Add(-time.Hour * 3 / 4))}, {edns: true, options: cookie(now.Add(-2 * time.Hour))},
			{edns: true, options: append([]byte{0, 10, 0, 16}, make([]byte, 16)...)},
			{edns: true, options: concat(optNSID, cookie(now), optPadding)}, {edns: true, options: concat(cookie(now), cookie(now))},
		}, ednsCases...)
		for _, name := range names {
			for i, qtype := range types {
				for _, c := range forms {
					if c.qtype == 0 {
						c.qtype = qtype
					}
					cased := name
					if i%2 == 1 {
						cased = strings.ToUpper(name[:len(name)/2]) + name[len(name)/2:]
					}
					all++
					if compare(t, h, c.packet(cased), src) {
						fast++
					}
				}
			}
		}
	}
	if fast < all/4 {
		t.Errorf("the fast path took %d of %d: what is it for?", fast, all)
	}
	t.Logf("fast path: %d of %d", fast, all)
}

// Good packets with a few octets changed: both paths agree on what is left of it.
func TestFastIsSlowMutated(t *testing.T) {
	s, _ := newServer(t, unlimited())
	h := s.NewHandler()
	h.At(time.Unix(1800000000, 0))
	rng := rand.New(rand.NewPCG(1, 2))
	rounds := 60000
	if testing.Short() {
		rounds = 5000
	}
	names := []string{"mms.example.net", "mail.mms.example.net", "nothing.other.example", "www.example.org"}
	for range rounds {
		c := ednsCases[rng.IntN(len(ednsCases))]
		c.qtype = dns.TypeA
		pkt := c.packet(names[rng.IntN(len(names))])
		for range 1 + rng.IntN(3) {
			switch i := rng.IntN(len(pkt)); rng.IntN(8) {
			case 0:
				pkt = append(pkt[:i], pkt[i+1:]...)
			case 1:
				pkt = append(pkt[:i], append([]byte{byte(rng.Uint32())}, pkt[i:]...)...)
			default:
				pkt[i] = byte(rng.Uint32())
			}
			if len(pkt) == 0 {
				pkt = []byte{0}
			}
		}
		compare(t, h, pkt, clients[0])
	}
}

func TestFastAllocatesNothing(t *testing.T) {
	conf := testConfig() // with rate limits, which must not allocate either
	conf.RateLimit.Answers, conf.RateLimit.Errors = 1e6, 1e6
	s, _ := newServer(t, conf)
	h := s.NewHandler()
	h.Refresh()
	secret := [16]byte(unhex(t, conf.CookieSecrets[0]))
	cookie := append([]byte{0, 10, 0, 24}, dnsserver.SealCookie(secret, [8]byte{7}, clients[0], uint32(time.Now().Unix()))...)
	for _, c := range []struct {
		name, qname string
		form        ednsCase
	}{
		{"A, plain", "mms.example.net", ednsCase{qtype: dns.TypeA}},
		{"A, EDNS", "mms.example.net", ednsCase{qtype: dns.TypeA, edns: true}},
		{"A, EDNS, client cookie, NSID", "MMS.example.net", ednsCase{qtype: dns.TypeA, edns: true, options: concat(optCookie, optNSID)}},
		{"AAAA, EDNS, cookie", "mms.example.net", ednsCase{qtype: dns.TypeAAAA, edns: true, options: cookie}},
		{"SOA", "mms.example.net", ednsCase{edns: true}},
		{"NODATA", "mms.example.net", ednsCase{qtype: dns.TypeHTTPS, edns: true}},
		{"NXDOMAIN", "no.such.name.other.example", ednsCase{qtype: dns.TypeA, edns: true}},
		{"REFUSED", "www.example.org", ednsCase{qtype: dns.TypeA, edns: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pkt := c.form.packet(c.qname)
			buf := make([]byte, dnsserver.SlotSize)
			missed := 0
			allocs := testing.AllocsPerRun(200, func() {
				h.Refresh()
				if _, ok := h.Fast(buf, copy(buf, pkt), clients[0]); !ok {
					missed++
				}
			})
			if missed > 0 || allocs != 0 {
				t.Errorf("%v allocations a query, %d left to the slow path", allocs, missed)
			}
		})
	}
}

// FuzzPacket: whatever comes, there is no panic, no answer to an answer, and any answer is a well-formed one to this query.
func FuzzPacket(f *testing.F) {
	for _, c := range ednsCases {
		f.Add(c.packet("mms.example.net"), false)
		c.qtype = dns.TypeA
		f.Add(c.packet("nothing.other.example"), true)
	}
	for _, name := range []string{"www.sub.mms.example.net", "a.wild.mms.example.net", "alias.mms.example.net", "version.bind"} {
		f.Add(ednsCase{qtype: dns.TypeANY}.packet(name), true)
	}
	f.Add(ednsCase{qtype: dns.TypeAXFR}.packet("mms.example.net"), true)
	s, _ := newServer(f, unlimited())
	h := s.NewHandler()
	h.At(time.Unix(1800000000, 0))
	f.Fuzz(func(t *testing.T, pkt []byte, tcp bool) {
		if len(pkt) > dnsserver.SlotSize {
			pkt = pkt[:dnsserver.SlotSize]
		}
		var answer []byte
		if tcp {
			answer = h.Slow(pkt, clients[0], true)
		} else {
			compare(t, h, pkt, clients[0])
			buf := make([]byte, dnsserver.SlotSize)
			answer = buf[:h.UDP(buf, copy(buf, pkt), clients[0])]
			if len(answer) > 1232 {
				t.Fatalf("%d octets over UDP", len(answer))
			}
		}
		if len(pkt) < 12 || pkt[2]&0x80 != 0 {
			if len(answer) > 0 {
				t.Fatalf("answered %x with %x", pkt, answer)
			}
			return
		}
		if len(answer) < 12 || !bytes.Equal(answer[:2], pkt[:2]) || answer[2]&0x80 == 0 || answer[2]&0x78 != pkt[2]&0x78 {
			t.Fatalf("answered %x with %x", pkt, answer)
		}
		var m dns.Msg
		if err := m.Unpack(answer); err != nil {
			t.Fatalf("answered %x with %x: %v", pkt, answer, err)
		}
		if op := pkt[2] >> 3 & 15; op != 0 && m.Rcode != dns.RcodeNotImplemented {
			t.Fatalf("opcode %d: %s", op, dns.RcodeToString[m.Rcode])
		}
		if qd := binary.BigEndian.Uint16(pkt[4:]); pkt[2]&0x78 == 0 && qd > 1 && m.Rcode != dns.RcodeFormatError {
			t.Fatalf("%d questions: %s", qd, dns.RcodeToString[m.Rcode])
		}
	})
}

func BenchmarkFast(b *testing.B) {
	s, _ := newServer(b, testConfig())
	h := s.NewHandler()
	h.Refresh()
	pkt := ednsCase{qtype: dns.TypeA, edns: true}.packet("mms.example.net")
	buf := make([]byte, dnsserver.SlotSize)
	src := netip.MustParseAddr("127.0.0.1")
	b.ReportAllocs()
	for b.Loop() {
		if h.UDP(buf, copy(buf, pkt), src) == 0 {
			b.Fatal("no answer")
		}
	}
}
