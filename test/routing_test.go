package test_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// An MMSC that sends more than its answer must not have the rest taken for the answer to somebody else's message.
func TestAnswersThatBleed(t *testing.T) {
	stranger := pdu.SendConf("stranger", pdu.Ok, "9@x")
	more := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", pdu.ContentType, len(stranger), stranger)
	for _, c := range []struct {
		name string
		rest string
	}{
		{"a second answer", more}, {"garbage", "garbage"}, {"an empty line", "\r\n"}, {"one octet", "x"}, {"the head of another", "HTTP/1.1 200 OK\r\nContent-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t)
			p.a.Behave(fakemmsc.Behaviour{Store: true, Answer: func(r *fakemmsc.Request) fakemmsc.Reply {
				conf := pdu.SendConf(r.PDU.Transaction, pdu.Ok, "1@x")
				// everything in the length of the body but the rest; the connection stays open on the MMSC's side
				return fakemmsc.Reply{Status: 200, Type: pdu.ContentType, Announce: len(conf), Body: append(conf, c.rest...)}
			}})
			l := handsets.Run(t.Context(), handsets.Plan{Handset: handsets.Options{Addr: p.r.MM1, Timeout: 20 * time.Second}, Handsets: 3, Messages: 60,
				Sizes: []int{1000, 30_000}, Prefix: "b"})
			bal := l.Balance(p.a.Records(), p.b.Records())
			if bal.Accepted != 60 || bal.Faults() != "" {
				t.Errorf("balance: %v", bal)
			}
			if n := p.r.Metric("mmsrouter_proxy_ambiguous_retries_total"); float64(bal.Copies) > n {
				t.Errorf("%d copies, %v ambiguous retries counted", bal.Copies, n)
			}
		})
	}
}

// Rules on numbers, PDU and path; tiers; weight 0.
func TestRules(t *testing.T) {
	names := []string{"mmsc-a", "mmsc-b", "mmsc-c"}
	m := map[string]*fakemmsc.Server{}
	var list []appliance.MMSC
	for i, n := range names {
		m[n] = fake(t, n)
		list = append(list, appliance.MMSC{Name: n, URL: m[n].URL(), Tier: map[int]int{2: 1}[i]})
	}
	r := appliance.Start(t, appliance.Setup{MMSCs: list, Top: []string{
		"routing:", "  rules:",
		`    - {name: to-a, recipient: ["+4670000"], path: "^/special$", to: [mmsc-a]}`,
		`    - {name: from-b, sender: ["+4799"], to: [mmsc-b]}`,
		`    - {name: forwards, pdu: [m-forward-req], to: [mmsc-c]}`}})
	count := func() map[string]int {
		c := map[string]int{}
		for n, s := range m {
			c[n] = s.Counts().Stored
		}
		return c
	}
	for _, c := range []struct {
		name, path, from string
		want             map[string]int // of 10 messages
	}{
		{"by recipient and path", "/special", "", map[string]int{"mmsc-a": 10}},
		{"by sender", "/", "+4799123456/TYPE=PLMN", map[string]int{"mmsc-b": 10}},
		{"no rule: the first tier in turn", "/", "", map[string]int{"mmsc-a": 5, "mmsc-b": 5}},
	} {
		before := count()
		h := handsets.New(handsets.Options{Addr: r.MM1, Timeout: 20 * time.Second, Path: c.path})
		for i := range 10 {
			tid := fmt.Sprint(c.name[:4], i)
			a, err := h.Post(t.Context(), pdu.SendReqFrom(tid, c.from, 1000), handsets.Fast)
			if o, why := handsets.Judge(tid, a, err); o != handsets.Accepted {
				t.Errorf("%s: %s %s", c.name, o, why)
			}
		}
		h.Close()
		for n, k := range count() {
			if k-before[n] != c.want[n] {
				t.Errorf("%s: %s got %d of 10, want %d", c.name, n, k-before[n], c.want[n])
			}
		}
	}
	m["mmsc-a"].Down()
	m["mmsc-b"].Down()
	r.AwaitState("mmsc-a", "down")
	r.AwaitState("mmsc-b", "down")
	h := handsets.New(handsets.Options{Addr: r.MM1, Timeout: 20 * time.Second})
	defer h.Close()
	before := count()
	for i := range 5 {
		submit(t, h, fmt.Sprint("backup", i), 1000)
	}
	if n := count()["mmsc-c"] - before["mmsc-c"]; n != 5 {
		t.Errorf("the backup got %d of 5", n)
	}
	// a rule that names only MMSCs that are down is no way to another one
	sp := handsets.New(handsets.Options{Addr: r.MM1, Timeout: 20 * time.Second, Path: "/special"})
	defer sp.Close()
	a, err := sp.Post(t.Context(), pdu.SendReq("nowhere", 1000), handsets.Fast)
	if o, why := handsets.Judge("nowhere", a, err); o != handsets.Transient {
		t.Errorf("%s %s", o, why)
	}
}

