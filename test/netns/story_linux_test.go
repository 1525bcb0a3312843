package netns_test

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/handsets"
)

// long skips a story that only the long run tells.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("MMSROUTER_LONG") == "" {
		t.Skip("only with MMSROUTER_LONG=1 (make test-long)")
	}
}

// soon is within what a client that never asks DNS again must work again: two checks, an election, and a busy machine.
const soon = 12 * time.Second

// scene is a lab under load.
func scene(t *testing.T) (*lab, *traffic) {
	t.Helper()
	l := newLab(t)
	x := l.traffic()
	x.more(10)
	return l, x
}

// works says that those who hold on to a router's addresses have been served again, and how long they were not.
func (x *traffic) works(r *router, since time.Time) {
	t := x.l.t
	t.Helper()
	x.more(10)
	for _, a := range r.addresses() {
		gap := x.gap(a, since, time.Now())
		t.Logf("%s was without an answer for %s", a, gap.Round(10*time.Millisecond))
		if gap > soon {
			t.Errorf("want at most %s", soon)
		}
	}
}

// A router is killed: its address moves, nobody at another one notices, and it comes home.
func TestKilled(t *testing.T) {
	l, x := scene(t)
	r1, r2 := l.routers[0], l.routers[1]
	at := time.Now()
	r1.prog.kill()
	l.awaitHolder(service(1), r2, soon)
	x.works(r1, at)
	x.only("killed", at, r1)
	at = time.Now()
	r1.restart()
	l.awaitHolder(service(1), r1, soon)
	x.works(r1, at)
	x.only("came home", at, r1)
	x.end()
}

// A router is frozen: it accepts connections and never answers. Then it goes on as if nothing had been.
func TestFrozen(t *testing.T) {
	long(t)
	l, x := scene(t)
	r1, r2 := l.routers[0], l.routers[1]
	at := time.Now()
	r1.freeze()
	l.awaitHolder(service(1), r2, soon)
	x.works(r1, at)
	x.only("frozen", at, r1)
	at = time.Now()
	r1.thaw()
	l.awaitHolder(service(1), r1, soon)
	x.works(r1, at)
	x.only("went on", at, r1)
	l.settled()
	x.end()
}

// A router is cut off from everybody but the MMSCs. It keeps all addresses for itself, where nobody sees it; the others
// stand in. When the cut is mended one of two holders gives way.
func TestPartitioned(t *testing.T) {
	long(t)
	l, x := scene(t)
	r1, r2 := l.routers[0], l.routers[1]
	at := time.Now()
	r1.cut("front")
	l.apart(r1, true)
	await(t, soon, "the others stand in", func() (bool, string) {
		for _, name := range l.holders(service(1)) {
			if name == r2.name {
				return true, ""
			}
		}
		return false, "not yet"
	})
	x.works(r1, at)
	x.only("cut off", at, r1)
	at = time.Now()
	r1.mend("front")
	l.apart(r1, false)
	for _, r := range l.routers {
		l.awaitHolder(service(r.n), r, soon)
	}
	x.works(r1, at)
	x.only("mended", at, l.routers...) // all three had two holders when it was mended
	l.settled()
	x.end()
}

// The cable of a router is pulled: its kernel sees that, and keepalived gives all addresses up.
func TestCablePulled(t *testing.T) {
	long(t)
	l, x := scene(t)
	r1, r2 := l.routers[0], l.routers[1]
	at := time.Now()
	r1.pull("front")
	l.awaitHolder(service(1), r2, soon)
	x.works(r1, at)
	x.only("pulled", at, r1)
	at = time.Now()
	r1.plug("front")
	l.awaitHolder(service(1), r1, soon)
	x.works(r1, at)
	x.only("plugged in", at, r1)
	l.settled()
	x.end()
}

// A router loses its way to the MMSCs and nothing else: the others see them, so it is its path that is broken. It leaves the DNS answers and
// gives its address up.
func TestBlind(t *testing.T) {
	long(t)
	l, x := scene(t)
	r1, r2 := l.routers[0], l.routers[1]
	at := time.Now()
	r1.cut("core")
	l.awaitHolder(service(1), r2, soon)
	x.works(r1, at)
	x.only("blind", at, r1)
	await(t, soon, "DNS no longer names it", func() (bool, string) {
		all, err := l.resolve(t.Context())
		for _, a := range all {
			if a == service(1) {
				return false, a
			}
		}
		return err == nil, "no answer"
	})
	at = time.Now()
	r1.mend("core")
	l.awaitHolder(service(1), r1, soon)
	x.works(r1, at)
	x.only("sees again", at, r1)
	l.settled()
	x.end()
}

