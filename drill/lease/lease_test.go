package lease_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mmsrouter/mmsrouter/drill/lease"
	"github.com/mmsrouter/mmsrouter/mms"
)

// world is what a router gives its leases.
type world struct {
	up      map[string]bool
	drained []string
	severed atomic.Bool
}

func (w *world) leases(t *testing.T, c lease.Config) *lease.Leases {
	t.Helper()
	if w.up == nil {
		w.up = map[string]bool{"a": true, "b": true}
	}
	l, err := lease.New(lease.Options{Config: c, Node: "r1", Targets: func() map[string]bool { return w.up },
		Sever: func(f func(string) bool) { w.severed.Store(f != nil) },
		Drain: func(router bool, name string, lifetime time.Duration) error {
			w.drained = append(w.drained, fmt.Sprint(router, " ", name, " ", lifetime))
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var allowed = lease.Config{Numbers: []string{"+46701740601", "+46701740602"}, Max: 10 * time.Minute}

func begin(t *testing.T, l *lease.Leases, r lease.Request) *lease.Lease {
	t.Helper()
	if r.For == "" {
		r.For = "1m"
	}
	h, err := l.Begin(r)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// own is a message of the lease's drill.
func own(h *lease.Lease) *lease.Message {
	return &lease.Message{PDU: mms.MSendReq, Transaction: []byte(h.Mark + ".1"), Sender: "+46701740601", Recipients: []string{"+46701740602"}, All: true}
}

func TestScope(t *testing.T) {
	tests := []struct {
		name   string
		real   bool
		change func(m *lease.Message)
		want   bool
	}{
		{"its own", false, func(*lease.Message) {}, true},
		{"another transaction", false, func(m *lease.Message) { m.Transaction = []byte("T1") }, false},
		{"a mark that goes on", false, func(m *lease.Message) { m.Transaction = append(m.Transaction[:len(m.Transaction)-2], "X.1"...) }, false},
		{"another sender", false, func(m *lease.Message) { m.Sender = "+46709999999" }, false},
		{"an unknown sender", false, func(m *lease.Message) { m.Sender = "" }, false},
		{"another recipient too", false, func(m *lease.Message) { m.Recipients = append(m.Recipients, "+46709999999") }, false},
		{"recipients that are not known", false, func(m *lease.Message) { m.All = false }, false},
		{"nobody", false, func(m *lease.Message) { m.Recipients = nil }, false},
		{"another PDU", false, func(m *lease.Message) { m.PDU = mms.MForwardReq }, false},
		{"real traffic", true, func(m *lease.Message) { *m = lease.Message{PDU: mms.MSendReq, Sender: "+46709999999"} }, true},
		{"real traffic that one MMSC holds", true, func(m *lease.Message) { *m = lease.Message{PDU: mms.MAcknowledgeInd} }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := new(world).leases(t, allowed)
			h := begin(t, l, lease.Request{RealTraffic: tt.real})
			if _, err := l.Set(h.ID, []lease.Fault{{Kind: lease.Refuse, MMSC: "a"}}); err != nil {
				t.Fatal(err)
			}
			m := own(h)
			tt.change(m)
			if got := l.Befall("a", m) != nil; got != tt.want {
				t.Errorf("befallen: %v; want %v", got, tt.want)
			}
			if l.Befall("b", m) != nil {
				t.Error("it befalls another MMSC")
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	lab := allowed
	lab.Lab = true
	tests := []struct {
		name   string
		config lease.Config
		real   bool
		faults []lease.Fault
		says   string // "": it is taken
	}{
		{"nothing", allowed, false, nil, ""},
		{"each kind for the drill's own", allowed, false, []lease.Fault{{Kind: lease.Cut, MMSC: "a", After: 10}, {Kind: lease.Slow, MMSC: "b", Delay: "1s"}, {Kind: lease.Withdraw}, {Kind: lease.Unshare}}, ""},
		{"unknown kind", allowed, false, []lease.Fault{{Kind: "explode", MMSC: "a"}}, "want one of"},
		{"unknown MMSC", allowed, false, []lease.Fault{{Kind: lease.Refuse, MMSC: "c"}}, "no MMSC is named"},
		{"no MMSC", allowed, false, []lease.Fault{{Kind: lease.Refuse}}, "no MMSC is named"},
		{"an MMSC for what has none", allowed, false, []lease.Fault{{Kind: lease.Withdraw, MMSC: "a"}}, "want no mmsc"},
		{"negative octets", allowed, false, []lease.Fault{{Kind: lease.Cut, MMSC: "a", After: -1}}, "after"},
		{"octets of a refusal", allowed, false, []lease.Fault{{Kind: lease.Refuse, MMSC: "a", After: 1}}, "after"},
		{"no delay", allowed, false, []lease.Fault{{Kind: lease.Slow, MMSC: "a"}}, "delay"},
		{"long delay", allowed, false, []lease.Fault{{Kind: lease.Slow, MMSC: "a", Delay: "1h"}}, "delay"},
		{"too many", allowed, false, slices.Repeat([]lease.Fault{{Kind: lease.Withdraw}}, 33), "at most 32"},
		{"partition of a live system", allowed, false, []lease.Fault{{Kind: lease.Partition}}, "drill.lab"},
		{"partition in a lab", lab, false, []lease.Fault{{Kind: lease.Partition}}, ""},
		{"drain without real traffic", allowed, false, []lease.Fault{{Kind: lease.Drain, MMSC: "a"}}, "--real-traffic"},
		{"real traffic refused", allowed, true, []lease.Fault{{Kind: lease.Refuse, MMSC: "a"}}, ""},
		{"real traffic cut", allowed, true, []lease.Fault{{Kind: lease.Cut, MMSC: "a"}}, "could double or lose"},
		{"real answers cut", allowed, true, []lease.Fault{{Kind: lease.CutAnswer, MMSC: "a"}}, "could double or lose"},
		{"real traffic slow", allowed, true, []lease.Fault{{Kind: lease.Slow, MMSC: "a", Delay: "1s"}}, "could double or lose"},
		{"real traffic into a black hole", allowed, true, []lease.Fault{{Kind: lease.BlackHole, MMSC: "a"}}, "could double or lose"},
		{"real traffic with nowhere to go", allowed, true, []lease.Fault{{Kind: lease.Refuse, MMSC: "a"}, {Kind: lease.Drain, MMSC: "b"}}, "nowhere to go"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := new(world).leases(t, tt.config)
			h := begin(t, l, lease.Request{RealTraffic: tt.real})
			_, err := l.Set(h.ID, tt.faults)
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("got %v; want %q", err, tt.says)
			}
			if err != nil && l.Active() {
				t.Error("what was refused is in force")
			}
		})
	}
}

func TestBeginIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		config lease.Config
		r      lease.Request
		says   string
	}{
		{"no test numbers", lease.Config{Max: time.Minute}, lease.Request{For: "1m"}, "no test numbers"},
		{"no time", allowed, lease.Request{}, "want a duration"},
		{"more than ten minutes", allowed, lease.Request{For: "10m1s"}, "1s to 10m"},
		{"more than its operator allows", lease.Config{Numbers: allowed.Numbers, Max: time.Minute}, lease.Request{For: "2m"}, "drill.max"},
		{"a mark that would fit others", allowed, lease.Request{For: "1m", Mark: "d"}, "mark"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := new(world).leases(t, tt.config).Begin(tt.r); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v; want %q", err, tt.says)
			}
		})
	}
}

// One drill at a time; and a lease ends by itself, though nobody asks for it.
func TestLeaseEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := allowed
		lab.Lab = true
		w := &world{}
		l := w.leases(t, lab)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		h := begin(t, l, lease.Request{For: "5m", By: "ann", Scenario: "x"})
		if _, err := l.Begin(lease.Request{For: "1m"}); err == nil || !strings.Contains(err.Error(), "drill x of ann runs until") {
			t.Errorf("a second drill: %v", err)
		}
		if _, err := l.Set(h.ID, []lease.Fault{{Kind: lease.Partition}, {Kind: lease.Refuse, MMSC: "a"}}); err != nil {
			t.Fatal(err)
		}
		if !w.severed.Load() || l.Befall("a", own(h)) == nil {
			t.Fatal("nothing is broken")
		}
		time.Sleep(5*time.Minute - time.Second)
		if !w.severed.Load() || l.Held() == nil {
			t.Error("it ended before its time")
		}
		time.Sleep(2 * time.Second)
		if w.severed.Load() || l.Held() != nil || l.Befall("a", own(h)) != nil || l.Active() {
			t.Error("it did not end at its time")
		}
		if _, err := l.Set(h.ID, nil); err == nil {
			t.Error("faults were taken after its time")
		}
		again := begin(t, l, lease.Request{RealTraffic: true})
		if _, err := l.Set(again.ID, []lease.Fault{{Kind: lease.Drain, MMSC: "a"}, {Kind: lease.Withdraw}}); err != nil {
			t.Fatal(err)
		}
		if l.LeaveOut(again.Mark) {
			t.Error("to real traffic, a router is withdrawn by a drain, for all alike")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want := []string{"false a 1m0s", "true r1 1m0s", "false a 0s", "true r1 0s"}
		if !slices.Equal(w.drained, want) {
			t.Errorf("drains: %q; want %q", w.drained, want)
		}
	})
}

