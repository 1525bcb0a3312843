package test_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// A phone in bad coverage posts the same message again and again, over itself: the MMSC has it once, and the phone hears
// that it was accepted.
func TestTwinsAtOnce(t *testing.T) {
	p := newPair(t)
	for round := range 20 {
		tid := fmt.Sprint("twin", round)
		size := []int{1000, 30_000, 300_000}[round%3]
		body := pdu.SendReq(tid, size)
		var mu sync.Mutex
		got := map[handsets.Outcome]int{}
		var wg sync.WaitGroup
		for i, way := range []handsets.Way{handsets.Fast, handsets.Trickle(size, 10, time.Millisecond), handsets.Chunked, handsets.Fast, handsets.Trickle(size, 5, time.Millisecond), handsets.Fast} {
			wg.Go(func() {
				h := p.handset([2]string{"X-MSISDN", "46701234567"})
				defer h.Close()
				time.Sleep(time.Duration(i) * time.Millisecond) // the spread of the posts, not a wait for anything
				a, err := h.Post(t.Context(), body, way)
				o, _ := handsets.Judge(tid, a, err)
				mu.Lock()
				defer mu.Unlock()
				got[o]++
			})
		}
		wg.Wait()
		stored := 0
		for _, r := range p.a.Records() {
			if r.Transaction == tid && r.Stored {
				stored++
				if r.Digest != digest(body) {
					t.Errorf("%s: stored with other octets", tid)
				}
			}
		}
		if stored != 1 {
			t.Errorf("%s (%d octets): stored %d times", tid, size, stored)
		}
		if got[handsets.Accepted] == 0 {
			t.Errorf("%s: no post was accepted: %v", tid, got)
		}
	}
}

// The answer that got lost on its way to the phone: the second post hears it.
func TestAnswerLostOnTheWayBack(t *testing.T) {
	p := newPair(t)
	hold := make(chan struct{})
	p.a.Script(func(n int, _ *fakemmsc.Request) fakemmsc.Behaviour {
		if n == 1 {
			return fakemmsc.Behaviour{Store: true, Hold: hold}
		}
		return fakemmsc.Accept()
	})
	body := pdu.SendReq("lost", 30_000)
	who := [2]string{"X-MSISDN", "46701234567"}
	first := p.handset(who)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		first.Post(t.Context(), body, handsets.Fast) // nobody hears this answer
	}()
	await(t, p.a, "the first post", func(k fakemmsc.Counts) bool { return k.Wholes == 1 })
	second := make(chan handsets.Outcome, 1)
	go func() {
		h := p.handset(who)
		defer h.Close()
		a, err := h.Post(t.Context(), body, handsets.Fast)
		o, _ := handsets.Judge("lost", a, err)
		second <- o
	}()
	p.r.Await("the second post", func() bool { return p.r.Metric("mmsrouter_proxy_connections") == 2 })
	close(hold)
	if o := <-second; o != handsets.Accepted {
		t.Errorf("the second post: %s", o)
	}
	<-gone
	first.Close()
	if n := p.a.Counts().Stored; n != 1 {
		t.Errorf("stored %d times", n)
	}
}

// An MMSC that a reload takes away finishes what it has begun.
func TestReloadWhileUploading(t *testing.T) {
	a, b := fake(t, "mmsc-a"), fake(t, "mmsc-b")
	r := appliance.Start(t, appliance.Setup{MMSCs: []appliance.MMSC{{Name: "mmsc-a", URL: a.URL()}}})
	for _, way := range []string{"upload", "answer"} {
		hold := make(chan struct{})
		tid := "reload-" + way
		body := pdu.SendReq(tid, 300_000)
		h := handsets.New(handsets.Options{Addr: r.MM1, Timeout: 20 * time.Second})
		done := make(chan string, 1)
		before := a.Counts()
		if way == "answer" {
			a.Behave(fakemmsc.Behaviour{Store: true, Hold: hold})
		}
		go func() {
			var an handsets.Answer
			var err error
			if way == "upload" {
				an, err = h.PostHolding(t.Context(), body, 150_000, hold)
			} else {
				an, err = h.Post(t.Context(), body, handsets.Fast)
			}
			o, why := handsets.Judge(tid, an, err)
			done <- string(o) + why
		}()
		if way == "upload" {
			await(t, a, "its first octets", func(k fakemmsc.Counts) bool { return k.Begun > before.Begun })
		} else {
			await(t, a, "the whole message", func(k fakemmsc.Counts) bool { return k.Wholes > before.Wholes })
		}
		if err := r.Reload(appliance.Setup{MMSCs: []appliance.MMSC{{Name: "mmsc-b", URL: b.URL()}}}); err != nil {
			t.Fatal(err)
		}
		r.AwaitState("mmsc-b", "up")
		close(hold)
		if o := <-done; o != string(handsets.Accepted) {
			t.Errorf("under way in its %s while its MMSC was taken away: %s", way, o)
		}
		if n := a.Counts().Stored + b.Counts().Stored; n != 1+before.Stored {
			t.Errorf("%s: stored %d times", way, n-before.Stored)
		}
		submit(t, h, "next-"+way, 1000)
		if n := b.Counts().Stored; n == 0 {
			t.Error("nothing goes to the new MMSC")
		}
		h.Close()
		a.Script(nil)
		if err := r.Reload(appliance.Setup{MMSCs: []appliance.MMSC{{Name: "mmsc-a", URL: a.URL()}}}); err != nil {
			t.Fatal(err)
		}
		r.AwaitState("mmsc-a", "up")
		b.Close()
		b = fake(t, "mmsc-b")
	}
}
