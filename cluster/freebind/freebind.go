// Package freebind opens listeners on service addresses that are another machine's as yet: keepalived brings such an address
// when its holder dies, and the listener must stand by then (IP_FREEBIND, ip(7)). It keeps no state. Where the system
// knows no such option, asking for it is an error and never a listener that is not there when it is needed.
package freebind

import (
	"errors"
	"net"
	"syscall"
)

// Control gives the hook of a net.ListenConfig; nil where addresses must be there.
func Control(on bool) func(network, address string, c syscall.RawConn) error {
	if !on {
		return nil
	}
	return func(network, _ string, c syscall.RawConn) error {
		var inner error
		if err := c.Control(func(fd uintptr) { inner = Set(int(fd), network) }); err != nil {
			return err
		}
		return inner
	}
}

// ListenConfig is the plain one, or one that binds addresses that are not there.
func ListenConfig(on bool) *net.ListenConfig { return &net.ListenConfig{Control: Control(on)} }

// Hint says what may be done about an error of a listener: the key, such as "mm1.freebind", binds addresses that the machine
// does not have. Empty: the error is another one.
func Hint(err error, key string) string {
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return ": the machine does not have this address (" + key + " binds it anyway)"
	}
	return ""
}
