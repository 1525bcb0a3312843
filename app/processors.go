package app

import (
	"os"
	"runtime"
)

// TuneProcessors lets one goroutine more run than the machine has processors, when the embedded MMSC keeps its messages in SQLite: its
// committer waits for the disk much of the time, and Go leaves a goroutine that waits in a system call its place for a while, which on
// few processors is a good part of all places. GOMAXPROCS in the environment comes first. It returns how many run at once.
func TuneProcessors(c *Config) int {
	n := runtime.GOMAXPROCS(0)
	if os.Getenv("GOMAXPROCS") == "" && c.MMSC.Enabled && c.MMSC.Database == "" {
		n++
		runtime.GOMAXPROCS(n)
	}
	return n
}
