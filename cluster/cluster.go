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
	"context"
	"errors"
	"fmt"
	"log"
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

// state is one named state.
type state struct {
	name   string
	merger Merger
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

// broadcast is a change that waits to be passed on.
type broadcast struct {
	name string
	b    []byte
}

func (b *broadcast) Name() string                            { return b.name }
func (b *broadcast) Message() []byte                         { return b.b }
func (b *broadcast) Finished()                               {}
func (b *broadcast) Invalidates(o memberlist.Broadcast) bool { return false } // by Name

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

// bulkFanOut is how many routers get a change that is too large for gossip; those to whom it is news pass it on. With
// ten, one of 200 routers is left out once in a hundred such changes, and waits for a comparison of states.
const bulkFanOut = 10

// Run joins, gossips and answers until ctx ends, then says farewell and returns after the last goroutine.
func (c *Cluster) Run(ctx context.Context) error {
	c.reg.Lock()
	if c.running {
		c.reg.Unlock()
		return errors.New("cluster: runs already, or has ended")
	}
	c.running = true
	c.reg.Unlock()
	c.transport.start()
	m, err := memberlist.Create(c.config())
	if err != nil {
		c.over.Store(true)
		return errors.Join(fmt.Errorf("cluster: %w", err), c.transport.Shutdown())
	}
	c.list.Store(m)
	c.log.Info("gossip runs", "address", c.Addr(), "cluster", c.opt.Config.Name, "encrypted", c.keys != nil)

	// What serves others goes on until the farewell is said.
	inner, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() { c.work(inner) })
		wg.Go(func() { c.carry(inner, m) })
	}
	wg.Go(func() { c.tell(inner, m) })
	wg.Go(func() { c.tick(inner) })
	wg.Go(func() { c.joins(ctx) })
	<-ctx.Done()
	c.farewell(m)
	c.over.Store(true)
	end()
	err = m.Shutdown()
	wg.Wait()
	c.transport.wait()
	return err
}

// config is memberlist's.
func (c *Cluster) config() *memberlist.Config {
	o := &c.opt.Config
	d := delegate{c}
	m := memberlist.DefaultLANConfig()
	m.Name, m.Label, m.Transport, m.Keyring = c.opt.Node, o.Name, c.transport, c.keys
	m.BindAddr, m.BindPort = c.transport.local.Addr().String(), int(c.transport.local.Port())
	m.ProbeInterval, m.ProbeTimeout = o.ProbeInterval, o.ProbeTimeout
	m.SuspicionMult, m.SuspicionMaxTimeoutMult = o.Suspicion, 3
	m.GossipInterval, m.PushPullInterval = o.GossipInterval, o.SyncInterval
	m.TCPTimeout = 3 * time.Second
	m.HandoffQueueDepth = maxTasks
	m.DeadNodeReclaimTime = 10 * o.ProbeInterval // a router that comes back with another address
	m.EnableCompression = false                  // small messages grow by it, and it costs more than the encryption
	m.Delegate, m.Events, m.Alive, m.Conflict, m.Ping = d, d, d, d, d
	m.DelegateProtocolMin, m.DelegateProtocolMax, m.DelegateProtocolVersion = 1, 1, 1
	m.Logger = log.New(memberlistLog{c.log, c.complain}, "", 0)
	return m
}

// tell sends our metadata out when it changes.
func (c *Cluster) tell(ctx context.Context, m *memberlist.Memberlist) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.announce:
			if !c.tellOnce(m) {
				return // the farewell carries it
			}
		}
	}
}

// tellOnce queues our metadata for the next rounds of gossip; false: the farewell does. memberlist takes one change at a time, and a word from
// before the farewell must not come behind it.
func (c *Cluster) tellOnce(m *memberlist.Memberlist) bool {
	c.updating.Lock()
	defer c.updating.Unlock()
	if c.leaving.Load() {
		return false
	}
	_ = m.UpdateNode(time.Millisecond) // its one error is that it has not been sent within this time: it is queued
	return true
}

// mostQueued bounds the changes that wait to be passed on; comparisons of states bring what is dropped.
const mostQueued = 8192

// tick ends what ends by itself.
func (c *Cluster) tick(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	others := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, s := range c.stateList() {
			s.merger.Tick()
		}
		c.members.forget(time.Now().Add(-c.opt.Config.Forget))
		if c.queue.NumQueued() > mostQueued {
			c.queue.Prune(mostQueued)
		}
		n := len(c.Living())
		if n == 0 && others > 0 {
			select {
			case c.alone <- struct{}{}:
			default: // it has not been looked at yet
			}
		}
		others = n
	}
}

// farewell leaves the cluster, within leave_timeout.
func (c *Cluster) farewell(m *memberlist.Memberlist) {
	if c.handOver.Load() {
		return
	}
	c.updating.Lock()
	defer c.updating.Unlock()
	c.leaving.Store(true)
	half := c.opt.Config.LeaveTimeout / 2
	if half <= 0 || len(c.Living()) == 0 {
		return
	}
	// The metadata says that it is a farewell, then memberlist's own word ends the membership.
	if err := m.UpdateNode(half); err != nil {
		c.log.Warn("say farewell to the cluster", "err", err)
	}
	if err := m.Leave(half); err != nil {
		c.log.Warn("leave the cluster", "err", err)
	}
}
