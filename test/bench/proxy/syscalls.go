package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

// syscalls counts the system calls that a message costs each peer, with strace attached: what a structure
// costs, free of the clock. Messages are slower meanwhile; only the counts are looked at.
func (b *bench) syscalls(peers []peer) *measure.Table {
	t := measure.NewTable("System calls per message, 32 keep-alive clients", "", "")
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Note("strace", "skip", "not installed")
		return t
	}
	type load struct {
		label string
		size  int
		n     int
	}
	loads := []load{{"30 KB", 30_000, 1000}, {"300 KB", 300_000, 400}}
	for _, l := range loads {
		for _, p := range peers {
			err := b.run(p, conditions{size: l.size}, func(proc *measure.Process, c conditions) error {
				if _, err := b.load(loadPlan{Addr: c.listen, Size: l.size, N: 200, Conns: 32}); err != nil {
					return err
				}
				counts, err := traced(strace, c.dir, proc.Pid(), func() error {
					_, err := b.load(loadPlan{Addr: c.listen, Size: l.size, N: l.n, Conns: 32, First: 200})
					return err
				})
				if err != nil {
					return err
				}
				total := 0
				var names []string
				for name, k := range counts {
					total += k
					names = append(names, name)
				}
				sort.Slice(names, func(i, j int) bool { return counts[names[i]] > counts[names[j]] })
				var top []string
				for _, name := range names[:min(5, len(names))] {
					top = append(top, fmt.Sprintf("%s %.1f", name, float64(counts[name])/float64(l.n)))
				}
				t.Add(p.name, l.label, float64(total)/float64(l.n))
				t.Note(p.name, l.label+": most of them", strings.Join(top, ", "))
				return nil
			})
			if err != nil {
				t.Note(p.name, l.label, "no figure: "+firstLine(err))
			}
		}
	}
	return t
}

// traced counts the calls of a process tree by name while work runs.
func traced(strace, dir string, pid int, work func() error) (map[string]int, error) {
	out := filepath.Join(dir, "strace")
	args := []string{"-f", "-c", "-U", "calls,name", "-o", out}
	for _, id := range measure.Tree(pid) {
		args = append(args, "-p", strconv.Itoa(id))
	}
	cmd := exec.Command(strace, args...)
	said, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	attached := make(chan string, 1)
	go func() {
		r := bufio.NewReader(said)
		l, _ := r.ReadString('\n') // an end without a line is an answer too
		attached <- l
		io.Copy(io.Discard, r) // threads that come and go
	}()
	var line string
	select {
	case line = <-attached:
	case <-time.After(10 * time.Second):
	}
	if !strings.Contains(line, "attached") {
		cmd.Process.Kill()
		cmd.Wait() // killed
		return nil, fmt.Errorf("strace: %s", strings.TrimSpace(line))
	}
	werr := work()
	cmd.Process.Signal(os.Interrupt) // its end is awaited next
	cmd.Wait()                       // it ends by the signal
	if werr != nil {
		return nil, werr
	}
	text, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for l := range strings.Lines(string(text)) {
		f := strings.Fields(l)
		if len(f) != 2 || f[1] == "total" {
			continue
		}
		if n, err := strconv.Atoi(f[0]); err == nil {
			counts[f[1]] = n
		}
	}
	if len(counts) == 0 {
		return nil, fmt.Errorf("strace counted nothing: %s", text)
	}
	return counts, nil
}
