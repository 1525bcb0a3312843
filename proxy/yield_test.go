package proxy_test

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// An address that is about to move is emptied: who is there finishes and is told to close, an upload that takes long is waited for,
// newcomers are served meanwhile and then kept waiting, and all are served again when it stays after all.
func TestYield(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("newcomers are kept waiting on Linux only")
	}
	b := start(t, 1, nil)
	here := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	kept, long := b.handset(me("1")), b.handset(me("2"))
	if a := b.post(kept, pdu.SendReq("before", 1000)); a.Close {
		t.Error("closed without a reason")
	}
	hold := make(chan struct{})
	uploaded := make(chan handsets.Answer, 1)
	go func() {
		a, err := long.PostHolding(t.Context(), pdu.SendReq("long", 30_000), 20_000, hold)
		if err != nil {
			t.Error(err)
		}
		uploaded <- a
	}()
	await(t, "the upload under way", func() bool { return b.mmscs[0].Counts().Heads >= 2 })

	left := make(chan int, 1)
	go func() { left <- b.p.Yield(t.Context(), here) }()
	await(t, "a connection that is told to close", func() bool {
		h := b.handset(me("3"))
		defer h.Close()
		return b.post(h, pdu.SendReq("meanwhile", 1000)).Close
	})
	if a := b.post(kept, pdu.SendReq("kept", 1000)); !a.Close {
		t.Error("a kept-alive connection is not told to close")
	}
	select {
	case n := <-left:
		t.Fatalf("it did not wait for the upload; %d left", n)
	case <-time.After(50 * time.Millisecond):
	}
	close(hold)
	if a := <-uploaded; !a.IsPDU || a.PDU.Response != pdu.Ok {
		t.Errorf("the upload: %+v", a)
	}
	if n := <-left; n != 0 {
		t.Errorf("%d connections are left", n)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", b.addr); err == nil {
		nc.Close()
		t.Error("a newcomer was answered")
	}
	b.p.Stay()
	if a := b.post(b.handset(me("4")), pdu.SendReq("after", 1000)); a.Close {
		t.Error("told to close although the address stays")
	}
}

// What does not end is cut by the bound: Yield says how many connections the move will break.
func TestYieldIsBounded(t *testing.T) {
	b := start(t, 1, nil)
	b.mmscs[0].Behave(fakemmsc.Behaviour{Store: true, Hold: make(chan struct{})})
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, _ = b.handset(me("1")).Post(ctx, pdu.SendReq("stuck", 1000), handsets.Fast) // it has no answer
	}()
	await(t, "a message under way", func() bool { return b.mmscs[0].Counts().Wholes == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if n := b.p.Yield(ctx, []netip.Addr{netip.MustParseAddr("127.0.0.1")}); n != 1 {
		t.Errorf("%d left, want 1", n)
	}
	if n := b.p.Yield(t.Context(), []netip.Addr{netip.MustParseAddr("127.0.0.2")}); n != 0 {
		t.Errorf("%d left at an address where nobody is", n)
	}
	b.p.Stay()
	<-done
}
