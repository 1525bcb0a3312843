package dnsserver_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Header flags as they stand in octets 2 and 3.
const (
	bitAA = 0x0400
	bitTC = 0x0200
	bitRD = 0x0100
	bitRA = 0x0080
	bitZ  = 0x0040
	bitAD = 0x0020
	bitCD = 0x0010
)

// ednsCase is one query and what its answer must be like.
type ednsCase struct {
	name    string
	flags   uint16
	opcode  uint16
	qtype   uint16
	edns    bool
	version byte
	size    uint16
	eflags  uint16
	options []byte
	tcp     bool

	rcode    int
	negative bool // an answer without records, with the SOA
	nsid     bool // the answer has the option
	cookie   bool
}

var (
	optUnknown  = []byte{0, 100, 0, 0}
	optNSID     = []byte{0, 3, 0, 0}
	optExpire   = []byte{0, 9, 0, 0}
	optCookie   = []byte{0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8}
	optSubnet   = []byte{0, 8, 0, 4, 0, 1, 0, 0}
	optAll      = concat(optNSID, optSubnet, optExpire, optCookie)
	optPadding  = []byte{0, 12, 0, 4, 0, 0, 0, 0}
	optKeepTCP  = []byte{0, 11, 0, 0}
	optTwice    = concat(optCookie, []byte{0, 10, 0, 8, 9, 9, 9, 9, 9, 9, 9, 9})
	soa, dnskey = dns.TypeSOA, dns.TypeDNSKEY
)

