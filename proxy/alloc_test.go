package proxy_test

import (
	"net"
	"testing"

	"github.com/mmsrouter/mmsrouter/proxy"
	"github.com/mmsrouter/mmsrouter/router"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// allocsPerMessage is what a forwarded message may allocate, fence, fate and metrics included. It is a guard: raise
// it only with a reason.
const allocsPerMessage = 7

// TestAllocationsPerMessage counts what the whole process allocates for one message; client and MMSC of this test
// allocate nothing.
func TestAllocationsPerMessage(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates on its own")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	body := pdu.SendReq("T0000000", 30_000)
	go answerAll(l, body)
	b := start(t, 0, func(_ *proxy.Config, o *proxy.Options) { oneMMSC(t, o, l.Addr().String()) })
	b.verdict("a", true)
	one := poster(t, b.addr, body, true)
	for range 20_000 { // fence and fate are bounded rings: fill them
		one()
	}
	n := testing.AllocsPerRun(5000, one)
	t.Logf("%.1f allocations a message", n)
	if n > allocsPerMessage {
		t.Errorf("%.1f allocations a message, want at most %d", n, allocsPerMessage)
	}
}

// oneMMSC makes the MMSC at an address the only one, by the name of a.
func oneMMSC(t *testing.T, o *proxy.Options, addr string) {
	t.Helper()
	o.Upstreams = []proxy.Upstream{{Name: "a", URL: "http://" + addr}}
	if err := o.Board.Configure([]router.Target{{Name: "a", Weight: 1}}, o.Board.Load().Zones, nil); err != nil {
		t.Fatal(err)
	}
}
