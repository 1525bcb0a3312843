package push_test

import (
	"context"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/test/interop/mmsd"
)

// mmsdPhone starts mmsd-tng as Bob's phone, with an SMSC in front of it whose address it gives; it skips where mmsd-tng is not here.
func mmsdPhone(t *testing.T, o mmsd.Options) (h *mmsd.Handset, smsc string, ctx context.Context) {
	t.Helper()
	o.Number = bob
	h, ctx = mmsd.Run(t, o)
	return h, h.RunSMSC(ctx, t), ctx
}

// received waits until mmsd-tng has Alice's message.
func received(ctx context.Context, t *testing.T, h *mmsd.Handset) {
	t.Helper()
	m, err := h.Await(ctx, "Alice's message", func(m mmsd.Message) bool { return m.Status == "received" })
	if err != nil {
		t.Fatal(err)
	}
	if m.Sender != alice || m.Subject != "Hello" || len(m.Attachments) != 2 {
		t.Fatalf("received %+v", m)
	}
	for i, want := range []string{"Hello, Bob", string(picture)} {
		if got, err := m.Attachments[i].Data(); err != nil || string(got) != want {
			t.Errorf("part %d: %d octets, %v", i+1, len(got), err)
		}
	}
}

// TestMMSD: Bob's phone is mmsd-tng; it is notified by SMPP, fetches from the server and acknowledges.
func TestMMSD(t *testing.T) {
	a := newA(t, "127.0.0.1")
	h, smsc, ctx := mmsdPhone(t, mmsd.Options{MMSC: a.url})
	a.start(t, smpp("bob", smsc))
	id := a.send(t)
	received(ctx, t, h)
	a.reported(t, id, mms.Retrieved)
}

// TestMMSDThroughTheOwnServer: its MMS proxy is its own server, and Alice's notifies it by Kannel's push proxy gateway.
func TestMMSDThroughTheOwnServer(t *testing.T) {
	a := newA(t, "localhost")
	own := newB(t, a)
	h, smsc, ctx := mmsdPhone(t, mmsd.Options{MMSC: own.url + "/", Proxy: own.MM1})
	a.start(t, kannelPPG(t, smsc))
	id := a.send(t)
	received(ctx, t, h)
	a.reported(t, id, mms.Retrieved)
	own.relayed(t, 1, 1)
}
