package dnsserver

import (
	"fmt"
	"net/netip"
	"runtime/debug"
)

// answerUDP answers the packet in buf[:n] in place and gives the answer's length; 0 is silence.
func (h *handler) answerUDP(buf []byte, n int, src netip.Addr) int {
	if m, ok := h.fast(buf, n, src); ok {
		h.fastDone++
		return m
	}
	b := h.guarded(buf[:n], src)
	return copy(buf, b)
}

// guarded is slow for UDP. A failure of ours on one packet must not end the socket's goroutine: it is logged,
// counted, and that packet gets no answer.
func (h *handler) guarded(pkt []byte, src netip.Addr) (answer []byte) {
	defer func() {
		if p := recover(); p != nil {
			h.count.panics.Add(1)
			h.s.log.Error("failed on a packet", "panic", fmt.Sprint(p), "packet", fmt.Sprintf("%x", pkt), "stack", string(debug.Stack()))
			answer = nil
		}
	}()
	answer, _ = h.slow(pkt, src, false) // a transfer never comes of UDP
	return answer
}
