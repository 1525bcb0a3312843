package dnsserver

import (
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"
)

// edns is what the fast path read of an EDNS record.
type edns struct {
	present, do, nsid bool
	size              int
	cookieLen         int // 0: none
	cookie            [40]byte
}

const (
	optFixed   = 11 // root name, type, size, extended RCODE, version, flags, length
	typeOPT    = byte(dns.TypeOPT)
	flagAA     = 0x04
	flagTC     = 0x02
	rootLength = 5 // the shortest question: root, type, class
)

// fast answers the query in buf[:n] in place, over UDP. It gives the length of the answer; 0 is silence. ok is false
// if the slow path has to look at it; then buf is unchanged. It allocates nothing.
func (h *handler) fast(buf []byte, n int, src netip.Addr) (length int, ok bool) {
	// A query with one question and at most one record, an EDNS one. Flags beyond QR and opcode mean nothing here.
	if n < headerLen+rootLength || n > len(buf) || buf[2]&0xF8 != 0 ||
		binary.BigEndian.Uint32(buf[4:]) != 1<<16 || binary.BigEndian.Uint32(buf[8:])&^1 != 0 {
		return 0, false
	}
	end := skipName(buf[:n], headerLen, false)
	if end < 0 || end+4 > n || binary.BigEndian.Uint16(buf[end+2:]) != dns.ClassINET {
		return 0, false
	}
	name := h.name[:end-headerLen]
	for i := range name {
		name[i] = lower(buf[headerLen+i])
	}
	qtype := binary.BigEndian.Uint16(buf[end:])
	end += 4
	var e edns
	if buf[11] == 1 {
		if !e.read(buf[end:n]) {
			return 0, false
		}
	} else if end != n {
		return 0, false
	}
	a, apex, ok := h.view.packed.find(name, qtype)
	if !ok || a.own && len(h.view.policy.preferring) > 0 && h.view.policy.prefers(src) {
		return 0, false
	}
	return h.write(buf, end, name, qtype, a, apex, &e, src)
}

// read parses an EDNS record that is all of b. False means that the slow path should look: another record, another version,
// an option with a form of its own.
func (e *edns) read(b []byte) bool {
	if len(b) < optFixed || b[0] != 0 || b[1] != 0 || b[2] != typeOPT || b[6] != 0 {
		return false
	}
	e.present = true
	e.size = int(binary.BigEndian.Uint16(b[3:]))
	e.do = b[7]&0x80 != 0
	opts := b[optFixed:]
	if int(binary.BigEndian.Uint16(b[9:])) != len(opts) {
		return false
	}
	for len(opts) > 0 {
		if len(opts) < 4 {
			return false
		}
		code, l := binary.BigEndian.Uint16(opts), int(binary.BigEndian.Uint16(opts[2:]))
		if l > len(opts)-4 {
			return false
		}
		switch code {
		case dns.EDNS0COOKIE:
			if e.cookieLen != 0 || (l != clientCookieLen && (l < 16 || l > 40)) {
				return false
			}
			e.cookieLen = copy(e.cookie[:], opts[4:4+l])
		case dns.EDNS0NSID:
			e.nsid = true
		case dns.EDNS0PADDING:
		default:
			return false
		}
		opts = opts[4+l:]
	}
	return true
}

// refused answers for names that are not ours.
var refused = &packedAnswer{tails: [][]byte{nil}, rcode: dns.RcodeRefused}

// find gives the packed answer for a name in lower-case wire form; apex is the offset of the zone's name in name if the
// answer's first pointer has to be set to it, else -1.
func (t *packedTable) find(name []byte, qtype uint16) (a *packedAnswer, apex int, ok bool) {
	if qtype == dns.TypeDS || qtype == dns.TypeAXFR || qtype == dns.TypeIXFR || isMeta(qtype) {
		return nil, 0, false
	}
	if p := t.names[string(name)]; p != nil {
		for i := range p.types {
			if p.types[i].qtype == qtype {
				return &p.types[i].answer, -1, true
			}
		}
		return p.nodata, -1, true
	}
	for off := 0; ; off += 1 + int(name[off]) {
		if z := t.zones[string(name[off:])]; z != nil {
			return z.nxdomain, off, z.complete && z.nxdomain != nil
		}
		if name[off] == 0 {
			return refused, -1, true
		}
	}
}

