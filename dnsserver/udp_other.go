//go:build !linux

package dnsserver

import (
	"context"
	"errors"
	"fmt"
	"net"
)

const reusePort = false

func udpOptions(int, string) error { return nil }

// batch has nothing in it here: datagrams come one by one.
type batch struct{}

func (s *Server) openSenders() {} // answers leave by the socket that receives

func (u *udpSocket) closeSender() {}

// slotSize is the room for one query and for the answer in its place.
const slotSize = 4096 + 192

// serve answers until the socket is closed.
func (u *udpSocket) serve(ctx context.Context, s *Server) error {
	h := &handler{s: s, count: s.metrics.counters()}
	buf := make([]byte, slotSize)
	for {
		n, src, err := u.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil || err != nil && s.handing.Load() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("dns: %s: %w", u.conn.LocalAddr(), err)
		}
		h.refresh()
		m := h.answerUDP(buf, n, src.Addr().Unmap())
		h.flush()
		if m > 0 {
			h.count.sends.Add(1)
			if _, err := u.conn.WriteToUDPAddrPort(buf[:m], src); err != nil {
				h.count.sendFail.Add(1)
			}
		}
	}
}
