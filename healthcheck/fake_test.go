package healthcheck_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/healthcheck"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/router"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// fakes answers dials by address: a serving function, or a refusal where there is none.
type fakes struct {
	all   sync.WaitGroup // serving functions
	mu    sync.Mutex
	serve map[string]func(net.Conn)
	dials map[string][]time.Time
}

func newFakes() *fakes {
	return &fakes{serve: map[string]func(net.Conn){}, dials: map[string][]time.Time{}}
}

func (f *fakes) set(addr string, serve func(net.Conn)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.serve[addr] = serve
}

// took gives the times of the dials so far, from the start of the test on.
func (f *fakes) took(addr string) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.dials[addr]...)
}

func (f *fakes) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	f.mu.Lock()
	f.dials[addr] = append(f.dials[addr], time.Now())
	serve := f.serve[addr]
	f.mu.Unlock()
	if serve == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	ours, theirs := net.Pipe()
	f.all.Go(func() {
		defer theirs.Close()
		serve(theirs)
	})
	return ours, nil
}

// takes is a server that takes a connection and waits for its end.
func takes(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// says reads one request and writes raw octets.
func says(raw string) func(net.Conn) {
	return func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(c, raw)
		}
	}
}

// confirms reads an M-Send.req and answers with what make gives for it.
func confirms(status string, make func(mms.Head) []byte) func(net.Conn) {
	return func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		b, err := io.ReadAll(r.Body)
		var h mms.Head
		if err != nil || h.Peek(b, true) != mms.Complete {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			return
		}
		answer := make(h)
		resp := http.Response{Status: status, StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(answer)), Body: io.NopCloser(bytes.NewReader(answer))}
		if status != "" {
			_, _ = io.WriteString(c, "HTTP/1.1 "+status+"\r\nConnection: close\r\n\r\n")
			_, _ = c.Write(answer)
			return
		}
		_ = resp.Write(c)
	}
}

// rig is a Checker over fakes with a Board and metrics.
type rig struct {
	*healthcheck.Checker
	t      *testing.T
	fakes  *fakes
	board  *router.Board
	reg    *prometheus.Registry
	cfg    healthcheck.Config
	stop   context.CancelFunc
	runEnd chan error
}

// newRig configures the Board and New, and starts nothing.
func newRig(t *testing.T, cfg healthcheck.Config, targets ...healthcheck.Target) *rig {
	t.Helper()
	r := &rig{t: t, fakes: newFakes(), board: router.NewBoard(1), reg: prometheus.NewRegistry(), cfg: cfg}
	r.configure(targets...)
	var err error
	r.Checker, err = healthcheck.NewWith(healthcheck.Options{Config: cfg, Targets: targets, Board: r.board, Metrics: r.reg,
		Log: slog.New(slog.DiscardHandler)}, r.fakes.dial)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) configure(targets ...healthcheck.Target) {
	r.t.Helper()
	var rows []router.Target
	for _, t := range targets {
		rows = append(rows, router.Target{Name: t.Name, URL: t.URL, Weight: 1, Local: t.Check != nil, Spare: t.Check != nil})
	}
	if err := r.board.Configure(rows, nil, nil); err != nil {
		r.t.Fatal(err)
	}
}

// start runs the Checker; end stops it and wants a clean end.
func (r *rig) start() {
	ctx, stop := context.WithCancel(context.Background())
	r.stop, r.runEnd = stop, make(chan error, 1)
	go func() { r.runEnd <- r.Run(ctx) }()
}

func (r *rig) end() {
	r.t.Helper()
	r.stop()
	if err := <-r.runEnd; err != nil {
		r.t.Errorf("Run ended with %v", err)
	}
}

func (r *rig) row(name string) router.MMSC {
	r.t.Helper()
	s := r.board.Load()
	i := s.Index(name)
	if i < 0 {
		r.t.Fatalf("no MMSC %q on the Board", name)
	}
	return s.MMSCs[i]
}

// metric gives the value of a counter or gauge; ok is false if there is no such series.
func (r *rig) metric(name string, labels ...string) (v float64, ok bool) {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == name && carries(m, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue(), true
			}
		}
	}
	return 0, false
}

func carries(m *dto.Metric, labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		found := false
		for _, l := range m.Label {
			found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}

func (r *rig) wantMetric(want float64, name string, labels ...string) {
	r.t.Helper()
	if got, ok := r.metric(name, labels...); !ok || got != want {
		r.t.Errorf("%s%v is %v (there: %v), want %v", name, labels, got, ok, want)
	}
}

func target(name string) healthcheck.Target {
	return healthcheck.Target{Name: name, URL: "http://" + name + ":9000/"}
}

// steady is the default configuration without jitter and slow start, so that times can be told exactly.
func steady() healthcheck.Config {
	c := healthcheck.DefaultConfig()
	c.Jitter, c.SlowStart = 0, 0
	return c
}

var errDown = errors.New("store: disk full")
