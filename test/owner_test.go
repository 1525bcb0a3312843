package test_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// equals are two MMSCs of one tier, so that nothing but ownership tells them apart.
func equals(t *testing.T, s appliance.Setup) *pair {
	t.Helper()
	p := &pair{a: fake(t, "mmsc-a"), b: fake(t, "mmsc-b")}
	s.MMSCs = []appliance.MMSC{{Name: "mmsc-a", URL: p.a.URL()}, {Name: "mmsc-b", URL: p.b.URL()}}
	p.r = appliance.Start(t, s)
	return p
}

// The MMSC that holds the message is killed, the handset asks: "later", never "not found". The owner comes
// back and the handset gets its message.
func TestOwnerDownIsNotNotFound(t *testing.T) {
	p := equals(t, appliance.Setup{})
	want := pdu.RetrieveConf("t1", "m1@x", 120_000)
	p.a.Put("/m/1?k=v", want)
	h := p.handset([2]string{"X-MSISDN", "46701234567"})
	defer h.Close()
	for range 4 {
		a, err := h.Fetch(t.Context(), "/m/1?k=v")
		if err != nil || a.Status != 200 || !bytes.Equal(a.Body, want) {
			t.Fatalf("owner up: status %d, %d octets, %v", a.Status, len(a.Body), err)
		}
	}
	p.a.Down()
	for i := range 10 { // before and after detection has noticed
		a, err := h.Fetch(t.Context(), "/m/1?k=v")
		if err != nil || a.Status != 503 || a.Get("Retry-After") == "" {
			t.Fatalf("owner down, fetch %d: status %d, Retry-After %q, %v", i, a.Status, a.Get("Retry-After"), err)
		}
		if i == 4 {
			p.r.AwaitState("mmsc-a", "down")
		}
	}
	if err := p.a.Up(); err != nil {
		t.Fatal(err)
	}
	p.r.AwaitState("mmsc-a", "up")
	a, err := h.Fetch(t.Context(), "/m/1?k=v")
	if err != nil || a.Status != 200 || !bytes.Equal(a.Body, want) {
		t.Errorf("owner back: status %d, %d octets, %v", a.Status, len(a.Body), err)
	}
}

// Nobody knows who holds it, and one that might is down: the same.
func TestUnknownOwner(t *testing.T) {
	p := equals(t, appliance.Setup{})
	want := pdu.RetrieveConf("t2", "m2@x", 3000)
	p.b.Put("/m/2", want)
	h := p.handset()
	defer h.Close()
	p.b.Down()
	p.r.AwaitState("mmsc-b", "down")
	for range 5 {
		if a, err := h.Fetch(t.Context(), "/m/2"); err != nil || a.Status != 503 {
			t.Fatalf("status %d, %v; want 503", a.Status, err)
		}
	}
	if err := p.b.Up(); err != nil {
		t.Fatal(err)
	}
	p.r.AwaitState("mmsc-b", "up")
	if a, err := h.Fetch(t.Context(), "/m/2"); err != nil || a.Status != 200 || !bytes.Equal(a.Body, want) {
		t.Errorf("status %d, %d octets, %v", a.Status, len(a.Body), err)
	}
	// both are up and both say so: then, and only then
	for _, c := range []struct{ a, b, want int }{{404, 404, 404}, {410, 410, 410}, {404, 503, 503}, {500, 404, 503}} {
		p.a.Missing(c.a)
		p.b.Missing(c.b)
		a, err := h.Fetch(t.Context(), fmt.Sprintf("/m/none-%d-%d", c.a, c.b))
		if err != nil || a.Status != c.want {
			t.Errorf("%d and %d: status %d, %v; want %d", c.a, c.b, a.Status, err, c.want)
		}
	}
	// a Retrieve-Status "not found" is such a word too
	none := pdu.RetrieveError("", pdu.NotFound)
	p.a.Put("/m/3", none)
	p.b.Put("/m/3", want)
	if a, err := h.Fetch(t.Context(), "/m/3"); err != nil || !bytes.Equal(a.Body, want) {
		t.Errorf("Retrieve-Status not found of one hid the other's message: status %d, %v, %v", a.Status, a.PDU, err)
	}
	p.b.Put("/m/3", none)
	if a, err := h.Fetch(t.Context(), "/m/3"); err != nil || a.Status != 404 && a.PDU.Retrieve != pdu.NotFound {
		t.Errorf("both say not found: status %d, %v, %v", a.Status, a.PDU, err)
	}
}

