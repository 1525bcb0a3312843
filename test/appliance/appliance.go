// Package appliance runs a whole router inside a test: every room, on port 0, composed by app as the
// program does it. Stories look at it from outside only: MM1, the admin API, the access log, DNS.
package appliance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/app"
)

// MMSC is one entry of `mmscs`.
type MMSC struct {
	Name string
	URL  string
	Tier int
	More string // further keys, as in "weight: 0, in_flight: 1"
}

// Setup is what a story says about its router; the rest is fixed: port 0, access log to a file, everything in
// the test's own folder.
type Setup struct {
	Name      string // of the router; default r1
	Dir       string // its folder, to start a router again; default one of its own
	MMSCs     []MMSC
	MM1       []string         // lines of the mm1 section, as in "refuse_with: 503"
	Detection []string         // lines of the detection section; default: quick probes, no detection from traffic
	Top       []string         // further top-level sections, whole lines
	Clock     func() time.Time // as other routers are told it; default: the right one
}

// Steady is a detection that keeps an MMSC up as long as it listens, whatever its answers: what stories about
// single attempts want.
var Steady = []string{"probe: {type: tcp, interval: 200ms, fast_interval: 100ms, timeout: 10s, rise: 1, fall: 2}", "slow_start: 0s", "passive: {enabled: false}"}

// Alert is a detection that sees a dead MMSC (one that refuses) within a tenth of a second, live traffic included, and
// never takes a slow machine for a dead MMSC.
var Alert = []string{"probe: {type: tcp, interval: 100ms, fast_interval: 100ms, timeout: 10s, rise: 1, fall: 1}", "slow_start: 0s", "passive: {fall: 3}"}

