package drill_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mmsrouter/mmsrouter/drill"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/router"
)

// stage is a world whose only door is a handler: what is behind it is the test's.
type stage struct {
	t     *testing.T
	entry drill.Entry
	do    func(drill.Step) error

	mu     sync.Mutex
	copies []drill.Copy
	steps  []string
	calmed int
}

func newStage(t *testing.T, answer func(s *stage, w http.ResponseWriter, transaction string)) *stage {
	t.Helper()
	s := &stage{t: t}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return // the drill has lost patience
		}
		var h mms.Head
		if h.Peek(b, true) != mms.Complete || h.Type != mms.MSendReq || string(h.From) != "+46701740601/TYPE=PLMN" {
			t.Errorf("not a test message: %v", h.Type)
		}
		answer(s, w, string(h.TransactionID))
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close(); <-done })
	host, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s.entry = drill.Entry{Mark: "drill-TEST", Numbers: []string{"+46701740601"}, Host: host, Port: port, Path: "/"}
	return s
}

func (s *stage) store(transaction, mmsc string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.copies = append(s.copies, drill.Copy{Transaction: transaction, MMSC: mmsc})
}

func (s *stage) Entry() drill.Entry { return s.entry }
func (s *stage) Do(_ context.Context, st drill.Step) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, st.String())
	if s.do != nil {
		return s.do(st)
	}
	return nil
}
func (s *stage) Calm(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calmed++
	return nil
}
func (s *stage) Look(context.Context) []drill.Look {
	return []drill.Look{{Router: "r1", MMSCs: []drill.Seen{{Name: "mmsc-1", Up: true}}}, {Router: "r2", Err: errors.New("silent")}}
}
func (s *stage) Copies(context.Context, time.Time, []drill.Message) ([]drill.Copy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.copies), nil
}
func (s *stage) Target(name string) string { return name }

func conf(w http.ResponseWriter, transaction string, status mms.Status) {
	_, _ = w.Write(mms.SendConf{TransactionID: []byte(transaction), Version: mms.Version12, Status: status}.Append(nil)) // the drill may have gone
}

// quick is a drill of one second.
func quick() drill.Scenario {
	s := drill.Defaults()
	s.Name, s.Title, s.Length = "quick", "Quick", time.Second
	s.Traffic.Clients, s.Traffic.Sticky, s.Traffic.Rate, s.Traffic.Sizes, s.Traffic.Patience = 4, 1, 40, []router.Size{100}, time.Second
	s.Steps = []drill.Step{{At: 100 * time.Millisecond, Do: drill.Kill, Target: "mmsc-1"}}
	return s
}

func promise(r *drill.Result, name string) drill.Promise {
	i := slices.IndexFunc(r.Promises, func(p drill.Promise) bool { return p.Name == name })
	if i < 0 {
		return drill.Promise{Got: "not judged"}
	}
	return r.Promises[i]
}

