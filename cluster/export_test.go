package cluster

import (
	"context"

	"github.com/hashicorp/memberlist"
)

// Pass puts a change into the gossip as if a state had made it.
func Pass(c *Cluster, state string, d Delta) { c.pass(state, d) }

// Take gives b to everything that reads what comes from the network, and does the work that comes of it.
func Take(c *Cluster, b []byte) {
	d := delegate{c}
	d.NotifyMsg(b)
	d.MergeRemoteState(b, true)
	n := &memberlist.Node{Name: "n", Addr: []byte{127, 0, 0, 1}, Port: 1, Meta: b}
	if d.NotifyAlive(n) == nil {
		d.NotifyJoin(n)
		d.NotifyLeave(n)
	}
	for {
		select {
		case t := <-c.tasks:
			c.serve(context.Background(), t)
		default:
			return
		}
	}
}

// LocalState is what a comparison of states sends.
func LocalState(c *Cluster) []byte { return delegate{c}.LocalState(false) }
