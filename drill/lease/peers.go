package lease

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/mmsrouter/mmsrouter/fence"
)

// peers lets what is about the drill's own messages get lost between routers.
type peers struct {
	fence.Peers
	l *Leases
}

// Peers puts the faults between the duplicate fence and the other routers.
func (l *Leases) Peers(p fence.Peers) fence.Peers { return peers{p, l} }

var errLost = errors.New("lost in a drill")

// lost says whether a payload gets lost. It names its submission by the transaction id, which bears the mark.
func (p peers) lost(payload []byte) bool {
	a := p.l.now()
	if a == nil || !a.unshare || !bytes.Contains(payload, []byte(a.mark+".")) {
		return false
	}
	p.l.befell[Unshare].Inc()
	return true
}

// Request implements fence.Peers. What is lost costs most of the time that an answer is waited for, and not all of it: the peer
// is not to be held for dead, since others ask it too, and a busy machine may wake us late.
func (p peers) Request(ctx context.Context, node, kind string, payload []byte) ([]byte, error) {
	if !p.lost(payload) {
		return p.Peers.Request(ctx, node, kind, payload)
	}
	if until, ok := ctx.Deadline(); ok {
		t := time.NewTimer(time.Until(until) * 3 / 4)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return nil, errLost
}

// Send implements fence.Peers.
func (p peers) Send(node, kind string, payload []byte, reliable bool) error {
	if p.lost(payload) {
		return nil // lost on the way: nobody is told
	}
	return p.Peers.Send(node, kind, payload, reliable)
}
