package view_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mmsrouter/mmsrouter/cluster"
	"github.com/mmsrouter/mmsrouter/cluster/view"
)

// mesh is a cluster in memory: what one router says, all others hear at once.
type mesh struct {
	mu      sync.Mutex
	nodes   []*half
	members map[string]cluster.MemberState
}

type half struct {
	*view.View
	mesh   *mesh
	name   string
	states map[string]cluster.Merger
	bell   chan struct{}
}

func (h *half) State(name string, m cluster.Merger) error {
	h.states[name] = m
	m.Bind(func(d cluster.Delta) {
		for _, o := range h.mesh.nodes {
			if o != h {
				o.states[name].Merge(d.Payload)
			}
		}
	})
	return nil
}

func (h *half) Members() []cluster.Member {
	h.mesh.mu.Lock()
	defer h.mesh.mu.Unlock()
	all := []cluster.Member{{Name: h.name, State: h.mesh.members[h.name], Self: true}}
	for _, n := range h.mesh.nodes {
		if n != h {
			all = append(all, cluster.Member{Name: n.name, State: h.mesh.members[n.name]})
		}
	}
	return all
}

func (h *half) Watch() (<-chan struct{}, func()) { return h.bell, func() {} }

func (m *mesh) set(name string, s cluster.MemberState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.members[name] = s
}

func routers(t *testing.T, names ...string) (*mesh, []*half) {
	t.Helper()
	m := &mesh{members: map[string]cluster.MemberState{}}
	for _, name := range names {
		h := &half{mesh: m, name: name, states: map[string]cluster.Merger{}, bell: make(chan struct{}, 1)}
		var err error
		if h.View, err = view.New(view.Options{Cluster: h, Node: name}); err != nil {
			t.Fatal(err)
		}
		m.nodes = append(m.nodes, h)
		m.set(name, cluster.Alive)
	}
	for i, h := range m.nodes {
		addr := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}[i]
		if err := h.SetRouter(view.Router{Digest: "d1", Ready: true, Zones: map[string][]string{"mms.example.net": {addr}}}); err != nil {
			t.Fatal(err)
		}
	}
	return m, m.nodes
}

func want(t *testing.T, h *half, addrs ...string) {
	t.Helper()
	if got := h.Addresses("mms.example.net"); !reflect.DeepEqual(got, addrs) {
		t.Errorf("%s would answer %v, want %v", h.name, got, addrs)
	}
}

