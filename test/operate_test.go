package test_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

func submit(t *testing.T, h *handsets.Handset, tid string, size int) {
	t.Helper()
	a, err := h.Post(t.Context(), pdu.SendReq(tid, size), handsets.Fast)
	if o, why := handsets.Judge(tid, a, err); o != handsets.Accepted {
		t.Errorf("%s: %s %s", tid, o, why)
	}
}

// The product in one story: a resolver asks for the MMS domain and gets the router's own address, a gateway posts there,
// an MMSC has the message.
func TestFromNameToMMSC(t *testing.T) {
	a, b := fake(t, "mmsc-a"), fake(t, "mmsc-b")
	r := appliance.Start(t, appliance.Setup{
		MMSCs: []appliance.MMSC{{Name: "mmsc-a", URL: a.URL()}, {Name: "mmsc-b", URL: b.URL()}},
		Top:   []string{"dns:", `  listen: ["127.0.0.1:0"]`, `  zones: [{name: mms.example.org, ttl: 30s, addresses: ["127.0.0.1"]}]`}})
	at := r.App.Listening()["dns.listen"][0]
	for _, network := range []string{"udp", "tcp"} {
		m := new(dns.Msg)
		m.SetQuestion("mms.example.org.", dns.TypeA)
		c := dns.Client{Net: network, Timeout: 5 * time.Second}
		in, _, err := c.Exchange(m, at)
		if err != nil {
			t.Fatal(err)
		}
		if len(in.Answer) != 1 || !in.Authoritative || in.Answer[0].Header().Ttl != 30 || in.Answer[0].(*dns.A).A.String() != "127.0.0.1" {
			t.Errorf("%s: %v", network, in)
		}
	}
	h := handsets.New(handsets.Options{Addr: r.MM1, Host: "mms.example.org", Timeout: 10 * time.Second})
	defer h.Close()
	for i := range 10 {
		submit(t, h, fmt.Sprint("n", i), 30_000)
	}
	if n, k := a.Counts().Stored, b.Counts().Stored; n != 5 || k != 5 {
		t.Errorf("stored %d and %d, want 5 and 5", n, k)
	}
	if n := r.Metric("mmsrouter_proxy_messages_total", `pdu="m-send-req"`, `result="answered"`); n != 10 {
		t.Errorf("messages_total counts %v", n)
	}
	if n := r.Metric("mmsrouter_dns_queries_total", `qtype="A"`, `rcode="NOERROR"`); n != 2 {
		t.Errorf("dns_queries_total counts %v", n)
	}
	if n := r.Metric("mmsrouter_mmsc_up", `mmsc="mmsc-a"`); n != 1 {
		t.Errorf("mmsc_up is %v", n)
	}
}

