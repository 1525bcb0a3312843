package push_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/test/interop/kannel"
)

// wdpBlock is the loopback net on which Kannel's wapbox listens for WAP: no other test uses it.
const wdpBlock = 91

// kannelPPG starts Kannel as a push proxy gateway, bound to an SMSC, until the test ends; it gives the carrier that pushes through
// it. It skips where Kannel is not here.
func kannelPPG(t *testing.T, smsc string) (carrier string) {
	t.Helper()
	if _, _, err := kannel.Programs(); err != nil {
		t.Skip(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	wdp, err := kannel.FreeAddress(wdpBlock)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	lab, err := kannel.Start(ctx, kannel.Options{Dir: t.TempDir(), Address: wdp, Push: &kannel.Push{SMSC: smsc, User: "mmsc", Password: "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(lab.Logs())
		}
	})
	return fmt.Sprintf("{name: bob, type: pap, pap: {url: %q, user: mmsc, password: secret}}", lab.PAP)
}

// TestKannelPPG: the notification goes by PAP to Kannel's push proxy gateway, from there by SMPP to Bob's number.
func TestKannelPPG(t *testing.T) {
	a := newA(t, "mms.example.net")
	b := newPhone(t, bob, func(o *handset.Options) { o.URL = a.url })
	a.start(t, kannelPPG(t, b.SMPPAddr().String()))
	id := a.send(t)
	stored(t, b, id)
	a.reported(t, id, mms.Retrieved)
}

// TestKannelPPGBetweenOperators: the same, and Bob's phone asks its own server.
func TestKannelPPGBetweenOperators(t *testing.T) {
	a := newA(t, "localhost")
	own := newB(t, a)
	b := newPhone(t, bob, func(o *handset.Options) { o.Proxy, o.URL = own.url, own.url+"/" })
	a.start(t, kannelPPG(t, b.SMPPAddr().String()))
	id := a.send(t)
	stored(t, b, id)
	a.reported(t, id, mms.Retrieved)
	own.relayed(t, 1, 1)
}
