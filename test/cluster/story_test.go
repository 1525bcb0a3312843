package cluster_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// A router that dies without a word leaves the answers of the others, and comes back into them.
func TestTheDeadLeaveDNS(t *testing.T) {
	l := start(t, node{}, node{}, node{})
	for i := range 3 {
		l.awaitDNS(i, 1, 2, 3)
	}
	l.crash(2)
	l.awaitDNS(0, 1, 2)
	l.awaitDNS(1, 1, 2)
	for _, m := range l.status(0).Members {
		if m.Name == "r3" && (m.State != "suspect" || m.InDNS) {
			t.Errorf("r3 is shown as %+v", m)
		}
	}
	l.again(2, 1)
	for i := range 3 {
		l.awaitDNS(i, 1, 2, 3)
	}
}

// A drain withdraws the router from all answers first, serves whoever still comes until resolvers have forgotten it, and
// then ends.
func TestDrainWithdrawsFirst(t *testing.T) {
	l := start(t, node{ttl: "2s"}, node{ttl: "2s"})
	l.awaitDNS(0, 1, 2)
	l.awaitDNS(1, 1, 2)
	began := time.Now()
	st, err := l.client(1).DrainSelf(t.Context(), admin.Reason{By: "anna", Reason: "kernel"})
	if err != nil {
		t.Fatal(err)
	}
	if st.Node.Name != "r2" {
		t.Errorf("status of %s", st.Node.Name)
	}
	l.awaitDNS(0, 1)
	l.awaitDNS(1, 1)
	if d := l.status(1).Node.Drain; d == nil || !strings.HasPrefix(d.Step, "withdrawn") || d.Left <= 0 {
		t.Errorf("the drain's step: %+v", d)
	}
	h := l.handset(1)
	defer h.Close()
	a, err := h.Post(t.Context(), pdu.SendReq("late", 1000), handsets.Fast)
	if o, why := handsets.Judge("late", a, err); o != handsets.Accepted {
		t.Errorf("a client that still comes while resolvers forget: %s %s", o, why)
	}
	if code, _ := l.routers[1].Get("/readyz"); code != 503 {
		t.Errorf("readyz while draining: %d", code)
	}
	select {
	case <-l.routers[1].Done():
	case <-time.After(15 * time.Second):
		t.Fatal("did not end")
	}
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("ended after %s, before resolvers can have forgotten it", took)
	}
	l.routers[0].Await("farewell of r2", func() bool {
		for _, m := range l.status(0).Members {
			if m.Name == "r2" {
				return m.State == "left"
			}
		}
		return false
	})
	// the last one can be replaced by nobody: it only finishes what is in flight
	began = time.Now()
	l.routers[0].Stop()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("a router that is alone took %s to end", took)
	}
}

// While a drain is planned, all routers' answers are remembered for a short time only; calling it off ends that.
func TestPlannedDrainShortensTTL(t *testing.T) {
	l := start(t, node{ttl: "1h"}, node{ttl: "1h"})
	ttl := func(i int, want uint32) {
		t.Helper()
		l.routers[i].Await(fmt.Sprintf("TTL %d at router %d", want, i+1), func() bool { _, got := l.ask(i); return got == want })
	}
	ttl(0, 3600)
	st, err := l.client(1).DrainSelf(t.Context(), admin.Reason{By: "anna", In: "30m"})
	if err != nil || st.Node.Drain == nil || st.Node.Drain.Step != "planned" {
		t.Fatalf("plan: %+v %v", st.Node.Drain, err)
	}
	ttl(0, 1)
	ttl(1, 1)
	if _, err := l.client(1).UndrainSelf(t.Context()); err != nil {
		t.Fatal(err)
	}
	ttl(0, 3600)
	ttl(1, 3600)
	if _, err := l.client(1).UndrainSelf(t.Context()); err == nil {
		t.Error("a drain that was not planned was called off")
	}
	for _, r := range l.routers {
		r.Kill() // nobody waits an hour here
	}
}

