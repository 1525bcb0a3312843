package proxy

import (
	"io"
	"strconv"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/proxy/replay"
	"github.com/mmsrouter/mmsrouter/proxy/wire"
)

// toClient writes to the client with the time-out of one stalled write. False: the client is gone.
func (x *exchange) toClient(bufs ...[]byte) bool {
	x.out = append(x.few[:0], bufs...)
	if _, err := x.cl.c.Write(&x.out, x.set.Timeouts.Client); err != nil {
		x.alive = false
		return false
	}
	return true
}

// answerClient is toClient for an answer that is whole: if the connection ends with it, the client hears that in the same segment.
func (x *exchange) answerClient(bufs ...[]byte) {
	if x.alive || x.broken != nil || !x.get && !x.body.Whole() {
		x.toClient(bufs...)
		return
	}
	x.out = append(x.few[:0], bufs...)
	_, _ = x.cl.c.WriteLast(&x.out, x.set.Timeouts.Client) // a client that is gone needs no answer
}

// deliver gives an MMSC's answer to the client: held ones at once, longer ones as they come.
func (x *exchange) deliver(a *answer, up *upstream) {
	x.by, x.status = up.stats, a.resp.Status
	x.result = resultOf(a)
	if n := len(x.attempts); n > 0 {
		x.words = x.attempts[n-1].result
	}
	x.learn(a, up.Name)
	if x.ticket != nil && a.done && (x.result == Answered || x.result == Permanent) && a.pdu.HasResponse {
		x.ticket.Answer(append([]byte(nil), a.body()...))
	}
	if !x.get && !x.body.Whole() && !x.drain() {
		x.alive = false
		if x.broken.status == 0 {
			x.words += "; the upload broke off behind the answer"
			return
		}
	}
	switch {
	case a.done:
		length := int64(len(a.body()))
		x.headBuf = x.appendAnswerHead(x.headBuf[:0], a, length)
		x.note()
		if a.bodyless || length == 0 {
			x.answerClient(x.headBuf)
		} else {
			x.answerClient(x.headBuf, a.body())
		}
	case a.resp.Length >= 0 || x.cl.req.Minor == 1:
		x.stream(a, up)
	default:
		x.spool(a, up) // HTTP/1.0 knows no chunks, and never gets a body that ends with the connection
	}
	if !x.alive && x.broken != nil {
		x.cl.linger(x.set)
	}
}

// stream passes a long answer on. If it breaks, the client's connection is aborted, so that nobody takes what
// came for whole.
func (x *exchange) stream(a *answer, up *upstream) {
	chunked := a.resp.Length < 0
	x.headBuf = x.appendAnswerHead(x.headBuf[:0], a, a.resp.Length)
	c := a.up
	for first := true; ; first = false {
		bufs := x.bufs[:0]
		if first {
			bufs = append(bufs, x.headBuf)
		}
		part := a.body()
		if len(part) > 0 {
			if chunked {
				x.frame = wire.AppendChunkSize(x.frame[:0], len(part))
				bufs = append(bufs, x.frame, part, crlf)
			} else {
				bufs = append(bufs, part)
			}
		}
		if a.done && chunked {
			bufs = append(bufs, lastChunk)
		}
		if len(bufs) > 0 && !x.toClient(bufs...) {
			x.words += "; the client went away"
			x.result = ClientGone
			a.discard()
			return
		}
		if a.done {
			a.up = nil
			x.settleStreamed(a, c)
			return
		}
		if err := a.next(c, x); err != nil {
			x.cut(a, up, err)
			return
		}
	}
}

// next reads the next part of a body that streams, in place of the last.
func (a *answer) next(c *upConn, x *exchange) error {
	a.n = a.at
	for a.n == a.at && !a.done {
		if err := a.fill(c, x, x.set.Timeouts.Answer); err != nil {
			if a.untilClose && err == io.EOF {
				a.done = true
				return nil
			}
			return err
		}
		a.take()
	}
	return nil
}

// cut ends an answer that broke off while it streamed.
func (x *exchange) cut(a *answer, up *upstream, err error) {
	a.discard()
	x.alive = false
	x.result = Transient
	x.cl.c.Abort()
	up.stats.attempts[PhaseCut].Add(1)
	x.words = "the answer broke off: " + err.Error()
	x.p.opt.Observe(up.Name, false, x.words)
}

