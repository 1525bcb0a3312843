package app

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// notifySocket is where the service manager wants to be told; unset: there is none.
const notifySocket = "NOTIFY_SOCKET"

// notify tells the service manager (systemd, Type=notify) one or more assignments such as READY=1: one
// datagram, as sd_notify(3) describes it. Without a manager it does nothing.
func notify(assignments ...string) error {
	path := os.Getenv(notifySocket)
	if path == "" {
		return nil
	}
	if path[0] != '/' && path[0] != '@' {
		return fmt.Errorf("%s=%q: want a path or @name", notifySocket, path)
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(strings.Join(assignments, "\n"))); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}
