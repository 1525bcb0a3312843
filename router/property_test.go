package router_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/router"
)

var balances = []router.Balance{router.Weighted, router.RoundRobin, router.LeastOutstanding, router.BySender}

// TestOrderProperties tries many random Boards: an order for new messages holds each MMSC that qualifies once, tier by
// tier, and nobody else; a search holds each once in order or missing; the same question has the same answer.
func TestOrderProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 2000 {
		rows := make([]row, rnd.IntN(9))
		for i := range rows {
			rows[i] = row{name: string(rune('a' + i)), weight: rnd.IntN(5) - 1, tier: rnd.IntN(3), down: rnd.IntN(3) == 0,
				drain: rnd.IntN(4) == 0, ramp: uint8(rnd.IntN(101))}
		}
		s := snapshot(t, router.Config{Balance: balances[rnd.IntN(len(balances))]}, rows...)
		r := router.Request{PDU: mms.MSendReq}
		if rnd.IntN(2) == 0 {
			r.Subscriber = fmt.Sprintf("+46%d", rnd.IntN(1000))
		}
		l := router.Load{Turn: rnd.Uint64(), Outstanding: func(i int) int { return (i * 7) % 5 }}
		var d, again router.Decision
		router.Decide(&d, s, &r, l)
		router.Decide(&again, s, &r, l)
		if !slices.Equal(d.Order, again.Order) {
			t.Fatalf("round %d: asked twice, answered %v and %v", round, d.Order, again.Order)
		}
		var want []int
		for i := range s.MMSCs {
			if m := &s.MMSCs[i]; m.Up && m.Drain == nil && m.Weight > 0 {
				want = append(want, i)
			}
		}
		if got := slices.Sorted(slices.Values(d.Order)); !slices.Equal(got, want) {
			t.Fatalf("round %d: order %v of %+v, want some order of %v", round, d.Order, rows, want)
		}
		if !slices.IsSortedFunc(d.Order, func(a, b int) int { return s.MMSCs[a].Tier - s.MMSCs[b].Tier }) {
			t.Fatalf("round %d: order %v does not follow the tiers of %+v", round, d.Order, rows)
		}
		r.Get = true
		router.Decide(&d, s, &r, l)
		all := slices.Sorted(slices.Values(append(slices.Clone(d.Order), d.Missing...)))
		if len(all) != len(rows) || len(slices.Compact(all)) != len(rows) {
			t.Fatalf("round %d: search %v, missing %v of %d MMSCs", round, d.Order, d.Missing, len(rows))
		}
		for _, i := range d.Order {
			if !s.MMSCs[i].Up {
				t.Fatalf("round %d: the search asks %s, which is down", round, s.MMSCs[i].Name)
			}
		}
	}
}

// shares counts who comes first over many turns, every stride-th being ours.
func shares(s *router.Snapshot, r *router.Request, turns, stride int) []float64 {
	var d router.Decision
	n := make([]float64, len(s.MMSCs))
	for turn := range turns {
		router.Decide(&d, s, r, router.Load{Turn: uint64(turn*stride) + 12345})
		n[d.Order[0]]++
	}
	for i := range n {
		n[i] /= float64(turns)
	}
	return n
}