// What an operator says about an MMSC on one router holds on all, whoever is restarted.
func TestDrainHoldsEverywhere(t *testing.T) {
	l := start(t, node{}, node{})
	all := func(mmsc, state string) {
		t.Helper()
		for _, r := range l.routers {
			r.AwaitState(mmsc, state)
		}
	}
	if _, err := l.client(0).Drain(t.Context(), "mmsc-a", admin.Reason{By: "anna", Reason: "upgrade"}); err != nil {
		t.Fatal(err)
	}
	all("mmsc-a", "draining")
	st := l.status(1)
	if len(st.Drains) != 1 || st.Drains[0].By != "anna" || st.Drains[0].Reason != "upgrade" || st.Drains[0].Node != "r1" {
		t.Errorf("drains as r2 shows them: %+v", st.Drains)
	}
	if d := st.MMSCs[0].Drain; d == nil || d.By != "anna" {
		t.Errorf("mmsc-a as r2 shows it: %+v", st.MMSCs[0])
	}
	h := l.handset(1)
	defer h.Close()
	a, err := h.Post(t.Context(), pdu.SendReq("around", 1000), handsets.Fast)
	if o, why := handsets.Judge("around", a, err); o != handsets.Accepted || l.b.Counts().Stored != 1 {
		t.Errorf("%s %s, %d at mmsc-b", o, why, l.b.Counts().Stored)
	}
	for i := range l.routers {
		l.crash(i)
	}
	l.routers[1] = appliance.Start(t, l.setups[1]) // it joins nobody: what it knows is its own
	if s := l.routers[1].State("mmsc-a"); s != "draining" {
		t.Errorf("after all were restarted mmsc-a is %s", s)
	}
	l.again(0, 1)
	all("mmsc-a", "draining")
	if _, err := l.client(1).Undrain(t.Context(), "mmsc-a", admin.Reason{By: "bert"}); err != nil {
		t.Fatal(err)
	}
	all("mmsc-a", "up")
	m, err := l.client(0).Drain(t.Context(), "mmsc-*", admin.Reason{By: "anna", For: "2s"})
	if err != nil || len(m) != 2 {
		t.Fatalf("drain by pattern: %+v %v", m, err)
	}
	all("mmsc-b", "draining")
	all("mmsc-b", "up")
	all("mmsc-a", "up")
	for _, bad := range []admin.Reason{{For: "soon"}, {For: "-1h"}, {For: "99999h"}} {
		if _, err := l.client(0).Drain(t.Context(), "mmsc-a", bad); err == nil {
			t.Errorf("drain for %q was taken", bad.For)
		}
	}
}

// An operator takes a router out of DNS while it goes on serving; if all are taken out, all are named.
func TestRouterOutOfDNS(t *testing.T) {
	l := start(t, node{}, node{})
	if _, err := l.client(0).DrainRouter(t.Context(), "r2", admin.Reason{By: "anna", Reason: "disk"}); err != nil {
		t.Fatal(err)
	}
	l.awaitDNS(0, 1)
	l.awaitDNS(1, 1)
	if _, err := l.client(0).DrainRouter(t.Context(), "r*", admin.Reason{By: "anna"}); err != nil {
		t.Fatal(err)
	}
	l.awaitDNS(0, 1, 2)
	l.routers[1].Await("both words at r2", func() bool { return len(l.status(1).Drains) == 2 })
	for _, name := range []string{"r*", "r2"} {
		if _, err := l.client(1).UndrainRouter(t.Context(), name, admin.Reason{}); err != nil {
			t.Fatal(err)
		}
	}
	l.routers[1].Await("readiness", func() bool { return l.routers[1].App.Ready() == nil })
	l.awaitDNS(1, 1, 2)
	if _, err := l.client(0).DrainRouter(t.Context(), "nobody", admin.Reason{}); !admin.NotFound(err) {
		t.Errorf("drain of a router that is not there: %v", err)
	}
}

