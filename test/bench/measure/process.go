// Package measure runs programs pinned to processors and reads what they cost: CPU seconds and peak
// memory of a process with all its children, from /proc. It judges nothing: benches print its tables.
//
// CPU seconds are the kernel's, user and system together in nanoseconds (schedstat) where the kernel keeps
// them, else in ticks of 10 ms. Memory is VmHWM, the highest resident set, summed over the processes of a tree; for nginx with its
// master that counts shared pages twice (about 2 MB), which the tables say.
package measure

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Tick is the unit of utime and stime in /proc on Linux (USER_HZ is 100 on every architecture Go knows).
const Tick = 10 * time.Millisecond

// Process is a program under measurement.
type Process struct {
	cmd  *exec.Cmd
	out  *tail
	done chan struct{}
	err  error
}

// tail keeps the last octets of a program's output, for the message when it fails.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if n := len(t.b); n > 4096 {
		t.b = append(t.b[:0], t.b[n-4096:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}

// Options says how to run a program.
type Options struct {
	CPU   string    // processors, as taskset takes them: "0", "0,2-3"; "" is all
	Env   []string  // added to ours
	Dir   string    // working directory
	Stdin io.Reader // may be nil
	Quiet bool      // standard output to /dev/null instead of kept for messages: a program that logs per message is not slowed by us
}

// Start runs a program. It gets its own process group, so that Stop ends its children too.
func Start(o Options, name string, args ...string) (*Process, error) {
	if o.CPU != "" {
		if ts, err := exec.LookPath("taskset"); err == nil {
			args = append([]string{"-c", o.CPU, name}, args...)
			name = ts
		}
	}
	p := &Process{cmd: exec.Command(name, args...), out: &tail{}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), o.Env...)
	p.cmd.Dir, p.cmd.Stdin = o.Dir, o.Stdin
	p.cmd.Stderr = p.out
	if !o.Quiet {
		p.cmd.Stdout = p.out
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.cmd.WaitDelay = time.Second // a grandchild may hold the output open
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Pid is the process id (taskset becomes the program, so it is the program's).
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output is the last of what it wrote.
func (p *Process) Output() string { return p.out.String() }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how it ended; valid after Done.
func (p *Process) Err() error { return p.err }

// Stop ends the program and its children: first kindly, after two seconds by force.
func (p *Process) Stop() {
	syscall.Kill(-p.Pid(), syscall.SIGTERM) // fails only when all are gone
	select {
	case <-p.done:
	case <-time.After(2 * time.Second):
	}
	syscall.Kill(-p.Pid(), syscall.SIGKILL)
	<-p.done
}

// Kill ends it at once, as a power loss does.
func (p *Process) Kill() {
	syscall.Kill(-p.Pid(), syscall.SIGKILL) // fails only when all are gone
	<-p.done
}

// WaitListening waits until addr accepts a connection, at most for the given time or until the program ends.
func (p *Process) WaitListening(addr string, limit time.Duration) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(limit)
	for {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended (%v): %s", filepath.Base(p.cmd.Path), p.err, p.Output())
		case <-end:
			return fmt.Errorf("%s does not listen on %s: %s", filepath.Base(p.cmd.Path), addr, p.Output())
		case <-tick.C:
		}
	}
}

// Tree gives the ids of the process and all its descendants that live now.
func Tree(pid int) []int {
	out := []int{pid}
	for i := 0; i < len(out); i++ {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", out[i])) // the pattern is sound
		for _, l := range lists {
			b, err := os.ReadFile(l)
			if err != nil {
				continue // it ended meanwhile
			}
			for _, f := range strings.Fields(string(b)) {
				if n, err := strconv.Atoi(f); err == nil {
					out = append(out, n)
				}
			}
		}
	}
	return out
}

// CPU gives user and system time of the process, its living descendants and those that it has waited for.
func CPU(pid int) (user, system time.Duration, err error) {
	for i, id := range Tree(pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
		if err != nil {
			if i == 0 {
				return 0, 0, err
			}
			continue // a child that ended since
		}
		// the name in brackets may hold anything: fields are counted from its end
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) < 15 {
			return 0, 0, fmt.Errorf("/proc/%d/stat: %d fields", id, len(f))
		}
		var v [4]int64 // utime stime cutime cstime
		for k := range v {
			if v[k], err = strconv.ParseInt(f[11+k], 10, 64); err != nil {
				return 0, 0, fmt.Errorf("/proc/%d/stat: %w", id, err)
			}
		}
		user += time.Duration(v[0]+v[2]) * Tick
		system += time.Duration(v[1]+v[3]) * Tick
	}
	return user, system, nil
}

