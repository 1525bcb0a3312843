package resolvers_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/dnsserver"
	"github.com/mmsrouter/mmsrouter/router"
)

const zoneName = "mms.example.net"

// appliance is our name server, running.
type appliance struct {
	addr  netip.AddrPort
	board *router.Board
	reg   *prometheus.Registry
}

func startAppliance(t *testing.T, listen string) appliance {
	t.Helper()
	c := dnsserver.DefaultConfig()
	c.Listen = []string{listen}
	c.Zones = []dnsserver.ZoneConfig{{
		Name: zoneName, TTL: 4 * time.Second, NegativeTTL: 2 * time.Second,
		Addresses: []string{"192.0.2.1", "2001:db8::1", "00-00-5e-00-53-2a"}, Transfer: []string{"127.0.0.0/8"},
		Records: []string{"@ MX 10 mail", "mail 3600 A 192.0.2.25", "alias CNAME @", "*.wild A 192.0.2.99",
			"huge 600 TXT " + strings.Repeat(`"`+strings.Repeat("y", 250)+`" `, 12),
			`@ NAPTR 10 10 "u" "E2U+mms:mailto" "!^.*$!mailto:mms@example.net!" .`},
	}}
	a := appliance{board: router.NewBoard(uint64(time.Now().Unix())), reg: prometheus.NewRegistry()}
	zones, err := c.BoardZones()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.board.Configure(nil, zones, nil); err != nil {
		t.Fatal(err)
	}
	s, err := dnsserver.New(dnsserver.Options{Config: c, Board: a.board, Metrics: a.reg, NodeName: "r1"})
	if err != nil {
		t.Skipf("our server can't listen on %s: %v", listen, err)
	}
	a.addr = s.Addrs()[0].(*net.TCPAddr).AddrPort()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a
}

// asked is the number of queries that reached us.
func (a appliance) asked(t *testing.T) (n float64) {
	t.Helper()
	families, err := a.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "mmsrouter_dns_queries_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// snippet is the block of docs/dns.md with the given language, with our port put in.
func snippet(t *testing.T, lang string, port uint16) string {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "dns.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)\n```" + lang + "\n(.*?)```").FindSubmatch(doc)
	if m == nil || !strings.Contains(string(m[1]), "1053") {
		t.Fatalf("docs/dns.md has no block for %s with port 1053", lang)
	}
	return strings.ReplaceAll(string(m[1]), "1053", fmt.Sprint(port))
}

// freePort finds a port of 127.0.0.1 that is free for UDP and TCP. Somebody else can take it before the resolver does; then
// the resolver ends, and the caller tries another.
func freePort(t *testing.T) int {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp", l.Addr().String())
		_ = l.Close()
		if err != nil {
			continue
		}
		_ = u.Close()
		return port
	}
	t.Fatal("no free port")
	return 0
}

// startResolver runs a resolver until the test ends and gives its address. command makes its configuration in dir.
func startResolver(t *testing.T, program string, command func(dir string, port int) []string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	var output string
	for range 3 {
		port := freePort(t)
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		ctx, cancel := context.WithCancel(context.Background())
		cmd := exec.CommandContext(ctx, path, command(t.TempDir(), port)...)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			cancel()
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }() // how it ended is of no interest: we kill it
		if ready(addr, ended) {
			t.Cleanup(func() { cancel(); <-ended })
			return addr
		}
		cancel()
		<-ended
		output = out.String()
	}
	t.Fatalf("%s does not come up:\n%s", program, output)
	return ""
}

