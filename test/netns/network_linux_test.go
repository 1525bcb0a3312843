package netns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mark begins the name of every namespace of these stories; the process id follows.
const mark = "mmsr-test-"

// network is machines at two bridges: front, where clients, resolver and routers are, and core, with routers and MMSCs.
type network struct {
	t   *testing.T
	dir string // on every machine its own folder is seen at dir/here
	hub string

	processes []*process
	ended     sync.Once
}

// machine is a namespace with its own folder, seen at the same path on every machine.
type machine struct {
	net  *network
	name string
	ns   string
	fd   int
	own  string // its folder, from outside
}

// ip runs iproute2.
func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// newNetwork makes the two bridges, or skips the story with the reason.
func newNetwork(t *testing.T) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces take root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip (iproute2) is not installed")
	}
	removeLeftovers()
	n := &network{t: t, hub: fmt.Sprintf("%s%d-hub", mark, os.Getpid())}
	if err := ip("netns", "add", n.hub); err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
	t.Cleanup(func() { n.remove(n.hub) })
	// keepalived runs scripts only where nobody but root may write, from the root on: that rules /tmp out.
	dir, err := os.MkdirTemp("/run", fmt.Sprintf("%s%d-*", mark, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	n.dir = dir
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	here := filepath.Join(dir, "here")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(here, 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("ip", "netns", "exec", n.hub, "mount", "--bind", dir, here).Run(); err != nil {
		t.Skipf("a namespace can't have mounts of its own here: %v", err)
	}
	for _, bridge := range []string{"front", "core"} {
		n.must("-n", n.hub, "link", "add", bridge, "type", "bridge")
		n.must("-n", n.hub, "link", "set", bridge, "up")
	}
	return n
}

func (n *network) must(args ...string) {
	n.t.Helper()
	if err := ip(args...); err != nil {
		n.t.Fatal(err)
	}
}

// remove ends what still runs in a namespace, which only these stories can have started, and the namespace.
func (n *network) remove(ns string) {
	for _, p := range pidsIn(ns) {
		_ = syscall.Kill(p, syscall.SIGKILL) // it may just have ended
	}
	if err := ip("netns", "del", ns); err != nil {
		n.t.Error(err)
	}
}

func pidsIn(ns string) (all []int) {
	out, err := exec.Command("ip", "netns", "pids", ns).Output()
	if err != nil {
		return nil // it is not there
	}
	for _, f := range strings.Fields(string(out)) {
		if p, err := strconv.Atoi(f); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// removeLeftovers removes namespaces and folders of runs that were killed.
func removeLeftovers() {
	dead := func(file string) bool {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(file), mark), "-")
		p, err := strconv.Atoi(pid)
		return err == nil && errors.Is(syscall.Kill(p, 0), syscall.ESRCH) // else it lives: another run's
	}
	folders, _ := filepath.Glob("/run/" + mark + "*") // the pattern is good
	for _, f := range folders {
		if dead(f) {
			_ = os.RemoveAll(f) // the next run tries again
		}
	}
	list, _ := filepath.Glob("/run/netns/" + mark + "*") // likewise
	for _, f := range list {
		name := filepath.Base(f)
		if !dead(f) {
			continue
		}
		for _, child := range pidsIn(name) {
			_ = syscall.Kill(child, syscall.SIGKILL) // it may just have ended
		}
		_ = ip("netns", "del", name) // the next run tries again
	}
}

// link is an interface of a machine; without a bridge, one more address of an interface that it has.
type link struct{ device, bridge, address string }

// machine adds one with its links and loopback.
func (n *network) machine(name string, links ...link) *machine {
	n.t.Helper()
	m := &machine{net: n, name: name, ns: fmt.Sprintf("%s%d-%s", mark, os.Getpid(), name), own: filepath.Join(n.dir, name)}
	n.must("netns", "add", m.ns)
	n.t.Cleanup(func() { n.remove(m.ns) })
	if err := os.Mkdir(m.own, 0o755); err != nil {
		n.t.Fatal(err)
	}
	fd, err := unix.Open("/run/netns/"+m.ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	m.fd = fd
	n.t.Cleanup(func() { _ = unix.Close(fd) }) // it holds nothing but the namespace
	n.must("-n", m.ns, "link", "set", "lo", "up")
	for _, l := range links {
		if l.bridge == "" {
			n.must("-n", m.ns, "addr", "add", l.address, "dev", l.device, "nodad")
			continue
		}
		port := m.port(l.bridge)
		n.must("-n", n.hub, "link", "add", port, "type", "veth", "peer", "name", l.device, "netns", m.ns)
		n.must("-n", n.hub, "link", "set", port, "master", l.bridge, "up")
		n.must("-n", m.ns, "addr", "add", l.address, "dev", l.device)
		n.must("-n", m.ns, "link", "set", l.device, "up")
	}
	return m
}

func (m *machine) port(bridge string) string { return m.name + "-" + bridge }

// cut takes the machine off a bridge, as a broken switch does: the cable still has its carrier.
func (m *machine) cut(bridge string) {
	m.net.t.Helper()
	m.net.must("-n", m.net.hub, "link", "set", m.port(bridge), "nomaster")
}

// mend puts it back.
func (m *machine) mend(bridge string) {
	m.net.t.Helper()
	m.net.must("-n", m.net.hub, "link", "set", m.port(bridge), "master", bridge)
}

// pull takes the carrier away, plug brings it back.
func (m *machine) pull(bridge string) {
	m.net.t.Helper()
	m.net.must("-n", m.net.hub, "link", "set", m.port(bridge), "down")
}

func (m *machine) plug(bridge string) {
	m.net.t.Helper()
	m.net.must("-n", m.net.hub, "link", "set", m.port(bridge), "up")
}

// in runs f on a thread that is in the machine's network: sockets that f opens belong to it for ever.
func (m *machine) in(f func() error) error {
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer unix.Close(home)
	if err := unix.Setns(m.fd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the network of %s: %w", m.name, err)
	}
	err = f()
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("leave the network of %s: %w", m.name, back)) // the thread ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// dial connects from the machine to an address that is written in digits.
func (m *machine) dial(ctx context.Context, network, address string) (nc net.Conn, err error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	d.SetMultipathTCP(false)
	err = m.in(func() (err error) {
		nc, err = d.DialContext(ctx, network, address)
		return err
	})
	return nc, err
}

// holds gives the addresses of a device as the machine's kernel has them.
func (m *machine) holds(device string) (all []string, err error) {
	err = m.in(func() error {
		i, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		list, err := i.Addrs()
		for _, a := range list {
			if n, ok := a.(*net.IPNet); ok {
				all = append(all, n.IP.String())
			}
		}
		return err
	})
	return all, err
}

// process is a program on a machine.
type process struct {
	cmd  *exec.Cmd
	log  string // its output, both kinds
	done chan struct{}
	err  error // valid after done
}

// command makes a command line that runs on the machine, with its folder in place.
func (m *machine) command(args ...string) *exec.Cmd {
	script := `mount --bind "$0" "$1" && shift && exec "$@"`
	cmd := exec.Command("ip", append([]string{"netns", "exec", m.ns, "sh", "-c", script, m.own, filepath.Join(m.net.dir, "here")}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return cmd
}

// run starts a program that ends with the story; its output goes to NAME.log in the machine's folder.
func (m *machine) run(name string, args ...string) *process {
	t := m.net.t
	t.Helper()
	p := &process{cmd: m.command(args...), log: filepath.Join(m.own, name+".log"), done: make(chan struct{})}
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() // the child has its own
	p.cmd.Stdout, p.cmd.Stderr = f, f
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	m.net.processes = append(m.net.processes, p)
	t.Cleanup(func() {
		m.net.endAll()
		if t.Failed() {
			text, _ := os.ReadFile(p.log)
			t.Logf("%s on %s said:\n%s", name, m.name, text[max(0, len(text)-6000):])
		}
	})
	return p
}

// endAll ends every program at the end of a story, all at once; a drain then tells nothing, so none is waited for.
func (n *network) endAll() {
	n.ended.Do(func() {
		var wg sync.WaitGroup
		for _, p := range n.processes {
			wg.Go(func() { p.end(500 * time.Millisecond) })
		}
		wg.Wait()
	})
}

// signal tells the program something; it may have ended.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// kill ends it by SIGKILL.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// end asks it to end, and after the limit no longer asks.
func (p *process) end(limit time.Duration) {
	p.signal(syscall.SIGCONT)
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(limit):
		p.kill()
	}
}

// output runs a command on the machine to its end.
func (m *machine) output(args ...string) (string, error) {
	out, err := m.command(args...).CombinedOutput()
	return string(out), err
}

// await polls a condition with a deadline; what names it, and why says what is the case instead.
func await(t *testing.T, limit time.Duration, what string, ok func() (done bool, why string)) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		done, why := ok()
		if done {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			t.Fatalf("%s: not within %s: %s", what, limit, why)
		}
		<-tick.C
	}
}
