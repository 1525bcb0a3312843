package outgoing_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
)

// names resolves from a table; each look-up of a name takes its next answer and
// stays at the last.
type names struct {
	t     map[string][][]string
	asked atomic.Int32
}

func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.asked.Add(1)
	answers := n.t[host]
	if len(answers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(answers) > 1 {
		n.t[host] = answers[1:]
	}
	var out []netip.Addr
	for _, s := range answers[0] {
		out = append(out, netip.MustParseAddr(s))
	}
	return out, nil
}

func guard(t *testing.T, n *names, change func(*outgoing.Config)) *outgoing.Guard {
	t.Helper()
	c := outgoing.DefaultConfig()
	c.Allow = []string{"127.0.0.1"}
	if change != nil {
		change(&c)
	}
	o := outgoing.Options{Config: c, Metrics: prometheus.NewRegistry()}
	if n != nil {
		o.Resolver = n
	}
	g, err := outgoing.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func wantKind(t *testing.T, err error, kind outgoing.Kind) *outgoing.Error {
	t.Helper()
	var e *outgoing.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("error %v: want kind %s", err, kind)
	}
	return e
}

func TestAddressesThatAreRefused(t *testing.T) {
	for _, address := range []string{
		"0.0.0.0", "10.0.0.1", "100.64.1.1", "127.0.0.2", "127.1.2.3", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"192.0.2.1", "198.18.0.1", "224.0.0.251", "239.1.1.1", "255.255.255.255", "240.0.0.1",
		"::", "::1", "::ffff:127.0.0.2", "::ffff:10.0.0.1", "::7f00:2", "fe80::1", "fec0::1", "fc00::1", "fd12::1", "ff02::1",
		"64:ff9b::a00:1", "64:ff9b:1::1", "2002:a00:1::1", "2001:0:1::1", "2001:db8::1", "100::1", "4000::1",
	} {
		t.Run(address, func(t *testing.T) {
			g := guard(t, &names{t: map[string][][]string{"content.example": {{address}}}}, nil)
			c := g.Client(outgoing.ClientOptions{})
			_, err := c.Get(context.Background(), "http://content.example/", 0)
			wantKind(t, err, outgoing.Forbidden)
			_, err = c.Get(context.Background(), "http://"+net.JoinHostPort(address, "80")+"/", 0)
			if e := wantKind(t, err, outgoing.Forbidden); e.Transient() {
				t.Error("a refusal is not transient")
			}
		})
	}
}

