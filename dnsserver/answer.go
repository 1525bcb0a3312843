package dnsserver

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// handler answers packets for one goroutine; it holds that goroutine's scratch space.
type handler struct {
	s        *Server
	view     *view
	at       time.Time // see now
	count    *counters
	fastDone uint64    // see flush
	name     [256]byte // the question's name in lower case, for the fast path
}

// refresh takes the present view, and the time when it is asked for; once for each batch of packets.
func (h *handler) refresh() {
	h.view = h.s.current()
	h.at = time.Time{}
}

// now is the time of the batch. Most batches need none.
func (h *handler) now() time.Time {
	if h.at.IsZero() {
		h.at = time.Now()
	}
	return h.at
}

// flush counts what was counted by hand.
func (h *handler) flush() {
	if h.fastDone > 0 {
		h.count.fast.Add(h.fastDone)
		h.fastDone = 0
	}
}

// slow answers one packet by way of miekg/dns. It gives the packed answer, or nil for silence. The second result is a
// zone transfer to stream instead (TCP only).
func (h *handler) slow(pkt []byte, src netip.Addr, tcp bool) ([]byte, *transfer) {
	if len(pkt) < headerLen || pkt[2]&0x80 != 0 {
		h.count.ignored.Add(1) // an answer to an answer would go back and forth for ever
		return nil, nil
	}
	if op := int(pkt[2] >> 3 & 15); op != dns.OpcodeQuery {
		return h.headerOnly(pkt, dns.RcodeNotImplemented, src, tcp), nil
	}
	q := &query{src: src, tcp: tcp}
	if !wellFormed(pkt) || q.msg.Unpack(pkt) != nil {
		return h.headerOnly(pkt, dns.RcodeFormatError, src, tcp), nil
	}
	m := new(dns.Msg)
	m.Id, m.Response, m.RecursionDesired = q.msg.Id, true, q.msg.RecursionDesired
	m.Question = q.msg.Question
	var r reply
	if rcode, done := h.examine(q); done {
		r.rcode = rcode
	} else {
		var t *transfer
		if r, t = h.answer(q); t != nil {
			return nil, t
		}
	}
	return h.finish(q, m, r), nil
}

// answer finds the answer to a well-formed query with one question.
func (h *handler) answer(q *query) (reply, *transfer) {
	question := q.msg.Question[0]
	q.name = mustWire(question.Name)
	switch {
	case question.Qclass == dns.ClassCHAOS:
		return h.chaos(question), nil
	case question.Qclass != dns.ClassINET:
		return reply{rcode: dns.RcodeRefused}, nil
	}
	switch question.Qtype {
	case dns.TypeAXFR, dns.TypeIXFR:
		return h.transfer(q)
	case dns.TypeMAILA, dns.TypeMAILB, dns.TypeTKEY:
		return reply{rcode: dns.RcodeNotImplemented}, nil
	case dns.TypeANY:
	default:
		if isMeta(question.Qtype) {
			return reply{rcode: dns.RcodeFormatError}, nil
		}
	}
	r := h.view.resolve(question.Name, q.name, question.Qtype)
	if z := h.view.zoneFor(q.name, question.Qtype); r.own && z != nil {
		if p := z.preferred(q.src); p != nil {
			r.answer = p.arrange(r.answer, h.view.turn.Add(1))
		}
	}
	if r.own && q.mark != "" {
		r.answer = h.withhold(q.mark, r.answer)
	}
	return r, nil
}

// withhold leaves out of a marked query's answer what a drill says, unless nothing would be left.
func (h *handler) withhold(mark string, answer []dns.RR) []dns.RR {
	var kept []dns.RR
	for _, rr := range answer {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if at, ok := netip.AddrFromSlice(ip); !ok || !h.s.leaveOut(mark, at.Unmap()) {
			kept = append(kept, rr)
		}
	}
	if len(kept) == 0 {
		return answer
	}
	return kept
}

// chaos tells version and name of the server, if the operator lets it.
func (h *handler) chaos(q dns.Question) reply {
	text := ""
	switch strings.ToLower(q.Name) {
	case "version.bind.", "version.server.":
		text = h.view.policy.version
	case "id.server.", "hostname.bind.":
		text = h.view.policy.nsid
	}
	if text == "" {
		return reply{rcode: dns.RcodeRefused}
	}
	r := reply{authoritative: true}
	if q.Qtype == dns.TypeTXT || q.Qtype == dns.TypeANY {
		r.answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeTXT, Class: dns.ClassCHAOS}, Txt: []string{text}}}
	}
	return r
}

// finish makes the message: flags, sections, EDNS, limits of rate and size.
func (h *handler) finish(q *query, m *dns.Msg, r reply) []byte {
	m.Rcode = r.rcode
	m.Authoritative = r.authoritative
	m.Answer, m.Ns, m.Extra = r.answer, r.ns, r.extra
	opt := h.options(q, r.rcode)
	qtype := uint16(0)
	if len(m.Question) == 1 {
		qtype = m.Question[0].Qtype
	}
	if r.rcode == dns.RcodeNotAuth && len(q.msg.Extra) > 0 {
		if t, ok := q.msg.Extra[len(q.msg.Extra)-1].(*dns.TSIG); ok {
			m.Extra = append(m.Extra, badKey(t, h.now()))
		}
	}
	if !q.tcp {
		switch h.limit(q.src, q.trusted, r.rcode, []byte(q.name), qtype) {
		case drop:
			return nil
		case slip:
			truncate(m)
		}
	}
	out := h.fit(q, m, r, opt)
	h.count.query(qtype, r.rcode)
	if m.Truncated {
		h.count.truncated.Add(1)
	}
	return out
}

