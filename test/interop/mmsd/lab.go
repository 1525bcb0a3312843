// Package mmsd is the lab with mmsd-tng (Debian: mmsd-tng), the MMS daemon of Linux phones, as a handset that nobody here
// wrote: it runs on a D-Bus of its own against a modem that is always connected through the loopback interface. It takes
// WSP pushes, fetches, acknowledges and sends by itself. It is for tests.
package mmsd

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mmsrouter/mmsrouter/handset/smsc"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
)

// python is the distribution's: python3-dbus and python3-gi are built for no other.
const python = "/usr/bin/python3"

//go:embed modem.py
var modem []byte

// Missing says which of the programs that the lab needs are not here; nil: none.
func Missing() error {
	var all error
	for _, p := range []struct{ name, in string }{{"mmsdtng", "mmsd-tng"}, {"dbus-daemon", "dbus"}, {python, "python3"}} {
		if _, err := exec.LookPath(p.name); err != nil {
			all = errors.Join(all, fmt.Errorf("no %s here (Debian: %s)", p.name, p.in))
		}
	}
	if all != nil {
		return all
	}
	if out, err := exec.Command(python, "-c", "import dbus, gi").CombinedOutput(); err != nil {
		return fmt.Errorf("no Python modules dbus and gi here (Debian: python3-dbus python3-gi): %s", lastLine(out))
	}
	return nil
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

// Options of Start.
type Options struct {
	Number string // of the handset, with its plus
	MMSC   string // MMS URL
	Proxy  string // MMS proxy as host:port; empty: none
	DNS    string // name server; it is asked on port 53. Default 127.0.0.1
}

const imsi = "240990000000001" // Sweden's test network

// Handset is a running mmsd-tng.
type Handset struct {
	dir    string
	number string
	procs  []*process // in order of start
	in     io.WriteCloser

	mu       sync.Mutex
	service  string // D-Bus path of the one service
	messages map[string]*Message
	order    []string
	next     int
	answers  map[int]chan answer
	news     chan struct{} // closed and replaced with each event
	gone     bool          // the helper has ended
}

type answer struct {
	result json.RawMessage
	err    error
}

type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// Start starts bus, modem and mmsd-tng, and returns when mmsd-tng serves the modem. On an error nothing is left running.
func Start(ctx context.Context, o Options) (h *Handset, err error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	if o.DNS == "" {
		o.DNS = "127.0.0.1"
	}
	// A socket's path has at most 107 octets, too few for a test's own folder.
	dir, err := os.MkdirTemp("", "mmsd")
	if err != nil {
		return nil, err
	}
	h = &Handset{dir: dir, number: o.Number, messages: map[string]*Message{}, answers: map[int]chan answer{}, news: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, errors.New(h.Logs()), h.Stop())
			h = nil
		}
	}()
	if err := h.write(o); err != nil {
		return nil, err
	}
	if err := h.bus(); err != nil {
		return nil, err
	}
	if err := h.modem(o); err != nil {
		return nil, err
	}
	if err := h.await(ctx, "modem", func() bool { return h.service == modemOnly }); err != nil {
		return nil, err
	}
	if _, err := h.start("mmsd", nil, "mmsdtng", "-d"); err != nil {
		return nil, err
	}
	return h, h.await(ctx, "mmsd-tng to serve the modem", func() bool { return h.service != "" && h.service != modemOnly })
}

// modemOnly stands for the service while there is only a modem.
const modemOnly = "modem"

func (h *Handset) write(o Options) error {
	settings := filepath.Join(h.dir, "home", ".mms", "modemmanager")
	if err := os.MkdirAll(settings, 0o700); err != nil {
		return err
	}
	proxy := o.Proxy
	if proxy == "" {
		proxy = "NULL"
	}
	return errors.Join(
		os.WriteFile(filepath.Join(settings, "mms"), fmt.Appendf(nil, "[Modem Manager]\nCarrierMMSC=%s\nMMS_APN=mms\nCarrierMMSProxy=%s\n"+
			"DefaultModemNumber=%s\nAutoProcessOnConnection=true\nAutoProcessSMSWAP=true\nIMSI=%s\n", o.MMSC, proxy, o.Number, imsi), 0o600),
		os.WriteFile(filepath.Join(h.dir, "bus.conf"), fmt.Appendf(nil, `<busconfig><type>session</type><listen>unix:path=%s</listen>`+
			`<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`, h.socket()), 0o600),
		os.WriteFile(filepath.Join(h.dir, "modem.py"), modem, 0o600))
}

func (h *Handset) socket() string { return filepath.Join(h.dir, "bus") }

