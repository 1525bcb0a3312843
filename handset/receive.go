package handset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/handset/smsc"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
)

// phone is one of them.
type phone struct {
	*Phones
	number string        // with its plus
	dir    string        // empty: nothing is stored
	busy   chan struct{} // holds a token while an HTTP exchange of this phone is under way: phones do one at a time

	mu      sync.Mutex
	pending int               // notifications under way
	seen    map[string]*entry // by keyOf
	order   []string          // of seen, oldest first
	answers map[string]int    // replies by correspondent
}

// maxSeen bounds how many notifications a phone remembers, and maxCorrespondents whom it has answered.
const (
	maxSeen           = 1024
	maxCorrespondents = 1024
)

// entry is a notification that a phone knows.
type entry struct {
	state state
	note  *notification // what is still needed of it; nil when all is done
}

type state uint8

const (
	underWay   state = iota
	waiting          // deferred, to be fetched
	unreported       // fetched or refused, but the indication did not get through
	done
)

// notification is what a phone keeps of an M-Notification.ind.
type notification struct {
	key         string
	transaction string
	location    string
	expires     time.Time // zero: nobody says
	version     mms.Version
	owed        []byte // the indication that is due to the MMSC
}

func newPhone(x *Phones, number string) (*phone, error) {
	n := mms.Number(number)
	if n == "" {
		return nil, fmt.Errorf("handset: %q is no number", number)
	}
	p := &phone{Phones: x, number: n, busy: make(chan struct{}, 1)}
	if x.opt.Dir == "" {
		return p, nil
	}
	p.dir = filepath.Join(x.opt.Dir, digits(n))
	keys, err := storedKeys(p.dir)
	if err != nil {
		return nil, fmt.Errorf("handset: messages of %s: %w", n, err)
	}
	for _, k := range keys {
		p.remember(k, &entry{state: done})
	}
	return p, nil
}

func (p *phone) key() string { return digits(p.number) }

// keyOf tells notifications apart: by transaction id and location, as handsets do.
func keyOf(transaction, location string) string {
	sum := sha256.Sum256([]byte(transaction + "\x00" + location))
	return hex.EncodeToString(sum[:8])
}

// remember needs the lock, but for newPhone. The oldest that is done gives way, or simply the oldest.
func (p *phone) remember(key string, e *entry) {
	if p.seen == nil {
		p.seen = map[string]*entry{}
	}
	if len(p.order) >= maxSeen {
		at := 0
		for i, k := range p.order {
			if p.seen[k].state == done {
				at = i
				break
			}
		}
		delete(p.seen, p.order[at])
		p.order = append(p.order[:at], p.order[at+1:]...)
	}
	p.seen[key] = e
	p.order = append(p.order, key)
}

// forget needs the lock.
func (p *phone) forget(key string) {
	if p.seen[key] == nil {
		return
	}
	delete(p.seen, key)
	for i, k := range p.order {
		if k == key {
			p.order = append(p.order[:i], p.order[i+1:]...)
			return
		}
	}
}

func (p *phone) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pending >= p.opt.Queue
}

// receive is the SMSC's: a short message for one of the phones.
func (x *Phones) receive(m *smsc.Message) smsc.Status {
	p := x.byKey[digits(m.Destination.Digits)]
	if p == nil {
		return smsc.InvalidDestination
	}
	switch {
	case !m.Header:
		x.tell(Event{Kind: Ignored, Number: p.number, From: m.Source.Digits, Note: "a short message without ports"})
		return smsc.Ok
	case !eightBit(m.Coding):
		x.tell(Event{Kind: Ignored, Number: p.number, From: m.Source.Digits, Note: fmt.Sprintf("a short message in coding %02X, pushes have 8 bits", m.Coding)})
		return smsc.Ok
	case p.full():
		return smsc.QueueFull
	}
	x.joinMu.Lock()
	payload, u, err := x.join.Add(m.Source.Digits, p.number, m.UserData, time.Now())
	x.joinMu.Unlock()
	switch {
	case err != nil:
		x.tell(Event{Kind: Malformed, Number: p.number, From: m.Source.Digits, Err: err})
	case payload == nil: // segments are missing
	case !u.HasPorts || u.Destination != wappush.PortPush:
		x.tell(Event{Kind: Ignored, Number: p.number, From: m.Source.Digits, Note: fmt.Sprintf("a short message to port %d", u.Destination)})
	default:
		p.push(payload)
	}
	return smsc.Ok
}

