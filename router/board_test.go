package router_test

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/router"
)

func address(s string) router.Address { return router.Address{IP: netip.MustParseAddr(s)} }

func TestBoardGeneration(t *testing.T) {
	b := router.NewBoard(1000)
	first := b.Load()
	if first.Generation != 1001 || first.Index("a") != -1 || first.Zone("x") != nil {
		t.Fatalf("an empty Board: %+v", first)
	}
	var d router.Decision
	router.Decide(&d, first, &router.Request{PDU: mms.MSendReq}, router.Load{})
	if len(d.Order) != 0 {
		t.Fatalf("an empty Board decides %v", d.Order)
	}
	zone := []router.Zone{{Name: "mms.example.net", Addresses: []router.Address{address("192.0.2.1")}}}
	up := router.Verdict{Known: true, Up: true, Why: "200", Since: time.Unix(1700000000, 0)}
	drain := &router.Drain{By: "op"}
	for _, step := range []struct {
		name    string
		do      func() bool
		says    bool
		changes bool
	}{
		{"configure", func() bool { return b.Configure([]router.Target{{Name: "a", URL: "u"}, {Name: "b"}}, zone, nil) == nil }, true, true},
		{"a first verdict", func() bool { return b.SetVerdict("a", up) }, true, true},
		{"the same verdict", func() bool { return b.SetVerdict("a", up) }, false, false},
		{"a verdict of a stranger", func() bool { return b.SetVerdict("x", up) }, false, false},
		{"drain", func() bool { return b.SetDrain("a", drain) == nil }, true, true},
		{"drain again", func() bool { return b.SetDrain("a", &router.Drain{By: "another"}) == nil }, true, false},
		{"drain a stranger", func() bool { return b.SetDrain("x", drain) == nil }, false, false},
		{"undrain", func() bool { return b.SetDrain("a", nil) == nil }, true, true},
		{"undrain again", func() bool { return b.SetDrain("a", nil) == nil }, true, false},
		{"undrain a stranger", func() bool { return b.SetDrain("x", nil) == nil }, false, false},
		{"the same addresses", func() bool { return b.SetAddresses("mms.example.net", []router.Address{address("192.0.2.1")}) }, false, false},
		{"one more address", func() bool {
			return b.SetAddresses("mms.example.net", []router.Address{address("192.0.2.1"), address("192.0.2.2")})
		}, true, true},
		{"another order", func() bool {
			return b.SetAddresses("mms.example.net", []router.Address{address("192.0.2.2"), address("192.0.2.1")})
		}, true, true},
		{"no address", func() bool { return b.SetAddresses("mms.example.net", nil) }, true, true},
		{"addresses of no zone", func() bool { return b.SetAddresses("example.net", nil) }, false, false},
		{"a wrong configuration", func() bool { return b.Configure([]router.Target{{Name: "z"}, {Name: "z"}}, nil, nil) == nil }, false, false},
	} {
		t.Run(step.name, func(t *testing.T) {
			before := b.Load()
			if got := step.do(); got != step.says {
				t.Fatalf("says %v, want %v", got, step.says)
			}
			after := b.Load()
			if step.changes && after.Generation != before.Generation+1 {
				t.Fatalf("generation goes from %d to %d", before.Generation, after.Generation)
			}
			if !step.changes && after != before {
				t.Fatal("the snapshot changes though nothing did")
			}
		})
	}
}

func TestBoardConfigure(t *testing.T) {
	b := router.NewBoard(0)
	for _, c := range []struct {
		targets []router.Target
		want    string
	}{
		{[]router.Target{{Name: "a"}, {}}, "mmscs: entry 2 has no name"},
		{[]router.Target{{Name: "a"}, {Name: "a"}}, `mmscs: two entries are named "a"`},
	} {
		if err := b.Configure(c.targets, nil, nil); err == nil || err.Error() != c.want {
			t.Fatalf("got %v, want %s", err, c.want)
		}
	}
	must := func(targets ...router.Target) *router.Snapshot {
		t.Helper()
		if err := b.Configure(targets, nil, nil); err != nil {
			t.Fatal(err)
		}
		return b.Load()
	}
	must(router.Target{Name: "a", URL: "http://a/"}, router.Target{Name: "b", URL: "http://b/"}, router.Target{Name: "c", URL: "http://c/"})
	up := router.Verdict{Known: true, Up: true, Since: time.Unix(1, 0)}
	for _, n := range []string{"a", "b", "c"} {
		b.SetVerdict(n, up)
		if err := b.SetDrain(n, &router.Drain{By: n}); err != nil {
			t.Fatal(err)
		}
	}
	old := b.Load()
	s := must(router.Target{Name: "d"}, router.Target{Name: "b", URL: "http://b2/", Weight: 3}, router.Target{Name: "a", URL: "http://a/", Weight: 5})
	for _, c := range []struct {
		name       string
		up, drains bool
	}{{"d", false, false}, {"b", false, true}, {"a", true, true}} {
		m := s.MMSCs[s.Index(c.name)]
		if m.Name != c.name || m.Up != c.up || m.Known != c.up || (m.Drain != nil) != c.drains || c.drains && m.Drain.By != c.name {
			t.Errorf("%s: %+v, want up %v, drain kept %v", c.name, m, c.up, c.drains)
		}
	}
	if s.MMSCs[2].Weight != 5 || s.Index("c") != -1 {
		t.Errorf("the new configuration does not hold: %+v", s.MMSCs)
	}
	if old.Index("c") != 2 || !old.MMSCs[1].Up || old.MMSCs[0].Weight != 0 {
		t.Error("a snapshot that a reader keeps has changed")
	}
	if s = must(router.Target{Name: "c", URL: "http://c/"}); s.MMSCs[0].Up || s.MMSCs[0].Drain != nil {
		t.Error("a target that was removed comes back with its old state")
	}
}