func TestNothingIsDialledThatWasNotChecked(t *testing.T) {
	var hits atomic.Int32
	s := serve(t, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	// The first look-up gives what may be reached, the next what may not.
	n := &names{t: map[string][][]string{"rebind.example": {{"127.0.0.1"}, {"127.0.0.2"}}}}
	g := guard(t, n, func(c *outgoing.Config) { c.Idle = 0 })
	c := g.Client(outgoing.ClientOptions{})
	if _, err := c.Get(context.Background(), "http://rebind.example:"+port, 0); err != nil {
		t.Fatal(err)
	}
	if n.asked.Load() != 1 {
		t.Errorf("%d look-ups for one request: the checked address must be the dialled one", n.asked.Load())
	}
	_, err := c.Get(context.Background(), "http://rebind.example:"+port, 0)
	wantKind(t, err, outgoing.Forbidden)
	if hits.Load() != 1 {
		t.Errorf("%d requests arrived, want 1", hits.Load())
	}
}

func TestAllowedAmongRefusedIsUsed(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	g := guard(t, &names{t: map[string][][]string{"two.example": {{"10.0.0.1", "127.0.0.1"}}}}, nil)
	a, err := g.Client(outgoing.ClientOptions{}).Get(context.Background(), "http://two.example:"+port, 0)
	if err != nil || string(a.Body) != "here" {
		t.Fatal(a, err)
	}
}

func TestDenyIsStrongerThanAllow(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	g := guard(t, nil, func(c *outgoing.Config) { c.Allow, c.Deny = []string{"127.0.0.0/8"}, []string{"127.0.0.1"} })
	_, err := g.Client(outgoing.ClientOptions{}).Get(context.Background(), s.URL, 0)
	wantKind(t, err, outgoing.Forbidden)
}

func TestURLsThatAreRefused(t *testing.T) {
	g := guard(t, nil, func(c *outgoing.Config) { c.Ports = []int{80, 443, 8080} })
	for name, u := range map[string]string{
		"file": "file:///etc/passwd", "ftp": "ftp://example.com/x", "gopher": "gopher://example.com/", "data": "data:text/plain,x", "javascript": "javascript:alert(1)",
		"relative": "/x", "no scheme": "example.com/x", "no host": "http:///x", "opaque": "http:example.com", "password": "http://user:pw@example.com/",
		"port": "http://example.com:25/", "port zero": "http://example.com:0/", "port beyond": "http://example.com:99999/", "space": "http://exa mple.com/",
		"control": "http://example.com/\r\nHost: x", "zone": "http://[fe80::1%25eth0]/", "backslash": `http://example.com\@127.0.0.1/`,
		"private address": "http://10.0.0.1/", "loopback": "http://[::1]:8080/", "link-local": "http://169.254.169.254/latest/",
		"long": "http://example.com/" + strings.Repeat("a", 5000), "empty": "",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := g.Check(u)
			wantKind(t, err, outgoing.Forbidden)
			_, err = g.Client(outgoing.ClientOptions{}).Get(context.Background(), u, 0)
			wantKind(t, err, outgoing.Forbidden)
			if strings.Contains(err.Error(), "pw") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
	if u, err := g.Check("https://example.com/a?b=c#d"); err != nil || u.String() != "https://example.com/a?b=c" {
		t.Errorf("%v, %v", u, err)
	}
}

func TestRedirects(t *testing.T) {
	var seen http.Header
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		_, _ = io.WriteString(w, "other")
	})
	var s *httptest.Server
	s = serve(t, func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{
			"/once": "/end", "/loop": "/loop", "/private": "http://10.0.0.1/", "/metadata": "http://169.254.169.254/latest/",
			"/file": "file:///etc/passwd", "/other": other.URL, "/name": "http://hidden.example/",
		}[r.URL.Path]
		switch {
		case r.URL.Path == "/nowhere":
			w.WriteHeader(http.StatusFound)
		case to != "":
			http.Redirect(w, r, to, http.StatusFound)
		default:
			seen = r.Header.Clone()
			_, _ = io.WriteString(w, "end")
		}
	})
	n := &names{t: map[string][][]string{"hidden.example": {{"192.168.0.1"}}}}
	c := guard(t, n, nil).Client(outgoing.ClientOptions{})
	for name, want := range map[string]any{
		"once": "end", "other": "other", "loop": outgoing.Redirected, "private": outgoing.Forbidden, "metadata": outgoing.Forbidden,
		"file": outgoing.Forbidden, "name": outgoing.Forbidden, "nowhere": outgoing.Redirected,
	} {
		t.Run(name, func(t *testing.T) {
			a, err := c.Do(context.Background(), outgoing.Request{URL: s.URL + "/" + name, Header: http.Header{"Authorization": {"Bearer x"}, "X-Sign": {"y"}}})
			if kind, bad := want.(outgoing.Kind); bad {
				wantKind(t, err, kind)
				return
			}
			if err != nil || string(a.Body) != want {
				t.Fatal(a, err)
			}
			if kept := seen.Get("Authorization") != "" && seen.Get("X-Sign") != ""; kept != (name == "once") {
				t.Errorf("header fields sent to the redirect's target: %v", seen)
			}
		})
	}
	t.Run("of a post", func(t *testing.T) {
		_, err := c.Do(context.Background(), outgoing.Request{Method: http.MethodPost, URL: s.URL + "/once", Body: []byte("x")})
		wantKind(t, err, outgoing.Redirected)
	})
	t.Run("to plain http", func(t *testing.T) {
		secure := httptest.NewTLSServer(http.RedirectHandler(s.URL+"/end", http.StatusFound))
		defer secure.Close()
		trusting := guard(t, nil, nil).Client(outgoing.ClientOptions{TLS: secure.Client().Transport.(*http.Transport).TLSClientConfig})
		_, err := trusting.Get(context.Background(), secure.URL, 0)
		wantKind(t, err, outgoing.Redirected)
	})
}

func TestTLSNeedsATrustedCertificate(t *testing.T) {
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") }))
	defer secure.Close()
	g := guard(t, nil, nil)
	if _, err := g.Client(outgoing.ClientOptions{}).Get(context.Background(), secure.URL, 0); err == nil {
		t.Error("a certificate that nobody trusts was taken")
	}
	a, err := g.Client(outgoing.ClientOptions{TLS: secure.Client().Transport.(*http.Transport).TLSClientConfig}).Get(context.Background(), secure.URL, 0)
	if err != nil || string(a.Body) != "secret" {
		t.Fatal(a, err)
	}
}