// A drain lets what is in flight finish, gives the MMSC nothing new, and says how much is left.
func TestDrainAnMMSC(t *testing.T) {
	p := equals(t, appliance.Setup{})
	hold := make(chan struct{})
	p.a.Behave(fakemmsc.Behaviour{Store: true, Hold: hold})
	p.b.Behave(fakemmsc.Behaviour{Store: true, Hold: hold})
	var l handsets.Ledger
	done := make(chan struct{})
	for i := range 4 {
		go func() {
			h := p.handset()
			defer h.Close()
			tid := fmt.Sprint("f", i)
			body := pdu.SendReq(tid, 30_000)
			a, err := h.Post(t.Context(), body, handsets.Fast)
			l.Note(tid, body, handsets.Fast, a, err, 0)
			done <- struct{}{}
		}()
	}
	p.r.Await("four messages in flight", func() bool { return p.a.Counts().Wholes+p.b.Counts().Wholes == 4 })
	inFlight := p.a.Counts().Wholes
	if code, body := p.r.Post("/api/v1/mmscs/mmsc-a/drain"); code/100 != 2 {
		t.Fatalf("drain: %d %s", code, body)
	}
	if s := p.r.State("mmsc-a"); s != "draining" {
		t.Errorf("state %q", s)
	}
	var status struct {
		MMSCs []struct {
			Name     string
			InFlight int `json:"in_flight"`
		}
	}
	_, text := p.r.Get("/api/v1/status")
	if err := json.Unmarshal(text, &status); err != nil || status.MMSCs[0].InFlight != inFlight {
		t.Errorf("status does not show the %d in flight at mmsc-a: %v %+v", inFlight, err, status)
	}
	close(hold)
	for range 4 {
		<-done
	}
	h := p.handset()
	defer h.Close()
	before := p.a.Counts().Stored
	for i := range 20 {
		submit(t, h, fmt.Sprint("d", i), 1000)
	}
	if n := p.a.Counts().Stored - before; n != 0 {
		t.Errorf("a draining MMSC got %d new messages", n)
	}
	// what it holds is still its own
	want := pdu.RetrieveConf("t", "m@x", 2000)
	p.a.Put("/m/held", want)
	if a, err := h.Fetch(t.Context(), "/m/held"); err != nil || a.Status != 200 {
		t.Errorf("retrieval from a draining MMSC: %d, %v", a.Status, err)
	}
	if code, _ := p.r.Post("/api/v1/mmscs/mmsc-a/undrain"); code/100 != 2 {
		t.Errorf("undrain: %d", code)
	}
	for i := range 20 {
		submit(t, h, fmt.Sprint("u", i), 1000)
	}
	if n := p.a.Counts().Stored - before; n == 0 {
		t.Error("nothing comes back after undrain")
	}
	if b := l.Balance(p.a.Records(), p.b.Records()); b.Accepted != 4 || len(b.Lost) > 0 || b.Copies > 0 {
		t.Errorf("in flight while draining: %v", b)
	}
	if code, _ := p.r.Post("/api/v1/mmscs/nobody/drain"); code != http.StatusNotFound {
		t.Errorf("drain of an MMSC that is not there: %d", code)
	}
}

// The router itself drains: no new connections, what is in flight gets its answer, then the end.
func TestDrainTheRouter(t *testing.T) {
	p := newPair(t)
	hold := make(chan struct{})
	p.a.Behave(fakemmsc.Behaviour{Store: true, Hold: hold})
	done := make(chan handsets.Sent, 3)
	var l handsets.Ledger
	for i, way := range []handsets.Way{handsets.Fast, handsets.Chunked, handsets.Trickle(300_000, 30, 5*time.Millisecond)} {
		go func() {
			h := p.handset()
			defer h.Close()
			tid := fmt.Sprint("x", i)
			body := pdu.SendReq(tid, 300_000)
			a, err := h.Post(t.Context(), body, way)
			done <- l.Note(tid, body, way, a, err, 0)
		}()
	}
	await(t, p.a, "three uploads under way", func(k fakemmsc.Counts) bool { return k.Heads == 3 })
	p.r.App.Drain()
	p.r.Await("refusal of new connections", func() bool {
		h := p.handset()
		defer h.Close()
		_, err := h.Fetch(t.Context(), "/")
		return err != nil
	})
	select {
	case <-p.r.Done():
		t.Error("ended with messages in flight")
	default:
	}
	close(hold)
	for range 3 {
		if s := <-done; s.Outcome != handsets.Accepted {
			t.Errorf("in flight while draining: %s %s %s", s.Transaction, s.Outcome, s.Detail)
		}
	}
	select {
	case <-p.r.Done():
	case <-time.After(10 * time.Second):
		t.Error("did not end after its last message")
	}
	if b := l.Balance(p.a.Records(), p.b.Records()); b.Accepted != 3 || b.Faults() != "" || b.Copies > 0 {
		t.Errorf("balance: %v", b)
	}
}