// ready waits until the resolver answers anything at all.
func ready(addr string, ended <-chan struct{}) bool {
	c := &dns.Client{Timeout: 200 * time.Millisecond}
	m := new(dns.Msg)
	m.SetQuestion("localhost.", dns.TypeA)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 200 {
		select {
		case <-ended:
			return false
		case <-tick.C:
		}
		if r, _, err := c.Exchange(m, addr); err == nil && r != nil {
			return true
		}
	}
	return false
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func unboundCommand(t *testing.T, a appliance) func(string, int) []string {
	return func(dir string, port int) []string {
		return []string{"-d", "-c", write(t, filepath.Join(dir, "unbound.conf"), fmt.Sprintf(`
server:
    interface: 127.0.0.1@%d
    username: ""
    chroot: ""
    directory: %q
    pidfile: ""
    use-syslog: no
    use-caps-for-id: yes
    root-hints: ""
    module-config: "iterator"
remote-control:
    control-enable: no
%s`, port, dir, snippet(t, "unbound", a.addr.Port())))}
	}
}

func dnsmasqCommand(t *testing.T, a appliance) func(string, int) []string {
	return func(dir string, port int) []string {
		return []string{"--keep-in-foreground", "--log-facility=-", fmt.Sprintf("--port=%d", port), "--listen-address=127.0.0.1", "--bind-interfaces",
			"--no-resolv", "--no-hosts", "--user=", "--pid-file=", "-C", write(t, filepath.Join(dir, "dnsmasq.conf"), snippet(t, "dnsmasq", a.addr.Port()))}
	}
}

// bindCommand runs named with the given zones.
func bindCommand(t *testing.T, zones, options string) func(string, int) []string {
	return func(dir string, port int) []string {
		return []string{"-g", "-c", write(t, filepath.Join(dir, "named.conf"), fmt.Sprintf(`
options {
    directory %q;
    listen-on port %d { 127.0.0.1; };
    listen-on-v6 { none; };
    pid-file none;
    session-keyfile none;
    dnssec-validation no;
    recursion yes;
    allow-query { any; };
    %s
};
controls { };
zone "." { type hint; file "/dev/null"; };
%s`, dir, port, options, zones))}
	}
}

// ask asks a resolver until it has an answer: one that has just started may say SERVFAIL once.
func ask(t *testing.T, addr, name string, qtype uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), qtype)
	m.SetEdns0(1232, false)
	var last string
	for range 5 {
		c := &dns.Client{Timeout: 3 * time.Second}
		r, _, err := c.Exchange(m, addr)
		if err == nil && r.Truncated {
			c.Net = "tcp"
			r, _, err = c.Exchange(m, addr)
		}
		if err == nil && r.Rcode != dns.RcodeServerFailure {
			return r
		}
		last = fmt.Sprint(r, err)
	}
	t.Fatalf("%s %s: %s", name, dns.TypeToString[qtype], last)
	return nil
}

func TestResolvers(t *testing.T) {
	for _, c := range []struct {
		name, program string
		command       func(*testing.T, appliance) func(string, int) []string
	}{
		{"unbound", "unbound", unboundCommand},
		{"dnsmasq", "dnsmasq", dnsmasqCommand},
		{"BIND", "named", func(t *testing.T, a appliance) func(string, int) []string {
			return bindCommand(t, snippet(t, "bind", a.addr.Port()), "")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := startAppliance(t, "127.0.0.1:0")
			resolves(t, a, startResolver(t, c.program, c.command(t, a)))
		})
	}
}

