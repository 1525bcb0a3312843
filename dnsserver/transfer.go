package dnsserver

import (
	"fmt"
	"sort"

	"github.com/miekg/dns"
)

// transfer is a zone on its way to a secondary (RFC 5936): messages to be packed one after another.
type transfer struct {
	query   *query
	records []dns.RR // SOA first and last
}

// transferChunk is the number of octets of records that a message is filled with.
const transferChunk = 16 << 10

// transfer decides on AXFR and IXFR. A zone goes whole, over TCP, to the listed networks only; IXFR gets the SOA
// alone if the secondary is up to date (RFC 1995, 2) or asks by UDP, so that it comes back over TCP.
func (h *handler) transfer(q *query) (reply, *transfer) {
	question := q.msg.Question[0]
	z := h.view.zones[q.name]
	if z == nil {
		if h.view.zoneFor(q.name, question.Qtype) != nil {
			return reply{rcode: dns.RcodeNotAuth}, nil // ours, but not a zone's name
		}
		return reply{rcode: dns.RcodeRefused}, nil
	}
	allowed := false
	for _, n := range z.transfer {
		allowed = allowed || n.Contains(q.src)
	}
	if !allowed {
		h.s.log.Warn("zone transfer refused", "zone", z.name, "client", q.src, "key", "dns.zones.transfer")
		return reply{rcode: dns.RcodeRefused}, nil
	}
	if question.Qtype == dns.TypeIXFR {
		if len(q.msg.Ns) != 1 {
			return reply{rcode: dns.RcodeFormatError}, nil
		}
		have, ok := q.msg.Ns[0].(*dns.SOA)
		if !ok {
			return reply{rcode: dns.RcodeFormatError}, nil
		}
		if !q.tcp || int32(z.soa.Serial-have.Serial) <= 0 {
			return reply{authoritative: true, answer: []dns.RR{named(z.soa, question.Name)}}, nil
		}
	} else if !q.tcp {
		return reply{rcode: dns.RcodeFormatError}, nil // AXFR is defined over TCP only (RFC 5936, 4.2)
	}
	h.s.log.Info("zone transfer", "zone", z.name, "serial", z.soa.Serial, "client", q.src)
	h.count.query(question.Qtype, dns.RcodeSuccess)
	return reply{}, &transfer{query: q, records: z.all()}
}

// all lists the records of a zone as a transfer sends them: the SOA, the rest in a stable order, the SOA again.
func (z *zoneView) all() []dns.RR {
	var names []string
	for name := range z.nodes {
		names = append(names, name)
	}
	sort.Strings(names)
	out := []dns.RR{z.soa}
	for _, name := range names {
		n := z.find(name)
		var types []int
		for t := range n.sets {
			if t != dns.TypeSOA {
				types = append(types, int(t))
			}
		}
		sort.Ints(types)
		for _, t := range types {
			out = append(out, n.sets[uint16(t)]...)
		}
	}
	return append(out, z.soa)
}

// send packs the messages and hands them to write, each whole.
func (t *transfer) send(h *handler, write func([]byte) error) error {
	for first := true; len(t.records) > 0; first = false {
		n, size := 0, 0
		for n < len(t.records) && (n == 0 || size+dns.Len(t.records[n]) <= transferChunk) {
			size += dns.Len(t.records[n])
			n++
		}
		m := new(dns.Msg)
		m.Id, m.Response, m.Authoritative = t.query.msg.Id, true, true
		m.RecursionDesired, m.Compress = t.query.msg.RecursionDesired, true
		if first {
			m.Question = t.query.msg.Question
		}
		m.Answer = t.records[:n]
		if opt := h.options(t.query, dns.RcodeSuccess); opt != nil {
			m.Extra = []dns.RR{opt}
		}
		b, err := m.Pack()
		if err != nil {
			return fmt.Errorf("zone transfer: %w", err)
		}
		if err := write(b); err != nil {
			return err
		}
		t.records = t.records[n:]
	}
	return nil
}