func TestMarkedQueries(t *testing.T) {
	l := new(world).leases(t, allowed)
	h := begin(t, l, lease.Request{})
	if l.LeaveOut(h.Mark) {
		t.Error("left out before it was asked for")
	}
	if _, err := l.Set(h.ID, []lease.Fault{{Kind: lease.Withdraw}}); err != nil {
		t.Fatal(err)
	}
	if !l.LeaveOut(h.Mark) || l.LeaveOut("") || l.LeaveOut("drill-OTHER") {
		t.Error("it is for the drill's own queries, and for them alone")
	}
}

// pipe is a connection to an MMSC that reads what comes and answers.
func pipe(t *testing.T, answer string) (dial lease.Dialler, got *bytes.Buffer) {
	got = &bytes.Buffer{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, 1024)
		n, _ := c.Read(b)
		got.Write(b[:n])
		if n > 0 {
			_, _ = io.WriteString(c, answer)  // it may be cut: that is what is tested
			_ = c.(*net.TCPConn).CloseWrite() // likewise
		}
		_, _ = io.Copy(io.Discard, c)
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	}, got
}

func TestFaultsOnConnections(t *testing.T) {
	tests := []struct {
		name  string
		fault lease.Fault
		dial  error // what making a connection ends with
		wrote int
		read  string
		ends  error
	}{
		{"refuse", lease.Fault{Kind: lease.Refuse}, syscall.ECONNREFUSED, 0, "", nil},
		{"black hole", lease.Fault{Kind: lease.BlackHole}, context.DeadlineExceeded, 0, "", nil},
		{"cut at once", lease.Fault{Kind: lease.Cut}, nil, 0, "", syscall.ECONNRESET},
		{"cut in the request", lease.Fault{Kind: lease.Cut, After: 4}, nil, 4, "", syscall.ECONNRESET},
		{"answer cut at once", lease.Fault{Kind: lease.CutAnswer}, nil, 10, "", syscall.ECONNRESET},
		{"answer cut", lease.Fault{Kind: lease.CutAnswer, After: 3}, nil, 10, "ans", net.ErrClosed},
		{"slow", lease.Fault{Kind: lease.Slow, Delay: "20ms"}, nil, 10, "answer", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := new(world).leases(t, allowed)
			h := begin(t, l, lease.Request{})
			tt.fault.MMSC = "a"
			if _, err := l.Set(h.ID, []lease.Fault{tt.fault}); err != nil {
				t.Fatal(err)
			}
			dial, _ := pipe(t, "answer")
			patience := 10 * time.Second
			if tt.fault.Kind == lease.BlackHole {
				patience = 50 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			began := time.Now()
			c, err := l.Befall("a", own(h))(ctx, dial)
			if !errors.Is(err, tt.dial) {
				t.Fatalf("dial: %v; want %v", err, tt.dial)
			}
			if c == nil {
				return
			}
			defer c.Close()
			n, err := c.Write([]byte("0123456789"))
			if n != tt.wrote {
				t.Errorf("wrote %d, %v; want %d", n, err, tt.wrote)
			}
			if err == nil {
				var b []byte
				if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
					t.Fatal(err)
				}
				b, err = io.ReadAll(c)
				if string(b) != tt.read || !errors.Is(err, tt.ends) {
					t.Errorf("read %q, %v; want %q, %v", b, err, tt.read, tt.ends)
				}
				if tt.fault.Kind == lease.Slow && time.Since(began) < 20*time.Millisecond {
					t.Error("it was not slow")
				}
			} else if !errors.Is(err, tt.ends) {
				t.Errorf("write: %v; want %v", err, tt.ends)
			}
		})
	}
}

