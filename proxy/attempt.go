package proxy

import (
	"errors"
	"time"

	"github.com/mmsrouter/mmsrouter/router"
)

// Errors of an attempt that are not the MMSC's doing.
var (
	errClient = errors.New("the upload broke off")
	errEarly  = errors.New("the MMSC spoke or closed before the upload was whole")
	errStale  = errors.New("the kept connection was closed, or not silent")
)

// attempt tries one MMSC once, and books what came of it. The answer, if there is one, is in x.ans.
func (x *exchange) attempt(up *upstream) Phase {
	begun := time.Now()
	x.sent, x.clock = 0, begun
	x.ans.free(x.p.store)
	phase, why, stale := x.tryOnce(up, begun)
	up.stats.attempts[phase].Add(1)
	if phase != PhaseAnswered { // else speak has looked when the answer was there
		x.clock = time.Now()
	}
	x.attempts = append(x.attempts, try{up.Name, phase, why, x.sent, x.clock.Sub(begun)})
	if !x.befallen { // what a drill breaks says nothing about the MMSC
		x.observe(up.Name, phase, why, stale)
	}
	return phase
}

// observe tells detection of an attempt. One message counts against an MMSC once, however often it was tried there.
// Where an MMSC gave an answer that nobody can use, the message itself may be the cause: that waits until another
// MMSC has taken it (blame). Otherwise any handset could put every MMSC out with one odd message.
func (x *exchange) observe(name string, phase Phase, why string, stale bool) {
	switch phase {
	case PhaseAnswered, PhaseNotFound:
		x.p.opt.Observe(name, true, "")
		if x.searching() || x.dec.Kind == router.Owned {
			return
		}
		for _, b := range x.blamed {
			if !b.told && b.name != name {
				x.p.opt.Observe(b.name, false, b.why)
			}
		}
		return
	case PhaseConnect, PhaseTLS, PhaseAbsent, PhaseAmbiguous, PhaseCut:
	case PhaseBody:
		if stale { // a kept connection that was closed meanwhile says nothing about the MMSC
			return
		}
	default:
		return
	}
	for _, b := range x.blamed {
		if b.name == name {
			return
		}
	}
	answered := (phase == PhaseAbsent || phase == PhaseAmbiguous) && x.ans.resp.Status > 0
	x.blamed = append(x.blamed, blame{name, phase.String() + ": " + why, !answered})
	if !answered {
		x.p.opt.Observe(name, false, phase.String()+": "+why)
	}
}

// blame is a failure at one MMSC, and whether detection has been told.
type blame struct {
	name, why string
	told      bool
}

// tryOnce is one attempt. A kept connection that turns out closed before the upload was whole (or under a retrieval)
// is replaced by a fresh one: nothing can have been committed on it, and the MMSC itself has not failed yet.
func (x *exchange) tryOnce(up *upstream, begun time.Time) (phase Phase, why string, stale bool) {
	wait := x.set.Timeouts.Queue
	if !x.deadline.IsZero() {
		wait = min(wait, x.deadline.Sub(begun))
	}
	waited, err := up.place(x.set.Limits.InFlight, x.set.Limits.Queue, wait)
	if err != nil {
		return PhaseQueue, err.Error(), false
	}
	if waited {
		x.clock = time.Now()
	}
	held := true
	defer func() {
		if held {
			up.leave()
		}
	}()
	befall := x.befall(up.Name)
	x.befallen = befall != nil
	for fresh := x.befallen; ; fresh = true {
		c, err := up.get(begun, x.set.Timeouts.Connect, fresh, befall)
		if err != nil {
			var te *tlsError
			if errors.As(err, &te) {
				return PhaseTLS, err.Error(), false
			}
			return PhaseConnect, err.Error(), false
		}
		if !c.reused {
			x.clock = time.Now()
		}
		reused := c.reused // speak may give the connection back, for others to take
		x.cl.current.Store(c)
		phase, why = x.speak(c)
		x.cl.current.Store(nil)
		if phase == phaseStale {
			continue
		}
		lost := phase == PhaseBody || x.get && phase == PhaseRefused // a retrieval may be repeated at any time
		if lost && reused && !fresh && x.ans.n == 0 {
			x.sent = 0
			x.ans.free(x.p.store)
			fresh = true
			continue
		}
		if x.ans.up != nil { // the answer still streams: deliver ends the connection and gives the place back
			held = false
		}
		return phase, why, reused
	}
}

// speak sends the request on a connection and reads the answer.
func (x *exchange) speak(c *upConn) (Phase, string) {
	err := x.send(c)
	switch {
	case err == nil:
	case err == errStale:
		_ = c.NC.Close() // nothing is under way on it
		x.ans.free(x.p.store)
		return phaseStale, ""
	case errors.Is(err, errClient) || errors.Is(err, errSuperseded):
		c.Abort() // so that the MMSC never takes what it has for whole
		return PhaseCancelled, x.broken.Error()
	}
	// Before an attempt is called broken, what has already arrived is read: a whole answer wins.
	patience := x.set.Timeouts.Answer
	if err != nil {
		patience = 100 * time.Millisecond
	}
	aerr := x.ans.read(c, x, patience)
	if aerr == nil {
		x.clock = time.Now()
		if err != nil && !x.ans.done {
			c.Abort()
			x.ans.n = 0
			return PhaseBody, err.Error()
		}
		phase, why := x.judge(&x.ans)
		x.settleConn(c, err == nil, phase)
		return phase, why
	}
	c.Abort()
	if !x.whole || err != nil && !x.begunLast {
		if err == nil {
			err = aerr
		}
		return PhaseBody, err.Error()
	}
	if x.get {
		return PhaseRefused, aerr.Error() // a retrieval changes nothing: the next may be asked
	}
	return PhaseAmbiguous, aerr.Error()
}

// settleConn decides what becomes of the connection after an answer.
func (x *exchange) settleConn(c *upConn, sent bool, phase Phase) {
	a := &x.ans
	switch {
	case !a.done && phase == PhaseAnswered:
		a.up = c // its rest streams to the client
	case a.done && sent && a.resp.KeepAlive && !a.untilClose && !a.extra && !c.once:
		c.learnKeepAlive(&a.resp.Head)
		c.up.put(c, x.clock, x.set.Limits.Idle)
	case sent:
		_ = c.NC.Close() // the answer is here
	default:
		c.Abort() // it answered before it had everything: it must not take the rest for another request
	}
}
