//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/mmsrouter/mmsrouter/dnsserver"
	"github.com/mmsrouter/mmsrouter/router"
	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

const (
	zone    = "mms.example.net"
	address = "192.0.2.1"
)

// peer is a server that the bench can start.
type peer struct {
	name  string
	start func(b *bench, dir, addr string) (*measure.Process, error)
}

func (b *bench) peers() []peer {
	return []peer{
		{"NSD", startNSD}, {"Knot", startKnot}, {"mmsrouter", startOurs},
		{"our dnsserver alone", func(b *bench, _, addr string) (*measure.Process, error) {
			return measure.Start(measure.Options{CPU: b.serverCPU}, b.self, "alone", addr)
		}},
		{"miekg/dns, plain", func(b *bench, _, addr string) (*measure.Process, error) {
			return measure.Start(measure.Options{CPU: b.serverCPU}, b.self, "plain", addr)
		}},
	}
}

// waitAnswering asks until the server answers, and looks at the answer.
func waitAnswering(p *measure.Process, addr string) error {
	m := new(dns.Msg)
	m.SetQuestion(zone+".", dns.TypeA)
	m.SetEdns0(1232, false)
	c := &dns.Client{Timeout: 100 * time.Millisecond}
	var last error
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 200 {
		r, _, err := c.Exchange(m, addr)
		if err == nil && len(r.Answer) == 1 && r.IsEdns0() != nil {
			return nil
		}
		if last = err; err == nil {
			last = fmt.Errorf("answers %v", r)
		}
		select {
		case <-p.Done():
			return fmt.Errorf("ended: %v: %s", p.Err(), p.Output())
		case <-tick.C:
		}
	}
	return fmt.Errorf("does not answer: %w: %s", last, p.Output())
}

func file(dir, name, text string) (string, error) {
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

func zoneFile(dir string) (string, error) {
	return file(dir, "zone", "$ORIGIN "+zone+".\n$TTL 30\n@ IN SOA ns1 hostmaster 1 3600 600 604800 30\n@ IN NS ns1\n@ IN A "+address+"\nns1 IN A "+address+"\n")
}

func startNSD(b *bench, dir, addr string) (*measure.Process, error) {
	program, err := measure.Find("nsd")
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if _, err := zoneFile(dir); err != nil {
		return nil, err
	}
	conf, err := file(dir, "nsd.conf", fmt.Sprintf(`
server:
    ip-address: %s@%s
    server-count: 1
    username: ""
    chroot: ""
    database: ""
    zonesdir: %q
    zonelistfile: "%[3]s/zones.list"
    xfrdfile: "%[3]s/xfrd.state"
    xfrdir: %[3]q
    pidfile: "%[3]s/nsd.pid"
    minimal-responses: yes
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
    do-ip6: no
remote-control:
    control-enable: no
zone:
    name: %q
    zonefile: zone
`, host, port, dir, zone))
	if err != nil {
		return nil, err
	}
	return measure.Start(measure.Options{CPU: b.serverCPU}, program, "-d", "-c", conf)
}

func startKnot(b *bench, dir, addr string) (*measure.Process, error) {
	program, err := measure.Find("knotd")
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if _, err := zoneFile(dir); err != nil {
		return nil, err
	}
	conf, err := file(dir, "knot.conf", fmt.Sprintf(`
server:
    listen: %s@%s
    rundir: %q
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: %[3]q
zone:
  - domain: %[4]s
    storage: %[3]q
    file: zone
`, host, port, dir, zone))
	if err != nil {
		return nil, err
	}
	return measure.Start(measure.Options{CPU: b.serverCPU}, program, "-c", conf)
}

func startOurs(b *bench, dir, addr string) (*measure.Process, error) {
	if _, err := os.Stat(b.ours); err != nil {
		return nil, errors.New("not built (make build)")
	}
	r, err := measure.StartRouter(measure.RouterOptions{Program: b.ours, Dir: dir, CPU: b.serverCPU, DNS: addr, Config: func(r *measure.Router) string {
		return fmt.Sprintf(`
dns:
  listen: [%q]
  zones: [{name: %s, ttl: 30s, addresses: [%s]}]
mm1: {listen: [%q]}
mmscs: [{name: a, url: "http://127.0.0.1:1/"}]
log: {level: error}
`, addr, zone, address, r.MM1)
	}})
	if err != nil {
		return nil, err
	}
	return r.Process, nil
}

// aloneMain serves with our room and nothing else of the router.
func aloneMain(args []string) error {
	if len(args) != 1 {
		return errors.New("alone: want an address")
	}
	c := dnsserver.DefaultConfig()
	c.Listen = args
	c.Zones = []dnsserver.ZoneConfig{{Name: zone, TTL: 30 * time.Second, Addresses: []string{address}}}
	zones, err := c.BoardZones()
	if err != nil {
		return err
	}
	board := router.NewBoard(1)
	if err := board.Configure(nil, zones, nil); err != nil {
		return err
	}
	s, err := dnsserver.New(dnsserver.Options{Config: c, Board: board})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return s.Run(ctx)
}

// plainMain is what anybody writes with miekg/dns in a few lines.
func plainMain(args []string) error {
	if len(args) != 1 {
		return errors.New("plain: want an address")
	}
	rr, err := dns.NewRR(zone + ". 30 IN A " + address)
	if err != nil {
		return err
	}
	return dns.ListenAndServe(args[0], "udp", dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		m.Authoritative = true
		m.Answer = []dns.RR{rr}
		if q.IsEdns0() != nil {
			m.SetEdns0(1232, false)
		}
		_ = w.WriteMsg(m) // a lost answer counts as lost
	}))
}
