package dnsserver

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// maxRecords bounds the static records of one zone.
const maxRecords = 10000

// maxRecordSize bounds one record, so that each fits into a message with its question.
const maxRecordSize = 60000

// zone is the part of a zone that does not depend on the Board.
type zone struct {
	name  string // lower case, no final dot: the Board's name for it
	fqdn  string // lower case, with the final dot
	wire  string // lower case, wire form
	ttl   uint32
	neg   uint32 // TTL of negative answers
	nsTTL uint32
	fixed bool // addresses in the order of the Board

	mname, rname           string
	refresh, retry, expire uint32

	nodes    map[string]*node // by lower-case wire name, empty non-terminals too
	special  bool             // has wildcards or delegations: a missing name needs a real look-up
	transfer []netip.Prefix
	prefer   []preference
	ownNS    string // wire name of the default name server, which carries the zone's addresses; ""
}

// node is one name of a zone.
type node struct {
	sets map[uint16][]dns.RR // by type; empty at an empty non-terminal
	cut  bool                // delegated: NS records below the apex
}

// compileZone checks a zone's configuration; the errors name the key below the zone.
func compileZone(c ZoneConfig) (*zone, []error) {
	c = c.withDefaults()
	var errs []error
	bad := func(key string, err error) { errs = append(errs, fmt.Errorf("%s: %w", key, err)) }
	if err := checkName(c.Name); err != nil {
		bad("name", err)
		return nil, errs
	}
	z := &zone{
		name: c.Name, fqdn: c.Name + ".", ttl: seconds(c.TTL), neg: seconds(c.NegativeTTL), nsTTL: seconds(c.NSTTL),
		fixed: c.Order == OrderFixed, refresh: seconds(c.Refresh), retry: seconds(c.Retry), expire: seconds(c.Expire),
		nodes: map[string]*node{},
	}
	z.wire = mustWire(z.fqdn)
	for _, d := range []struct {
		key string
		v   time.Duration
	}{{"ttl", c.TTL}, {"negative_ttl", c.NegativeTTL}, {"ns_ttl", c.NSTTL}, {"refresh", c.Refresh}, {"retry", c.Retry}, {"expire", c.Expire}} {
		if d.v < time.Second || d.v > (1<<31-1)*time.Second || d.v%time.Second != 0 {
			bad(d.key, fmt.Errorf("%v: want whole seconds, at least 1s", d.v))
		}
	}
	if c.Order != OrderRotate && c.Order != OrderFixed {
		bad("order", fmt.Errorf("%q: want rotate or fixed", c.Order))
	}
	if _, err := (Config{Zones: []ZoneConfig{c}}).BoardZones(); err != nil {
		bad("addresses", errors.Unwrap(err))
	}
	var err error
	if z.transfer, err = parseNetworks("transfer", c.Transfer); err != nil {
		errs = append(errs, err)
	}
	prefer, perrs := compilePreferences(c.Preferences)
	z.prefer, errs = prefer, append(errs, perrs...)
	z.node(z.wire)
	errs = append(errs, z.addRecords(c.Records)...)
	errs = append(errs, z.addNameServers(c)...)
	if len(errs) == 0 {
		errs = z.checkNodes()
	}
	return z, errs
}

// addNameServers sets NS and SOA names; without a configured name server it makes ns1.<zone>.
func (z *zone) addNameServers(c ZoneConfig) []error {
	var errs []error
	apex := z.nodes[z.wire]
	ns := c.NS
	if len(ns) == 0 {
		ns = []string{"ns1." + z.fqdn}
		z.ownNS = mustWire(ns[0])
		if n := z.nodes[z.ownNS]; n != nil && len(n.sets) > 0 {
			errs = append(errs, fmt.Errorf("records: %s is the default name server, its records are the zone's addresses; name another in ns", ns[0]))
		}
		z.node(z.ownNS)
	}
	for _, name := range ns {
		if err := checkName(name); err != nil {
			errs = append(errs, fmt.Errorf("ns: %w", err))
			continue
		}
		apex.sets[dns.TypeNS] = append(apex.sets[dns.TypeNS], &dns.NS{Hdr: z.header(z.fqdn, dns.TypeNS, z.nsTTL), Ns: lowerName(name)})
	}
	z.mname, z.rname = c.MName, strings.Replace(c.RName, "@", ".", 1)
	if z.mname == "" {
		z.mname = ns[0]
	}
	for _, n := range []struct{ key, name string }{{"mname", z.mname}, {"rname", z.rname}} {
		if err := checkName(n.name); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n.key, err))
		}
	}
	z.mname, z.rname = lowerName(z.mname), lowerName(z.rname)
	return errs
}

// addRecords reads the static records.
func (z *zone) addRecords(lines []string) []error {
	var errs []error
	if len(lines) > maxRecords {
		return []error{fmt.Errorf("records: %d of them: want at most %d", len(lines), maxRecords)}
	}
	for i, line := range lines {
		if err := z.addRecord(line); err != nil {
			errs = append(errs, fmt.Errorf("records[%d] (%s): %w", i, line, err))
		}
	}
	return errs
}