func concat(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// The checks of flags, opcodes and EDNS that ISC's DNS compliance suite makes of a server (33 of them, `full` and `edns`
// together, and the two typical queries), and some of our own.
var ednsCases = []ednsCase{
	{name: "dns"}, {name: "aa", flags: bitAA}, {name: "ad", flags: bitAD}, {name: "cd", flags: bitCD}, {name: "ra", flags: bitRA},
	{name: "rd", flags: bitRD}, {name: "tc", flags: bitTC}, {name: "zflag", flags: bitZ},
	{name: "opcode", opcode: 15, rcode: dns.RcodeNotImplemented},
	{name: "opcodeflg", opcode: 15, flags: bitTC | bitRD | bitRA | bitCD | bitAD | bitAA | bitZ, rcode: dns.RcodeNotImplemented},
	{name: "type666", qtype: 666, negative: true},
	{name: "tcp", tcp: true},
	{name: "edns", edns: true},
	{name: "edns1", edns: true, version: 1, rcode: dns.RcodeBadVers},
	{name: "edns@512", edns: true, qtype: dnskey, size: 512, eflags: 0x8000, negative: true},
	{name: "ednsopt", edns: true, options: optUnknown},
	{name: "edns1opt", edns: true, version: 1, options: optUnknown, rcode: dns.RcodeBadVers},
	{name: "do", edns: true, eflags: 0x8000},
	{name: "docd", edns: true, eflags: 0x8000, flags: bitCD},
	{name: "edns1do", edns: true, version: 1, eflags: 0x8000, rcode: dns.RcodeBadVers},
	{name: "ednsflags", edns: true, eflags: 0x0080},
	{name: "optlist", edns: true, options: optAll, nsid: true, cookie: true},
	{name: "ednsnsid", edns: true, options: optNSID, nsid: true},
	{name: "ednscookie", edns: true, options: optCookie, cookie: true},
	{name: "ednsexpire", edns: true, options: optExpire},
	{name: "ednssubnet", edns: true, options: optSubnet},
	{name: "edns1nsid", edns: true, version: 1, options: optNSID, rcode: dns.RcodeBadVers},
	{name: "edns1cookie", edns: true, version: 1, options: optCookie, rcode: dns.RcodeBadVers},
	{name: "edns1expire", edns: true, version: 1, options: optExpire, rcode: dns.RcodeBadVers},
	{name: "edns1subnet", edns: true, version: 1, options: optSubnet, rcode: dns.RcodeBadVers},
	{name: "ednstcp", edns: true, qtype: dnskey, size: 512, eflags: 0x8000, tcp: true, negative: true},
	{name: "bind11", edns: true, eflags: 0x8000, options: optCookie, cookie: true},
	{name: "dig11", edns: true, flags: bitRD | bitAD, options: optCookie, cookie: true},

	{name: "every opcode but QUERY: 1", opcode: 1, rcode: dns.RcodeNotImplemented},
	{name: "every opcode but QUERY: 2", opcode: 2, rcode: dns.RcodeNotImplemented},
	{name: "every opcode but QUERY: 3", opcode: 3, rcode: dns.RcodeNotImplemented},
	{name: "every opcode but QUERY: NOTIFY", opcode: 4, flags: bitAA, rcode: dns.RcodeNotImplemented},
	{name: "every opcode but QUERY: UPDATE", opcode: 5, rcode: dns.RcodeNotImplemented},
	{name: "all flags", flags: bitAA | bitTC | bitRD | bitRA | bitZ | bitAD | bitCD},
	{name: "EDNS version 255", edns: true, version: 255, rcode: dns.RcodeBadVers},
	{name: "EDNS size 1 counts as 512", edns: true, size: 1},
	{name: "padding", edns: true, options: optPadding},
	{name: "edns-tcp-keepalive over UDP", edns: true, options: optKeepTCP},
	{name: "two cookies: the first counts", edns: true, options: optTwice, cookie: true},
	{name: "cookie too short", edns: true, options: []byte{0, 10, 0, 7, 1, 2, 3, 4, 5, 6, 7}, rcode: dns.RcodeFormatError},
	{name: "cookie of 9 octets", edns: true, options: []byte{0, 10, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9}, rcode: dns.RcodeFormatError},
	{name: "cookie of 41 octets", edns: true, options: append([]byte{0, 10, 0, 41}, make([]byte, 41)...), rcode: dns.RcodeFormatError},
	{name: "cookie with another server's part", edns: true, options: append([]byte{0, 10, 0, 40}, make([]byte, 40)...), cookie: true},
}

// packet writes a query by hand, since no library would write some of them.
func (c ednsCase) packet(name string) []byte {
	qtype := c.qtype
	if qtype == 0 {
		qtype = soa
	}
	b := binary.BigEndian.AppendUint16(nil, 0x1234)
	b = binary.BigEndian.AppendUint16(b, c.opcode<<11|c.flags)
	b = append(b, 0, 1, 0, 0, 0, 0, 0, 0)
	for _, l := range strings.Split(strings.TrimSuffix(name, "."), ".") {
		b = append(append(b, byte(len(l))), l...)
	}
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, qtype)
	b = append(b, 0, 1)
	if c.edns {
		b[11] = 1
		size := c.size
		if size == 0 {
			size = 4096
		}
		b = append(b, 0, 0, 41)
		b = binary.BigEndian.AppendUint16(b, size)
		b = append(b, 0, c.version)
		b = binary.BigEndian.AppendUint16(b, c.eflags)
		b = binary.BigEndian.AppendUint16(b, uint16(len(c.options)))
		b = append(b, c.options...)
	}
	return b
}

// raw sends octets and gives the octets that come back.
func raw(t testing.TB, network, addr string, pkt []byte) []byte {
	t.Helper()
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	co := &dns.Conn{Conn: conn, UDPSize: 65535}
	if _, err := co.Write(pkt); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65535)
	n, err := co.Read(buf)
	if err != nil {
		t.Fatalf("%s: no answer to %x: %v", network, pkt, err)
	}
	return buf[:n]
}

func TestFlagsAndEDNS(t *testing.T) {
	addr, _, _ := start(t, testConfig())
	for _, c := range ednsCases {
		t.Run(c.name, func(t *testing.T) {
			network := "udp"
			if c.tcp {
				network = "tcp"
			}
			b := raw(t, network, addr, c.packet("mms.example.net"))
			checkEDNS(t, c, b)
		})
	}
}

