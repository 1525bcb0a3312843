package proxy_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/proxy"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// heir starts a proxy that takes the listeners of another one over, and gives how connections pass to it.
func heir(t *testing.T, old *bench) (young *bench, pass proxy.Pass, passed *atomic.Int64) {
	t.Helper()
	young = start(t, 1, func(_ *proxy.Config, o *proxy.Options) {
		o.Listener = func(at string) net.Listener {
			f, err := old.p.Listeners()[at].(interface{ File() (*os.File, error) }).File()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			l, err := net.FileListener(f)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
	})
	if young.addr != old.addr {
		t.Fatalf("listens on %s, was handed %s", young.addr, old.addr)
	}
	passed = &atomic.Int64{}
	return young, func(c syscall.Conn, from netip.Addr) error {
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		var f *os.File
		var inner error
		err = raw.Control(func(fd uintptr) {
			var d int
			if d, inner = syscall.Dup(int(fd)); inner == nil {
				f = os.NewFile(uintptr(d), "passed")
			}
		})
		if err = errors.Join(err, inner); err != nil {
			return err
		}
		defer f.Close()
		nc, err := net.FileConn(f)
		if err != nil {
			return err
		}
		passed.Add(1)
		return young.p.Adopt(nc, from)
	}, passed
}

// TestConnectionsPassBetweenRequests: a kept connection that is idle goes over at once, one with a request under way when that is answered.
// Its client sees neither.
func TestConnectionsPassBetweenRequests(t *testing.T) {
	old := start(t, 1, nil)
	idle, busy := old.handset(me("1")), old.handset(me("2"))
	old.post(idle, pdu.SendReq("idle1", 3000)) // before anybody else accepts there
	old.post(busy, pdu.SendReq("busy0", 3000))
	young, pass, passed := heir(t, old)
	hold := make(chan struct{})
	answered := make(chan handsets.Answer, 1)
	go func() {
		a, err := busy.PostHolding(context.Background(), pdu.SendReq("busy1", 30_000), 10_000, hold)
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()
	await(t, "the upload under way", func() bool { return old.p.Outstanding("a") == 1 })
	left := make(chan int, 1)
	go func() { left <- old.p.HandOver(t.Context(), pass) }()
	await(t, "the idle connection at the heir", func() bool { return passed.Load() == 1 })
	if a := young.post(idle, pdu.SendReq("idle2", 3000)); a.Close {
		t.Error("the connection that passed is closed")
	}
	young.fate("idle2", 1)
	close(hold)
	if a := <-answered; a.Close || a.PDU.Response != pdu.Ok {
		t.Errorf("in flight at the old proxy: %+v, closed %v", a.PDU, a.Close)
	}
	old.fate("busy1", 1)
	if n := <-left; n != 0 {
		t.Errorf("%d clients left", n)
	}
	if young.post(busy, pdu.SendReq("busy2", 3000)); passed.Load() != 2 {
		t.Errorf("%d connections passed, want 2", passed.Load())
	}
	young.fate("busy2", 1)
	fresh := young.handset(me("3"))
	young.post(fresh, pdu.SendReq("fresh", 3000))
	young.fate("fresh", 1)
	if n := young.p.Clients(); n != 3 {
		t.Errorf("%d connections at the heir, want 3", n)
	}
}

// TestConnectionsThatCantPass are served where they are: closed with their next answer, not before.
func TestConnectionsThatCantPass(t *testing.T) {
	old := start(t, 1, nil)
	h, silent := old.handset(me("1")), old.handset(me("2"))
	old.post(h, pdu.SendReq("one", 3000))
	old.post(silent, pdu.SendReq("other", 3000))
	young, _, _ := heir(t, old)
	var refused atomic.Int64
	left := make(chan int, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		left <- old.p.HandOver(ctx, func(syscall.Conn, netip.Addr) error { refused.Add(1); return errors.New("no") })
	}()
	await(t, "the attempts to pass them", func() bool { return refused.Load() == 2 })
	if a := old.post(h, pdu.SendReq("two", 3000)); !a.Close || a.PDU.Response != pdu.Ok {
		t.Errorf("the next answer: %+v, closed %v", a.PDU, a.Close)
	}
	old.fate("two", 1)
	young.post(h, pdu.SendReq("three", 3000))
	young.fate("three", 1)
	await(t, "the end of the first connection", func() bool { return old.p.Clients() == 1 })
	cancel()
	if n := <-left; n != 1 {
		t.Errorf("%d clients left, want the silent one", n)
	}
}

// TestAdoptNothing: who does not serve takes nobody's clients, and closes what it was given.
func TestAdoptNothing(t *testing.T) {
	b := start(t, 1, nil)
	b.end()
	<-b.done
	near, far := net.Pipe()
	defer near.Close()
	if err := b.p.Adopt(far, netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Error("adopted by a proxy that has ended")
	}
	_ = near.SetReadDeadline(time.Now().Add(5 * time.Second)) // a pipe always can
	if _, err := near.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the connection is still open: %v", err)
	}
}
