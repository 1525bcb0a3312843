package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/mmsrouter/mmsrouter/proxy/wire"
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

// flushAt is how much of an upload is collected, while it keeps coming, before it is written on.
const flushAt = 1 << 20

// send writes head and body while the body comes. Errors: errClient and errSuperseded (ours), errEarly, else
// the MMSC's connection broke. x.begunLast says whether the write with the last octet had begun.
func (x *exchange) send(c *upConn) error {
	x.begunLast, x.idled = false, false
	x.framed = x.cl.req.Chunked && !x.body.Whole()
	x.headBuf = x.appendRequestHead(x.headBuf[:0], c.up)
	head := x.headBuf
	if x.get {
		x.whole, x.begunLast = true, true
		return x.put(c, append(x.bufs[:0], head), true, true)
	}
	for off := int64(0); ; {
		for !x.body.Whole() && x.body.Size()-off < flushAt {
			if err := x.more(false); err == wire.ErrWouldBlock {
				break
			} else if err != nil {
				return x.clientFailed()
			}
		}
		whole := x.body.Whole()
		if whole && !x.becomeWhole() {
			return errSuperseded
		}
		if whole && x.idled && !c.Quiet() {
			return errEarly
		}
		if x.body.Size() > off || head != nil || whole {
			x.begunLast = whole
			next, err := x.flush(c, head, off, whole)
			x.sent += next - off
			c.up.stats.octets.Add(uint64(next - off))
			if err != nil {
				return err
			}
			off, head = next, nil
			if whole && off == x.body.Size() {
				return nil
			}
			x.clock = time.Now()
			continue
		}
		x.idled = true
		err := x.more(true)
		if x.clock = time.Now(); err != nil {
			return x.clientFailed()
		}
	}
}

func (x *exchange) clientFailed() error {
	if errors.Is(x.broken, errSuperseded) {
		return errSuperseded
	}
	return fmt.Errorf("%w: %w", errClient, x.broken)
}

// flush writes what there is from off on: in one call from memory, in pieces from a file. It gives the offset
// reached.
func (x *exchange) flush(c *upConn, head []byte, off int64, whole bool) (int64, error) {
	bufs := x.bufs[:0]
	if head != nil {
		bufs = append(bufs, head)
	}
	slices, to := x.body.Slices(x.scratch[:0], off)
	x.scratch = slices[:0]
	if to > off || x.body.Size() == off {
		last := whole && to == x.body.Size()
		if whole && !last {
			x.begunLast = false
		}
		if x.framed {
			x.frame = x.frame[:0]
			if to > off {
				x.frame = wire.AppendChunkSize(x.frame, int(to-off))
				bufs = append(bufs, x.frame)
			}
		}
		bufs = append(bufs, slices...)
		if x.framed {
			switch {
			case to > off && last:
				bufs = append(bufs, endLast)
			case to > off:
				bufs = append(bufs, crlf)
			case last:
				bufs = append(bufs, lastChunk)
			}
		}
		return to, x.put(c, bufs, head != nil, last)
	}
	// from the file
	buf := x.p.store.Get()
	defer x.p.store.Put(buf)
	n, err := x.body.ReadAt(buf, off)
	if err != nil && err != io.EOF {
		x.broken = &uploadError{503, fmt.Errorf("read kept upload: %w", err)}
		return off, x.clientFailed()
	}
	to = off + int64(n)
	last := whole && to == x.body.Size()
	x.begunLast = last
	if x.framed {
		x.frame = wire.AppendChunkSize(x.frame[:0], n)
		bufs = append(bufs, x.frame, buf[:n])
		if last {
			bufs = append(bufs, endLast)
		} else {
			bufs = append(bufs, crlf)
		}
	} else {
		bufs = append(bufs, buf[:n])
	}
	return to, x.put(c, bufs, head != nil, false)
}

var (
	crlf      = []byte("\r\n")
	lastChunk = []byte("0\r\n\r\n")
	endLast   = []byte("\r\n0\r\n\r\n")
)

// put writes bufs. A kept connection is looked at before the first octet goes out on it; where the first write is the
// last as well, look, write and the wait for the answer are one.
func (x *exchange) put(c *upConn, bufs [][]byte, first, last bool) error {
	x.bufs = bufs[:0]
	x.out = net.Buffers(bufs)
	if first && last {
		x.ans.begin(x, x.clock, x.set.Timeouts.Answer)
		c.ReadBy(x.clock, x.ans.wait(x.clock, x.set.Timeouts.Answer))
		if !x.cl.aborted.Load() {
			switch asked, n, err := c.Ask(&x.out, x.ans.buf); {
			case asked == wire.AskedStale && c.reused:
				return errStale
			case asked == wire.AskedPart:
				return x.write(c)
			case asked == wire.AskedWhole:
				x.ans.n, x.ans.failed = n, err
				return nil
			}
		}
	}
	if first && c.reused && !c.Quiet() {
		return errStale
	}
	return x.write(c)
}

// write writes all of x.out with one call, and goes on as long as the MMSC takes octets. While it takes none,
// a look each second tells whether it has answered instead (not on TLS, where a write can't be taken up again).
func (x *exchange) write(c *upConn) error {
	stalled := time.Duration(0)
	for {
		step := x.set.Timeouts.Write
		if c.Resumes() {
			step = min(time.Second, step-stalled)
		}
		n, err := c.Write(&x.out, step)
		if err == nil {
			return nil
		}
		if !isTimeout(err) || x.cl.aborted.Load() || !c.Resumes() {
			return err
		}
		if !c.Quiet() {
			return errEarly
		}
		if n > 0 {
			stalled = 0
		} else if stalled += step; stalled >= x.set.Timeouts.Write {
			return err
		}
	}
}
