package proxy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/proxy"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// Two routers that take each other for an MMSC must not pass a message to and fro for ever.
func TestCircle(t *testing.T) {
	first := start(t, 1, nil)
	second := start(t, 0, func(_ *proxy.Config, o *proxy.Options) { oneMMSC(t, o, first.addr) })
	second.verdict("a", true)
	first.verdict("a", true)
	if err := first.p.Reload(first.cfg, []proxy.Upstream{{Name: "a", URL: "http://" + second.addr}}); err != nil {
		t.Fatal(err)
	}
	h := first.handset() // without a subscriber, so that the fence does not end it first
	if a := first.post(h, pdu.SendReq("round", 3000)); a.PDU.Response == pdu.Ok {
		t.Errorf("accepted by nobody: %+v", a)
	}
	turns := len(first.p.Fate("round")) + len(second.p.Fate("round"))
	if turns < 3 || turns > 18 {
		t.Errorf("it passed %d times", turns)
	}
}

// TestLongWay: what has come through a few proxies is served.
func TestLongWay(t *testing.T) {
	b := start(t, 1, nil)
	for _, c := range []struct {
		hops int
		want bool
	}{{1, true}, {12, true}, {16, true}, {17, false}, {100, false}} {
		via := strings.TrimSuffix(strings.Repeat("1.1 proxy, ", c.hops), ", ")
		a := b.post(b.handset([2]string{"Via", via}), pdu.SendReq(fmt.Sprint("hops", c.hops), 3000))
		if got := a.Status == 200 && a.PDU.Response == pdu.Ok; got != c.want || !c.want && a.Status != 508 {
			t.Errorf("%d proxies: %d %+v", c.hops, a.Status, a.PDU)
		}
	}
}
