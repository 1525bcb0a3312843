// Command cluster is the cluster's bench: many routers' gossip in one process, over real sockets on loopback, with the
// default times and encryption. It prints how long a change takes to reach all, what the gossip costs in octets and CPU,
// how long a loss takes to be noticed, and what the shared duplicate fence adds to a message. It judges nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/cluster"
	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	fs := flag.NewFlagSet("cluster", flag.ContinueOnError)
	quick := fs.Bool("quick", false, "ten routers, short observation: under ten seconds")
	if err := fs.Parse(args); err != nil {
		return err
	}
	sizes, changes, watch, messages := []int{3, 10, 50, 200}, 20, 20*time.Second, 20000
	if *quick {
		sizes, changes, watch, messages = sizes[1:2], 3, 2*time.Second, 1000
	}
	fmt.Println(measure.Machine())
	t := measure.NewTable("Routers in one process, default times, AES-256", "", "", "all joined s", "change at all ms", "large change at all ms",
		"idle octets/s per router", "idle CPU ms/s per router", "octets per change and router", "loss noticed by all s")
	for _, n := range sizes {
		if err := gossip(t, n, changes, watch); err != nil {
			return fmt.Errorf("%d routers: %w", n, err)
		}
	}
	t.Print(os.Stdout)
	f := measure.NewTable("The duplicate fence across routers: one router takes the messages, the others keep for it", "per message", "alone",
		"µs held up", "CPU µs, all routers", "datagrams sent")
	for _, n := range []int{1, 2, 3, 5} {
		if err := shared(f, n, messages); err != nil {
			return fmt.Errorf("fence of %d routers: %w", n, err)
		}
	}
	f.Print(os.Stdout)
	return nil
}

const key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// node is one router's part.
type node struct {
	*cluster.Cluster
	m    *cluster.Map
	reg  *prometheus.Registry
	stop context.CancelFunc
	done chan error
}

// start makes n routers, each but the first joining the first, and runs them; made is called before each runs.
func start(n int, made func(*node) error) ([]*node, error) {
	var all []*node
	for i := range n {
		c := cluster.DefaultConfig()
		c.Listen, c.Key = "127.0.0.1:0", key
		if i > 0 {
			c.Join = []string{all[0].Addr()}
		}
		x := &node{m: cluster.NewMap(cluster.MapOptions{Node: name(i)}), reg: prometheus.NewRegistry(), done: make(chan error, 1)}
		var err error
		if x.Cluster, err = cluster.New(cluster.Options{Config: c, Node: name(i), Version: "bench", Metrics: x.reg, Log: slog.New(slog.DiscardHandler)}); err != nil {
			return all, err
		}
		if err := x.State("bench", x.m); err != nil {
			return all, err
		}
		if made != nil {
			if err := made(x); err != nil {
				return all, err
			}
		}
		var ctx context.Context
		ctx, x.stop = context.WithCancel(context.Background())
		go func() { x.done <- x.Run(ctx) }() // stopAll waits for it
		all = append(all, x)
	}
	return all, nil
}

func name(i int) string { return fmt.Sprintf("r%d", i) }

// stopAll ends the routers without farewells.
func stopAll(all []*node) error {
	var errs []error
	for _, x := range all {
		x.HandOver()
		x.stop()
	}
	for _, x := range all {
		errs = append(errs, <-x.done)
	}
	return errors.Join(errs...)
}

// until waits for f at every one of the nodes and gives the time since the call.
func until(all []*node, watch func(*node) (<-chan struct{}, func()), f func(*node) bool) (time.Duration, error) {
	began := time.Now()
	limit := time.NewTimer(2 * time.Minute)
	defer limit.Stop()
	over := make(chan struct{})
	var wg sync.WaitGroup
	for _, x := range all {
		changed, end := watch(x)
		wg.Go(func() {
			defer end()
			for !f(x) {
				select {
				case <-changed:
				case <-over:
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
		return time.Since(began), nil
	case <-limit.C:
		close(over)
		<-done
		return 0, errors.New("not in two minutes")
	}
}

func byMembers(x *node) (<-chan struct{}, func()) { return x.Watch() }
func byState(x *node) (<-chan struct{}, func())   { return x.m.Watch() }

// gossip measures n routers.
func gossip(t *measure.Table, n, changes int, watch time.Duration) (err error) {
	row := fmt.Sprint(n, " routers")
	all, err := start(n, nil)
	defer func() { err = errors.Join(err, stopAll(all)) }()
	if err != nil {
		return err
	}
	took, err := until(all, byMembers, func(x *node) bool { return len(x.Living()) == n-1 })
	if err != nil {
		return err
	}
	t.Add(row, "all joined s", took.Seconds())
	settle(2 * time.Second)

	octets, cpu := sum(all, "mmsrouter_cluster_octets_total", "out"), measure.Total(os.Getpid())
	settle(watch)
	t.Add(row, "idle octets/s per router", (sum(all, "mmsrouter_cluster_octets_total", "out")-octets)/watch.Seconds()/float64(n))
	t.Add(row, "idle CPU ms/s per router", (measure.Total(os.Getpid())-cpu).Seconds()*1000/watch.Seconds()/float64(n))

	for _, size := range []struct {
		col    string
		octets int
	}{{"change at all ms", 200}, {"large change at all ms", 8000}} {
		before := sum(all, "mmsrouter_cluster_octets_total", "out")
		began := time.Now()
		for i := range changes {
			k := fmt.Sprintf("k%d", i)
			if err := all[i%n].m.Set(k, make([]byte, size.octets), 0); err != nil {
				return err
			}
			took, err := until(all, byState, func(x *node) bool { v, _ := x.m.Get(k); return len(v) == size.octets })
			if err != nil {
				return err
			}
			t.Add(row, size.col, float64(took.Microseconds())/1000)
		}
		if size.octets == 200 {
			settle(time.Second) // retransmissions belong to the price
			idle := t.Median(row, "idle octets/s per router") * time.Since(began).Seconds()
			t.Add(row, "octets per change and router", ((sum(all, "mmsrouter_cluster_octets_total", "out")-before)/float64(n)-idle)/float64(changes))
		}
	}

	last := all[n-1]
	all = all[:n-1]
	if err := stopAll([]*node{last}); err != nil {
		return err
	}
	took, err = until(all, byMembers, func(x *node) bool { return len(x.Living()) == n-2 })
	if err != nil {
		return err
	}
	t.Add(row, "loss noticed by all s", took.Seconds())
	return nil
}

// settle lets time pass.
func settle(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
	runtime.Gosched()
}

// sum adds up a counter over routers, for one direction.
func sum(all []*node, name, direction string) float64 {
	total := 0.0
	for _, x := range all {
		families, err := x.reg.Gather()
		if err != nil {
			continue // our own collector: it can't fail
		}
		for _, f := range families {
			if f.GetName() != name {
				continue
			}
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetName() == "direction" && l.GetValue() == direction {
						total += m.GetCounter().GetValue()
					}
				}
			}
		}
	}
	return total
}
