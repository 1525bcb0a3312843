package test_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// What an MMSC sees of a request's head: end-to-end fields as they came, nothing that belongs to one hop, our own marks,
// and identity only from those who are believed.
func TestHeaderHygiene(t *testing.T) {
	header := [][2]string{
		{"User-Agent", "Phone/1.0 \"x\""}, {"X-Wap-Profile", `"http://example.com/ua.xml"`}, {"Accept", "*/*"}, {"Accept", "application/vnd.wap.sic"},
		{"Connection", "X-Hop, keep-alive"}, {"X-Hop", "1"}, {"Keep-Alive", "timeout=5"}, {"Proxy-Connection", "keep-alive"}, {"TE", "trailers"}, {"Upgrade", "h2c"},
		{"Proxy-Authorization", "Basic eA=="}, {"X-MSISDN", "46701234567"}, {"x-nokia-msisdn", "46701234567"}, {"X-WAP-Network-Client-MSISDN", "+46701234567"},
		{"Via", "1.0 wapgw"}, {"X-Forwarded-For", "10.1.2.3"}, {"X-Mmsrouter-Attempt", "7"},
	}
	for _, c := range []struct {
		name    string
		trusted bool
		mm1     []string
	}{
		{"from a trusted network", true, []string{`identity: {trusted: ["127.0.0.0/8"]}`}},
		{"from anybody", false, []string{`identity: {trusted: ["192.0.2.0/24"]}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, c.mm1...)
			h := handsets.New(handsets.Options{Addr: p.r.MM1, Timeout: 10 * time.Second, Header: header, Path: "/a/b?c=d&e=%20f"})
			defer h.Close()
			submit(t, h, "head", 3000)
			q := p.a.Requests()[0]
			if q.Target != "/a/b?c=d&e=%20f" || q.Proto != "HTTP/1.1" || q.Get("Host") != "mms.example.net" {
				t.Errorf("request line %s %s, Host %q", q.Target, q.Proto, q.Get("Host"))
			}
			for _, name := range []string{"X-Hop", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade", "X-Mmsrouter-Attempt"} {
				if v := q.All(name); len(v) > 0 {
					t.Errorf("%s: %q reached the MMSC", name, v)
				}
			}
			if ua, acc := q.Get("User-Agent"), q.All("Accept"); ua != "Phone/1.0 \"x\"" || len(acc) != 2 || q.Get("X-Wap-Profile") == "" {
				t.Errorf("end-to-end fields changed: %q %q", ua, acc)
			}
			for _, name := range []string{"X-MSISDN", "X-Nokia-MSISDN", "X-WAP-Network-Client-MSISDN"} {
				if got := len(q.All(name)) == 1; got != c.trusted {
					t.Errorf("%s at the MMSC: %v, want %v", name, got, c.trusted)
				}
			}
			if v := q.Get("Via"); !strings.HasPrefix(v, "1.0 wapgw, 1.1 ") {
				t.Errorf("Via %q", v)
			}
			if v := q.Get("X-Forwarded-For"); !strings.HasSuffix(v, "127.0.0.1") || strings.Contains(v, "10.1.2.3") != c.trusted {
				t.Errorf("X-Forwarded-For %q", v)
			}
			line := p.r.AwaitLine("head")
			if strings.Contains(line.Identity, "46701234567") || c.trusted && line.Identity == "" {
				t.Errorf("identity in the access log: %q, want it masked", line.Identity)
			}
			if stripped := p.r.Metric("mmsrouter_proxy_identity_stripped_total"); stripped > 0 == c.trusted {
				t.Errorf("identity_stripped_total %v", stripped)
			}
		})
	}
}

// A path in the MMSC's URL replaces the client's; host: replaces Host; source_address is our side.
func TestUpstreamRules(t *testing.T) {
	a := fake(t, "mmsc-a")
	r := appliance.Start(t, appliance.Setup{MMSCs: []appliance.MMSC{{Name: "mmsc-a", URL: a.URL() + "servlets/mms", More: "host: relay.operator.example, source_address: 127.9.8.7"}}})
	h := handsets.New(handsets.Options{Addr: r.MM1, Timeout: 10 * time.Second, Path: "/phone?y=2"})
	defer h.Close()
	submit(t, h, "up", 3000)
	q := a.Requests()[0]
	if q.Target != "/servlets/mms" || q.Get("Host") != "relay.operator.example" || !strings.HasPrefix(q.Remote, "127.9.8.7:") {
		t.Errorf("target %q, Host %q, from %s", q.Target, q.Get("Host"), q.Remote)
	}
}

// Each way of sending passes through a router, octet for octet.
func TestWaysPass(t *testing.T) {
	p := newPair(t)
	var l handsets.Ledger
	for i, way := range []handsets.Way{
		{Name: "100-continue", Expect: true}, {Name: "100-continue, chunked", Expect: true, Chunked: true}, {Name: "HTTP/1.0", HTTP10: true},
		{Name: "absolute-form", Absolute: true}, {Name: "a connection per message", OneShot: true}, {Name: "octet by octet", Piece: 1, Gap: time.Microsecond},
		{Name: "chunks of one octet", Chunked: true, ChunkSize: 1}, {Name: "large chunks", Chunked: true, ChunkSize: 1 << 20},
	} {
		for j, size := range []int{200, 3000, 1_500_000} {
			if size > 10_000 && (way.Piece == 1 || way.ChunkSize == 1) {
				continue
			}
			h := p.handset()
			tid := fmt.Sprintf("w%d.%d", i, j)
			body := pdu.SendReq(tid, size)
			a, err := h.Post(t.Context(), body, way)
			if s := l.Note(tid, body, way, a, err, 0); s.Outcome != handsets.Accepted {
				t.Errorf("%s, %d octets: %s %s", way.Name, size, s.Outcome, s.Detail)
			}
			if way.Expect && a.Interim != 1 {
				t.Errorf("%s: %d interim answers", way.Name, a.Interim)
			}
			h.Close()
		}
	}
	if b := l.Balance(p.a.Records()); b.Faults() != "" || b.Copies > 0 || b.Stored != b.Sent {
		t.Errorf("balance: %v", b)
	}
}

// The PROXY protocol tells the client's address, from those who may say so; without it they are not served.
func TestProxyProtocol(t *testing.T) {
	p := newPair(t, `proxy_protocol: ["127.0.0.0/8"]`)
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x07\x7f\x00\x00\x01\x30\x39\x1f\x90"
	for name, prelude := range map[string]string{"v1": "PROXY TCP4 198.51.100.7 127.0.0.1 12345 8080\r\n", "v2": v2} {
		h := handsets.New(handsets.Options{Addr: p.r.MM1, Timeout: 10 * time.Second, Prelude: []byte(prelude)})
		submit(t, h, "proxy-"+name, 3000)
		h.Close()
		reqs := p.a.Requests()
		if v := reqs[len(reqs)-1].Get("X-Forwarded-For"); v != "198.51.100.7" {
			t.Errorf("%s: X-Forwarded-For %q", name, v)
		}
		if line := p.r.AwaitLine("proxy-" + name); line.Client != "198.51.100.7" {
			t.Errorf("%s: the access log names %q", name, line.Client)
		}
	}
	h := handsets.New(handsets.Options{Addr: p.r.MM1, Timeout: 10 * time.Second})
	defer h.Close()
	before := p.a.Counts().Heads
	if _, err := h.Post(t.Context(), pdu.SendReq("bare", 3000), handsets.Fast); err == nil {
		t.Error("served without a PROXY header from a network that must send one")
	}
	if n := p.a.Counts().Heads - before; n != 0 {
		t.Error("it reached the MMSC")
	}
}

// Too large is refused before it is read: with the PDU's own .conf if there is one.
func TestTooLarge(t *testing.T) {
	p := newPair(t, "max_message: 100KiB")
	for _, way := range []handsets.Way{handsets.Fast, handsets.Chunked, {Name: "trickling", Piece: 20_000, Gap: time.Millisecond}, {Name: "expect", Expect: true}} {
		h := p.handset()
		a, err := h.Post(t.Context(), pdu.SendReq("large", 300_000), way)
		if err != nil {
			t.Errorf("%s: %v", way.Name, err)
		} else if !(a.Status == 413 || a.Status == 200 && a.PDU.Type == pdu.TypeSendConf && a.PDU.Response == pdu.TooLarge && a.PDU.Transaction == "large") {
			t.Errorf("%s: status %d, %v", way.Name, a.Status, a.PDU)
		}
		h.Close()
		h = p.handset()
		submit(t, h, "fits", 102_400)
		h.Close()
	}
	for _, r := range p.a.Records() {
		if r.Transaction == "large" {
			t.Error("the MMSC has a message that is too large")
		}
	}
}

// Garbage is forwarded by default, and refused where the configuration says so; never more.
func TestGarbageBodies(t *testing.T) {
	bodies := map[string][]byte{"text": []byte("no PDU at all"), "zeros": make([]byte, 5000), "one octet": {0x8C}, "unknown type": {0x8C, 0xBF, 0x98, 'x', 0, 0x8D, 0x92},
		"ones": bytes.Repeat([]byte{0xFF}, 70_000), "empty": {}}
	forward, refuse := newPair(t), newPair(t, "unreadable: refuse")
	for name, body := range bodies {
		h := forward.handset()
		a, err := h.Post(t.Context(), body, handsets.Fast)
		if err != nil || a.Status != 200 {
			t.Errorf("%s: status %d, %v", name, a.Status, err)
		}
		recs := forward.a.Records()
		if len(recs) == 0 || recs[len(recs)-1].Digest != digest(body) {
			t.Errorf("%s did not arrive octet for octet", name)
		}
		h.Close()
		h = refuse.handset()
		if a, err := h.Post(t.Context(), body, handsets.Fast); err != nil || a.Status == 200 && a.PDU.Response < 0x81 {
			t.Errorf("%s, to be refused: status %d, %v, %v", name, a.Status, a.PDU, err)
		}
		h.Close()
	}
	if n := refuse.a.Counts().Heads; n != 0 {
		t.Errorf("%d bodies to be refused reached the MMSC", n)
	}
}

// The duplicate fence: the same message again is answered without another copy, another message under the same
// transaction id passes, and the newer of two uploads wins.
func TestDuplicateFence(t *testing.T) {
	p := newPair(t)
	who := [2]string{"X-MSISDN", "46701234567"}
	post := func(body []byte, who [2]string) handsets.Outcome {
		h := p.handset(who)
		defer h.Close()
		a, err := h.Post(t.Context(), body, handsets.Fast)
		o, _ := handsets.Judge("dup", a, err)
		return o
	}
	body := pdu.SendReq("dup", 30_000)
	for range 3 {
		if o := post(body, who); o != handsets.Accepted {
			t.Errorf("outcome %s", o)
		}
	}
	if n := p.a.Counts().Stored; n != 1 {
		t.Errorf("three equal posts were stored %d times", n)
	}
	if n := p.r.Metric("mmsrouter_proxy_fence_joined_total"); n != 2 {
		t.Errorf("fence_joined_total %v", n)
	}
	if post(pdu.SendReq("dup", 30_001), who); p.a.Counts().Stored != 2 {
		t.Error("another message under the same transaction id was taken for the first")
	}
	if post(body, [2]string{"X-MSISDN", "46709999999"}); p.a.Counts().Stored != 3 {
		t.Error("another subscriber's message was taken for the first")
	}
	// a transient answer is never kept
	p.a.Behave(fakemmsc.Say(pdu.Transient))
	p.b.Behave(fakemmsc.Say(pdu.Transient))
	again := pdu.SendReq("dup", 20_000)
	other := [2]string{"X-MSISDN", "46708888888"}
	if o := post(again, other); o != handsets.Transient {
		t.Errorf("outcome %s", o)
	}
	p.a.Script(nil)
	if o := post(again, other); o != handsets.Accepted {
		t.Errorf("after a transient answer: %s", o)
	}
	// a phone that lost coverage: the older upload still hangs when the newer comes
	third := [2]string{"X-MSISDN", "46707777777"}
	hold := make(chan struct{})
	old := make(chan handsets.Outcome, 1)
	before := p.a.Counts()
	go func() {
		h := p.handset(third)
		defer h.Close()
		a, err := h.PostHolding(t.Context(), body, 15_000, hold)
		o, _ := handsets.Judge("dup", a, err)
		old <- o
	}()
	await(t, p.a, "the older upload", func(k fakemmsc.Counts) bool { return k.Begun > before.Begun })
	if o := post(body, third); o != handsets.Accepted {
		t.Errorf("the newer upload: %s", o)
	}
	close(hold)
	if o := <-old; o == handsets.Accepted {
		t.Log("the older one was accepted too")
	}
	if n := p.a.Counts().Stored - before.Stored; n != 1 {
		t.Errorf("stored %d times, want the newer alone", n)
	}
}

// Every captured PDU passes octet for octet, up and down.
func TestCorpus(t *testing.T) {
	dir := os.Getenv("MMSROUTER_CORPUS")
	if dir == "" {
		t.Skip("MMSROUTER_CORPUS not set: no captured PDUs to send through the router")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.mms"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no *.mms in MMSROUTER_CORPUS (%v)", err)
	}
	// a router per way: the duplicate fence would answer the second post of a message that names its sender
	routers := map[string]*pair{"fast": newPair(t), "chunked": newPair(t)}
	for i, file := range files {
		name := filepath.Base(file)
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, way := range []handsets.Way{handsets.Fast, handsets.Chunked} {
			p := routers[way.Name]
			h := p.handset()
			defer h.Close()
			before := len(p.a.Records())
			if _, err := h.Post(t.Context(), want, way); err != nil {
				t.Errorf("%s, %s: %v", name, way.Name, err)
				continue
			}
			recs := p.a.Records()
			if len(recs) <= before || recs[before].Digest != digest(want) || recs[before].Size != len(want) {
				t.Errorf("%s, %s: the MMSC got other octets", name, way.Name)
			}
		}
		path := fmt.Sprintf("/corpus/%d", i)
		p := routers["fast"]
		h := p.handset()
		p.a.Put(path, want)
		a, err := h.Fetch(t.Context(), path)
		f, _ := pdu.Read(want)
		if notFound := f.Retrieve == pdu.NotFound; notFound {
			// the other MMSC has no such page, so "not found" is what all say
			if err != nil || a.Status != 200 && a.Status != 404 {
				t.Errorf("%s: status %d, %v", name, a.Status, err)
			}
		} else if err != nil || a.Status != 200 || !bytes.Equal(a.Body, want) {
			t.Errorf("%s: the handset got status %d, %d of %d octets, %v", name, a.Status, len(a.Body), len(want), err)
		}
		h.Close()
	}
}

// A client that is slow with its head, or goes away in the middle, costs nobody else anything.
func TestClientsThatFail(t *testing.T) {
	p := newPair(t, "timeouts: {head: 300ms, body: 300ms, linger: 300ms}")
	slow, err := net.Dial("tcp", p.r.MM1)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := slow.Write([]byte("POST / HTTP/1.1\r\nHost: mms.exa")); err != nil {
		t.Fatal(err)
	}
	h := p.handset()
	defer h.Close()
	submit(t, h, "beside", 3000)
	slow.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 4096)
	if n, err := slow.Read(buf); err != nil || !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 408 ")) {
		t.Errorf("a head that does not come: %q, %v; want 408", buf[:n], err)
	}
	// an upload that stalls
	hold := make(chan struct{})
	done := make(chan handsets.Answer, 1)
	go func() {
		h := p.handset()
		defer h.Close()
		a, _ := h.PostHolding(t.Context(), pdu.SendReq("stalls", 30_000), 10_000, hold)
		done <- a
	}()
	p.r.AwaitLine("stalls")
	close(hold)
	if a := <-done; a.Status != 408 {
		t.Errorf("an upload that stalls: status %d, want 408", a.Status)
	}
	// one that goes away in the middle: the MMSC must not take the half for the whole
	before := p.a.Counts()
	gone, err := net.Dial("tcp", p.r.MM1)
	if err != nil {
		t.Fatal(err)
	}
	body := pdu.SendReq("gone", 30_000)
	fmt.Fprintf(gone, "POST / HTTP/1.1\r\nHost: mms.example.net\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s", 30_000, body[:10_000])
	await(t, p.a, "its first octets", func(k fakemmsc.Counts) bool { return k.Begun > before.Begun })
	gone.Close()
	await(t, p.a, "its end", func(k fakemmsc.Counts) bool { return k.Broken > before.Broken })
	if n := p.a.Counts().Stored - before.Stored; n != 0 {
		t.Error("half a message was stored")
	}
	if line := p.r.AwaitLine("gone"); line.Result != "client_gone" {
		t.Errorf("the access log says %q", line.Result)
	}
	submit(t, h, "after", 3000)
}
