package outgoing_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/outgoing"
)

func TestGuard(t *testing.T) {
	var hits atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		default:
			w.Write([]byte("0123456789"))
		}
	}))
	defer server.Close()
	port := server.URL[strings.LastIndexByte(server.URL, ':'):]
	for _, tc := range []struct {
		name, url string
		allowed   func(context.Context, netip.Addr) bool
		status    int
		forbidden bool
		hits      int32
	}{
		{"all allowed", server.URL, nil, 200, false, 1},
		{"allowed", server.URL, func(_ context.Context, ip netip.Addr) bool { return ip.IsLoopback() }, 200, false, 1},
		{"forbidden", server.URL, func(context.Context, netip.Addr) bool { return false }, 0, true, 0},
		{"a name for it", "http://localhost" + port, func(context.Context, netip.Addr) bool { return false }, 0, true, 0},
		{"a redirect is an answer", server.URL + "/redirect", nil, 302, false, 1},
		{"slow", server.URL + "/slow", nil, 0, false, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hits.Store(0)
			t.Setenv("http_proxy", "http://127.0.0.1:1")
			c := outgoing.New(outgoing.Options{Allowed: tc.allowed, Timeout: 300 * time.Millisecond})
			defer c.CloseIdleConnections()
			resp, err := c.Get(tc.url)
			if err == nil {
				if _, err := outgoing.Body(resp, 100); err != nil || resp.StatusCode != tc.status {
					t.Errorf("%d, %v", resp.StatusCode, err)
				}
			}
			if (err == nil) != (tc.status != 0) || errors.Is(err, outgoing.ErrForbidden) != tc.forbidden || hits.Load() != tc.hits {
				t.Errorf("%v, %d hits", err, hits.Load())
			}
		})
	}
	resp, err := outgoing.New(outgoing.Options{Timeout: time.Second}).Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := outgoing.Body(resp, 9); err == nil {
		t.Error("10 octets were taken for 9")
	}
}

func TestURL(t *testing.T) {
	for _, tc := range []struct {
		in string
		ok bool
	}{{"http://a/", true}, {"https://a:1/b?c", true}, {"ftp://a/", false}, {"http://", false}, {"http://u:p@a/", false}, {"http://a/#b", false}, {"file:///etc/passwd", false}, {"/x", false}, {"", false}, {"http://a/" + strings.Repeat("x", 2000), false}} {
		if _, err := outgoing.URL(tc.in); (err == nil) != tc.ok {
			t.Errorf("%.40q: %v", tc.in, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for in, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "999999": time.Hour} {
		if got := outgoing.RetryAfter(http.Header{"Retry-After": {in}}); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}
