package cluster_test

import (
	"context"
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/mmsrouter/mmsrouter/cluster"
)

// bound is a cluster that does not run.
func bound(t testing.TB) (*cluster.Cluster, *cluster.Map) {
	t.Helper()
	c := cluster.DefaultConfig()
	c.Listen = "127.0.0.1:0"
	x, err := cluster.New(cluster.Options{Config: c, Node: "me"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	m := cluster.NewMap(cluster.MapOptions{Node: "me", Entries: 16, Octets: 1024})
	if err := x.State("test", m); err != nil {
		t.Fatal(err)
	}
	x.Handle("echo", func(_ context.Context, _ string, b []byte) ([]byte, error) { return b, nil })
	return x, m
}

func message(kind byte, fields ...string) []byte {
	b := []byte{1, kind}
	for _, f := range fields {
		b = append(binary.AppendUvarint(b, uint64(len(f))), f...)
	}
	return b
}

func TestComparisonOfStates(t *testing.T) {
	a, m := bound(t)
	for _, k := range []string{"x", "y"} {
		if err := m.Set(k, []byte(k), 0); err != nil {
			t.Fatal(err)
		}
	}
	b, n := bound(t)
	cluster.Take(b, cluster.LocalState(a))
	if !reflect.DeepEqual(look(m), look(n)) {
		t.Errorf("%v became %v", look(m), look(n))
	}
}

// FuzzNetwork: whatever a member sends, nothing panics and the state stays within its bounds.
func FuzzNetwork(f *testing.F) {
	a, m := bound(f)
	if err := m.Set("k", []byte("v"), 0); err != nil {
		f.Fatal(err)
	}
	f.Add(cluster.LocalState(a))
	f.Add(append(message('d', "test"), entry("k", 7, "n", false, 0, "v")...))
	f.Add(message('m', "echo", "n", "hello"))
	f.Add(append(message('q', "echo", "n"), 0, 0, 0, 0, 0, 0, 0, 1, 'x'))
	f.Add([]byte{1, 'r', 0, 1, 'n', 0, 0, 0, 0, 0, 0, 0, 1, 'x'})
	f.Add([]byte{1, 3, 5, '1', '.', '2', '.', '3'}) // a node's metadata
	f.Add([]byte{2, 'd'})
	c, state := bound(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		cluster.Take(c, b)
		if n := len(state.All()); n > 16 {
			t.Fatalf("%d entries", n)
		}
	})
}