func TestShares(t *testing.T) {
	send := &router.Request{PDU: mms.MSendReq}
	for _, c := range []struct {
		name    string
		balance router.Balance
		rows    []row
		want    []float64
		within  float64
	}{
		{"equal weights are exactly fair", router.Weighted, []row{{weight: 3}, {weight: 3}, {weight: 3}}, []float64{1. / 3, 1. / 3, 1. / 3}, 1e-9},
		{"one of each", router.Weighted, []row{{weight: 1}, {weight: 2}, {weight: 7}}, []float64{.1, .2, .7}, .02},
		{"far apart", router.Weighted, []row{{weight: 1}, {weight: 1000}}, []float64{1. / 1001, 1000. / 1001}, .02},
		{"five", router.Weighted, []row{{weight: 5}, {weight: 4}, {weight: 3}, {weight: 2}, {weight: 1}}, []float64{5. / 15, 4. / 15, 3. / 15, 2. / 15, 1. / 15}, .02},
		{"round-robin has no weights", router.RoundRobin, []row{{weight: 1}, {weight: 9}}, []float64{.5, .5}, 1e-9},
		{"slow start", router.Weighted, []row{{weight: 1}, {weight: 1, ramp: 25}}, []float64{.8, .2}, .02},
		{"slow start of a heavy one", router.Weighted, []row{{weight: 1}, {weight: 4, ramp: 50}}, []float64{1. / 3, 2. / 3}, .02},
		{"slow start in round-robin", router.RoundRobin, []row{{weight: 1}, {weight: 9, ramp: 10}}, []float64{10. / 11, 1. / 11}, .02},
		{"all start slowly alike", router.Weighted, []row{{ramp: 10}, {ramp: 10}}, []float64{.5, .5}, 1e-9},
		{"ramp 0 is full weight", router.Weighted, []row{{ramp: 0}, {ramp: 100}}, []float64{.5, .5}, 1e-9},
		{"ramp beyond 100 is full weight", router.Weighted, []row{{ramp: 101}, {ramp: 255}}, []float64{.5, .5}, 1e-9},
		{"by-sender without a sender goes by weight", router.BySender, []row{{weight: 1}, {weight: 3}}, []float64{.25, .75}, .02},
		{"least-outstanding without figures goes by weight", router.LeastOutstanding, []row{{weight: 1}, {weight: 3}}, []float64{.25, .75}, .02},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range c.rows {
				c.rows[i].name = string(rune('a' + i))
			}
			s := snapshot(t, router.Config{Balance: c.balance}, c.rows...)
			got := shares(s, send, 3000, 1)
			for i, want := range c.want {
				if math.Abs(got[i]-want) > c.within {
					t.Errorf("shares %.4f, want %.4f within %g", got, c.want, c.within)
				}
			}
			if c.within > .01 { // unequal weights are met by any traffic that takes every n-th turn, too
				for _, stride := range []int{2, 3, 5, 100} {
					for i, g := range shares(s, send, 3000, stride) {
						if math.Abs(g-c.want[i]) > c.within {
							t.Errorf("every %d turns: share %d is %.4f, want %.4f", stride, i, g, c.want[i])
						}
					}
				}
			}
		})
	}
	t.Run("a short stretch is close to the shares, too", func(t *testing.T) {
		s := snapshot(t, router.Config{}, row{name: "a", weight: 1}, row{name: "b", weight: 3})
		if got := shares(s, send, 40, 1); math.Abs(got[0]-.25) > .05 {
			t.Fatalf("shares of 40 turns: %.3f", got)
		}
	})
}

// TestLeastOutstanding plays requests that end at different speeds.
func TestLeastOutstanding(t *testing.T) {
	s := snapshot(t, router.Config{Balance: router.LeastOutstanding}, row{name: "a"}, row{name: "b", weight: 2}, row{name: "c", ramp: 50})
	for _, c := range []struct {
		name   string
		flying []int
		turn   uint64
		want   string
	}{
		{"idle: the heaviest", []int{0, 0, 0}, 0, "b"},
		{"one at the heaviest, a tie of two", []int{0, 1, 0}, 0, "a"},
		{"the tie goes round", []int{0, 1, 0}, 1, "b"},
		{"the busy one is passed over", []int{0, 9, 9}, 0, "a"},
		{"slow start counts as half", []int{2, 5, 0}, 0, "c"},
		{"slow start counts as half, a tie", []int{1, 5, 0}, 2, "c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d router.Decision
			router.Decide(&d, s, &router.Request{PDU: mms.MSendReq}, router.Load{Turn: c.turn, Outstanding: func(i int) int { return c.flying[i] }})
			if got := s.MMSCs[d.Order[0]].Name; got != c.want {
				t.Fatalf("%s comes first, want %s", got, c.want)
			}
		})
	}
}

// firsts gives who comes first for each of n senders.
func firsts(s *router.Snapshot, n int) []string {
	var d router.Decision
	out := make([]string, n)
	for i := range out {
		router.Decide(&d, s, &router.Request{PDU: mms.MSendReq, Sender: fmt.Sprintf("+467%08d", i)}, router.Load{Turn: uint64(i)})
		out[i] = s.MMSCs[d.Order[0]].Name
	}
	return out
}

