package admin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/router"
)

type traffic struct{ fates map[string][]admin.Fate }

func (traffic) Outstanding(name string) int   { return len(name) }
func (t traffic) Fate(id string) []admin.Fate { return t.fates[id] }
func (traffic) Learned(_, _, subscriber, _, messageID string) string {
	if subscriber == "+46701" && messageID == "known@elsewhere" {
		return "mmsc-b"
	}
	return ""
}

type rig struct {
	*admin.Server
	base    string
	board   *router.Board
	ready   error
	drained chan string
}

// start runs a server on a free loopback port and ends it with the test.
func start(t *testing.T, change func(*admin.Options)) *rig {
	t.Helper()
	r := &rig{board: router.NewBoard(100), drained: make(chan string, 1)}
	addr := router.Address{IP: netip.MustParseAddr("192.0.2.1")}
	err := r.board.Configure([]router.Target{
		{Name: "mmsc-a", URL: "http://127.0.0.1:9001/", Weight: 1},
		{Name: "mmsc-b", URL: "http://127.0.0.1:9002/", Weight: 1},
	}, []router.Zone{{Name: "mms.example.net", Addresses: []router.Address{addr}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.board.SetVerdict("mmsc-a", router.Verdict{Known: true, Up: true, Why: "tcp: connected", Since: time.Unix(1000, 0)})
	r.board.SetVerdict("mmsc-b", router.Verdict{Known: true, Why: "tcp: connection refused", Since: time.Unix(2000, 0)})
	reg := prometheus.NewRegistry()
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_test_things_total"}, []string{"kind"})
	reg.MustRegister(counter)
	counter.WithLabelValues("one").Add(2)
	counter.WithLabelValues("two").Add(3)
	o := admin.Options{
		Config: admin.DefaultConfig(), Node: "r1", Version: "1.0", Started: time.Now(), Board: r.board,
		Gatherer: reg, Metrics: reg, Log: slog.New(slog.DiscardHandler),
		Traffic:   traffic{map[string][]admin.Fate{"T/1": {{TransactionID: "T/1", PDU: "m-send-req", Attempts: []admin.Attempt{{MMSC: "mmsc-a", Octets: 30}}}}}},
		Ready:     func() error { return r.ready },
		DrainSelf: func(why admin.Reason, _ time.Duration) error { r.drained <- why.Reason; return nil },
	}
	o.Config.Listen = "127.0.0.1:0"
	if change != nil {
		change(&o)
	}
	if r.Server, err = admin.New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	r.base = "http://" + r.Addr().String()
	return r
}

func client(t *testing.T, r *rig, token string) *admin.Client {
	t.Helper()
	c, err := admin.NewClient(r.base, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.HTTP.CloseIdleConnections)
	return c
}

func TestStatusShowsTheBoard(t *testing.T) {
	r := start(t, nil)
	st, err := client(t, r, "").Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Node.Name != "r1" || st.Node.State != "ready" || len(st.Members) != 1 || st.Members[0].State != "alive" {
		t.Errorf("node %+v, members %+v", st.Node, st.Members)
	}
	if len(st.MMSCs) != 2 || st.MMSCs[0].State != router.StateUp || st.MMSCs[1].State != router.StateDown {
		t.Fatalf("mmscs %+v", st.MMSCs)
	}
	b := st.MMSCs[1]
	if b.Why != "tcp: connection refused" || !b.Since.Equal(time.Unix(2000, 0)) || b.URL != "http://127.0.0.1:9002/" || b.InFlight != 6 {
		t.Errorf("mmsc-b: %+v", b)
	}
	if len(st.Zones) != 1 || st.Zones[0].Addresses[0] != "192.0.2.1" {
		t.Errorf("zones %+v", st.Zones)
	}
	if st.Counters["mmsrouter_test_things_total"] != 5 {
		t.Errorf("counters %+v", st.Counters)
	}
}

func TestDrainAndUndrain(t *testing.T) {
	r := start(t, nil)
	c := client(t, r, "")
	all, err := c.Drain(t.Context(), "mmsc-a", admin.Reason{By: "anna", Reason: "upgrade"})
	if err != nil || len(all) != 1 {
		t.Fatalf("drain: %+v %v", all, err)
	}
	if m := all[0]; m.State != router.StateDraining || m.Drain == nil || m.Drain.By != "anna" || m.Why != "drained by anna: upgrade" {
		t.Fatalf("drain: %+v %v", m, err)
	}
	if s := r.board.Load(); s.MMSCs[0].Qualifies() {
		t.Error("the Board still gives mmsc-a new messages")
	}
	if all, err = c.Undrain(t.Context(), "mmsc-a", admin.Reason{}); err != nil || len(all) != 1 || all[0].State != router.StateUp || all[0].Drain != nil {
		t.Fatalf("undrain: %+v %v", all, err)
	}
	if _, err = c.Drain(t.Context(), "nobody", admin.Reason{}); !admin.NotFound(err) {
		t.Errorf("drain of an unknown MMSC: %v", err)
	}
	if _, err := c.DrainSelf(t.Context(), admin.Reason{Reason: "move"}); err != nil {
		t.Fatal(err)
	}
	if got := <-r.drained; got != "move" {
		t.Errorf("reason of the node's own drain: %q", got)
	}
}

// TestUndrainOfNothing: the log tells of what has changed, not of what was asked for.
func TestUndrainOfNothing(t *testing.T) {
	var log bytes.Buffer
	r := start(t, func(o *admin.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	c := client(t, r, "")
	if all, err := c.Undrain(t.Context(), "mmsc-a", admin.Reason{}); err != nil || len(all) != 1 {
		t.Fatalf("undrain: %+v %v", all, err)
	}
	if strings.Contains(log.String(), "mmsc-a") {
		t.Errorf("the log says %s", log.String())
	}
	if _, err := c.Drain(t.Context(), "mmsc-a", admin.Reason{}); err != nil || !strings.Contains(log.String(), "mmsc-a") {
		t.Errorf("a drain: %v; the log says %q", err, log.String())
	}
}

func TestUpgrade(t *testing.T) {
	err := fmt.Errorf("%w: an upgrade is under way", admin.ErrBusy)
	r := start(t, func(o *admin.Options) {
		o.Upgrade = func() (admin.Upgraded, error) { return admin.Upgraded{PID: 7, Version: "2"}, err }
	})
	c := client(t, r, "")
	if _, got := c.Upgrade(t.Context()); !admin.Busy(got) {
		t.Errorf("busy: %v", got)
	}
	err = errors.New("mm1.listen: taken")
	if _, got := c.Upgrade(t.Context()); got == nil || admin.Busy(got) || !strings.Contains(got.Error(), "mm1.listen") {
		t.Errorf("refused: %v", got)
	}
	err = nil
	if up, got := c.Upgrade(t.Context()); got != nil || up.PID != 7 || up.Version != "2" {
		t.Errorf("%+v %v", up, got)
	}
	var no *admin.Refusal
	if _, got := client(t, start(t, nil), "").Upgrade(t.Context()); !errors.As(got, &no) || no.Status != http.StatusNotImplemented {
		t.Errorf("where nobody can: %v", got)
	}
}

func TestExplain(t *testing.T) {
	r := start(t, nil)
	c := client(t, r, "")
	pdu := append([]byte{0x8c, 0x80, 0x98}, "T1\x00\x8d\x92\x97+46701234567/TYPE=PLMN\x00\x84"...)
	pdu = append(pdu, 0xa3, 0x00)
	tests := []struct {
		name string
		ask  func() (admin.Explanation, error)
		kind string
		want []string
	}{
		{"a plain submission", func() (admin.Explanation, error) { return c.Explain(t.Context(), admin.Question{}) }, "any", []string{"mmsc-a"}},
		{"a retrieval by URL", func() (admin.Explanation, error) {
			return c.Explain(t.Context(), admin.Question{Method: "GET", URL: "http://127.0.0.1/x"})
		}, "search", []string{"mmsc-a"}},
		{"a retrieval that traffic taught", func() (admin.Explanation, error) {
			return c.Explain(t.Context(), admin.Question{PDU: "m-forward-req", Subscriber: "+46701", MessageID: "known@elsewhere"})
		}, "owner", nil},
		{"a PDU", func() (admin.Explanation, error) { return c.ExplainPDU(t.Context(), pdu, admin.Question{}) }, "any", []string{"mmsc-a"}},
		{"garbage", func() (admin.Explanation, error) {
			return c.ExplainPDU(t.Context(), []byte("<html>"), admin.Question{})
		}, "any", []string{"mmsc-a"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			e, err := tc.ask()
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind != tc.kind || strings.Join(e.Order, " ") != strings.Join(tc.want, " ") || len(e.Why) == 0 {
				t.Errorf("%+v", e)
			}
		})
	}
	e, err := c.ExplainPDU(t.Context(), pdu, admin.Question{})
	if err != nil || e.Request.TransactionID != "T1" || len(e.Request.Recipients) != 1 || e.Request.Recipients[0] != "+46701234567" {
		t.Errorf("the PDU was read as %+v, %v", e.Request, err)
	}
	if _, err := c.Explain(t.Context(), admin.Question{PDU: "m-nonsense"}); err == nil {
		t.Error("an unknown PDU name was taken")
	}
}

func TestFate(t *testing.T) {
	r := start(t, nil)
	c := client(t, r, "")
	f, err := c.Fate(t.Context(), "T/1")
	if err != nil || len(f) != 1 || f[0].Attempts[0].MMSC != "mmsc-a" {
		t.Errorf("%+v %v", f, err)
	}
	if _, err := c.Fate(t.Context(), "T2"); !admin.NotFound(err) {
		t.Errorf("an unknown id: %v", err)
	}
}

func TestReadiness(t *testing.T) {
	r := start(t, nil)
	for _, tc := range []struct {
		name string
		err  error
		want int
	}{{"ready", nil, 200}, {"not yet", errors.New("mmsc-a has no verdict yet"), 503}} {
		r.ready = tc.err
		resp := ask(t, "GET", r.base+"/readyz", nil, nil)
		if resp.StatusCode != tc.want {
			t.Errorf("%s: %d", tc.name, resp.StatusCode)
		}
	}
	if resp := ask(t, "GET", r.base+"/healthz", nil, nil); resp.StatusCode != 200 {
		t.Errorf("healthz: %d", resp.StatusCode)
	}
}

func ask(t *testing.T, method, url string, body io.Reader, change func(*http.Request)) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return resp
}

func TestGuard(t *testing.T) {
	const token = "0123456789abcdef"
	plain := start(t, func(o *admin.Options) { o.Config.Hosts = []string{"router.example.net"} })
	locked := start(t, func(o *admin.Options) { o.Config.Token = token })
	set := func(k, v string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(k, v) } }
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	tests := []struct {
		name   string
		rig    *rig
		method string
		path   string
		change func(*http.Request)
		want   int
	}{
		{"loopback name", plain, "GET", "/api/v1/status", host("localhost:8090"), 200},
		{"loopback in IPv6", plain, "GET", "/api/v1/status", host("[::1]:8090"), 200},
		{"listed name", plain, "GET", "/api/v1/status", host("Router.example.net"), 200},
		{"rebound name", plain, "GET", "/api/v1/status", host("evil.example:8090"), 421},
		{"rebound name, readiness", plain, "GET", "/readyz", host("evil.example"), 421},
		{"cross-site post", plain, "POST", "/api/v1/mmscs/mmsc-a/drain", set("Sec-Fetch-Site", "cross-site"), 403},
		{"foreign origin", plain, "POST", "/api/v1/mmscs/mmsc-a/drain", set("Origin", "http://evil.example"), 403},
		{"no token", locked, "GET", "/api/v1/status", nil, 401},
		{"no token, metrics", locked, "GET", "/metrics", nil, 401},
		{"no token, page", locked, "GET", "/", nil, 401},
		{"no token, readiness", locked, "GET", "/readyz", nil, 200},
		{"wrong token", locked, "GET", "/api/v1/status", set("Authorization", "Bearer "+token+"x"), 401},
		{"token without scheme", locked, "GET", "/api/v1/status", set("Authorization", token), 401},
		{"bearer", locked, "GET", "/api/v1/status", set("Authorization", "Bearer "+token), 200},
		{"basic", locked, "GET", "/", func(r *http.Request) { r.SetBasicAuth("any", token) }, 200},
		{"token, any name", locked, "GET", "/healthz", host("router.example.org"), 200},
		{"unknown door", plain, "GET", "/nothing", nil, 404},
		{"wrong method", plain, "GET", "/api/v1/mmscs/mmsc-a/drain", nil, 404},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if resp := ask(t, tc.method, tc.rig.base+tc.path, nil, tc.change); resp.StatusCode != tc.want {
				b, _ := io.ReadAll(resp.Body)
				t.Errorf("got %d, want %d: %s", resp.StatusCode, tc.want, b)
			}
		})
	}
}

func TestReloadChangesTheToken(t *testing.T) {
	r := start(t, nil)
	c := admin.DefaultConfig()
	c.Token = "a-new-token-of-the-operator"
	if err := r.Reload(c); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, r, "").Status(t.Context()); err == nil {
		t.Error("the old rule still lets callers in")
	}
	if _, err := client(t, r, c.Token).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	r := start(t, nil)
	resp := ask(t, "POST", r.base+"/api/v1/explain", bytes.NewReader(make([]byte, 1<<20)), nil)
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a megabyte of question: %d", resp.StatusCode)
	}
	resp = ask(t, "POST", r.base+"/api/v1/mmscs/mmsc-a/drain", strings.NewReader("{broken"), nil)
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("broken JSON: %d", resp.StatusCode)
	}
}

