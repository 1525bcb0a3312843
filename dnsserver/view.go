package dnsserver

import (
	"sync/atomic"

	"github.com/miekg/dns"

	"github.com/mmsrouter/mmsrouter/router"
)

// view is what the server knows for one generation of the Board and one policy: immutable but for the counter that
// rotates addresses.
type view struct {
	snap   *router.Snapshot
	policy *policy
	short  bool                 // the addresses have the short TTL
	zones  map[string]*zoneView // by lower-case wire name
	packed *packedTable         // for the fast path
	turn   atomic.Uint32        // counts answers, to rotate addresses
}

// zoneView is a zone with the Board's addresses and serial put in.
type zoneView struct {
	*zone
	own map[string]*node // nodes that the Board changes; they hide those of zone
	soa *dns.SOA
	neg *dns.SOA // for negative answers: its TTL is the negative TTL (RFC 2308, 3)
}

func newView(snap *router.Snapshot, p *policy, short bool) *view {
	v := &view{snap: snap, policy: p, short: short, zones: make(map[string]*zoneView, len(p.zones))}
	for wire, z := range p.zones {
		v.zones[wire] = newZoneView(z, snap, p.addressTTL(z, short))
	}
	v.packed = v.pack()
	return v
}

func newZoneView(z *zone, snap *router.Snapshot, ttl uint32) *zoneView {
	zv := &zoneView{zone: z, own: map[string]*node{}}
	zv.soa = &dns.SOA{
		Hdr: z.header(z.fqdn, dns.TypeSOA, z.ttl), Ns: z.mname, Mbox: z.rname, Serial: uint32(snap.Generation), // modulo 2^32 (RFC 1982)
		Refresh: z.refresh, Retry: z.retry, Expire: z.expire, Minttl: z.neg,
	}
	neg := *zv.soa
	neg.Hdr.Ttl = min(z.ttl, z.neg)
	zv.neg = &neg

	apex := &node{sets: map[uint16][]dns.RR{}}
	for t, set := range z.nodes[z.wire].sets {
		apex.sets[t] = set
	}
	apex.sets[dns.TypeSOA] = []dns.RR{zv.soa}
	zv.own[z.wire] = apex
	var ns *node
	if z.ownNS != "" {
		ns = &node{sets: map[uint16][]dns.RR{}}
		zv.own[z.ownNS] = ns
	}
	bz := snap.Zone(z.name)
	if bz == nil {
		return zv
	}
	for _, a := range bz.Addresses {
		rr := addressRecord(z, z.fqdn, a, ttl)
		t := rr.Header().Rrtype
		apex.sets[t] = append(apex.sets[t], rr)
		if ns != nil && (t == dns.TypeA || t == dns.TypeAAAA) {
			ns.sets[t] = append(ns.sets[t], addressRecord(z, presentation(z.ownNS), a, ttl))
		}
	}
	return zv
}

// addressRecord makes the record of an address: A, AAAA, or EUI48 and EUI64 (RFC 7043).
func addressRecord(z *zone, name string, a router.Address, ttl uint32) dns.RR {
	switch {
	case a.IP.Is4():
		return &dns.A{Hdr: z.header(name, dns.TypeA, ttl), A: a.IP.AsSlice()}
	case a.IP.IsValid():
		return &dns.AAAA{Hdr: z.header(name, dns.TypeAAAA, ttl), AAAA: a.IP.AsSlice()}
	}
	var n uint64
	for i := range len(a.EUI) {
		n = n<<8 | uint64(a.EUI[i])
	}
	if len(a.EUI) == 6 {
		return &dns.EUI48{Hdr: z.header(name, dns.TypeEUI48, ttl), Address: n}
	}
	return &dns.EUI64{Hdr: z.header(name, dns.TypeEUI64, ttl), Address: n}
}

// find gives the node of a name; nil if there is none.
func (z *zoneView) find(name string) *node {
	if n := z.own[name]; n != nil {
		return n
	}
	return z.nodes[name]
}

// zoneFor finds the deepest zone of a name; nil if none. Of a zone's own name the parent answers for DS (RFC 4035, 3.1.4.1),
// if that is ours too.
func (v *view) zoneFor(name string, qtype uint16) *zoneView {
	var found *zoneView
	for off := 0; off < len(name); off += 1 + int(name[off]) {
		if z := v.zones[name[off:]]; z != nil {
			if qtype != dns.TypeDS || off > 0 {
				return z
			}
			found = z
		}
		if name[off] == 0 {
			break
		}
	}
	return found
}

// reply is what a look-up found, before it becomes a message.
type reply struct {
	rcode             int
	authoritative     bool
	referral          bool
	answer, ns, extra []dns.RR
	own               bool // the answer is the zone's own addresses at its own name
	negative          bool // NXDOMAIN or NODATA
}

