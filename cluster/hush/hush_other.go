//go:build !linux

package hush

import (
	"errors"
	"net/netip"
)

func set(int, []netip.Addr) error {
	return errors.New("hush: only Linux has filters on listening sockets")
}