// write puts the answer behind the question, which ends at end.
func (h *handler) write(buf []byte, end int, name []byte, qtype uint16, a *packedAnswer, apex int, e *edns, src netip.Addr) (int, bool) {
	p := h.view.policy
	tail := a.tails[0]
	if len(a.tails) > 1 {
		tail = a.tails[int(h.view.turn.Add(1))%len(a.tails)]
	}
	optLen := e.length(p)
	var cookie [cookieLen]byte
	valid, renew := h.verify(e, &cookie, src)
	limit := dns.MinMsgSize
	if e.present {
		limit = min(max(limit, e.size), p.udpSize)
	}
	if !valid && !a.own {
		limit = min(limit, p.unverified)
	}
	if end+len(tail)+optLen > min(limit, len(buf)) {
		return 0, false // it has to be made smaller
	}
	if e.cookieLen > 0 {
		h.count.cookie(e.cookieLen > clientCookieLen, valid)
	}
	verdict := h.limit(src, valid, int(a.rcode), name, qtype)
	if verdict == drop {
		return 0, true
	}
	buf[2] = 0x80 | flagAA | buf[2]&1 // RD is copied
	if a == refused {
		buf[2] &^= flagAA
	}
	buf[3] = a.rcode
	if verdict == slip {
		buf[2] |= flagTC
		clear(buf[6:headerLen])
		h.count.truncated.Add(1)
	} else {
		copy(buf[6:headerLen], a.counts[:])
		n := copy(buf[end:], tail)
		if apex >= 0 {
			binary.BigEndian.PutUint16(buf[end:], 0xC000|uint16(headerLen+apex))
		}
		end += n
	}
	if e.present {
		binary.BigEndian.PutUint16(buf[10:], binary.BigEndian.Uint16(buf[10:])+1)
		if e.cookieLen > 0 && renew {
			p.cookies.seal(&cookie, src, unixSeconds(h.now()))
		}
		end = e.write(buf, end, optLen, p, &cookie)
	}
	h.count.query(qtype, int(a.rcode))
	return end, true
}

// length is that of our EDNS record; 0 if the query had none.
func (e *edns) length(p *policy) int {
	if !e.present {
		return 0
	}
	n := optFixed
	if e.cookieLen > 0 {
		n += 4 + cookieLen
	}
	if e.nsid && p.nsid != "" {
		n += 4 + len(p.nsid)
	}
	return n
}

// verify copies the query's cookie and says whether it is valid and whether it should be renewed.
func (h *handler) verify(e *edns, cookie *[cookieLen]byte, src netip.Addr) (valid, renew bool) {
	copy(cookie[:], e.cookie[:e.cookieLen])
	if e.cookieLen != cookieLen {
		return false, true
	}
	return h.view.policy.cookies.open(cookie, src, unixSeconds(h.now()))
}

// write puts our EDNS record of optLen octets at off and gives the offset behind it.
func (e *edns) write(buf []byte, off, optLen int, p *policy, cookie *[cookieLen]byte) int {
	b := buf[off : off+optLen]
	clear(b[:optFixed])
	b[2] = typeOPT
	binary.BigEndian.PutUint16(b[3:], uint16(p.udpSize))
	if e.do {
		b[7] = 0x80 // copied (RFC 3225, 3)
	}
	binary.BigEndian.PutUint16(b[9:], uint16(optLen-optFixed))
	o := b[optFixed:]
	if e.cookieLen > 0 {
		binary.BigEndian.PutUint16(o, dns.EDNS0COOKIE)
		binary.BigEndian.PutUint16(o[2:], cookieLen)
		copy(o[4:], cookie[:])
		o = o[4+cookieLen:]
	}
	if e.nsid && p.nsid != "" {
		binary.BigEndian.PutUint16(o, dns.EDNS0NSID)
		binary.BigEndian.PutUint16(o[2:], uint16(len(p.nsid)))
		copy(o[4:], p.nsid)
	}
	return off + optLen
}
