//go:build linux

package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loadResult is what a load process prints.
type loadResult struct {
	Answers, Lost int
	Seconds       float64
}

const (
	loadBatch  = 64 // as many segments as the kernel takes at once
	answerSize = 512
)

// loader asks from one socket. It must cost less than the server, or the server waits for it.
type loader struct {
	fd          int
	outstanding int
	next        uint16
	segments    bool   // a batch of questions goes out as one large datagram that the kernel cuts (UDP segmentation)
	out         []byte // loadBatch questions
	query       int    // octets of one
	send, recv  [loadBatch]mmsghdr
	sendv       [loadBatch]unix.Iovec
	recvv       [loadBatch]unix.Iovec
	in          []byte
}

type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

func loadMain(args []string) error {
	fs := flag.NewFlagSet("load", flag.ContinueOnError)
	addr := fs.String("addr", "", "the server")
	n := fs.Int("n", 1000000, "answers to wait for")
	window := fs.Int("window", 512, "questions outstanding")
	sockets := fs.Int("sockets", 8, "sockets to ask from")
	segments := fs.Bool("segments", true, "send batches by UDP segmentation: cheaper for the load, so that a fast server is still kept busy")
	lone := fs.Bool("lone", false, "as many clients as the window, with one question and an address each")
	if err := fs.Parse(args); err != nil {
		return err
	}
	to, err := net.ResolveUDPAddr("udp4", *addr)
	if err != nil {
		return err
	}
	if *lone {
		return loadCrowds(to, *window, *n)
	}
	var all []*loader
	for range *sockets {
		l, err := newLoader(to, *segments)
		if err != nil {
			return err
		}
		defer unix.Close(l.fd)
		all = append(all, l)
	}
	r, err := drive(all, *n, max(1, *window / *sockets))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func newLoader(to *net.UDPAddr, segments bool) (*loader, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	sa := &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}
	if err := unix.Connect(fd, sa); err != nil {
		return nil, err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) // without the right to it, the default serves
	q := question()
	if segments {
		if err := unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, len(q)); err != nil {
			return nil, fmt.Errorf("UDP_SEGMENT: %w", err)
		}
	}
	l := &loader{fd: fd, segments: segments, query: len(q), in: make([]byte, loadBatch*answerSize), out: make([]byte, loadBatch*len(q))}
	for i := range loadBatch {
		copy(l.out[i*len(q):], q)
		l.sendv[i].Base = &l.out[i*len(q)]
		l.sendv[i].SetLen(len(q))
		l.send[i].hdr.Iov = &l.sendv[i]
		l.send[i].hdr.SetIovlen(1)
		l.recvv[i].Base = &l.in[i*answerSize]
		l.recvv[i].SetLen(answerSize)
		l.recv[i].hdr.Iov = &l.recvv[i]
		l.recv[i].hdr.SetIovlen(1)
	}
	return l, nil
}

// question asks for the zone's A record, with EDNS.
func question() []byte {
	b := []byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1}
	for _, l := range strings.Split(zone, ".") {
		b = append(append(b, byte(len(l))), l...)
	}
	return append(b, 0, 0, 1, 0, 1, 0, 0, 41, 1232>>8, 1232&255, 0, 0, 0, 0, 0, 0)
}

// ask sends n questions at most a batch.
func (l *loader) ask(n int) error {
	n = min(n, loadBatch)
	for i := range n {
		binary.BigEndian.PutUint16(l.out[i*l.query:], l.next)
		l.next++
	}
	for sent := 0; sent < n; {
		k, err := l.write(sent, n)
		switch err {
		case nil:
			sent += k
			l.outstanding += k
		case unix.EINTR, unix.EAGAIN:
		case unix.ECONNREFUSED:
			return errors.New("the server has gone")
		default:
			return err
		}
	}
	return nil
}

// write sends the questions from..to-1 or the first of them and says how many.
func (l *loader) write(from, to int) (int, error) {
	if l.segments {
		_, err := unix.Write(l.fd, l.out[from*l.query:to*l.query])
		return to - from, err
	}
	n, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(l.fd), uintptr(unsafe.Pointer(&l.send[from])), uintptr(to-from), 0, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// collect takes the answers that are there.
func (l *loader) collect() (int, error) {
	n, _, e := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(l.fd), uintptr(unsafe.Pointer(&l.recv[0])), loadBatch, unix.MSG_DONTWAIT, 0, 0)
	switch e {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	default:
		return 0, e
	}
	for i := range int(n) {
		a := l.in[i*answerSize:]
		if l.recv[i].n < 40 || a[2]&0x84 != 0x84 || a[3]&15 != 0 || a[7] != 1 || a[11] != 1 {
			return 0, fmt.Errorf("wrong answer: %x", a[:min(int(l.recv[i].n), answerSize)])
		}
	}
	l.outstanding -= int(n)
	return int(n), nil
}

// stalled is how long without any answer what is outstanding counts as lost.
const stalled = 2 * time.Second

// drive keeps a window full on every socket until enough answers have come. It never sleeps: to wake it would be the server's work.
func drive(all []*loader, want, window int) (r loadResult, err error) {
	begin := time.Now()
	last := begin
	for r.Answers < want {
		got := 0
		for _, l := range all {
			n, err := l.collect()
			if err != nil {
				return r, err
			}
			got += n
			// Half a window at a time, so that questions come in batches.
			if l.outstanding <= window/2 && r.Answers+got < want {
				if err := l.ask(window - l.outstanding); err != nil {
					return r, err
				}
			}
		}
		if r.Answers += got; got > 0 {
			last = time.Now()
			continue
		}
		if time.Since(last) >= stalled {
			for _, l := range all {
				r.Lost += l.outstanding
				l.outstanding = 0
			}
			if r.Lost > want {
				return r, errors.New("the server does not answer")
			}
			last = time.Now()
		}
	}
	r.Seconds = time.Since(begin).Seconds()
	return r, nil
}
