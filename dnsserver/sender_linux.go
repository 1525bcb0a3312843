package dnsserver

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A sender is a socket that answers leave by and nobody waits on. On the socket that receives, each datagram that has left is an
// event: the poller, which wants to know when there is room to write, is woken for every one, and the processor that delivers
// queries and the one that sends answers pull the socket's counters to and fro. Without either an answer costs 2 to 5 percent less.
//
// It has our port but an address of the loopback net that nobody asks, so that no query comes to it; each datagram says which address
// it leaves from (IP_PKTINFO). IPv6 has no such address to spare. Where the sender can't be had, answers leave by the socket that
// received the query.
type sender struct {
	file *os.File // in blocking mode: so package os does not give it to the poller
	from [64]byte // the packet info, as control message
	info int      // octets of it
}

// senderAddr spells DNS.
var senderAddr = netip.AddrFrom4([4]byte{127, 'D', 'N', 'S'})

// sendTimeout bounds how long answers wait for room, in microseconds: then they are dropped.
const sendTimeout = 100000

// openSenders opens a sender for each socket that can have one.
func (s *Server) openSenders() {
	for _, u := range s.udp {
		if !s.answersAt(netip.AddrPortFrom(senderAddr, u.local().Port())) {
			if err := u.openSender(); err != nil {
				s.log.Debug("answers leave by the socket that receives", "socket", u.conn.LocalAddr(), "error", err)
			}
		}
	}
}

// answersAt says whether a query to an address is for us.
func (s *Server) answersAt(a netip.AddrPort) bool {
	for _, u := range s.udp {
		if l := u.local(); l.Port() == a.Port() && (u.any || l.Addr() == a.Addr()) {
			return true
		}
	}
	return false
}

// local is the address that the socket is bound to.
func (u *udpSocket) local() netip.AddrPort {
	a := u.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func (u *udpSocket) openSender() error {
	local := u.local()
	if !local.Addr().Is4() {
		return errors.New("not IPv4")
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = errors.Join(udpOptions(fd, "udp4"),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0), // the system's least: what comes is for nobody
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: sendTimeout}),
		unix.Bind(fd, &unix.SockaddrInet4{Port: int(local.Port()), Addr: senderAddr.As4()}))
	if err != nil {
		_ = unix.Close(fd) // nothing has used it
		return err
	}
	o := &u.out.sender
	o.file = os.NewFile(uintptr(fd), "answers")
	c := (*unix.Cmsghdr)(unsafe.Pointer(&o.from[0]))
	c.Level, c.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
	c.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	(*unix.Inet4Pktinfo)(unsafe.Pointer(&o.from[unix.CmsgLen(0)])).Spec_dst = local.Addr().As4()
	o.info = unix.CmsgSpace(unix.SizeofInet4Pktinfo)
	return nil
}

// closeSender closes it; it lives on until serve has returned.
func (u *udpSocket) closeSender() {
	if f := u.out.sender.file; f != nil {
		_ = f.Close() // datagrams on their way don't mind
	}
}

// hold runs f with the descriptor to send with, which is not closed before f has returned. False: it was closed already.
func (u *udpSocket) hold(f func(fd uintptr)) bool {
	raw := u.raw
	if file := u.out.sender.file; file != nil {
		var err error
		if raw, err = file.SyscallConn(); err != nil {
			return false
		}
	}
	return raw.Control(f) == nil
}

// push hands what is pending to the system, and waits if it has no room; u.got and u.err say what became of it. False: it can't be
// sent, leave it.
func (u *udpSocket) push() bool {
	if u.transmit(u.out.fd) {
		return true
	}
	if u.out.sender.file == nil {
		return u.raw.Write(u.transmit) == nil // an error: closed meanwhile
	}
	p := u.out.pending
	n, _, e := unix.Syscall6(unix.SYS_SENDMMSG, u.out.fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
	switch e {
	case 0:
		u.got, u.err = int(n), nil
	case unix.EAGAIN:
		return false // there was no room for all of sendTimeout
	default:
		u.got, u.err = 0, e
	}
	return true
}