// limit asks the rate limiter for an answer over UDP, unless the client is known: by a cookie, or as a gateway. name is in
// lower-case wire form.
func (h *handler) limit(src netip.Addr, cookie bool, rcode int, name []byte, qtype uint16) limitVerdict {
	p := h.view.policy
	if p.limiter == nil || cookie || p.trusted(src) {
		return send
	}
	kind := uint64(errorKind)
	if rcode == dns.RcodeSuccess {
		kind = p.limiter.kind(name, qtype)
	}
	v := p.limiter.verdict(src, kind, h.now())
	h.count.limited(v)
	return v
}

// options makes our EDNS record: none if the query had none (RFC 6891, 7).
func (h *handler) options(q *query, rcode int) *dns.OPT {
	if q.opt == nil {
		return nil
	}
	p := h.view.policy
	o := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	o.SetUDPSize(uint16(p.udpSize))
	if q.opt.Do() {
		o.SetDo() // copied (RFC 3225, 3)
	}
	if rcode == dns.RcodeBadVers {
		return o // the miekg packer puts the upper bits of the RCODE in
	}
	if q.cookie != nil {
		var c [cookieLen]byte
		full := len(q.cookie) == cookieLen
		copy(c[:], q.cookie)
		valid, renew := false, true
		if full {
			valid, renew = p.cookies.open(&c, q.src, unixSeconds(h.now()))
		}
		q.trusted = valid
		h.count.cookie(len(q.cookie) > clientCookieLen, valid)
		if renew {
			p.cookies.seal(&c, q.src, unixSeconds(h.now()))
		}
		o.Option = append(o.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: hex.EncodeToString(c[:])})
	}
	if q.nsid && p.nsid != "" {
		o.Option = append(o.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: hex.EncodeToString([]byte(p.nsid))})
	}
	if q.keep {
		o.Option = append(o.Option, &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE, Timeout: uint16(min(p.idle/(100*time.Millisecond), 65535))})
	}
	return o
}

// fit packs the message into what the client takes. First what is merely useful goes, then, of a zone's own
// addresses, the last ones; only then the answer is cut down to "ask by TCP".
func (h *handler) fit(q *query, m *dns.Msg, r reply, opt *dns.OPT) []byte {
	m.Compress = true
	pack := func() []byte {
		extra := m.Extra
		if opt != nil {
			m.Extra = append(extra[:len(extra):len(extra)], opt)
		}
		b, err := m.Pack()
		m.Extra = extra
		if err != nil { // a record that can't be packed was let in: ours to mend, not the client's
			h.s.log.Error("answer can't be packed", "error", err)
			m.Rcode, m.Answer, m.Ns, m.Extra = dns.RcodeServerFailure, nil, nil, nil
			b, _ = m.Pack() // header and a question that came off the wire
		}
		return b
	}
	limit := 65535
	if !q.tcp {
		limit = dns.MinMsgSize
		if q.opt != nil {
			limit = min(max(dns.MinMsgSize, int(q.opt.UDPSize())), h.view.policy.udpSize)
		}
		if !q.trusted && !r.own {
			limit = min(limit, h.view.policy.unverified)
		}
	}
	b := pack()
	if len(b) <= limit {
		return b
	}
	if !r.referral {
		m.Extra = nil
		b = pack()
	}
	if r.own {
		for len(b) > limit && len(m.Answer) > 1 {
			m.Answer = m.Answer[:len(m.Answer)-1]
			b = pack()
		}
	}
	if len(b) > limit {
		truncate(m)
		b = pack()
	}
	return b
}

// truncate leaves the header and the question, and says that there is more.
func truncate(m *dns.Msg) {
	m.Truncated = true
	m.Answer, m.Ns, m.Extra = nil, nil, nil
}

// badKey is the answer's TSIG record for a query that is signed with a key we don't have: unsigned (RFC 8945, 5.2.1).
func badKey(t *dns.TSIG, now time.Time) *dns.TSIG {
	return &dns.TSIG{
		Hdr:       dns.RR_Header{Name: t.Hdr.Name, Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
		Algorithm: t.Algorithm, TimeSigned: uint64(now.Unix()), Fudge: 300, OrigId: t.OrigId, Error: dns.RcodeBadKey,
	}
}

// headerOnly answers what can't be read, or whose form we can't know: with the header alone.
func (h *handler) headerOnly(pkt []byte, rcode int, src netip.Addr, tcp bool) []byte {
	if !tcp && h.limit(src, false, rcode, nil, 0) == drop {
		return nil
	}
	b := make([]byte, headerLen)
	copy(b, pkt[:2])
	b[2] = 0x80 | pkt[2]&0x78 // the opcode is copied
	if b[2] == 0x80 {
		b[2] |= pkt[2] & 1 // and RD, which QUERY alone defines
	}
	b[3] = byte(rcode)
	h.count.query(0, rcode)
	return b
}
