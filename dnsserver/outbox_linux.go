package dnsserver

import (
	"bytes"
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// outbox gathers the answers of one batch. Answers of equal length to the same client, of which a busy resolver or a gateway
// has many in a batch, go out as one datagram that the kernel cuts into as many (UDP segmentation): they go down the stack
// once instead of one by one. The last of such a group may be shorter.
type outbox struct {
	segments bool // the kernel can do it
	failures int  // groups in a row that it would not send

	groups  [batchSize]group
	n       int
	slots   [2 * batchSize]uint8 // by a hash of the client: its newest group, plus one; 0: none
	next    [batchSize]uint8     // the answer behind an answer in its group
	lens    [batchSize]uint16
	hdrs    [batchSize]mmsghdr
	iovs    [batchSize]unix.Iovec
	pending []mmsghdr // what the next system call sends
	fd      uintptr   // to send with
	sender  sender
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
	for at := u.hash(i); ; at++ {
		slot := &o.slots[at%uint(len(o.slots))]
		if *slot == 0 || u.sameClient(int(o.groups[*slot-1].first), i) {
			return slot
		}
	}
}

// hash spreads the clients over the slots. Neighbours often differ in one octet only, whichever: all count alike.
func (u *udpSocket) hash(i int) uint {
	a := &u.addr[i]
	h := uint64(a.Port)<<32 | uint64(a.Flowinfo) // Flowinfo: where an IPv4 address stands
	if a.Family == unix.AF_INET6 {
		h ^= binary.NativeEndian.Uint64(a.Addr[:8])*3 ^ binary.NativeEndian.Uint64(a.Addr[8:])
	}
	return uint(h * 0x9e3779b97f4a7c15 >> 57) // the golden ratio; the upper bits are the mixed ones
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
	o := &u.out
	iov := 0
	for k := range o.n {
		g := &o.groups[k]
		o.header(u, k, int(g.first))
		o.hdrs[k].hdr.Iov = &o.iovs[iov]
		o.hdrs[k].hdr.SetIovlen(int(g.n))
		i := g.first
		for range g.n {
			o.iovs[iov].Base = &u.bufs[int(i)*slotSize]
			o.iovs[iov].SetLen(int(o.lens[i]))
			iov++
			i = o.next[i]
		}
		if g.n > 1 {
			o.cut(u, k, int(g.first))
		}
	}
	for k := 0; k < o.n; {
		o.pending = o.hdrs[k:o.n]
		if !u.push() {
			h.count.sendFail.Add(uint64(o.n - k))
			return
		}
		if u.err == nil {
			h.count.sends.Add(uint64(u.got))
			for range max(u.got, 1) {
				if o.groups[k].n > 1 {
					o.failures = 0
				}
				k++
			}
			continue
		}
		// The first one is the culprit: no route, a firewall, or a group on a path that can't cut it.
		if g := o.groups[k]; g.n > 1 {
			if o.failures++; o.failures >= maxFailures {
				o.segments = false
				h.s.log.Info("answers go one by one: the system will not cut datagrams on this path", "socket", u.conn.LocalAddr(), "error", u.err)
			}
			u.sendOneByOne(h, k, g)
		} else {
			h.count.sendFail.Add(1)
		}
		k++
	}
}

// header addresses datagram k like the query i came.
func (o *outbox) header(u *udpSocket, k, i int) {
	h := &o.hdrs[k].hdr
	h.Name, h.Namelen = u.hdrs[i].hdr.Name, u.hdrs[i].hdr.Namelen
	switch {
	case u.any:
		h.Control, h.Controllen = u.hdrs[i].hdr.Control, u.hdrs[i].hdr.Controllen
	case o.sender.file != nil:
		h.Control = &o.sender.from[0]
		h.SetControllen(o.sender.info)
	default:
		h.Control = nil
		h.SetControllen(0)
	}
}

// cut tells the kernel to cut datagram k into answers as long as answer i.
func (o *outbox) cut(u *udpSocket, k, i int) {
	h := &o.hdrs[k].hdr
	at := int(h.Controllen)
	if !u.any {
		copy(u.ctl[i][:at], o.sender.from[:])
	}
	c := (*unix.Cmsghdr)(unsafe.Pointer(&u.ctl[i][at]))
	c.Level, c.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	c.SetLen(unix.CmsgLen(2))
	*(*uint16)(unsafe.Pointer(&u.ctl[i][at+unix.CmsgLen(0)])) = o.lens[i]
	h.Control = &u.ctl[i][0]
	h.SetControllen(at + unix.CmsgSpace(2))
}

// sendOneByOne sends the answers of a group that did not go as one.
func (u *udpSocket) sendOneByOne(h *handler, k int, g group) {
	o := &u.out
	hdr := &o.hdrs[k].hdr
	o.header(u, k, int(g.first))
	hdr.SetIovlen(1)
	o.pending = o.hdrs[k : k+1]
	for i, left := g.first, g.n; left > 0; i, left = o.next[i], left-1 {
		hdr.Iov = &u.iovs[i]
		u.iovs[i].SetLen(int(o.lens[i]))
		if !u.push() {
			h.count.sendFail.Add(uint64(left))
			return
		}
		if h.count.sends.Add(1); u.err != nil {
			h.count.sendFail.Add(1)
		}
	}
}