func checkEDNS(t *testing.T, c ednsCase, b []byte) {
	t.Helper()
	var r dns.Msg
	if err := r.Unpack(b); err != nil {
		t.Fatalf("malformed: %v: %x", err, b)
	}
	flags := binary.BigEndian.Uint16(b[2:])
	want := uint16(0x8000) | c.opcode<<11
	if c.rcode != dns.RcodeBadVers { // there the lower bits are 0
		want |= uint16(c.rcode)
	}
	if c.opcode == 0 {
		want |= c.flags & bitRD
		if c.rcode == dns.RcodeSuccess {
			want |= bitAA
		}
	}
	if r.Id != 0x1234 || flags != want {
		t.Errorf("id %04x, flags %04x, want %04x", r.Id, flags, want)
	}
	if r.Rcode != c.rcode {
		t.Errorf("rcode %s, want %s", dns.RcodeToString[r.Rcode], dns.RcodeToString[c.rcode])
	}
	opt := r.IsEdns0()
	if (opt != nil) != c.edns {
		t.Fatalf("EDNS in the answer: %v", opt)
	}
	if opt != nil {
		checkOptions(t, c, opt)
	}
	switch {
	case c.rcode != dns.RcodeSuccess:
		if len(r.Answer)+len(r.Ns) != 0 {
			t.Errorf("records in an error: %v", r)
		}
	case c.negative:
		if len(r.Answer) != 0 || len(r.Ns) != 1 || r.Ns[0].Header().Rrtype != dns.TypeSOA {
			t.Errorf("no NODATA: %v", r)
		}
	default:
		if len(r.Answer) != 1 || r.Answer[0].Header().Rrtype != dns.TypeSOA {
			t.Errorf("no SOA: %v", r)
		}
	}
}

func checkOptions(t *testing.T, c ednsCase, opt *dns.OPT) {
	t.Helper()
	if opt.Version() != 0 || opt.Do() != (c.eflags&0x8000 != 0) || opt.Hdr.Ttl&0x7FFF != 0 || opt.UDPSize() != 1232 {
		t.Errorf("version %d, flags %04x, size %d", opt.Version(), opt.Hdr.Ttl&0xFFFF, opt.UDPSize())
	}
	nsid, cookie := false, false
	for _, o := range opt.Option {
		switch o := o.(type) {
		case *dns.EDNS0_NSID:
			nsid = o.Nsid == "7231" // r1
		case *dns.EDNS0_COOKIE:
			cookie = len(o.Cookie) == 48 && (strings.HasPrefix(o.Cookie, "0102030405060708") || strings.HasPrefix(o.Cookie, "0000000000000000"))
		default:
			t.Errorf("option %d came back", o.Option())
		}
	}
	if nsid != c.nsid || cookie != c.cookie {
		t.Errorf("NSID %v, cookie %v", nsid, cookie)
	}
}

// The types that ISC's suite asks for, one by one, and those given out since.
func TestEveryType(t *testing.T) {
	addr, _, _ := start(t, testConfig())
	have := map[uint16]bool{}
	for _, x := range []string{"A", "AAAA", "NS", "SOA", "MX", "TXT", "NAPTR", "EUI48", "EUI64"} {
		have[dns.StringToType[x]] = true
	}
	list := []uint16{13 /* HINFO */, 32, 38 /* A6 */, 32768, 32769, 259, 666, 1000, 65280, 65534}
	for i := uint16(1); i <= 127; i++ {
		if i != dns.TypeOPT {
			list = append(list, i)
		}
	}
	for i := uint16(256); i <= 264; i++ {
		list = append(list, i)
	}
	for _, qtype := range list {
		t.Run(fmt.Sprintf("TYPE%d", qtype), func(t *testing.T) {
			c := ednsCase{qtype: qtype}
			var r dns.Msg
			if err := r.Unpack(raw(t, "udp", addr, c.packet("mms.example.net"))); err != nil {
				t.Fatal(err)
			}
			if r.Rcode != dns.RcodeSuccess || !r.Authoritative || r.IsEdns0() != nil {
				t.Fatalf("answer: %v", r)
			}
			if have[qtype] != (len(r.Answer) > 0) || have[qtype] == (len(r.Ns) == 1) {
				t.Errorf("answer %v, authority %v", r.Answer, r.Ns)
			}
		})
	}
	for _, c := range []struct {
		name  string
		qtype uint16
		rcode int
	}{
		{"type 0", 0, dns.RcodeFormatError}, {"OPT", 41, dns.RcodeFormatError}, {"TKEY", 249, dns.RcodeNotImplemented}, {"TSIG", 250, dns.RcodeFormatError},
		{"IXFR without a serial", 251, dns.RcodeFormatError}, {"AXFR over UDP", 252, dns.RcodeFormatError},
		{"MAILB", 253, dns.RcodeNotImplemented}, {"MAILA", 254, dns.RcodeNotImplemented},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := raw(t, "udp", addr, question0(c.qtype))
			if got := int(b[3] & 15); got != c.rcode {
				t.Errorf("rcode %s, want %s", dns.RcodeToString[got], dns.RcodeToString[c.rcode])
			}
		})
	}
}

