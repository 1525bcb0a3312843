// Package kannel is the lab with Kannel (Debian: kannel) as a real WAP gateway between a phone and the MMS
// domain, and as a push proxy gateway in front of an SMSC: it starts bearerbox and wapbox as children on
// loopback, and has a small WSP and WTP client for the phone's side. It is for tests and benches.
//
// wapbox listens on the fixed WDP ports 9200 (connectionless WSP) and 9201 (connection-oriented), so each
// lab wants a loopback address, or a network namespace, of its own.
package kannel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The WDP ports of the gateway (WAP-259-WDP, IANA).
const (
	PortConnectionless = 9200
	PortSession        = 9201
)

// Programs finds Kannel's programs; the error says which is missing.
func Programs() (bearerbox, wapbox string, err error) {
	find := func(name string) string {
		for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin") {
			if p := filepath.Join(dir, name); executable(p) {
				return p
			}
		}
		err = errors.Join(err, fmt.Errorf("no %s here (Debian: kannel)", name))
		return ""
	}
	bearerbox, wapbox = find("bearerbox"), find("wapbox")
	return bearerbox, wapbox, err
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// Lab is a running gateway.
type Lab struct {
	PAP     string // URL of the push proxy gateway, if there is one
	address string
	dir     string
	procs   []*process // in order of start
}

type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // after done
}

// Start starts bearerbox, then wapbox, and returns when wapbox has connected to bearerbox. On an error
// nothing is left running.
func Start(ctx context.Context, o Options) (lab *Lab, err error) {
	bearerbox, wapbox, err := Programs()
	if err != nil {
		return nil, err
	}
	setup, err := write(o)
	if err != nil {
		return nil, err
	}
	l := &Lab{PAP: setup.pap, address: o.Address, dir: o.Dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Stop())
			lab = nil
		}
	}()
	bound := "Status: running"
	if o.Push != nil {
		bound = "(online" // to the SMSC
	}
	if err := l.start(bearerbox, setup.file); err != nil {
		return nil, err
	}
	if err := l.wait(ctx, setup.status, bound); err != nil {
		return nil, fmt.Errorf("bearerbox: %w", err)
	}
	if err := l.start(wapbox, setup.file); err != nil {
		return nil, err
	}
	if err := l.wait(ctx, setup.status, "wapbox, IP"); err != nil {
		return nil, fmt.Errorf("wapbox: %w", err)
	}
	if o.Push != nil {
		if err := l.wait(ctx, setup.pap, ""); err != nil {
			return nil, fmt.Errorf("push proxy gateway: %w", err)
		}
	}
	return l, nil
}

func (l *Lab) start(program, file string) error {
	p := &process{name: filepath.Base(program), cmd: exec.Command(program, "-v", "4", file), done: make(chan struct{})}
	p.cmd.Dir = l.dir
	out, err := os.Create(filepath.Join(l.dir, p.name+".out"))
	if err != nil {
		return err
	}
	defer out.Close() // the child has its own
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		return err
	}
	l.procs = append(l.procs, p)
	go func() { // ends with the process, which Stop waits for
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return nil
}

// wait asks a page until it answers and shows want.
func (l *Lab) wait(ctx context.Context, page, want string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	client := &http.Client{Timeout: 2 * time.Second}
	for {
		if text, err := get(ctx, client, page); err == nil && strings.Contains(text, want) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not show %q: %w", page, want, ctx.Err())
		case <-l.procs[len(l.procs)-1].done:
			return fmt.Errorf("ended at once: %w", l.procs[len(l.procs)-1].err)
		case <-tick.C:
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() // read whole or not needed
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return string(b), err
}

// Stop ends the gateway, the last started first, by force where it does not go within two seconds. Stopping
// twice is harmless.
func (l *Lab) Stop() error {
	var errs []error
	for i := len(l.procs) - 1; i >= 0; i-- {
		p := l.procs[i]
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended on its own
		limit := time.NewTimer(2 * time.Second)
		select {
		case <-p.done:
		case <-limit.C:
			if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				errs = append(errs, fmt.Errorf("kill %s: %w", p.name, err))
			}
			<-p.done
		}
		limit.Stop()
	}
	l.procs = nil
	return errors.Join(errs...)
}

// Connectionless is the address for PostDatagram.
func (l *Lab) Connectionless() string { return fmt.Sprintf("%s:%d", l.address, PortConnectionless) }

// Sessions is the address for Connect.
func (l *Lab) Sessions() string { return fmt.Sprintf("%s:%d", l.address, PortSession) }

// PIDs are the ids of the gateway's processes.
func (l *Lab) PIDs() (pids []int) {
	for _, p := range l.procs {
		pids = append(pids, p.cmd.Process.Pid)
	}
	return pids
}

// Logs gives the end of Kannel's logs.
func (l *Lab) Logs() string {
	var b strings.Builder
	for _, name := range []string{"bearerbox.out", "bearerbox.log", "wapbox.out", "wapbox.log"} {
		text, err := os.ReadFile(filepath.Join(l.dir, name))
		if err != nil {
			continue // it never started
		}
		fmt.Fprintf(&b, "--- %s\n%s\n", name, text[max(0, len(text)-8000):])
	}
	return b.String()
}