// A rule on the path names the owner: nobody else is asked.
func TestOwnerByRule(t *testing.T) {
	p := equals(t, appliance.Setup{Top: []string{"routing:", "  owners:", `    - {path: "^/(?P<mmsc>mmsc-[ab])/"}`}})
	h := p.handset()
	defer h.Close()
	for _, m := range []*fakemmsc.Server{p.a, p.b} {
		path := "/" + m.Name() + "/1"
		want := pdu.RetrieveConf("t", m.Name()+"@x", 2000)
		m.Put(path, want)
		for range 3 {
			if a, err := h.Fetch(t.Context(), path); err != nil || !bytes.Equal(a.Body, want) {
				t.Errorf("%s: status %d, %v", path, a.Status, err)
			}
		}
		if a, err := h.Post(t.Context(), pdu.ForwardReq("f1", "http://mms.example.net"+path), handsets.Fast); err != nil || a.PDU.Response != pdu.Ok {
			t.Errorf("M-Forward.req for %s: %v, %v", path, a.PDU, err)
		}
		if n := m.Counts().Heads; n != 4 {
			t.Errorf("%s was asked %d times, want 4", m.Name(), n)
		}
	}
	p.a.Down()
	p.r.AwaitState("mmsc-a", "down")
	before := p.b.Counts().Heads
	if a, err := h.Fetch(t.Context(), "/mmsc-a/1"); err != nil || a.Status != 503 {
		t.Errorf("owner down: status %d, %v", a.Status, err)
	}
	if n := p.b.Counts().Heads - before; n != 0 {
		t.Errorf("mmsc-b was asked for mmsc-a's message %d times", n)
	}
}

// What a retrieval taught: its acknowledgement goes to the same MMSC and nowhere else.
func TestOwnerLearned(t *testing.T) {
	for _, owner := range []int{0, 1} {
		p := equals(t, appliance.Setup{})
		m, other := p.a, p.b
		if owner == 1 {
			m, other = p.b, p.a
		}
		h := p.handset([2]string{"X-MSISDN", "46701234567"})
		m.Put("/m/7", pdu.RetrieveConf("t7", "m7@x", 100_000))
		if a, err := h.Fetch(t.Context(), "/m/7"); err != nil || a.Status != 200 {
			t.Fatalf("status %d, %v", a.Status, err)
		}
		before, otherBefore := m.Counts().Heads, other.Counts().Heads
		for _, body := range [][]byte{pdu.Acknowledge("t7"), pdu.NotifyResp("t7", pdu.Retrieved), pdu.ReadRec("m7@x")} {
			if a, err := h.Post(t.Context(), body, handsets.Fast); err != nil || a.Status != 200 {
				t.Errorf("status %d, %v", a.Status, err)
			}
		}
		h.Close()
		if n, k := m.Counts().Heads-before, other.Counts().Heads-otherBefore; n != 3 || k != 0 {
			t.Errorf("owner %s got %d of 3, the other %d", m.Name(), n, k)
		}
	}
}