// What peers say is judged as a handset would, be it a lie or garbage; each lie breaks the promise that it should.
func TestLyingPeers(t *testing.T) {
	tests := []struct {
		name   string
		answer func(s *stage, w http.ResponseWriter, transaction string)
		breaks string // the promise that does not hold; "" all hold
		note   string
	}{
		{"honest", func(s *stage, w http.ResponseWriter, id string) { s.store(id, "a"); conf(w, id, mms.StatusOk) }, "", ""},
		{"accepted and dropped", func(_ *stage, w http.ResponseWriter, id string) { conf(w, id, mms.StatusOk) }, "lost", "drill-TEST."},
		{"stored twice", func(s *stage, w http.ResponseWriter, id string) {
			s.store(id, "a")
			s.store(id, "b")
			conf(w, id, mms.StatusOk)
		}, "doubled", "at a and b"},
		{"another's answer", func(_ *stage, w http.ResponseWriter, id string) { conf(w, "x"+id, mms.StatusOk) }, "failed", "another transaction"},
		{"a page", func(_ *stage, w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, "<html>welcome</html>") }, "failed", "without an M-Send.conf"},
		{"nothing", func(*stage, http.ResponseWriter, string) {}, "failed", "without an M-Send.conf"},
		{"an endless answer", func(_ *stage, w http.ResponseWriter, _ string) {
			for range 100 {
				_, _ = w.Write(make([]byte, 64<<10)) // the drill stops reading
			}
		}, "failed", "without an M-Send.conf"},
		{"refusal for now", func(_ *stage, w http.ResponseWriter, id string) { conf(w, id, mms.ErrorTransientNetworkProblem) }, "failed", "transient"},
		{"503", func(_ *stage, w http.ResponseWriter, _ string) { w.WriteHeader(503) }, "failed", "HTTP 503"},
		{"hang up", func(_ *stage, w http.ResponseWriter, _ string) { panic(http.ErrAbortHandler) }, "broken tries", "EOF"},
		{"a message that nobody sent", func(s *stage, w http.ResponseWriter, id string) {
			s.store(id, "a")
			s.store("drill-TEST.zzzzzzz", "a")
			conf(w, id, mms.StatusOk)
		}, "damaged", "copies of what nobody sent"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, tt.answer)
			r, err := drill.Run(t.Context(), drill.Options{Scenario: quick(), World: s})
			if err != nil {
				t.Fatal(err)
			}
			if r.Kept() != (tt.breaks == "") {
				t.Errorf("kept: %v: %+v", r.Kept(), r.Promises)
			}
			if tt.breaks == "" {
				return
			}
			if p := promise(r, tt.breaks); p.Kept || p.Got == "not judged" || !strings.Contains(p.Note, tt.note) {
				t.Errorf("%s: %+v; want %q", tt.breaks, p, tt.note)
			}
		})
	}
}

// An MMS URL may be https.
func TestTLS(t *testing.T) {
	s := &stage{t: t}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		var h mms.Head
		if err == nil && h.Peek(b, true) == mms.Complete {
			s.store(string(h.TransactionID), "a")
			conf(w, string(h.TransactionID), mms.StatusOk)
		}
	}))
	defer srv.Close()
	host, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	for _, trusted := range []bool{true, false} {
		s.entry = drill.Entry{Mark: "drill-TEST", Numbers: []string{"+46701740601"}, Host: host, Port: port, Path: "/", TLS: &tls.Config{}}
		if trusted {
			s.entry.TLS.RootCAs = roots
		}
		r, err := drill.Run(t.Context(), drill.Options{Scenario: quick(), World: s})
		if err != nil {
			t.Fatal(err)
		}
		if accepted := r.Balance.Accepted == r.Balance.Messages; accepted != trusted || r.Balance.Messages == 0 {
			t.Errorf("trusted %v: %+v", trusted, r.Balance)
		}
		s.copies = nil
	}
}

// A client posts again after a break, with the same transaction.
func TestTriesAgain(t *testing.T) {
	seen := map[string]int{}
	var mu sync.Mutex
	s := newStage(t, func(s *stage, w http.ResponseWriter, id string) {
		mu.Lock()
		seen[id]++
		first := seen[id] == 1
		mu.Unlock()
		if first {
			panic(http.ErrAbortHandler)
		}
		s.store(id, "a")
		conf(w, id, mms.StatusOk)
	})
	q := quick()
	q.Traffic.Tries, q.Traffic.Pause, q.Expect.Broken = 3, time.Millisecond, -1
	r, err := drill.Run(t.Context(), drill.Options{Scenario: q, World: s})
	if err != nil {
		t.Fatal(err)
	}
	if b := r.Balance; !r.Kept() || b.Broken != b.Messages || b.Tries != 2*b.Messages || b.Messages == 0 {
		t.Errorf("%+v, %+v", b, r.Promises)
	}
}

