package hush

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Where the filter finds things: the socket's data begin with the TCP header, and the network header is at an offset of its own.
const (
	flagsAt   = 13
	synAck    = 0x12 // the two flags of which a first segment has one
	syn       = 0x02
	network   = 0xfff00000 // SKF_NET_OFF of linux/filter.h
	target4At = 16
	target6At = 24
)

// mostSteps is the kernel's limit of a filter (BPF_MAXINSNS).
const mostSteps = 4096

func set(fd int, addresses []netip.Addr) error {
	if len(addresses) == 0 {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		if err != nil && !errors.Is(err, unix.ENOENT) { // there was none
			return fmt.Errorf("SO_DETACH_FILTER: %w", err)
		}
		return nil
	}
	steps := program(addresses)
	if len(steps) > mostSteps {
		return fmt.Errorf("hush: %d addresses are too many", len(addresses))
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(steps)), Filter: &steps[0]}); err != nil {
		return fmt.Errorf("SO_ATTACH_FILTER: %w", err)
	}
	return nil
}

// program drops first segments to the addresses and lets everything else pass.
func program(addresses []netip.Addr) []unix.SockFilter {
	const (
		octet, word  = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal        = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		and, right   = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K
		jump, answer = unix.BPF_JMP | unix.BPF_JA, unix.BPF_RET | unix.BPF_K
	)
	pass, drop := unix.SockFilter{Code: answer, K: 0xffffffff}, unix.SockFilter{Code: answer}
	four := []unix.SockFilter{{Code: word, K: network + target4At}}
	var six []unix.SockFilter
	for _, a := range addresses {
		if a = a.Unmap(); a.Is4() {
			b := a.As4()
			four = append(four, unix.SockFilter{Code: equal, Jf: 1, K: binary.BigEndian.Uint32(b[:])}, drop)
			continue
		}
		b := a.As16()
		for i := range 4 {
			six = append(six, unix.SockFilter{Code: word, K: network + target6At + 4*uint32(i)},
				unix.SockFilter{Code: equal, Jf: uint8(2*(3-i) + 1), K: binary.BigEndian.Uint32(b[4*i:])})
		}
		six = append(six, drop)
	}
	four, six = append(four, pass), append(six, pass)
	steps := []unix.SockFilter{
		{Code: octet, K: flagsAt}, {Code: and, K: synAck}, {Code: equal, Jt: 1, K: syn}, pass,
		{Code: octet, K: network}, {Code: right, K: 4}, {Code: equal, Jt: 1, K: 4}, {Code: jump, K: uint32(len(four))},
	}
	return append(append(steps, four...), six...)
}
