//go:build linux

package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	crowdSocket = 64 // clients that share a socket
	controlSize = 32 // room for the packet info of one datagram
)

// crowd is up to 64 clients with one question outstanding each. Every client has an address of its own within 127.0.0.0/8; they share
// a socket. A socket for each of them costs the load more than an answer costs a server, and the server waits for it.
type crowd struct {
	fd      int
	waiting [crowdSocket]bool // which clients have a question outstanding
	clients int
	server  unix.RawSockaddrInet4
	ask     [crowdSocket]mmsghdr // the question of each client, ready to go
	askv    [crowdSocket]unix.Iovec
	askc    [crowdSocket][controlSize]byte
	out     []byte
	recv    [loadBatch]mmsghdr
	recvv   [loadBatch]unix.Iovec
	in      []byte
	turn    [crowdSocket]mmsghdr // the questions that go out next
}

// loadCrowds is loadMain with n clients of one question each.
func loadCrowds(to *net.UDPAddr, n, answers int) error {
	all, err := newCrowds(to, n)
	for _, c := range all {
		defer unix.Close(c.fd)
	}
	if err != nil {
		return err
	}
	r, err := driveCrowds(all, answers)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// newCrowds makes n clients.
func newCrowds(to *net.UDPAddr, n int) (all []*crowd, err error) {
	for first := 0; first < n; first += crowdSocket {
		c, err := newCrowd(to, first, min(crowdSocket, n-first))
		if err != nil {
			return all, err
		}
		all = append(all, c)
	}
	return all, nil
}

func newCrowd(to *net.UDPAddr, first, n int) (*crowd, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) // without the right to it, the default serves
	q := question()
	c := &crowd{fd: fd, clients: n, in: make([]byte, loadBatch*answerSize), out: make([]byte, n*len(q))}
	c.server.Family = unix.AF_INET
	c.server.Addr = [4]byte(to.IP.To4())
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&c.server.Port))[:], uint16(to.Port))
	for i := range n {
		b := c.out[i*len(q) : (i+1)*len(q)]
		copy(b, q)
		c.prepare(i, b, first+i)
	}
	for i := range loadBatch {
		c.recvv[i].Base = &c.in[i*answerSize]
		c.recvv[i].SetLen(answerSize)
		c.recv[i].hdr.Iov = &c.recvv[i]
		c.recv[i].hdr.SetIovlen(1)
	}
	return c, nil
}

// prepare makes client i's question b ready to go from address k.
func (c *crowd) prepare(i int, b []byte, k int) {
	binary.BigEndian.PutUint16(b, uint16(i)) // the answer's id says whose it is
	c.askv[i].Base = &b[0]
	c.askv[i].SetLen(len(b))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c.askc[i][0]))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&c.askc[i][unix.CmsgLen(0)]))
	info.Spec_dst = [4]byte{127, 1, byte(k >> 8), byte(k)}
	m := &c.ask[i].hdr
	m.Name, m.Namelen = (*byte)(unsafe.Pointer(&c.server)), uint32(unsafe.Sizeof(c.server))
	m.Iov = &c.askv[i]
	m.SetIovlen(1)
	m.Control = &c.askc[i][0]
	m.SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo))
}

// send asks for the first n clients in turn.
func (c *crowd) send(n int) error {
	for sent := 0; sent < n; {
		k, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&c.turn[sent])), uintptr(n-sent), 0, 0, 0)
		switch e {
		case 0:
			sent += int(k)
		case unix.EINTR, unix.EAGAIN:
		case unix.ECONNREFUSED:
			return errors.New("the server has gone")
		default:
			return e
		}
	}
	return nil
}

// all asks for every client that does not wait for an answer and says how many did.
func (c *crowd) all() (lost int, err error) {
	for i := range c.clients {
		if c.waiting[i] {
			lost++
		}
		c.waiting[i] = true
		c.turn[i] = c.ask[i]
	}
	return lost, c.send(c.clients)
}

// collect takes the answers that are there and, if more are wanted, asks for the same clients again.
func (c *crowd) collect(more bool) (int, error) {
	n, _, e := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&c.recv[0])), loadBatch, unix.MSG_DONTWAIT, 0, 0)
	switch e {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	default:
		return 0, e
	}
	got := 0
	for i := range int(n) {
		a := c.in[i*answerSize : (i+1)*answerSize]
		client := int(binary.BigEndian.Uint16(a))
		if c.recv[i].n < 40 || a[2]&0x84 != 0x84 || a[3]&15 != 0 || a[7] != 1 || a[11] != 1 || client >= c.clients {
			return 0, fmt.Errorf("wrong answer: %x", a[:min(int(c.recv[i].n), answerSize)])
		}
		if !c.waiting[client] {
			continue // it was late: the client has asked again meanwhile
		}
		c.waiting[client] = more
		c.turn[got] = c.ask[client]
		got++
	}
	if !more {
		return got, nil
	}
	return got, c.send(got)
}

// driveCrowds keeps every client asking until enough answers have come. It never sleeps.
func driveCrowds(all []*crowd, want int) (r loadResult, err error) {
	begin := time.Now()
	for _, c := range all {
		if _, err := c.all(); err != nil {
			return r, err
		}
	}
	last := begin
	for r.Answers < want {
		got := 0
		for _, c := range all {
			n, err := c.collect(r.Answers+got < want)
			if err != nil {
				return r, err
			}
			got += n
		}
		if r.Answers += got; got > 0 {
			last = time.Now()
			continue
		}
		if time.Since(last) < stalled {
			continue
		}
		for _, c := range all {
			n, err := c.all()
			if err != nil {
				return r, err
			}
			r.Lost += n
		}
		if r.Lost > want {
			return r, errors.New("the server does not answer")
		}
		last = time.Now()
	}
	r.Seconds = time.Since(begin).Seconds()
	return r, nil
}