// TestBoardOwnsItsZones holds that a Snapshot does not change with what its writer keeps.
func TestBoardOwnsItsZones(t *testing.T) {
	b := router.NewBoard(0)
	zones := []router.Zone{{Name: "z", Addresses: []router.Address{address("192.0.2.1")}}}
	if err := b.Configure(nil, zones, nil); err != nil {
		t.Fatal(err)
	}
	zones[0].Addresses[0] = address("192.0.2.66")
	zones[0].Name = "y"
	if z := b.Load().Zone("z"); z == nil || z.Addresses[0] != address("192.0.2.1") {
		t.Fatalf("the zone follows its writer: %+v", b.Load().Zones)
	}
	before := b.Load()
	addrs := []router.Address{address("192.0.2.2")}
	b.SetAddresses("z", addrs)
	addrs[0] = address("192.0.2.66")
	if a := b.Load().Zone("z").Addresses[0]; a != address("192.0.2.2") {
		t.Fatalf("the addresses follow their writer: %s", a)
	}
	if a := before.Zone("z").Addresses[0]; a != address("192.0.2.1") {
		t.Fatalf("an older snapshot has changed: %s", a)
	}
}

// TestBoardConcurrent has every writer and readers at work at once: each snapshot is consistent in itself, generations
// only grow, and each change counts once.
func TestBoardConcurrent(t *testing.T) {
	b := router.NewBoard(0)
	targets := []router.Target{{Name: "a", URL: "a", Weight: 1}, {Name: "b", URL: "b", Weight: 1}, {Name: "c", URL: "c", Weight: 1}}
	zones := []router.Zone{{Name: "z"}}
	if err := b.Configure(targets, zones, nil); err != nil {
		t.Fatal(err)
	}
	base := b.Load().Generation
	const rounds = 200
	var writers, readers sync.WaitGroup
	var mu sync.Mutex
	changed := uint64(0)
	count := func(yes bool) {
		if yes {
			mu.Lock()
			changed++
			mu.Unlock()
		}
	}
	for i, tg := range targets {
		writers.Go(func() {
			for n := range rounds {
				count(b.SetVerdict(tg.Name, router.Verdict{Known: true, Up: n%2 == 0, Why: fmt.Sprint(n)}))
			}
		})
		writers.Go(func() {
			for n := range rounds {
				if n%10 == 0 {
					rest := append(append([]router.Target(nil), targets[i:]...), targets[:i]...)
					count(b.Configure(rest, zones, nil) == nil)
				}
				count(b.SetAddresses("z", []router.Address{address(fmt.Sprintf("192.0.%d.%d", i, n))}))
			}
		})
	}
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			var d router.Decision
			last := uint64(0)
			for turn := uint64(0); ; turn++ {
				select {
				case <-stop:
					return
				default:
				}
				s := b.Load()
				if s.Generation < last {
					t.Errorf("generation goes back from %d to %d", last, s.Generation)
					return
				}
				last = s.Generation
				for i := range s.MMSCs {
					if s.Index(s.MMSCs[i].Name) != i {
						t.Errorf("names and rows of a snapshot do not fit: %+v", s.MMSCs)
						return
					}
				}
				router.Decide(&d, s, &router.Request{PDU: mms.MSendReq}, router.Load{Turn: turn})
				for _, i := range d.Order {
					if !s.MMSCs[i].Up {
						t.Errorf("the order holds %s, which is down", s.MMSCs[i].Name)
						return
					}
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if got := b.Load().Generation - base; got != changed {
		t.Fatalf("%d changes were made, the generation grew by %d", changed, got)
	}
}