// The answer got lost, the handset posts again and the gateway takes another router: the same answer, one message.
func TestResubmissionThroughAnotherRouter(t *testing.T) {
	l := start(t, node{}, node{}, node{})
	who := [2]string{"X-MSISDN", "46701234567"}
	for round := range 10 {
		tid := fmt.Sprint("again", round)
		body := pdu.SendReq(tid, 30_000)
		var first []byte
		for i := range l.routers {
			h := l.handset((round+i)%3, who)
			a, err := h.Post(t.Context(), body, handsets.Fast)
			h.Close()
			if o, why := handsets.Judge(tid, a, err); o != handsets.Accepted {
				t.Fatalf("%s through router %d: %s %s", tid, (round+i)%3+1, o, why)
			}
			if i == 0 {
				first = a.Body
			} else if !bytes.Equal(a.Body, first) {
				t.Errorf("%s: router %d answers otherwise than the first", tid, (round+i)%3+1)
			}
		}
	}
	if n := l.a.Counts().Stored + l.b.Counts().Stored; n != 10 {
		t.Errorf("10 messages, each posted through 3 routers: %d stored", n)
	}
}

// The router that took the message dies before the handset hears the answer: the next one knows it.
func TestResubmissionAfterTheRouterDied(t *testing.T) {
	l := start(t, node{}, node{}, node{})
	who := [2]string{"X-MSISDN", "46701234567"}
	body := pdu.SendReq("died", 30_000)
	h := l.handset(0, who)
	a, err := h.Post(t.Context(), body, handsets.Fast)
	h.Close()
	if o, why := handsets.Judge("died", a, err); o != handsets.Accepted {
		t.Fatalf("first: %s %s", o, why)
	}
	l.crash(0)
	h = l.handset(1, who)
	defer h.Close()
	b, err := h.Post(t.Context(), body, handsets.Fast)
	if o, why := handsets.Judge("died", b, err); o != handsets.Accepted || !bytes.Equal(a.Body, b.Body) {
		t.Errorf("second: %s %s", o, why)
	}
	if n := l.a.Counts().Stored + l.b.Counts().Stored; n != 1 {
		t.Errorf("%d messages stored", n)
	}
}

// Who has another key or belongs to another cluster, or sends what can't be read, has no effect.
func TestForeigners(t *testing.T) {
	l := start(t, node{}, node{})
	foreign := func(name, from, to string) {
		s := l.setup(9, node{})
		for k, line := range s.Top {
			s.Top[k] = strings.Replace(line, from, to, 1)
		}
		s.Name = name
		r := appliance.Start(t, s)
		r.Await("its own answer", func() bool { return r.App.Ready() == nil })
	}
	foreign("stranger", key, "c29tZSBvdGhlciBrZXksIGFsc28gMzIgb2N0ZXRzISE=")
	foreign("neighbour", "cluster: {", "cluster: {name: another, ")
	at := l.gossip(0)
	for _, n := range []int{1, 100, 1400, 60_000} {
		junk := make([]byte, n)
		rand.Read(junk)
		if c, err := net.Dial("udp", at); err == nil {
			c.Write(junk) // what becomes of it is the story
			c.Close()
		}
		if c, err := net.Dial("tcp", at); err == nil {
			c.Write(junk)
			c.Close()
		}
	}
	l.routers[0].Await("refusals", func() bool { return l.routers[0].Metric("mmsrouter_cluster_refused_total") >= 3 })
	if n := len(l.status(0).Members); n != 2 {
		t.Errorf("%d routers", n)
	}
	l.awaitDNS(0, 1, 2)
	h := l.handset(0)
	defer h.Close()
	a, err := h.Post(t.Context(), pdu.SendReq("calm", 30_000), handsets.Fast)
	if o, why := handsets.Judge("calm", a, err); o != handsets.Accepted {
		t.Errorf("traffic: %s %s", o, why)
	}
}

