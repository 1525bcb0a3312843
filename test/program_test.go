package test_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
	"github.com/mmsrouter/mmsrouter/test/program"
)

// serving is the program as a process, with addresses of its own.
type serving struct {
	t                testing.TB
	bin, file        string
	mm1, admin, name string // host:port
	cmd              *exec.Cmd
	log              *bytes.Buffer
	done             chan error
}

func serve(t testing.TB, more string, mmscs ...string) *serving {
	t.Helper()
	at := program.Addresses(t, 3)
	dir := t.TempDir()
	s := &serving{t: t, bin: program.Path(t), file: filepath.Join(dir, "mmsrouter.yaml"), mm1: at[0], admin: at[1], name: at[2]}
	_, port, err := net.SplitHostPort(s.mm1)
	if err != nil {
		t.Fatal(err)
	}
	host, _, _ := strings.Cut(s.mm1, ":")
	var list strings.Builder
	for i, u := range mmscs {
		fmt.Fprintf(&list, "  - {name: mmsc-%c, url: %q}\n", 'a'+i, u)
	}
	text := fmt.Sprintf(`node: {name: r1, data: %q}
dns:
  listen: [%q]
  zones: [{name: mms.example.net, ttl: 30s, addresses: [%q]}]
mm1:
  listen: [%q]
  url: http://mms.example.net:%s/
  access_log: {path: %q}
admin: {listen: %q, token: ""}
detection: {probe: {type: tcp, interval: 200ms, timeout: 10s, rise: 1, fall: 2}, slow_start: 0s}
log: {level: info, format: json}
mmscs:
%s%s`, filepath.Join(dir, "data"), s.name, host, s.mm1, port, filepath.Join(dir, "access.log"), s.admin, list.String(), more)
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs it and waits until it is ready.
func (s *serving) start() {
	s.t.Helper()
	s.cmd, s.log, s.done = exec.Command(s.bin, "serve", "-c", s.file), &bytes.Buffer{}, make(chan error, 1)
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd, done := s.cmd, s.done
	go func() { done <- cmd.Wait() }()
	s.t.Cleanup(func() { cmd.Process.Kill() }) // it may have ended long ago
	end := time.Now().Add(30 * time.Second)
	for {
		res, err := http.Get("http://" + s.admin + "/readyz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == 200 {
				http.DefaultClient.CloseIdleConnections()
				return
			}
		}
		select {
		case err := <-s.done:
			s.t.Fatalf("serve ended with %v: %s", err, s.log)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(end) {
			s.t.Fatal("not ready within 30 s")
		}
	}
}

// end waits for the end of the process and gives its exit code.
func (s *serving) end() int {
	s.t.Helper()
	select {
	case err := <-s.done:
		var ee *exec.ExitError
		if errors.As(err, &ee) {
			return ee.ExitCode()
		}
		return 0
	case <-time.After(30 * time.Second):
		s.t.Fatal("the process did not end within 30 s")
		return -1
	}
}

// run runs another command of the program.
func (s *serving) run(want int, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 60*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, s.bin, args...).CombinedOutput()
	code := 0
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		code = ee.ExitCode()
	} else if err != nil {
		s.t.Fatal(err)
	}
	if code != want {
		s.t.Errorf("mmsrouter %s: exit code %d, want %d: %s", strings.Join(args, " "), code, want, out)
	}
	return string(out)
}

