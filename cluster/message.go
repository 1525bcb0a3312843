package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Handler answers a request of another router, or takes a message (its answer is then dropped). It gets
// payload for keeps. An error goes back as text.
type Handler = func(ctx context.Context, from string, payload []byte) ([]byte, error)

// Errors of Send and Request.
var (
	ErrNotRunning = errors.New("the cluster does not run")
	ErrNoMember   = errors.New("no living router has that name")
	ErrBusy       = errors.New("too many requests at a time")
	ErrNoHandler  = errors.New("that router does not know this kind of request")
)

// RemoteError is another router's refusal.
type RemoteError struct {
	Node string
	Text string
}

func (e *RemoteError) Error() string { return e.Node + ": " + e.Text }

// The states of a reply.
const (
	replyOK = iota
	replyError
	replyNoHandler
)

// Most requests of ours that wait, of others that wait for a worker, how many are worked on, and for how long.
const (
	maxWaiting  = 8192
	maxTasks    = 8192
	workers     = 4
	taskTimeout = 5 * time.Second
	askDefault  = 2 * time.Second
)

// asks are our requests under way.
type asks struct {
	mu   sync.Mutex
	next uint64
	all  map[uint64]*ask
}

type ask struct {
	node string
	c    chan answer
}

type answer struct {
	status  byte
	payload []byte
}

type task struct {
	request bool
	kind    string
	from    string
	id      uint64
	payload []byte
}

// Handle registers the handler of a kind of messages and requests; it must be called before Run.
func (c *Cluster) Handle(kind string, h func(ctx context.Context, from string, payload []byte) ([]byte, error)) {
	c.reg.Lock()
	defer c.reg.Unlock()
	c.handlers[kind] = h
}

// Send sends a message to one router: at once and without a word whether it arrived, or reliably, over a stream of
// its own and with an error if it did not get out (after 3 seconds at most).
func (c *Cluster) Send(node, kind string, payload []byte, reliable bool) error {
	b := appendString([]byte{wireVersion, msgSend}, kind)
	b = appendString(b, c.opt.Node)
	b = append(b, payload...)
	c.m.messages[sentMessages].Add(1)
	if !reliable {
		return c.deliver(node, b)
	}
	if len(b) > maxMessage {
		return fmt.Errorf("send %d octets to %s: %w", len(b), node, ErrTooLarge)
	}
	m, n, err := c.member(node)
	if err != nil {
		return err
	}
	c.slots <- struct{}{}
	defer func() { <-c.slots }()
	return m.SendReliable(n, b)
}

// Request asks one router and waits for its answer until ctx ends (2 seconds if it has no end). Over a datagram,
// where question or answer may get lost, unless one is too large for that.
func (c *Cluster) Request(ctx context.Context, node, kind string, payload []byte) ([]byte, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askDefault)
		defer cancel()
	}
	a := &ask{node: node, c: make(chan answer, 1)}
	c.m.messages[sentMessages].Add(1)
	c.asks.mu.Lock()
	if len(c.asks.all) >= maxWaiting {
		c.asks.mu.Unlock()
		c.m.asks[askBusy].Add(1)
		return nil, ErrBusy
	}
	c.asks.next++
	id := c.asks.next
	c.asks.all[id] = a
	c.asks.mu.Unlock()
	defer func() {
		c.asks.mu.Lock()
		delete(c.asks.all, id)
		c.asks.mu.Unlock()
	}()
	b := appendString(append(make([]byte, 0, 32+len(kind)+len(c.opt.Node)+len(payload)), wireVersion, msgRequest), kind)
	b = appendString(b, c.opt.Node)
	b = binary.BigEndian.AppendUint64(b, id)
	if err := c.deliver(node, append(b, payload...)); err != nil {
		c.m.asks[askFailed].Add(1)
		return nil, err
	}
	select {
	case got := <-a.c:
		switch got.status {
		case replyOK:
			c.m.asks[askAnswered].Add(1)
			return got.payload, nil
		case replyNoHandler:
			c.m.asks[askFailed].Add(1)
			return nil, fmt.Errorf("ask %s for %s: %w", node, kind, ErrNoHandler)
		}
		c.m.asks[askFailed].Add(1)
		return nil, &RemoteError{Node: node, Text: clip(string(got.payload), 200)}
	case <-ctx.Done():
		c.m.asks[askTimeout].Add(1)
		return nil, fmt.Errorf("ask %s for %s: %w", node, kind, ctx.Err())
	}
}

