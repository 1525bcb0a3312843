package app

import (
	"errors"
	"testing"
)

func TestMemoryLimits(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		group int64
		total int64
	}{
		{"nothing can be read", nil, 0, 0},
		{"version 2, no limit", map[string]string{"/proc/self/cgroup": "0::/system.slice/x.service\n",
			"/sys/fs/cgroup/system.slice/x.service/memory.max": "max\n", "/proc/meminfo": "MemTotal:  2048 kB\nMemFree: 1 kB\n"}, 0, 2 << 20},
		{"version 2, the smaller limit is above", map[string]string{"/proc/self/cgroup": "0::/a/b\n",
			"/sys/fs/cgroup/a/b/memory.max": "900000\n", "/sys/fs/cgroup/a/memory.max": "500000\n", "/sys/fs/cgroup/memory.max": "700000\n"}, 500000, 0},
		{"version 1", map[string]string{"/proc/self/cgroup": "5:cpu:/x\n4:memory:/y\n", "/sys/fs/cgroup/memory/y/memory.limit_in_bytes": "12345\n"}, 12345, 0},
		{"version 1, no limit", map[string]string{"/proc/self/cgroup": "4:memory:/\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0, 0},
		{"a broken file", map[string]string{"/proc/self/cgroup": "rubbish\n", "/proc/meminfo": "MemTotal: many kB\n"}, 0, 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			read := func(name string) ([]byte, error) {
				if s, ok := tc.files[name]; ok {
					return []byte(s), nil
				}
				return nil, errors.New("no such file")
			}
			if g, m := groupLimit(read), machineMemory(read); g != tc.group || m != tc.total {
				t.Errorf("group %d, machine %d; want %d, %d", g, m, tc.group, tc.total)
			}
		})
	}
}
