package takeover_test

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/cluster/takeover"
)

var update = flag.Bool("update", false, "write the golden files anew")

func config() takeover.Config {
	c := takeover.DefaultConfig()
	c.Interface = "eth0"
	c.Routers = []takeover.RouterConfig{
		{Name: "r1", Peer: "10.0.0.1", Addresses: []string{"192.0.2.1/24", "2001:db8::1/64"}},
		{Name: "r2", Peer: "10.0.0.2", Addresses: []string{"192.0.2.2/24"}},
		{Name: "r3", Peer: "10.0.0.3", Addresses: []string{"192.0.2.3/24", "192.0.2.33/24"}},
	}
	return c
}

func TestGolden(t *testing.T) {
	six := config()
	for i := range six.Routers {
		six.Routers[i].Peer = fmt.Sprintf("2001:db8:1::%d", i+1)
	}
	six.Routers[1].Addresses = []string{"2001:db8::2/64", "192.0.2.2/24"}
	six.Routers[2].Addresses = []string{"2001:db8::3/64"}
	six.Advert, six.Check.Interval, six.Check.Timeout = 250*time.Millisecond, 2*time.Second, 1500*time.Millisecond
	alone := config()
	alone.Routers = alone.Routers[:1]
	for _, c := range []struct {
		name string
		conf takeover.Config
		site takeover.Site
	}{
		{"first", config(), takeover.Site{Node: "r1", Admin: "http://127.0.0.1:8090", Data: "/var/lib/mmsrouter"}},
		{"third-token", config(), takeover.Site{Node: "r3", Admin: "https://10.0.0.3:8090/", Token: "0123456789abcdef", Data: "/var/lib/mmsrouter"}},
		{"ipv6", six, takeover.Site{Node: "r2", Admin: "http://[::1]:8090", Data: "/var/lib/mmsrouter"}},
		{"alone", alone, takeover.Site{Node: "r1", Admin: "http://127.0.0.1:8090", Data: "/var/lib/mmsrouter"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			files, err := takeover.Files(c.conf, c.site)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, f := range files {
				fmt.Fprintf(&got, "==== %s %o %s\n%s", f.Path, f.Mode, f.User, f.Text)
			}
			golden := filepath.Join("testdata", c.name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("it differs from %s; got:\n%s", golden, got.String())
			}
		})
		t.Run(c.name+" judged by keepalived", func(t *testing.T) { judge(t, c.conf, c.site) })
	}
}

