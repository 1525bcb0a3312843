package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is the program itself, started by a service manager that listens.
type process struct {
	*exec.Cmd
	t       *testing.T
	manager *net.UnixConn
	out     bytes.Buffer
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	path := filepath.Join(t.TempDir(), "n")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = manager.Close() }) // nobody speaks to it any more
	p := &process{Cmd: exec.Command(os.Args[0], args...), t: t, manager: manager}
	p.Env = append(os.Environ(), asProgram+"=1", "NOTIFY_SOCKET="+path)
	p.Dir = t.TempDir()
	p.Stdout, p.Stderr = &p.out, &p.out
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() }) // it has ended by itself if the test went well
	return p
}

// hear gives the next message to the service manager.
func (p *process) hear() string {
	p.t.Helper()
	if err := p.manager.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := p.manager.Read(b)
	if err != nil {
		_ = p.Process.Kill() // the test is over
		_ = p.Wait()
		p.t.Fatalf("%v\n%s", err, p.out.String())
	}
	return string(b[:n])
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func TestServeAsAProcess(t *testing.T) {
	text := strings.ReplaceAll(oneMachine, "%DATA%", t.TempDir())
	file := write(t, "r.yaml", text)
	p := startProcess(t, "serve", "-c", file)
	ready := p.hear()
	if !strings.HasPrefix(ready, "READY=1\nSTATUS=ready: admin.listen 127.0.0.1:") {
		t.Fatalf("heard %q", ready)
	}
	_, rest, _ := strings.Cut(ready, "admin.listen ")
	api, _, _ := strings.Cut(rest, ",")
	if code, out, errOut := cli("status", "--admin", api); code != exitFine || !strings.Contains(out, "router r1: ready") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}

	if err := os.WriteFile(file, []byte(text+"what: is this\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	for _, want := range []string{"RELOADING=1", "READY=1"} {
		if got := p.hear(); !strings.HasPrefix(got, want) {
			t.Fatalf("heard %q, want %s", got, want)
		}
	}
	p.signal(syscall.SIGTERM)
	if got := p.hear(); !strings.HasPrefix(got, "STOPPING=1") {
		t.Errorf("heard %q", got)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("%v\n%s", err, p.out.String())
	}
	for _, want := range []string{file + ":8: what: unknown key", "nothing has changed", `"msg":"ended"`} {
		if !strings.Contains(p.out.String(), want) {
			t.Errorf("the log does not say %q\n%s", want, p.out.String())
		}
	}
}

func TestServeOnATakenPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	text := strings.ReplaceAll(oneMachine, "%DATA%", t.TempDir())
	file := write(t, "r.yaml", strings.Replace(text, `mm1: {listen: ["127.0.0.1:0"]`, `mm1: {listen: ["`+ln.Addr().String()+`"]`, 1))
	code, out, errOut := cli("serve", "-c", file)
	if code != exitFailed || !strings.Contains(errOut, "mm1.listen: ") || !strings.Contains(errOut, ln.Addr().String()) {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
}