// resolves is what every resolver must be able to do with us.
func resolves(t *testing.T, a appliance, addr string) {
	r := ask(t, addr, zoneName, dns.TypeA)
	if len(r.Answer) != 1 || r.Answer[0].(*dns.A).A.String() != "192.0.2.1" || r.Answer[0].Header().Ttl > 4 {
		t.Fatalf("A: %v", r)
	}
	countsDown(t, a, addr)
	for _, q := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{zoneName, dns.TypeAAAA, "2001:db8::1"}, {zoneName, dns.TypeEUI48, "00-00-5e-00-53-2a"}, {zoneName, dns.TypeMX, "mail." + zoneName},
		{zoneName, dns.TypeNAPTR, "E2U+mms:mailto"}, {"mail." + zoneName, dns.TypeA, "192.0.2.25"}, {"alias." + zoneName, dns.TypeA, "192.0.2.1"},
		{"x.y.wild." + zoneName, dns.TypeA, "192.0.2.99"}, {"huge." + zoneName, dns.TypeTXT, strings.Repeat("y", 250)},
	} {
		if r := ask(t, addr, q.name, q.qtype); r.Rcode != dns.RcodeSuccess || !strings.Contains(fmt.Sprint(r.Answer), q.want) {
			t.Errorf("%s %s: %v", q.name, dns.TypeToString[q.qtype], r)
		}
	}
	if r := ask(t, addr, "nothing."+zoneName, dns.TypeA); r.Rcode != dns.RcodeNameError || len(r.Answer) != 0 {
		t.Errorf("NXDOMAIN: %v", r)
	}
	if r := ask(t, addr, zoneName, dns.TypeCAA); r.Rcode != dns.RcodeSuccess || len(r.Answer) != 0 {
		t.Errorf("NODATA: %v", r)
	}
	// A router goes, another comes: the cache lets go of the old one when the TTL is over.
	a.board.SetAddresses(zoneName, []router.Address{{IP: netip.MustParseAddr("192.0.2.2")}})
	changed := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		if r := ask(t, addr, zoneName, dns.TypeA); len(r.Answer) == 1 && r.Answer[0].(*dns.A).A.String() == "192.0.2.2" {
			break
		}
		if time.Since(changed) > 15*time.Second {
			t.Fatal("the resolver never sees the new address")
		}
	}
}

// countsDown watches a cached answer grow old, while we are not asked again.
func countsDown(t *testing.T, a appliance, addr string) {
	t.Helper()
	first := ask(t, addr, "mail."+zoneName, dns.TypeA)
	before := a.asked(t)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 100 {
		r := ask(t, addr, "mail."+zoneName, dns.TypeA)
		if len(r.Answer) != 1 {
			t.Fatalf("mail: %v", r)
		}
		if ttl := r.Answer[0].Header().Ttl; ttl < first.Answer[0].Header().Ttl && ttl > 3500 {
			if now := a.asked(t); now != before {
				t.Errorf("the resolver asked us %v times for what it had", now-before)
			}
			return
		}
		<-tick.C
	}
	t.Error("the TTL does not count down")
}

// A secondary fetches the zone by AXFR and answers with authority.
func TestSecondary(t *testing.T) {
	t.Parallel()
	a := startAppliance(t, "127.0.0.1:0")
	addr := startResolver(t, "named", bindCommand(t, snippet(t, "bind-secondary", a.addr.Port()), ""))
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var r *dns.Msg
	for range 100 {
		m := new(dns.Msg)
		m.SetQuestion("mail."+zoneName+".", dns.TypeA)
		var err error
		if r, err = dns.Exchange(m, addr); err == nil && r.Authoritative && len(r.Answer) == 1 {
			return
		}
		<-tick.C
	}
	t.Errorf("the secondary has no zone: %v", r)
}

// The parent's delegation, as docs/dns.md writes it. A delegation can't name a port: this takes the right to listen on port 53.
func TestDelegation(t *testing.T) {
	t.Parallel()
	host := fmt.Sprintf("127.%d.%d.53", 64+os.Getpid()/200%100, 1+os.Getpid()%200)
	a := startAppliance(t, host+":53")
	doc, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "dns.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)\n```zone\n(.*?)```").FindSubmatch(doc)
	if m == nil {
		t.Fatal("docs/dns.md has no delegation")
	}
	parent := strings.ReplaceAll(string(m[1]), "192.0.2.1", host)
	zone := write(t, filepath.Join(t.TempDir(), "example.net"),
		"$ORIGIN example.net.\n$TTL 3600\n@ IN SOA ns. host. 1 3600 600 604800 60\n@ IN NS ns\nns IN A 127.0.0.1\n"+parent)
	addr := startResolver(t, "named", bindCommand(t, fmt.Sprintf("zone \"example.net\" { type primary; file %q; };", zone), ""))
	if r := ask(t, addr, zoneName, dns.TypeA); len(r.Answer) != 1 || r.Answer[0].(*dns.A).A.String() != "192.0.2.1" {
		t.Errorf("through the delegation: %v", r)
	}
	if a.asked(t) == 0 {
		t.Error("nobody asked us")
	}
}