func TestPage(t *testing.T) {
	r := start(t, nil)
	if err := r.board.SetDrain("mmsc-a", &router.Drain{By: "x", Reason: "<script>alert(1)</script>", Since: time.Now()}); err != nil {
		t.Fatal(err)
	}
	resp := ask(t, "GET", r.base+"/", nil, nil)
	b, _ := io.ReadAll(resp.Body)
	page := string(b)
	if resp.StatusCode != 200 || !strings.Contains(page, "mmsc-a") || strings.Contains(page, "<script") || strings.Contains(page, "http-equiv=\"Content") {
		t.Errorf("%d\n%s", resp.StatusCode, page)
	}
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
		t.Errorf("policy %q", csp)
	}
	resp = ask(t, "POST", r.base+"/api/v1/mmscs/mmsc-a/undrain", nil, func(r *http.Request) { r.Header.Set("Accept", "text/html,*/*") })
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/" {
		t.Errorf("the page's button: %d %v", resp.StatusCode, resp.Header)
	}
	if r.board.Load().MMSCs[0].Drain != nil {
		t.Error("the page's button did nothing")
	}
}

func TestMetricsDoor(t *testing.T) {
	r := start(t, nil)
	b, _ := io.ReadAll(ask(t, "GET", r.base+"/metrics", nil, nil).Body)
	if !strings.Contains(string(b), `mmsrouter_test_things_total{kind="two"} 3`) || !strings.Contains(string(b), "mmsrouter_admin_requests_total") {
		t.Errorf("%s", b)
	}
}

