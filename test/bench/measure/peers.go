package measure

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Processors gives the processor for what is measured and those for all else; empty ones where nothing can be pinned.
func Processors() (measured, others string) {
	if runtime.NumCPU() < 2 {
		return "", ""
	}
	if _, err := exec.LookPath("taskset"); err != nil {
		return "", ""
	}
	if n := runtime.NumCPU(); n > 2 {
		return "0", fmt.Sprintf("1-%d", n-1)
	}
	return "0", "1"
}

// Find gives the path of an installed program, be it a daemon that is not in everybody's PATH.
func Find(name string) (string, error) {
	for _, at := range []string{name, "/usr/sbin/" + name} {
		if p, err := exec.LookPath(at); err == nil {
			return p, nil
		}
	}
	return "", errors.New("not installed")
}

// Chosen says whether a peer's name holds one of the words, by commas; no words choose all.
func Chosen(words, name string) bool {
	if words == "" {
		return true
	}
	for w := range strings.SplitSeq(strings.ToLower(words), ",") {
		if strings.Contains(strings.ToLower(name), w) {
			return true
		}
	}
	return false
}

// Result runs a program to its end on these processors and reads what it prints as JSON.
func Result[T any](cpu, name string, args ...string) (r T, err error) {
	if cpu != "" {
		name, args = "taskset", append([]string{"-c", cpu, name}, args...)
	}
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(out, &r)
}