// question0 asks for a type, 0 included.
func question0(qtype uint16) []byte {
	b := ednsCase{qtype: 1}.packet("mms.example.net")
	binary.BigEndian.PutUint16(b[len(b)-4:], qtype)
	return b
}

func TestMalformed(t *testing.T) {
	addr, _, _ := start(t, testConfig())
	good := ednsCase{edns: true}.packet("mms.example.net")
	plain := ednsCase{}.packet("mms.example.net")
	edit := func(b []byte, f func(b []byte) []byte) []byte { return f(append([]byte(nil), b...)) }
	for _, c := range []struct {
		name  string
		pkt   []byte
		rcode int
	}{
		{"no question", edit(plain[:12], func(b []byte) []byte { b[5] = 0; return b }), dns.RcodeFormatError},
		{"header that promises a question", plain[:12], dns.RcodeFormatError},
		{"question cut in the name", plain[:20], dns.RcodeFormatError},
		{"question cut in the type", plain[:len(plain)-3], dns.RcodeFormatError},
		{"question cut in the class", plain[:len(plain)-1], dns.RcodeFormatError},
		{"two questions", edit(append(append([]byte(nil), plain...), plain[12:]...), func(b []byte) []byte { b[5] = 2; return b }), dns.RcodeFormatError},
		{"65535 questions", edit(plain, func(b []byte) []byte { b[4], b[5] = 255, 255; return b }), dns.RcodeFormatError},
		{"an octet too many", append(append([]byte(nil), plain...), 0), dns.RcodeFormatError},
		{"EDNS record cut", good[:len(good)-1], dns.RcodeFormatError},
		{"EDNS data longer than the packet", edit(good, func(b []byte) []byte { b[len(b)-1] = 9; return b }), dns.RcodeFormatError},
		{"EDNS option longer than the record", edit(append(good, 0, 100, 0, 9), func(b []byte) []byte { b[len(b)-5] = 4; return b }), dns.RcodeFormatError},
		{"EDNS record with a name", edit(append(append([]byte(nil), plain...), 1, 'x', 0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0), func(b []byte) []byte { b[11] = 1; return b }), dns.RcodeFormatError},
		{"two EDNS records", edit(append(good, good[len(plain):]...), func(b []byte) []byte { b[11] = 2; return b }), dns.RcodeFormatError},
		{"EDNS record as an answer", edit(good, func(b []byte) []byte { b[7], b[11] = 1, 0; return b }), dns.RcodeFormatError},
		{"a name that points to itself", append(append([]byte(nil), plain[:12]...), 0xC0, 12, 0, 1, 0, 1), dns.RcodeFormatError},
		{"a name that points into the header", append(append([]byte(nil), plain[:12]...), 0xC0, 0, 0, 1, 0, 1), dns.RcodeFormatError},
		{"a label of the reserved kind", append(append([]byte(nil), plain[:12]...), 0x41, 0, 0, 1, 0, 1), dns.RcodeFormatError},
		{"a name of 256 octets", longName(256), dns.RcodeFormatError},
		{"a name of 255 octets", longName(255), dns.RcodeRefused},
		{"class CHAOS for our zone", edit(plain, func(b []byte) []byte { b[len(b)-1] = 3; return b }), dns.RcodeRefused},
		{"class ANY", edit(plain, func(b []byte) []byte { b[len(b)-1] = 255; return b }), dns.RcodeRefused},
		{"class NONE", edit(plain, func(b []byte) []byte { b[len(b)-1] = 254; return b }), dns.RcodeRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, network := range []string{"udp", "tcp"} {
				b := raw(t, network, addr, c.pkt)
				if got := int(b[3] & 15); got != c.rcode || b[2]&0x80 == 0 {
					t.Errorf("%s: rcode %s, want %s", network, dns.RcodeToString[got], dns.RcodeToString[c.rcode])
				}
			}
		})
	}
}