// Two routers' clocks are an hour off, to either side. It is told, once each, and has no effect: drains hold and end, submissions find their
// first answer, DNS names all.
func TestClocksAnHourOff(t *testing.T) {
	l := start(t, node{}, node{ahead: time.Hour}, node{ahead: -time.Hour})
	for i := range l.routers {
		l.awaitDNS(i, 1, 2, 3)
		l.routers[i].Await("the clocks that differ, counted", func() bool {
			return l.routers[i].Metric("mmsrouter_cluster_refused_total", `reason="clock"`) >= 2
		})
	}
	offsets := map[string]float64{}
	for _, m := range l.status(0).Members {
		offsets[m.Name] = m.ClockOffset
	}
	if offsets["r2"] < 3590 || offsets["r2"] > 3610 || offsets["r3"] > -3590 || offsets["r3"] < -3610 {
		t.Errorf("offsets that r1 shows: %v", offsets)
	}
	for i := range l.routers { // said at each, it holds at all for its time
		if _, err := l.client(i).Drain(t.Context(), "mmsc-a", admin.Reason{By: "anna", For: "1s"}); err != nil {
			t.Fatal(err)
		}
		for _, r := range l.routers {
			r.AwaitState("mmsc-a", "draining")
		}
		for _, r := range l.routers {
			r.AwaitState("mmsc-a", "up")
		}
	}
	who, body := [2]string{"X-MSISDN", "46701234567"}, pdu.SendReq("clocks", 30_000)
	for i := range l.routers {
		h := l.handset(i, who)
		a, err := h.Post(t.Context(), body, handsets.Fast)
		h.Close()
		if o, why := handsets.Judge("clocks", a, err); o != handsets.Accepted {
			t.Errorf("through router %d: %s %s", i+1, o, why)
		}
	}
	if n := l.a.Counts().Stored + l.b.Counts().Stored; n != 1 {
		t.Errorf("one message, posted through 3 routers: %d stored", n)
	}
	if n := strings.Count(l.routers[0].Log(), `"reason":"clock"`); n != 2 {
		t.Errorf("r1 told of clocks %d times, want once for each of the two", n)
	}
}

// A router that probes seldom is as fast as the one that probes often.
func TestVerdictTravels(t *testing.T) {
	seldom := []string{"probe: {type: tcp, interval: 1m, fast_interval: 100ms, timeout: 10s, rise: 1, fall: 1}", "slow_start: 0s", "passive: {enabled: false}"}
	l := start(t, node{}, node{detection: seldom})
	l.a.Down()
	l.routers[0].AwaitState("mmsc-a", "down")
	l.routers[1].AwaitState("mmsc-a", "down")
	l.routers[0].Await("both verdicts in r1's status", func() bool {
		v := l.status(0).Verdicts["mmsc-a"]
		return len(v) == 2 && !v["r1"].Up && !v["r2"].Up && v["r2"].Why != ""
	})
}

// A router that reaches no MMSC while the others do leaves the answers: its path is broken, not the MMSCs.
func TestBlindRouterLeavesDNS(t *testing.T) {
	gate := fake(t, "gate") // the way from r2 to the MMSC
	own := []appliance.MMSC{{Name: "mmsc-a", URL: gate.URL()}}
	l := start(t, node{}, node{mmscs: own})
	l.awaitDNS(0, 1, 2)
	for _, m := range l.status(0).Members {
		if m.Mismatch != (m.Name == "r2") {
			t.Errorf("%s: mismatch of the configuration is %t", m.Name, m.Mismatch)
		}
	}
	gate.Down()
	l.awaitDNS(0, 1)
	l.awaitDNS(1, 1)
	if code, body := l.routers[1].Get("/readyz"); code != 503 || !bytes.Contains(body, []byte("no MMSC can be reached")) {
		t.Errorf("readyz of the blind one: %d %s", code, body)
	}
	if err := gate.Up(); err != nil {
		t.Fatal(err)
	}
	l.awaitDNS(0, 1, 2)
	// if all MMSCs are down for everybody, nobody is blind
	l.a.Down()
	l.b.Down()
	gate.Down()
	l.routers[0].AwaitState("mmsc-b", "down")
	l.routers[1].AwaitState("mmsc-a", "down")
	l.awaitDNS(0, 1, 2)
	l.awaitDNS(1, 1, 2)
}