func TestAddresses(t *testing.T) {
	m, n := routers(t, "r1", "r2", "r3")
	want(t, n[0], "192.0.2.1", "192.0.2.2", "192.0.2.3")
	for _, s := range []cluster.MemberState{cluster.Draining, cluster.Suspect, cluster.Left} {
		m.set("r2", s)
		want(t, n[0], "192.0.2.1", "192.0.2.3")
	}
	m.set("r2", cluster.Alive)

	// an operator takes one out, from anywhere
	if err := n[2].SetOverride(view.Override{Kind: view.RouterDrain, Glob: "r1", On: true, By: "op"}, 0); err != nil {
		t.Fatal(err)
	}
	want(t, n[1], "192.0.2.2", "192.0.2.3")
	if ok, err := n[0].Undrain(view.RouterDrain, "r1", view.Override{}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	want(t, n[1], "192.0.2.1", "192.0.2.2", "192.0.2.3")

	// its path to the MMSCs is broken: it sees none while others do
	for _, h := range n {
		if err := h.SetVerdict("a", &view.Verdict{Up: h.name != "r3"}); err != nil {
			t.Fatal(err)
		}
	}
	want(t, n[2], "192.0.2.1", "192.0.2.2")
	if !n[2].Blind() || n[0].Blind() {
		t.Error("r3 alone is blind")
	}
	if got := n[0].DownElsewhere(); !reflect.DeepEqual(got, []string{"a"}) {
		t.Errorf("down elsewhere: %v", got)
	}
	// all MMSCs are down for all: nobody's path is to blame
	for _, h := range n {
		if err := h.SetVerdict("a", &view.Verdict{Up: false}); err != nil {
			t.Fatal(err)
		}
	}
	want(t, n[0], "192.0.2.1", "192.0.2.2", "192.0.2.3")
	// a verdict of a router that is gone does not make others blind
	if err := n[1].SetVerdict("a", &view.Verdict{Up: true}); err != nil {
		t.Fatal(err)
	}
	want(t, n[0], "192.0.2.2")
	m.set("r2", cluster.Suspect)
	want(t, n[0], "192.0.2.1", "192.0.2.3")

	// none qualifies: all but those that left
	m.set("r1", cluster.Draining)
	m.set("r3", cluster.Left)
	want(t, n[0], "192.0.2.1", "192.0.2.2")
}

func TestDigests(t *testing.T) {
	m, n := routers(t, "r1", "r2", "r3")
	if err := n[1].SetRouter(view.Router{Digest: "d2"}); err != nil {
		t.Fatal(err)
	}
	if got := n[0].Digests(); !reflect.DeepEqual(got, map[string][]string{"d1": {"r1", "r3"}, "d2": {"r2"}}) {
		t.Errorf("digests %v", got)
	}
	for _, r := range n[0].Routers() {
		if r.Mismatch != (r.Name == "r2") {
			t.Errorf("%s: mismatch %v", r.Name, r.Mismatch)
		}
	}
	m.set("r2", cluster.Left)
	if got := n[0].Digests(); len(got) != 1 {
		t.Errorf("digests %v", got)
	}
}

func TestOverrides(t *testing.T) {
	_, n := routers(t, "r1", "r2")
	a, b := n[0], n[1]
	drained := func(h *half, name string) bool { _, ok := h.Drained(view.MMSCDrain, name); return ok }
	if err := a.SetOverride(view.Override{Kind: view.MMSCDrain, Glob: "mmsc-*", On: true, By: "op", Reason: "cabling"}, 0); err != nil {
		t.Fatal(err)
	}
	if o, ok := b.Drained(view.MMSCDrain, "mmsc-7"); !ok || o.By != "op" || o.Reason != "cabling" || o.Node != "r1" {
		t.Errorf("%+v %v", o, ok)
	}
	if drained(b, "other") {
		t.Error("a glob took too much")
	}
	// an exception from a wider one, said on another router
	if ok, err := b.Undrain(view.MMSCDrain, "mmsc-7", view.Override{By: "op2"}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if drained(a, "mmsc-7") || !drained(a, "mmsc-8") {
		t.Error("the exception")
	}
	// said later, the wider one holds again
	if err := b.SetOverride(view.Override{Kind: view.MMSCDrain, Glob: "mmsc-*", On: true, By: "op3"}, 0); err != nil {
		t.Fatal(err)
	}
	if !drained(a, "mmsc-7") {
		t.Error("the last word does not count")
	}
	if ok, err := a.LiftOverride(view.MMSCDrain, "mmsc-*"); !ok || err != nil || drained(b, "mmsc-8") {
		t.Error("not lifted", ok, err)
	}
	if ok, err := a.Undrain(view.MMSCDrain, "mmsc-8", view.Override{}); ok || err != nil {
		t.Error("nothing drained", ok, err)
	}
	for _, bad := range []view.Override{{Kind: view.MMSCDrain}, {Kind: view.MMSCDrain, Glob: "[a"}, {Kind: view.MMSCDrain, Glob: "a/b"},
		{Glob: "a"}, {Kind: "a/b", Glob: "c"}, {Kind: view.MMSCDrain, Glob: strings.Repeat("x", 200)}} {
		if err := a.SetOverride(bad, 0); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	if err := a.SetOverride(view.Override{Kind: view.MMSCDrain, Glob: "["}, 0); !errors.Is(err, view.ErrGlob) {
		t.Errorf("got %v", err)
	}
	long := strings.Repeat("ü", 500)
	if err := a.SetOverride(view.Override{Kind: view.MMSCDrain, Glob: "x", On: true, By: long, Reason: long}, 0); err != nil {
		t.Fatal(err)
	}
	if o, _ := b.Drained(view.MMSCDrain, "x"); len(o.By) > 64 || len(o.Reason) > 200 || !strings.HasPrefix(o.By, "üü") {
		t.Errorf("%d and %d octets", len(o.By), len(o.Reason))
	}
}

// TestOverridesOutliveARestart: of a router that is alone, in fake time.
func TestOverridesOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := filepath.Join(t.TempDir(), "overrides.json")
		open := func() (*view.View, func()) {
			v, err := view.New(view.Options{Node: "r1", File: f})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			go func() { done <- v.Run(ctx) }()
			return v, func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		}
		v, stop := open()
		for _, o := range []struct {
			glob string
			for_ time.Duration
		}{{"stays", 0}, {"hour", time.Hour}, {"lifted", 0}} {
			if err := v.SetOverride(view.Override{Kind: view.MMSCDrain, Glob: o.glob, On: true, By: "op"}, o.for_); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := v.LiftOverride(view.MMSCDrain, "lifted"); err != nil {
			t.Fatal(err)
		}
		stop()
		time.Sleep(30 * time.Minute)
		v, stop = open()
		names := func() (all []string) {
			for _, o := range v.Overrides() {
				all = append(all, o.Glob)
			}
			return all
		}
		if got := names(); !reflect.DeepEqual(got, []string{"hour", "stays"}) {
			t.Errorf("after half an hour: %v", got)
		}
		heard, end := v.Watch()
		time.Sleep(31 * time.Minute)
		if got := names(); !reflect.DeepEqual(got, []string{"stays"}) {
			t.Errorf("after an hour: %v", got)
		}
		select {
		case <-heard:
		default:
			t.Error("nobody was told that it ended")
		}
		end()
		stop()
		if st, err := os.Stat(f); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("the file: %v %v", st, err)
		}
	})
}

