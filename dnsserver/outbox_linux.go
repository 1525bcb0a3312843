package dnsserver

import (
	"bytes"
	"unsafe"

	"golang.org/x/sys/unix"
)

// outbox gathers the answers of one batch. Answers of equal length to the same client, of which a busy resolver or a gateway
// has many in a batch, go out as one datagram that the kernel cuts into as many (UDP segmentation): they go down the stack
// once instead of one by one. The last of such a group may be shorter.
type outbox struct {
	segments bool // the kernel can do it
	failures int  // groups in a row that it would not send

	groups [batchSize]group
	n      int
	slots  [2 * batchSize]uint8 // by a hash of the client: its newest group, plus one; 0: none
	next   [batchSize]uint8     // the answer behind an answer in its group
	lens   [batchSize]uint16
	hdr    unix.Msghdr
	iovs   [maxSegments]unix.Iovec

	// Where flush has stopped: at a group, or within one that goes one by one.
	at      int
	member  uint8
	left    uint8
	handler *handler
}

// group is a run of answers to one client.
type group struct {
	first, last, n uint8
	closed         bool // the last one was shorter
	total          int
}

const (
	maxSegments = 64    // of one datagram (UDP_MAX_SEGMENTS of older kernels)
	maxGroup    = 60000 // octets: a datagram has 16 bits for its length
	// maxFailures is the number of groups in a row that fail before we give up on them: some routes can't do it.
	maxFailures = 8
)

func (o *outbox) reset() {
	o.n = 0
	clear(o.slots[:])
}

// add puts answer i, of m octets, into a group.
func (o *outbox) add(u *udpSocket, i, m int) {
	o.lens[i] = uint16(m)
	slot := o.find(u, i)
	if *slot > 0 && o.segments {
		g := &o.groups[*slot-1]
		size := int(o.lens[g.first])
		if !g.closed && m <= size && g.n < maxSegments && g.total+m <= maxGroup {
			o.next[g.last] = uint8(i)
			g.last = uint8(i)
			g.n++
			g.total += m
			g.closed = m < size
			return
		}
	}
	o.groups[o.n] = group{first: uint8(i), last: uint8(i), n: 1, total: m}
	o.n++
	*slot = uint8(o.n)
}

// find gives the slot of answer i's client: the one with its newest group, or an empty one. There are more slots than answers in
// a batch.
func (o *outbox) find(u *udpSocket, i int) *uint8 {
	a := &u.addr[i]
	at := a.Port*31 ^ uint16(a.Flowinfo)*17 ^ uint16(a.Flowinfo>>16) // Flowinfo: where an IPv4 address stands
	for ; ; at++ {
		slot := &o.slots[at%uint16(len(o.slots))]
		if *slot == 0 || u.sameClient(int(o.groups[*slot-1].first), i) {
			return slot
		}
	}
}

// sameClient says whether two queries came from the same client to the same address of ours.
func (u *udpSocket) sameClient(i, j int) bool {
	if u.addr[i].Family == unix.AF_INET {
		// The rest of the structure is not written by the kernel.
		if *(*uint64)(unsafe.Pointer(&u.addr[i])) != *(*uint64)(unsafe.Pointer(&u.addr[j])) {
			return false
		}
	} else if u.addr[i] != u.addr[j] {
		return false
	}
	if !u.any {
		return true
	}
	n := u.hdrs[i].hdr.Controllen
	return n == u.hdrs[j].hdr.Controllen && bytes.Equal(u.ctl[i][:n], u.ctl[j][:n])
}

// send sends what is in the outbox.
func (u *udpSocket) send(h *handler) {
	u.out.at, u.out.left, u.out.handler = 0, 0, h
	if u.out.n > 0 {
		_ = u.raw.Write(u.transmit) // it fails when the socket is closed: Run is ending
	}
}

