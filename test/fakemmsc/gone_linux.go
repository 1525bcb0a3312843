package fakemmsc

import (
	"net"
	"syscall"
)

// Gone says whether the peer has ended or reset the connection, without taking anything from it.
func Gone(nc net.Conn) bool {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return true
	}
	is := false
	err = raw.Control(func(fd uintptr) {
		// state is the first octet of struct tcp_info: 1 established, 8 close-wait, 7 closed
		state, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
		is = err != nil || state&0xFF != 1
	})
	return err != nil || is
}
