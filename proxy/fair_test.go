package proxy_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/mmsrouter/mmsrouter/proxy"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// One subscriber behind a gateway must not take the places of all others: beyond his share he is told to come later, and nobody else
// notices.
func TestShareOfASubscriber(t *testing.T) {
	const most = 3
	for _, c := range []struct {
		name    string
		headers [][2]string // of who takes much
		trusted string
		limited bool
	}{
		{"a subscriber", [][2]string{me("+46701111111")}, "127.0.0.0/8", true},
		{"whoever the gateway does not know", [][2]string{me("unknown")}, "127.0.0.0/8", false},
		{"a stranger with somebody's number", [][2]string{me("+46701111111")}, "192.0.2.0/24", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, 1, func(cfg *proxy.Config, _ *proxy.Options) {
				cfg.Limits.PerSubscriber, cfg.Identity.Trusted = most, []string{c.trusted}
			})
			free := make(chan struct{})
			b.mmscs[0].Script(func(n int, _ *fakemmsc.Request) fakemmsc.Behaviour {
				if n <= most {
					return fakemmsc.Behaviour{Store: true, Hold: free}
				}
				return fakemmsc.Accept()
			})
			b.mmscs[0].Put("/m/1", pdu.RetrieveConf("r1", "m1@a", 500))
			post := func(tid string, headers ...[2]string) handsets.Answer {
				a, err := b.handset(headers...).Post(context.Background(), pdu.SendReq(tid, 2000), handsets.Fast)
				if err != nil {
					t.Errorf("%s: %v", tid, err)
				}
				return a
			}
			var held sync.WaitGroup
			for i := range most {
				held.Go(func() {
					if a := post(fmt.Sprint("h", i), c.headers...); a.PDU.Response != pdu.Ok {
						t.Errorf("one of those that he may have: %+v", a.PDU)
					}
				})
			}
			await(t, "the share is taken", func() bool { return b.mmscs[0].Counts().Wholes == most })
			want, status := byte(pdu.Ok), 200
			if c.limited {
				want, status = 0xC0, 503
			}
			if a := post("more", c.headers...); a.PDU.Response != want {
				t.Errorf("one more: %d %+v", a.Status, a.PDU)
			}
			if a, err := b.handset(c.headers...).Fetch(context.Background(), "/m/1"); err != nil || a.Status != status {
				t.Errorf("a retrieval: %d, %v", a.Status, err)
			}
			if a := post("other", me("+46702222222")); a.PDU.Response != pdu.Ok {
				t.Errorf("another subscriber: %+v", a.PDU)
			}
			close(free)
			held.Wait()
			if a := post("again", c.headers...); a.PDU.Response != pdu.Ok {
				t.Errorf("with room again: %+v", a.PDU)
			}
		})
	}
}

// Uploads must not fill the disk, on which others keep messages: what does not fit is refused for now.
func TestUploadsInFilesAreBounded(t *testing.T) {
	b := start(t, 1, func(c *proxy.Config, _ *proxy.Options) {
		c.Replay = proxy.ReplayConfig{Files: 100 << 10}
	})
	h := b.handset()
	for i, c := range []struct {
		size int
		want byte
	}{{150_000, pdu.Ok}, {300_000, 0xC0}} {
		if a := b.post(h, pdu.SendReq(fmt.Sprint("t", i), c.size)); a.PDU.Response != c.want {
			t.Errorf("%d octets: %d %+v, want %x", c.size, a.Status, a.PDU, c.want)
		}
	}
	tries := 0 // the refused one gives its part back behind its answer
	await(t, "room again", func() bool {
		tries++
		return b.post(h, pdu.SendReq(fmt.Sprint("again", tries), 160_000)).PDU.Response == pdu.Ok
	})
	if f := b.fate("t1", 1); f[0].Result != "refused" {
		t.Errorf("fate %+v", f)
	}
}
