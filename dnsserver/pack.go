package dnsserver

import (
	"github.com/miekg/dns"
)

// packedTable holds answers as they go behind the question: what the slow path makes for each name and type,
// packed once per view. Compression pointers into the question stay right because a question for the same name
// has the same length, whatever its case.
type packedTable struct {
	names map[string]*packedName
	zones map[string]*packedZone
}

// packedName is what is known of an existing name.
type packedName struct {
	types  []packedType
	nodata *packedAnswer
}

type packedType struct {
	qtype  uint16
	answer packedAnswer
}

// packedZone answers for the names of a zone that do not exist.
type packedZone struct {
	complete bool          // all existing names are in the table, and no wildcard or delegation can matter
	nxdomain *packedAnswer // its first two octets are the pointer to the zone's name, to be set
}

// packedAnswer is an answer without header, question and EDNS record.
type packedAnswer struct {
	tails  [][]byte // the rotations of the addresses; at least one
	counts [6]byte  // ANCOUNT, NSCOUNT, ARCOUNT
	rcode  byte
	own    bool // the zone's own addresses: never cut down for want of a cookie
}

// maxPacked bounds the names that are packed again with each generation; further ones are left to the slow path,
// except those that the Board changes.
const maxPacked = 1000

// pack makes the table. A name with a CNAME, a delegation or something below one is left to the slow path.
func (v *view) pack() *packedTable {
	t := &packedTable{names: map[string]*packedName{}, zones: map[string]*packedZone{}}
	total := 0
	for _, z := range v.zones {
		total += len(z.nodes)
	}
	for wire, z := range v.zones {
		all := total <= maxPacked
		t.zones[wire] = &packedZone{complete: all && !z.special, nxdomain: v.packMissing(z)}
		if !all {
			for name := range z.own {
				t.add(v, z, name)
			}
			continue
		}
		for name := range z.nodes {
			t.add(v, z, name)
		}
	}
	return t
}

func (t *packedTable) add(v *view, z *zoneView, name string) {
	n := z.find(name)
	if z.cutAbove(name) != "" || len(n.sets[dns.TypeCNAME]) > 0 || v.zoneFor(name, dns.TypeA) != z {
		return
	}
	text := presentation(name)
	p := &packedName{}
	nodata, ok := v.packAnswer(text, name, dns.TypeNone)
	if !ok {
		return
	}
	p.nodata = &nodata
	for qtype, set := range n.sets {
		if qtype == dns.TypeDS {
			continue
		}
		a, ok := v.packAnswer(text, name, qtype)
		if !ok {
			return
		}
		_, mine := z.own[name]
		for i := 1; i < len(set) && mine && !z.fixed && (qtype == dns.TypeA || qtype == dns.TypeAAAA); i++ {
			if next, ok := v.packAnswer(text, name, qtype); ok { // resolve has turned the addresses by one
				a.tails = append(a.tails, next.tails[0])
			}
		}
		p.types = append(p.types, packedType{qtype, a})
	}
	sortHot(p.types)
	t.names[name] = p
}

// sortHot puts A and AAAA first, which are asked for most.
func sortHot(types []packedType) {
	at := 0
	for _, hot := range []uint16{dns.TypeA, dns.TypeAAAA} {
		for i := at; i < len(types); i++ {
			if types[i].qtype == hot {
				types[at], types[i] = types[i], types[at]
				at++
				break
			}
		}
	}
}

// packAnswer packs what resolve says.
func (v *view) packAnswer(text, name string, qtype uint16) (packedAnswer, bool) {
	r := v.resolve(text, name, qtype)
	if r.referral || !r.authoritative {
		return packedAnswer{}, false
	}
	m := &dns.Msg{Question: []dns.Question{{Name: text, Qtype: qtype, Qclass: dns.ClassINET}}}
	m.Answer, m.Ns, m.Extra, m.Compress = r.answer, r.ns, r.extra, true
	b, err := m.Pack()
	if err != nil {
		return packedAnswer{}, false // the slow path reports it when somebody asks
	}
	a := packedAnswer{tails: [][]byte{b[headerLen+len(name)+4:]}, rcode: byte(r.rcode), own: r.own}
	copy(a.counts[:], b[6:headerLen])
	return a, true
}

// packMissing packs NXDOMAIN of a zone: the SOA with uncompressed names, its owner a pointer to be set.
func (v *view) packMissing(z *zoneView) *packedAnswer {
	m := &dns.Msg{Ns: []dns.RR{z.neg}}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	a := &packedAnswer{tails: [][]byte{append([]byte{0xC0, 0}, b[headerLen+len(z.wire):]...)}, rcode: dns.RcodeNameError}
	copy(a.counts[:], b[6:headerLen])
	return a
}