// An indication whose owner nobody knows goes to all, and is confirmed when each that is up has answered.
func TestIndicationToAll(t *testing.T) {
	p := equals(t, appliance.Setup{})
	h := p.handset()
	defer h.Close()
	if a, err := h.Post(t.Context(), pdu.NotifyResp("unknown", pdu.Deferred), handsets.Fast); err != nil || a.Status/100 != 2 {
		t.Errorf("status %d, %v", a.Status, err)
	}
	for _, m := range []*fakemmsc.Server{p.a, p.b} {
		if r := m.Records(); len(r) != 1 || r[0].Transaction != "unknown" {
			t.Errorf("%s has %+v", m.Name(), r)
		}
	}
	hold := make(chan struct{})
	p.b.Behave(fakemmsc.Behaviour{Hold: hold})
	done := make(chan int, 1)
	go func() {
		a, _ := h.Post(t.Context(), pdu.Acknowledge("slow"), handsets.Fast)
		done <- a.Status
	}()
	await(t, p.b, "the second indication", func(k fakemmsc.Counts) bool { return k.Wholes == 2 })
	select {
	case s := <-done:
		t.Errorf("confirmed with %d before mmsc-b had answered", s)
	default:
	}
	close(hold)
	if s := <-done; s/100 != 2 {
		t.Errorf("status %d", s)
	}
}

// Answers of any length arrive octet for octet; one that breaks is never taken for whole.
func TestRetrievalAnswers(t *testing.T) {
	p := equals(t, appliance.Setup{})
	h := p.handset()
	defer h.Close()
	for _, size := range []int{300, 30_000, 65_535, 65_536, 65_537, 300_000, 5_000_000} {
		path := fmt.Sprintf("/m/size-%d", size)
		want := pdu.RetrieveConf("t", "m@x", size)
		p.a.Put(path, want)
		a, err := h.Fetch(t.Context(), path)
		if err != nil || a.Status != 200 || !bytes.Equal(a.Body, want) {
			t.Errorf("%d octets: status %d, %d octets, %v", size, a.Status, len(a.Body), err)
		}
		p.a.Behave(fakemmsc.Behaviour{Answer: func(*fakemmsc.Request) fakemmsc.Reply {
			return fakemmsc.Reply{Status: 200, Type: pdu.ContentType, Body: want, Chunked: true}
		}})
		if a, err := h.Fetch(t.Context(), path+"?chunked"); err != nil || !bytes.Equal(a.Body, want) {
			t.Errorf("%d octets in chunks: status %d, %d octets, %v", size, a.Status, len(a.Body), err)
		}
		p.a.Script(nil)
	}
	big := pdu.RetrieveConf("t", "m@x", 1_000_000)
	for _, how := range []fakemmsc.Break{fakemmsc.FIN, fakemmsc.RST} {
		p.a.Behave(fakemmsc.Behaviour{Break: how, At: fakemmsc.AtAnswer, After: 500_000, Answer: fakemmsc.Bytes(pdu.ContentType, big)})
		p.b.Missing(404)
		a, err := h.Fetch(t.Context(), "/m/breaks-"+how.String())
		if err == nil && a.Status == 200 {
			t.Errorf("%s inside a large answer: taken for whole, %d octets", how, len(a.Body))
		}
		small := pdu.RetrieveConf("t", "m@x", 40_000)
		p.a.Behave(fakemmsc.Behaviour{Break: how, At: fakemmsc.AtAnswer, After: 20_000, Answer: fakemmsc.Bytes(pdu.ContentType, small)})
		if a, err := h.Fetch(t.Context(), "/m/small-"+how.String()); err != nil || a.Status != 503 {
			t.Errorf("%s inside a small answer: status %d, %v; want 503", how, a.Status, err)
		}
		p.a.Script(nil)
	}
	// a small answer that breaks costs nothing when the other one has it
	want := pdu.RetrieveConf("t", "m@x", 40_000)
	p.a.Behave(fakemmsc.CutAnswer(fakemmsc.RST, 1000))
	p.b.Put("/m/both", want)
	for i := range 4 {
		if a, err := h.Fetch(t.Context(), "/m/both"); err != nil || !bytes.Equal(a.Body, want) {
			t.Errorf("fetch %d: status %d, %d octets, %v", i, a.Status, len(a.Body), err)
		}
	}
}
