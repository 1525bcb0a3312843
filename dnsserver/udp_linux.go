package dnsserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const reusePort = true

// receiveBuffer is what we ask the system to hold for each socket while we are busy; it may give less.
const receiveBuffer = 2 << 20

func udpOptions(fd int, network string) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return fmt.Errorf("SO_REUSEPORT: %w", err)
	}
	// A kernel that refuses leaves us with its default.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	// Path MTU messages can be forged to make us send fragments, which can be forged too: don't believe them.
	// Whether the kernel is told the local address (for answers from a socket bound to all) is harmless elsewhere.
	if network == "udp4" {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT)
	} else {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT) // for mapped IPv4
	}
	return nil
}

const (
	batchSize = 64
	// slotSize is the room for one query and for the answer in its place. It is at least what udp_size allows, and not a multiple
	// of 4096, so that the slots' heads do not fall into the same sets of the cache.
	slotSize    = 4096 + 192
	controlSize = 64
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// batch is the scratch space of one socket. Queries are answered in place: the buffer and the address that received a query send
// its answer.
type batch struct {
	raw      syscall.RawConn
	h        *handler
	got      int // by transmit
	err      error
	receive  func(fd uintptr) bool
	transmit func(fd uintptr) bool

	hdrs [batchSize]mmsghdr
	iovs [batchSize]unix.Iovec
	addr [batchSize]unix.RawSockaddrInet6 // IPv4 fits in
	ctl  [batchSize][controlSize]byte     // the local address, where it matters, and how to cut a group
	bufs []byte
	out  outbox
}

func (u *udpSocket) prepare() error {
	raw, err := u.conn.SyscallConn()
	if err != nil {
		return err
	}
	u.raw = raw
	u.bufs = make([]byte, batchSize*slotSize)
	if u.any {
		if err := control(raw, packetInfo); err != nil {
			return fmt.Errorf("IP_PKTINFO: %w", err)
		}
	}
	for i := range u.hdrs {
		u.iovs[i].Base = &u.bufs[i*slotSize]
		h := &u.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&u.addr[i]))
		h.Iov = &u.iovs[i]
		h.SetIovlen(1)
		if u.any {
			h.Control = &u.ctl[i][0]
		}
		u.rearm(i)
	}
	// Made once: a closure for each batch would be an allocation.
	u.receive = func(fd uintptr) bool { return u.read(fd) }
	u.transmit = func(fd uintptr) bool {
		u.got, u.err = mmsg(unix.SYS_SENDMMSG, fd, u.out.pending)
		return u.err != unix.EAGAIN
	}
	held := u.hold(func(fd uintptr) {
		// A kernel before 4.18 doesn't know it: then each answer is sent by itself.
		u.out.segments = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, 0) == nil
	})
	if !held {
		return net.ErrClosed
	}
	return nil
}

// packetInfo asks for the local address of each datagram.
func packetInfo(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	if domain == unix.AF_INET {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
}

// mmsg calls recvmmsg or sendmmsg without waiting. The call does not tell the scheduler: it does not block. (The same function of
// package unix goes through two more.)
func mmsg(call, fd uintptr, hdrs []mmsghdr) (int, error) {
	for {
		n, _, e := syscall.RawSyscall6(call, fd, uintptr(unsafe.Pointer(&hdrs[0])), uintptr(len(hdrs)), unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, unix.EAGAIN
		default:
			return 0, e
		}
	}
}

// rearm makes header i ready to receive.
func (u *udpSocket) rearm(i int) {
	h := &u.hdrs[i].hdr
	h.Namelen = uint32(unsafe.Sizeof(u.addr[i]))
	u.iovs[i].SetLen(slotSize)
	if u.any {
		h.SetControllen(controlSize)
	}
}

// serve answers until the socket is closed.
func (u *udpSocket) serve(ctx context.Context, s *Server) error {
	if err := u.prepare(); err != nil {
		if ctx.Err() != nil {
			return nil // closed before it began
		}
		return fmt.Errorf("dns: %s: %w", u.conn.LocalAddr(), err)
	}
	u.h = &handler{s: s, count: s.metrics.counters()}
	var err error
	// What is inside has the descriptor to send with as its own, also while another goroutine closes the socket.
	held := u.hold(func(fd uintptr) {
		u.out.fd = fd
		err = u.loop(ctx, s)
	})
	if !held {
		return nil // closed before it began
	}
	return err
}

// loop reads and answers until the socket is closed.
func (u *udpSocket) loop(ctx context.Context, s *Server) error {
	for {
		if err := u.raw.Read(u.receive); err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil || s.handing.Load() {
				return nil
			}
			return fmt.Errorf("dns: %s: %w", u.conn.LocalAddr(), err)
		}
	}
}

// roundsPerRead bounds the batches that are read before we look whether the socket was closed. That look, and the way through
// packages net and poll, cost as much as answering a query or two.
const roundsPerRead = 32

// read reads and answers some batches; false: nothing is there, wait.
func (u *udpSocket) read(fd uintptr) bool {
	for range roundsPerRead {
		n, err := mmsg(unix.SYS_RECVMMSG, fd, u.hdrs[:])
		if err == unix.EAGAIN {
			return false
		}
		if err != nil {
			continue // an earlier answer could not be delivered; the error is spent
		}
		u.h.refresh()
		u.answer(u.h, n)
	}
	return true
}

// answer answers the n queries received.
func (u *udpSocket) answer(h *handler, n int) {
	u.out.reset()
	for i := range n {
		if u.hdrs[i].hdr.Flags&unix.MSG_TRUNC != 0 {
			continue // larger than any query
		}
		slot := u.bufs[i*slotSize : (i+1)*slotSize : (i+1)*slotSize]
		m := h.answerUDP(slot, int(u.hdrs[i].n), u.source(i))
		if m == 0 {
			continue
		}
		if u.any {
			u.replyFrom(i)
		}
		u.out.add(u, i, m)
	}
	h.flush()
	u.send(h)
	for i := range n {
		u.rearm(i)
	}
}

// source is the client's address.
func (u *udpSocket) source(i int) netip.Addr {
	if a := &u.addr[i]; a.Family == unix.AF_INET6 {
		return netip.AddrFrom16(a.Addr).Unmap()
	}
	return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&u.addr[i])).Addr)
}

// replyFrom turns the received packet info into the one to send with: the same local address, but no interface, so that the
// answer goes where the routes say. Link-local addresses need theirs.
func (u *udpSocket) replyFrom(i int) {
	h := &u.hdrs[i].hdr
	n := int(h.Controllen)
	if h.Flags&unix.MSG_CTRUNC != 0 || n < unix.SizeofCmsghdr {
		h.SetControllen(0)
		return
	}
	c := (*unix.Cmsghdr)(unsafe.Pointer(&u.ctl[i][0]))
	data := u.ctl[i][unix.CmsgLen(0):]
	h.SetControllen(unix.CmsgSpace(int(c.Len) - unix.CmsgLen(0)))
	switch {
	case c.Level == unix.IPPROTO_IP && c.Type == unix.IP_PKTINFO:
		binary.NativeEndian.PutUint32(data, 0)
	case c.Level == unix.IPPROTO_IPV6 && c.Type == unix.IPV6_PKTINFO:
		if !netip.AddrFrom16([16]byte(data[:16])).IsLinkLocalUnicast() {
			binary.NativeEndian.PutUint32(data[16:], 0)
		}
	default:
		h.SetControllen(0)
	}
}
