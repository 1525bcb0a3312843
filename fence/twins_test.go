package fence_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestOlderTwinGivesWay is Next by the older of two twins, when the newer one is at it already.
func TestOlderTwinGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFence(1000)
		a := enter(f, "k")
		a.Whole(size, digest)
		b, c := enter(f, "k"), enter(f, "k")
		a.drop()
		c.Ticket, c.prior = c.prior.Next(time.Now(), wait, c.abort)
		c.mustStream(t, "the newer twin")
		b.Ticket, b.prior = b.prior.Next(time.Now(), wait, b.abort)
		if b.Ticket == nil || !b.Taken() || b.aborts.Load() != 1 || b.Whole(size, digest) {
			t.Fatalf("the older twin goes on: ticket %v, %d aborts", b.Ticket, b.aborts.Load())
		}
		b.drop()
		if c.aborts.Load() != 0 || !c.Whole(size, digest) {
			t.Fatal("the older twin has broken the newer one")
		}
	})
}

// TestNewestWins has three posts at once: whoever wakes first, the newest goes on and the middle one gives way.
func TestNewestWins(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			f := newFence(1000)
			a := enter(f, "k")
			b := after(f, "k")
			c := after(f, "k")
			a.drop()
			// The middle one may have got its ticket first, and lose it then.
			var middle *post
			for newest := false; !newest; {
				select {
				case middle = <-b:
					b = nil
					synctest.Wait()
					if !middle.Taken() || middle.Whole(size, digest) || middle.aborts.Load() == 0 {
						t.Fatal("the middle one goes on")
					}
					middle.drop()
				case n := <-c:
					n.mustStream(t, "the newest")
					newest = true
					if b != nil {
						middle = <-b
						if !middle.Taken() || middle.aborts.Load() == 0 {
							t.Fatal("the middle one goes on beside the newest")
						}
						middle.drop()
					}
					if n.aborts.Load() != 0 || !n.Whole(size, digest) {
						t.Fatal("the newest was broken by the middle one")
					}
				}
			}
		})
	}
}

// TestStuck is an older upload that does not mind its abort: both run, but only the newer one may become whole.
func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFence(1000)
		a := enter(f, "k")
		begun := time.Now()
		b := enter(f, "k")
		b.mustStream(t, "the newer")
		if took := time.Since(begun); took != wait {
			t.Fatalf("it waited for %s, want %s", took, wait)
		}
		if a.Whole(size, digest) || !b.Whole(size, digest) {
			t.Fatal("not only the newer became whole")
		}
		a.drop()
		enter(f, "k").mustCompare(t, "a third")
	})
}

func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFence(1000)
		a := enter(f, "k")
		time.Sleep(window * 2) // a slow upload; its answer is kept as long as any
		a.Whole(size, digest)
		enter(f, "k").mustCompare(t, "while the answer is awaited")
		time.Sleep(window * 2)
		enter(f, "k").mustCompare(t, "while the answer is awaited still")
		a.answer("ok")
		time.Sleep(window)
		b := enter(f, "k")
		b.mustCompare(t, "at the end of the window")
		time.Sleep(1)
		enter(f, "k").mustStream(t, "behind the window")
		if s := b.prior.Answer(0, size, digest); string(s) != "ok" {
			t.Fatalf("who found it in time gets %q", s)
		}
	})
}

// TestBounded holds the number of entries, and that one pushed out still serves those who wait for it.
func TestBounded(t *testing.T) {
	for _, c := range []struct{ entries, most int }{{0, 64}, {1, 64}, {64, 64}, {640, 640}} {
		t.Run(fmt.Sprint(c.entries), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFence(c.entries)
				first := enter(f, "first")
				first.Whole(size, digest)
				twin := enter(f, "first")
				uploading := enter(f, "uploading")
				newer := after(f, "uploading")
				pushed := 0
				for i := range 3 * c.most {
					p := enter(f, fmt.Sprint(i))
					p.mustStream(t, "one of many")
					p.Whole(size, digest)
					if n := f.Len(); n > c.most {
						t.Fatalf("%d entries, %d is the most", n, c.most)
					}
					enter(f, fmt.Sprint(i)).mustCompare(t, "the newest is kept")
					if i%2 == 0 {
						p.drop()
					} else {
						p.answer("ok")
						pushed++
					}
				}
				if n := f.Len(); n > min(c.most, pushed+2) {
					t.Fatalf("%d entries are left", n)
				}
				uploading.drop()
				(<-newer).mustStream(t, "who waited for one that was pushed out")
				go first.answer("ok")
				if s := twin.prior.Answer(wait, size, digest); string(s) != "ok" {
					t.Fatalf("the twin of one that was pushed out got %q", s)
				}
			})
		})
	}
}