// member finds a living one, while the cluster runs.
func (c *Cluster) member(node string) (*memberlist.Memberlist, *memberlist.Node, error) {
	m := c.list.Load()
	if m == nil || c.over.Load() {
		return nil, nil, ErrNotRunning
	}
	n, ok := c.members.node(node)
	if !ok {
		return nil, nil, fmt.Errorf("send to %.64q: %w", node, ErrNoMember)
	}
	return m, &n, nil
}

// deliver sends one message without waiting: as a datagram, or by the carriers where it is too large for one.
func (c *Cluster) deliver(node string, b []byte) error {
	if len(b) > maxMessage {
		return fmt.Errorf("send %d octets to %s: %w", len(b), node, ErrTooLarge)
	}
	m, n, err := c.member(node)
	if err != nil {
		return err
	}
	if len(b) <= maxPacket {
		return m.SendBestEffort(n, b)
	}
	if !c.post(node, b) {
		return ErrBusy
	}
	return nil
}

// letter is a message too large for a datagram.
type letter struct {
	node string
	b    []byte
}

// post hands a letter to the carriers; false: they have too many.
func (c *Cluster) post(node string, b []byte) bool {
	select {
	case c.out <- letter{node, b}:
		return true
	default:
		return false
	}
}

// carry sends letters until ctx ends.
func (c *Cluster) carry(ctx context.Context, m *memberlist.Memberlist) {
	for {
		select {
		case <-ctx.Done():
			return
		case l := <-c.out:
			n, ok := c.members.node(l.node)
			if !ok {
				continue // gone since
			}
			if err := m.SendReliable(&n, l.b); err != nil {
				// who asked sees that no answer comes; a state is compared again
				c.log.Debug("send a large message", "router", l.node, "octets", len(l.b), "err", err)
			}
		}
	}
}

// incoming puts a message or request before the workers.
func (c *Cluster) incoming(kind byte, r reader) {
	t := task{request: kind == msgRequest, kind: r.str(maxKind), from: r.str(maxNode)}
	if t.request {
		t.id = r.uint64()
	}
	switch {
	case r.bad || !nodeName(t.from):
		c.complain.tell(ReasonCorrupt, 1, "unknown", "a message that can't be read")
		return
	case len(r.b) > maxMessage:
		c.complain.tell(ReasonSize, 1, t.from, fmt.Sprintf("a message of %d octets", len(r.b)))
		return
	}
	t.payload = append([]byte(nil), r.b...)
	select {
	case c.tasks <- t:
		c.m.messages[gotMessages].Add(1)
	default:
		c.complain.tell(ReasonBusy, 1, t.from, "messages come faster than they are worked on")
	}
}

// work answers requests until ctx ends.
func (c *Cluster) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-c.tasks:
			c.serve(ctx, t)
		}
	}
}

func (c *Cluster) serve(ctx context.Context, t task) {
	c.reg.RLock()
	h := c.handlers[t.kind]
	c.reg.RUnlock()
	status, payload := byte(replyOK), []byte(nil)
	if h == nil {
		c.m.refused(ReasonUnknown, 1) // a newer program's
		status = replyNoHandler
	} else {
		hctx, cancel := context.WithTimeout(ctx, taskTimeout)
		defer cancel()
		var err error
		if payload, err = h(hctx, t.from, t.payload); err != nil {
			status, payload = replyError, []byte(clip(err.Error(), 200))
		}
	}
	if !t.request {
		return
	}
	b := appendString(append(make([]byte, 0, 32+len(c.opt.Node)+len(payload)), wireVersion, msgReply, status), c.opt.Node)
	b = binary.BigEndian.AppendUint64(b, t.id)
	if err := c.deliver(t.from, append(b, payload...)); err != nil {
		c.log.Debug("answer a router", "router", t.from, "kind", clip(t.kind, maxKind), "err", err) // it asks again, or goes on without
	}
}

// reply brings an answer to who waits for it. Only the router that was asked may answer.
func (c *Cluster) reply(r reader) {
	status, from, id := r.byte(), r.str(maxNode), r.uint64()
	if r.bad {
		c.complain.tell(ReasonCorrupt, 1, "unknown", "an answer that can't be read")
		return
	}
	c.asks.mu.Lock()
	a := c.asks.all[id]
	c.asks.mu.Unlock()
	if a == nil || a.node != from {
		return // too late
	}
	select {
	case a.c <- answer{status, append([]byte(nil), r.b...)}:
	default: // a second copy
	}
}
