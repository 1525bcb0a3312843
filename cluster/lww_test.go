package cluster_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mmsrouter/mmsrouter/cluster"
)

// entry builds a payload of one entry as it stands on the wire.
func entry(key string, counter uint64, node string, deleted bool, left time.Duration, value string, extra ...byte) []byte {
	flags := byte(0)
	if deleted {
		flags = 1
	}
	str := func(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	e := str([]byte{flags}, key)
	e = binary.AppendUvarint(e, counter)
	e = str(e, node)
	e = binary.AppendUvarint(e, uint64(left.Milliseconds()))
	e = str(e, value)
	e = append(e, extra...)
	return append(binary.AppendUvarint([]byte{1}, uint64(len(e))), e...)
}

// join puts payloads of one state behind each other.
func join(payloads ...[]byte) []byte {
	b := []byte{1}
	for _, p := range payloads {
		b = append(b, p[1:]...)
	}
	return b
}

type view struct {
	Value, Node string
	Counter     uint64
}

func look(m *cluster.Map) map[string]view {
	all := map[string]view{}
	for _, e := range m.All() {
		all[e.Key] = view{string(e.Value), e.Node, e.Counter}
	}
	return all
}

// randomEntries makes payloads that collide in keys, counters and nodes as often as they can.
func randomEntries(rng *rand.Rand, n int) [][]byte {
	var out [][]byte
	for range n {
		node := string(rune('a' + rng.IntN(3)))
		out = append(out, entry(fmt.Sprintf("k%d", rng.IntN(4)), 1+rng.Uint64N(5), node, rng.IntN(3) == 0, 0, fmt.Sprintf("v%d", rng.IntN(3))))
	}
	return out
}

// TestMapMergeLaws holds merging to what gossip needs: any order, any grouping, any repetition, one result.
func TestMapMergeLaws(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 1))
	fresh := func() *cluster.Map { return cluster.NewMap(cluster.MapOptions{Node: "x"}) }
	for round := range 500 {
		payloads := randomEntries(rng, 2+rng.IntN(12))
		first := fresh()
		for _, p := range payloads {
			first.Merge(p)
		}
		want, full := look(first), first.Full()

		shuffled := append([][]byte(nil), payloads...)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		commuted := fresh()
		for _, p := range shuffled {
			commuted.Merge(p)
			if rng.IntN(2) == 0 {
				commuted.Merge(p)
			}
		}
		if got := look(commuted); !reflect.DeepEqual(got, want) {
			t.Fatalf("round %d: another order gives %v, want %v", round, got, want)
		}

		// (a·b)·c against a·(b·c): the halves are merged on their own, then their whole states
		cut := rng.IntN(len(payloads))
		left, right := fresh(), fresh()
		left.Merge(join(payloads[:cut]...))
		right.Merge(join(payloads[cut:]...))
		right.Merge(left.Full())
		left.Merge(right.Full())
		for name, m := range map[string]*cluster.Map{"left": left, "right": right} {
			if got := look(m); !reflect.DeepEqual(got, want) {
				t.Fatalf("round %d: %s grouping gives %v, want %v", round, name, got, want)
			}
		}

		if out := first.Merge(full); len(out.Changed) != 0 || len(out.Refused) != 0 {
			t.Fatalf("round %d: merging its own state changed %d, refused %v", round, len(out.Changed), out.Refused)
		}
	}
}

// TestMapHostileStamps holds stamps far ahead, impossible or forged to having no effect.
func TestMapHostileStamps(t *testing.T) {
	for _, c := range []struct {
		name    string
		owned   bool
		payload []byte
		why     cluster.Reason
	}{
		{"far ahead", false, entry("k", 1<<62, "evil", false, 0, "x"), cluster.ReasonAhead},
		{"the end of counting", false, entry("k", 1<<64-1, "evil", false, 0, "x"), cluster.ReasonAhead},
		{"no counter", false, entry("k", 0, "evil", false, 0, "x"), cluster.ReasonCorrupt},
		{"no key", false, entry("", 5, "evil", false, 0, "x"), cluster.ReasonCorrupt},
		{"a name no node has", false, entry("k", 5, "e/vil", false, 0, "x"), cluster.ReasonCorrupt},
		{"a lifetime beyond reason", false, entry("k", 5, "evil", false, 1<<62, "x"), cluster.ReasonCorrupt},
		{"too large a value", false, entry("k", 5, "evil", false, 0, string(make([]byte, 17<<10))), cluster.ReasonCorrupt},
		{"another's entry", true, entry("r1/k", 5, "evil", false, 0, "x"), cluster.ReasonOwner},
		{"cut short", false, entry("k", 5, "evil", false, 0, "x")[:6], cluster.ReasonCorrupt},
		{"empty", false, nil, cluster.ReasonCorrupt},
		{"a later version", false, []byte{9, 1, 2, 3}, cluster.ReasonVersion},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := cluster.NewMap(cluster.MapOptions{Node: "me", Owned: c.owned})
			key := "k"
			if c.owned {
				key = "me/k"
			}
			if err := m.Set(key, []byte("mine"), 0); err != nil {
				t.Fatal(err)
			}
			before := look(m)
			out := m.Merge(c.payload)
			if out.Refused[c.why] != 1 || len(out.Changed) != 0 {
				t.Errorf("refused %v, changed %d; want one %s", out.Refused, len(out.Changed), c.why)
			}
			if got := look(m); !reflect.DeepEqual(got, before) {
				t.Errorf("now %v, want %v", got, before)
			}
			// and counting goes on from where it was
			if err := m.Set(key, []byte("again"), 0); err != nil || look(m)[key].Counter != before[key].Counter+1 {
				t.Errorf("the next setting is %+v (%v)", look(m)[key], err)
			}
		})
	}
}

