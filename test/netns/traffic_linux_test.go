package netns_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// patience is how long a client waits for an answer, more than mm1.timeouts.answer of the lab, and lastTry after how long it gives a message up.
const (
	patience = 5 * time.Second
	lastTry  = 40 * time.Second
)

// attempt is one try that did not bring an acceptance.
type attempt struct {
	began, ended time.Time
	transaction  string
	to           string // the service address
	why          string
}

// traffic is clients that submit until told to stop, and try again as phones do.
type traffic struct {
	l      *lab
	ledger handsets.Ledger
	seq    atomic.Int64
	stop   context.CancelFunc
	wg     sync.WaitGroup

	judged time.Time // so far failed tries have been looked at …
	may    []*router // … and these routers' addresses were allowed to have some

	mu     sync.Mutex
	failed []attempt
	won    map[string][]time.Time // by service address: when messages were accepted
	mute   []string               // questions that the resolver did not answer
}

// start starts clients: per service address one that keeps its connection and, of IPv4, one that makes a connection per message, which
// all never ask DNS again; and three that ask DNS for every message.
func (l *lab) traffic() *traffic {
	ctx, stop := context.WithCancel(context.Background())
	x := &traffic{l: l, stop: stop, won: map[string][]time.Time{}}
	for n := range l.routers {
		for _, way := range []handsets.Way{handsets.Fast, {Name: "one shot", OneShot: true}} {
			x.wg.Go(func() { x.client(ctx, service(n+1), way) })
		}
		if l.six {
			x.wg.Go(func() { x.client(ctx, service6(n+1), handsets.Fast) })
		}
		x.wg.Go(func() { x.client(ctx, "", handsets.Way{Name: "asks DNS", OneShot: true}) })
	}
	l.t.Cleanup(func() { stop(); x.wg.Wait() })
	return x
}

var sizes = []int{1000, 30_000, 300_000}

// client submits one message after the other. Without an address it asks DNS before each try.
func (x *traffic) client(ctx context.Context, address string, way handsets.Way) {
	me := fmt.Sprintf("46%09d", x.seq.Add(1))
	var h *handsets.Handset
	at := ""
	defer func() {
		if h != nil {
			h.Close()
		}
	}()
	for ctx.Err() == nil {
		n := x.seq.Add(1)
		tid := fmt.Sprint("n", n)
		body := pdu.SendReq(tid, sizes[int(n)%len(sizes)])
		began := time.Now()
		for {
			to := address
			if to == "" {
				to = x.ask(tid)
			}
			if h == nil || at != to {
				if h != nil {
					h.Close()
				}
				h, at = x.handset(to, me), to
			}
			if x.try(h, tid, to, body, way, began) || time.Since(began) > lastTry {
				break
			}
			h.Close()
			pause(200 * time.Millisecond)
		}
		pause(20 * time.Millisecond)
	}
}

func (x *traffic) handset(to, me string) *handsets.Handset {
	return handsets.New(handsets.Options{Addr: net.JoinHostPort(to, "80"), Timeout: patience, Dial: x.l.clients.dial, Header: [][2]string{{"X-MSISDN", me}}})
}

// try posts a message; true: it has its final answer.
func (x *traffic) try(h *handsets.Handset, tid, to string, body []byte, way handsets.Way, began time.Time) bool {
	now := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := h.Post(ctx, body, way)
	o, why := handsets.Judge(tid, a, err)
	end := time.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case o == handsets.Accepted:
		x.won[to] = append(x.won[to], end)
	default:
		x.failed = append(x.failed, attempt{now, end, tid, to, string(o) + " " + why})
		if end.Sub(began) <= lastTry {
			return false
		}
	}
	x.ledger.Note(tid, body, way, a, err, end.Sub(began))
	return true
}

// slow is one upload that takes its time at an address. How it ended comes over the channel; it is tried once.
func (x *traffic) slow(tid, address string, d time.Duration) <-chan string {
	out := make(chan string, 1)
	x.wg.Go(func() {
		const size, pieces = 100_000, 100
		h := handsets.New(handsets.Options{Addr: address + ":80", Timeout: d + 30*time.Second, Dial: x.l.clients.dial})
		defer h.Close()
		began, body, way := time.Now(), pdu.SendReq(tid, size), handsets.Trickle(size, pieces, d/pieces)
		a, err := h.Post(context.Background(), body, way)
		s := x.ledger.Note(tid, body, way, a, err, time.Since(began))
		out <- strings.TrimSpace(string(s.Outcome) + " " + s.Detail)
	})
	return out
}