// eightBit says whether a data_coding is one of octets (SMPP 3.4 5.2.19, 3GPP TS 23.038 4).
func eightBit(coding byte) bool {
	return coding == 0x02 || coding&0xCC == 0x04 || coding&0xF4 == 0xF4
}

// push takes a WSP push, which is the phone's to keep.
func (p *phone) push(b []byte) {
	malformed := func(err error) { p.tell(Event{Kind: Malformed, Number: p.number, Err: err}) }
	push, err := wappush.Decode(b)
	if err != nil {
		malformed(fmt.Errorf("WSP push: %w", err))
		return
	}
	if app := push.ApplicationID(); !push.IsMMS() || app != "" && app != wappush.MMSApplication {
		p.tell(Event{Kind: Ignored, Number: p.number, Note: fmt.Sprintf("a push of %s for application %q", push.ContentType.Type, app)})
		return
	}
	pdu, err := mms.Decode(push.Body)
	if err != nil {
		malformed(err)
		return
	}
	switch pdu.Type {
	case mms.MNotificationInd:
		p.notified(pdu)
	case mms.MDeliveryInd:
		p.tell(Event{Kind: DeliveryReport, Number: p.number, PDU: pdu.Type, Status: pdu.Status().String(), From: first(pdu.To()), MessageID: pdu.MessageID()})
	case mms.MReadOrigInd:
		from, _ := pdu.From()
		p.tell(Event{Kind: ReadReport, Number: p.number, PDU: pdu.Type, Status: pdu.Text(mms.FieldReadStatus), From: from, MessageID: pdu.MessageID()})
	case mms.MCancelReq:
		p.cancelled(pdu)
	default:
		malformed(fmt.Errorf("a %s is nothing to push", pdu.Type))
	}
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// notified takes an M-Notification.ind (OMA-MMS-ENC 6.2).
func (p *phone) notified(pdu *mms.PDU) {
	n := &notification{transaction: string(pdu.TransactionID()), location: pdu.ContentLocation(), version: pdu.Version()}
	from, _ := pdu.From()
	size, _ := pdu.Number(mms.FieldMessageSize)
	e := Event{Kind: Notified, Number: p.number, Transaction: n.transaction, Location: n.location, From: from, Subject: pdu.Subject(), PDU: pdu.Type, Size: int64(min(size, 1<<62))}
	_, err := parseURL(n.location)
	switch {
	case pdu.TransactionID() == nil:
		e.Kind, e.Err = Malformed, fmt.Errorf("a notification without a transaction id")
	case n.location == "":
		e.Kind, e.Err = Malformed, fmt.Errorf("a notification without a Content-Location")
	case err != nil:
		e.Kind, e.Err = Malformed, fmt.Errorf("Content-Location: %w", err)
	case pdu.Version().Major() > 1:
		e.Kind, e.Err = Malformed, fmt.Errorf("a notification of MMS %s", pdu.Version())
		p.unrecognised(n)
	}
	if e.Kind == Malformed {
		p.tell(e)
		return
	}
	n.key = keyOf(n.transaction, n.location)
	if w, ok := pdu.When(mms.FieldExpiry); ok {
		n.expires = w.From(time.Now())
	}
	p.mu.Lock()
	known := p.seen[n.key]
	job := p.take
	switch {
	case known == nil:
		p.remember(n.key, &entry{note: n})
	case known.state == unreported: // fetched; what the MMSC was not told is tried again
		known.state, n, job = underWay, known.note, p.report
	default:
		job = nil
	}
	p.mu.Unlock()
	if known != nil {
		e.Kind = Duplicate
	}
	p.tell(e)
	if job == nil {
		return
	}
	settled := Event{Kind: Settled, Number: p.number, Transaction: n.transaction, Location: n.location}
	if !p.start(func(ctx context.Context) { job(ctx, n) }, func() { p.tell(settled) }) {
		p.mu.Lock()
		p.forget(n.key)
		p.mu.Unlock()
	}
}

// start runs a job that counts as pending, then what follows when it no longer does; false if Run has ended.
func (p *phone) start(job func(context.Context), then func()) bool {
	count := func(by int) {
		p.mu.Lock()
		p.pending += by
		p.mu.Unlock()
	}
	count(1)
	begun := p.work(func(ctx context.Context) {
		job(ctx)
		count(-1)
		then()
	})
	if !begun {
		count(-1)
	}
	return begun
}