// Total is user plus system time of the process and its living descendants, as fine as the kernel has it; 0 when the
// process is gone. Time of threads that have ended is missing from the fine figure: what is measured here keeps
// its threads.
func Total(pid int) time.Duration {
	var sum time.Duration
	for _, id := range Tree(pid) {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", id)) // the pattern is sound
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				continue // ended meanwhile
			}
			onCPU, _, _ := strings.Cut(string(b), " ")
			n, err := strconv.ParseInt(onCPU, 10, 64)
			if err != nil {
				continue // a kernel with another idea of this file: the ticks serve
			}
			sum += time.Duration(n)
		}
	}
	if sum > 0 {
		return sum
	}
	u, s, err := CPU(pid)
	if err != nil {
		return 0
	}
	return u + s
}

// Peak gives the sum of the highest resident sets (VmHWM) of the process and its descendants, in octets.
func Peak(pid int) int64 { return sumStatus(pid, "VmHWM:") }

// Resident gives the sum of the resident sets now.
func Resident(pid int) int64 { return sumStatus(pid, "VmRSS:") }

func sumStatus(pid int, key string) (sum int64) {
	for _, id := range Tree(pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", id))
		if err != nil {
			continue // ended meanwhile
		}
		for l := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(l, key); ok {
				n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 10, 64)
				if err == nil {
					sum += n << 10
				}
			}
		}
	}
	return sum
}

// Written gives the octets that the tree had the kernel write to disks.
func Written(pid int) (sum int64) {
	for _, id := range Tree(pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", id))
		if err != nil {
			continue // ended meanwhile
		}
		for l := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(l, "write_bytes:"); ok {
				if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
					sum += n
				}
			}
		}
	}
	return sum
}

// SwitchedAway gives how often the threads of the tree slept of their own will and were taken off the processor: a
// count of waits that helps to explain a figure.
func SwitchedAway(pid int) (voluntary, forced int64) {
	for _, id := range Tree(pid) {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", id)) // the pattern is sound
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				continue // ended meanwhile
			}
			for l := range strings.Lines(string(b)) {
				k, v, _ := strings.Cut(l, ":")
				n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64) // other lines are not numbers
				switch k {
				case "voluntary_ctxt_switches":
					voluntary += n
				case "nonvoluntary_ctxt_switches":
					forced += n
				}
			}
		}
	}
	return voluntary, forced
}

// FreeAddr gives an address on loopback that was free a moment ago, for programs that can't be told "any port".
// The host part is picked at random out of 127.0.0.0/8, so that nobody else's "any port" takes it meanwhile.
func FreeAddr() (string, error) {
	var b [3]byte
	f, err := os.Open("/dev/urandom")
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := io.ReadFull(f, b[:]); err != nil {
		return "", err
	}
	ln, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 16+b[0]%200, b[1], 1+b[2]%250))
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// Machine describes where the figures come from, in one line.
func Machine() string {
	model, n := "unknown processor", 0
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for l := range strings.Lines(string(b)) {
			k, v, _ := strings.Cut(l, ":")
			switch strings.TrimSpace(k) {
			case "model name":
				model = strings.TrimSpace(v)
			case "processor":
				n++
			}
		}
	}
	kernel := "unknown kernel"
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = "Linux " + strings.TrimSpace(string(b))
	}
	return fmt.Sprintf("%s, %d processors, %s", model, n, kernel)
}