// ask asks the resolver until it answers; a question without an answer is noted.
func (x *traffic) ask(tid string) string {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		all, err := x.l.resolve(ctx)
		cancel()
		if err == nil {
			return all[rand.IntN(len(all))]
		}
		x.mu.Lock()
		x.mute = append(x.mute, fmt.Sprintf("%s at %s: %v", tid, x.l.since(time.Now()), err))
		x.mu.Unlock()
		pause(200 * time.Millisecond)
	}
}

// pause is a client's own.
func pause(d time.Duration) { <-time.After(d) }

func (l *lab) since(t time.Time) time.Duration { return t.Sub(l.began).Round(10 * time.Millisecond) }

// more waits until each service address has taken another n messages.
func (x *traffic) more(n int) {
	x.l.t.Helper()
	from := time.Now()
	await(x.l.t, 60*time.Second, fmt.Sprintf("another %d messages at each address", n), func() (bool, string) {
		x.mu.Lock()
		defer x.mu.Unlock()
		for _, r := range x.l.routers {
			for _, a := range r.addresses() {
				if k := x.after(a, from); k < n {
					return false, fmt.Sprintf("%d at %s", k, a)
				}
			}
		}
		return true, ""
	})
}

// after counts acceptances at an address since then; x.mu is held.
func (x *traffic) after(address string, since time.Time) int {
	all := x.won[address]
	i, _ := slices.BinarySearchFunc(all, since, func(a, b time.Time) int { return a.Compare(b) })
	return len(all) - i
}

// failures gives the tries that failed and ended in a time.
func (x *traffic) failures(from, to time.Time) (all []attempt) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, f := range x.failed {
		if f.ended.After(from) && !f.ended.After(to) {
			all = append(all, f)
		}
	}
	return all
}

// gap is the longest time without an acceptance at an address between two moments.
func (x *traffic) gap(address string, from, to time.Time) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	longest, last := time.Duration(0), from
	for _, at := range x.won[address] {
		if at.Before(from) || at.After(to) {
			continue
		}
		longest, last = max(longest, at.Sub(last)), at
	}
	return max(longest, to.Sub(last))
}

// end stops the clients and holds the ledger against the stores: nobody's message failed for good, and nothing is lost or altered. It gives the
// number of copies.
func (x *traffic) end() int {
	t := x.l.t
	t.Helper()
	x.stop()
	x.wg.Wait()
	x.only("to the end", x.judged, x.may...)
	b := x.ledger.Balance(x.l.records()...)
	t.Logf("%v; %d tries failed, %d questions without an answer", b, len(x.failed), len(x.mute))
	if b.Failed+b.Refused+b.Transient > 0 {
		t.Errorf("messages failed for good: %v", b)
	}
	if f := b.Faults(); f != "" {
		t.Error(f)
	}
	if b.Copies > len(x.failed) {
		t.Errorf("%d copies, but only %d tries failed", b.Copies, len(x.failed))
	}
	if len(x.mute) > 0 {
		t.Logf("without an answer from DNS: %s", strings.Join(x.mute[:min(len(x.mute), 10)], "; "))
	}
	return b.Copies
}

// only holds the tries that failed since a moment against what may fail: those to the addresses of these routers, and none else.
func (x *traffic) only(what string, since time.Time, routers ...*router) {
	t := x.l.t
	t.Helper()
	x.judged, x.may = time.Now(), routers
	var addresses []string
	for _, r := range routers {
		addresses = append(addresses, r.addresses()...)
	}
	all := x.failures(since, x.judged)
	var wrong []string
	kinds := map[string]int{}
	for _, f := range all {
		kinds[kind(f.why)]++
		if !slices.Contains(addresses, f.to) {
			wrong = append(wrong, fmt.Sprintf("%s to %s, %s to %s: %s", f.transaction, f.to, x.l.since(f.began), x.l.since(f.ended), f.why))
		}
	}
	t.Logf("%s: %d tries failed %v", what, len(all), kinds)
	if len(wrong) > 0 {
		t.Errorf("%s: %d tries failed that had no reason to:\n%s", what, len(wrong), strings.Join(wrong[:min(len(wrong), 12)], "\n"))
	}
}

// kind is the end of an error's text, without the addresses in it.
func kind(why string) string {
	if i := strings.LastIndex(why, ": "); i >= 0 {
		return why[i+2:]
	}
	return why
}
