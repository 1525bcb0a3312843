package test_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// The MMSC has the first octets while the client still sends.
func TestUploadStreams(t *testing.T) {
	for _, size := range []int{30_000, 300_000, 3_000_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			p := newPair(t)
			h := p.handset()
			defer h.Close()
			hold := make(chan struct{})
			body := pdu.SendReq("stream", size)
			done := make(chan string, 1)
			go func() {
				a, err := h.PostHolding(t.Context(), body, size/3, hold)
				o, why := handsets.Judge("stream", a, err)
				done <- string(o) + why
			}()
			await(t, p.a, "octets before the client has sent all", func(k fakemmsc.Counts) bool { return k.Begun == 1 })
			if n := p.a.Counts().Wholes; n != 0 {
				t.Error("whole before its end")
			}
			close(hold)
			if o := <-done; o != string(handsets.Accepted) {
				t.Error(o)
			}
			if r := p.a.Records(); len(r) != 1 || r[0].Digest != digest(body) {
				t.Errorf("the MMSC has %+v", r)
			}
		})
	}
}

// The MMSC dies while the client still sends: it cannot have committed anything, so the next one gets the message from
// octet 0, and no copy exists. After a reset it gets it at once, before the client has sent its last octet.
func TestDeathInsideAnUpload(t *testing.T) {
	for _, how := range []fakemmsc.Break{fakemmsc.FIN, fakemmsc.RST} {
		for _, size := range []int{30_000, 300_000, 5_000_000} {
			t.Run(fmt.Sprintf("%s/%d", how, size), func(t *testing.T) {
				p := newPair(t)
				p.a.Behave(fakemmsc.Die(how, size/4))
				h := p.handset()
				defer h.Close()
				way := handsets.Trickle(size, 50, 2*time.Millisecond)
				hold := make(chan struct{})
				way.Hold = hold
				body := pdu.SendReq("death", size)
				var l handsets.Ledger
				done := make(chan handsets.Sent, 1)
				go func() {
					a, err := h.Post(t.Context(), body, way)
					done <- l.Note("death", body, way, a, err, 0)
				}()
				await(t, p.a, "first octets", func(k fakemmsc.Counts) bool { return k.Begun == 1 })
				p.r.Await("end of mmsc-a's connection", func() bool { return p.a.Open() == 0 })
				if how == fakemmsc.RST {
					await(t, p.b, "octets at mmsc-b before the client has sent all", func(k fakemmsc.Counts) bool { return k.Begun == 1 })
				}
				close(hold)
				if s := <-done; s.Outcome != handsets.Accepted {
					t.Errorf("%s %s", s.Outcome, s.Detail)
				}
				if b := l.Balance(p.a.Records(), p.b.Records()); b.Stored != 1 || b.Copies != 0 || b.Faults() != "" {
					t.Errorf("balance: %v", b)
				}
				if how == fakemmsc.FIN {
					return // an end may stay unnoticed until the last octet has gone out: that is ambiguous
				}
				if got := p.r.AwaitLine("death").Path(); got != "mmsc-a body, mmsc-b answered" {
					t.Errorf("the way was %q", got)
				}
				if n := p.r.Metric("mmsrouter_proxy_ambiguous_retries_total"); n != 0 {
					t.Errorf("%v ambiguous retries", n)
				}
				if r := p.b.Records(); len(r) == 1 && r[0].Attempt != "" {
					t.Errorf("marked as attempt %s though nothing is ambiguous", r[0].Attempt)
				}
			})
		}
	}
}