// TestExactlyOnce plays phones that post one message again and again over MMSCs that often fail: of the posts of one
// transaction at most one is whole at a time, at most one gets a final answer of its own, and the others that end with
// an answer got that one. Nobody is aborted behind its end and no waiter is left.
func TestExactlyOnce(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			f := newFence(10000)
			var wg sync.WaitGroup
			for k := range 5 {
				key := fmt.Sprint(k)
				var whole, final, joined atomic.Int32
				for n := range 8 {
					begin, upload, work := time.Duration(rnd.IntN(30))*time.Second, time.Duration(rnd.IntN(8))*time.Second, time.Duration(rnd.IntN(10))*time.Second
					fails := rnd.IntN(3) > 0
					wg.Go(func() {
						time.Sleep(begin)
						broken := make(chan struct{}, 100)
						p := &post{f: f, key: key}
						stop := func() { p.abort(); broken <- struct{}{} }
						p.Ticket, p.prior = f.Enter(key, time.Now(), wait, stop)
						uploaded := false
						for p.prior != nil {
							if !uploaded {
								time.Sleep(upload)
								uploaded = true
							}
							if s := p.prior.Answer(time.Hour, size, digest); s != nil {
								if string(s) != "ok "+key {
									t.Errorf("%s got the answer %q", key, s)
								}
								joined.Add(1)
								return
							}
							p.Ticket, p.prior = p.prior.Next(time.Now(), wait, stop)
						}
						if !uploaded {
							timer := time.NewTimer(upload)
							select {
							case <-timer.C:
							case <-broken:
								timer.Stop()
							}
						}
						if !p.Whole(size, digest) {
							p.drop()
							return
						}
						if whole.Add(1) > 1 {
							t.Errorf("post %d of %s becomes whole beside another", n, key)
						}
						time.Sleep(work)
						whole.Add(-1)
						if fails {
							p.drop()
						} else {
							final.Add(1)
							p.answer("ok " + key)
						}
						time.Sleep(time.Second)
						if p.late.Load() > 0 {
							t.Errorf("post %d of %s was aborted behind its end", n, key)
						}
					})
				}
				defer func() {
					if final.Load() > 1 || joined.Load() > 0 && final.Load() == 0 {
						t.Errorf("%d final answers for %s, %d joined", final.Load(), key, joined.Load())
					}
				}()
			}
			wg.Wait()
		})
	}
}

// TestEndWaitsForAbort holds that a ticket does not end while its abort is under way: it would hit what comes next on the
// same connection.
func TestEndWaitsForAbort(t *testing.T) {
	for _, way := range []string{"Answer", "Drop"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFence(1000)
				release := make(chan struct{})
				a, _ := f.Enter("k", time.Now(), wait, func() { <-release })
				b := after(f, "k")
				ended := make(chan struct{})
				go func() {
					if way == "Answer" {
						a.Answer([]byte("ok"))
					} else {
						a.Drop()
					}
					close(ended)
				}()
				synctest.Wait()
				select {
				case <-ended:
					t.Fatal("it ended while its abort was under way")
				default:
				}
				close(release)
				<-ended
				if n := <-b; (n.prior != nil) != (way == "Answer") {
					t.Fatalf("the newer one has ticket %v, prior %v", n.Ticket, n.prior)
				}
			})
		})
	}
}

// TestNoLateAbort hammers one key: an abort never comes after its submission has ended.
func TestNoLateAbort(t *testing.T) {
	f := newFence(1000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 300 {
				p := &post{}
				p.Ticket, p.prior = f.Enter("k", time.Now(), time.Minute, p.abort)
				for p.prior != nil {
					p.Ticket, p.prior = p.prior.Next(time.Now(), time.Minute, p.abort)
				}
				if i%3 == 0 {
					p.answer("ok")
				} else {
					p.drop()
				}
				if p.late.Load() > 0 {
					t.Error("an abort came behind the end")
				}
			}
		})
	}
	wg.Wait()
}
