package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mmsrouter/mmsrouter/fence"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/router"
)

// submit serves M-Send.req, and bodies that are not a PDU we know: any MMSC may take them.
func (x *exchange) submit() {
	if x.set.Unreadable == "refuse" && (x.pdu.Type != mms.MSendReq || x.state == mms.Garbage || len(x.pdu.TransactionID) == 0) {
		x.result = Rejected
		x.status = 400
		x.p.m.badRequests[badBody].Add(1)
		if !x.drain() {
			x.giveUp()
			return
		}
		x.refuse(mms.FormatCorrupt, 400, "not a readable PDU")
		return
	}
	if x.p.fenced && x.pdu.Type == mms.MSendReq && x.guard() {
		return
	}
	x.anyMMSC()
}

// twinWait is how long an older twin may take to break, or to turn out whole.
const twinWait = 2 * time.Second

// guard enters the submission in the duplicate fence. True: it is answered (or over).
func (x *exchange) guard() bool {
	if x.identity == "" || len(x.pdu.TransactionID) == 0 || len(x.pdu.TransactionID) > 256 {
		x.p.m.fenceOff.Add(1)
		return false
	}
	t, prior := x.p.shared.Enter(fence.Key(x.identity, x.pdu.TransactionID), x.start, twinWait, x.cl.abort)
	for ; prior != nil; t, prior = prior.Next(x.start, twinWait, x.cl.abort) {
		// a twin: read the whole body before anything goes to an MMSC
		for !x.body.Whole() {
			if x.more(true) != nil {
				x.giveUp()
				return true
			}
		}
		if x.deadline.IsZero() {
			x.deadline = time.Now().Add(x.set.Deadline)
		}
		if conf := prior.Answer(time.Until(x.deadline), x.body.Size(), x.body.Digest()); conf != nil {
			x.p.m.fenceJoined.Add(1)
			x.result, x.status, x.words = Fenced, 200, "the answer of the earlier post of this transaction"
			x.sendPDU(conf)
			return true
		}
	}
	x.ticket = t
	return false
}

// next chooses the MMSC to try: the first of a fresh decision that has not been tried. Busy ones are passed over
// while another is free.
func (x *exchange) next(tried map[string]bool) (*upstream, *router.MMSC) {
	snap := x.decide()
	ups := *x.p.ups.Load()
	var busy *upstream
	var busyRow *router.MMSC
	for _, i := range x.dec.Order {
		m := &snap.MMSCs[i]
		up := ups[m.Name]
		if up == nil || tried[m.Name] {
			continue
		}
		if up.full(x.set.Limits.InFlight) {
			if busy == nil {
				busy, busyRow = up, m
			}
			continue
		}
		return up, m
	}
	return busy, busyRow
}

// anyMMSC runs attempts until one gives an answer, by the phase table.
func (x *exchange) anyMMSC() {
	x.p.turn.Add(1)
	var tried map[string]bool // made at the second attempt: most messages have one
	refusals := 0
	for {
		up, _ := x.next(tried)
		if up == nil {
			break
		}
		phase := x.attemptAgain(up)
		if phase == PhaseAmbiguous {
			if !x.retryAmbiguous(up) {
				return
			}
			if x.sameAgain(up.Name) {
				if phase = x.attemptAgain(up); phase == PhaseAmbiguous && !x.retryAmbiguous(up) {
					return
				}
			}
		}
		switch phase {
		case PhaseAnswered:
			x.deliver(&x.ans, up)
			return
		case PhaseCancelled:
			x.giveUp()
			return
		case PhaseRefused:
			refusals++
			x.keep(up)
		}
		if x.late() {
			break
		}
		if tried == nil {
			tried = map[string]bool{}
		}
		tried[up.Name] = true
	}
	if refusals > 0 && refusals == len(x.attempts) && x.kept.buf != nil {
		x.ans, x.kept = x.kept, x.ans
		x.deliver(&x.ans, x.keptBy)
		return
	}
	x.allDown()
}

// keep holds a refusal back, for the case that all say so. Only a whole one can be kept.
func (x *exchange) keep(up *upstream) {
	if !x.ans.done || x.ans.up != nil {
		return
	}
	x.kept.free(x.p.store)
	x.ans, x.kept = x.kept, x.ans
	x.keptBy = up
}

func (x *exchange) late() bool { return !x.deadline.IsZero() && !time.Now().Before(x.deadline) }

// attemptAgain is attempt; behind an ambiguous result it may make an extra copy, so it is marked and counted.
func (x *exchange) attemptAgain(up *upstream) Phase {
	if x.ambiguous > 0 {
		x.mark = len(x.attempts) + 1
		x.p.m.ambiguous.Add(1)
	}
	return x.attempt(up)
}