func TestConfig(t *testing.T) {
	tests := []struct {
		name   string
		change func(*admin.Config)
		want   string // "" for fine
	}{
		{"the default", func(*admin.Config) {}, ""},
		{"everywhere without a token", func(c *admin.Config) { c.Listen = ":8090" }, "admin.token"},
		{"everywhere with a token", func(c *admin.Config) { c.Listen, c.Token = "0.0.0.0:8090", "0123456789abcdef" }, ""},
		{"a short token", func(c *admin.Config) { c.Token = "secret" }, "admin.token"},
		{"no port", func(c *admin.Config) { c.Listen = "127.0.0.1" }, "admin.listen"},
		{"a host with a port", func(c *admin.Config) { c.Hosts = []string{"a:80"} }, "admin.hosts[0]"},
		{"no connections", func(c *admin.Config) { c.MaxConnections = 0 }, "admin.max_connections"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := admin.DefaultConfig()
			tc.change(&c)
			err := c.Validate()
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestPortInUseNamesTheKey(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := admin.DefaultConfig()
	c.Listen = ln.Addr().String()
	reg := prometheus.NewRegistry()
	_, err = admin.New(admin.Options{Config: c, Board: router.NewBoard(0), Gatherer: reg, Metrics: reg, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.HasPrefix(err.Error(), "admin.listen: ") || !strings.Contains(err.Error(), c.Listen) {
		t.Errorf("%v", err)
	}
}
