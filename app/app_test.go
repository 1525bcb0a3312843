package app_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/app"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/router"
)

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// appliance is an App under way, with its configuration file.
type appliance struct {
	*app.App
	file  string
	log   *logBuffer
	api   *admin.Client
	ended chan error
}

const head = `node: {name: r1, data: %DATA%}
dns:
  listen: ["127.0.0.1:0"]
  zones: [{name: mms.example.net, ttl: 30s, addresses: ["192.0.2.10"]}]
mm1: {listen: ["127.0.0.1:0"], hosts: [], access_log: {path: "off"}}
admin: {listen: "127.0.0.1:0"}
`

// start runs an appliance whose file is head and rest, waits until it is ready, and ends it with the test.
func start(t *testing.T, rest string) *appliance {
	t.Helper()
	return startText(t, head+rest)
}

func startText(t *testing.T, text string) *appliance {
	t.Helper()
	dir := t.TempDir()
	a := &appliance{file: filepath.Join(dir, "mmsrouter.yaml"), log: &logBuffer{}, ended: make(chan error, 1)}
	a.write(t, text)
	cfg, err := app.Load(a.file)
	if err != nil {
		t.Fatal(err)
	}
	if a.App, err = app.New(app.Options{Config: cfg, File: a.file, Version: "test", LogTo: a.log}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { a.ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-a.ended; err != nil {
			t.Errorf("Run: %v\n%s", err, a.log)
		}
	})
	if a.api, err = admin.NewClient(a.Listening()["admin.listen"][0], ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.api.HTTP.CloseIdleConnections)
	waitFor(t, a.Ready)
	return a
}

func (a *appliance) write(t *testing.T, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "%DATA%", filepath.Join(filepath.Dir(a.file), "data"))
	if err := os.WriteFile(a.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// waitFor polls a condition that other goroutines bring about.
func waitFor(t *testing.T, ready func() error) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal(err)
		}
	}
}

// fakeMMSC answers every submission with Ok and counts them; gate, if not nil, holds each answer back.
type fakeMMSC struct {
	*httptest.Server
	mu     sync.Mutex
	got    int
	refuse bool
	came   chan struct{}
	gate   chan struct{}
}

func newMMSC(t *testing.T) *fakeMMSC {
	m := &fakeMMSC{came: make(chan struct{}, 16)}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		refuse := m.refuse
		m.mu.Unlock()
		if refuse {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost {
			return
		}
		m.mu.Lock()
		m.got++
		gate := m.gate
		m.mu.Unlock()
		select {
		case m.came <- struct{}{}:
		default: // nobody waits for so many
		}
		if gate != nil {
			<-gate
		}
		var h mms.Head
		h.Peek(b, true)
		w.Header().Set("Content-Type", admin.PDUType)
		_, _ = w.Write(mms.SendConf{TransactionID: h.TransactionID, Version: h.Version, Status: 0x80, MessageID: "m@a"}.Append(nil))
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *fakeMMSC) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.got
}

func submission(id string) []byte {
	return mms.SendReq{TransactionID: id, From: "+46701740605/TYPE=PLMN", To: []string{"+46701740606/TYPE=PLMN"}}.AppendHead(nil)
}

// post submits and gives the M-Send.conf's status.
func (a *appliance) post(t *testing.T, id string) (mms.Status, error) {
	t.Helper()
	pdu := append(submission(id), 0)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Post("http://"+a.Listening()["mm1.listen"][0]+"/", admin.PDUType, bytes.NewReader(pdu))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	var h mms.Head
	if h.Peek(b, true); !h.HasResponse {
		return 0, errors.New(resp.Status + ": " + string(b))
	}
	return h.Response, nil
}

// mmscs writes the section of that name, and what follows it.
func mmscs(more string, m ...*fakeMMSC) string {
	names := []string{"mmsc-a", "mmsc-b", "mmsc-c"}
	b := "mmscs:\n"
	for i := range m {
		b += "  - {name: " + names[i] + `, url: "` + m[i].URL + `/"}` + "\n"
	}
	return b + more
}

