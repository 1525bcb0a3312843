package fence_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/fence"
)

// network is a cluster in memory: routers that answer at once, late or not at all.
type network struct {
	mu    sync.Mutex
	nodes map[string]*peer
	asked atomic.Int64
}

type peer struct {
	net      *network
	name     string
	dead     atomic.Bool
	unseen   atomic.Bool // the others have noticed that it is dead
	handlers map[string]func(context.Context, string, []byte) ([]byte, error)
}

func (p *peer) Living() []string {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	var all []string
	for name, n := range p.net.nodes {
		if name != p.name && !n.unseen.Load() {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

func (p *peer) node(name string) *peer {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	return p.net.nodes[name]
}

func (p *peer) Request(ctx context.Context, node, kind string, b []byte) ([]byte, error) {
	p.net.asked.Add(1)
	n := p.node(node)
	if n == nil {
		return nil, errors.New("no such router")
	}
	if n.dead.Load() || p.dead.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return n.handlers[kind](ctx, p.name, slices.Clone(b))
}

func (p *peer) Send(node, kind string, b []byte, _ bool) error {
	n := p.node(node)
	if n == nil || n.dead.Load() || p.dead.Load() {
		return nil
	}
	_, err := n.handlers[kind](context.Background(), p.name, slices.Clone(b))
	return err
}

func (p *peer) Handle(kind string, h func(context.Context, string, []byte) ([]byte, error)) {
	p.handlers[kind] = h
}

type router struct {
	*fence.Shared
	*peer
	owners *fence.Owners
	reg    *prometheus.Registry
}

// routers makes a cluster of n.
func routers(t *testing.T, n int) []*router {
	t.Helper()
	net := &network{nodes: map[string]*peer{}}
	var all []*router
	for i := range n {
		p := &peer{net: net, name: fmt.Sprintf("r%d", i), handlers: map[string]func(context.Context, string, []byte) ([]byte, error){}}
		r := &router{peer: p, owners: fence.NewOwners(1024, time.Hour), reg: prometheus.NewRegistry()}
		var err error
		r.Shared, err = fence.NewShared(fence.SharedOptions{Fence: fence.New(fence.Options{Window: time.Hour, Entries: 1024}), Owners: r.owners,
			Peers: p, Node: p.name, Window: time.Hour, Entries: 1024, Metrics: r.reg})
		if err != nil {
			t.Fatal(err)
		}
		net.nodes[p.name] = p
		all = append(all, r)
	}
	return all
}

func (r *router) die(noticed bool) { r.dead.Store(true); r.unseen.Store(noticed) }

func (r *router) found(t *testing.T, what string) float64 {
	t.Helper()
	fams, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fams {
		if f.GetName() == "mmsrouter_fence_peer_found_total" {
			for _, m := range f.GetMetric() {
				if m.GetLabel()[0].GetValue() == what {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	t.Fatalf("no %s", what)
	return 0
}

func nothing() {}

// submit enters a submission that must be new and settles it.
func submit(t *testing.T, r *router, key, answer string) {
	t.Helper()
	ticket, prior := r.Enter(key, time.Now(), time.Second, nothing)
	if prior != nil {
		t.Fatalf("%s knows %q already", r.name, key)
	}
	if !ticket.Whole(100, 7) {
		t.Fatal("it was taken")
	}
	ticket.Answer([]byte(answer))
}

// TestAnswerThroughAnotherRouter: the answer got lost, and the phone posts again through any other router.
func TestAnswerThroughAnotherRouter(t *testing.T) {
	for _, n := range []int{2, 3, 5, 8} {
		t.Run(fmt.Sprint(n, " routers"), func(t *testing.T) {
			all := routers(t, n)
			for k := range 20 {
				key := fence.Key("+46700000001", fmt.Append(nil, "t", k))
				first := all[k%n]
				submit(t, first, key, "conf")
				for _, r := range all {
					if r == first {
						continue
					}
					ticket, prior := r.Enter(key, time.Now(), time.Second, nothing)
					if ticket != nil {
						t.Fatalf("%s takes %s's message for new", r.name, first.name)
					}
					if got := prior.Answer(time.Second, 100, 7); string(got) != "conf" {
						t.Fatalf("%s answers %q", r.name, got)
					}
					if got := prior.Answer(time.Second, 100, 8); got != nil {
						t.Fatalf("%s gives the answer to another body", r.name)
					}
				}
			}
		})
	}
}

// TestAnswerAfterDeath: the router that answered is gone, noticed or not.
func TestAnswerAfterDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, noticed := range []bool{true, false} {
			all := routers(t, 5)
			for k := range 50 {
				key := fmt.Sprint("k", k)
				submit(t, all[k%2], key, "conf")
			}
			all[0].die(noticed)
			all[1].die(true)
			for k := range 50 {
				_, prior := all[2+k%3].Enter(fmt.Sprint("k", k), time.Now(), time.Second, nothing)
				if prior == nil || string(prior.Answer(time.Second, 100, 7)) != "conf" {
					t.Fatalf("noticed %v: the answer of k%d is lost", noticed, k)
				}
			}
		}
	})
}

// TestNewerWinsAcrossRouters: an upload that hangs is broken off at its router when the phone comes through another.
func TestNewerWinsAcrossRouters(t *testing.T) {
	all := routers(t, 3)
	var broken atomic.Int32
	old, prior := all[0].Enter("k", time.Now(), time.Second, func() { broken.Add(1) })
	if prior != nil {
		t.Fatal("a prior from nowhere")
	}
	newer, prior := all[1].Enter("k", time.Now(), time.Second, nothing)
	if prior != nil || newer == nil {
		t.Fatal("the newer one must not wait")
	}
	if broken.Load() != 1 || all[1].found(t, "broken") != 1 {
		t.Errorf("the older was broken %d times", broken.Load())
	}
	if old.Whole(100, 7) {
		t.Error("the older may still become whole")
	}
	old.Drop()
	if !newer.Whole(100, 7) {
		t.Error("the newer may not become whole")
	}
	// a third one now waits for the newer
	ticket, prior := all[2].Enter("k", time.Now(), time.Second, nothing)
	if ticket != nil {
		t.Fatal("the third is taken for new")
	}
	newer.Answer([]byte("conf"))
	if got := prior.Answer(time.Second, 100, 7); string(got) != "conf" {
		t.Errorf("the third gets %q", got)
	}
}

// TestTwinJoinsAcrossRouters: the first upload is whole; its answer comes while the twin waits elsewhere.
func TestTwinJoinsAcrossRouters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := routers(t, 3)
		first, _ := all[0].Enter("k", time.Now(), time.Second, nothing)
		first.Whole(100, 7)
		ticket, prior := all[1].Enter("k", time.Now(), time.Second, nothing)
		if ticket != nil {
			t.Fatal("a twin is taken for new")
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(3 * time.Second)
			first.Answer([]byte("conf"))
		})
		began := time.Now()
		if got := prior.Answer(10*time.Second, 100, 7); string(got) != "conf" {
			t.Errorf("got %q", got)
		}
		if took := time.Since(began); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("it took %s", took)
		}
		wg.Wait()

		// its answer never comes: in time, the twin goes on as new
		second, _ := all[0].Enter("l", time.Now(), time.Second, nothing)
		second.Whole(100, 7)
		_, prior = all[2].Enter("l", time.Now(), time.Second, nothing)
		if got := prior.Answer(2*time.Second, 100, 7); got != nil {
			t.Errorf("got %q from nowhere", got)
		}
		ticket, again := prior.Next(time.Now(), time.Second, nothing)
		if again != nil || !ticket.Whole(100, 7) {
			t.Error("it may not go on as new")
		}
		ticket.Answer([]byte("conf2"))
		_, prior = all[1].Enter("l", time.Now(), time.Second, nothing)
		if got := prior.Answer(time.Second, 100, 7); string(got) != "conf2" {
			t.Errorf("later: %q", got)
		}
	})
}