func TestUnreadableFile(t *testing.T) {
	for _, c := range []struct{ name, text string }{
		{"cut", `{"version":1,"saved":"2026-01-01T00:00:00Z","state":"AQ`},
		{"empty", ""},
		{"another's", `{"version":7}`},
		{"garbage inside", `{"version":1,"saved":"2026-01-01T00:00:00Z","state":"AQMDAwM="}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := filepath.Join(t.TempDir(), "overrides.json")
			if err := os.WriteFile(f, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			v, err := view.New(view.Options{Node: "r1", File: f})
			if err != nil || len(v.Overrides()) != 0 {
				t.Fatalf("%v %v", v, err)
			}
			if b, err := os.ReadFile(f + ".unreadable"); err != nil || string(b) != c.text {
				t.Errorf("not put aside: %q %v", b, err)
			}
			if err := v.SetOverride(view.Override{Kind: view.MMSCDrain, Glob: "x", On: true}, 0); err != nil {
				t.Errorf("it can't go on: %v", err)
			}
		})
	}
}

// TestOthersNonsense: what another router says in a form we don't know is left out.
func TestOthersNonsense(t *testing.T) {
	_, n := routers(t, "r1", "r2")
	evil := cluster.NewMap(cluster.MapOptions{Node: "r2"})
	for _, k := range []string{"first", "second", "r2", "r2/mmsc/a", "drain/[", "drain", "drain/x", "/"} {
		if err := evil.Set(k, []byte("\xff{nonsense"), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range n[0].states {
		m.Merge(evil.Full())
	}
	if got := n[0].Overrides(); len(got) != 0 {
		t.Errorf("overrides %v", got)
	}
	if got := n[0].Verdicts(); len(got) != 0 {
		t.Errorf("verdicts %v", got)
	}
	if got := n[0].Addresses("mms.example.net"); !reflect.DeepEqual(got, []string{"192.0.2.1"}) {
		t.Errorf("addresses %v", got)
	}
}