// TestBySender holds that only those senders move whose MMSC is lost or drawn to a new one, and that shares follow weights.
func TestBySender(t *testing.T) {
	cfg := router.Config{Balance: router.BySender}
	const n = 20000
	all := []row{{name: "a"}, {name: "b", weight: 2}, {name: "c"}}
	before := firsts(snapshot(t, cfg, all...), n)
	count := map[string]int{}
	for _, name := range before {
		count[name]++
	}
	for name, want := range map[string]float64{"a": .25, "b": .5, "c": .25} {
		if got := float64(count[name]) / n; math.Abs(got-want) > .02 {
			t.Errorf("%s has a share of %.4f, want %.2f", name, got, want)
		}
	}
	moves := func(name string, rows []row, lost string) {
		t.Helper()
		moved := 0
		for i, after := range firsts(snapshot(t, cfg, rows...), n) {
			if after != before[i] {
				moved++
				if before[i] != lost && after != lost {
					t.Fatalf("%s: sender %d moves from %s to %s", name, i, before[i], after)
				}
			}
		}
		if lost == "" && moved > 0 || lost != "" && moved == 0 {
			t.Fatalf("%s: %d senders moved", name, moved)
		}
	}
	moves("b goes down", []row{{name: "a"}, {name: "b", weight: 2, down: true}, {name: "c"}}, "b")
	moves("b drains", []row{{name: "a"}, {name: "b", weight: 2, drain: true}, {name: "c"}}, "b")
	moves("a is removed", []row{{name: "b", weight: 2}, {name: "c"}}, "a")
	moves("d is added", append(all[:3:3], row{name: "d"}), "d")
	moves("b is made heavier", []row{{name: "a"}, {name: "b", weight: 4}, {name: "c"}}, "b")
	moves("another order", []row{{name: "c"}, {name: "a"}, {name: "b", weight: 2}}, "")
	moves("slow start", []row{{name: "a"}, {name: "b", weight: 2, ramp: 10}, {name: "c"}}, "")

	var d router.Decision
	s := snapshot(t, cfg, all...)
	for i := range 100 { // the network's word goes before the sender's
		router.Decide(&d, s, &router.Request{PDU: mms.MSendReq, Subscriber: fmt.Sprintf("+467%08d", i), Sender: "+1"}, router.Load{Turn: uint64(i)})
		if got := s.MMSCs[d.Order[0]].Name; got != before[i] {
			t.Fatalf("subscriber %d comes to %s, as a sender to %s", i, got, before[i])
		}
	}
}

// TestSearchBySubscriber holds that one subscriber's searches begin at one MMSC while the set of those up is the same,
// and that the MMSCs share the subscribers.
func TestSearchBySubscriber(t *testing.T) {
	s := snapshot(t, router.Config{}, row{name: "a"}, row{name: "b"}, row{name: "c"})
	count := map[string]int{}
	var d router.Decision
	for i := range 3000 {
		r := router.Request{PDU: mms.MMboxViewReq, Subscriber: fmt.Sprintf("+467%08d", i)}
		router.Decide(&d, s, &r, router.Load{Turn: 1})
		first := d.Order[0]
		count[s.MMSCs[first].Name]++
		if router.Decide(&d, s, &r, router.Load{Turn: 2}); d.Order[0] != first || len(d.Order) != 3 {
			t.Fatalf("subscriber %d: first %d, then %v", i, first, d.Order)
		}
	}
	for name, n := range count {
		if n < 850 || n > 1150 {
			t.Errorf("%s is first for %d of 3000 subscribers", name, n)
		}
	}
}

