package fakemmsc

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// line is a record as it stands in a ledger file.
func (r Record) line() string {
	attempt := r.Attempt
	if attempt == "" {
		attempt = "-"
	}
	return fmt.Sprintf("%s %02x %d %016x %s\n", strconv.Quote(r.Transaction), r.Type, r.Size, r.Digest, strconv.Quote(attempt))
}

// ReadLedger reads a ledger file; a last line without its end (the writer was killed in it) does not count.
func ReadLedger(file string) ([]Record, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Record
	for l := range strings.Lines(string(b)) {
		if !strings.HasSuffix(l, "\n") {
			break
		}
		r := Record{Stored: true}
		if _, err := fmt.Sscanf(l, "%q %x %d %x %q", &r.Transaction, &r.Type, &r.Size, &r.Digest, &r.Attempt); err != nil {
			return out, fmt.Errorf("ledger %s: %q: %w", file, l, err)
		}
		if r.Attempt == "-" {
			r.Attempt = ""
		}
		out = append(out, r)
	}
	return out, nil
}

// Main is the process form: it serves until it is told to end. Its one line on standard output is "listening ADDR".
func Main(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("fakemmsc", flag.ContinueOnError)
	fs.SetOutput(stderr)
	name := fs.String("name", "fake", "name, part of the Message-IDs")
	listen := fs.String("listen", "", "address (default: a loopback address of its own, any port)")
	ledger := fs.String("ledger", "", "file that gets a line per stored message before its answer")
	idle := fs.Duration("idle", 0, "close kept-alive connections that are idle for this long")
	delay := fs.Duration("delay", 0, "pause between storing a message and answering it")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	opt := Options{Name: *name, Listen: *listen, IdleClose: *idle, Delay: *delay}
	if *ledger != "" {
		f, err := os.OpenFile(*ledger, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			fmt.Fprintln(stderr, err)
			return 1
		}
		defer f.Close()
		opt.Ledger = f
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := New(opt)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	defer s.Close()
	fmt.Fprintln(stdout, "listening", s.Addr())
	<-ctx.Done()
	return 0
}

// Process is a fake MMSC in a process of its own, to be killed.
type Process struct {
	name, ledger string
	command      func(args []string) *exec.Cmd

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
	addr string
}

// StartProcess starts one. command makes the command line that ends in Main with these arguments (a test re-executes
// itself, others run test/fakemmsc/cmd/fakemmsc); dir holds the ledger.
func StartProcess(name, dir string, command func(args []string) *exec.Cmd) (*Process, error) {
	p := &Process{name: name, ledger: filepath.Join(dir, name+".ledger"), command: command}
	return p, p.Start()
}

// Start starts the process (again) on the same address.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return nil
	}
	args := []string{"-name", p.name, "-ledger", p.ledger}
	if p.addr != "" {
		args = append(args, "-listen", p.addr)
	}
	cmd := p.command(args)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("fake MMSC process %s: %w", p.name, err)
	}
	got := make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := bufio.NewReader(out)
		l, _ := r.ReadString('\n') // an end without a line is told by the empty text
		got <- l
		io.Copy(io.Discard, r) // to the end of the process
		cmd.Wait()             // killed: its error is what we wanted
	}()
	select {
	case l := <-got:
		addr, ok := strings.CutPrefix(strings.TrimSpace(l), "listening ")
		if !ok {
			cmd.Process.Kill()
			<-done
			return fmt.Errorf("fake MMSC process %s said %q", p.name, l)
		}
		p.addr, p.cmd, p.done = addr, cmd, done
		return nil
	case <-time.After(20 * time.Second):
		cmd.Process.Kill()
		<-done
		return fmt.Errorf("fake MMSC process %s did not start", p.name)
	}
}

// Kill ends it by SIGKILL and waits until it is gone.
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Kill() // fails only when it is gone already
	<-p.done
	p.cmd = nil
}

// Pid is the process's id, 0 when it does not run.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Addr is host:port, the same in every life.
func (p *Process) Addr() string { return p.addr }

// URL is the MMSC URL for a configuration.
func (p *Process) URL() string { return "http://" + p.addr + "/" }

// Records gives what it stored in all its lives.
func (p *Process) Records() ([]Record, error) { return ReadLedger(p.ledger) }
