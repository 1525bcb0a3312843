package push_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/test/interop/kannel"
)

// wdp is the loopback address on whose fixed ports Kannel's wapbox listens for WAP: no other test uses it.
const wdp = "127.7.3.91"

// kannelPPG starts Kannel as a push proxy gateway, bound to an SMSC, until the test ends; it gives the carrier that pushes through
// it. It skips where Kannel is not here.
func kannelPPG(t *testing.T, smsc string) (carrier string) {
	t.Helper()
	bearerbox, wapbox, err := kannel.Programs()
	if err != nil {
		t.Skip(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	host, port, err := net.SplitHostPort(smsc)
	if err != nil {
		t.Fatal(err)
	}
	dir, free := t.TempDir(), freePorts(t, 4)
	file := filepath.Join(dir, "kannel.conf")
	text := fmt.Sprintf(`group = core
admin-port = %s
admin-interface = 127.0.0.1
admin-password = lab
box-allow-ip = "127.0.0.1"
box-deny-ip = "*.*.*.*"
wapbox-port = %s
smsbox-port = %s
wdp-interface-name = "%s"
log-file = "%s/bearerbox.log"
log-level = 1

group = smsc
smsc = smpp
smsc-id = lab
host = %s
port = %s
transceiver-mode = true
smsc-username = kannel
smsc-password = secret
system-type = WAP
enquire-link-interval = 10
reconnect-delay = 1
source-addr-ton = 1
source-addr-npi = 1
dest-addr-ton = 1
dest-addr-npi = 1

group = wapbox
bearerbox-host = 127.0.0.1
log-file = "%s/wapbox.log"
log-level = 1
syslog-level = none

group = ppg
ppg-port = %s
ppg-url = /wappush
trusted-pi = false
service-name = ppg
global-sender = 7777

group = wap-push-user
wap-push-user = lab
ppg-username = mmsc
ppg-password = secret
allow-ip = 127.0.0.1

# bearerbox refuses smsbox-port without these; the smsbox itself does not run
group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = %s
sendsms-interface = 127.0.0.1
global-sender = 7777

group = sendsms-user
username = lab
password = lab
`, free[0], free[1], free[2], wdp, dir, host, port, dir, free[3], freePorts(t, 1)[0])
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, name := range []string{"bearerbox.log", "wapbox.log"} {
			log, _ := os.ReadFile(filepath.Join(dir, name)) // absent: it never started
			t.Logf("--- %s\n%s", name, log[max(0, len(log)-6000):])
		}
	})
	status := "http://127.0.0.1:" + free[0] + "/status.txt?password=lab"
	box(t, dir, bearerbox, file)
	await(t, "bearerbox to be bound to the SMSC", func() bool { return strings.Contains(page(status), "(online") })
	box(t, dir, wapbox, file)
	url := "http://127.0.0.1:" + free[3] + "/wappush"
	await(t, "wapbox", func() bool { return strings.Contains(page(status), "wapbox, IP") && page(url) != "" })
	return fmt.Sprintf("{name: bob, type: pap, pap: {url: %q, user: mmsc, password: secret}}", url)
}

// box runs one of Kannel's programs until the test ends.
func box(t *testing.T, dir, program, file string) {
	t.Helper()
	cmd := exec.Command(program, "-v", "4", file)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // ended by our signal, or the log tells
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		limit := time.NewTimer(2 * time.Second)
		defer limit.Stop()
		select {
		case <-done:
		case <-limit.C:
			_ = cmd.Process.Kill() // it may have ended
			<-done
		}
	})
}

// freePorts finds TCP ports that are free now: Kannel can't be given a listener.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // held until all are found, so that they differ
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports
}

// page gives what a URL shows, "" if nothing answers.
func page(url string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return ""
	}
	resp, err := client.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // half a page is asked for again
	return resp.Status + string(b)
}

// await waits until a condition holds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("no %s within %s", what, patience)
		}
	}
}

// TestKannelPPG: the notification goes by PAP to Kannel's push proxy gateway, from there by SMPP to Bob's number.
func TestKannelPPG(t *testing.T) {
	a := newA(t, "mms.example.net")
	b := newPhone(t, bob, func(o *handset.Options) { o.URL = a.url })
	a.start(t, kannelPPG(t, b.SMPPAddr().String()))
	id := a.send(t)
	stored(t, b, id)
	a.reported(t, id, mms.Retrieved)
}

// TestKannelPPGBetweenOperators: the same, and Bob's phone asks its own server.
func TestKannelPPGBetweenOperators(t *testing.T) {
	a := newA(t, "localhost")
	own := newB(t, a)
	b := newPhone(t, bob, func(o *handset.Options) { o.Proxy, o.URL = own.url, own.url+"/" })
	a.start(t, kannelPPG(t, b.SMPPAddr().String()))
	id := a.send(t)
	stored(t, b, id)
	a.reported(t, id, mms.Retrieved)
	own.relayed(t, 1, 1)
}