// maxChain bounds a chain of CNAMEs.
const maxChain = 8

// resolve answers a question of class IN: name as text (its case goes into the answer) and in lower-case wire form.
func (v *view) resolve(text, name string, qtype uint16) reply {
	r := reply{rcode: dns.RcodeSuccess}
	for hop := range maxChain {
		z := v.zoneFor(name, qtype)
		if z == nil {
			if hop == 0 {
				r.rcode = dns.RcodeRefused
			}
			return r // the rest of a chain of CNAMEs is for others to say
		}
		if cut := z.cutAbove(name); cut != "" && !(cut == name && qtype == dns.TypeDS) {
			v.refer(&r, z, cut, hop == 0)
			return r
		}
		if hop == 0 {
			r.authoritative = true
		}
		n := z.lookup(name)
		if n == nil {
			r.rcode, r.negative = dns.RcodeNameError, true
			r.ns = []dns.RR{z.neg}
			return r
		}
		cname := n.sets[dns.TypeCNAME]
		if len(cname) == 0 || qtype == dns.TypeCNAME || qtype == dns.TypeANY {
			v.fill(&r, z, n, text, name, qtype)
			return r
		}
		r.answer = append(r.answer, named(cname[0], text))
		text = cname[0].(*dns.CNAME).Target
		name = mustWire(text)
	}
	return r
}

// lookup finds the node that answers for a name: its own, or the wildcard's (RFC 4592); nil if the name does not exist.
func (z *zoneView) lookup(name string) *node {
	if n := z.find(name); n != nil {
		return n
	}
	for off := 1 + int(name[0]); len(name)-off >= len(z.wire); off += 1 + int(name[off]) {
		if z.find(name[off:]) != nil { // the closest encloser
			return z.find("\x01*" + name[off:])
		}
	}
	return nil
}

// fill answers from a node.
func (v *view) fill(r *reply, z *zoneView, n *node, text, name string, qtype uint16) {
	set := n.sets[qtype]
	if qtype == dns.TypeANY {
		set = anySet(n, z)
	}
	if len(set) == 0 {
		r.negative = true
		r.ns = []dns.RR{z.neg}
		return
	}
	address := qtype == dns.TypeA || qtype == dns.TypeAAAA
	first := 0
	if _, mine := z.own[name]; mine && address {
		r.own = name == z.wire && len(r.answer) == 0
		if !z.fixed {
			first = int(v.turn.Add(1)-1) % len(set)
		}
	}
	for i := range set {
		r.answer = append(r.answer, named(set[(first+i)%len(set)], text))
	}
	for _, rr := range set {
		switch rr := rr.(type) {
		case *dns.NS:
			r.extra = v.additional(r.extra, rr.Ns)
		case *dns.MX:
			r.extra = v.additional(r.extra, rr.Mx)
		case *dns.SRV:
			r.extra = v.additional(r.extra, rr.Target)
		}
	}
}

// anySet answers ANY with little (RFC 8482): a CNAME, else one made-up HINFO; nothing where nothing is.
func anySet(n *node, z *zoneView) []dns.RR {
	if c := n.sets[dns.TypeCNAME]; len(c) > 0 {
		return c
	}
	if len(n.sets) == 0 {
		return nil
	}
	return []dns.RR{&dns.HINFO{Hdr: z.header("", dns.TypeHINFO, z.ttl), Cpu: "RFC8482"}}
}

// additional adds the addresses that our zones know of a host, once.
func (v *view) additional(extra []dns.RR, host string) []dns.RR {
	for _, rr := range extra {
		if rr.Header().Name == host {
			return extra
		}
	}
	name := mustWire(host)
	z := v.zoneFor(name, dns.TypeA)
	if z == nil {
		return extra
	}
	n := z.find(name)
	if n == nil {
		return extra
	}
	for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
		for _, rr := range n.sets[t] {
			extra = append(extra, named(rr, host))
		}
	}
	return extra
}

// refer points to the name servers of a delegation, with what glue we have.
func (v *view) refer(r *reply, z *zoneView, cut string, first bool) {
	r.referral = first
	r.ns = append([]dns.RR(nil), z.nodes[cut].sets[dns.TypeNS]...)
	if ds := z.nodes[cut].sets[dns.TypeDS]; len(ds) > 0 {
		r.ns = append(r.ns, ds...)
	}
	for _, rr := range z.nodes[cut].sets[dns.TypeNS] {
		r.extra = v.additional(r.extra, rr.(*dns.NS).Ns)
	}
}

// named is rr with another owner name: that of the question, in its case, also for a wildcard.
func named(rr dns.RR, name string) dns.RR {
	if rr.Header().Name == name {
		return rr
	}
	c := dns.Copy(rr)
	c.Header().Name = name
	return c
}