// Limits on connections say no to the surplus and nothing to the others; thousands of idle ones cost little.
func TestConnectionLimit(t *testing.T) {
	p := newPair(t, "limits: {connections: 20}")
	var idle []net.Conn
	defer func() {
		for _, c := range idle {
			c.Close()
		}
	}()
	served := p.handset()
	defer served.Close()
	submit(t, served, "first", 1000)
	for range 19 {
		c, err := net.Dial("tcp", p.r.MM1)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	p.r.Await("twenty connections", func() bool { return p.r.Metric("mmsrouter_proxy_connections") == 20 })
	c, err := net.Dial("tcp", p.r.MM1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if b, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") || bytes.HasPrefix(b, []byte("HTTP/1.1 2")) {
		t.Errorf("the 21st connection: %q, %v; want its end", b, err)
	}
	submit(t, served, "still", 1000)
	idle[0].Close()
	p.r.Await("room for another", func() bool { return p.r.Metric("mmsrouter_proxy_connections") < 20 })
	again := p.handset()
	defer again.Close()
	submit(t, again, "again", 1000)
}

// Messages of many clients in every way at once, MMSCs that misbehave at random: whatever happens, messages in = messages out.
func TestEverythingAtOnce(t *testing.T) {
	p := equals(t, appliance.Setup{MM1: []string{"ambiguous_wait: 50ms", "timeouts: {connect: 10s}"},
		Detection: []string{"probe: {type: tcp, interval: 1m, timeout: 10s, rise: 1, fall: 3}", "slow_start: 0s", "passive: {enabled: false}"}})
	mischief := []fakemmsc.Behaviour{
		fakemmsc.Accept(), fakemmsc.Die(fakemmsc.RST, 700), fakemmsc.Accept(), fakemmsc.StoreAndDie(fakemmsc.RST), fakemmsc.Accept(), fakemmsc.Say(pdu.Transient),
		fakemmsc.Accept(), fakemmsc.Refuse(503), fakemmsc.Accept(), fakemmsc.SwallowAndDie(fakemmsc.FIN), fakemmsc.Accept(), fakemmsc.CutAnswer(fakemmsc.FIN, 60),
		fakemmsc.Accept(), {Store: true, HangUp: true}, fakemmsc.Accept(), {Answer: fakemmsc.HTML()}, {Store: true, Answer: fakemmsc.Chunked()}, fakemmsc.Refuse(500),
	}
	p.a.Script(func(n int, _ *fakemmsc.Request) fakemmsc.Behaviour { return mischief[(n*7)%len(mischief)] })
	p.b.Script(func(n int, _ *fakemmsc.Request) fakemmsc.Behaviour { return mischief[(n*5+3)%len(mischief)] })
	var mu sync.Mutex
	var ledgers []*handsets.Ledger
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			l := handsets.Run(t.Context(), handsets.Plan{Handset: handsets.Options{Addr: p.r.MM1, Timeout: 60 * time.Second, Header: [][2]string{{"X-MSISDN", fmt.Sprint("4670123450", g)}}},
				Handsets: 8, Messages: 200, Prefix: fmt.Sprint("g", g, "-"), Sizes: []int{500, 3000, 30_000, 100_000},
				Ways: []handsets.Way{handsets.Fast, handsets.Chunked, handsets.Trickle(30_000, 8, time.Millisecond), {Name: "expect", Expect: true}, {Name: "one-shot", OneShot: true}}})
			mu.Lock()
			defer mu.Unlock()
			ledgers = append(ledgers, l)
		})
	}
	wg.Wait()
	retries := p.r.Metric("mmsrouter_proxy_ambiguous_retries_total")
	var all handsets.Ledger
	for _, l := range ledgers {
		all.Join(l)
	}
	bal := all.Balance(p.a.Records(), p.b.Records())
	t.Logf("%v; %v ambiguous retries", bal, retries)
	if bal.Sent != 800 || bal.Faults() != "" {
		t.Errorf("balance: %v", bal)
	}
	if float64(bal.Copies) > retries {
		t.Errorf("%d copies, %v ambiguous retries counted", bal.Copies, retries)
	}
	if bal.Failed > 0 || bal.Refused > 0 {
		t.Errorf("failures that no phone retries: %v", bal)
	}
	if n := p.r.Metric("mmsrouter_proxy_messages_total"); n != 800 {
		t.Errorf("messages_total counts %v of 800", n)
	}
}
