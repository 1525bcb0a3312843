package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/router"
)

// behaviour is how an MMSC of these tests treats a held message.
type behaviour func(w http.ResponseWriter, r *http.Request, id []byte)

func conf(status mms.Status) behaviour {
	return func(w http.ResponseWriter, _ *http.Request, id []byte) {
		_, _ = w.Write(mms.SendConf{TransactionID: id, Version: mms.Version12, Status: status, MessageID: "m@mmsc"}.Append(nil))
	}
}

func code(status int) behaviour {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(status) }
}

func hangUp(w http.ResponseWriter, _ *http.Request, _ []byte) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = c.Close() // that is the point
	}
}

func otherTransaction(w http.ResponseWriter, r *http.Request, _ []byte) {
	conf(0x80)(w, r, []byte("other"))
}

// mmscs runs MMSCs and gives their configuration, a Board on which all are up, and the list of who was asked.
type bench struct {
	*forwarder
	mu    sync.Mutex
	asked []string
}

func newBench(t *testing.T, policy string, each ...behaviour) *bench {
	b := &bench{}
	c := DefaultConfig()
	c.MM1.Ambiguous = map[string]string{"m-send-req": policy}
	c.MM1.AmbiguousWait = 20 * time.Millisecond
	board := router.NewBoard(0)
	var targets []router.Target
	for i, do := range each {
		name := string(rune('a' + i))
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b.mu.Lock()
			b.asked = append(b.asked, strings.TrimSpace(name+" "+r.Header.Get("X-Mmsrouter-Attempt")))
			b.mu.Unlock()
			pdu, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			var h mms.Head
			h.Peek(pdu, true)
			if r.Host != "mms.example.net:8080" || r.URL.RequestURI() != "/send?x=1" || r.Header.Get("X-MSISDN") != "+46701740605" || int64(len(pdu)) != r.ContentLength {
				t.Errorf("%s got %s %s %v, %d octets", name, r.Host, r.URL.RequestURI(), r.Header, len(pdu))
			}
			do(w, r, h.TransactionID)
		}))
		t.Cleanup(srv.Close)
		c.MMSCs = append(c.MMSCs, MMSCConfig{Name: name, URL: srv.URL + "/"})
		targets = append(targets, router.Target{Name: name, URL: srv.URL + "/", Weight: 1, Tier: i})
	}
	targets = append(targets, router.Target{Name: router.LocalName, Weight: 1, Local: true, Spare: true})
	if err := board.Configure(targets, nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, tg := range targets {
		board.SetVerdict(tg.Name, router.Verdict{Known: true, Up: true})
	}
	b.forwarder = &forwarder{config: func() *Config { return &c }, board: board,
		results: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_app_test_total"}, []string{"result"})}
	return b
}

func heldMessage(size int) *message {
	pdu := mms.SendReq{TransactionID: "T1", From: "+46701740605/TYPE=PLMN", To: []string{"+46701740606/TYPE=PLMN"}}.AppendHead(nil)
	pdu = append(pdu, make([]byte, size)...)
	return &message{target: "/send?x=1", host: "mms.example.net:8080", header: http.Header{"X-Msisdn": {"+46701740605"}}, size: int64(len(pdu)),
		write: func(_ context.Context, w io.Writer) error {
			for b := pdu; len(b) > 0; b = b[min(len(b), 4096):] {
				if _, err := w.Write(b[:min(len(b), 4096)]); err != nil {
					return err
				}
			}
			return nil
		}}
}

func TestForwardFollowsTheTable(t *testing.T) {
	ok := conf(0x80)
	tests := []struct {
		name   string
		policy string
		mmscs  []behaviour
		asked  string // who, and what X-Mmsrouter-Attempt said
		by     string // who answered; "" nobody
		status mms.Status
	}{
		{"taken", "retry", []behaviour{ok, ok}, "a", "a", 0x80},
		{"refused for good", "retry", []behaviour{conf(0xE4), ok}, "a", "a", 0xE4},
		{"partial success", "retry", []behaviour{conf(0xC4), ok}, "a", "a", 0xC4},
		{"transient, then taken", "retry", []behaviour{conf(0xC3), ok}, "a, b", "b", 0x80},
		{"busy, then taken", "retry", []behaviour{code(503), ok}, "a, b", "b", 0x80},
		{"not there, then taken", "retry", []behaviour{code(404), ok}, "a, b", "b", 0x80},
		{"too large", "retry", []behaviour{code(413), ok}, "a", "a", 0xE0},
		{"all transient", "retry", []behaviour{conf(0xC3), code(503)}, "a, b", "", 0},
		{"lost after it was whole: the same first, then the next", "retry", []behaviour{hangUp, ok}, "a, a 2, b 3", "b", 0x80},
		{"a broken gateway", "retry", []behaviour{code(502), ok}, "a, a 2, b 3", "b", 0x80},
		{"a redirect is not followed", "retry", []behaviour{code(302), ok}, "a, a 2, b 3", "b", 0x80},
		{"another transaction's answer", "retry", []behaviour{otherTransaction, ok}, "a, a 2, b 3", "b", 0x80},
		{"an empty answer", "retry", []behaviour{code(204), ok}, "a, a 2, b 3", "b", 0x80},
		{"lost, and not to be repeated", "fail", []behaviour{hangUp, ok}, "a", "a", 0xE0},
	}
	for _, tc := range tests {
		for _, size := range []int{0, 300 << 10} {
			t.Run(fmt.Sprintf("%s, %d", tc.name, size), func(t *testing.T) {
				b := newBench(t, tc.policy, tc.mmscs...)
				by, answer, err := b.forward(t.Context(), heldMessage(size))
				var h mms.Head
				if err == nil {
					h.Peek(answer, true)
				}
				if by != tc.by || (err == nil) != (tc.by != "") || h.Response != tc.status {
					t.Errorf("by %q with %v, %v", by, h.Response, err)
				}
				b.mu.Lock()
				defer b.mu.Unlock()
				if got := strings.Join(b.asked, ", "); got != tc.asked {
					t.Errorf("asked %s, want %s", got, tc.asked)
				}
			})
		}
	}
}

func TestForwardPassesWhatIsNotThere(t *testing.T) {
	b := newBench(t, "retry", conf(0x80), conf(0x80))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	b.config().MMSCs[0].URL = "http://" + gone + "/"
	if by, _, err := b.forward(t.Context(), heldMessage(10)); err != nil || by != "b" {
		t.Errorf("%q %v", by, err)
	}
	for _, name := range []string{"a", "b"} {
		b.board.SetVerdict(name, router.Verdict{Known: true})
	}
	if by, _, err := b.forward(t.Context(), heldMessage(10)); err == nil {
		t.Errorf("%q took it while all are down", by)
	}
}