// judge asks keepalived itself whether the configuration is right, with the files in place and in a network namespace
// that has the interface.
func judge(t *testing.T, c takeover.Config, s takeover.Site) {
	keepalived, err := exec.LookPath("keepalived")
	if err != nil {
		if keepalived, err = exec.LookPath("/usr/sbin/keepalived"); err != nil {
			t.Skip("keepalived is not installed: nobody judges its configuration")
		}
	}
	if err := exec.Command("unshare", "-n", "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1").Run(); err != nil {
		t.Skip("no network namespaces here (root, unshare, iproute2): nobody judges keepalived's configuration: ", err)
	}
	dir, err := os.MkdirTemp("/var/lib", "mmsrouter-test-") // the folder of tests is everybody's, which keepalived minds
	if err != nil {
		t.Skip("no folder that is root's alone: ", err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c.Dir = dir
	files, err := takeover.Files(c, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := takeover.Write(files); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("unshare", "-n", "sh", "-ec", `ip link set lo up; ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up
		for n in 1 2 3; do ip addr add 10.0.0.$n/24 dev eth0; ip addr add 2001:db8:1::$n/64 dev eth0; done
		exec "$0" -t -f "$1"`, keepalived, filepath.Join(dir, takeover.ConfName)).CombinedOutput()
	// Debian's 2.2.7 ends its own test with SIGTERM, faults or none; they are what it prints.
	if len(out) > 0 || err != nil && !strings.Contains(err.Error(), "terminated") {
		t.Errorf("keepalived says: %v\n%s", err, out)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*takeover.Config)
		want string
	}{
		{"right", func(*takeover.Config) {}, ""},
		{"off", func(c *takeover.Config) { *c = takeover.Config{} }, ""},
		{"no interface", func(c *takeover.Config) { c.Interface = "" }, "takeover.interface: "},
		{"an interface that breaks out", func(c *takeover.Config) { c.Interface = "eth0\n}" }, "takeover.interface: "},
		{"an id too high", func(c *takeover.Config) { c.VRID = 254 }, "takeover.vrid: "},
		{"two of one name", func(c *takeover.Config) { c.Routers[1].Name = "r1" }, "takeover.routers[1].name: "},
		{"a name that breaks out", func(c *takeover.Config) { c.Routers[1].Name = "r2 {" }, "takeover.routers[1].name: "},
		{"an address without a length", func(c *takeover.Config) { c.Routers[0].Addresses[0] = "192.0.2.1" }, "takeover.routers[0].addresses[0]: "},
		{"an address of two", func(c *takeover.Config) { c.Routers[1].Addresses[0] = "192.0.2.1/24" }, "is takeover.routers[0].addresses[0] too"},
		{"a peer that moves", func(c *takeover.Config) { c.Routers[1].Peer = "192.0.2.3" }, "is takeover.routers[1].peer too"},
		{"peers of two families", func(c *takeover.Config) { c.Routers[1].Peer = "2001:db8::9" }, "takeover.routers[1].peer: "},
		{"no address", func(c *takeover.Config) { c.Routers[1].Addresses = nil }, "takeover.routers[1].addresses: "},
		{"none that keepalived announces", func(c *takeover.Config) { c.Routers[1].Addresses = []string{"2001:db8::2/64"} }, "takeover.routers[1].addresses: "},
		{"half a second", func(c *takeover.Config) { c.Check.Interval = 500 * time.Millisecond }, "takeover.check.interval: "},
		{"a check that overlaps", func(c *takeover.Config) { c.Check.Timeout = time.Second }, "takeover.check.timeout: "},
		{"an odd advert", func(c *takeover.Config) { c.Advert = 15 * time.Millisecond }, "takeover.advert: "},
		{"a user that breaks out", func(c *takeover.Config) { c.User = "root x" }, "takeover.user: "},
		{"a folder that breaks out", func(c *takeover.Config) { c.Dir = `/etc/"x` }, "takeover.dir: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := config()
			c.edit(&conf)
			err := conf.Validate()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	for _, s := range []takeover.Site{{Node: "r9", Admin: "http://127.0.0.1:8090", Data: "/d"}, {Node: "r1", Admin: "127.0.0.1", Data: "/d"},
		{Node: "r1", Admin: "http://x/'; rm -r y", Data: "/d"}, {Node: "r1", Admin: "http://x", Token: "a\nb", Data: "/d"}, {Node: "r1", Admin: "http://x", Data: "data"},
		{Node: "r1", Admin: "http://x", Data: "/d\"x"}} {
		if _, err := takeover.Files(config(), s); err == nil {
			t.Errorf("%+v was taken", s)
		}
	}
}

// scripts writes a site's scripts into a folder of this test.
func scripts(t *testing.T, admin, token string) string {
	t.Helper()
	for _, p := range []string{"curl", "timeout", "sh"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed: the scripts need it", p)
		}
	}
	c := config()
	c.Dir = t.TempDir()
	c.User = "root"
	c.Check.Timeout = 300 * time.Millisecond
	files, err := takeover.Files(c, takeover.Site{Node: "r1", Admin: admin, Token: token, Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := takeover.Write(files); err != nil {
		t.Fatal(err)
	}
	return c.Dir
}

func TestCheckScript(t *testing.T) {
	var ready atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RequestURI() != "/readyz?addresses" || !ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	run := func(url string) (bool, time.Duration) {
		began := time.Now()
		err := exec.Command(filepath.Join(scripts(t, url, ""), takeover.CheckName)).Run()
		return err == nil, time.Since(began)
	}
	if ok, _ := run(srv.URL); ok {
		t.Error("a router that is not ready passes")
	}
	ready.Store(true)
	if ok, _ := run(srv.URL); !ok {
		t.Error("a router that is ready fails")
	}
	// frozen: it accepts and never answers
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if ok, took := run("http://" + ln.Addr().String()); ok || took > 3*time.Second {
		t.Errorf("frozen: %v after %s", ok, took)
	}
	ln.Close()
	if ok, _ := run("http://" + ln.Addr().String()); ok {
		t.Error("a router that is not there passes")
	}
}

func holders(t *testing.T, local ...string) (*takeover.Holders, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	h, err := takeover.NewHolders(takeover.HoldersOptions{Config: config(), Metrics: reg, Local: func() ([]netip.Addr, error) {
		var all []netip.Addr
		for _, s := range local {
			all = append(all, netip.MustParseAddr(s))
		}
		return all, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return h, reg
}

func TestNotifyScript(t *testing.T) {
	h, _ := holders(t)
	var header atomic.Value
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/takeover", func(w http.ResponseWriter, r *http.Request) {
		header.Store(r.Header.Get("Authorization"))
		h.ServeHTTP(w, r)
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	script := filepath.Join(scripts(t, srv.URL, "0123456789abcdef"), takeover.NotifyName)
	if out, err := exec.Command(script, "INSTANCE", "r2", "MASTER", "150").CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v %s", err, out)
	}
	if got := h.List()[1]; got.State != takeover.Master || got.Since.IsZero() {
		t.Errorf("%+v", got)
	}
	if header.Load() != "Bearer 0123456789abcdef" {
		t.Errorf("token %q", header.Load())
	}
	if err := exec.Command(script, "INSTANCE", `r2","x":"`, "MASTER", "150").Run(); err == nil {
		t.Error("a name that breaks out was posted")
	}
	srv.Close()
	if err := exec.Command(script, "INSTANCE", "r2", "BACKUP", "150").Run(); err != nil {
		t.Errorf("nobody there: %v, want no error", err)
	}
}

func TestHolders(t *testing.T) {
	h, reg := holders(t, "10.0.0.1", "192.0.2.1", "2001:db8::1", "192.0.2.33")
	if got := h.Held(); !reflect.DeepEqual(got, []string{"192.0.2.1", "2001:db8::1", "192.0.2.33"}) {
		t.Errorf("held %v", got)
	}
	for _, s := range []string{"MASTER", "MASTER", "BACKUP", "FAULT"} {
		if err := h.Told("r1", s); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range [][2]string{{"r9", "MASTER"}, {"r1", "KING"}} {
		if err := h.Told(bad[0], bad[1]); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			sums[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if sums["mmsrouter_takeover_changes_total"] != 3 || sums["mmsrouter_takeover_held"] != 3 {
		t.Errorf("metrics %v", sums)
	}
	for _, c := range []struct {
		method, body string
		want         int
	}{
		{"GET", "", 200}, {"POST", `{"instance":"r2","state":"MASTER"}`, 204}, {"POST", `{"instance":"r9","state":"MASTER"}`, 400},
		{"POST", "{", 400}, {"POST", strings.Repeat("x", 10000), 400}, {"PUT", "", 405},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, "/api/v1/takeover", strings.NewReader(c.body)))
		if w.Code != c.want {
			t.Errorf("%s %.40s: %d, want %d", c.method, c.body, w.Code, c.want)
		}
	}
}

// An address on two machines is told of when it has been there for longer than a move takes, and again when it is over.
// A machine that is out of descriptors can't be asked for its addresses. They have not gone: who thinks so tells keepalived to move them.
func TestAddressesThatCannotBeLookedAt(t *testing.T) {
	var err error
	var log strings.Builder
	h, nerr := takeover.NewHolders(takeover.HoldersOptions{Config: config(), Log: slog.New(slog.NewTextHandler(&log, nil)), Local: func() ([]netip.Addr, error) {
		if err != nil {
			return nil, err
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	}})
	if nerr != nil {
		t.Fatal(nerr)
	}
	for _, c := range []struct {
		name string
		err  error
	}{{"as it is", nil}, {"no answer", errors.New("too many open files")}, {"still none", errors.New("too many open files")}, {"again", nil}} {
		err = c.err
		if got := h.Held(); len(got) != 1 || got[0] != "192.0.2.1" {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if n := strings.Count(log.String(), "too many open files"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func TestDoubled(t *testing.T) {
	now := time.Unix(1000, 0)
	var log strings.Builder
	h, err := takeover.NewHolders(takeover.HoldersOptions{Config: config(), Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	both := map[string][]string{"r1": {"192.0.2.1", "2001:db8::1"}, "r2": {"192.0.2.2", "192.0.2.1"}, "r3": nil}
	one := map[string][]string{"r1": {"192.0.2.1"}, "r2": {"192.0.2.2"}}
	for _, c := range []struct {
		name  string
		after time.Duration
		holds map[string][]string
		want  []string
		logs  int
	}{
		{"moving", 0, both, nil, 0},
		{"still moving", 4 * time.Second, both, nil, 0},
		{"moved", time.Second / 2, one, nil, 0},
		{"moving again", time.Second, both, nil, 0},
		{"stuck", 5 * time.Second, both, []string{"192.0.2.1"}, 1},
		{"still stuck", time.Minute, both, []string{"192.0.2.1"}, 1},
		{"over", time.Second, one, nil, 2},
		{"nobody", time.Second, nil, nil, 2},
	} {
		now = now.Add(c.after)
		h.Look(c.holds)
		if got := h.Doubled(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if n := strings.Count(log.String(), "\n"); n != c.logs {
			t.Errorf("%s: %d lines of log, want %d", c.name, n, c.logs)
		}
	}
}

// What keepalived reads: 1 while the router yields, in a folder that the router's user may write.
func TestYield(t *testing.T) {
	data := t.TempDir()
	h, err := takeover.NewHolders(takeover.HoldersOptions{Config: config(), Data: data})
	if err != nil {
		t.Fatal(err)
	}
	if err := takeover.MakeYieldFolder(data); err != nil {
		t.Fatal(err)
	}
	for _, on := range []bool{true, true, false, true} {
		if err := h.Yield(on); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(takeover.YieldFile(data))
		if want := map[bool]string{true: "1\n", false: "0\n"}[on]; err != nil || string(b) != want {
			t.Errorf("yield %v: %q, %v", on, b, err)
		}
	}
	if fi, err := os.Stat(takeover.YieldFile(data)); err != nil || fi.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if got := h.Own("r3"); !reflect.DeepEqual(got, []string{"192.0.2.3", "192.0.2.33"}) {
		t.Errorf("r3 owns %v", got)
	}
	if got := h.Own("r9"); got != nil {
		t.Errorf("r9 owns %v", got)
	}
}

func TestMissing(t *testing.T) {
	got := takeover.Missing(func(f string) (string, error) {
		if f == "curl" {
			return "", errors.New("no")
		}
		return "/x/" + f, nil
	})
	if !reflect.DeepEqual(got, []string{"curl"}) {
		t.Errorf("missing %v", got)
	}
}
