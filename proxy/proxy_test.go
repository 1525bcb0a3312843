package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/proxy"
	"github.com/mmsrouter/mmsrouter/router"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// bench is a proxy with fake MMSCs behind it, in this process.
type bench struct {
	t     testing.TB
	p     *proxy.Proxy
	board *router.Board
	mmscs []*fakemmsc.Server
	addr  string
	cfg   proxy.Config
	ups   []proxy.Upstream
	end   context.CancelFunc
	done  chan struct{}
	fails atomic.Int64 // failures that passive detection heard of
}

// start runs a proxy before n MMSCs named a, b, …; change may alter the configuration and the options.
func start(t testing.TB, n int, change func(c *proxy.Config, o *proxy.Options)) *bench {
	t.Helper()
	b := &bench{t: t, board: router.NewBoard(1), done: make(chan struct{})}
	b.cfg = proxy.DefaultConfig()
	b.cfg.Listen = []string{"127.0.0.1:0"}
	b.cfg.AccessLog.Path = "off"
	var targets []router.Target
	for i := range n {
		s, err := fakemmsc.New(fakemmsc.Options{Name: string(rune('a' + i))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		b.mmscs = append(b.mmscs, s)
		targets = append(targets, router.Target{Name: s.Name(), URL: s.URL(), Weight: 1, Tier: i})
		b.ups = append(b.ups, proxy.Upstream{Name: s.Name(), URL: s.URL()})
	}
	zone := router.Zone{Name: "mms.example.net", Addresses: []router.Address{{IP: netip.MustParseAddr("192.0.2.7")}}}
	if err := b.board.Configure(targets, []router.Zone{zone}, nil); err != nil {
		t.Fatal(err)
	}
	for _, tg := range targets {
		b.verdict(tg.Name, true)
	}
	o := proxy.Options{Config: b.cfg, Upstreams: b.ups, Board: b.board, Node: "r1", TempDir: t.TempDir(),
		Observe: func(_ string, ok bool, _ string) {
			if !ok {
				b.fails.Add(1)
			}
		}}
	if change != nil {
		change(&o.Config, &o)
	}
	b.cfg = o.Config
	p, err := proxy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	b.p = p
	b.addr = p.Addrs()[0].String()
	ctx, cancel := context.WithCancel(context.Background())
	b.end = cancel
	go func() {
		defer close(b.done)
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-b.done
	})
	return b
}

func (b *bench) verdict(name string, up bool) {
	b.board.SetVerdict(name, router.Verdict{Known: true, Up: up, Why: "test"})
}

func (b *bench) handset(header ...[2]string) *handsets.Handset {
	h := handsets.New(handsets.Options{Addr: b.addr, Header: header, Timeout: 20 * time.Second})
	b.t.Cleanup(h.Close)
	return h
}

func (b *bench) post(h *handsets.Handset, body []byte) handsets.Answer {
	b.t.Helper()
	a, err := h.Post(context.Background(), body, handsets.Fast)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// fate waits for n records: they are written behind the answer.
func (b *bench) fate(id string, n int) (f []proxy.Record) {
	b.t.Helper()
	await(b.t, fmt.Sprintf("%d records of %s", n, id), func() bool { f = b.p.Fate(id); return len(f) == n })
	return f
}

func me(n string) [2]string { return [2]string{"X-WAP-Network-Client-MSISDN", n} }

// await is for what happens in other goroutines: it looks until the deadline of the test's patience.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	until := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(2 * time.Millisecond); ; <-tick.C {
		if ok() {
			tick.Stop()
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

func TestFenceAnswersTheSamePostAgain(t *testing.T) {
	b := start(t, 2, nil)
	body := pdu.SendReq("t1", 3000)
	h := b.handset(me("+46701111111"))
	first := b.post(h, body)
	second := b.post(h, body)
	if first.PDU.MessageID == "" || second.PDU.MessageID != first.PDU.MessageID {
		t.Fatalf("message ids %q and %q: want the same", first.PDU.MessageID, second.PDU.MessageID)
	}
	if n := len(b.mmscs[0].Records()); n != 1 {
		t.Fatalf("the MMSC got %d copies", n)
	}
	b.fate("t1", 2)
	other := b.post(b.handset(me("+46702222222")), body)
	if other.PDU.MessageID == first.PDU.MessageID {
		t.Fatal("another subscriber's message was answered from the fence")
	}
	b.fate("t1", 3)
	changed := b.post(h, pdu.SendReq("t1", 3001))
	if changed.PDU.MessageID == first.PDU.MessageID {
		t.Fatal("another body was answered from the fence")
	}
	rec := b.fate("t1", 4)
	want := []string{"answered", "answered", "fenced", "answered"} // the youngest first
	for i, r := range rec {
		if r.Result != want[i] {
			t.Errorf("record %d: %s, want %s", i, r.Result, want[i])
		}
	}
}

func TestFenceForgetsTransientAnswers(t *testing.T) {
	b := start(t, 1, nil)
	b.mmscs[0].Behave(fakemmsc.Say(pdu.Transient))
	h := b.handset(me("+46701111111"))
	body := pdu.SendReq("t1", 3000)
	if a := b.post(h, body); a.PDU.Response != pdu.Transient {
		t.Fatalf("status %x, want the MMSC's transient one", a.PDU.Response)
	}
	b.mmscs[0].Behave(fakemmsc.Accept())
	if a := b.post(h, body); a.PDU.Response != pdu.Ok {
		t.Fatalf("status %x after the MMSC recovered", a.PDU.Response)
	}
}

// A phone loses coverage in the middle of its upload and posts again: the newer post wins, and the older
// attempt never becomes whole.
func TestNewerPostBreaksTheOlderUpload(t *testing.T) {
	b := start(t, 1, nil)
	body := pdu.SendReq("t1", 200_000)
	hold := make(chan struct{})
	older := make(chan error, 1)
	go func() {
		_, err := b.handset(me("+46701111111")).PostHolding(context.Background(), body, 50_000, hold)
		older <- err
	}()
	await(t, "the MMSC gets octets while the client still sends", func() bool { return b.mmscs[0].Counts().Begun == 1 })
	a := b.post(b.handset(me("+46701111111")), body)
	if a.PDU.Response != pdu.Ok {
		t.Fatalf("the newer post got %x", a.PDU.Response)
	}
	close(hold)
	if err := <-older; err == nil {
		t.Error("the older post got an answer")
	}
	if n := len(b.mmscs[0].Records()); n != 1 {
		t.Fatalf("the MMSC has %d messages", n)
	}
	b.fate("t1", 2)
}

// The first post is whole and its answer awaited: an equal twin joins it.
func TestTwinJoinsTheFirst(t *testing.T) {
	b := start(t, 1, nil)
	body := pdu.SendReq("t1", 20_000)
	hold := make(chan struct{})
	slow := fakemmsc.Accept()
	slow.Hold = hold
	b.mmscs[0].Behave(slow)
	type got struct {
		a   handsets.Answer
		err error
	}
	answers := make(chan got, 2)
	post := func() {
		a, err := b.handset(me("+46701111111")).Post(context.Background(), body, handsets.Fast)
		answers <- got{a, err}
	}
	go post()
	await(t, "the first is whole at the MMSC", func() bool { return b.mmscs[0].Counts().Wholes == 1 })
	go post()
	close(hold)
	x, y := <-answers, <-answers
	if x.err != nil || y.err != nil || x.a.PDU.MessageID != y.a.PDU.MessageID || x.a.PDU.Response != pdu.Ok {
		t.Fatalf("answers %+v and %+v", x, y)
	}
	if n := len(b.mmscs[0].Records()); n != 1 {
		t.Fatalf("the MMSC has %d messages", n)
	}
}

func TestIdentityFieldsOfStrangersAreStripped(t *testing.T) {
	for _, c := range []struct {
		name    string
		trusted []string
		want    string
	}{{"trusted", []string{"127.0.0.0/8"}, "+46701111111"}, {"stranger", []string{"192.0.2.0/24"}, ""}} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, 1, func(c0 *proxy.Config, _ *proxy.Options) {
				c0.Identity.Trusted, c0.Identity.Strip = c.trusted, []string{"X-Lab-User"}
			})
			b.post(b.handset(me("+46701111111"), [2]string{"X-Nokia-IMSI", "240010000000001"}, [2]string{"x-lab-USER", "240010000000001"}, [2]string{"X-Up_Subno", "240010000000001"}, [2]string{"X-Forwarded-For", "198.51.100.9"},
				[2]string{"Via", "1.0 wap.example.net"}, [2]string{"Via", "1.1 edge"}, [2]string{"Keep-Alive", "1"}, [2]string{"X-Hop", "x"}, [2]string{"Connection", "keep-alive, x-hop"},
				[2]string{"X-Mmsrouter-Attempt", "7"}), pdu.SendReq("t1", 100))
			r := b.mmscs[0].Requests()[0]
			if got := r.Get("X-WAP-Network-Client-MSISDN"); got != c.want {
				t.Errorf("identity %q, want %q", got, c.want)
			}
			imsi, forwarded := "", "127.0.0.1"
			if c.want != "" {
				imsi, forwarded = "240010000000001", "198.51.100.9, 127.0.0.1"
			}
			for name, want := range map[string]string{"X-Nokia-IMSI": imsi, "X-Lab-User": imsi, "X-Up_Subno": imsi, "X-Forwarded-For": forwarded, "Via": "1.0 wap.example.net, 1.1 edge, 1.1 r1",
				"Keep-Alive": "", "X-Hop": "", "X-Mmsrouter-Attempt": ""} {
				if got := strings.Join(r.All(name), "|"); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestHostDecidesWhetherItIsOurs(t *testing.T) {
	b := start(t, 1, func(c *proxy.Config, _ *proxy.Options) {
		c.Hosts = []string{"mmsc.operator.example", "alt.example:8002"}
		c.Peers = []string{"mmsc.peer.example"}
	})
	port := b.addr[strings.LastIndexByte(b.addr, ':'):]
	for _, c := range []struct {
		name, target, host string
		want               int
	}{
		{"zone", "/", "mms.example.net", 200},
		{"below the zone", "/", "a.mms.example.net", 200},
		{"zone, other case and dot", "/", "MMS.Example.net.", 200},
		{"zone with our port", "/", "mms.example.net" + port, 200},
		{"our address", "/", b.addr, 200},
		{"an address of the zone", "/", "192.0.2.7", 200},
		{"listed", "/", "mmsc.operator.example", 200},
		{"listed with port", "/", "alt.example:8002", 200},
		{"absolute form goes before Host", "http://mms.example.net/x", "nobody.example", 200},
		{"foreign", "/", "nobody.example", 403},
		{"suffix without a dot", "/", "xmms.example.net", 403},
		{"other port", "/", "mms.example.net:9001", 403},
		{"absolute form of a stranger", "http://127.0.0.1:9001/", "mms.example.net", 403},
		{"peer in Host only", "/", "mmsc.peer.example", 403},
		{"post to a peer", "http://mmsc.peer.example/", "mms.example.net", 403},
		{"user information", "http://mms.example.net@evil.example/", "mms.example.net", 400},
		{"garbage", "/", "mms.example.net:80:80", 403},
		{"empty", "/", "", 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc, err := net.Dial("tcp", b.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			body := pdu.SendReq("t"+strings.ReplaceAll(c.name, " ", "-"), 10)
			fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", c.target, c.host, len(body), body)
			got, err := io.ReadAll(nc)
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("HTTP/1.1 %d ", c.want); !strings.HasPrefix(string(got), want) && !(c.want == 403 && c.host == "" && strings.HasPrefix(string(got), "HTTP/1.1 400 ")) {
				t.Fatalf("got %.60q, want %s", got, want)
			}
		})
	}
}

func TestRelayedRetrievalKeepsThePeersName(t *testing.T) {
	b := start(t, 1, func(c *proxy.Config, _ *proxy.Options) { c.Peers = []string{"mmsc.peer.example"} })
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprint(nc, "GET http://mmsc.peer.example/m/1?x HTTP/1.1\r\nHost: mms.example.net\r\nConnection: close\r\n\r\n")
	if _, err := io.ReadAll(nc); err != nil {
		t.Fatal(err)
	}
	r := b.mmscs[0].Requests()
	if len(r) != 1 || r[0].Target != "http://mmsc.peer.example/m/1?x" {
		t.Fatalf("the MMSC saw %+v", r)
	}
}
