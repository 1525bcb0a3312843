package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mmsrouter/mmsrouter/fence"
	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

// shared measures what the fence across n routers adds to a message: its entry and its settling at one router, with an
// answer of the usual size, one message at a time.
func shared(t *measure.Table, n, messages int) (err error) {
	row := fmt.Sprint(n, " routers")
	if n == 1 {
		row = "alone"
	}
	var fences []*fence.Shared
	all, err := start(n, func(x *node) error {
		s, err := fence.NewShared(fence.SharedOptions{Fence: fence.New(fence.Options{Window: time.Hour, Entries: 1 << 16}),
			Owners: fence.NewOwners(1<<12, time.Hour), Peers: x.Cluster, Node: x.Node(), Window: time.Hour, Entries: 1 << 16, Cap: x.AskTimeout()})
		fences = append(fences, s)
		return err
	})
	defer func() { err = errors.Join(err, stopAll(all)) }()
	if err != nil {
		return err
	}
	if _, err := until(all, byMembers, func(x *node) bool { return len(x.Living()) == n-1 }); err != nil {
		return err
	}
	answer := make([]byte, 120)
	for round := range 3 {
		cpu := measure.Total(os.Getpid())
		packets := sum(all, "mmsrouter_cluster_messages_total", "out")
		began := time.Now()
		for i := range messages {
			key := fence.Key("+46700000000", fmt.Append(nil, "t", round, "-", i))
			ticket, prior := fences[0].Enter(key, time.Now(), time.Second, func() {})
			if prior != nil {
				return fmt.Errorf("message %d is known already", i)
			}
			if !ticket.Whole(100, uint64(i)) {
				return fmt.Errorf("message %d was taken", i)
			}
			ticket.Answer(answer)
		}
		took := time.Since(began)
		t.Add(row, "µs held up", float64(took.Nanoseconds())/1000/float64(messages))
		t.Add(row, "CPU µs, all routers", float64((measure.Total(os.Getpid())-cpu).Microseconds())/float64(messages))
		t.Add(row, "datagrams sent", (sum(all, "mmsrouter_cluster_messages_total", "out")-packets)/float64(messages))
	}
	return nil
}
