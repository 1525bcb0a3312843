package app

import (
	"bytes"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// gcPercent lets the heap grow further than Go's 100 before a collection: what lives is small beside what
// passes through, and the memory limit holds the ceiling.
const gcPercent = 200

// TuneMemory sets the collector's pace and the memory limit from the machine, unless GOGC or GOMEMLIMIT say
// otherwise: nine tenths of a control group's limit, else three quarters of the machine's memory. It
// returns the limit in octets, 0 if it set none.
func TuneMemory() int64 {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return 0
	}
	limit := groupLimit(os.ReadFile) / 10 * 9
	if total := machineMemory(os.ReadFile) / 4 * 3; limit == 0 || total > 0 && total < limit {
		limit = total
	}
	if limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	return limit
}

type readFile func(string) ([]byte, error)

// groupLimit is the smallest memory limit of this process's control group and those above it (version 2),
// or that of version 1; 0 if there is none or it can't be read.
func groupLimit(read readFile) int64 {
	b, err := read("/proc/self/cgroup")
	if err != nil {
		return 0 // not Linux, or hidden: the machine's memory decides
	}
	limit := int64(0)
	take := func(file string) {
		b, err := read(file)
		if err != nil {
			return
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
		if err == nil && n > 0 && n < math.MaxInt64/2 && (limit == 0 || n < limit) {
			limit = n // "max" does not parse: no limit
		}
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		switch {
		case f[1] == "":
			for dir := path.Clean("/" + f[2]); ; dir = path.Dir(dir) {
				take(path.Join("/sys/fs/cgroup", dir, "memory.max"))
				if dir == "/" {
					break
				}
			}
		case strings.Contains(","+f[1]+",", ",memory,"):
			take(path.Join("/sys/fs/cgroup/memory", path.Clean("/"+f[2]), "memory.limit_in_bytes"))
			take("/sys/fs/cgroup/memory/memory.limit_in_bytes")
		}
	}
	if limit > 1<<60 {
		return 0 // version 1 writes "no limit" as a huge number
	}
	return limit
}

// machineMemory is MemTotal of /proc/meminfo in octets; 0 if it can't be read.
func machineMemory(read readFile) int64 {
	b, err := read("/proc/meminfo")
	if err != nil {
		return 0 // not Linux: Go's default, no limit
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}
