// Package kannelppg is the lab with Kannel (Debian: kannel) as a foreign push proxy gateway: bearerbox and wapbox as children on
// loopback, bound by SMPP to an SMSC of the test. It is for tests.
package kannelppg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mmsrouter/mmsrouter/test/interop/kannel"
)

// User and Password of the one push initiator.
const (
	User     = "mmsc"
	Password = "secret"
)

// Options of Start.
type Options struct {
	Dir     string // for configuration and logs
	Address string // loopback address whose WDP ports, 9200 and 9201, are free
	SMSC    string // host:port
}

// Lab is a running gateway.
type Lab struct {
	URL   string // for PAP
	dir   string
	procs []*exec.Cmd
	done  []chan struct{}
}

// Start starts Kannel and returns when it is bound to the SMSC and answers PAP. On an error nothing is left running.
func Start(ctx context.Context, o Options) (lab *Lab, err error) {
	bearerbox, wapbox, err := kannel.Programs()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(o.SMSC)
	if err != nil {
		return nil, err
	}
	l := &Lab{dir: o.Dir, URL: fmt.Sprintf("http://127.0.0.1:%d/wappush", ports[3])}
	file := filepath.Join(o.Dir, "kannel.conf")
	if err := os.WriteFile(file, []byte(configuration(o, host, port, ports)), 0o600); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.Stop()
			lab = nil
		}
	}()
	status := fmt.Sprintf("http://127.0.0.1:%d/status.txt?password=lab", ports[0])
	if err := l.start(bearerbox, file); err != nil {
		return nil, err
	}
	if err := wait(ctx, status, "(online"); err != nil {
		return nil, fmt.Errorf("bearerbox: %w", err)
	}
	if err := l.start(wapbox, file); err != nil {
		return nil, err
	}
	if err := wait(ctx, status, "wapbox, IP"); err != nil {
		return nil, fmt.Errorf("wapbox: %w", err)
	}
	return l, wait(ctx, l.URL, "")
}

func configuration(o Options, host, port string, ports []int) string {
	return fmt.Sprintf(`# Written for one run: a push proxy gateway with one SMSC.
group = core
admin-port = %d
admin-interface = 127.0.0.1
admin-password = lab
wapbox-port = %d
smsbox-port = %d
box-allow-ip = "127.0.0.1"
box-deny-ip = "*.*.*.*"
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
ppg-port = %d
ppg-url = /wappush
trusted-pi = false
service-name = ppg
global-sender = 7777

group = wap-push-user
wap-push-user = lab
ppg-username = %s
ppg-password = %s
allow-ip = 127.0.0.1

# bearerbox refuses smsbox-port without these; the smsbox itself does not run
group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = %d
sendsms-interface = 127.0.0.1
global-sender = 7777

group = sendsms-user
username = lab
password = lab
`, ports[0], ports[1], ports[2], o.Address, o.Dir, host, port, o.Dir, ports[3], User, Password, ports[4])
}

// freePorts finds TCP ports that are free now.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // held until all are found, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func (l *Lab) start(program, file string) error {
	cmd := exec.Command(program, "-v", "4", file)
	cmd.Dir = l.dir
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() { // ends with the process, which Stop waits for
		_ = cmd.Wait() // ended by our signal, or the log tells
		close(done)
	}()
	l.procs, l.done = append(l.procs, cmd), append(l.done, done)
	return nil
}

// wait asks a page until it shows want.
func wait(ctx context.Context, url, want string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, err := page(ctx, url); err == nil && strings.Contains(text, want) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not show %q: %w", want, ctx.Err())
		case <-tick.C:
		}
	}
}

func page(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Timeout: 2 * time.Second}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() // read whole or not needed
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return string(b), err
}

// Stop ends the gateway, by force where it does not go within two seconds. Stopping twice is harmless.
func (l *Lab) Stop() error {
	var errs []error
	for i := len(l.procs) - 1; i >= 0; i-- {
		_ = l.procs[i].Process.Signal(syscall.SIGTERM) // it may have ended on its own
		limit := time.NewTimer(2 * time.Second)
		select {
		case <-l.done[i]:
		case <-limit.C:
			if err := l.procs[i].Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				errs = append(errs, err)
			}
			<-l.done[i]
		}
		limit.Stop()
	}
	l.procs, l.done = nil, nil
	return errors.Join(errs...)
}

// Logs gives the end of Kannel's logs.
func (l *Lab) Logs() string {
	var b strings.Builder
	for _, name := range []string{"bearerbox.log", "wapbox.log"} {
		text, err := os.ReadFile(filepath.Join(l.dir, name))
		if err != nil {
			continue // it never started
		}
		fmt.Fprintf(&b, "--- %s\n%s\n", name, text[max(0, len(text)-8000):])
	}
	return b.String()
}