// longName asks for a name of n octets.
func longName(n int) []byte {
	b := append([]byte(nil), ednsCase{}.packet("x")[:12]...)
	for n > 64 {
		b = append(append(b, 63), strings.Repeat("a", 63)...)
		n -= 64
	}
	if n > 1 {
		b = append(append(b, byte(n-2)), strings.Repeat("b", n-2)...)
	}
	return append(b, 0, 0, 1, 0, 1)
}

// Silence can't be waited for: a good query behind the bad one is answered, and its answer is the first that comes.
func TestSilence(t *testing.T) {
	addr, _, _ := start(t, testConfig())
	response := ednsCase{edns: true}.packet("mms.example.net")
	response[2] |= 0x80
	for _, c := range []struct {
		name string
		pkt  []byte
	}{
		{"an answer", response}, {"an empty packet", nil}, {"11 octets", response[:11]}, {"an answer's header", response[:12]},
		{"an answer of another opcode", []byte{0, 1, 0xF8, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"more than a slot holds", make([]byte, 9000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("udp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			good := ednsCase{}.packet("mms.example.net")
			good[0], good[1] = 0xAB, 0xCD
			for _, p := range [][]byte{c.pkt, good} {
				if _, err := conn.Write(p); err != nil {
					t.Fatal(err)
				}
			}
			buf := make([]byte, 4096)
			n, err := conn.Read(buf)
			if err != nil || n < 2 || buf[0] != 0xAB || buf[1] != 0xCD {
				t.Errorf("first answer: %x, %v", buf[:n], err)
			}
		})
	}
}

func TestCookieOnly(t *testing.T) {
	addr, _, _ := start(t, testConfig())
	q := ednsCase{edns: true, options: optCookie}.packet("x")
	q = append(append([]byte(nil), q[:12]...), q[12+3+4:]...) // without the question
	q[5] = 0
	var r dns.Msg
	if err := r.Unpack(raw(t, "udp", addr, q)); err != nil {
		t.Fatal(err)
	}
	opt := r.IsEdns0()
	if r.Rcode != dns.RcodeSuccess || opt == nil || len(opt.Option) != 1 || len(opt.Option[0].(*dns.EDNS0_COOKIE).Cookie) != 48 {
		t.Errorf("answer: %v", r)
	}
}

func TestUnknownKey(t *testing.T) {
	addr, _, _ := start(t, testConfig())
	m := question("mms.example.net", dns.TypeSOA)
	m.SetTsig("key.example.", dns.HmacSHA256, 300, 1700000000)
	b, _, err := dns.TsigGenerate(m, "c2VjcmV0c2VjcmV0c2VjcmV0", "", false)
	if err != nil {
		t.Fatal(err)
	}
	var r dns.Msg
	if err := r.Unpack(raw(t, "udp", addr, b)); err != nil {
		t.Fatal(err)
	}
	sig := r.IsTsig()
	if r.Rcode != dns.RcodeNotAuth || sig == nil || sig.Error != dns.RcodeBadKey || sig.MACSize != 0 || len(r.Answer) != 0 {
		t.Errorf("answer: %v", r)
	}
}

func TestChaos(t *testing.T) {
	c := testConfig()
	addr, _, s := start(t, c)
	ask := func(name string) *dns.Msg {
		m := question(name, dns.TypeTXT)
		m.Question[0].Qclass = dns.ClassCHAOS
		return exchange(t, "udp", addr, m)
	}
	for name, want := range map[string]string{
		"version.bind": "mmsrouter 1.2.3", "VERSION.Server": "mmsrouter 1.2.3", "id.server": "r1", "hostname.bind": "r1", "authors.bind": "",
	} {
		r := ask(name)
		if want == "" {
			if r.Rcode != dns.RcodeRefused {
				t.Errorf("%s: %v", name, r)
			}
			continue
		}
		if len(r.Answer) != 1 || r.Answer[0].(*dns.TXT).Txt[0] != want || r.Answer[0].Header().Class != dns.ClassCHAOS {
			t.Errorf("%s: %v", name, r)
		}
	}
	c.Version, c.NSID = "", "none"
	if err := s.Reload(c); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"version.bind", "id.server"} {
		if r := ask(name); r.Rcode != dns.RcodeRefused {
			t.Errorf("%s, hidden: %v", name, r)
		}
	}
}