// TestRouterDiesWithTheAnswer: it was forwarding when it died; nobody knows what became of it, so the post is new.
func TestRouterDiesWithTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, noticed := range []bool{true, false} {
			all := routers(t, 4)
			first, _ := all[0].Enter("k", time.Now(), time.Second, nothing)
			first.Whole(100, 7)
			all[0].die(noticed)
			ticket, prior := all[1].Enter("k", time.Now(), time.Second, nothing)
			if prior != nil || !ticket.Whole(100, 7) {
				t.Fatal("the second post waits for a dead router")
			}
			if all[1].found(t, "lost") != 1 {
				t.Error("not counted")
			}
			ticket.Answer([]byte("conf"))

			// it dies while a twin waits
			first, _ = all[2].Enter("l", time.Now(), time.Second, nothing)
			first.Whole(100, 7)
			_, prior = all[3].Enter("l", time.Now(), time.Second, nothing)
			all[2].die(noticed)
			began := time.Now()
			if got := prior.Answer(time.Minute, 100, 7); got != nil {
				t.Errorf("got %q from a dead router", got)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("the twin waited %s for a dead router", took)
			}
		}
	})
}

func TestDroppedIsNewEverywhere(t *testing.T) {
	all := routers(t, 3)
	first, _ := all[0].Enter("k", time.Now(), time.Second, nothing)
	first.Whole(100, 7)
	first.Drop()
	for _, r := range all {
		ticket, prior := r.Enter("k", time.Now(), time.Second, nothing)
		if prior != nil {
			t.Fatalf("%s remembers what came to nothing", r.name)
		}
		ticket.Drop()
	}
	for _, r := range all {
		if n := r.Kept(); n != 0 {
			t.Errorf("%s keeps %d", r.name, n)
		}
	}
}