func TestEmbeddedMMSCIsTheOnlyTarget(t *testing.T) {
	a := start(t, "mmsc: {enabled: true}\n")
	if s, err := a.post(t, "T1"); err != nil || s != 0x80 {
		t.Fatalf("%v %v\n%s", s, err, a.log)
	}
	st, err := a.api.Status(t.Context())
	if err != nil || len(st.MMSCs) != 1 || st.MMSCs[0].Name != router.LocalName || st.MMSCs[0].State != router.StateUp || st.Node.State != "ready" {
		t.Errorf("%+v %v", st, err)
	}
	waitFor(t, func() error { _, err := a.api.Fate(t.Context(), "T1"); return err }) // it is written after the answer has gone out
	f, err := a.api.Fate(t.Context(), "T1")
	if err != nil || len(f) != 1 || len(f[0].Attempts) != 1 || f[0].Attempts[0].MMSC != router.LocalName || strings.Contains(f[0].Subscriber, "1740605") {
		t.Errorf("%+v %v", f, err)
	}
	m := new(dns.Msg)
	m.SetQuestion("mms.example.net.", dns.TypeA)
	r, err := dns.ExchangeContext(t.Context(), m, a.Listening()["dns.listen"][0])
	if err != nil || len(r.Answer) != 1 || r.Answer[0].(*dns.A).A.String() != "192.0.2.10" {
		t.Errorf("%v %v", r, err)
	}
}

// The embedded MMSC believes what the proxy lets through. So the fields by which it tells subscribers are nobody's to send who is not trusted,
// also one that the proxy itself does not read.
func TestNobodyNamesHimselfToTheEmbeddedMMSC(t *testing.T) {
	for _, c := range []struct{ name, trusted, want string }{
		{"stranger", "192.0.2.0/24", "+46701740605"}, {"trusted", "127.0.0.0/8", "+46709999999"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(head, "mm1: {", `mm1: {identity: {trusted: ["`+c.trusted+`"]}, `, 1)
			a := startText(t, text+"mmsc: {enabled: true, identity: {headers: [X-Lab-User]}}\n")
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+a.Listening()["mm1.listen"][0]+"/", bytes.NewReader(append(submission("T1"), 0)))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = http.Header{"Content-Type": {admin.PDUType}, "X-Lab-User": {"+46709999999"}}
			resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			list, err := a.api.Messages(t.Context(), admin.MessageFilter{})
			if err != nil || len(list) != 1 || list[0].Sender != c.want {
				t.Errorf("%+v, %v; want a message of %s", list, err, c.want)
			}
		})
	}
}

func TestEmbeddedMMSCBesideOthersIsSpare(t *testing.T) {
	one := newMMSC(t)
	a := start(t, "mmsc: {enabled: true}\nrouting: {rules: [{recipient: [\"+4799\"], to: [local]}]}\n"+mmscs("", one))
	for range 4 {
		if s, err := a.post(t, "S"+time.Now().String()[11:29]); err != nil || s != 0x80 {
			t.Fatal(s, err)
		}
	}
	if one.count() != 4 {
		t.Errorf("the MMSC got %d of 4", one.count())
	}
	e, err := a.api.Explain(t.Context(), admin.Question{Recipients: []string{"+4799123"}})
	if err != nil || strings.Join(e.Order, " ") != router.LocalName {
		t.Errorf("%+v %v", e, err)
	}
}

