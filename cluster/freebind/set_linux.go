package freebind

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Set sets the option on a socket of a network such as tcp4 or udp6, before it is bound.
func Set(fd int, network string) error {
	level, opt := unix.IPPROTO_IP, unix.IP_FREEBIND
	if strings.HasSuffix(network, "6") {
		level, opt = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
	}
	if err := unix.SetsockoptInt(fd, level, opt, 1); err != nil {
		return fmt.Errorf("IP_FREEBIND: %w", err)
	}
	return nil
}