// flush sends from where it stopped; false means that the socket's buffer is full and it wants to be called again.
func (o *outbox) flush(u *udpSocket, fd uintptr) bool {
	for o.at < o.n {
		g := &o.groups[o.at]
		if g.n > 1 && o.left == 0 {
			switch err := o.sendGroup(u, fd, g); err {
			case 0:
				o.failures = 0
				o.handler.count.sends.Add(1)
				o.at++
				continue
			case unix.EAGAIN:
				return false
			default:
				o.refused(u, err)
				o.member, o.left = g.first, g.n
			}
		}
		if o.left == 0 {
			o.member, o.left = g.first, 1
		}
		for ; o.left > 0; o.left, o.member = o.left-1, o.next[o.member] {
			err := o.sendOne(u, fd, int(o.member))
			if err == unix.EAGAIN {
				return false
			}
			if o.handler.count.sends.Add(1); err != 0 { // no route, a firewall
				o.handler.count.sendFail.Add(1)
			}
		}
		o.at++
	}
	return true
}

// refused notes that the system would not send a group: it goes one by one. After a few of them so do all.
func (o *outbox) refused(u *udpSocket, err unix.Errno) {
	if o.failures++; o.failures >= maxFailures {
		o.segments = false
		o.handler.s.log.Info("answers go one by one: the system will not cut datagrams on this path", "socket", u.conn.LocalAddr(), "error", err)
	}
}

// sendOne sends one answer. Where sendto does, it is cheaper than any call that takes a structure.
func (o *outbox) sendOne(u *udpSocket, fd uintptr, i int) unix.Errno {
	if u.any {
		o.header(u, i)
		o.iovs[0].Base = &u.bufs[i*slotSize]
		o.iovs[0].SetLen(int(o.lens[i]))
		o.hdr.SetIovlen(1)
		return sendmsg(fd, &o.hdr)
	}
	for {
		_, _, e := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&u.bufs[i*slotSize])), uintptr(o.lens[i]), unix.MSG_DONTWAIT,
			uintptr(unsafe.Pointer(&u.addr[i])), uintptr(u.hdrs[i].hdr.Namelen))
		if e != unix.EINTR {
			return e
		}
	}
}

// sendGroup sends the answers of a group as one datagram that the kernel cuts into pieces as long as the first.
func (o *outbox) sendGroup(u *udpSocket, fd uintptr, g *group) unix.Errno {
	for k, i := 0, g.first; k < int(g.n); k, i = k+1, o.next[i] {
		o.iovs[k].Base = &u.bufs[int(i)*slotSize]
		o.iovs[k].SetLen(int(o.lens[i]))
	}
	i := int(g.first)
	o.header(u, i)
	o.hdr.SetIovlen(int(g.n))
	at := int(o.hdr.Controllen)
	c := (*unix.Cmsghdr)(unsafe.Pointer(&u.ctl[i][at]))
	c.Level, c.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	c.SetLen(unix.CmsgLen(2))
	*(*uint16)(unsafe.Pointer(&u.ctl[i][at+unix.CmsgLen(0)])) = o.lens[i]
	o.hdr.Control = &u.ctl[i][0]
	o.hdr.SetControllen(at + unix.CmsgSpace(2))
	return sendmsg(fd, &o.hdr)
}

// header addresses the datagram like query i came.
func (o *outbox) header(u *udpSocket, i int) {
	in := &u.hdrs[i].hdr
	o.hdr.Name, o.hdr.Namelen = in.Name, in.Namelen
	o.hdr.Iov = &o.iovs[0]
	o.hdr.Control = nil
	o.hdr.SetControllen(0)
	if u.any {
		o.hdr.Control, o.hdr.Controllen = in.Control, in.Controllen
	}
}

func sendmsg(fd uintptr, h *unix.Msghdr) unix.Errno {
	for {
		_, _, e := unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(h)), unix.MSG_DONTWAIT)
		if e != unix.EINTR {
			return e
		}
	}
}
