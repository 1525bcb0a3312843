package proxy

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/proxy/replay"
	"github.com/mmsrouter/mmsrouter/proxy/wire"
)

// holdMost is how much of an answer's body is held before its first octet goes out; a longer one streams.
const holdMost = 64 << 10

// answerSize holds a head and a held body, so that a body of exactly holdMost still fits.
const answerSize = holdMost + 33<<10

var answerPool = sync.Pool{New: func() any { return new([answerSize]byte) }}

// answer is what an MMSC said: the head and up to holdMost of the body, in one buffer.
type answer struct {
	resp       wire.Response
	buf        []byte // Small from the Store, or answerSize from the pool
	at         int    // where the body begins in buf
	n          int    // octets of buf in use; body is buf[at:n]
	done       bool   // the body is whole
	left       int64  // of Content-Length
	chunked    wire.Chunked
	untilClose bool // the body ends with the connection
	extra      bool // octets came behind the answer
	bodyless   bool
	fresh      int   // octets read behind n, not yet counted
	bad        error // the framing is broken
	failed     error // what the wait for its first octets came to

	pdu   mms.Head
	state mms.State
	until time.Time // for head and held part together; a streaming rest may take longer
	up    *upConn   // while the rest of the body is still to come
}

func (a *answer) body() []byte { return a.buf[a.at:a.n] }

// free gives the buffer back. An answer that still streams is broken off.
func (a *answer) free(s *replay.Store) {
	a.discard()
	switch cap(a.buf) {
	case replay.Small:
		s.Put(a.buf[:replay.Small])
	case answerSize:
		answerPool.Put((*[answerSize]byte)(a.buf[:answerSize]))
	}
	*a = answer{resp: wire.Response{Head: wire.Head{Fields: a.resp.Fields[:0]}}}
}

// discard breaks off what still streams, and gives the MMSC's place back.
func (a *answer) discard() {
	if a.up != nil {
		a.up.Abort()
		a.up.up.leave()
		a.up = nil
	}
}

// Errors of reading an answer.
var (
	errNoAnswer  = errors.New("no answer")
	errCutAnswer = errors.New("the answer broke off")
)

// maxInterim bounds the 1xx answers before the answer.
const maxInterim = 16

// read reads the answer on c: the head, and the body as far as it is held. patience is the time to its first
// octet, and between two reads; x.deadline bounds what is held.
func (a *answer) read(c *upConn, x *exchange, patience time.Duration) error {
	if a.buf == nil {
		a.begin(x, time.Now(), patience)
	}
	if a.failed != nil {
		return fmt.Errorf("%w: %w", errNoAnswer, a.failed)
	}
	limits := wire.Limits{Octets: int(x.set.Limits.Header), Fields: x.set.Limits.Fields}
	for interim := 0; ; {
		err := wire.ParseResponse(a.buf[:a.n], &a.resp, limits)
		if err == nil {
			if a.resp.Status >= 200 {
				break
			}
			// 100 Continue, 103 Early Hints: the answer is still to come
			a.n = copy(a.buf, a.buf[a.resp.Size:a.n])
			if interim++; interim > maxInterim {
				return fmt.Errorf("%w: nothing but interim answers", errCutAnswer)
			}
			if a.resp.Status == 101 {
				return fmt.Errorf("%w: a switch of protocols that nobody asked for", errCutAnswer)
			}
			continue
		}
		if err != wire.ErrPartial {
			return fmt.Errorf("malformed answer: %w", err)
		}
		if err := a.fill(c, x, patience); err != nil {
			if a.n == 0 {
				return fmt.Errorf("%w: %w", errNoAnswer, err)
			}
			return fmt.Errorf("%w: %w", errCutAnswer, err)
		}
	}
	a.frame(x)
	for !a.done && a.n-a.at < holdMost {
		if err := a.fill(c, x, patience); err != nil {
			if a.untilClose && err == io.EOF {
				a.done = true
				break
			}
			return fmt.Errorf("%w: %w", errCutAnswer, err)
		}
		a.take()
	}
	a.until = time.Time{}
	return nil
}

// begin takes a buffer and sets the time that head and held part may take.
func (a *answer) begin(x *exchange, now time.Time, patience time.Duration) {
	if x.get {
		a.buf = answerPool.Get().(*[answerSize]byte)[:]
	} else {
		a.buf = x.p.store.GetSmall()
	}
	a.until = x.deadline
	if a.until.IsZero() {
		a.until = now.Add(10 * patience) // the upload is not through: what arrived is looked at, not waited for
	}
}

// wait is how long one read may take.
func (a *answer) wait(now time.Time, patience time.Duration) time.Duration {
	if a.until.IsZero() {
		return patience
	}
	return min(patience, a.until.Sub(now))
}

// frame finds out how the body is delimited and takes what has come of it.
func (a *answer) frame(x *exchange) {
	a.at = a.resp.Size
	switch {
	case x.head || a.resp.Status == 204 || a.resp.Status == 304:
		a.bodyless, a.done = true, true
		a.extra = a.n > a.at
		a.n = a.at
	case a.resp.Chunked:
	case a.resp.Length >= 0:
		a.left = a.resp.Length
	default:
		a.untilClose = true
	}
	if !a.done {
		got := a.n - a.at
		a.n = a.at
		a.accept(got)
	}
}

// accept counts octets that stand behind a.n as body, taking chunk framing off.
func (a *answer) accept(got int) {
	switch {
	case a.resp.Chunked:
		data, used, err := a.chunked.Decode(a.buf[a.n : a.n+got])
		a.n += data
		if err != nil {
			a.bad = err
			return
		}
		a.done = a.chunked.Done
		a.extra = a.done && used < got
	case a.untilClose:
		a.n += got
	default:
		take := int(min(int64(got), a.left))
		a.n += take
		a.left -= int64(take)
		a.done = a.left == 0
		a.extra = take < got
	}
}

func (a *answer) take() {
	got := a.fresh
	a.fresh = 0
	a.accept(got)
}

// fill reads more octets behind a.n. Before the head is complete they belong to a.n; after that take counts
// them.
func (a *answer) fill(c *upConn, x *exchange, patience time.Duration) error {
	if a.bad != nil {
		return a.bad
	}
	if a.n == cap(a.buf) {
		if cap(a.buf) == answerSize {
			return errors.New("its head is too long")
		}
		big := answerPool.Get().(*[answerSize]byte)[:]
		copy(big, a.buf[:a.n])
		x.p.store.Put(a.buf)
		a.buf = big
		if a.at > 0 { // the fields alias the old buffer
			_ = wire.ParseResponse(a.buf[:a.at], &a.resp, wire.Limits{Octets: int(x.set.Limits.Header), Fields: x.set.Limits.Fields}) // parsed before
		}
	}
	now := time.Now()
	c.ReadBy(now, a.wait(now, patience))
	if x.cl.aborted.Load() && x.p.stopping() {
		return errors.New("the router is stopping")
	}
	n, err := c.Read(a.buf[a.n:cap(a.buf)])
	if n == 0 && err == nil {
		err = io.ErrNoProgress
	}
	if err != nil {
		return err
	}
	if a.at == 0 {
		a.n += n
	} else {
		a.fresh = n
	}
	return nil
}
