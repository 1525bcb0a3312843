package cluster

import (
	"fmt"
	"math/rand/v2"

	"github.com/hashicorp/memberlist"
)

// state is one named state.
type state struct {
	name   string
	merger Merger
}

// State registers a named state, the same on every router, before Run.
func (c *Cluster) State(name string, m Merger) error {
	if name == "" || len(name) > maxStateName {
		return fmt.Errorf("cluster state %.80q: want a name of 1 to %d octets", name, maxStateName)
	}
	c.reg.Lock()
	defer c.reg.Unlock()
	if c.running || len(c.states) == maxStates {
		return fmt.Errorf("cluster state %q: the cluster runs already, or has %d states", name, len(c.states))
	}
	for _, s := range c.states {
		if s.name == name {
			return fmt.Errorf("cluster state %q: registered twice", name)
		}
	}
	c.states = append(c.states, &state{name, m})
	m.Bind(func(d Delta) { c.pass(name, d) })
	return nil
}

func (c *Cluster) stateList() []*state {
	c.reg.RLock()
	defer c.reg.RUnlock()
	return c.states // only grows before Run
}

func (c *Cluster) stateOf(name string) *state {
	for _, s := range c.stateList() {
		if s.name == name {
			return s
		}
	}
	return nil
}

// broadcast is a change that waits to be passed on.
type broadcast struct {
	name string
	b    []byte
}

func (b *broadcast) Name() string                            { return b.name }
func (b *broadcast) Message() []byte                         { return b.b }
func (b *broadcast) Finished()                               {}
func (b *broadcast) Invalidates(o memberlist.Broadcast) bool { return false } // by Name

// bulkFanOut is how many routers get a change that is too large for gossip; those to whom it is news pass it on. With
// ten, one of 200 routers is left out once in a hundred such changes, and waits for a comparison of states.
const bulkFanOut = 10

// pass puts a change into the gossip.
func (c *Cluster) pass(state string, d Delta) {
	b := appendString(append(make([]byte, 0, 8+len(state)+len(d.Payload)), wireVersion, msgDelta), state)
	b = append(b, d.Payload...)
	if len(b) <= maxPacket {
		c.queue.QueueBroadcast(&broadcast{name: state + "\x00" + d.Key, b: b})
		return
	}
	peers := append([]string(nil), c.Living()...)
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	for _, p := range peers[:min(len(peers), bulkFanOut)] {
		if !c.post(p, b) {
			return // the next comparison of states brings it
		}
	}
}