func (z *zone) addRecord(line string) error {
	if strings.ContainsAny(line, "\r\n") || strings.HasPrefix(strings.TrimSpace(line), "$") {
		return errors.New("want one record on one line, without $ directives")
	}
	if line == "" || line[0] == ' ' || line[0] == '\t' {
		return errors.New("want a name first; @ is the zone itself")
	}
	p := dns.NewZoneParser(strings.NewReader(line+"\n"), z.fqdn, "")
	p.SetDefaultTTL(z.ttl)
	rr, ok := p.Next()
	if err := p.Err(); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "dns: "))
	}
	if !ok {
		return errors.New("is not a record")
	}
	h := rr.Header()
	wire, err := wireName(h.Name)
	if err != nil {
		return err
	}
	if h.Class != dns.ClassINET {
		return errors.New("want class IN")
	}
	if !inZone(wire, z.wire) {
		return fmt.Errorf("is outside the zone %s", z.name)
	}
	if err := z.allowed(wire, rr); err != nil {
		return err
	}
	if dns.Len(rr) > maxRecordSize {
		return fmt.Errorf("has more than %d octets", maxRecordSize)
	}
	if h.Ttl > 1<<31-1 {
		return errors.New("the TTL is too large")
	}
	n := z.node(wire)
	set := n.sets[h.Rrtype]
	for _, other := range set {
		if dns.IsDuplicate(other, rr) {
			return errors.New("stands there twice")
		}
		if other.Header().Ttl != h.Ttl {
			return errors.New("has another TTL than the record of the same name and type above (RFC 2181, 5.2)")
		}
	}
	n.sets[h.Rrtype] = append(set, rr)
	if h.Rrtype == dns.TypeNS {
		n.cut, z.special = true, true
	}
	if wire[0] == 1 && wire[1] == '*' {
		z.special = true
	}
	return nil
}

// allowed refuses what the zone makes by itself or can't serve.
func (z *zone) allowed(wire string, rr dns.RR) error {
	apex := wire == z.wire
	switch t := rr.Header().Rrtype; {
	case t == dns.TypeSOA:
		return errors.New("the SOA record is made from mname, rname, refresh, retry, expire and negative_ttl")
	case apex && t == dns.TypeNS:
		return errors.New("the zone's own name servers belong into ns")
	case apex && (t == dns.TypeA || t == dns.TypeAAAA || t == dns.TypeEUI48 || t == dns.TypeEUI64):
		return errors.New("the zone's own addresses belong into addresses")
	case apex && t == dns.TypeCNAME:
		return errors.New("a CNAME can't stand at the zone's own name (RFC 1034, 3.6.2)")
	case t == dns.TypeDNAME:
		return errors.New("DNAME is not served")
	case t == dns.TypeRRSIG, t == dns.TypeNSEC, t == dns.TypeNSEC3, t == dns.TypeNSEC3PARAM, t == dns.TypeDNSKEY, t == dns.TypeSIG, t == dns.TypeKEY, t == dns.TypeNXT:
		return errors.New("the zone is not signed: DNSSEC records are not served")
	case isMeta(t):
		return fmt.Errorf("type %s is not data", dns.TypeToString[t])
	case t == dns.TypeNS && wire[0] == 1 && wire[1] == '*':
		return errors.New("a wildcard can't delegate (RFC 4592, 4.2)")
	}
	return nil
}

// checkNodes looks at what records do to each other.
func (z *zone) checkNodes() []error {
	var errs []error
	for name, n := range z.nodes {
		if name == z.wire {
			continue
		}
		if len(n.sets[dns.TypeCNAME]) > 0 && (len(n.sets) > 1 || len(n.sets[dns.TypeCNAME]) > 1) {
			errs = append(errs, fmt.Errorf("records: %s has a CNAME and other records (RFC 1034, 3.6.2)", presentation(name)))
		}
		cut := z.cutAbove(name)
		for t := range n.sets {
			switch {
			case t == dns.TypeA || t == dns.TypeAAAA: // glue
			case cut != "" && cut != name:
				errs = append(errs, fmt.Errorf("records: %s %s lies below the delegation of %s; only A and AAAA may", presentation(name), dns.Type(t), presentation(cut)))
			case cut == name && t != dns.TypeNS && t != dns.TypeDS:
				errs = append(errs, fmt.Errorf("records: %s is delegated; only NS, DS and glue may stand there, not %s", presentation(name), dns.Type(t)))
			}
		}
	}
	for _, rr := range z.nodes[z.wire].sets[dns.TypeNS] {
		target := rr.(*dns.NS).Ns
		w := mustWire(target)
		if !inZone(w, z.wire) || w == z.wire || w == z.ownNS {
			continue
		}
		n := z.nodes[w]
		if n == nil || len(n.sets[dns.TypeA])+len(n.sets[dns.TypeAAAA]) == 0 {
			errs = append(errs, fmt.Errorf("ns: %s lies in the zone but has no A or AAAA record", target))
		}
	}
	return errs
}

// cutAbove finds the topmost delegation at or above name; "" if none.
func (z *zone) cutAbove(name string) string {
	cut := ""
	for off := 0; len(name)-off > len(z.wire); off += 1 + int(name[off]) {
		if n := z.nodes[name[off:]]; n != nil && n.cut {
			cut = name[off:]
		}
	}
	return cut
}

// node gives the node of a name, made if need be, together with the empty ones between it and the apex.
func (z *zone) node(name string) *node {
	for off := 0; len(name)-off >= len(z.wire); off += 1 + int(name[off]) {
		if z.nodes[name[off:]] == nil {
			z.nodes[name[off:]] = &node{sets: map[uint16][]dns.RR{}}
		}
		if name[off] == 0 {
			break
		}
	}
	return z.nodes[name]
}

func (z *zone) header(name string, t uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: ttl}
}