// A reader that waits out a slow MMSC wakes at its deadline, and when somebody closes the connection.
func TestSlowMindsDeadlinesAndClose(t *testing.T) {
	for _, name := range []string{"deadline", "close"} {
		t.Run(name, func(t *testing.T) {
			l := new(world).leases(t, allowed)
			h := begin(t, l, lease.Request{})
			if _, err := l.Set(h.ID, []lease.Fault{{Kind: lease.Slow, MMSC: "a", Delay: "1m"}}); err != nil {
				t.Fatal(err)
			}
			dial, _ := pipe(t, "answer")
			c, err := l.Befall("a", own(h))(t.Context(), dial)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			want := net.ErrClosed
			if name == "deadline" {
				want = os.ErrDeadlineExceeded
				if err := c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
					t.Fatal(err)
				}
			} else {
				time.AfterFunc(10*time.Millisecond, func() { c.Close() })
			}
			if _, err := c.Read(make([]byte, 10)); !errors.Is(err, want) {
				t.Errorf("got %v; want %v", err, want)
			}
		})
	}
}

// peersFake counts what reaches other routers.
type peersFake struct{ sent int }

func (p *peersFake) Living() []string { return []string{"r2"} }
func (p *peersFake) Request(context.Context, string, string, []byte) ([]byte, error) {
	p.sent++
	return []byte("x"), nil
}
func (p *peersFake) Send(string, string, []byte, bool) error { p.sent++; return nil }
func (p *peersFake) Handle(string, func(context.Context, string, []byte) ([]byte, error)) {
}

