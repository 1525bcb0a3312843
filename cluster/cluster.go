// Package cluster makes several routers one: membership, small states that every router holds a copy of, and
// messages from one router to another. It stands on memberlist (SWIM gossip, over UDP and TCP on one port, encrypted
// with the cluster's key) and knows nothing of what the states and messages mean.
//
// It owns the gossip sockets, the table of members and the copies' way through the network. What is gossiped to all
// are named states with a merge function (Map: last writer wins by logical counter and node; Set: union): each change at
// once, the whole from time to time with one other router, so that every copy ends up equal. What concerns two routers
// goes from one to the other: Send, Request.
//
// Promises on failure: a router that is alone works as if there were no cluster. Nothing that comes in can stop it, fill
// its memory or change a state that it does not belong to: what can't be decrypted, read, merged or is too large is
// counted, logged once per source and minute, and has no effect. No order of events depends on a clock.
//
// States: bound (New), running (Run), leaving (Run's context has ended; bounded by leave_timeout), ended. Of the members:
// alive, draining, suspect (went away without a farewell), left.
package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
)

// Options is what New needs.
type Options struct {
	Config  Config
	Node    string // this router's name, unique in the cluster
	Version string // of the program, shown to the others
	Metrics prometheus.Registerer
	Log     *slog.Logger
	Now     func() time.Time // wall clock, told to the others and compared with theirs; nil: time.Now

	// TCP and UDP are sockets to take over instead of binding; both or none.
	TCP *net.TCPListener
	UDP *net.UDPConn
}

// Cluster is this router's part of the cluster.
type Cluster struct {
	opt       Options
	log       *slog.Logger
	m         *metrics
	transport *transport
	members   *members
	complain  *complaints
	keys      *memberlist.Keyring // nil: no encryption
	queue     *memberlist.TransmitLimitedQueue
	list      atomic.Pointer[memberlist.Memberlist] // nil before Run
	asks      asks
	tasks     chan task
	slots     chan struct{} // reliable messages of ours at a time
	out       chan letter   // what is too large for a datagram
	announce  chan struct{} // our metadata has changed
	alone     chan struct{} // all others are gone

	draining atomic.Bool
	updating sync.Mutex // held while our metadata is given to memberlist; taken before no other lock of ours
	leaving  atomic.Bool
	over     atomic.Bool      // Run has ended
	handOver atomic.Bool      // end without a farewell
	known    []netip.AddrPort // of Introduce; the join loop's own from Run on

	reg      sync.RWMutex // guards the following
	handlers map[string]Handler
	states   []*state
	running  bool
}

// New checks the options and binds the gossip address; nothing is sent or taken before Run.
func New(o Options) (*Cluster, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	if !o.Config.Enabled() {
		return nil, errors.New("cluster.listen: wanted")
	}
	if !nodeName(o.Node) {
		return nil, fmt.Errorf("node.name: %q: want up to 64 letters, digits, dots, dashes, underscores", o.Node)
	}
	if (o.TCP == nil) != (o.UDP == nil) {
		return nil, errors.New("cluster: sockets to take over: want both or none")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{opt: o, log: o.Log, members: newMembers(o.Node, o.Config.MaxMembers, time.Now),
		asks: asks{all: map[uint64]*ask{}, next: rand.Uint64()}, tasks: make(chan task, maxTasks), slots: make(chan struct{}, 16),
		out: make(chan letter, 64), announce: make(chan struct{}, 1), alone: make(chan struct{}, 1), handlers: map[string]Handler{}}
	var err error
	if c.keys, err = keyring(&o.Config); err != nil {
		return nil, err
	}
	if c.transport, err = listen(&o.Config, o.TCP, o.UDP); err != nil {
		return nil, err
	}
	c.m = newMetrics(c.members, &c.transport.octets)
	c.complain = &complaints{log: o.Log, count: c.m.refused, now: time.Now, last: map[complaint]*heard{}}
	c.transport.busy = func(source string) { c.complain.tell(ReasonBusy, 1, source, "too many streams") }
	c.queue = &memberlist.TransmitLimitedQueue{NumNodes: func() int { return len(c.Living()) + 1 }, RetransmitMult: 4}
	if o.Metrics != nil {
		if err := o.Metrics.Register(c.m); err != nil {
			return nil, errors.Join(fmt.Errorf("cluster: %w", err), c.Close())
		}
	}
	return c, nil
}

func keyring(c *Config) (*memberlist.Keyring, error) {
	if c.Key == "" {
		return nil, nil
	}
	first, err := parseKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("cluster.key: %w", err)
	}
	var old [][]byte
	for i, k := range c.OldKeys {
		b, err := parseKey(k)
		if err != nil {
			return nil, fmt.Errorf("cluster.old_keys[%d]: %w", i, err)
		}
		old = append(old, b)
	}
	return memberlist.NewKeyring(old, first)
}

// Close gives the sockets back without having run; harmless after Run.
func (c *Cluster) Close() error { return c.transport.Shutdown() }

// Addr is the gossip address that others reach.
func (c *Cluster) Addr() string { return c.transport.advertise.String() }

// Node is this router's name.
func (c *Cluster) Node() string { return c.opt.Node }

// AskTimeout is how long a message may wait for another router's word.
func (c *Cluster) AskTimeout() time.Duration { return c.opt.Config.AskTimeout }

// Members gives all routers that are known, this one first.
func (c *Cluster) Members() []Member { return c.members.list() }

// Living gives the names of the other routers that live, sorted. The slice must not be changed.
func (c *Cluster) Living() []string { return *c.members.living.Load() }

// Watch gives a channel that receives after changes of members, and the function that ends it.
func (c *Cluster) Watch() (<-chan struct{}, func()) { return c.members.bell.watch() }

// SetDraining tells the others whether this router takes new traffic.
func (c *Cluster) SetDraining(on bool) {
	if c.draining.Swap(on) == on {
		return
	}
	select {
	case c.announce <- struct{}{}:
	default: // it has not been told yet: the newer value will be
	}
}

// HandOver makes Run end without a farewell: another process takes the sockets and the name over.
func (c *Cluster) HandOver() { c.handOver.Store(true) }

// Sockets are those of the gossip, for another process to take over.
func (c *Cluster) Sockets() (*net.TCPListener, *net.UDPConn) { return c.transport.tcp, c.transport.udp }

// Introduce names routers to join beside the configured ones, host:port, until one of all has been reached: those that the process knew from
// which this one has taken over. It comes before Run.
func (c *Cluster) Introduce(known []string) {
	for _, k := range known[:min(len(known), c.opt.Config.MaxMembers)] {
		if at, err := netip.ParseAddrPort(k); err == nil {
			c.known = append(c.known, netip.AddrPortFrom(at.Addr().Unmap(), at.Port()))
		}
	}
}

// Sever cuts the link to the peers (host:port) that f names, in both directions, until called with nil. It is for
// drills and tests.
func (c *Cluster) Sever(f func(peer string) bool) {
	if f == nil {
		c.transport.severed.Store(nil)
		return
	}
	c.transport.severed.Store(&f)
}
