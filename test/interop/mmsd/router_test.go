package mmsd_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/app"
	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	mmsclite "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/delivery"
	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/interop/mmsd"
)

// carrier hands mmsc-lite's pushes to the handset with the number.
type carrier struct {
	mu     sync.Mutex
	phones map[string]func(context.Context, []byte) error
	pushed []mms.Type
}

// Push implements delivery.Notifier.
func (c *carrier) Push(ctx context.Context, p *delivery.Push) error {
	c.mu.Lock()
	push := c.phones[p.To]
	c.pushed = append(c.pushed, p.Kind)
	c.mu.Unlock()
	if push == nil {
		return fmt.Errorf("%w: nobody has the number %s", delivery.ErrNoRoute, p.To)
	}
	return push(ctx, wappush.AppendMMS(nil, 1, p.PDU))
}

// lite starts mmsc-lite as an MMSC of its own and gives its URL.
func lite(t *testing.T, c *carrier) string {
	t.Helper()
	o := mmsclite.Options{Config: mmsclite.DefaultConfig(), DataDir: t.TempDir(), NodeName: "m1", URL: "http://mms.example.net", Notifier: c}
	o.Config.Identity.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	o.Config.Identity.From = "refuse" // who is not identified by the network sends nothing
	o.Config.Retrieve.RequireIdentity = true
	m, err := mmsclite.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("mmsc-lite: %v", err)
		}
	})
	srv := httptest.NewServer(m.Handler())
	t.Cleanup(srv.Close)
	return srv.URL + "/"
}

