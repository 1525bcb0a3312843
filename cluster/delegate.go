package cluster

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hashicorp/memberlist"
)

// The kinds of our messages, the octet behind the version.
const (
	msgDelta   = 'd' // state, payload
	msgSend    = 'm' // kind, from, payload
	msgRequest = 'q' // kind, from, id, payload
	msgReply   = 'r' // status, from, id, payload
	msgFull    = 'f' // from, wall clock, then name and payload of each state
)

// delegate is what memberlist calls. After Run has ended none of its calls has an effect: memberlist's own
// timers may still fire for a moment.
type delegate struct{ c *Cluster }

func (d delegate) NodeMeta(int) []byte {
	flags := byte(0)
	if d.c.draining.Load() {
		flags |= metaDraining
	}
	if d.c.leaving.Load() {
		flags |= metaLeaving
	}
	return encodeMeta(flags, d.c.opt.Version)
}

// NotifyMsg hears of every message that is ours. It must not block.
func (d delegate) NotifyMsg(b []byte) {
	c := d.c
	if c.over.Load() {
		return
	}
	r := reader{b: b}
	v, kind := r.byte(), r.byte()
	switch {
	case r.bad:
		c.complain.tell(ReasonCorrupt, 1, "unknown", "a message without a head")
	case v != wireVersion:
		c.complain.tell(ReasonVersion, 1, "unknown", fmt.Sprintf("a message of version %d", v))
	case kind == msgDelta:
		c.delta(r)
	case kind == msgSend, kind == msgRequest:
		c.incoming(kind, r)
	case kind == msgReply:
		c.reply(r)
	default:
		c.m.refused(ReasonUnknown, 1) // a newer program's
	}
}

func (d delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.c.queue.GetBroadcasts(overhead, limit)
}

// LocalState gives all states for a comparison.
func (d delegate) LocalState(bool) []byte {
	c := d.c
	b := appendString([]byte{wireVersion, msgFull}, c.opt.Node)
	b = binary.BigEndian.AppendUint64(b, uint64(c.opt.Now().UnixMilli()))
	for _, s := range c.stateList() {
		full := s.merger.Full()
		if len(full) > maxState || len(b)+len(full) > maxFull {
			c.log.Error("a state has grown too large to be compared with other routers", "state", s.name, "octets", len(full))
			continue
		}
		b = appendString(b, s.name)
		b = appendBytes(b, full)
	}
	return b
}

// clockTolerance is the difference of wall clocks that is still nothing to tell.
const clockTolerance = 30 * time.Second

// MergeRemoteState takes another node's states.
func (d delegate) MergeRemoteState(b []byte, _ bool) {
	c := d.c
	if c.over.Load() {
		return
	}
	if len(b) > maxFull+4096 {
		c.complain.tell(ReasonSize, 1, "unknown", fmt.Sprintf("states of %d octets", len(b)))
		return
	}
	r := reader{b: b}
	v, kind := r.byte(), r.byte()
	if v != wireVersion && !r.bad {
		c.complain.tell(ReasonVersion, 1, "unknown", fmt.Sprintf("states of version %d", v))
		return
	}
	from := r.str(maxNode)
	wall := r.uint64()
	if r.bad || kind != msgFull || !nodeName(from) {
		c.complain.tell(ReasonCorrupt, 1, "unknown", "states that can't be read")
		return
	}
	offset := time.Duration(int64(wall)-c.opt.Now().UnixMilli()) * time.Millisecond
	c.members.clock(from, offset)
	if offset > clockTolerance || offset < -clockTolerance {
		c.complain.tell(ReasonClock, 1, from, "its clock differs by "+offset.Round(time.Second).String()+"; nothing here depends on it")
	}
	for n := 0; len(r.b) > 0; n++ {
		name := r.str(maxStateName)
		payload := r.bytes(maxState)
		if r.bad || n == maxStates {
			c.complain.tell(ReasonCorrupt, 1, from, "states that can't be read to the end")
			return
		}
		c.merge(name, payload, from)
	}
}

// delta takes one change.
func (c *Cluster) delta(r reader) {
	name := r.str(maxStateName)
	if r.bad {
		c.complain.tell(ReasonCorrupt, 1, "unknown", "a change that can't be read")
		return
	}
	c.merge(name, r.b, "unknown")
}

// mostPassedOn bounds what one comparison of states puts into the gossip: after a long cut the comparisons of
// the others bring the rest.
const mostPassedOn = 64

func (c *Cluster) merge(name string, payload []byte, from string) {
	s := c.stateOf(name)
	if s == nil {
		c.m.refused(ReasonUnknown, 1) // a newer program's
		return
	}
	out := s.merger.Merge(payload)
	for why, n := range out.Refused {
		c.complain.tell(why, n, from, "entries of the state "+name)
	}
	for i, d := range out.Changed {
		if i == mostPassedOn {
			break
		}
		c.pass(s.name, d)
	}
}

// NotifyJoin, NotifyUpdate and NotifyLeave keep the table.
func (d delegate) NotifyJoin(n *memberlist.Node)   { d.event(n, d.c.members.seen, "joined") }
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.event(n, d.c.members.seen, "") }
func (d delegate) NotifyLeave(n *memberlist.Node)  { d.event(n, d.c.members.gone, "gone") }

func (d delegate) event(n *memberlist.Node, f func(*memberlist.Node), what string) {
	if d.c.over.Load() {
		return
	}
	f(n)
	if what != "" && n.Name != d.c.opt.Node {
		_, version := decodeMeta(n.Meta)
		d.c.log.Info("router "+what, "router", n.Name, "address", n.Address(), "version", version)
	}
}

// NotifyAlive keeps out what no router is.
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	if why := d.c.members.admits(n.Name); why != "" {
		d.c.complain.tell(why, 1, n.Addr.String(), fmt.Sprintf("a router named %q", clip(n.Name, maxNode)))
		return fmt.Errorf("not admitted: %s", why)
	}
	return nil
}

// NotifyConflict hears of a second node of one name.
func (d delegate) NotifyConflict(existing, other *memberlist.Node) {
	d.c.complain.tell(ReasonConflict, 1, clip(other.Name, maxNode), fmt.Sprintf("two routers are named so, %s and %s: give each its own node.name",
		existing.Address(), other.Address()))
}

// AckPayload sends nothing with probes.
func (d delegate) AckPayload() []byte { return nil }

// NotifyPingComplete notes the time of a probe.
func (d delegate) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, _ []byte) {
	d.c.members.measured(n.Name, rtt)
}