func TestUnshare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(world).leases(t, allowed)
		h := begin(t, l, lease.Request{})
		under := &peersFake{}
		p := l.Peers(under)
		if _, err := l.Set(h.ID, []lease.Fault{{Kind: lease.Unshare}}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := p.Request(ctx, "r2", "fence.head", []byte("+4670\x00"+h.Mark+".1")); err == nil || ctx.Err() != nil {
			t.Errorf("got %v, the time is over: %v; want it lost before the peer would count as dead", err, ctx.Err())
		}
		if took := time.Since(began); took != 15*time.Millisecond {
			t.Errorf("it cost %s; want most of the time that an answer is waited for", took)
		}
		if err := p.Send("r2", "fence.note", []byte(h.Mark+".1"), false); err != nil || under.sent != 0 {
			t.Errorf("%v, %d sent", err, under.sent)
		}
		if _, err := p.Request(t.Context(), "r2", "fence.head", []byte("+4670\x00T1")); err != nil || under.sent != 1 {
			t.Errorf("another's words are lost: %v, %d sent", err, under.sent)
		}
	})
}

func TestDoor(t *testing.T) {
	l := new(world).leases(t, allowed)
	mux := http.NewServeMux()
	mux.Handle("/d", l)
	mux.Handle("/d/{id}", l)
	do := func(method, path, body string) (int, string) {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		return w.Code, w.Body.String()
	}
	code, body := do("POST", "/d", `{"by":"ann","scenario":"x","for":"1m"}`)
	var h lease.Lease
	if err := json.Unmarshal([]byte(body), &h); code != 201 || err != nil || h.ID == "" {
		t.Fatalf("%d, %v, %s", code, err, body)
	}
	tests := []struct {
		name, method, path, body string
		code                     int
	}{
		{"a second drill", "POST", "/d", `{"for":"1m"}`, 409},
		{"no JSON", "POST", "/d", `<html>`, 400},
		{"an unknown key", "POST", "/d", `{"for":"1m","forever":true}`, 400},
		{"look", "GET", "/d", "", 200},
		{"faults", "PUT", "/d/" + h.ID, `[{"kind":"refuse","mmsc":"a"}]`, 200},
		{"faults of no MMSC", "PUT", "/d/" + h.ID, `[{"kind":"refuse","mmsc":"z"}]`, 404},
		{"too much for its scope", "PUT", "/d/" + h.ID, `[{"kind":"drain","mmsc":"a"}]`, 403},
		{"another's lease", "PUT", "/d/X", `[]`, 404},
		{"ending another's", "DELETE", "/d/X", "", 404},
		{"no such verb", "PATCH", "/d", "", 405},
		{"end", "DELETE", "/d/" + h.ID, "", 200},
		{"end twice", "DELETE", "/d/" + h.ID, "", 404},
		{"again", "POST", "/d", `{"for":"1m"}`, 201},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if code, body := do(tt.method, tt.path, tt.body); code != tt.code {
				t.Errorf("%d %s; want %d", code, body, tt.code)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	tests := []struct {
		name string
		c    lease.Config
		says string
	}{
		{"default", lease.DefaultConfig(), ""},
		{"national number", lease.Config{Numbers: []string{"0701740605"}, Max: time.Minute}, "drill.numbers[0]"},
		{"no number", lease.Config{Numbers: []string{"+46701740605", "ann@example.net"}, Max: time.Minute}, "drill.numbers[1]"},
		{"too long", lease.Config{Max: time.Hour}, "drill.max: 1h0m0s: want 1s to 10m"},
		{"no time", lease.Config{}, "drill.max"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.c.Validate(); tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("got %v; want %q", err, tt.says)
			}
		})
	}
}