// A reload under traffic: a faulty file changes nothing and names its lines, a good one is swapped in without dropping a
// connection or a message.
func TestReloadUnderTraffic(t *testing.T) {
	a, b, c := fake(t, "mmsc-a"), fake(t, "mmsc-b"), fake(t, "mmsc-c")
	first := appliance.Setup{MMSCs: []appliance.MMSC{{Name: "mmsc-a", URL: a.URL()}, {Name: "mmsc-b", URL: b.URL()}}}
	second := appliance.Setup{MMSCs: []appliance.MMSC{{Name: "mmsc-b", URL: b.URL()}, {Name: "mmsc-c", URL: c.URL()}}}
	r := appliance.Start(t, first)
	stop := make(chan struct{})
	finished := make(chan *handsets.Ledger, 1)
	conns := r.Metric("mmsrouter_proxy_connections_total")
	go func() {
		finished <- handsets.Run(t.Context(), handsets.Plan{Handset: handsets.Options{Addr: r.MM1, Timeout: 30 * time.Second}, Handsets: 8,
			Messages: 1200, Sizes: []int{1000, 30_000}, Think: time.Millisecond, Prefix: "r"})
		close(stop)
	}()
	stored := func(n int) func() bool {
		base := a.Counts().Stored + b.Counts().Stored + c.Counts().Stored
		return func() bool { return a.Counts().Stored+b.Counts().Stored+c.Counts().Stored >= base+n }
	}
	r.Await("traffic", stored(100))
	for _, bad := range []struct{ name, text, want string }{
		{"unknown key", r.Text(first) + "nonsense: 1\n", "nonsense"},
		{"broken YAML", r.Text(first) + "mmscs: [\n", "mmsrouter.yaml"},
		{"wrong value", strings.Replace(r.Text(first), "level: debug", "level: loud", 1), "log.level"},
		{"two of a name", r.Text(appliance.Setup{MMSCs: []appliance.MMSC{{Name: "x", URL: a.URL()}, {Name: "x", URL: b.URL()}}}), "x"},
	} {
		err := r.ReloadText(bad.text)
		if err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: error %v, want one that names %q", bad.name, err, bad.want)
		} else if !strings.Contains(err.Error(), "mmsrouter.yaml:") {
			t.Errorf("%s: no line is named: %v", bad.name, err)
		}
	}
	if r.State("mmsc-a") != "up" || r.State("mmsc-c") != "" {
		t.Error("a faulty file changed something")
	}
	r.Await("traffic after faulty files", stored(100))
	if err := r.Reload(second); err != nil {
		t.Fatal(err)
	}
	r.AwaitState("mmsc-c", "up")
	if r.State("mmsc-a") != "" {
		t.Error("mmsc-a is still in status")
	}
	r.Await("traffic at mmsc-c", func() bool { return c.Counts().Stored > 20 })
	if err := r.Reload(first); err != nil {
		t.Fatal(err)
	}
	<-stop
	l := <-finished
	bal := l.Balance(a.Records(), b.Records(), c.Records())
	if bal.Accepted != 1200 || bal.Copies > 0 || bal.Faults() != "" {
		t.Errorf("balance: %v", bal)
	}
	if n := r.Metric("mmsrouter_proxy_connections_total") - conns; n != 8 {
		t.Errorf("8 clients needed %v connections: the reload dropped some", n)
	}
}

// Status tells what detection thinks, and why.
func TestStatusSaysWhy(t *testing.T) {
	p := newPair(t)
	p.a.Down()
	p.r.AwaitState("mmsc-a", "down")
	var s struct {
		Node  any `json:"node"`
		MMSCs []struct{ Name, URL, State, Why, Since string }
	}
	_, text := p.r.Get("/api/v1/status")
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	if len(s.MMSCs) != 2 || s.Node == nil || s.MMSCs[0].URL != p.a.URL() || s.MMSCs[0].Why == "" || s.MMSCs[0].Since == "" || s.MMSCs[1].State != "up" {
		t.Errorf("status %s", text)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, _ := p.r.Get(path); code != 200 {
			t.Errorf("%s: %d", path, code)
		}
	}
	if n := p.r.Metric("mmsrouter_mmsc_up", `mmsc="mmsc-a"`); n != 0 {
		t.Errorf("mmsc_up is %v", n)
	}
}

// fate tells which MMSC got which octets of a transaction, in which phase, with what answer.
func TestFate(t *testing.T) {
	p := newPair(t)
	p.a.Behave(fakemmsc.Say(pdu.Transient))
	h := p.handset()
	defer h.Close()
	submit(t, h, "fate-1", 30_000)
	code, text := p.r.Get("/api/v1/fate/fate-1")
	for _, want := range []string{"fate-1", "mmsc-a", "refused", "mmsc-b", "answered", "30000"} {
		if code != 200 || !strings.Contains(string(text), want) {
			t.Errorf("no %q in %d %s", want, code, text)
		}
	}
	if code, _ := p.r.Get("/api/v1/fate/never-seen"); code != 404 {
		t.Errorf("fate of what never was: %d", code)
	}
}
