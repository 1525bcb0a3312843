package push_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
	"github.com/mmsrouter/mmsrouter/test/interop/mmsd"
)

// ourPPG starts our push proxy gateway, bound to an SMSC, until the test ends; it gives the carrier that pushes through it.
func ourPPG(t *testing.T, smsc string) (carrier string) {
	t.Helper()
	c := ppg.DefaultConfig()
	c.Listen = "127.0.0.1:0"
	c.SMPP.SMSCs = []sms.SMSCConfig{{Address: smsc, SystemID: "ppg", Password: "pw"}}
	c.SMPP.Reconnect = 20 * time.Millisecond
	g, err := ppg.New(ppg.Options{Config: c, DataDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("push proxy gateway: %v", err)
		}
	})
	return fmt.Sprintf("{name: bob, type: pap, pap: {url: \"http://%s/\"}}", g.Addr())
}

// TestPPG: PAP to our push proxy gateway, SMPP from there, an SMS to Bob's number; his phone fetches, stores and acknowledges.
func TestPPG(t *testing.T) {
	a := newA(t, "mms.example.net")
	b := newPhone(t, bob, func(o *handset.Options) { o.URL = a.url })
	a.start(t, ourPPG(t, b.SMPPAddr().String()))
	id := a.send(t)
	stored(t, b, id)
	a.reported(t, id, mms.Retrieved)
}

// TestPPGBetweenOperators: the same, and Bob's phone asks its own server, naming Alice's.
func TestPPGBetweenOperators(t *testing.T) {
	a := newA(t, "localhost")
	own := newB(t, a)
	b := newPhone(t, bob, func(o *handset.Options) { o.Proxy = own.url })
	a.start(t, ourPPG(t, b.SMPPAddr().String()))
	id := a.send(t)
	stored(t, b, id)
	a.reported(t, id, mms.Retrieved)
	own.relayed(t, 1, 1)
}

// TestPPGToMMSD: Bob's phone is mmsd-tng, within Alice's operator and with a server of its own.
func TestPPGToMMSD(t *testing.T) {
	t.Run("same operator", func(t *testing.T) {
		a := newA(t, "127.0.0.1")
		h, smsc, ctx := mmsdPhone(t, mmsd.Options{MMSC: a.url})
		a.start(t, ourPPG(t, smsc))
		id := a.send(t)
		received(ctx, t, h)
		a.reported(t, id, mms.Retrieved)
	})
	t.Run("between operators", func(t *testing.T) {
		a := newA(t, "localhost")
		own := newB(t, a)
		h, smsc, ctx := mmsdPhone(t, mmsd.Options{MMSC: own.url + "/", Proxy: own.MM1})
		a.start(t, ourPPG(t, smsc))
		id := a.send(t)
		received(ctx, t, h)
		a.reported(t, id, mms.Retrieved)
	})
}