// start starts a process whose output goes to a log, but what is taken from it by a pipe.
func (h *Handset) start(name string, pipes func(*exec.Cmd) error, program string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(h.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	cmd := exec.Command(program, args...)
	bus := "unix:path=" + h.socket()
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+bus, "DBUS_SESSION_BUS_ADDRESS="+bus, "HOME="+filepath.Join(h.dir, "home"), "http_proxy=", "no_proxy=")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if pipes != nil {
		if err := pipes(cmd); err != nil {
			return nil, err
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	h.procs = append(h.procs, p)
	return p, nil
}

// reap notes the end of a process; its pipes must have been read to their ends.
func (p *process) reap() {
	_ = p.cmd.Wait() // ended by a signal of ours, or the log tells
	close(p.done)
}

// bus starts the bus and waits until it says where it listens.
func (h *Handset) bus() error {
	var out io.ReadCloser
	p, err := h.start("bus", func(c *exec.Cmd) (err error) {
		c.Stdout = nil
		out, err = c.StdoutPipe()
		return err
	}, "dbus-daemon", "--config-file="+filepath.Join(h.dir, "bus.conf"), "--nofork", "--nopidfile", "--print-address=1")
	if err != nil {
		return err
	}
	said := make(chan error, 1)
	go func() {
		r := bufio.NewReader(out)
		_, err := r.ReadString('\n')
		said <- err
		_, _ = io.Copy(io.Discard, r) // until it ends
		p.reap()
	}()
	if err := <-said; err != nil {
		return fmt.Errorf("dbus-daemon does not say where it listens: %w", err)
	}
	return nil
}

func (h *Handset) modem(o Options) error {
	var out io.ReadCloser
	p, err := h.start("modem", func(c *exec.Cmd) (err error) {
		c.Stdout = nil
		if out, err = c.StdoutPipe(); err != nil {
			return err
		}
		h.in, err = c.StdinPipe()
		return err
	}, python, "-u", filepath.Join(h.dir, "modem.py"), o.Number, o.DNS, imsi)
	if err != nil {
		return err
	}
	go func() {
		h.listen(out)
		p.reap()
	}()
	return nil
}

// Stop ends everything and removes the folder. Stopping twice is harmless.
func (h *Handset) Stop() error {
	for _, p := range slices.Backward(h.procs) {
		if p.name == "mmsd" {
			go p.reap() // it has no pipes
		}
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-p.done:
		case <-time.After(5 * time.Second):
			_ = p.cmd.Process.Kill() // it may have ended
			<-p.done
		}
	}
	h.procs = nil
	return os.RemoveAll(h.dir)
}

// Logs gives what the processes wrote, for a test that failed.
func (h *Handset) Logs() string {
	var b strings.Builder
	for _, name := range []string{"bus", "modem", "mmsd"} {
		log, err := os.ReadFile(filepath.Join(h.dir, name+".log"))
		if err != nil {
			continue // not started
		}
		if n := len(log); n > 8000 {
			log = append([]byte("…"), log[n-8000:]...)
		}
		fmt.Fprintf(&b, "--- %s\n%s\n", name, log)
	}
	return b.String()
}

// Push hands a WSP push to the handset, as its modem would.
func (h *Handset) Push(ctx context.Context, push []byte) error {
	_, err := h.ask(ctx, map[string]any{"do": "push", "push": hex.EncodeToString(push)})
	return err
}

// File is an attachment of a message to send.
type File struct {
	ID, Type string
	Data     []byte
}

// Send lets the handset send a message; the result names it in Messages.
func (h *Handset) Send(ctx context.Context, to []string, subject string, report bool, files ...File) (string, error) {
	list := []map[string]string{}
	for i, f := range files {
		name := filepath.Join(h.dir, fmt.Sprintf("send-%d-%d", h.serial(), i))
		if err := os.WriteFile(name, f.Data, 0o600); err != nil {
			return "", err
		}
		list = append(list, map[string]string{"id": f.ID, "type": f.Type, "file": name})
	}
	h.mu.Lock()
	service := h.service
	h.mu.Unlock()
	r, err := h.ask(ctx, map[string]any{"do": "send", "service": service, "to": to, "subject": subject, "report": report, "files": list})
	if err != nil {
		return "", err
	}
	var path string
	return path, json.Unmarshal(r, &path)
}

func (h *Handset) serial() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	return h.next
}

// SMSC gives an SMSC to which a PPG can bind: short messages to the handset's number are joined to pushes, as a modem and
// ModemManager do. The caller runs it.
func (h *Handset) SMSC(ctx context.Context) (*smsc.SMSC, error) {
	var mu sync.Mutex
	join := wappush.NewReassembler(0, 0)
	return smsc.New(smsc.Options{Listen: "127.0.0.1:0", Receive: func(m *smsc.Message) smsc.Status {
		if m.Destination.Digits != strings.TrimPrefix(h.number, "+") {
			return smsc.InvalidDestination
		}
		if !m.Header {
			return smsc.Ok // a text: no business of mmsd-tng's
		}
		mu.Lock()
		payload, u, err := join.Add(m.Source.Digits, h.number, m.UserData, time.Now())
		mu.Unlock()
		if err != nil || payload == nil || u.Destination != wappush.PortPush {
			return smsc.Ok
		}
		if err := h.Push(ctx, payload); err != nil {
			return smsc.SystemError
		}
		return smsc.Ok
	}})
}
