package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/cluster"
)

const testKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// node is one router's part of a cluster under test.
type node struct {
	*cluster.Cluster
	m    *cluster.Map
	reg  *prometheus.Registry
	log  *logBuffer
	stop func()
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

// quick is a configuration with short times, for tests on loopback.
func quick(peers ...*node) cluster.Config {
	c := cluster.DefaultConfig()
	c.Listen, c.Key = "127.0.0.1:0", testKey
	c.ProbeInterval, c.ProbeTimeout, c.Suspicion = 200*time.Millisecond, 100*time.Millisecond, 2
	c.GossipInterval, c.SyncInterval, c.LeaveTimeout = 20*time.Millisecond, time.Second, 2*time.Second
	for _, p := range peers {
		c.Join = append(c.Join, p.Addr())
	}
	return c
}

// start runs a node until the test ends; opts change its options.
func start(t *testing.T, name string, c cluster.Config, opts ...func(*cluster.Options)) *node {
	t.Helper()
	n := &node{reg: prometheus.NewRegistry(), log: &logBuffer{}, m: cluster.NewMap(cluster.MapOptions{Node: name})}
	o := cluster.Options{Config: c, Node: name, Version: "1.2.3", Metrics: n.reg, Log: slog.New(slog.NewTextHandler(n.log, nil))}
	for _, f := range opts {
		f(&o)
	}
	var err error
	if n.Cluster, err = cluster.New(o); err != nil {
		t.Fatal(err)
	}
	if err := n.State("test", n.m); err != nil {
		t.Fatal(err)
	}
	n.Handle("echo", func(_ context.Context, from string, b []byte) ([]byte, error) {
		if string(b) == "no" {
			return nil, errors.New("not today")
		}
		return append([]byte(from+":"), b...), nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s ended: %v", name, err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s does not end", name)
		}
	})
	t.Cleanup(n.stop)
	return n
}

// eventually waits until f holds, looking at each change of a clock's tick.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(15 * time.Second)
	for !f() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not in 15 s: %s", what)
		}
	}
}

func (n *node) state(name string) cluster.MemberState {
	for _, m := range n.Members() {
		if m.Name == name {
			return m.State
		}
	}
	return ""
}

func (n *node) refused(t *testing.T, reason string) float64 {
	t.Helper()
	return counter(t, n.reg, "mmsrouter_cluster_refused_total", "reason", reason)
}

func counter(t *testing.T, reg *prometheus.Registry, name, label, value string) float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == label && l.GetValue() == value {
					return m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
	}
	t.Fatalf("no %s{%s=%q}", name, label, value)
	return 0
}

func three(t *testing.T) (a, b, c *node) {
	t.Helper()
	a = start(t, "a", quick())
	b = start(t, "b", quick(a))
	c = start(t, "c", quick(a))
	for _, n := range []*node{a, b, c} {
		eventually(t, n.Node()+" sees two others", func() bool { return len(n.Living()) == 2 })
	}
	return a, b, c
}