func packed(t *testing.T, kind string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if kind == "deflate" {
		w = zlib.NewWriter(&b)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBodiesAreBounded(t *testing.T) {
	bomb := packed(t, "gzip", make([]byte, 1<<20))
	small := []byte("small enough")
	tests := []struct {
		name   string
		coding string
		body   []byte
		flush  bool // no Content-Length
		want   any
	}{
		{"small", "", small, false, string(small)},
		{"small without length", "", small, true, string(small)},
		{"exactly the limit", "", make([]byte, 4096), true, string(make([]byte, 4096))},
		{"one more", "", make([]byte, 4097), false, outgoing.TooLarge},
		{"one more without length", "", make([]byte, 4097), true, outgoing.TooLarge},
		{"gzip", "gzip", packed(t, "gzip", small), false, string(small)},
		{"deflate", "deflate", packed(t, "deflate", small), true, string(small)},
		{"bomb", "gzip", bomb, false, outgoing.TooLarge},
		{"bomb without length", "gzip", bomb, true, outgoing.TooLarge},
		{"no gzip", "gzip", small, false, outgoing.Unreadable},
		{"cut gzip", "gzip", packed(t, "gzip", small)[:20], false, outgoing.Unreadable},
		{"unknown coding", "br", small, false, outgoing.Unreadable},
		{"twice", "gzip, gzip", packed(t, "gzip", packed(t, "gzip", small)), false, outgoing.Unreadable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if tt.coding != "" {
					w.Header().Set("Content-Encoding", tt.coding)
				}
				if tt.flush {
					w.(http.Flusher).Flush()
				}
				_, _ = w.Write(tt.body)
			})
			a, err := guard(t, nil, nil).Client(outgoing.ClientOptions{MaxBody: 4096}).Get(context.Background(), s.URL, 1<<30)
			if kind, bad := tt.want.(outgoing.Kind); bad {
				wantKind(t, err, kind)
				return
			}
			if err != nil || string(a.Body) != tt.want {
				t.Fatalf("%v, %v", a, err)
			}
		})
	}
}

func TestTimeIsBounded(t *testing.T) {
	gone := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/drip" {
			w.(http.Flusher).Flush()
		}
		select {
		case <-r.Context().Done():
		case <-gone:
		}
	})
	defer close(gone)
	c := guard(t, nil, nil).Client(outgoing.ClientOptions{Timeout: 50 * time.Millisecond})
	for _, path := range []string{"/silent", "/drip"} {
		_, err := c.Get(context.Background(), s.URL+path, 0)
		if e := wantKind(t, err, outgoing.TimedOut); !e.Transient() {
			t.Error("a time-out is transient")
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.Get(ctx, s.URL, 0)
	wantKind(t, err, outgoing.Cancelled)
}

func TestBreaksAreTransient(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		panic(http.ErrAbortHandler)
	})
	c := guard(t, &names{}, nil).Client(outgoing.ClientOptions{})
	_, err := c.Get(context.Background(), s.URL, 0)
	if e := wantKind(t, err, outgoing.Unreachable); !e.Transient() {
		t.Error("a break is transient")
	}
	_, err = c.Get(context.Background(), "http://nowhere.example/secret?token=t", 0)
	if e := wantKind(t, err, outgoing.Unreachable); !e.Transient() || strings.Contains(e.Error(), "token") {
		t.Error(e)
	}
	s.Close()
	_, err = c.Get(context.Background(), s.URL, 0)
	wantKind(t, err, outgoing.Unreachable)
}

func TestStatuses(t *testing.T) {
	status := http.StatusOK
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	c := guard(t, nil, nil).Client(outgoing.ClientOptions{})
	for st, transient := range map[int]bool{404: false, 429: true, 500: true, 501: false, 503: true, 204: false} {
		status = st
		_, err := c.Get(context.Background(), s.URL, 0)
		if e := wantKind(t, err, outgoing.BadStatus); e.Status != st || e.Transient() != transient {
			t.Errorf("%d: %+v, transient %v", st, e, e.Transient())
		}
		if a, err := c.Do(context.Background(), outgoing.Request{URL: s.URL}); err != nil || a.Status != st {
			t.Errorf("%d: %v, %v", st, a, err)
		}
	}
}

func TestProxiesOfTheEnvironmentAreNotUsed(t *testing.T) {
	var asked atomic.Int32
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	g := guard(t, &names{t: map[string][][]string{"hidden.example": {{"10.0.0.1"}}}}, nil)
	_, err := g.Client(outgoing.ClientOptions{}).Get(context.Background(), "http://hidden.example/", 0)
	wantKind(t, err, outgoing.Forbidden)
	if asked.Load() != 0 {
		t.Error("the proxy was asked")
	}
}

