package fence_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mmsrouter/mmsrouter/fence"
)

const (
	window = 10 * time.Minute
	wait   = 2 * time.Second
	size   = 1000
	digest = 0xD16E57
)

// post is one submission of a test.
type post struct {
	f      *fence.Fence
	key    string
	aborts atomic.Int32
	ended  atomic.Bool
	late   atomic.Int32 // aborts behind the end
	*fence.Ticket
	prior *fence.Prior
}

func newFence(entries int) *fence.Fence {
	return fence.New(fence.Options{Window: window, Entries: entries})
}

func (p *post) abort() {
	p.aborts.Add(1)
	if p.ended.Load() {
		p.late.Add(1)
	}
}

// enter posts under key.
func enter(f *fence.Fence, key string) *post {
	p := &post{f: f, key: key}
	p.Ticket, p.prior = f.Enter(key, time.Now(), wait, p.abort)
	return p
}

// after enters a post in the background; what it gets comes when it has got it.
func after(f *fence.Fence, key string) <-chan *post {
	c := make(chan *post, 1)
	go func() { c <- enter(f, key) }()
	synctest.Wait()
	return c
}

func (p *post) drop() { p.Ticket.Drop(); p.ended.Store(true) }

func (p *post) answer(s string) { p.Ticket.Answer([]byte(s)); p.ended.Store(true) }

func (p *post) mustStream(t *testing.T, who string) {
	t.Helper()
	if p.Ticket == nil || p.prior != nil || p.Ticket.Taken() {
		t.Fatalf("%s: ticket %v prior %v, want a ticket of its own", who, p.Ticket, p.prior)
	}
}

func (p *post) mustCompare(t *testing.T, who string) {
	t.Helper()
	if p.prior == nil || p.Ticket != nil {
		t.Fatalf("%s: ticket %v prior %v, want a prior", who, p.Ticket, p.prior)
	}
}

func pending(t *testing.T, c <-chan *post, who string) {
	t.Helper()
	synctest.Wait()
	select {
	case p := <-c:
		t.Fatalf("%s: did not wait: ticket %v prior %v", who, p.Ticket, p.prior)
	default:
	}
}

func TestKey(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range [][2]string{{"a", "bc"}, {"ab", "c"}, {"", "abc"}, {"abc", ""}, {"a\x00b", "c"}} {
		seen[fence.Key(k[0], []byte(k[1]))] = true
	}
	if len(seen) != 5 {
		t.Fatalf("5 submissions have %d keys", len(seen))
	}
}

func TestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFence(1000)
		a := enter(f, "k")
		a.mustStream(t, "the first")
		enter(f, "other").mustStream(t, "another transaction")
		if !a.Whole(size, digest) || !a.Whole(size, digest) || a.Taken() {
			t.Fatal("nobody has taken over")
		}
		a.answer("ok")
		a.Drop() // after Answer it does nothing
		b := enter(f, "k")
		b.mustCompare(t, "the second")
		for _, c := range []struct {
			name   string
			length int64
			digest uint64
			want   string
		}{{"the same", size, digest, "ok"}, {"another length", size + 1, digest, ""}, {"another digest", size, digest + 1, ""}} {
			begun := time.Now()
			if got := b.prior.Answer(wait, c.length, c.digest); string(got) != c.want || time.Since(begun) != 0 {
				t.Errorf("%s: %q after %s, want %q at once", c.name, got, time.Since(begun), c.want)
			}
		}
		if f.Len() != 2 || a.aborts.Load() != 0 {
			t.Fatalf("%d entries, %d aborts", f.Len(), a.aborts.Load())
		}
	})
}

// TestNewerWins is the phone that lost coverage in its upload and posts again.
func TestNewerWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFence(1000)
		a := enter(f, "k")
		b := after(f, "k")
		pending(t, b, "the newer")
		if a.aborts.Load() != 1 || !a.Taken() {
			t.Fatalf("the older was aborted %d times, taken %v", a.aborts.Load(), a.Taken())
		}
		if a.Whole(size, digest) {
			t.Fatal("the older may become whole behind its abort")
		}
		a.drop()
		n := <-b
		n.mustStream(t, "the newer")
		if !n.Whole(size, digest) {
			t.Fatal("the newer may not become whole")
		}
		n.answer("ok")
		if f.Len() != 1 || a.late.Load() != 0 {
			t.Fatalf("%d entries, %d aborts behind the end", f.Len(), a.late.Load())
		}
	})
}

