package dnsserver

import (
	"net"
	"net/netip"
	"time"
)

// Handler lets tests hand single packets to both paths.
type Handler struct{ h *handler }

// NewHandler makes one for a Server that does not run.
func (s *Server) NewHandler() Handler { return Handler{&handler{s: s, count: s.metrics.counters()}} }

// Refresh takes the present view and time.
func (h Handler) Refresh() { h.h.refresh() }

// At takes the present view and the given time.
func (h Handler) At(t time.Time) { h.h.refresh(); h.h.at = t }

// Fast answers buf[:n] in place.
func (h Handler) Fast(buf []byte, n int, src netip.Addr) (int, bool) { return h.h.fast(buf, n, src) }

// Slow answers a packet by way of miekg/dns.
func (h Handler) Slow(pkt []byte, src netip.Addr, tcp bool) []byte {
	b, t := h.h.slow(pkt, src, tcp)
	if t != nil {
		_ = t.send(h.h, func(m []byte) error { b = append(b, m...); return nil })
	}
	return b
}

// UDP answers buf[:n] in place as a socket's goroutine does.
func (h Handler) UDP(buf []byte, n int, src netip.Addr) int { return h.h.answerUDP(buf, n, src) }

// SlotSize is the room for a query and its answer.
const SlotSize = slotSize

// SealCookie makes a whole cookie with the given secret.
func SealCookie(secret [16]byte, client [8]byte, src netip.Addr, now uint32) []byte {
	var j cookieJar
	j.add(secret)
	var c [cookieLen]byte
	copy(c[:], client[:])
	j.seal(&c, src, now)
	return c[:]
}

// OpenCookie verifies one.
func OpenCookie(secret [16]byte, cookie []byte, src netip.Addr, now uint32) (valid, renew bool) {
	var j cookieJar
	j.add(secret)
	return j.open((*[cookieLen]byte)(cookie), src, now)
}

// Admit asks for a place for a TCP connection and gives what frees it.
func (s *Server) Admit(src netip.Addr) (ok bool, release func()) {
	c, other := net.Pipe()
	_ = other.Close()
	return s.conns.add(c, src, s.policy.Load()) < 0, func() { s.conns.remove(c) }
}