func TestReload(t *testing.T) {
	one, two := newMMSC(t), newMMSC(t)
	a := start(t, mmscs("", one))
	before := a.Board().Load().Generation

	t.Run("a faulty file changes nothing and names its lines", func(t *testing.T) {
		a.write(t, head+mmscs("", one, two)+"loging: {level: debug}\nlog: {level: loud}\n")
		err := a.Reload()
		if err == nil || !strings.Contains(err.Error(), a.file+":10: loging: unknown key") {
			t.Fatalf("%v", err)
		}
		if g := a.Board().Load().Generation; g != before || len(a.Config().MMSCs) != 1 {
			t.Errorf("generation %d, was %d; %d MMSCs", g, before, len(a.Config().MMSCs))
		}
	})
	t.Run("a key that needs a restart is refused", func(t *testing.T) {
		a.write(t, head+mmscs("", one)+"mmsc: {enabled: true}\n")
		if err := a.Reload(); err == nil || !strings.Contains(err.Error(), ":9: mmsc: can't change while running") {
			t.Fatalf("%v", err)
		}
		a.write(t, head+mmscs("", one)+"upgrade: {timeout: 2m}\n")
		if err := a.Reload(); err == nil || !strings.Contains(err.Error(), ":9: upgrade.timeout: can't change while running") {
			t.Fatalf("%v", err)
		}
	})
	t.Run("a file that is gone changes nothing", func(t *testing.T) {
		if err := os.Rename(a.file, a.file+".away"); err != nil {
			t.Fatal(err)
		}
		if err := a.Reload(); err == nil {
			t.Fatal("reloaded from nowhere")
		}
	})
	t.Run("a good file is swapped in while a message is under way", func(t *testing.T) {
		gate := make(chan struct{})
		one.mu.Lock()
		one.gate = gate
		one.mu.Unlock()
		done := make(chan error, 1)
		go func() {
			s, err := a.post(t, "R1")
			if err == nil && s != 0x80 {
				err = errors.New(s.String())
			}
			done <- err
		}()
		<-one.came
		a.write(t, strings.Replace(head, "192.0.2.10", "192.0.2.77", 1)+strings.ReplaceAll(mmscs("log: {level: debug}\n", two), "mmsc-a", "mmsc-b"))
		if err := a.Reload(); err != nil {
			t.Fatal(err)
		}
		close(gate)
		if err := <-done; err != nil {
			t.Errorf("the message under way: %v", err)
		}
		waitFor(t, func() error {
			if s := a.Board().Load(); len(s.MMSCs) != 1 || s.MMSCs[0].Name != "mmsc-b" || !s.MMSCs[0].Up {
				return errors.New("mmsc-b has no verdict yet")
			}
			return nil
		})
		if s, err := a.post(t, "R2"); err != nil || s != 0x80 || two.count() != 1 {
			t.Errorf("%v %v, the new MMSC got %d", s, err, two.count())
		}
		m := new(dns.Msg)
		m.SetQuestion("mms.example.net.", dns.TypeA)
		r, err := dns.ExchangeContext(t.Context(), m, a.Listening()["dns.listen"][0])
		if err != nil || len(r.Answer) != 1 || r.Answer[0].(*dns.A).A.String() != "192.0.2.77" {
			t.Errorf("%v %v", r, err)
		}
	})
}

func TestDrainFinishesWhatIsInFlight(t *testing.T) {
	one := newMMSC(t)
	one.gate = make(chan struct{})
	a := start(t, mmscs("", one))
	mm1 := a.Listening()["mm1.listen"][0]
	done := make(chan error, 1)
	go func() {
		s, err := a.post(t, "D1")
		if err == nil && s != 0x80 {
			err = errors.New(s.String())
		}
		done <- err
	}()
	<-one.came
	st, err := a.api.DrainSelf(t.Context(), admin.Reason{By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if st.MMSCs[0].InFlight != 1 {
		t.Errorf("status shows %d in flight", st.MMSCs[0].InFlight)
	}
	waitFor(t, func() error {
		c, err := net.Dial("tcp", mm1)
		if err == nil {
			_ = c.Close() // only its success matters
			return errors.New("MM1 still listens")
		}
		return nil
	})
	if st, err = a.api.Status(t.Context()); err != nil || st.Node.State != "draining" {
		t.Errorf("while it drains: %+v %v", st.Node, err)
	}
	close(one.gate)
	if err := <-done; err != nil {
		t.Errorf("the message in flight: %v", err)
	}
	if err := <-a.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	a.ended <- nil
}

func TestEndNowDoesNotWait(t *testing.T) {
	one := newMMSC(t)
	gate := make(chan struct{})
	one.gate = gate
	defer close(gate)
	a := start(t, mmscs("", one))
	done := make(chan error, 1)
	go func() {
		s, err := a.post(t, "E1")
		if err == nil && mms.ResponseClass(s) == mms.Ok {
			err = errToldOk
		}
		done <- err
	}()
	<-one.came
	a.Drain()
	a.EndNow()
	if err := <-a.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	a.ended <- nil
	if err := <-done; errors.Is(err, errToldOk) {
		t.Error(err)
	}
}

var errToldOk = errors.New("the client was told Ok while its MMSC had not answered")

func TestPortInUseNamesItsKey(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, key := range []string{"mm1.listen", "dns.listen", "admin.listen"} {
		t.Run(key, func(t *testing.T) {
			cfg, err := app.Parse("p.yaml", []byte(strings.ReplaceAll(head, "%DATA%", filepath.Join(t.TempDir(), "data"))+"mmsc: {enabled: true}\n"))
			if err != nil {
				t.Fatal(err)
			}
			switch key {
			case "mm1.listen":
				cfg.MM1.Listen = []string{ln.Addr().String()}
			case "dns.listen":
				cfg.DNS.Listen = []string{ln.Addr().String()}
			case "admin.listen":
				cfg.Admin.Listen = ln.Addr().String()
			}
			_, err = app.New(app.Options{Config: cfg, LogTo: io.Discard})
			if err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), ln.Addr().String()) {
				t.Errorf("%v", err)
			}
		})
	}
}
