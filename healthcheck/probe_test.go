package healthcheck_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mmsrouter/mmsrouter/healthcheck"
)

// once probes a fake over a pipe and gives the result with the time it took.
func once(t *testing.T, p healthcheck.ProbeConfig, serve func(net.Conn)) (healthcheck.Result, time.Duration) {
	t.Helper()
	f := newFakes()
	f.set("a:9000", serve)
	tg := target("a")
	tg.Probe = p
	start := time.Now()
	r, err := healthcheck.OnceWith(context.Background(), steady(), tg, f.dial)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	f.all.Wait() // the probe has let go of every connection
	return r, took
}

// trickles answers a head octet by octet and never ends.
func trickles(c net.Conn) {
	if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
		return
	}
	for _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Slow: "); err == nil; _, err = io.WriteString(c, "x") {
		time.Sleep(50 * time.Millisecond)
	}
}

// floods writes head and then the same octets for ever.
func floods(head, again string) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		_, err := io.WriteString(c, head)
		for ; err == nil; _, err = io.WriteString(c, again) {
		}
	}
}

func TestHTTPProbe(t *testing.T) {
	chunk := "1000\r\n" + strings.Repeat("x", 4096) + "\r\n"
	for _, c := range []struct {
		name  string
		probe healthcheck.ProbeConfig
		serve func(net.Conn)
		up    bool
		why   string
	}{
		{"200", healthcheck.ProbeConfig{}, says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), true, "answers HTTP 200"},
		{"200 of HTTP/1.0, ended by close", healthcheck.ProbeConfig{}, says("HTTP/1.0 200 OK\r\n\r\nok"), true, "answers HTTP 200"},
		{"a redirect counts as it is", healthcheck.ProbeConfig{}, says("HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n"), true, "answers HTTP 302"},
		{"404", healthcheck.ProbeConfig{}, says("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), false, "answers HTTP 404, want 200-399"},
		{"404 is expected", healthcheck.ProbeConfig{Status: healthcheck.StatusSet{{From: 200, To: 299}, {From: 404, To: 404}}}, says("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), true, "answers HTTP 404"},
		{"503", healthcheck.ProbeConfig{}, says("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), false, "HTTP 503"},
		{"body matches", healthcheck.ProbeConfig{Body: "state=(ok|warm)"}, says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nstate=warm"), true, ""},
		{"body does not match", healthcheck.ProbeConfig{Body: "state=ok"}, says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nstate=dead"), false, "does not match"},
		{"cut body", healthcheck.ProbeConfig{}, says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nst"), false, "breaks off"},
		{"endless body", healthcheck.ProbeConfig{}, floods("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk), true, "answers HTTP 200"},
		{"endless body without a match", healthcheck.ProbeConfig{Body: "ok"}, floods("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk), false, "does not match"},
		{"endless headers", healthcheck.ProbeConfig{}, floods("HTTP/1.1 200 OK\r\n", "X-Many: "+strings.Repeat("y", 1000)+"\r\n"), false, "headers"},
		{"endless status line", healthcheck.ProbeConfig{}, floods("HTTP/1.1 200 ", strings.Repeat("y", 1000)), false, ""},
		{"endless interim answers", healthcheck.ProbeConfig{}, floods("", "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"), false, ""},
		{"slow headers", healthcheck.ProbeConfig{}, trickles, false, "no answer within 500ms"},
		{"silence", healthcheck.ProbeConfig{}, takes, false, "no answer within 500ms"},
		{"a close without an answer", healthcheck.ProbeConfig{}, says(""), false, "EOF"},
		{"garbage", healthcheck.ProbeConfig{}, says("\x00\x8c\x81\r\n\r\n"), false, "malformed"},
		{"a long line of garbage stays short in the log", healthcheck.ProbeConfig{}, says(strings.Repeat("\x1b[31m", 500) + "\r\n\r\n"), false, "malformed"},
		{"refused", healthcheck.ProbeConfig{}, nil, false, "connection refused"},
		{"HEAD", healthcheck.ProbeConfig{Method: "HEAD"}, says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"), true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.probe.Type = healthcheck.HTTP
				r, took := once(t, c.probe, c.serve)
				if r.Up != c.up || !strings.Contains(r.Why, c.why) || r.Why == "" {
					t.Errorf("got %+v, want up %v and %q", r, c.up, c.why)
				}
				if took > 500*time.Millisecond {
					t.Errorf("took %s", took)
				}
				if len(r.Why) > 300 || strings.ContainsAny(r.Why, "\x00\x1b\r\n") {
					t.Errorf("%q is not fit for a log line", r.Why)
				}
			})
		})
	}
}

func TestWhatTheHTTPProbeAsks(t *testing.T) {
	for _, c := range []struct {
		name string
		t    healthcheck.Target
		want string // request line, Host and a header
	}{
		{"defaults", healthcheck.Target{URL: "http://a:9000"}, "GET / a:9000 "},
		{"the path of the url", healthcheck.Target{URL: "http://a:9000/servlets/mms?x=1"}, "GET /servlets/mms?x=1 a:9000 "},
		{"a path, host and header of its own", healthcheck.Target{URL: "http://a:9000/mms", Host: "mms.example.net", Probe: healthcheck.ProbeConfig{
			Method: "POST", Path: "/health%20y?deep=1", Host: "probe.example.net", Headers: map[string]string{"x-msisdn": "+46700000001"}}},
			"POST /health%20y?deep=1 probe.example.net +46700000001"},
		{"the host of the MMSC", healthcheck.Target{URL: "http://a:9000/mms", Host: "mms.example.net"}, "GET /mms mms.example.net "},
		{"a user in the url stays here", healthcheck.Target{URL: "http://u:secret@a:9000/"}, "GET / a:9000 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFakes()
			got := make(chan string, 1)
			f.set("a:9000", func(conn net.Conn) {
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					got <- err.Error()
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				if r.Header.Get("Authorization") != "" {
					got <- "a secret went out"
					return
				}
				got <- fmt.Sprintf("%s %s %s %s", r.Method, r.RequestURI, r.Host, r.Header.Get("X-Msisdn"))
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			})
			c.t.Name, c.t.Probe.Type = "a", healthcheck.HTTP
			r, err := healthcheck.OnceWith(context.Background(), steady(), c.t, f.dial)
			if err != nil || !r.Up {
				t.Fatal(r, err)
			}
			if g := <-got; g != c.want {
				t.Errorf("got %q, want %q", g, c.want)
			}
		})
	}
}

func TestTCPProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if r, _ := once(t, healthcheck.ProbeConfig{}, takes); !r.Up {
			t.Errorf("takes connections: %+v", r)
		}
		if r, _ := once(t, healthcheck.ProbeConfig{}, nil); r.Up || !strings.Contains(r.Why, "refused") {
			t.Errorf("refuses: %+v", r)
		}
		f := newFakes()
		f.set("a:443", takes) // a TLS port that says nothing
		start := time.Now()
		r, err := healthcheck.OnceWith(context.Background(), steady(), healthcheck.Target{Name: "a", URL: "https://a/"}, f.dial)
		if err != nil || r.Up || time.Since(start) != 500*time.Millisecond || !strings.Contains(r.Why, "no answer within 500ms: TLS with a:443") {
			t.Errorf("silent TLS: %+v %v after %s", r, err, time.Since(start))
		}
		f.set("a:443", func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") })
		if r, err := healthcheck.OnceWith(context.Background(), steady(), healthcheck.Target{Name: "a", URL: "https://a/"}, f.dial); err != nil || r.Up {
			t.Errorf("plain text on the TLS port: %+v %v", r, err)
		}
	})
}

func TestOverRealSockets(t *testing.T) {
	from := make(chan string, 8)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from <- strings.Split(r.RemoteAddr, ":")[0]
		_, _ = io.WriteString(w, "fine")
	})
	plain, secure := httptest.NewServer(h), httptest.NewUnstartedServer(h)
	defer plain.Close()
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it would report the handshakes that shall fail
	secure.StartTLS()
	defer secure.Close()
	pool := x509.NewCertPool()
	pool.AddCert(secure.Certificate())
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refuses := "http://" + free.Addr().String()
	free.Close()
	trusted := &tls.Config{RootCAs: pool}
	for _, c := range []struct {
		name   string
		t      healthcheck.Target
		up     bool
		source string
	}{
		{"tcp", healthcheck.Target{URL: plain.URL}, true, ""},
		{"tcp refused", healthcheck.Target{URL: refuses}, false, ""},
		{"tcp over TLS", healthcheck.Target{URL: secure.URL, TLS: trusted}, true, ""},
		{"tcp over TLS with a certificate nobody knows", healthcheck.Target{URL: secure.URL}, false, ""},
		{"http", healthcheck.Target{URL: plain.URL, Probe: healthcheck.ProbeConfig{Type: healthcheck.HTTP}}, true, "127.0.0.1"},
		{"http from a source address", healthcheck.Target{URL: plain.URL, SourceAddress: "127.0.0.77", Probe: healthcheck.ProbeConfig{Type: healthcheck.HTTP, Body: "^fine$"}}, true, "127.0.0.77"},
		{"https", healthcheck.Target{URL: secure.URL, TLS: trusted, Probe: healthcheck.ProbeConfig{Type: healthcheck.HTTP}}, true, "127.0.0.1"},
		{"https with a certificate nobody knows", healthcheck.Target{URL: secure.URL, Probe: healthcheck.ProbeConfig{Type: healthcheck.HTTP}}, false, ""},
		{"https under another server name", healthcheck.Target{URL: secure.URL, TLS: &tls.Config{RootCAs: pool, ServerName: "mms.example.org"}}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.t.Name, c.t.Probe.Timeout = "a", 10*time.Second
			r, err := healthcheck.Once(context.Background(), steady(), c.t)
			if err != nil || r.Up != c.up {
				t.Fatalf("got %+v, %v; want up %v", r, err, c.up)
			}
			if c.source != "" {
				if got := <-from; got != c.source {
					t.Errorf("came from %s, want %s", got, c.source)
				}
			}
		})
	}
}

// FuzzAnswer throws octets at the probes that read: they end, and say something that fits a log line.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n\x8c\x81\x98probe\x00\x8d\x92\x92\xe3"))
	f.Add([]byte("HTTP/1.0 99999 \x00\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, kind := range []string{healthcheck.HTTP, healthcheck.MM1} {
			r, _ := once(t, healthcheck.ProbeConfig{Type: kind}, func(c net.Conn) {
				req, err := http.ReadRequest(bufio.NewReader(c))
				if err == nil {
					_, _ = io.Copy(io.Discard, req.Body)
					_, _ = io.Copy(c, bytes.NewReader(raw))
				}
			})
			if r.Why == "" || strings.ContainsAny(r.Why, "\r\n\x00") {
				t.Errorf("%s: %+v", kind, r)
			}
		}
	})
}