// A step that can't be done ends the drill, as an interruption does; what is broken is mended either way.
func TestDrillsEndInOrder(t *testing.T) {
	honest := func(s *stage, w http.ResponseWriter, id string) { s.store(id, "a"); conf(w, id, mms.StatusOk) }
	t.Run("a step fails", func(t *testing.T) {
		s := newStage(t, honest)
		s.do = func(drill.Step) error { return errors.New("no such thing") }
		if _, err := drill.Run(t.Context(), drill.Options{Scenario: quick(), World: s}); err == nil || !strings.Contains(err.Error(), "step kill mmsc-1: no such thing") || s.calmed != 1 {
			t.Errorf("%v, calmed %d times", err, s.calmed)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		s := newStage(t, honest)
		ctx, cancel := context.WithCancel(t.Context())
		s.do = func(drill.Step) error { cancel(); return nil }
		if _, err := drill.Run(ctx, drill.Options{Scenario: quick(), World: s}); !errors.Is(err, context.Canceled) || s.calmed != 1 {
			t.Errorf("%v, calmed %d times", err, s.calmed)
		}
	})
	t.Run("no test numbers", func(t *testing.T) {
		s := newStage(t, honest)
		s.entry.Numbers = nil
		if _, err := drill.Run(t.Context(), drill.Options{Scenario: quick(), World: s}); err == nil || len(s.steps) > 0 {
			t.Errorf("%v, %v", err, s.steps)
		}
	})
	t.Run("progress", func(t *testing.T) {
		s := newStage(t, honest)
		var last drill.Progress
		if _, err := drill.Run(t.Context(), drill.Options{Scenario: quick(), World: s, Progress: func(p drill.Progress) { last = p }}); err != nil {
			t.Fatal(err)
		}
		if last.Sent == 0 || last.Doing != "kill mmsc-1" || last.Length != time.Second {
			t.Errorf("%+v", last)
		}
	})
}

// nameServer answers every query with what f says.
func nameServer(t *testing.T, f func(q *dns.Msg) []byte) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(bytes.Clone(b[:n])) == nil {
				if a := f(q); a != nil {
					_, _ = pc.WriteTo(a, from) // it counts as silence
				}
			}
		}
	}()
	t.Cleanup(func() { pc.Close(); <-done })
	return pc.LocalAddr().String()
}

// Name servers that lie, are silent or talk nonsense are asked again and passed over; the drill's mark stands in every query.
func TestLyingNameServers(t *testing.T) {
	tests := []struct {
		name string
		lie  func(q *dns.Msg) []byte
	}{
		{"silent", func(*dns.Msg) []byte { return nil }},
		{"garbage", func(*dns.Msg) []byte { return []byte("<html>") }},
		{"refused", func(q *dns.Msg) []byte { b, _ := new(dns.Msg).SetRcode(q, dns.RcodeRefused).Pack(); return b }},
		{"no address", func(q *dns.Msg) []byte { b, _ := new(dns.Msg).SetReply(q).Pack(); return b }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, func(s *stage, w http.ResponseWriter, id string) { s.store(id, "a"); conf(w, id, mms.StatusOk) })
			good := nameServer(t, func(q *dns.Msg) []byte {
				marked := q.IsEdns0() != nil && slices.ContainsFunc(q.IsEdns0().Option, func(o dns.EDNS0) bool {
					l, ok := o.(*dns.EDNS0_LOCAL)
					return ok && string(l.Data) == "drill-TEST"
				})
				if !marked {
					t.Error("a query without the mark")
				}
				a := new(dns.Msg).SetReply(q)
				rr, err := dns.NewRR(fmt.Sprintf("%s 1 A 127.0.0.1", q.Question[0].Name))
				if err != nil {
					t.Error(err)
				}
				a.Answer = append(a.Answer, rr)
				b, _ := a.Pack() // made of a question that came off the wire
				return b
			})
			s.entry.Host = "mms.example.net"
			s.entry.DNS = []drill.Server{{Router: "liar", Address: nameServer(t, tt.lie)}, {Router: "good", Address: good}}
			r, err := drill.Run(t.Context(), drill.Options{Scenario: quick(), World: s})
			if err != nil {
				t.Fatal(err)
			}
			if !r.Kept() || r.Balance.Messages == 0 {
				t.Errorf("%+v", r.Promises)
			}
		})
	}
}
