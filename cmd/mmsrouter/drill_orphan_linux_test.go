package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// childrenOf gives the processes that a process has started; those that have ended and wait for
// their parent don't count.
func childrenOf(t *testing.T, parent int) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			t.Fatal(err)
		}
		if ppid, state := procStat(pid); ppid == parent && state != "Z" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// procStat gives the parent and the state of a process; 0 if it has gone.
func procStat(pid int) (ppid int, state string) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, ""
	}
	words := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:])) // the name before may hold anything
	if len(words) < 2 {
		return 0, ""
	}
	ppid, _ = strconv.Atoi(words[1]) // the kernel writes a number
	return ppid, words[0]
}

// A drill that is killed leaves no process behind.
func TestKilledDrillLeavesNothing(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "drill", "lab", "--dir", t.TempDir(), "partition")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	until(t, "two MMSCs and three routers", func() bool {
		pids = childrenOf(t, cmd.Process.Pid)
		return len(pids) == 5
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed, and says so
	for _, pid := range pids {
		until(t, fmt.Sprintf("end of process %d", pid), func() bool {
			_, state := procStat(pid)
			return state == "" || state == "Z"
		})
	}
}