// TestAnsweredWhileAborted is the MMSC that answers the older before its end, just when the newer comes.
func TestAnsweredWhileAborted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFence(1000)
		a := enter(f, "k")
		b := after(f, "k")
		a.answer("too large")
		n := <-b
		n.mustCompare(t, "the newer")
		if got := n.prior.Answer(wait, size, digest); got != nil {
			t.Fatalf("%q is the answer to an upload whose whole nobody knows", got)
		}
		n.Ticket, n.prior = n.prior.Next(time.Now(), wait, n.abort)
		n.mustStream(t, "the newer, compared")
	})
}

func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFence(1000)
		a := enter(f, "k")
		a.Whole(size, digest)
		got := make(chan string, 3)
		for range 3 {
			b := enter(f, "k")
			b.mustCompare(t, "a twin")
			go func() { got <- string(b.prior.Answer(time.Minute, size, digest)) }()
		}
		late := enter(f, "k")
		if s := late.prior.Answer(wait, size, digest); s != nil {
			t.Fatalf("%q before there is an answer", s)
		}
		differs := enter(f, "k")
		if begun := time.Now(); differs.prior.Answer(time.Minute, size, digest+1) != nil || time.Since(begun) != 0 {
			t.Fatalf("one that differs waited for %s", time.Since(begun))
		}
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("twins did not wait")
		}
		a.answer("ok")
		for range 3 {
			if s := <-got; s != "ok" {
				t.Fatalf("a twin got %q", s)
			}
		}
		if a.aborts.Load() != 0 {
			t.Fatal("a whole upload was aborted")
		}
		if s := late.prior.Answer(0, size, digest); string(s) != "ok" {
			t.Fatalf("%q: what is there needs no time", s)
		}
	})
}

// TestDiffers is the phone that uses a transaction id twice for different messages.
func TestDiffers(t *testing.T) {
	for _, way := range []string{"Next", "Replace"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFence(1000)
				a := enter(f, "k")
				a.Whole(size, digest)
				b := enter(f, "k")
				if b.prior.Answer(wait, 5, 5) != nil {
					t.Fatal("another body has the same answer")
				}
				if way == "Next" {
					b.Ticket, b.prior = b.prior.Next(time.Now(), wait, b.abort)
				} else {
					b.Ticket, b.prior = f.Replace("k", time.Now(), b.abort), nil
				}
				b.mustStream(t, "the other message")
				if !b.Whole(5, 5) {
					t.Fatal("the other message may not become whole")
				}
				a.drop() // must not end what stands in its place
				b.answer("ok b")
				c := enter(f, "k")
				c.mustCompare(t, "a twin of the other message")
				if s := c.prior.Answer(wait, 5, 5); string(s) != "ok b" {
					t.Fatalf("it got %q", s)
				}
				if s := c.prior.Answer(wait, size, digest); s != nil {
					t.Fatalf("a twin of the first got %q", s)
				}
			})
		})
	}
}

// TestTransient holds that a transient answer is not kept: the next post is a new try, but of twins that waited only
// one goes on.
func TestTransient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFence(1000)
		a := enter(f, "k")
		a.Whole(size, digest)
		b, c := enter(f, "k"), enter(f, "k")
		done := make(chan []byte, 2)
		for _, p := range []*post{b, c} {
			go func() { done <- p.prior.Answer(time.Minute, size, digest) }()
		}
		synctest.Wait()
		a.drop()
		if x, y := <-done, <-done; x != nil || y != nil {
			t.Fatalf("twins of a failed one got %q and %q", x, y)
		}
		if f.Len() != 0 {
			t.Fatalf("%d entries", f.Len())
		}
		b.Ticket, b.prior = b.prior.Next(time.Now(), wait, b.abort)
		b.mustStream(t, "the first twin")
		if !b.Whole(size, digest) {
			t.Fatal("it may not become whole")
		}
		c.Ticket, c.prior = c.prior.Next(time.Now(), wait, c.abort)
		c.mustCompare(t, "the second twin")
		go b.answer("ok")
		if s := c.prior.Answer(wait, size, digest); string(s) != "ok" {
			t.Fatalf("the second twin got %q", s)
		}
		enter(f, "fresh").mustStream(t, "another")
	})
}