func TestMapTakesWhatAClusterHasCounted(t *testing.T) {
	m := cluster.NewMap(cluster.MapOptions{Node: "new"})
	if out := m.Merge(entry("k", 1<<31, "old", false, 0, "x")); len(out.Changed) != 1 {
		t.Fatalf("a node without memory refused the cluster's state: %v", out.Refused)
	}
	if err := m.Set("k", []byte("y"), 0); err != nil || look(m)["k"].Counter != 1<<31+1 {
		t.Errorf("its own setting is not later: %+v %v", look(m)["k"], err)
	}
}

func TestMapReadsALaterProgramsFields(t *testing.T) {
	m := cluster.NewMap(cluster.MapOptions{Node: "x"})
	m.Merge(join(entry("a", 1, "n", false, 0, "1", 7, 7, 7), entry("b", 2, "n", false, 0, "2")))
	if got := look(m); got["a"].Value != "1" || got["b"].Value != "2" {
		t.Errorf("got %v", got)
	}
}

func TestMapBounds(t *testing.T) {
	m := cluster.NewMap(cluster.MapOptions{Node: "x", Entries: 3, Octets: 100})
	for i := range 3 {
		if err := m.Set(fmt.Sprint(i), []byte("v"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Set("3", nil, 0); err == nil {
		t.Error("a fourth entry was taken")
	}
	if out := m.Merge(entry("4", 9, "n", false, 0, "v")); out.Refused[cluster.ReasonFull] != 1 {
		t.Errorf("a fourth entry from outside: %v", out.Refused)
	}
	if err := m.Set("0", bytes.Repeat([]byte("v"), 100), 0); err == nil {
		t.Error("more octets than allowed were taken")
	}
	if err := m.Set("0", []byte("w"), 0); err != nil {
		t.Errorf("a known key in a full map: %v", err)
	}
}

// TestMapLifetimes runs in fake time: what has a lifetime ends everywhere, whatever the nodes' clocks say.
func TestMapLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		off := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
		a := cluster.NewMap(cluster.MapOptions{Node: "a"})
		b := cluster.NewMap(cluster.MapOptions{Node: "b", Now: off(time.Hour)}) // an hour fast
		c := cluster.NewMap(cluster.MapOptions{Node: "c", Now: off(-time.Hour)})
		if err := a.Set("k", []byte("v"), 10*time.Minute); err != nil {
			t.Fatal(err)
		}
		b.Merge(a.Full())
		c.Merge(b.Full())
		for name, m := range map[string]*cluster.Map{"a": a, "b": b, "c": c} {
			if _, ok := m.Get("k"); !ok {
				t.Errorf("%s does not have it", name)
			}
		}
		time.Sleep(5 * time.Minute)
		c.Merge(a.Full())
		time.Sleep(5*time.Minute + time.Second)
		for name, m := range map[string]*cluster.Map{"a": a, "b": b, "c": c} {
			m.Tick()
			if _, ok := m.Get("k"); ok {
				t.Errorf("%s still has it", name)
			}
		}
		// a copy that comes late does not bring it back
		late := cluster.NewMap(cluster.MapOptions{Node: "d"})
		late.Merge(entry("k", 1, "a", false, time.Minute, "v"))
		a.Merge(late.Full())
		if _, ok := a.Get("k"); ok {
			t.Error("what had ended came back")
		}
		// its name may be used again
		if err := a.Set("k", []byte("w"), 0); err != nil {
			t.Fatal(err)
		}
		if v, ok := a.Get("k"); !ok || string(v) != "w" {
			t.Errorf("set again: %q %v", v, ok)
		}
	})
}

func TestMapOwnerSaysItAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mk := func(node string) *cluster.Map {
			return cluster.NewMap(cluster.MapOptions{Node: node, Owned: true, Lifetime: 30 * time.Minute})
		}
		a, b := mk("a"), mk("b")
		var said []cluster.Delta
		a.Bind(func(d cluster.Delta) { said = append(said, d) })
		if err := a.Set("a/x", []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
		if err := a.Set("b/x", []byte("1"), 0); err == nil {
			t.Error("another node's entry was set")
		}
		for range 120 { // two hours
			time.Sleep(time.Minute)
			a.Tick()
			for _, d := range said {
				b.Merge(d.Payload)
			}
			said = nil
			b.Tick()
		}
		if _, ok := b.Get("a/x"); !ok {
			t.Error("it ended although its owner lives")
		}
		time.Sleep(31 * time.Minute) // a is silent
		if _, ok := b.Get("a/x"); ok {
			t.Error("it outlived its owner")
		}
	})
}

