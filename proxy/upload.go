package proxy

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mmsrouter/mmsrouter/proxy/replay"
	"github.com/mmsrouter/mmsrouter/proxy/wire"
)

// errSuperseded says that the same subscriber has posted the same transaction again: the newer post wins.
var errSuperseded = errors.New("superseded by a newer post of the same transaction")

// uploadError is why an upload will not come to its end: what to answer, if anybody still listens.
type uploadError struct {
	status int // HTTP status; 0: the client is gone
	why    error
}

func (e *uploadError) Error() string { return e.why.Error() }
func (e *uploadError) Unwrap() error { return e.why }

// begin sets the upload up: what came with the head is its beginning.
func (x *exchange) begin(digest bool) {
	cl := x.cl
	x.body.Init(x.p.store, int64(x.set.MaxMessage), digest)
	x.chunked = wire.Chunked{}
	x.left = cl.req.Length
	from := cl.r
	var err error
	if cl.req.Chunked {
		data, used, derr := x.chunked.Decode(cl.buf[from:cl.w])
		rest := cl.buf[from+used : cl.w]
		if err = derr; err == nil {
			err = x.body.Adopt(cl.buf, from, from+data)
		}
		cl.later = append(cl.later[:0], rest...)
		if x.chunked.Done {
			x.body.End()
		}
	} else {
		n := int(min(x.left, int64(cl.w-from)))
		err = x.body.Adopt(cl.buf, from, from+n)
		x.left -= int64(n)
		cl.later = append(cl.later[:0], cl.buf[from+n:cl.w]...)
		if x.left == 0 {
			x.body.End()
		}
	}
	x.p.m.uploads.Add(uint64(x.body.Size()))
	x.fail(err)
}

// fail turns a reading error into an uploadError that sticks.
func (x *exchange) fail(err error) {
	if err == nil || x.broken != nil {
		return
	}
	var we *wire.Error
	switch {
	case errors.Is(err, replay.ErrTooLarge):
		x.broken = &uploadError{413, err}
	case errors.Is(err, replay.ErrFull):
		x.broken = &uploadError{503, fmt.Errorf("%w, raise mm1.replay.files", err)}
	case errors.As(err, &we):
		x.broken = &uploadError{we.Status, err}
	default:
		x.broken = &uploadError{503, err} // our disk
	}
}

// more reads the next octets of the upload. With wait it waits for some; without, it gives
// wire.ErrWouldBlock when none are there. After an error the upload is over and x.broken says why.
func (x *exchange) more(wait bool) error {
	if x.broken != nil {
		return x.broken
	}
	cl := x.cl
	if !wait && cl.c.Drained() {
		return wire.ErrWouldBlock // the last read told
	}
	room, err := x.room(wait)
	if err != nil {
		x.fail(err)
		return x.broken
	}
	space := room[0]
	var n int
	if wait {
		n, err = x.await(space)
	} else {
		n, err = cl.c.TryReadInto(room)
	}
	if err != nil {
		_ = x.body.Commit(0) // what was asked for goes back; nothing is added, so it can't fail
	}
	if err == wire.ErrWouldBlock {
		return err
	}
	if err != nil {
		if x.broken == nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			x.broken = &uploadError{0, fmt.Errorf("read upload: %w", err)}
		}
		return x.broken
	}
	x.p.m.uploads.Add(uint64(n))
	data := n
	if cl.req.Chunked {
		var used int
		if data, used, err = x.chunked.Decode(space[:n]); err != nil {
			x.fail(err)
			return x.broken
		}
		if x.chunked.Done {
			cl.later = append(cl.later[:0], space[used:n]...)
		}
	} else {
		x.left -= int64(n)
	}
	if err := x.body.Commit(data); err != nil {
		x.fail(err)
		return x.broken
	}
	if cl.req.Chunked && x.chunked.Done || !cl.req.Chunked && x.left == 0 {
		x.body.End()
	}
	return nil
}

// room gives space for the next octets of the upload: one piece where chunk framing must be taken off or octets are
// awaited, else as much as a flush takes, since what is there already should cost one call.
func (x *exchange) room(wait bool) ([][]byte, error) {
	want := int64(1)
	if !wait && !x.cl.req.Chunked {
		want = min(x.left, flushAt)
	}
	room, err := x.body.Room(x.scratch[:0], want)
	if err != nil {
		return nil, err
	}
	x.scratch = room[:0]
	if !x.cl.req.Chunked { // what is behind the upload is not read with it
		left := x.left
		for i := range room {
			room[i] = room[i][:min(int64(len(room[i])), left)]
			left -= int64(len(room[i]))
		}
		for len(room) > 1 && len(room[len(room)-1]) == 0 {
			room = room[:len(room)-1]
		}
	}
	return room, nil
}

// rateGrace is how long an upload may be slower than timeouts.min_rate.
const rateGrace = 10 * time.Second

// await is a read that may wait. Only the time spent here counts against the client's rate: a slow MMSC is not
// the client's fault.
func (x *exchange) await(space []byte) (int, error) {
	cl := x.cl
	if cl.req.Continue && !x.continued {
		x.continued = true
		_ = cl.nc.SetWriteDeadline(time.Now().Add(x.set.Timeouts.Client)) // it fails only on a closed connection
		if _, err := cl.nc.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
			return 0, err
		}
	}
	begun := time.Now()
	n, err := cl.read(space, x.set.Timeouts.Body)
	x.waited += time.Since(begun)
	if err != nil {
		if cl.aborted.Load() {
			return 0, x.superseded()
		}
		if isTimeout(err) {
			x.broken = &uploadError{408, errors.New("the upload stalled (mm1.timeouts.body)")}
		}
		return n, err
	}
	if rate := int64(x.set.Timeouts.MinRate); rate > 0 && x.waited > rateGrace && float64(x.body.Size())/x.waited.Seconds() < float64(rate) {
		x.broken = &uploadError{408, errors.New("the upload is slower than mm1.timeouts.min_rate")}
		return n, x.broken
	}
	return n, nil
}

func (x *exchange) superseded() error {
	x.broken = &uploadError{0, errSuperseded}
	return x.broken
}

// drain reads the upload to its end without keeping it, for an answer that is already known. False: it
// broke off.
func (x *exchange) drain() bool {
	if x.body.Whole() {
		return true
	}
	if x.broken != nil {
		return false
	}
	cl := x.cl
	scratch := x.p.store.Get()
	defer x.p.store.Put(scratch)
	for size := x.body.Size(); ; {
		space := scratch
		if !cl.req.Chunked {
			space = space[:min(int64(len(space)), x.left)]
		}
		n, err := cl.c.TryRead(space)
		if err == wire.ErrWouldBlock {
			n, err = x.await(space)
		}
		if err != nil {
			if x.broken == nil {
				x.broken = &uploadError{0, fmt.Errorf("read upload: %w", err)}
			}
			return false
		}
		if size += int64(n); size > int64(x.set.MaxMessage)+maxFraming {
			x.fail(replay.ErrTooLarge)
			return false
		}
		if cl.req.Chunked {
			_, used, err := x.chunked.Decode(space[:n])
			if err != nil {
				x.fail(err)
				return false
			}
			if x.chunked.Done {
				cl.later = append(cl.later[:0], space[used:n]...)
				return true
			}
		} else if x.left -= int64(n); x.left == 0 {
			return true
		}
	}
}

// maxFraming is what chunk framing may add to a drained upload.
const maxFraming = 1 << 20