// Any router's status shows all of them.
func TestStatusOfTheWhole(t *testing.T) {
	l := start(t, node{}, node{}, node{})
	h := l.handset(1, [2]string{"X-MSISDN", "46701234567"})
	defer h.Close()
	if _, err := h.Post(t.Context(), pdu.SendReq("one", 1000), handsets.Fast); err != nil {
		t.Fatal(err)
	}
	await(t, l.a, "the message", func(k fakemmsc.Counts) bool { return k.Stored == 1 })
	for i := range l.routers {
		l.routers[i].Await("verdicts of all", func() bool { return len(l.status(i).Verdicts["mmsc-a"]) == 3 })
		st := l.status(i)
		if len(st.Members) != 3 || !st.Members[0].Self || len(st.Verdicts["mmsc-a"]) != 3 {
			t.Errorf("r%d shows %+v, %+v", i+1, st.Members, st.Verdicts)
			continue
		}
		for _, m := range st.Members {
			n := strings.TrimPrefix(m.Name, "r")
			if m.State != "alive" || !m.InDNS || m.Version != "test" || m.Mismatch || m.Fence == nil || m.Owners == nil || m.Address == "" ||
				len(m.Zones[zone]) != 1 || m.Zones[zone][0] != "192.0.2."+n {
				t.Errorf("r%d shows %+v", i+1, m)
			}
			if m.Name == "r2" && m.Fence != nil && *m.Fence != 1 {
				t.Errorf("r%d: r2's fence remembers %d", i+1, *m.Fence)
			}
			if m.Name != "r2" && (m.Kept == nil || *m.Kept != 1) { // there are only two others, so both keep it
				t.Errorf("r%d: %s keeps %v for others", i+1, m.Name, m.Kept)
			}
		}
		if code, page := l.routers[i].Get("/"); code != 200 || !bytes.Contains(page, []byte("192.0.2.3")) {
			t.Errorf("page: %d", code)
		}
	}
}

// The handset loses its connection while the MMSC still thinks, and comes back through another router: it waits there for the
// first one's answer, and hears it.
func TestResubmissionWhileTheFirstWaits(t *testing.T) {
	l := start(t, node{}, node{}, node{})
	hold := make(chan struct{})
	l.a.Behave(fakemmsc.Behaviour{Store: true, Hold: hold})
	who := [2]string{"X-MSISDN", "46701234567"}
	body := pdu.SendReq("waits", 30_000)
	first := l.handset(0, who)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		first.Post(t.Context(), body, handsets.Fast) // nobody hears this answer
	}()
	await(t, l.a, "the first post", func(k fakemmsc.Counts) bool { return k.Wholes == 1 })
	type heard struct {
		o   handsets.Outcome
		why string
	}
	second := make(chan heard, 1)
	go func() {
		h := l.handset(2, who)
		defer h.Close()
		a, err := h.Post(t.Context(), body, handsets.Fast)
		o, why := handsets.Judge("waits", a, err)
		second <- heard{o, why}
	}()
	l.routers[2].Await("a look at the other router's post", func() bool {
		return l.routers[2].Metric("mmsrouter_fence_peer_found_total", `what="progress"`) == 1
	})
	close(hold)
	if h := <-second; h.o != handsets.Accepted {
		t.Errorf("the second post: %s %s", h.o, h.why)
	}
	<-gone
	first.Close()
	if n := l.a.Counts().Stored + l.b.Counts().Stored; n != 1 {
		t.Errorf("%d messages stored", n)
	}
}