// The program as an operator uses it: check, serve, status, send by way of its own DNS, fate, explain, reload, drain, end.
func TestProgram(t *testing.T) {
	a, b := fake(t, "mmsc-a"), fake(t, "mmsc-b")
	s := serve(t, "", a.URL(), b.URL())
	s.run(0, "check", "-c", s.file)
	s.start()
	var status struct {
		MMSCs []struct{ Name, State string }
	}
	if out := s.run(0, "status", "--json", "-c", s.file); json.Unmarshal([]byte(out), &status) != nil || len(status.MMSCs) != 2 || status.MMSCs[0].State != "up" {
		t.Errorf("status: %s", out)
	}
	if out := s.run(0, "send", "-c", s.file, "--dns", s.name, "--to", "+46701234567", "--text", "Hello"); !strings.Contains(out, "Ok") {
		t.Errorf("send: %s", out)
	}
	recs := append(a.Records(), b.Records()...)
	if len(recs) != 1 || !recs[0].Stored {
		t.Fatalf("the MMSCs have %+v", recs)
	}
	if out := s.run(0, "fate", "-c", s.file, recs[0].Transaction); !strings.Contains(out, "answered") {
		t.Errorf("fate: %s", out)
	}
	if out := s.run(0, "explain", "-c", s.file, "--to", "+46701234567"); !strings.Contains(out, "mmsc-") {
		t.Errorf("explain: %s", out)
	}
	s.run(0, "drain", "-c", s.file, "mmsc-a")
	if out := s.run(0, "status", "-c", s.file); !strings.Contains(out, "draining") {
		t.Errorf("status: %s", out)
	}
	s.run(0, "undrain", "-c", s.file, "mmsc-a")
	s.run(1, "drain", "-c", s.file, "nobody")
	s.run(2, "check", "-c", s.file+".none")
	s.run(2, "nonsense")

	good, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	reloads := func(result string) float64 {
		res, err := http.Get("http://" + s.admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var text bytes.Buffer
		if _, err := text.ReadFrom(res.Body); err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(text.String()) {
			var v float64
			if strings.HasPrefix(l, "mmsrouter_app_reloads_total") && strings.Contains(l, result) {
				fmt.Sscanf(l[strings.LastIndexByte(l, ' '):], "%g", &v)
				return v
			}
		}
		return 0
	}
	hangup := func(text []byte, result string) {
		t.Helper()
		before := reloads(result)
		if err := os.WriteFile(s.file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(10 * time.Second); reloads(result) == before; {
			if time.Now().After(end) {
				t.Fatalf("no reload is counted as %s", result)
			}
			time.Sleep(5 * time.Millisecond) // nothing but the metric tells
		}
	}
	h := handsets.New(handsets.Options{Addr: s.mm1, Timeout: 20 * time.Second})
	defer h.Close()
	submit(t, h, "one", 3000)
	hangup(append(good, "mmscs_: []\n"...), "refused")
	s.run(2, "check", "--offline", "-c", s.file)
	submit(t, h, "two", 3000)
	hangup(bytes.Replace(good, []byte("name: mmsc-b"), []byte("name: mmsc-c"), 1), "ok")
	submit(t, h, "three", 3000)
	if out := s.run(0, "status", "-c", s.file); !strings.Contains(out, "mmsc-c") || strings.Contains(out, "mmsc-b") {
		t.Errorf("status after reload: %s", out)
	}

	hold := make(chan struct{})
	a.Behave(fakemmsc.Behaviour{Store: true, Hold: hold})
	b.Behave(fakemmsc.Behaviour{Store: true, Hold: hold})
	before := a.Counts().Wholes + b.Counts().Wholes
	done := make(chan handsets.Outcome, 1)
	go func() {
		a, err := h.Post(t.Context(), pdu.SendReq("last", 30_000), handsets.Fast)
		o, _ := handsets.Judge("last", a, err)
		done <- o
	}()
	for end := time.Now().Add(10 * time.Second); a.Counts().Wholes+b.Counts().Wholes == before; {
		if time.Now().After(end) {
			t.Fatal("no message reached an MMSC")
		}
		time.Sleep(time.Millisecond) // two MMSCs can't be awaited at once
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.done:
		t.Error("ended with a message in flight")
	case <-time.After(200 * time.Millisecond):
	}
	close(hold)
	if o := <-done; o != handsets.Accepted {
		t.Errorf("in flight at SIGTERM: %s", o)
	}
	if code := s.end(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.log)
	}
}

// A port in use: which one, by which key. And a second signal does not wait.
func TestProgramSaysWhatIsWrong(t *testing.T) {
	a := fake(t, "mmsc-a")
	s := serve(t, "", a.URL())
	s.start()
	out := s.run(1, "serve", "-c", s.file)
	if !strings.Contains(out, "listen") || !strings.Contains(out, s.admin) && !strings.Contains(out, s.mm1) && !strings.Contains(out, s.name) {
		t.Errorf("a port in use: %s", out)
	}
	a.Behave(fakemmsc.Behaviour{Store: true, Hold: make(chan struct{})})
	h := handsets.New(handsets.Options{Addr: s.mm1, Timeout: 20 * time.Second})
	defer h.Close()
	done := make(chan struct{})
	go func() {
		h.Post(t.Context(), pdu.SendReq("cut", 3000), handsets.Fast) // it is cut off on purpose
		close(done)
	}()
	await(t, a, "a message in flight", func(k fakemmsc.Counts) bool { return k.Wholes == 1 })
	for range 2 {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // two signals at once are one
	}
	if code := s.end(); code != 1 {
		t.Errorf("exit code %d after a second signal, want 1: something was cut off", code)
	}
	<-done
}

// The router itself is killed by SIGKILL in the middle and comes back. Clients see it go, but what was accepted is at an
// MMSC, whole.
func TestRouterKilled(t *testing.T) {
	a, b := fake(t, "mmsc-a"), fake(t, "mmsc-b")
	s := serve(t, "", a.URL(), b.URL())
	var all handsets.Ledger
	for round := range 3 {
		s.start()
		ctx, cancel := context.WithCancel(t.Context())
		n := make(chan int, 10_000)
		finished := make(chan *handsets.Ledger, 1)
		go func() {
			finished <- handsets.Run(ctx, handsets.Plan{Handset: handsets.Options{Addr: s.mm1, Timeout: 10 * time.Second}, Handsets: 16, Prefix: fmt.Sprint("z", round, "-"),
				Sizes: []int{1000, 30_000, 300_000}, Ways: []handsets.Way{handsets.Fast, handsets.Chunked}, Think: time.Millisecond, Each: func(k int) { n <- k }})
		}()
		for range 100 {
			<-n
		}
		s.cmd.Process.Kill()
		<-s.done
		cancel()
		all.Join(<-finished)
	}
	bal := all.Balance(a.Records(), b.Records())
	t.Log(bal)
	if bal.Accepted < 250 || bal.Faults() != "" || bal.Copies > 0 {
		t.Errorf("balance: %v", bal)
	}
}
