package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/test/bench/measure"
	"github.com/mmsrouter/mmsrouter/test/interop/kannel"
)

// notStarted says that a peer is left out, and why.
type notStarted struct{ err error }

func (n *notStarted) Error() string { return strings.ReplaceAll(n.err.Error(), "\n", "; ") }
func (n *notStarted) Unwrap() error { return n.err }

func kannelHere() error {
	if _, _, err := kannel.Programs(); err != nil {
		return &notStarted{err}
	}
	return nil
}

// kannelConfig is a gateway with one SMSC. It logs only what ends it, and keeps no store.
const kannelConfig = `group = core
admin-port = %s
admin-interface = 127.0.0.1
admin-password = bench
box-allow-ip = "127.0.0.1"
box-deny-ip = "*.*.*.*"
wapbox-port = %s
smsbox-port = %s
wdp-interface-name = "%s"
log-level = 4

group = smsc
smsc = smpp
smsc-id = bench
host = %s
port = %s
transceiver-mode = true
smsc-username = kannel
smsc-password = secret
system-type = WAP
reconnect-delay = 1
max-pending-submits = 10
source-addr-ton = 1
source-addr-npi = 1
dest-addr-ton = 1
dest-addr-npi = 1

group = wapbox
bearerbox-host = 127.0.0.1
log-level = 4
syslog-level = none

group = ppg
ppg-port = %s
ppg-url = /wappush
trusted-pi = false
service-name = ppg
global-sender = 7777

group = wap-push-user
wap-push-user = bench
ppg-username = bench
ppg-password = secret
allow-ip = 127.0.0.1

# bearerbox refuses smsbox-port without these; the smsbox itself does not run
group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = %s
sendsms-interface = 127.0.0.1
global-sender = 7777

group = sendsms-user
username = bench
password = bench
`

// startKannel runs bearerbox and wapbox; a *notStarted where they can't be run here.
func (b *bench) startKannel(s *sink) (*ppg, error) {
	bearerbox, wapbox, err := kannel.Programs()
	if err != nil {
		return nil, &notStarted{err}
	}
	dir, err := b.folder()
	if err != nil {
		return nil, err
	}
	free, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	wdp, err := wdpAddress()
	if err != nil {
		return nil, &notStarted{err}
	}
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "kannel.conf")
	text := fmt.Sprintf(kannelConfig, free[0], free[1], free[2], wdp, host, port, free[3], free[4])
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	g := &ppg{name: "Kannel", url: "http://127.0.0.1:" + free[3] + "/wappush", user: "bench", password: "secret"}
	g.stop = func() {
		for i := len(g.procs) - 1; i >= 0; i-- {
			g.procs[i].Stop()
		}
		_ = os.RemoveAll(dir) // the bench's folder goes too
	}
	run := func(program string) (*measure.Process, error) {
		p, err := measure.Start(measure.Options{Dir: dir, Quiet: true}, program, "-v", "4", file)
		if err == nil {
			g.procs = append(g.procs, p)
		}
		return p, err
	}
	bb, err := run(bearerbox)
	if err == nil {
		err = s.waitBound(bb)
	}
	if err == nil {
		err = bb.WaitListening("127.0.0.1:"+free[1], 10*time.Second)
	}
	if err == nil {
		var wb *measure.Process
		if wb, err = run(wapbox); err == nil {
			err = wb.WaitListening("127.0.0.1:"+free[3], 20*time.Second)
		}
	}
	if err != nil {
		g.stop()
		return nil, &notStarted{err}
	}
	return g, nil
}

// freePorts finds TCP ports on 127.0.0.1 that are free now.
func freePorts(n int) (ports []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // held until all are found, so that they differ
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// wdpAddress finds a loopback address on which the fixed ports of wapbox are free.
func wdpAddress() (string, error) {
	for range 20 {
		addr, err := measure.FreeAddr()
		if err != nil {
			return "", err
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return "", err
		}
		taken := false
		for _, port := range []int{kannel.PortConnectionless, kannel.PortSession} {
			c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(host), Port: port})
			if err != nil {
				taken = true
				break
			}
			c.Close()
		}
		if !taken {
			return host, nil
		}
	}
	return "", fmt.Errorf("no loopback address has ports %d and %d free", kannel.PortConnectionless, kannel.PortSession)
}
