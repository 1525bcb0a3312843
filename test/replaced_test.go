package test_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// replaced is a router that is a line of processes, one after the other, from a binary of its own that a story can spoil.
type replaced struct {
	*serving
	good, pidFile, logFile string
	env                    []string // more environment
}

// replaceable makes one; more is further configuration.
func replaceable(t *testing.T, more string, mmscs ...string) *replaced {
	t.Helper()
	s := serve(t, more, mmscs...)
	dir := filepath.Dir(s.file)
	r := &replaced{serving: s, good: s.bin, pidFile: filepath.Join(dir, "pid"), logFile: filepath.Join(dir, "log")}
	s.bin = filepath.Join(dir, "mmsrouter")
	r.install(r.good)
	return r
}

// install puts another program at the router's path, as a package manager does: beside it, then over it.
func (r *replaced) install(program string) {
	r.t.Helper()
	b, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(r.serving.bin+".new", b, 0o700)
	}
	if err == nil {
		err = os.Rename(r.serving.bin+".new", r.serving.bin)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *replaced) installScript(text string) {
	r.t.Helper()
	f := filepath.Join(r.t.TempDir(), "script")
	if err := os.WriteFile(f, []byte("#!/bin/sh\n"+text+"\n"), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.install(f)
}

// change puts other text into the configuration.
func (r *replaced) change(old, with string) {
	r.t.Helper()
	b, err := os.ReadFile(r.file)
	if err == nil && !bytes.Contains(b, []byte(old)) {
		err = fmt.Errorf("no %q in the configuration", old)
	}
	if err == nil {
		err = os.WriteFile(r.file, bytes.Replace(b, []byte(old), []byte(with), 1), 0o600)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// start runs the first process. Its output goes to a file: those after it inherit that.
func (r *replaced) start() {
	r.t.Helper()
	log, err := os.OpenFile(r.logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(r.serving.bin, "serve", "-c", r.file, "--pid-file", r.pidFile)
	cmd.Stderr = log
	cmd.Env = append(os.Environ(), r.env...)
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	done := make(chan error, 1)
	r.cmd, r.done = cmd, done
	go func() { done <- cmd.Wait() }()
	r.t.Cleanup(func() {
		cmd.Process.Kill() // it may have ended long ago
		if pid := r.pid(); pid > 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL) // likewise
		}
		if r.t.Failed() {
			b, _ := os.ReadFile(r.logFile)
			r.t.Logf("log of the router:\n%s", b[max(0, len(b)-9000):])
		}
	})
	r.await("ready", func() bool {
		res, err := http.Get("http://" + r.admin + "/readyz")
		if err != nil {
			return false
		}
		res.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		return res.StatusCode == 200 && r.pid() > 0
	})
}

// pid is that of the process that serves.
func (r *replaced) pid() int {
	b, _ := os.ReadFile(r.pidFile)
	n, _ := strconv.Atoi(string(b))
	return n
}

func (r *replaced) await(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) { // another process tells nothing by itself
		if time.Now().After(end) {
			r.t.Fatalf("no %s within 30 s", what)
		}
	}
}

// lives says whether a process is there (one that has ended and waits for its parent is not).
func lives(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	state := b[bytes.LastIndexByte(b, ')')+1:]
	return !bytes.HasPrefix(bytes.TrimSpace(state), []byte("Z"))
}

// upgrade asks for one that works, and gives the process before and the one that serves now.
func (r *replaced) upgrade() (old, now int) {
	r.t.Helper()
	old = r.pid()
	cmd := exec.Command(r.good, "upgrade", "-c", r.file, "--wait", "30s")
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("upgrade: %v: %s", err, out)
	}
	if now = r.pid(); now == old {
		r.t.Errorf("process %d serves as before", now)
	}
	return old, now
}

// refused asks for an upgrade that can't be; want stands in the answer.
func (r *replaced) refused(want ...string) {
	r.t.Helper()
	old := r.pid()
	out, err := exec.Command(r.good, "upgrade", "--admin", r.admin).CombinedOutput()
	if err == nil {
		r.t.Errorf("upgraded: %s", out)
	}
	for _, w := range want {
		if !strings.Contains(string(out), w) {
			r.t.Errorf("the answer does not say %q: %s", w, out)
		}
	}
	if r.pid() != old || !lives(old) {
		r.t.Error("the old process is no longer the one that serves")
	}
}

// queries asks the router's DNS until ctx ends, and counts what it did not answer.
func queries(ctx context.Context, t *testing.T, network, at string, asked, unanswered *atomic.Int64) {
	c := dns.Client{Net: network, Timeout: 5 * time.Second}
	for ctx.Err() == nil {
		m := new(dns.Msg).SetQuestion("mms.example.net.", dns.TypeA)
		asked.Add(1)
		if res, _, err := c.Exchange(m, at); err != nil || len(res.Answer) != 1 {
			unanswered.Add(1)
			t.Errorf("%s query: %v %v", network, err, res)
		}
		time.Sleep(time.Millisecond) // the pace of a resolver, not a wait
	}
}