// retryAmbiguous applies the policy to a result that nobody knows; false: the request has been answered.
func (x *exchange) retryAmbiguous(up *upstream) bool {
	x.ambiguous++
	last := x.attempts[len(x.attempts)-1]
	retry := x.set.retry[x.pdu.Type] && !x.late()
	if n, ok := x.p.ambiguities.pass(time.Now()); ok { // each is counted, and stands in the access log
		x.p.log.Warn("ambiguous result: the MMSC may or may not have the message", "mmsc", up.Name, "pdu", x.pdu.Type.String(),
			"transaction", string(x.pdu.TransactionID), "why", last.result, "retry", retry, "unsaid", n)
	}
	if retry {
		return true
	}
	x.result = Refused
	x.refuse(mms.NetworkProblem, 503, "the MMSC's answer got lost: the message may or may not have been accepted")
	return false
}

// sameAgain waits, within ambiguous_wait, for the MMSC to pass detection: it may know the transaction id.
func (x *exchange) sameAgain(name string) bool {
	wait := min(x.set.AmbiguousWait, time.Until(x.deadline))
	until := time.Now().Add(wait)
	for {
		snap := x.p.opt.Board.Load()
		i := snap.Index(name)
		if i < 0 {
			return false
		}
		if snap.MMSCs[i].Up && snap.MMSCs[i].Drain == nil {
			return true
		}
		if !x.pause(min(20*time.Millisecond, time.Until(until))) {
			return false
		}
	}
}

// pause waits; false when the time is up or the program ends.
func (x *exchange) pause(d time.Duration) bool {
	if d <= 0 || x.p.stopping() {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
	return true
}

// allDown ends a submission that no MMSC took: refuse, hold, or the embedded MMSC.
func (x *exchange) allDown() {
	if x.pdu.Type == mms.MSendReq && !x.late() {
		switch x.set.WhenAllDown {
		case "local":
			if up := (*x.p.ups.Load())[router.LocalName]; up != nil && !x.triedLocal() {
				switch x.attemptAgain(up) {
				case PhaseAnswered:
					x.deliver(&x.ans, up)
					return
				case PhaseCancelled:
					x.giveUp()
					return
				}
			}
		case "hold":
			if x.hold() {
				return
			}
		}
	}
	if x.broken != nil || !x.drain() {
		x.giveUp()
		return
	}
	x.result = Refused
	text := "no MMSC can take the message now, try again later"
	if x.ambiguous > 0 {
		text = "the MMSC's answer got lost: the message may or may not have been accepted"
	}
	x.refuse(mms.NetworkProblem, 503, text)
}

func (x *exchange) triedLocal() bool {
	for _, a := range x.attempts {
		if a.mmsc == router.LocalName {
			return true
		}
	}
	return false
}

// hold reads the upload to its end and has it accepted durably. False: it was not, and the client must be told.
func (x *exchange) hold() bool {
	if x.p.opt.Hold == nil || x.ambiguous > 0 {
		return false // an ambiguous message must not be accepted a second time
	}
	for !x.body.Whole() {
		if x.more(true) != nil {
			x.giveUp()
			return true
		}
	}
	x.clock = time.Now()
	if !x.becomeWhole() {
		x.giveUp()
		return true
	}
	ctx, cancel := context.WithDeadline(context.Background(), x.deadline)
	defer cancel()
	h := Held{Transaction: append([]byte(nil), x.pdu.TransactionID...), Subscriber: x.identity, Sender: x.sender,
		Path: string(x.target), Host: string(x.host), Size: x.body.Size(), Body: &bodyReader{x: x}}
	for i := range x.cl.req.Fields {
		f := &x.cl.req.Fields[i]
		if dropped(f.Name) || x.cl.req.HopByHop(f.Name) || !x.cl.trusted && x.set.identityField(f.Name) {
			continue
		}
		h.Header = append(h.Header, [2]string{string(f.Name), string(f.Value)})
	}
	conf, err := x.p.opt.Hold(ctx, h)
	if err != nil {
		x.p.log.Error("hold a message while all MMSCs are down", "transaction", string(x.pdu.TransactionID), "err", err)
		return false
	}
	var answer mms.Head
	answer.Peek(conf, true)
	x.result, x.status, x.words = Permanent, 200, answer.Response.String()
	switch mms.ResponseClass(answer.Response) {
	case mms.Ok, mms.PartialSuccess:
		x.result, x.words = Kept, "held until an MMSC is back"
	case mms.Transient:
		x.result = Transient
	}
	x.messageID = string(answer.MessageID)
	if x.result != Transient && x.ticket != nil {
		x.ticket.Answer(append([]byte(nil), conf...))
	}
	x.sendPDU(conf)
	return true
}

// bodyReader reads a whole upload from its start.
type bodyReader struct {
	x   *exchange
	off int64
}

func (r *bodyReader) Read(p []byte) (int, error) {
	n, err := r.x.body.ReadAt(p, r.off)
	r.off += int64(n)
	if n == 0 && err == nil && len(p) > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("read kept upload: %w", err)
	}
	return n, err
}
