package app

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Descriptors that run out are run out for everybody: idle clients would keep messages from MMSCs, probes from seeing one, and operators
// from looking. So the front door takes no more connections than there are descriptors for.

// keptFiles are for stores, DNS, gossip, probes, pushes and logs.
const keptFiles = 256

// openFiles is how many descriptors this process may have; 0: nobody says.
func openFiles() uint64 {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return l.Cur
}

// clientRoom is how many connections of clients files are enough for: each may need another one to an MMSC.
func clientRoom(files uint64) uint64 {
	if files <= keptFiles+2 {
		return 1
	}
	return (files - keptFiles) / 2
}

// fitConnections gives mm1.limits.connections as far as there are descriptors, and what is to be said if that is less.
func (c *Config) fitConnections(files uint64) (most int, warning string) {
	most = c.MM1.Limits.Connections
	if room := clientRoom(files); files > 0 && uint64(most) > room {
		warning = fmt.Sprintf("mm1.limits.connections: %d: this process may open %d files, which is enough for %d connections and no more are taken (LimitNOFILE, ulimit -n)",
			most, files, room)
		most = int(room)
	}
	return most, warning
}
