package netns_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/program"
)

// asMMSC makes the test program a fake MMSC process.
const asMMSC = "MMSROUTER_TEST_AS_FAKE_MMSC"

func TestMain(m *testing.M) {
	if os.Getenv(asMMSC) != "" {
		os.Exit(fakemmsc.Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	code := m.Run()
	if err := program.Remove(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// zone is the MMS domain of the stories.
const zone = "mms.example.net"

// service is the service address of router n, fixed the machine's own one.
func service(n int) string { return fmt.Sprint("192.0.2.", 100+n) }
func fixed(n int) string   { return fmt.Sprint("192.0.2.", 10+n) }

// service6 is the service address of router n of the other family, which keepalived does not announce but moves along.
func service6(n int) string { return fmt.Sprint("2001:db8::", 100+n) }

// addresses gives the service addresses of a router.
func (r *router) addresses() []string {
	if !r.lab.six {
		return []string{service(r.n)}
	}
	return []string{service(r.n), service6(r.n)}
}

// lab is the whole scene.
type lab struct {
	t        *testing.T
	net      *network
	bin      string
	routers  []*router // in order, 1 is routers[0]
	clients  *machine
	resolver *machine
	mmscs    []*fakemmsc.Process
	began    time.Time
	six      bool // this machine has IPv6

	mu      sync.Mutex
	outside map[string]bool // routers that the others can't see
}

// router is a machine with the program and keepalived on it.
type router struct {
	*machine
	lab  *lab
	n    int
	file string // as the machine sees it
	prog *process
	keep *process
	api  *admin.Client
}

// newLab starts everything and waits until each router holds its own address and DNS names all three.
func newLab(t *testing.T) *lab {
	t.Helper()
	for _, p := range []string{"keepalived", "unbound", "curl", "timeout", "mount"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
	l := &lab{t: t, net: newNetwork(t), bin: program.Path(t), outside: map[string]bool{}, began: time.Now()}
	_, err := os.Stat("/proc/net/if_inet6")
	l.six = err == nil
	l.clients = l.net.machine("clients", l.front("192.0.2.200", "2001:db8::200")...)
	for i, name := range []string{"mmsc-a", "mmsc-b"} {
		l.mmsc(name, fmt.Sprint("198.51.100.", 21+i))
	}
	for n := 1; n <= 3; n++ {
		m := l.net.machine(fmt.Sprint("r", n), append(l.front(fixed(n), fmt.Sprint("2001:db8::", 10+n)), link{"eth1", "core", fmt.Sprintf("198.51.100.%d/24", 10+n)})...)
		l.routers = append(l.routers, l.router(m, n))
	}
	for _, r := range l.routers {
		r.start()
		r.cli("takeover", "-c", r.file, "--write")
	}
	for _, r := range l.routers {
		r.keepalived()
	}
	l.unbound()
	l.settled()
	l.watch()
	return l
}

// front is a machine's links to the front network, of both families where there are two.
func (l *lab) front(four, six string) []link {
	all := []link{{"eth0", "front", four + "/24"}}
	if l.six {
		all = append(all, link{"eth0", "", six + "/64"}) // a second address of the same device
	}
	return all
}

// mmsc starts one as a process on its own machine.
func (l *lab) mmsc(name, address string) {
	l.t.Helper()
	m := l.net.machine(name, link{"eth1", "core", address + "/24"})
	p, err := fakemmsc.StartProcess(name, m.own, func(args []string) *exec.Cmd {
		cmd := m.command(append([]string{os.Args[0], "-delay", "5ms", "-listen", address + ":9001"}, args...)...) // so that a kill finds messages stored but not answered
		cmd.Env = append(os.Environ(), asMMSC+"=1")
		return cmd
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(p.Kill)
	l.mmscs = append(l.mmscs, p)
}

// records gives what the MMSCs stored.
func (l *lab) records() [][]fakemmsc.Record {
	l.t.Helper()
	var all [][]fakemmsc.Record
	for _, p := range l.mmscs {
		r, err := p.Records()
		if err != nil {
			l.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// router writes the configuration of one, the same for all but for name and own address.
func (l *lab) router(m *machine, n int) *router {
	l.t.Helper()
	here := filepath.Join(l.net.dir, "here")
	r := &router{machine: m, lab: l, n: n, file: filepath.Join(here, "mmsrouter.yaml")}
	mm1, own := `"192.0.2.101:80", "192.0.2.102:80", "192.0.2.103:80"`, []any{"", "", ""}
	if l.six {
		mm1 += `, "[2001:db8::101]:80", "[2001:db8::102]:80", "[2001:db8::103]:80"`
		for i := range own {
			own[i] = fmt.Sprintf(`, "%s/64"`, service6(i+1))
		}
	}
	if n == 3 {
		mm1 = `"[::]:80"` // the other way to be there when an address comes
	}
	text := fmt.Sprintf(`node: {name: r%[1]d, data: %[2]s/data}
dns:
  listen: ["192.0.2.101:53", "192.0.2.102:53", "192.0.2.103:53"]
  freebind: true
  short_ttl: 1s
  zones: [{name: %[3]s, ttl: 2s, addresses: ["%[4]s"]}]
mm1:
  listen: [%[5]s]
  freebind: true
  identity: {trusted: ["192.0.2.200/32", "2001:db8::200/128"]}
  gateways: ["192.0.2.200/32", "2001:db8::200/128"]
  timeouts: {connect: 1s, answer: 2s}
  access_log: {path: %[2]s/access.log}
mmscs:
  - {name: mmsc-a, url: "http://198.51.100.21:9001/"}
  - {name: mmsc-b, url: "http://198.51.100.22:9001/"}
detection: {slow_start: 0s}
cluster:
  listen: "%[6]s:7946"
  join: ["192.0.2.11:7946", "192.0.2.12:7946", "192.0.2.13:7946"]
  key: "bmFtZXNwYWNlcyBvZiB0aGUgc3RvcmllcywgMzIgb2M="
admin: {listen: "127.0.0.1:8090"}
takeover:
  interface: eth0
  dir: %[2]s/takeover
  check: {rise: 2}
  routers:
    - {name: r1, peer: 192.0.2.11, addresses: ["192.0.2.101/24"%[7]s]}
    - {name: r2, peer: 192.0.2.12, addresses: ["192.0.2.102/24"%[8]s]}
    - {name: r3, peer: 192.0.2.13, addresses: ["192.0.2.103/24"%[9]s]}
drain: {max: 30s}
log: {level: info, format: json}
`, append([]any{n, here, zone, service(n), mm1, fixed(n)}, own...)...)
	if err := os.WriteFile(filepath.Join(m.own, "mmsrouter.yaml"), []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	api, err := admin.NewClient("127.0.0.1:8090", "")
	if err != nil {
		l.t.Fatal(err)
	}
	api.HTTP = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: m.dial, DisableKeepAlives: true}}
	r.api = api
	return r
}

// start starts the program.
func (r *router) start() {
	r.lab.t.Helper()
	r.prog = r.run("mmsrouter", r.lab.bin, "serve", "-c", r.file)
}

// cli runs another command of the program on the router's machine.
func (r *router) cli(args ...string) string {
	r.lab.t.Helper()
	out, err := r.output(append([]string{r.lab.bin}, args...)...)
	if err != nil {
		r.lab.t.Fatalf("mmsrouter %s on %s: %v: %s", strings.Join(args, " "), r.name, err, out)
	}
	return out
}

// keepalived starts it with the configuration that the program's own command has written.
func (r *router) keepalived() {
	r.lab.t.Helper()
	at := func(name string) string { return filepath.Join(r.lab.net.dir, "here", name) }
	r.keep = r.run("keepalived", "keepalived", "--dont-fork", "--log-console", "--log-detail", "--vrrp", "--use-file="+at("takeover/keepalived.conf"),
		"--pid="+at("keepalived.pid"), "--vrrp_pid="+at("vrrp.pid"))
}

// status is the router's own word, as its API gives it.
func (r *router) status() (admin.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return r.api.Status(ctx)
}

// unbound starts the resolver, asking the routers at their service addresses.
func (l *lab) unbound() {
	l.t.Helper()
	l.resolver = l.net.machine("dns", link{"eth0", "front", "192.0.2.53/24"})
	conf := fmt.Sprintf(`server:
    interface: 192.0.2.53
    access-control: 192.0.2.0/24 allow
    do-daemonize: no
    do-ip6: no
    username: ""
    chroot: ""
    directory: "%[1]s"
    pidfile: "%[1]s/unbound.pid"
    use-syslog: no
    module-config: "iterator"
    domain-insecure: "%[2]s"
    infra-cache-max-rtt: 1000
remote-control:
    control-enable: no
stub-zone:
    name: "%[2]s"
    stub-addr: %[3]s@53
    stub-addr: %[4]s@53
    stub-addr: %[5]s@53
`, filepath.Join(l.net.dir, "here"), zone, service(1), service(2), service(3))
	if err := os.WriteFile(filepath.Join(l.resolver.own, "unbound.conf"), []byte(conf), 0o644); err != nil {
		l.t.Fatal(err)
	}
	l.resolver.run("unbound", "unbound", "-d", "-c", filepath.Join(l.net.dir, "here", "unbound.conf"))
}

// resolve asks the resolver as a WAP gateway does.
func (l *lab) resolve(ctx context.Context) ([]string, error) {
	m := new(dns.Msg)
	m.SetQuestion(zone+".", dns.TypeA)
	nc, err := l.clients.dial(ctx, "udp", "192.0.2.53:53")
	if err != nil {
		return nil, err
	}
	conn := &dns.Conn{Conn: nc}
	defer conn.Close()
	c := dns.Client{Timeout: 5 * time.Second}
	in, _, err := c.ExchangeWithConnContext(ctx, m, conn)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, rr := range in.Answer {
		if a, ok := rr.(*dns.A); ok {
			all = append(all, a.A.String())
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s without an address", dns.RcodeToString[in.Rcode])
	}
	return all, nil
}

// holders gives the routers on whose machines an address is, as the kernels have it.
func (l *lab) holders(address string) (all []string) {
	for _, r := range l.routers {
		held, err := r.holds("eth0")
		if err == nil && slices.Contains(held, address) {
			all = append(all, r.name)
		}
	}
	return all
}

// awaitHolder waits until an address is on one machine and nowhere else (among those that see each other).
func (l *lab) awaitHolder(address string, want *router, limit time.Duration) time.Duration {
	l.t.Helper()
	return await(l.t, limit, fmt.Sprintf("%s is held by %s alone", address, want.name), func() (bool, string) {
		var held []string
		for _, name := range l.holders(address) {
			if !l.isOutside(name) || name == want.name {
				held = append(held, name)
			}
		}
		return slices.Equal(held, []string{want.name}), fmt.Sprint("held by ", held)
	})
}

// settled waits until all is as it should be: each router holds its own address, knows the others, and DNS names all.
func (l *lab) settled() {
	l.t.Helper()
	for _, r := range l.routers {
		l.awaitHolder(service(r.n), r, 30*time.Second)
		await(l.t, 30*time.Second, r.name+" sees three routers that qualify", func() (bool, string) {
			st, err := r.status()
			if err != nil {
				return false, err.Error()
			}
			good := 0
			for _, m := range st.Members {
				if m.InDNS {
					good++
				}
			}
			return good == 3, fmt.Sprintf("%+v", st.Members)
		})
	}
	await(l.t, 30*time.Second, "the resolver names three routers", func() (bool, string) {
		all, err := l.resolve(l.t.Context())
		return err == nil && len(all) == 3, fmt.Sprint(all, err)
	})
}

func (l *lab) isOutside(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outside[name]
}

// apart says that a router is cut off from the others, or no longer.
func (l *lab) apart(r *router, yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outside[r.name] = yes
}

// mostOverlap is how long an address may be on two machines that see each other: while it moves, until the old holder
// has heard the new one. Twice takeover.advert, and as much again for a busy machine.
const mostOverlap = 2 * time.Second

// watch looks all along whether an address is held by two routers that see each other.
func (l *lab) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	longest := time.Duration(0)
	go func() {
		defer close(done)
		since := map[string]time.Time{}
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			among := map[string]int{}
			for _, r := range l.routers {
				held, err := r.holds("eth0")
				if err != nil || l.isOutside(r.name) {
					continue
				}
				for _, a := range held {
					among[a]++
				}
			}
			for _, r := range l.routers {
				for _, a := range r.addresses() {
					if among[a] < 2 {
						delete(since, a)
					} else if since[a].IsZero() {
						since[a] = time.Now()
					} else {
						longest = max(longest, time.Since(since[a]))
					}
				}
			}
		}
	}()
	l.t.Cleanup(func() {
		cancel()
		<-done
		l.t.Logf("an address was on two machines that see each other for at most %s", longest.Round(10*time.Millisecond))
		if longest > mostOverlap {
			l.t.Errorf("want at most %s", mostOverlap)
		}
	})
}

// restart starts the program again after it has ended.
func (r *router) restart() {
	r.lab.t.Helper()
	select {
	case <-r.prog.done:
	case <-time.After(40 * time.Second):
		r.lab.t.Fatalf("%s has not ended", r.name)
	}
	r.start()
}

// unguard kills keepalived with its child: the machine's kernel keeps the addresses that it has.
func (r *router) unguard() {
	r.lab.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.own, "vrrp.pid"))
	pid, perr := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || perr != nil || !slices.Contains(pidsIn(r.ns), pid) {
		r.lab.t.Fatalf("keepalived's child on %s: %v, %v", r.name, err, perr)
	}
	for _, p := range []int{r.keep.cmd.Process.Pid, pid} { // stopped first: the child must not see its parent's end
		_ = syscall.Kill(p, syscall.SIGSTOP)
	}
	for _, p := range []int{pid, r.keep.cmd.Process.Pid} {
		_ = syscall.Kill(p, syscall.SIGKILL)
	}
	<-r.keep.done
}

// metric gives a metric's value without labels.
func (r *router) metric(name string) (v float64) {
	req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:8090/metrics", nil)
	if err != nil {
		r.lab.t.Fatal(err)
	}
	res, err := r.api.HTTP.Do(req)
	if err != nil {
		return -1
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if s, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			if v, err := strconv.ParseFloat(s, 64); err == nil {
				return v
			}
		}
	}
	return -1
}

// freeze stops the program; thaw lets it go on.
func (r *router) freeze() { r.prog.signal(syscall.SIGSTOP) }
func (r *router) thaw()   { r.prog.signal(syscall.SIGCONT) }
