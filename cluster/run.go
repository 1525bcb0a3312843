package cluster

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

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
