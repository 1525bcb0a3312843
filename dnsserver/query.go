package dnsserver

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"

	"github.com/miekg/dns"
)

const headerLen = 12

// query is a query as the slow path understood it.
type query struct {
	msg     dns.Msg
	name    string   // of the question, lower-case wire form
	opt     *dns.OPT // nil: no EDNS
	src     netip.Addr
	tcp     bool
	cookie  []byte // as sent; nil: none
	nsid    bool
	keep    bool   // edns-tcp-keepalive
	trusted bool   // has shown a valid cookie
	mark    string // of a drill; empty: none
}

// examine checks what surrounds the question: number of questions, EDNS, cookie, signature. done means that its
// RCODE is the whole answer.
func (h *handler) examine(q *query) (rcode int, done bool) {
	opts := 0
	for _, rr := range q.msg.Extra {
		if o, ok := rr.(*dns.OPT); ok {
			opts++
			q.opt = o
		}
	}
	for _, rr := range append(append([]dns.RR(nil), q.msg.Answer...), q.msg.Ns...) {
		if _, ok := rr.(*dns.OPT); ok {
			return dns.RcodeFormatError, true
		}
	}
	if opts > 1 || (q.opt != nil && q.opt.Hdr.Name != ".") {
		return dns.RcodeFormatError, true
	}
	if q.opt != nil {
		if q.opt.Version() != 0 {
			return dns.RcodeBadVers, true
		}
		for _, o := range q.opt.Option {
			switch o := o.(type) {
			case *dns.EDNS0_NSID:
				q.nsid = true
			case *dns.EDNS0_TCP_KEEPALIVE:
				q.keep = q.tcp
			case *dns.EDNS0_COOKIE:
				if q.cookie != nil {
					continue // all but the first are ignored (RFC 7873, 5.2)
				}
				b, err := hex.DecodeString(o.Cookie)
				if err != nil || (len(b) != clientCookieLen && (len(b) < 16 || len(b) > 40)) {
					return dns.RcodeFormatError, true
				}
				q.cookie = b
			case *dns.EDNS0_LOCAL:
				if o.Code == MarkOption && h.s.leaveOut != nil {
					q.mark = string(o.Data)
				}
			}
		}
	}
	if len(q.msg.Question) == 0 && q.cookie != nil && len(q.msg.Answer)+len(q.msg.Ns) == 0 {
		return dns.RcodeSuccess, true // somebody asks for a cookie only (RFC 7873, 5.4)
	}
	if len(q.msg.Question) != 1 || len(q.msg.Answer) != 0 {
		return dns.RcodeFormatError, true
	}
	if n := len(q.msg.Extra); n > 0 {
		if t, ok := q.msg.Extra[n-1].(*dns.TSIG); ok {
			if t.Algorithm == "" {
				return dns.RcodeFormatError, true // an empty record, which the parser lets pass
			}
			return dns.RcodeNotAuth, true // we hold no keys (RFC 8945, 5.2)
		}
	}
	return 0, false
}

// wellFormed walks the whole packet: as many questions and records as the header says, and nothing behind them. The parser
// is more lenient.
func wellFormed(pkt []byte) bool {
	off := headerLen
	for range binary.BigEndian.Uint16(pkt[4:]) {
		// No pointer has anything to point to in a first question; more than one question is refused anyway.
		if off = skipName(pkt, off, false); off < 0 || off+4 > len(pkt) {
			return false
		}
		off += 4
	}
	records := 0
	for i := 6; i < headerLen; i += 2 {
		records += int(binary.BigEndian.Uint16(pkt[i:]))
	}
	for range records {
		if off = skipName(pkt, off, true); off < 0 || off+10 > len(pkt) {
			return false
		}
		off += 10 + int(binary.BigEndian.Uint16(pkt[off+8:]))
		if off > len(pkt) {
			return false
		}
	}
	return off == len(pkt)
}

// skipName gives the offset behind the name at off; -1 if it is broken.
func skipName(pkt []byte, off int, pointers bool) int {
	start := off
	for off < len(pkt) {
		switch l := int(pkt[off]); {
		case l == 0:
			if off+1-start > 255 {
				return -1
			}
			return off + 1
		case l < 64:
			off += 1 + l
		case l >= 192 && pointers && off+2 <= len(pkt):
			return off + 2
		default:
			return -1
		}
	}
	return -1
}