// TestCap: peers that don't answer cost the cap a few times, then next to nothing until they are asked again.
func TestCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := routers(t, 3)
		all[1].die(false)
		all[2].die(false)
		for k := range 20 {
			began := time.Now()
			submit(t, all[0], fmt.Sprint("k", k), "conf")
			if took := time.Since(began); took > 40*time.Millisecond {
				t.Fatalf("message %d was held up for %s", k, took)
			} else if k > 3 && took != 0 {
				t.Fatalf("message %d still waits: %s", k, took)
			}
		}
		time.Sleep(2 * time.Second)
		all[1].dead.Store(false)
		all[2].dead.Store(false)
		submit(t, all[0], "later", "conf")
		if _, prior := all[1].Enter("later", time.Now(), time.Second, nothing); prior == nil {
			t.Error("they are not asked again")
		}
	})
}

func TestOwnersAcrossRouters(t *testing.T) {
	all := routers(t, 5)
	now := time.Now()
	for k := range 20 {
		all[0].Learn("mmsc-a", now, fmt.Sprint("p", k), fmt.Sprint("m", k))
	}
	for k := range 20 {
		for _, r := range all {
			if got := r.FindAny(now, "unknown", fmt.Sprint("m", k)); got != "mmsc-a" {
				t.Fatalf("%s finds %q", r.name, got)
			}
		}
	}
	if got := all[1].Find("m3", now); got != "mmsc-a" {
		t.Error("what was found is not kept")
	}
	if got := all[4].FindAny(now, "nobody's"); got != "" {
		t.Errorf("found %q", got)
	}
	if all[0].net.asked.Load() == 0 {
		t.Error("nobody was asked")
	}
}

// TestAlone: without other routers it is Fence and Owners.
func TestAlone(t *testing.T) {
	s, err := fence.NewShared(fence.SharedOptions{Fence: fence.New(fence.Options{Window: time.Hour, Entries: 64}), Owners: fence.NewOwners(64, time.Hour), Window: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ticket, prior := s.Enter("k", now, time.Second, nothing)
	if prior != nil || !ticket.Whole(1, 2) {
		t.Fatal("not new")
	}
	ticket.Answer([]byte("conf"))
	ticket.Drop()
	_, prior = s.Enter("k", now, time.Second, nothing)
	if prior == nil || string(prior.Answer(0, 1, 2)) != "conf" {
		t.Error("the answer is not kept")
	}
	if next, again := prior.Next(now, time.Second, nothing); again != nil || next == nil {
		t.Error("Next waits")
	}
	s.Learn("mmsc-a", now, "x")
	if s.FindAny(now, "y", "x") != "mmsc-a" || s.FindAny(now, "z") != "" {
		t.Error("owners")
	}
	if _, ok := s.Lookup("k"); ok {
		t.Error("somebody was asked")
	}
}

// TestSharedHostile: what another router can't have meant has no effect and costs nothing.
func TestSharedHostile(t *testing.T) {
	all := routers(t, 2)
	victim := all[0]
	for kind := range victim.handlers {
		for _, b := range [][]byte{nil, {}, {1}, {2, 1, 'k'}, {1, 0}, {1, 255, 255, 255}, {1, 1, 'k', 9}, {1, 1, 'k', 3, 255}, append([]byte{1, 200, 1}, make([]byte, 100)...)} {
			reply, err := all[1].Request(context.Background(), victim.name, kind, b)
			if err == nil && len(reply) > 64 {
				t.Errorf("%s %v: %d octets came back", kind, b, len(reply))
			}
		}
	}
	submit(t, victim, "fine", "conf")
	for i := range 5000 { // more than there is room for
		if err := all[1].Send(victim.name, "fence.note", append([]byte{1, 6}, fmt.Sprintf("%06d", i)...), false); err != nil {
			t.Fatal(err)
		}
	}
	if n := victim.Kept(); n > 1024 {
		t.Errorf("it keeps %d entries, more than it has room for", n)
	}
}

// FuzzSharedPayloads: a router's handlers take anything.
func FuzzSharedPayloads(f *testing.F) {
	f.Add(byte(0), []byte{1, 1, 'k'})
	f.Add(byte(4), []byte{1, 1, 'k', 3, 2, 'r', '1', 100, 0, 0, 0, 0, 0, 0, 0, 7, 4, 'c', 'o', 'n', 'f'})
	f.Add(byte(6), []byte{1, 6, 'm', 'm', 's', 'c', '-', 'a', 1, 'k'})
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		net := &network{nodes: map[string]*peer{}}
		p := &peer{net: net, name: "a", handlers: map[string]func(context.Context, string, []byte) ([]byte, error){}}
		s, err := fence.NewShared(fence.SharedOptions{Fence: fence.New(fence.Options{Window: time.Hour, Entries: 64}), Owners: fence.NewOwners(64, time.Hour),
			Peers: p, Node: "a", Window: time.Hour, Entries: 64})
		if err != nil {
			t.Fatal(err)
		}
		kinds := make([]string, 0, len(p.handlers))
		for k := range p.handlers {
			kinds = append(kinds, k)
		}
		slices.Sort(kinds)
		if _, err := p.handlers[kinds[int(which)%len(kinds)]](context.Background(), "evil", b); err != nil && s.Kept() != 0 {
			t.Fatal("a refused payload has an effect")
		}
	})
}