// When every MMSC fails in the same way, the client hears what fits: their own word, or a transient one of ours.
func TestAllFail(t *testing.T) {
	transient := func(a handsets.Answer) string {
		if a.Status != 200 || a.PDU.Type != pdu.TypeSendConf || a.PDU.Transaction != "all" || a.PDU.Response < 0xC0 || a.PDU.Response > 0xDF || a.PDU.Response == pdu.Partial {
			return fmt.Sprintf("status %d, %v; want an M-Send.conf with a transient status", a.Status, a.PDU)
		}
		return ""
	}
	conf := func(status byte) func(handsets.Answer) string {
		return func(a handsets.Answer) string {
			if a.Status != 200 || a.PDU.Transaction != "all" || a.PDU.Response != status {
				return fmt.Sprintf("status %d, %v; want M-Send.conf %02X", a.Status, a.PDU, status)
			}
			return ""
		}
	}
	http := func(status int) func(handsets.Answer) string {
		return func(a handsets.Answer) string {
			if a.Status != status {
				return fmt.Sprintf("status %d, want %d", a.Status, status)
			}
			return ""
		}
	}
	retryAfter := func(a handsets.Answer) string {
		if a.Status != 503 || a.Get("Retry-After") == "" {
			return fmt.Sprintf("status %d, Retry-After %q; want 503 and a time", a.Status, a.Get("Retry-After"))
		}
		return ""
	}
	say := func(b fakemmsc.Behaviour) func(*pair) { return func(p *pair) { p.a.Behave(b); p.b.Behave(b) } }
	down := func(p *pair) { p.a.Down(); p.b.Down() }
	for _, c := range []struct {
		name    string
		prepare func(*pair)
		mm1     []string
		check   func(handsets.Answer) string
	}{
		{"down", down, nil, transient},
		{"down, refuse_with 503", down, []string{"refuse_with: 503"}, retryAfter},
		{"all transient: their answer", say(fakemmsc.Say(0xC1)), nil, conf(0xC1)},
		{"all 503: their answer", say(fakemmsc.Refuse(503)), nil, http(503)},
		{"all 429: their answer", say(fakemmsc.Refuse(429)), nil, http(429)},
		{"all 404: transient", say(fakemmsc.Refuse(404)), nil, transient},
		{"all 403: transient", say(fakemmsc.Refuse(403)), nil, transient},
		{"all 501, refuse_with 503", say(fakemmsc.Refuse(501)), []string{"refuse_with: 503"}, retryAfter},
		{"all die in the body", say(fakemmsc.Die(fakemmsc.RST, 10)), nil, transient},
		{"all swallow", say(fakemmsc.SwallowAndDie(fakemmsc.FIN)), []string{"ambiguous_wait: 100ms"}, transient},
		{"all say 500", say(fakemmsc.Refuse(500)), []string{"ambiguous_wait: 100ms"}, transient},
		{"all say HTML", say(fakemmsc.Behaviour{Answer: fakemmsc.HTML()}), []string{"ambiguous_wait: 100ms"}, transient},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, c.mm1...)
			c.prepare(p)
			h := p.handset()
			defer h.Close()
			for _, way := range []handsets.Way{handsets.Fast, handsets.Chunked} {
				a, err := h.Post(t.Context(), pdu.SendReq("all", 60_000), way)
				if err != nil {
					t.Fatalf("%s: %v", way.Name, err)
				}
				if why := c.check(a); why != "" {
					t.Errorf("%s: %s", way.Name, why)
				}
			}
			if n := p.a.Counts().Stored + p.b.Counts().Stored; n != 0 {
				t.Errorf("%d messages stored", n)
			}
		})
	}
}

// What is not an M-Send.req has no M-Send.conf: indications and retrievals hear the HTTP status.
func TestRefusalsFitTheirPDU(t *testing.T) {
	p := newPair(t)
	p.a.Down()
	p.b.Down()
	p.r.AwaitState("mmsc-a", "down")
	p.r.AwaitState("mmsc-b", "down")
	h := p.handset()
	defer h.Close()
	for _, c := range []struct {
		name string
		body []byte
	}{
		{"M-NotifyResp.ind", pdu.NotifyResp("t", pdu.Retrieved)},
		{"M-Acknowledge.ind", pdu.Acknowledge("t")},
		{"M-Read-Rec.ind", pdu.ReadRec("m@x")},
		{"garbage", []byte("this is no PDU")},
	} {
		a, err := h.Post(t.Context(), c.body, handsets.Fast)
		if err != nil || a.Status != 503 || a.Get("Retry-After") == "" {
			t.Errorf("%s: status %d, Retry-After %q, %v; want 503", c.name, a.Status, a.Get("Retry-After"), err)
		}
	}
	if a, err := h.Fetch(t.Context(), "/m/1"); err != nil || a.Status != 503 || a.Get("Retry-After") == "" {
		t.Errorf("retrieval: status %d, Retry-After %q, %v; want 503", a.Status, a.Get("Retry-After"), err)
	}
	a, err := h.Post(t.Context(), pdu.ForwardReq("fwd", "http://mms.example.net/m/1"), handsets.Fast)
	if err != nil || a.Status != 200 || a.PDU.Type != pdu.TypeForwardConf || a.PDU.Transaction != "fwd" || a.PDU.Response < 0xC0 || a.PDU.Response > 0xDF {
		t.Errorf("M-Forward.req: status %d, %v, %v; want an M-Forward.conf with a transient status", a.Status, a.PDU, err)
	}
}

// An ambiguous end may be made final by configuration: one attempt, a transient answer, no copy.
func TestAmbiguousFail(t *testing.T) {
	p := newPair(t, "ambiguous: {m-send-req: fail}")
	p.a.Behave(fakemmsc.StoreAndDie(fakemmsc.RST))
	h := p.handset()
	defer h.Close()
	a, err := h.Post(t.Context(), pdu.SendReq("fail", 30_000), handsets.Fast)
	if o, why := handsets.Judge("fail", a, err); o != handsets.Transient {
		t.Errorf("%s %s", o, why)
	}
	if got := p.r.AwaitLine("fail").Path(); got != "mmsc-a ambiguous" {
		t.Errorf("the way was %q", got)
	}
	if n := p.a.Counts().Stored + p.b.Counts().Stored; n != 1 {
		t.Errorf("stored %d times", n)
	}
}