// keepalived itself is killed on a router: its kernel keeps the address, the next router takes it too. The routers see that and say it;
// clients go on, since the new holder tells the network again and again. With keepalived back there is one holder.
func TestKeepalivedKilled(t *testing.T) {
	long(t)
	l, x := scene(t)
	r1, r2, r3 := l.routers[0], l.routers[1], l.routers[2]
	at := time.Now()
	l.apart(r1, true) // two holders are the story
	r1.unguard()
	l.awaitHolder(service(1), r2, soon)
	await(t, soon, "r3 tells of the addresses that are on two machines", func() (bool, string) {
		v := r3.metric("mmsrouter_takeover_doubled")
		return int(v) == len(r1.addresses()), fmt.Sprint(v)
	})
	x.works(r1, at)
	x.only("killed", at, r1)
	at = time.Now()
	r1.keepalived()
	await(t, soon, "it is on one machine again", func() (bool, string) {
		v, held := r3.metric("mmsrouter_takeover_doubled"), l.holders(service(1))
		return v == 0 && len(held) == 1, fmt.Sprint(v, held)
	})
	l.apart(r1, false)
	l.awaitHolder(service(1), r1, soon)
	x.works(r1, at)
	x.only("came home", at, r1)
	l.settled()
	x.end()
}

// A router drains and ends, and starts again. Nobody's try fails, neither when the address goes nor when it comes home, not even
// that of an upload which takes longer than everything else.
func TestDrained(t *testing.T) {
	long(t)
	l, x := scene(t)
	r1, r2 := l.routers[0], l.routers[1]
	at := time.Now()
	upload := x.slow("slow1", service(1), 12*time.Second)
	r1.cli("drain", "--self", "-c", r1.file)
	if why := <-upload; why != string(handsets.Accepted) {
		t.Errorf("the slow upload: %s", why)
	}
	l.awaitHolder(service(1), r2, soon)
	x.works(r1, at)
	x.only("drained", at)
	at = time.Now()
	upload = x.slow("slow2", service(1), 12*time.Second) // at the stand-in
	r1.restart()
	if why := <-upload; why != string(handsets.Accepted) {
		t.Errorf("the slow upload: %s", why)
	}
	l.awaitHolder(service(1), r1, soon)
	x.works(r1, at)
	x.only("came home", at)
	l.settled()
	x.end()
}

// An operator drains a router, said at another one: it goes on running, and its address goes and comes without a failed try.
func TestDrainedByOperator(t *testing.T) {
	long(t)
	l, x := scene(t)
	r1, r2 := l.routers[0], l.routers[1]
	at := time.Now()
	r2.cli("drain", "--router", "r1", "-c", r2.file)
	l.awaitHolder(service(1), r2, soon)
	x.works(r1, at)
	x.only("drained", at)
	at = time.Now()
	r2.cli("undrain", "--router", "r1", "-c", r2.file)
	l.awaitHolder(service(1), r1, soon)
	x.works(r1, at)
	x.only("came home", at)
	l.settled()
	x.end()
}

// All routers are restarted, one after the other: no try fails.
func TestRestartOneByOne(t *testing.T) {
	long(t)
	l, x := scene(t)
	for _, r := range l.routers {
		at := time.Now()
		r.prog.signal(syscall.SIGTERM)
		r.restart()
		l.settled()
		x.more(5)
		x.only("restarted "+r.name, at)
	}
	x.end()
}

// All routers are told to end at once. There is nobody to take over, so clients wait; what was accepted is at an MMSC, and all works again
// when they are back.
func TestRestartAllAtOnce(t *testing.T) {
	long(t)
	l, x := scene(t)
	at := time.Now()
	for _, r := range l.routers {
		r.prog.signal(syscall.SIGTERM)
	}
	for _, r := range l.routers {
		r.restart()
	}
	for _, r := range l.routers {
		x.works(r, at)
	}
	x.only("restarted", at, l.routers...)
	l.settled()
	x.end()
}

// A new program is rolled through all routers. No address moves, no try fails, no question stays without an answer.
func TestUpgraded(t *testing.T) {
	long(t)
	l, x := scene(t)
	for _, r := range l.routers {
		at := time.Now()
		r.cli("upgrade", "-c", r.file)
		select {
		case <-r.prog.done:
		case <-time.After(60 * time.Second):
			t.Fatalf("the process before has not ended on %s", r.name)
		}
		x.more(20)
		x.only("upgraded "+r.name, at)
		if held := l.holders(service(r.n)); !slices.Equal(held, []string{r.name}) {
			t.Errorf("the address of %s is on %v", r.name, held)
		}
	}
	l.settled()
	if copies := x.end(); copies > 0 {
		t.Errorf("%d copies", copies)
	}
	if len(x.mute) > 0 {
		t.Errorf("%d questions without an answer", len(x.mute))
	}
}
