package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/mmsrouter/mmsrouter/proxy/wire"
)

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
			if err == errStale {
				return err // nothing has been written
			}
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
