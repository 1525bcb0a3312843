// Package provider is a provider of two-way services for tests: a real HTTP server that reads requests of every format by the
// published schemas with types of its own, answers as the test says, and misbehaves on request.
//
// It keeps what it was asked and holds the router to what a provider may rely on: an idempotency key that is the request's
// id, a repeated key that tells the same turn, a signature and a token where there is a secret. What it has answered
// it answers again, without asking the test, when the same key comes once more. A breach fails the test.
package provider

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options says what a provider wants and does.
type Options struct {
	Addr   string      // where it listens; empty: a free port of 127.0.0.1
	TLS    *tls.Config // https
	Secret string      // requests have to be signed with it
	Token  string      // requests have to carry it
	Header http.Header // fields that requests have to carry
	Do     func(Ask) Answer
	Media  http.Handler // asked for what lies below /media/; nil: 404
}

// Provider is a running one.
type Provider struct {
	URL  string // with a slash at its end
	Addr string

	t    testing.TB
	opt  Options
	srv  *httptest.Server
	stop sync.Once

	mu      sync.Mutex
	asks    []Ask
	more    chan struct{} // closed and made anew with each ask
	said    map[string]Answer
	told    map[string]string // what a key was about
	repeats int
	refused int // requests without the right signature, token or header
}

// Start runs a provider until the test ends.
func Start(t testing.TB, o Options) *Provider {
	t.Helper()
	p := &Provider{t: t, opt: o, more: make(chan struct{}), said: map[string]Answer{}, told: map[string]string{}}
	p.srv = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.srv.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that fail on purpose
	if o.Addr != "" {
		l, err := net.Listen("tcp", o.Addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = p.srv.Listener.Close() // the free port that it does not need
		p.srv.Listener = l
	}
	if o.TLS != nil {
		p.srv.TLS = o.TLS
		p.srv.StartTLS()
	} else {
		p.srv.Start()
	}
	p.URL, p.Addr = p.srv.URL+"/", p.srv.Listener.Addr().String()
	t.Cleanup(p.Stop)
	return p
}

// Stop ends the provider: connections to it are refused. Stopping twice is fine.
func (p *Provider) Stop() {
	p.stop.Do(func() {
		p.srv.CloseClientConnections()
		p.srv.Close()
	})
}

func (p *Provider) serve(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/media/") {
		if p.opt.Media == nil {
			http.NotFound(w, r)
			return
		}
		p.opt.Media.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 32<<20))
	if err != nil {
		return // the router has given up; it will ask again
	}
	if why := p.stranger(r, body); why != "" {
		p.mu.Lock()
		p.refused++
		p.mu.Unlock()
		http.Error(w, why, http.StatusForbidden)
		return
	}
	a, err := read(r, body)
	if err != nil {
		p.t.Errorf("the provider can't read a request: %v\n%.2000s", err, body)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, known := p.note(a)
	if !known {
		answer = p.opt.Do(a)
		if ok := answer.Status/100 == 2 || answer.Status == 0; ok && answer.Do == nil {
			p.mu.Lock()
			p.said[a.ID] = answer
			p.mu.Unlock()
		}
	}
	answer.write(w, r)
}

// stranger says why a request is not from the router that the provider knows.
func (p *Provider) stranger(r *http.Request, body []byte) string {
	if p.opt.Token != "" && r.Header.Get("Authorization") != "Bearer "+p.opt.Token {
		return "no token"
	}
	for k, want := range p.opt.Header {
		if got := r.Header.Values(k); len(got) != len(want) || strings.Join(got, ",") != strings.Join(want, ",") {
			return "no " + k
		}
	}
	if p.opt.Secret == "" {
		return ""
	}
	var at int64
	var sum string
	if _, err := fmt.Sscanf(r.Header.Get("X-Mmsrouter-Signature"), "t=%d,v1=%s", &at, &sum); err != nil {
		return "no signature"
	}
	if d := time.Since(time.Unix(at, 0)); d < -time.Minute || d > time.Minute {
		return "an old signature"
	}
	mac := hmac.New(sha256.New, []byte(p.opt.Secret))
	fmt.Fprintf(mac, "%d\n%s\n%s\n%s", at, r.Method, r.RequestURI, body) // a hash takes everything
	if !hmac.Equal([]byte(sum), []byte(hex.EncodeToString(mac.Sum(nil)))) {
		return "a wrong signature"
	}
	return ""
}

// note keeps a request and gives the answer that it had before.
func (p *Provider) note(a Ask) (Answer, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	about := fmt.Sprintln(a.Kind, a.Service, a.Code, a.Sender, a.Message, a.Session, a.Turn, a.Text(), a.Ended, a.Report, len(a.Parts))
	if a.ID == "" || a.Header.Get("Idempotency-Key") != a.ID {
		p.t.Errorf("request %q has the idempotency key %q", a.ID, a.Header.Get("Idempotency-Key"))
	}
	if was, ok := p.told[a.ID]; ok {
		p.repeats++
		if was != about {
			p.t.Errorf("the key %s was about %s, then about %s", a.ID, was, about)
		}
	}
	p.told[a.ID] = about
	p.asks = append(p.asks, a)
	close(p.more)
	p.more = make(chan struct{})
	answer, known := p.said[a.ID]
	return answer, known
}

// Asks is what it was asked so far, repetitions included.
func (p *Provider) Asks() []Ask {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Ask{}, p.asks...)
}

// Repeats is how many requests came with a key that was there before.
func (p *Provider) Repeats() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.repeats
}

// Refused is how many requests came without the right signature, token or header.
func (p *Provider) Refused() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// Await waits for the n-th request that fits; of a repeated key only the first counts. It gives up
// after half a minute.
func (p *Provider) Await(n int, what string, fits func(Ask) bool) Ask {
	p.t.Helper()
	end := time.NewTimer(30 * time.Second)
	defer end.Stop()
	for {
		p.mu.Lock()
		asks, more := p.asks, p.more
		p.mu.Unlock()
		seen, have := map[string]bool{}, 0
		for _, a := range asks {
			if fits(a) && !seen[a.ID] {
				seen[a.ID] = true
				if have++; have == n {
					return a
				}
			}
		}
		select {
		case <-more:
		case <-end.C:
			p.t.Fatalf("the provider got %d requests %s, want %d", have, what, n)
		}
	}
}

// Turn fits a user's turn.
func Turn(a Ask) bool { return a.Kind == "turn" }

// Ended fits the end of a session.
func Ended(a Ask) bool { return a.Kind == "ended" }

// Reported fits a report.
func Reported(a Ask) bool { return a.Kind == "report" }