// settleStreamed gives back connection and place behind an answer that streamed to its end.
func (x *exchange) settleStreamed(a *answer, c *upConn) {
	defer c.up.leave()
	if a.resp.KeepAlive && !a.untilClose && !a.extra && !c.once {
		c.learnKeepAlive(&a.resp.Head)
		c.up.put(c, time.Now(), x.set.Limits.Idle)
		return
	}
	_ = c.NC.Close() // the answer is through
}

// spool collects a long answer of unknown length before it goes out.
func (x *exchange) spool(a *answer, up *upstream) {
	var body replay.Body
	body.Init(x.p.store, int64(x.set.MaxMessage), false)
	defer body.Free()
	c := a.up
	for {
		for part := a.body(); len(part) > 0; {
			space, err := body.Space()
			if err == nil {
				n := copy(space, part)
				part = part[n:]
				err = body.Commit(n)
			}
			if err != nil {
				x.cut(a, up, err)
				return
			}
		}
		if a.done {
			break
		}
		if err := a.next(c, x); err != nil {
			x.cut(a, up, err)
			return
		}
	}
	a.up = nil
	x.settleStreamed(a, c)
	x.headBuf = x.appendAnswerHead(x.headBuf[:0], a, body.Size())
	body.End()
	if !x.toClient(x.headBuf) {
		return
	}
	buf := x.p.store.Get()
	defer x.p.store.Put(buf)
	for off := int64(0); off < body.Size(); {
		n, err := body.ReadAt(buf, off)
		if err != nil || n == 0 {
			x.alive = false
			x.cl.c.Abort()
			return
		}
		if !x.toClient(buf[:n]) {
			return
		}
		off += int64(n)
	}
}

// refuse answers for us: the PDU's own .conf where it has one (and refuse_with is pdu), else the HTTP status.
func (x *exchange) refuse(why mms.Reason, status int, text string) {
	if x.words == "" {
		x.words = text // else the records say more than the client is told
	}
	cl := x.cl
	if !x.get && x.set.RefuseWith == "pdu" && x.state != mms.Garbage {
		if conf, ok := x.pdu.AppendRefusal(x.frame[:0], why, text); ok {
			x.frame = conf
			x.status = 200
			x.sendPDU(conf)
			return
		}
	}
	x.status = status
	x.headBuf = cl.appendPlain(x.headBuf[:0], x.set, status, text, x.head)
	x.headBuf = append(x.appendConnection(x.headBuf), crlf...)
	x.note()
	body := []byte(text + "\n")
	if x.head {
		body = nil
	}
	x.toClient(x.headBuf, body)
}

// sendPDU answers with a PDU of our own.
func (x *exchange) sendPDU(pdu []byte) {
	b := append(x.headBuf[:0], "HTTP/1.1 200 OK\r\nContent-Type: "+mmsType+"\r\n"...)
	b = appendLength(b, int64(len(pdu)))
	b = x.appendVia(b, nil, 1)
	b = append(x.appendConnection(b), crlf...)
	x.headBuf = b
	x.note()
	x.answerClient(b, pdu)
}

// appendPlain begins the head of a plain text answer; the Connection field and the empty line are still to come.
func (cl *client) appendPlain(b []byte, set *settings, status int, text string, head bool) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, statusText(status)...)
	b = append(b, "\r\nContent-Type: text/plain; charset=utf-8\r\n"...)
	b = appendLength(b, int64(len(text)+1))
	switch status {
	case 405:
		b = append(b, "Allow: GET, HEAD, POST\r\n"...)
	case 503:
		b = append(b, "Retry-After: "...)
		b = strconv.AppendInt(b, int64(set.RetryAfter/time.Second), 10)
		b = append(b, crlf...)
	}
	return b
}

// plain answers a request that is not routed, and announces the end of the connection.
func (cl *client) plain(set *settings, status int, text string, head bool) {
	b := cl.appendPlain(make([]byte, 0, 256), set, status, text, head)
	b = append(b, "Connection: close\r\n\r\n"...)
	if !head {
		b = append(append(b, text...), '\n')
	}
	_ = cl.nc.SetWriteDeadline(time.Now().Add(set.Timeouts.Linger)) // it fails only on a closed connection
	_, _ = cl.nc.Write(b)                                           // a client that is gone needs no answer
}
