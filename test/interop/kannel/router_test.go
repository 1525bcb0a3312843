package kannel_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/test/interop/kannel"
)

// binaryEnv names a built mmsrouter; without it the test builds one.
const binaryEnv = "MMSROUTER_BINARY"

// binary gives the path of mmsrouter.
func binary(t *testing.T) string {
	t.Helper()
	if p := os.Getenv(binaryEnv); p != "" {
		return p
	}
	p := filepath.Join(t.TempDir(), "mmsrouter")
	if out, err := exec.Command("go", "build", "-o", p, "github.com/mmsrouter/mmsrouter/cmd/mmsrouter").CombinedOutput(); err != nil {
		t.Fatalf("build mmsrouter: %v\n%s", err, out)
	}
	return p
}

// appliance is the router as a process of its own.
type appliance struct {
	admin string
}

// serve starts `mmsrouter serve` and waits until it is ready.
func serve(t *testing.T, program, dns, mm1, admin string, own string, mmscs ...*mmsc) *appliance {
	t.Helper()
	dir := t.TempDir()
	var b strings.Builder
	fmt.Fprintf(&b, "node: {name: r1, data: %q}\ndns:\n  listen: [%q]\n  zones:\n    - {name: mms.example.net, ttl: 30s, addresses: [%q]}\n", filepath.Join(dir, "data"), dns, own)
	fmt.Fprintf(&b, "mm1: {listen: [%q]}\nadmin: {listen: %q}\nmmsc: {enabled: false}\nmmscs:\n", mm1, admin)
	for i, m := range mmscs {
		fmt.Fprintf(&b, "  - {name: mmsc-%c, url: %q}\n", 'a'+i, m.URL+"/")
	}
	file := filepath.Join(dir, "mmsrouter.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "serve", "-c", file)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		limit := time.NewTimer(20 * time.Second)
		defer limit.Stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("mmsrouter ended with %v", err)
			}
		case <-limit.C:
			t.Error("mmsrouter did not end within 20s of SIGTERM")
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("--- mmsrouter\n%s", log.String())
		}
	})
	a := &appliance{admin: "http://" + admin}
	ctx := within(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := a.get(ctx, "/readyz"); err == nil {
			return a
		}
		select {
		case <-ctx.Done():
			t.Fatalf("mmsrouter is not ready: %v", ctx.Err())
		case err := <-ended:
			ended <- err
			t.Fatal("mmsrouter ended at once")
		case <-tick.C:
		}
	}
}

func (a *appliance) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.admin+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", path, resp.Status)
	}
	return string(text), err
}

// sum adds up the series of a metric that carry the label (as it stands in the text form).
func (a *appliance) sum(t *testing.T, name, label string) (total float64) {
	t.Helper()
	text, err := a.get(within(t), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		series, value, _ := strings.Cut(lines.Text(), " ")
		if strings.HasPrefix(series, name+"{") && strings.Contains(series, label) {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			total += v
		}
	}
	return total
}

// story sends messages of a phone through gateway and router to two MMSCs, one of which dies half-way, and
// counts: each is accepted, and each is at an MMSC exactly once, octet for octet.
func story(t *testing.T, lab *kannel.Lab, a *appliance, uri string, mmscs [2]*mmsc) {
	sent := map[string][]byte{}
	post := func(id string, size int, send func(pdu []byte) (kannel.Reply, error)) {
		t.Helper()
		sent[id] = message(id, size)
		r, err := send(sent[id])
		if err != nil {
			t.Fatal(id, err)
		}
		wantAccepted(t, r, id)
	}
	session, err := kannel.Connect(within(t), lab.Sessions(), 100)
	if err != nil {
		t.Fatal(err)
	}
	round := func(name string) {
		for i, size := range []int{900, 20 << 10, 60 << 10} {
			post(fmt.Sprintf("%s-datagram-%d", name, i), size, func(pdu []byte) (kannel.Reply, error) {
				return kannel.PostDatagram(within(t), lab.Connectionless(), byte(i), uri, pdu)
			})
			post(fmt.Sprintf("%s-session-%d", name, i), 2*size, func(pdu []byte) (kannel.Reply, error) { return session.Post(uri, pdu) })
		}
	}
	round("both-up")
	for _, m := range mmscs {
		if len(m.kept) == 0 {
			t.Errorf("%s got nothing while both were up", m.URL)
		}
	}
	wantFetched(t, session, uri+"m/1")
	mmscs[0].Close()
	round("one-dead")
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	for id, pdu := range sent {
		copies := append(mmscs[0].copies(id), mmscs[1].copies(id)...)
		if len(copies) != 1 || !bytes.Equal(copies[0], pdu) {
			t.Errorf("%s: %d copies at the MMSCs, or other octets", id, len(copies))
		}
	}
	if via := mmscs[1].head.Get("Via"); via == "" {
		t.Errorf("no Via: the router was not on the way: %v", mmscs[1].head)
	}
	if n := a.sum(t, "mmsrouter_proxy_messages_total", `pdu="m-send-req"`); int(n) != len(sent) {
		t.Errorf("the router counts %v messages, %d were sent", n, len(sent))
	}
}

// captures posts the M-Send.req among captured PDUs, where there are any, in a session.
func captures(t *testing.T, lab *kannel.Lab, uri string, m *mmsc) {
	dir := os.Getenv("MMSROUTER_CORPUS")
	if dir == "" {
		t.Skip("MMSROUTER_CORPUS not set: no captured PDUs to post")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.mms"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := kannel.Connect(within(t), lab.Sessions(), 300)
	if err != nil {
		t.Fatal(err)
	}
	posted := 0
	for _, f := range files {
		pdu, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var h mms.Head
		if len(pdu) > 300<<10 || h.Peek(pdu, true) != mms.Complete || h.Type != mms.MSendReq || len(h.TransactionID) == 0 {
			continue // not posted by phones, or more than WTP can count
		}
		posted++
		before := len(m.copies(string(h.TransactionID)))
		r, err := s.Post(uri, pdu)
		if err != nil {
			t.Fatal(filepath.Base(f), err)
		}
		wantAccepted(t, r, string(h.TransactionID))
		if c := m.copies(string(h.TransactionID)); len(c) != before+1 || !bytes.Equal(c[before], pdu) {
			t.Errorf("%s: %d more copies at the MMSC, or other octets", filepath.Base(f), len(c)-before)
		}
	}
	if posted == 0 {
		t.Error("no M-Send.req among the captured PDUs")
	}
	t.Logf("%d captured M-Send.req passed octet for octet", posted)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestThroughTheRouter has wapbox rewrite the MMS domain to the router's address.
func TestThroughTheRouter(t *testing.T) {
	if _, _, err := kannel.Programs(); err != nil {
		t.Skipf("Kannel not installed: %v", err)
	}
	ip := address(t) // ours alone, so are its ports
	mmscs := [2]*mmsc{newMMSC(t), newMMSC(t)}
	a := serve(t, binary(t), ip+":1053", ip+":8080", ip+":8090", ip, mmscs[:]...)
	lab := start(t, kannel.Options{Address: ip, Map: map[string]string{"http://mms.example.net/": "http://" + ip + ":8080/"}})
	story(t, lab, a, "http://mms.example.net/", mmscs)
	t.Run("captures", func(t *testing.T) { captures(t, lab, "http://mms.example.net/", mmscs[1]) })
}
