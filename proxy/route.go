package proxy

import (
	"strings"

	"github.com/mmsrouter/mmsrouter/fence"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/proxy/replay"
	"github.com/mmsrouter/mmsrouter/proxy/wire"
	"github.com/mmsrouter/mmsrouter/router"
)

// peekMost bounds the octets that are awaited before a decision.
const peekMost = 16 << 10

// look reads on until the PDU's head can be read, or will not become readable.
func (x *exchange) look() {
	for x.broken == nil {
		first := x.body.First()
		x.state = x.pdu.Peek(first, x.body.Whole())
		if x.state != mms.Partial || x.body.Whole() || len(first) >= peekMost || len(first) == cap(first) && !x.widen() {
			return
		}
		if x.more(true) != nil {
			return
		}
	}
}

// widen moves the request to a Large buffer where a long head has left the PDU too little room in a Small one to be told:
// a PDU that is not known would go to any MMSC, and be confirmed by one that does not hold the message.
func (x *exchange) widen() bool {
	cl := x.cl
	if cap(cl.buf) >= replay.Large {
		return false
	}
	begun, first, relay := cl.r-cl.req.Size, x.body.First(), x.relay
	big := x.p.store.Get()
	copy(big, cl.buf[:cl.r])
	copy(big[cl.r:], first)
	x.body.Move(big, cl.r)
	x.p.store.Put(cl.buf)
	cl.buf, cl.w = big, cl.r+len(first)
	if err := wire.ParseRequest(big[begun:cl.r], &cl.req, wire.Limits{Octets: int(x.set.Limits.Header), Fields: x.set.Limits.Fields}); err != nil {
		return false // it was parsed before: it can't fail
	}
	if x.parseTarget() != nil { // likewise
		return false
	}
	x.relay = relay
	x.state = x.pdu.Peek(x.body.First(), false) // it aliased the old one
	return true
}

// describe fills in what the decision looks at.
func (x *exchange) describe() {
	r := &x.route
	r.Get, r.PDU = x.get, x.pdu.Type
	owned := x.owned()
	if owned { // who holds a message may be told by the host
		r.Host = hostOnly(string(x.host))
	}
	if r.Path = "/"; len(x.target) > 1 {
		r.Path = string(x.target)
	}
	if i := strings.IndexByte(r.Path, '?'); i >= 0 {
		r.Path, r.Query = r.Path[:i], r.Path[i+1:]
	}
	if !x.get {
		if !x.pdu.Type.Known() || x.state == mms.Garbage {
			x.p.m.unreadable.Add(1)
		}
		from := mms.Number(x.pdu.From)
		if x.identity == "" {
			x.identity = from
			if from == "" && len(x.pdu.From) <= maxIdentity { // the fence keeps what it is given
				x.identity = string(x.pdu.From)
			}
		}
		x.sender = from
		n := 0
		for _, a := range x.pdu.Addresses() {
			if num := mms.Number(a); num != "" {
				x.recips[n] = num
				n++
			}
		}
		r.Recipients = x.recips[:n]
		r.Location = string(x.pdu.ContentLocation)
		r.MessageID = string(x.pdu.MessageID)
	}
	if len(x.identity) > 0 && x.identity[0] == '+' {
		x.sender = x.identity // the network's word goes before the phone's
	}
	r.Subscriber, r.Sender = x.identity, x.sender
	if owned {
		r.Learned = x.p.shared.FindAny(x.start, ownerKeys(r.Host, string(x.target), x.identity, x.pdu.TransactionID, x.pdu.MessageID)...)
	}
}

// owned says whether the request belongs to the MMSC that holds a message. What no handset sends (an M-Send.conf, say)
// does not: it goes the way of what can't be read.
func (x *exchange) owned() bool {
	_, req := x.pdu.Type.Conf()
	return x.get || x.pdu.Type != mms.MSendReq && (req || x.pdu.Type.Indication())
}

// ownerKeys are the keys under which an owner may have been learned.
func ownerKeys(host, target, subscriber string, transaction, messageID []byte) []string {
	var keys []string
	if target != "" && target != "/" {
		keys = append(keys, "p\x00"+host+target)
	}
	if len(messageID) > 0 {
		keys = append(keys, "m\x00"+strings.Trim(string(messageID), "<>"))
	}
	if subscriber != "" && len(transaction) > 0 {
		keys = append(keys, "t\x00"+fence.Key(subscriber, transaction))
	}
	return keys
}

// decide asks for an order, from the Board as it is now.
func (x *exchange) decide() *router.Snapshot {
	snap := x.p.opt.Board.Load()
	ups := *x.p.ups.Load()
	router.Decide(&x.dec, snap, &x.route, router.Load{Turn: x.p.turn.Load(), Outstanding: func(i int) int {
		if up := ups[snap.MMSCs[i].Name]; up != nil {
			return int(up.outstanding.Load())
		}
		return 0
	}})
	return snap
}