// TestMapOwnerAfterRestart: a node that has forgotten everything must win against what the others remember of it.
func TestMapOwnerAfterRestart(t *testing.T) {
	mk := func(node string) *cluster.Map {
		return cluster.NewMap(cluster.MapOptions{Node: node, Owned: true, Lifetime: time.Hour})
	}
	a, b := mk("a"), mk("b")
	for i := range 50 {
		if err := a.Set("a/state", []byte(fmt.Sprint("old", i)), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Set("a/gone", []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	b.Merge(a.Full())
	a = mk("a")
	if err := a.Set("a/state", []byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	out := a.Merge(b.Full())
	if len(out.Changed) != 2 {
		t.Fatalf("it says %d entries again, want 2", len(out.Changed))
	}
	for _, d := range out.Changed {
		b.Merge(d.Payload)
	}
	if got := look(b); len(got) != 1 || got["a/state"].Value != "new" {
		t.Errorf("the others have %v", got)
	}
}

// TestMapRestore: deletions and entries survive a restart, and a peer knows lifetimes better than a file and a clock
// that was set meanwhile.
func TestMapRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mk := func() *cluster.Map { return cluster.NewMap(cluster.MapOptions{Node: "a"}) }
		a := mk()
		for k, d := range map[string]time.Duration{"forever": 0, "hour": time.Hour, "minute": time.Minute} {
			if err := a.Set(k, []byte("v"), d); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Set("removed", []byte("v"), 0); err != nil {
			t.Fatal(err)
		}
		old := a.Full()
		a.Delete("removed")
		file := a.Full()

		b := mk()
		b.Restore(file, 10*time.Minute)
		if got := look(b); len(got) != 2 {
			t.Errorf("after ten minutes: %v, want forever and hour", got)
		}
		b.Merge(old)
		if _, ok := b.Get("removed"); ok {
			t.Error("a deletion was forgotten")
		}
		c := mk()
		c.Restore(file, 3*time.Hour) // the clock was set
		c.Tick()
		if _, ok := c.Get("hour"); ok {
			t.Error("the file alone: it should have ended")
		}
		c.Merge(a.Full())
		if _, ok := c.Get("hour"); !ok {
			t.Error("a peer's word did not count")
		}
	})
}

func TestSetMergeLaws(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 2))
	for range 200 {
		a, b, c := cluster.NewSet(0), cluster.NewSet(0), cluster.NewSet(0)
		for _, s := range []*cluster.Set{a, b, c} {
			for range rng.IntN(6) {
				if err := s.Add(fmt.Sprint(rng.IntN(10))); err != nil {
					t.Fatal(err)
				}
			}
		}
		ab, ba := cluster.NewSet(0), cluster.NewSet(0)
		for _, p := range [][]byte{a.Full(), b.Full(), c.Full(), b.Full()} {
			ab.Merge(p)
		}
		for _, p := range [][]byte{c.Full(), b.Full(), a.Full()} {
			ba.Merge(p)
		}
		if !reflect.DeepEqual(ab.All(), ba.All()) {
			t.Fatalf("%v, in another order %v", ab.All(), ba.All())
		}
		if out := ab.Merge(ba.Full()); len(out.Changed) != 0 {
			t.Fatalf("merging an equal set changed %d", len(out.Changed))
		}
	}
	small := cluster.NewSet(2)
	big := cluster.NewSet(0)
	for i := range 5 {
		if err := big.Add(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if out := small.Merge(big.Full()); len(out.Changed) != 2 || out.Refused[cluster.ReasonFull] != 3 {
		t.Errorf("a small set took %d, refused %v", len(out.Changed), out.Refused)
	}
}

// FuzzMapMerge: whatever comes in, the state stays within its bounds, and what it became merges into another copy
// completely.
func FuzzMapMerge(f *testing.F) {
	f.Add(entry("k", 1, "n", false, 0, "v"))
	f.Add(join(entry("k", 1, "n", false, time.Minute, "v"), entry("k", 2, "m", true, time.Minute, "")))
	f.Add(entry("k", 1<<62, "n", false, 0, "v"))
	f.Add([]byte{1, 200, 200, 200})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := cluster.NewMap(cluster.MapOptions{Node: "me", Entries: 8, Octets: 256})
		m.Merge(b)
		octets := 0
		for _, e := range m.All() {
			octets += len(e.Key) + len(e.Value)
		}
		if len(m.All()) > 8 || octets > 256 {
			t.Fatalf("%d entries, %d octets", len(m.All()), octets)
		}
		n := cluster.NewMap(cluster.MapOptions{Node: "other"})
		if out := n.Merge(m.Full()); len(out.Refused) != 0 {
			t.Fatalf("its own state was refused: %v", out.Refused)
		}
		if !reflect.DeepEqual(look(m), look(n)) {
			t.Fatalf("%v became %v", look(m), look(n))
		}
		s := cluster.NewSet(4)
		s.Merge(b)
		if len(s.All()) > 4 {
			t.Fatal("the set has outgrown its bound")
		}
	})
}