// network is an operator's MMS proxy for one subscriber: it passes requests on to the router, whole URL and all, and says
// whose they are.
func network(t *testing.T, number, mm1 string) string {
	t.Helper()
	upstream, err := url.Parse("http://" + mm1)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{Proxy: http.ProxyURL(upstream), DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	srv := httptest.NewServer(&httputil.ReverseProxy{Transport: tr, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", r.In.Host
		r.Out.Header.Set("X-MSISDN", number)
	}})
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// TestThroughTheRouter: mmsd-tng and a phone in software, each behind the operator's MMS proxy, send each other messages; the
// router takes them to mmsc-lite, which notifies, serves and reports.
func TestThroughTheRouter(t *testing.T) {
	mmsd.Need(t)
	c := &carrier{phones: map[string]func(context.Context, []byte) error{}}
	r := appliance.Start(t, appliance.Setup{MMSCs: []appliance.MMSC{{Name: "mmsc-lite", URL: lite(t, c)}},
		MM1: []string{`identity: {trusted: ["127.0.0.0/8"], headers: [X-MSISDN]}`}})
	bobs := mmsd.Options{Number: bob, MMSC: "http://mms.example.net/", Proxy: network(t, bob, r.MM1)}
	h, ctx := handsetOf(t, bobs)
	events := make(chan handset.Event, 1000)
	phone, err := handset.New(handset.Options{Numbers: []string{alice}, Dir: t.TempDir(), URL: "http://mms.example.net/", Proxy: "http://" + network(t, alice, r.MM1),
		InsertAddress: true, Observe: func(e handset.Event) { events <- e }})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- phone.Run(running) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	await := func(k handset.Kind) handset.Event {
		t.Helper()
		for {
			select {
			case e := <-events:
				if e.Kind == k {
					return e
				}
				if e.Err != nil {
					t.Errorf("alice: %s", e)
				}
			case <-ctx.Done():
				t.Fatalf("alice: no event %s", k)
			}
		}
	}
	c.mu.Lock()
	c.phones[bob] = h.Push
	c.phones[alice] = func(_ context.Context, push []byte) error { return phone.Push(alice, push) }
	c.mu.Unlock()

	// Alice sends, Bob's mmsd-tng fetches by itself and acknowledges, and Alice is told so.
	picture := bytes.Repeat([]byte("\xFF\xD8 picture "), 10_000)
	conf, err := phone.Send(ctx, alice, handset.Letter{To: []string{bob}, Subject: "Räksmörgås", DeliveryReport: true, Parts: []handset.Part{
		{Name: "a.txt", Type: "text/plain", Data: []byte("Hallå, Bob")}, {Name: "b.jpg", Type: "image/jpeg", Data: picture}}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.Await(ctx, "Alice's message", func(m mmsd.Message) bool { return m.Status == "received" })
	if err != nil {
		t.Fatal(err)
	}
	wantMessage(t, got, "Hallå, Bob", picture)
	if e := await(handset.DeliveryReport); e.Status != mms.Retrieved.String() || e.MessageID != conf.MessageID() || e.From != bob+"/TYPE=PLMN" {
		t.Errorf("Alice's report: %s", e)
	}

	// Bob answers twice, and once more after mmsd-tng has started anew: it counts its transaction ids from the beginning
	// then, so the third answer has the first one's. Alice's phone fetches all three.
	answer := func(h *mmsd.Handset, say string) {
		t.Helper()
		path, err := h.Send(ctx, []string{alice}, "Svar", false, mmsd.File{ID: "text", Type: "text/plain", Data: []byte(say)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Await(ctx, "Bob's answer to be sent", func(m mmsd.Message) bool { return m.Path == path && m.Status == "sent" }); err != nil {
			t.Fatalf("%v: %+v", err, h.Messages())
		}
		e := await(handset.Stored)
		if e.From != bob+"/TYPE=PLMN" || e.Subject != "Svar" || e.Parts != 1 || string(e.Message.Parts[0].Data) != say {
			t.Errorf("Alice got %s", e)
		}
		await(handset.Settled)
	}
	answer(h, "Hej, Alice")
	answer(h, "Hej igen")
	if err := h.Stop(); err != nil {
		t.Error(err)
	}
	h, _ = handsetOf(t, bobs)
	answer(h, "Hej, Malin") // as long as the first
	for _, pdu := range []string{"m-send-req", "m-notifyresp-ind", "get"} {
		if n := r.Metric("mmsrouter_proxy_messages_total", `mmsc="mmsc-lite"`, fmt.Sprintf("pdu=%q", pdu)); n != 4 {
			t.Errorf("the router passed %v %s on, want 4", n, pdu)
		}
	}
}

// TestResolves: mmsd-tng finds the router by DNS, and the router two MMSCs of which one is gone.
func TestResolves(t *testing.T) {
	mmsd.Need(t)
	own := address(t)
	m, gone := newMMSC(t), newMMSC(t)
	gone.Close()
	m.message = message(t)
	serve(t, fmt.Sprintf(`node: {name: r1, data: %q}
dns: {listen: [%q], zones: [{name: mms.example.net, ttl: 30s, addresses: [%q]}]}
mm1: {listen: [%q]}
admin: {listen: "127.0.0.1:0"}
mmscs: [{name: mmsc-a, url: %q}, {name: mmsc-b, url: %q}]
`, t.TempDir(), own+":53", own, own+":80", gone.URL+"/", m.URL+"/"))
	h, ctx := handsetOf(t, mmsd.Options{Number: bob, MMSC: "http://mms.example.net/", DNS: own})
	path, err := h.Send(ctx, []string{alice}, "Hello", false, mmsd.File{ID: "text", Type: "text/plain", Data: []byte("Hello, Alice")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Await(ctx, "the message to be sent", func(m mmsd.Message) bool { return m.Path == path && m.Status == "sent" }); err != nil {
		t.Fatalf("%v: %+v", err, h.Messages())
	}
	m.await(ctx, t, mms.MSendReq)
	if err := h.Push(ctx, wappush.AppendMMS(nil, 1, mms.Notification{TransactionID: "t1", From: alice + "/TYPE=PLMN", Expiry: mms.When{After: time.Hour}, ContentLocation: "http://mms.example.net/m/1"}.Append(nil))); err != nil {
		t.Fatal(err)
	}
	m.await(ctx, t, mms.MNotifyRespInd)
}

// serve runs a router with this configuration until the test ends.
func serve(t *testing.T, text string) {
	t.Helper()
	cfg, err := app.Parse("mmsrouter.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(app.Options{Config: cfg, Version: "test", LogTo: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the router: %v", err)
		}
	})
	end := time.NewTimer(10 * time.Second)
	defer end.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for a.Ready() != nil {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("the router does not become ready: %v", a.Ready())
		}
	}
}

// address finds a loopback address whose ports 53 and 80 may be bound.
func address(t *testing.T) string {
	t.Helper()
	for last := 2; last < 50; last++ {
		ip := fmt.Sprintf("127.0.93.%d", last)
		c, err := net.ListenPacket("udp", ip+":53")
		if err != nil {
			continue
		}
		c.Close()
		if l, err := net.Listen("tcp", ip+":80"); err == nil {
			l.Close()
			return ip
		}
	}
	t.Skip("the ports 53 and 80 can't be bound on any address of 127.0.93.0/24")
	return ""
}