// Router is a running appliance.
type Router struct {
	t    testing.TB
	App  *app.App
	Dir  string
	File string // the configuration
	MM1  string // host:port
	API  string // http://host:port

	log    *buffer
	setup  Setup
	cancel context.CancelFunc
	done   chan struct{}
	err    error
	stop   sync.Once
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (s Setup) yaml(dir, mm1 string) []byte {
	var b bytes.Buffer
	if s.Name == "" {
		s.Name = "r1"
	}
	fmt.Fprintf(&b, "node: {name: %s, data: %q}\n", s.Name, filepath.Join(dir, "data"))
	fmt.Fprintf(&b, "admin: {listen: \"127.0.0.1:0\"}\nlog: {level: debug, format: json}\n")
	fmt.Fprintf(&b, "mm1:\n  listen: [%q]\n  hosts: [mms.example.net]\n  access_log: {path: %q}\n", mm1, filepath.Join(dir, "access.log"))
	for _, l := range s.MM1 {
		fmt.Fprintf(&b, "  %s\n", l)
	}
	b.WriteString("detection:\n")
	d := s.Detection
	if d == nil {
		d = Steady
	}
	for _, l := range d {
		fmt.Fprintf(&b, "  %s\n", l)
	}
	if len(s.MMSCs) > 0 {
		b.WriteString("mmscs:\n")
	}
	for _, m := range s.MMSCs {
		fmt.Fprintf(&b, "  - {name: %s, url: %q, tier: %d", m.Name, m.URL, m.Tier)
		if m.More != "" {
			b.WriteString(", " + m.More)
		}
		b.WriteString("}\n")
	}
	for _, l := range s.Top {
		b.WriteString(l + "\n")
	}
	return b.Bytes()
}

// Start runs a router until the test ends. It returns when every MMSC has its first verdict.
func Start(t testing.TB, s Setup) *Router {
	t.Helper()
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	r := &Router{t: t, Dir: s.Dir, log: &buffer{}, setup: s, done: make(chan struct{})}
	r.File = filepath.Join(r.Dir, "mmsrouter.yaml")
	if err := os.WriteFile(r.File, s.yaml(r.Dir, "127.0.0.1:0"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := app.Load(r.File)
	if err != nil {
		t.Fatalf("configuration: %v\n%s", err, s.yaml(r.Dir, "127.0.0.1:0"))
	}
	if r.App, err = app.New(app.Options{Config: c, File: r.File, Version: "test", LogTo: r.log, Clock: s.Clock}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() {
		defer close(r.done)
		r.err = r.App.Run(ctx)
	}()
	t.Cleanup(r.Stop)
	l := r.App.Listening()
	r.MM1, r.API = l["mm1.listen"][0], "http://"+l["admin.listen"][0]
	r.Await("ready", func() bool { return r.App.Ready() == nil })
	return r
}

// Stop drains the router, waits for its end and reports an error of it. Stopping twice is fine.
func (r *Router) Stop() {
	r.stop.Do(func() {
		r.cancel()
		select {
		case <-r.done:
		case <-time.After(20 * time.Second):
			r.App.EndNow()
			r.t.Errorf("the router did not end within 20 s of being asked")
			<-r.done
		}
		if r.err != nil {
			r.t.Errorf("the router ended with: %v", r.err)
		}
		if n := strings.Count(r.log.String(), "fault while serving"); n > 0 {
			r.t.Errorf("%d requests ended in a fault of the program", n)
		}
		if r.t.Failed() {
			log := r.log.String()
			if n := len(log); n > 6000 {
				log = "…" + log[n-6000:]
			}
			r.t.Logf("log of the router:\n%s", log)
		}
	})
}

// Kill ends the router without finishing anything.
func (r *Router) Kill() {
	r.App.EndNow()
	r.Stop()
}

// Log is what the router logged so far.
func (r *Router) Log() string { return r.log.String() }

// Done is closed when the router has ended.
func (r *Router) Done() <-chan struct{} { return r.done }

// Await waits until a condition holds, at most ten seconds.
func (r *Router) Await(what string, ok func() bool) {
	r.t.Helper()
	end := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(end) {
			r.t.Fatalf("no %s within 10 s", what)
		}
		<-tick.C
	}
}

// Reload writes a new configuration, listeners unchanged, and loads it as SIGHUP does.
func (r *Router) Reload(s Setup) error {
	// the listener of the start is kept: its key is the same text
	if err := os.WriteFile(r.File, s.yaml(r.Dir, "127.0.0.1:0"), 0o600); err != nil {
		return err
	}
	return r.App.Reload()
}

// ReloadText is Reload with any text.
func (r *Router) ReloadText(text string) error {
	if err := os.WriteFile(r.File, []byte(text), 0o600); err != nil {
		return err
	}
	return r.App.Reload()
}

// Text is the configuration file's text of a setup for this router.
func (r *Router) Text(s Setup) string { return string(s.yaml(r.Dir, "127.0.0.1:0")) }

var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// Get asks the admin API.
func (r *Router) Get(path string) (int, []byte) {
	r.t.Helper()
	return r.ask("GET", path)
}

// Post asks the admin API to do something.
func (r *Router) Post(path string) (int, []byte) {
	r.t.Helper()
	return r.ask("POST", path)
}

func (r *Router) ask(method, path string) (int, []byte) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.API+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, b
}

// State gives an MMSC's state as status shows it: up, down, draining.
func (r *Router) State(name string) string {
	r.t.Helper()
	_, b := r.Get("/api/v1/status")
	var s struct {
		MMSCs []struct{ Name, State string }
	}
	if err := json.Unmarshal(b, &s); err != nil {
		r.t.Fatalf("status: %v: %s", err, b)
	}
	for _, m := range s.MMSCs {
		if m.Name == name {
			return m.State
		}
	}
	return ""
}

// AwaitState waits until an MMSC has that state.
func (r *Router) AwaitState(name, state string) {
	r.t.Helper()
	r.Await(name+" "+state, func() bool { return r.State(name) == state })
}

// Metric sums the series of that name whose labels contain all of these (`mmsc="mmsc-a"`).
func (r *Router) Metric(name string, labels ...string) (sum float64) {
	r.t.Helper()
	_, b := r.Get("/metrics")
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		l := sc.Text()
		if !strings.HasPrefix(l, name+"{") && !strings.HasPrefix(l, name+" ") {
			continue
		}
		at := strings.LastIndexByte(l, ' ')
		match := true
		for _, want := range labels {
			match = match && strings.Contains(l[:at], want)
		}
		if v, err := strconv.ParseFloat(l[at+1:], 64); err == nil && match {
			sum += v
		}
	}
	return sum
}

// Line is one line of the access log, as far as stories look at it.
type Line struct {
	Time        time.Time `json:"time"`
	Client      string    `json:"client"`
	Identity    string    `json:"identity"`
	PDU         string    `json:"pdu"`
	Transaction string    `json:"transaction"`
	Octets      int64     `json:"octets"`
	Attempts    []struct {
		MMSC   string  `json:"mmsc"`
		Phase  string  `json:"phase"`
		Result string  `json:"result"`
		Octets int64   `json:"octets"`
		MS     float64 `json:"ms"`
	} `json:"attempts"`
	Result string  `json:"result"`
	Status int     `json:"status"`
	MS     float64 `json:"ms"`
}

// Path is "mmsc phase, mmsc phase": the way the message took.
func (l Line) Path() string {
	var s []string
	for _, a := range l.Attempts {
		s = append(s, a.MMSC+" "+a.Phase)
	}
	return strings.Join(s, ", ")
}

// AccessLog gives the lines written so far, by transaction id (of one transaction the last).
func (r *Router) AccessLog() map[string]Line {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.Dir, "access.log"))
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	out := map[string]Line{}
	for l := range bytes.Lines(b) {
		if !bytes.HasSuffix(l, []byte("\n")) {
			break // still being written
		}
		var x Line
		if err := json.Unmarshal(l, &x); err != nil {
			r.t.Errorf("access log line is not JSON: %v: %s", err, l)
			continue
		}
		out[x.Transaction] = x
	}
	return out
}

// AwaitLine waits for the access log's line of a transaction.
func (r *Router) AwaitLine(transaction string) (l Line) {
	r.t.Helper()
	r.Await("access log line of "+transaction, func() bool {
		var ok bool
		l, ok = r.AccessLog()[transaction]
		return ok
	})
	return l
}