// TestDecideAllocates nothing when the Decision is used again.
func TestDecideAllocates(t *testing.T) {
	cfg := router.Config{
		Rules:  []router.RuleConfig{{Sender: []string{"+1"}, Recipient: []string{"+1"}, PDU: []string{"get"}, Path: "^/x", To: []string{"a"}}, {PDU: []string{"m-send-req", "get"}, To: []string{"a", "b", "c"}}},
		Owners: []router.OwnerConfig{{Host: `^retrieve-b\.example$`, MMSC: "b"}},
	}
	rows := []row{{name: "a", url: "http://a.example/"}, {name: "b", url: "http://b.example/", weight: 3}, {name: "c", url: "http://c.example/", down: true}, {name: "d", url: "http://d.example/", drain: true}, {name: "e", weight: -1}}
	for _, balance := range balances {
		cfg.Balance = balance
		s := snapshot(t, cfg, rows...)
		for _, r := range []router.Request{
			{PDU: mms.MSendReq, Sender: "+46701234567", Subscriber: "+46701234567", Recipients: []string{"+4915112345678"}, Path: "/mms"},
			{PDU: 0},
			{Get: true, Host: "mms.example.net", Path: "/1", Subscriber: "+46701234567"},
			{Get: true, Learned: "c"},
			{PDU: mms.MAcknowledgeInd, Location: "http://b.example:80/x?y", MessageID: "<1@b.example>"},
		} {
			var d router.Decision
			turn := uint64(0)
			if n := testing.AllocsPerRun(200, func() {
				router.Decide(&d, s, &r, router.Load{Turn: turn, Outstanding: func(int) int { return 1 }})
				turn++
			}); n != 0 {
				t.Errorf("%s %s get=%v: %g allocations", balance, r.PDU, r.Get, n)
			}
		}
	}
}

// TestSecondChoice holds that the load of an MMSC that fails before detection knows it is spread as the live load is: the
// second of the order is chosen among the rest as if the first were not there.
func TestSecondChoice(t *testing.T) {
	send := &router.Request{PDU: mms.MSendReq}
	for _, c := range []struct {
		name    string
		balance router.Balance
		weights []int
		within  float64
	}{
		{"round-robin", router.RoundRobin, []int{1, 1, 1, 1}, 1e-9},
		{"equal weights", router.Weighted, []int{2, 2, 2}, 1e-9},
		{"unequal weights", router.Weighted, []int{1, 2, 3, 4}, .02},
		{"two weights alike", router.Weighted, []int{5, 1, 1}, .02},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rows []row
			for i, w := range c.weights {
				rows = append(rows, row{name: string(rune('a' + i)), weight: w})
			}
			s := snapshot(t, router.Config{Balance: c.balance}, rows...)
			const turns = 24000
			n := len(rows)
			seconds, firsts := make([][]float64, n), make([]float64, n)
			for i := range seconds {
				seconds[i] = make([]float64, n)
			}
			var d router.Decision
			for turn := range turns {
				router.Decide(&d, s, send, router.Load{Turn: uint64(turn)})
				firsts[d.Order[0]]++
				seconds[d.Order[0]][d.Order[1]]++
			}
			for first := range n {
				rest := 0
				for i, w := range c.weights {
					if i != first {
						rest += w
					}
				}
				for second, got := range seconds[first] {
					want := float64(c.weights[second]) / float64(rest)
					if second == first {
						want = 0
					}
					if got /= firsts[first]; math.Abs(got-want) > c.within {
						t.Errorf("behind %d, %d is second with a share of %.4f, want %.4f", first, second, got, want)
					}
				}
			}
		})
	}
	t.Run("by sender", func(t *testing.T) {
		all := snapshot(t, router.Config{Balance: router.BySender}, row{name: "a"}, row{name: "b", weight: 2}, row{name: "c"}, row{name: "d"})
		var d, without router.Decision
		for i := range 2000 {
			r := &router.Request{PDU: mms.MSendReq, Sender: fmt.Sprintf("+467%08d", i)}
			router.Decide(&d, all, r, router.Load{Turn: uint64(i)})
			var rows []row
			for k, m := range all.MMSCs {
				rows = append(rows, row{name: m.Name, weight: m.Weight, down: k == d.Order[0]})
			}
			router.Decide(&without, snapshot(t, router.Config{Balance: router.BySender}, rows...), r, router.Load{Turn: uint64(i)})
			if d.Order[1] != without.Order[0] {
				t.Fatalf("sender %d goes to %d at the second try, but to %d once detection has seen that the first is dead", i, d.Order[1], without.Order[0])
			}
		}
	})
}
