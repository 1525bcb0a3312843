package main

import (
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/cluster"
	"github.com/mmsrouter/mmsrouter/fence"
	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

// TestFenceOverGossip: the rooms fit each other, over real sockets: an answer is found through another router, also when
// the one that gave it has died.
func TestFenceOverGossip(t *testing.T) {
	var fences []*fence.Shared
	all, err := start(3, func(x *node) error {
		s, err := fence.NewShared(fence.SharedOptions{Fence: fence.New(fence.Options{Window: time.Hour, Entries: 1024}),
			Owners: fence.NewOwners(1024, time.Hour), Peers: x.Cluster, Node: x.Node(), Window: time.Hour, Entries: 1024, Cap: time.Second})
		fences = append(fences, s)
		return err
	})
	defer func() {
		if err := stopAll(all); err != nil {
			t.Error(err)
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := until(all, byMembers, func(x *node) bool { return len(x.Living()) == 2 }); err != nil {
		t.Fatal(err)
	}
	ticket, prior := fences[0].Enter("k", time.Now(), time.Second, func() {})
	if prior != nil || !ticket.Whole(100, 7) {
		t.Fatal("not new")
	}
	ticket.Answer([]byte("conf"))
	all[0].HandOver() // it ends without a farewell, as if killed
	all[0].stop()
	if err := <-all[0].done; err != nil {
		t.Fatal(err)
	}
	all[0].done <- nil // for stopAll
	_, prior = fences[1].Enter("k", time.Now(), time.Second, func() {})
	if prior == nil || string(prior.Answer(time.Second, 100, 7)) != "conf" {
		t.Error("the answer died with its router")
	}
	fences[1].Learn("mmsc-a", time.Now(), "p")
	if _, err := until(all[2:], byMembers, func(*node) bool { return fences[2].FindAny(time.Now(), "p") == "mmsc-a" }); err != nil {
		t.Error("the owner is not found: ", err)
	}
}

// TestBench runs the measurements at their smallest.
func TestBench(t *testing.T) {
	g := measure.NewTable("", "", "")
	if err := gossip(g, 3, 1, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if v := g.Median("3 routers", "loss noticed by all s"); v <= 0 || v > 60 {
		t.Errorf("a loss was noticed after %v s", v)
	}
	f := measure.NewTable("", "", "")
	if err := shared(f, 2, 20); err != nil {
		t.Fatal(err)
	}
	if v := f.Median("2 routers", "datagrams sent"); v != 2 {
		t.Errorf("%v requests a message, want 2", v)
	}
}

var _ fence.Peers = (*cluster.Cluster)(nil)