// The same MMSC comes back within ambiguous_wait: it is asked before the next one, since it may know the transaction.
func TestAmbiguousAsksTheSameFirst(t *testing.T) {
	p := newPair(t, "ambiguous_wait: 5s")
	p.a.Script(func(n int, r *fakemmsc.Request) fakemmsc.Behaviour {
		if n == 1 {
			return fakemmsc.StoreAndDie(fakemmsc.RST)
		}
		return fakemmsc.Behaviour{} // it knows the transaction: confirmed, not stored again
	})
	h := p.handset()
	defer h.Close()
	var l handsets.Ledger
	body := pdu.SendReq("same", 30_000)
	a, err := h.Post(t.Context(), body, handsets.Fast)
	if s := l.Note("same", body, handsets.Fast, a, err, 0); s.Outcome != handsets.Accepted {
		t.Errorf("%s %s", s.Outcome, s.Detail)
	}
	if got := p.r.AwaitLine("same").Path(); got != "mmsc-a ambiguous, mmsc-a answered" {
		t.Errorf("the way was %q", got)
	}
	if b := l.Balance(p.a.Records(), p.b.Records()); b.Stored != 1 || b.Copies != 0 || b.Faults() != "" {
		t.Errorf("balance: %v", b)
	}
	recs := p.a.Records()
	if len(recs) != 2 || recs[0].Attempt != "" || recs[1].Attempt != "2" {
		t.Errorf("marks %+v, want none and 2", recs)
	}
}

// MMSCs close kept connections as they like: before, while and after we use them. No message notices.
func TestKeptConnectionsThatEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		b    fakemmsc.Behaviour
	}{
		{"hangs up behind each answer", fakemmsc.Behaviour{Store: true, HangUp: true}},
		{"says close", fakemmsc.Behaviour{Store: true, Close: true}},
		{"closes without a length", fakemmsc.Behaviour{Store: true, Answer: fakemmsc.ToClose()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t)
			p.a.Behave(c.b)
			l := handsets.Run(t.Context(), handsets.Plan{Handset: handsets.Options{Addr: p.r.MM1, Timeout: 20 * time.Second}, Handsets: 4, Messages: 200,
				Sizes: []int{1000, 30_000}, Prefix: "k"})
			bal := l.Balance(p.a.Records(), p.b.Records())
			if bal.Accepted != 200 || bal.Copies != 0 || bal.Faults() != "" || p.b.Counts().Stored != 0 {
				t.Errorf("balance: %v; mmsc-b has %d", bal, p.b.Counts().Stored)
			}
			// a connection that ends while a message is being written on it is a matter of luck: rare, and no copy
			if n := p.r.Metric("mmsrouter_proxy_ambiguous_retries_total"); n > 40 {
				t.Errorf("%v ambiguous retries of 200 messages: kept connections are not looked at before use", n)
			}
		})
	}
	t.Run("resets idle ones", func(t *testing.T) {
		p := newPair(t)
		h := p.handset()
		defer h.Close()
		for i := range 50 {
			tid := fmt.Sprint("r", i)
			a, err := h.Post(t.Context(), pdu.SendReq(tid, 1000), handsets.Fast)
			if o, why := handsets.Judge(tid, a, err); o != handsets.Accepted {
				t.Fatalf("message %d: %s %s", i, o, why)
			}
			p.a.Hangup()
		}
		if n := p.a.Counts().Stored; n != 50 || p.b.Counts().Stored != 0 {
			t.Errorf("stored %d and %d, want 50 and 0", n, p.b.Counts().Stored)
		}
	})
}

// A TLS failure is known before anything is sent.
func TestTLSFailure(t *testing.T) {
	a, b := fake(t, "mmsc-a"), fake(t, "mmsc-b")
	r := appliance.Start(t, appliance.Setup{
		Detection: []string{"probe: {type: tcp, interval: 1m, timeout: 30s, rise: 1, fall: 3}", "slow_start: 0s", "passive: {enabled: false}"},
		MMSCs:     []appliance.MMSC{{Name: "mmsc-a", URL: "https://" + a.Addr() + "/"}, {Name: "mmsc-b", URL: b.URL(), Tier: 1}}})
	if r.State("mmsc-a") != "up" {
		t.Skip("the probe already knows that mmsc-a speaks no TLS")
	}
	h := handsets.New(handsets.Options{Addr: r.MM1, Timeout: 20 * time.Second})
	defer h.Close()
	ans, err := h.Post(t.Context(), pdu.SendReq("tls", 30_000), handsets.Fast)
	if o, why := handsets.Judge("tls", ans, err); o != handsets.Accepted {
		t.Errorf("%s %s", o, why)
	}
	if got := r.AwaitLine("tls").Path(); got != "mmsc-a tls, mmsc-b answered" {
		t.Errorf("the way was %q", got)
	}
}