func TestReloadTakesItsConnectionsAlong(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	g := guard(t, nil, nil)
	c := g.Client(outgoing.ClientOptions{})
	if _, err := c.Get(context.Background(), s.URL, 0); err != nil {
		t.Fatal(err)
	}
	if err := g.Reload(outgoing.Config{}); err == nil {
		t.Error("an empty configuration was taken")
	}
	if _, err := c.Get(context.Background(), s.URL, 0); err != nil {
		t.Fatalf("after a refused reload: %v", err)
	}
	if err := g.Reload(outgoing.DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	_, err := c.Get(context.Background(), s.URL, 0)
	wantKind(t, err, outgoing.Forbidden)
	c.Release()
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	for key, change := range map[string]func(*outgoing.Config){
		"allow":       func(c *outgoing.Config) { c.Allow = []string{"10.0.0.0/40"} },
		"deny":        func(c *outgoing.Config) { c.Deny = []string{"example.com"} },
		"ports":       func(c *outgoing.Config) { c.Ports = []int{70000} },
		"redirects":   func(c *outgoing.Config) { c.Redirects = -1 },
		"timeout":     func(c *outgoing.Config) { c.Timeout = 0 },
		"connect":     func(c *outgoing.Config) { c.Connect = time.Hour },
		"max_body":    func(c *outgoing.Config) { c.MaxBody = 0 },
		"max_header":  func(c *outgoing.Config) { c.MaxHeader = 1 },
		"addresses":   func(c *outgoing.Config) { c.Addresses = 0 },
		"connections": func(c *outgoing.Config) { c.Connections = 0 },
		"idle":        func(c *outgoing.Config) { c.Idle = -1 },
	} {
		c := outgoing.DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+":") {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := outgoing.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

// Whatever passes the check is a URL of http with a host, and stays one when it
// is read again.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{"http://example.com/", "https://[::1]:8080/a?b#c", "http://1.2.3.4:80", "file:///x", "http://a@b/", "http://%31/", "HTTP://EXAMPLE/"} {
		f.Add(s)
	}
	g, err := outgoing.New(outgoing.Options{Config: outgoing.DefaultConfig()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := g.Check(raw)
		if err != nil {
			return
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Hostname() == "" || again.Host != u.Host || again.User != nil || again.Scheme != "http" && again.Scheme != "https" {
			t.Errorf("%q became %q: %v", raw, u, err)
		}
	})
}

func TestReach(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", r.URL.Query().Get("after"))
		_, _ = w.Write(make([]byte, 100))
	}))
	t.Cleanup(s.Close)
	g, err := outgoing.New(outgoing.Options{Config: outgoing.DefaultConfig()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	loopback := func(a netip.Addr) bool { return a.IsLoopback() }
	for _, c := range []struct {
		name  string
		reach func(netip.Addr) bool
		kind  outgoing.Kind
		ok    bool
	}{{"the guard's networks", nil, outgoing.Forbidden, false}, {"anywhere", outgoing.Anywhere, 0, true}, {"one network", loopback, 0, true},
		{"another", func(a netip.Addr) bool { return !loopback(a) }, outgoing.Forbidden, false}} {
		t.Run(c.name, func(t *testing.T) {
			client := g.Client(outgoing.ClientOptions{Reach: c.reach, MaxBody: 10})
			defer client.Release()
			a, err := client.Do(t.Context(), outgoing.Request{URL: s.URL, StatusOnly: true})
			var bad *outgoing.Error
			if c.ok && (err != nil || a.Status != http.StatusOK || a.Body != nil) || !c.ok && (!errors.As(err, &bad) || bad.Kind != c.kind) {
				t.Errorf("%+v %v", a, err)
			}
		})
	}
	client := g.Client(outgoing.ClientOptions{Reach: outgoing.Anywhere})
	for in, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "999999": time.Hour, "99999999999999": time.Hour} {
		if a, err := client.Do(t.Context(), outgoing.Request{URL: s.URL + "?after=" + in}); err != nil || a.RetryAfter() != want {
			t.Errorf("Retry-After %q: %v %v", in, a, err)
		}
	}
}

func TestURL(t *testing.T) {
	for _, c := range []struct {
		in string
		ok bool
	}{{"http://a/", true}, {"https://a:1/b?c", true}, {"ftp://a/", false}, {"http://", false}, {"http://u:p@a/", false}, {"http://a/#b", false}, {"file:///etc/passwd", false},
		{"/x", false}, {"", false}, {"http://a:0/", false}, {"http://a/" + strings.Repeat("x", 5000), false}} {
		if _, err := outgoing.URL(c.in); (err == nil) != c.ok {
			t.Errorf("%.40q: %v", c.in, err)
		}
	}
}
