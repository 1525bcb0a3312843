package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mmsrouter/mmsrouter/drill/fake"
)

// process is one process of the lab.
type process struct {
	name  string
	log   string // file of its output
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has been waited for
	mu    sync.Mutex
	pid   int // of who does its work now: an upgrade changes it
}

// run starts the command; its output goes to the log.
func (p *process) run(cmd *exec.Cmd, out io.Writer) error {
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() // the child has its own
	if cmd.Stderr = f; out == nil {
		cmd.Stdout = f
	}
	bind(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	ended := make(chan struct{})
	p.cmd, p.ended = cmd, ended
	p.setPID(cmd.Process.Pid)
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ended is in its log; that it ended is what counts
	}()
	return nil
}

func (p *process) setPID(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid = pid
}

func (p *process) currentPID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// alive says whether it runs, be it frozen.
func (p *process) alive() bool {
	pid := p.currentPID()
	if p.cmd == nil || pid == 0 {
		return false
	}
	if pid == p.cmd.Process.Pid {
		select {
		case <-p.ended:
			return false
		default:
			return true
		}
	}
	return syscall.Kill(pid, 0) == nil
}

func (p *process) signal(s syscall.Signal) error {
	if !p.alive() {
		return fmt.Errorf("%s does not run", p.name)
	}
	if err := syscall.Kill(p.currentPID(), s); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// endTime is how long the kernel may take to end a killed process.
const endTime = 10 * time.Second

// kill ends it without a word and returns when it has gone.
func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	return p.gone(endTime)
}

// gone waits until it has ended.
func (p *process) gone(within time.Duration) error {
	limit := time.NewTimer(within)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for p.alive() {
		select {
		case <-tick.C:
		case <-limit.C:
			return fmt.Errorf("%s has not ended within %s", p.name, within)
		}
	}
	return nil
}

// end is kill for one that may have ended already.
func (p *process) end() {
	if p.alive() {
		_ = p.kill() // one that outlives SIGKILL is the kernel's
	}
	if p.cmd != nil {
		<-p.ended
	}
}

// tail gives the last lines of the log, for an error.
func (p *process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// mmsc is a fake MMSC in a process of its own.
type mmsc struct {
	process
	l      *Lab
	listen string
	ledger string
	in     io.WriteCloser
	pipe   *os.File // of its words
	out    *bufio.Reader
}

func (l *Lab) startMMSC(n int) error {
	name := fmt.Sprintf("mmsc-%d", n)
	dir, err := l.folder(name)
	if err != nil {
		return err
	}
	m := &mmsc{process: process{name: name, log: filepath.Join(dir, "log")}, l: l, listen: l.at(100+n, "mmsc"), ledger: filepath.Join(dir, "ledger")}
	l.mmscs = append(l.mmscs, m)
	return m.start()
}

func (m *mmsc) start() (err error) {
	if m.alive() {
		return fmt.Errorf("%s runs already", m.name)
	}
	m.shut()
	cmd := m.l.o.Program("drill", "mmsc", "--name", m.name, "--listen", m.listen, "--ledger", m.ledger, "--answer", m.l.o.Scenario.Lab.Answer.String())
	if m.in, err = cmd.StdinPipe(); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout = w
	err = m.run(cmd, w)
	_ = w.Close() // the child has its own
	if err != nil {
		_ = r.Close() // nobody writes
		return err
	}
	m.pipe, m.out = r, bufio.NewReader(r)
	if line, err := m.line(); err != nil || line != m.listen {
		return fmt.Errorf("%s: it says %q, %v; its log: %s", m.name, line, err, m.tail())
	}
	return nil
}

// shut closes the ends of the pipes of a process that has gone.
func (m *mmsc) shut() {
	if m.pipe != nil {
		_ = m.pipe.Close() // nobody writes into it any more
		m.pipe = nil
	}
}

func (m *mmsc) end() {
	m.process.end()
	m.shut()
}

// answerTime is how long an MMSC may take for a word from the lab.
const answerTime = 10 * time.Second

// line reads its next word.
func (m *mmsc) line() (string, error) {
	_ = m.pipe.SetReadDeadline(time.Now().Add(answerTime)) // a pipe has deadlines
	s, err := m.out.ReadString('\n')
	return strings.TrimSpace(s), err
}

// behave tells it how to break, and waits until it does.
func (m *mmsc) behave(b fake.Behaviour) error {
	if !m.alive() {
		return fmt.Errorf("%s does not run", m.name)
	}
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	if _, err := m.in.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	switch said, err := m.line(); {
	case err != nil:
		return fmt.Errorf("%s: %w", m.name, err)
	case said != "ok":
		return errors.New(said)
	}
	return nil
}
