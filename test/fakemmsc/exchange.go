package fakemmsc

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// request reads the body, does what the script says and answers. more: the connection stays open.
func (c *conn) request(r *Request) (more bool, err error) {
	c.s.mu.Lock()
	c.s.counts.Heads++
	r.N = c.s.counts.Heads
	script := c.s.script
	c.s.changed.Broadcast()
	c.s.mu.Unlock()
	b := Accept()
	if script != nil {
		b = script(r.N, r)
	}
	if b.HoldHead != nil && !c.wait(b.HoldHead) {
		return false, errBroken
	}
	if b.At == AtHead {
		if err := c.end(b.Break); err != nil {
			return false, err
		}
	}
	if strings.EqualFold(r.Get("Expect"), "100-continue") && !b.Early {
		if _, err := io.WriteString(c.nc, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return false, err
		}
	}
	early, err := c.readBody(r, b)
	if err != nil {
		if err != errBroken {
			c.s.count(func(k *Counts) { k.Broken++ })
		}
		return false, err
	}
	r.Body = c.body
	r.PDU, _ = pdu.Read(c.body) // garbage is recorded as type 0
	kept := *r
	kept.Body = nil
	c.s.whole(&kept, c.body, b.Store)
	if b.At == AtWhole {
		if err := c.end(b.Break); err != nil {
			return false, err
		}
	}
	if !early {
		if d := c.s.opt.Delay; d > 0 {
			select {
			case <-time.After(d):
			case <-c.down:
				return false, errBroken
			}
		}
		if err := c.answer(r, b); err != nil {
			return false, err
		}
	}
	closing := b.Close || b.HangUp || r.Proto == "HTTP/1.0" || strings.EqualFold(r.Get("Connection"), "close")
	return !closing, nil
}

// readBody reads the body into c.body, breaking or answering early where told.
func (c *conn) readBody(r *Request, b Behaviour) (early bool, err error) {
	c.body = c.body[:0]
	stop := -1
	switch {
	case b.Early:
		stop = b.EarlyAt
	case b.At == AtBody && b.Break != NoBreak:
		stop = b.After
	}
	begun := false
	// take reads n octets of the body, with a halt at `stop`
	take := func(n int64) error {
		for n > 0 {
			step := min(n, 64<<10)
			if b.Sip > 0 {
				step = min(step, int64(b.Sip))
			}
			if left := int64(stop - len(c.body)); left > 0 {
				step = min(step, left)
			}
			at := len(c.body)
			if cap(c.body)-at < int(step) {
				c.body = append(make([]byte, 0, max(2*cap(c.body), at+int(min(n, c.s.opt.MaxBody)))), c.body...)
			}
			c.body = c.body[:at+int(step)]
			got, err := io.ReadAtLeast(c.br, c.body[at:], 1)
			c.body = c.body[:at+got]
			n -= int64(got)
			if err != nil {
				return err
			}
			if !begun {
				begun = true
				c.s.count(func(k *Counts) { k.Begun++ })
			}
			if len(c.body) == stop {
				if early, err = c.halt(r, b); err != nil {
					return err
				}
			}
			if b.SipEvery > 0 {
				time.Sleep(b.SipEvery) // the pause is the behaviour itself
			}
			if int64(len(c.body)) > c.s.opt.MaxBody {
				return fmt.Errorf("%w: body too long", errBad)
			}
		}
		return nil
	}
	if stop == 0 && r.Length != 0 {
		if early, err = c.halt(r, b); err != nil {
			return early, err
		}
	}
	if r.Length >= 0 {
		return early, take(r.Length)
	}
	for {
		left := maxHead
		l, err := c.line(&left)
		if err != nil {
			return early, err
		}
		n, err := strconv.ParseUint(l, 16, 32)
		if err != nil {
			return early, fmt.Errorf("%w: chunk size %q", errBad, l)
		}
		if n == 0 {
			r.Trailer, err = c.fields(&left)
			return early, err
		}
		if err := take(int64(n)); err != nil {
			return early, err
		}
		if l, err := c.line(&left); err != nil || l != "" {
			return early, fmt.Errorf("%w: chunk end %q", errBad, l)
		}
	}
}

// halt is the point inside the body where the behaviour acts.
func (c *conn) halt(r *Request, b Behaviour) (early bool, err error) {
	if !b.Early {
		return false, c.end(b.Break)
	}
	r.Body = c.body
	r.PDU, _ = pdu.Read(c.body) // as much as there is
	return true, c.answer(r, b)
}

func (c *conn) reply(r *Request, b Behaviour) Reply {
	switch {
	case b.Answer != nil:
		return b.Answer(r)
	case r.Method == "POST":
		return Conf(pdu.Ok)(r)
	case r.Method == "GET" || r.Method == "HEAD":
		path := r.Target
		if i := strings.Index(path, "://"); i >= 0 {
			if j := strings.IndexByte(path[i+3:], '/'); j >= 0 {
				path = path[i+3+j:]
			}
		}
		c.s.mu.Lock()
		page, ok := c.s.pages[path]
		missing := c.s.missing
		c.s.mu.Unlock()
		if !ok {
			return Status(missing)(r)
		}
		return Reply{Status: 200, Type: pdu.ContentType, Body: page}
	}
	return Status(405)(r)
}

func (c *conn) answer(r *Request, b Behaviour) error {
	if b.Hold != nil && !c.wait(b.Hold) {
		return errBroken
	}
	rep := c.reply(r, b)
	out := rep.Raw
	if out == nil {
		out = rep.octets(r, b.Close)
	}
	if b.At == AtAnswer && b.Break != NoBreak {
		n := min(b.After, len(out))
		if err := c.write(out[:n], b); err != nil {
			return err
		}
		return c.end(b.Break)
	}
	if err := c.write(out, b); err != nil {
		return err
	}
	c.s.count(func(k *Counts) { k.Answers++ })
	if rep.Raw != nil || rep.ToClose {
		return errBroken
	}
	return nil
}

func (c *conn) write(out []byte, b Behaviour) error {
	if b.Pace == 0 {
		_, err := c.nc.Write(out)
		return err
	}
	piece := max(b.Piece, 1)
	for len(out) > 0 {
		n := min(piece, len(out))
		if _, err := c.nc.Write(out[:n]); err != nil {
			return err
		}
		out = out[n:]
		time.Sleep(b.Pace) // the pause is the behaviour itself
	}
	return nil
}

// octets builds the whole answer as it goes over the wire.
func (rep Reply) octets(r *Request, closing bool) []byte {
	out := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n", rep.Status, http.StatusText(rep.Status))
	if rep.Type != "" {
		out = fmt.Appendf(out, "Content-Type: %s\r\n", rep.Type)
	}
	for _, h := range rep.Header {
		out = fmt.Appendf(out, "%s: %s\r\n", h[0], h[1])
	}
	if closing || rep.ToClose {
		out = append(out, "Connection: close\r\n"...)
	}
	switch {
	case rep.ToClose || rep.Status == 204 || rep.Status == 304:
		out = append(out, "\r\n"...)
	case rep.Chunked:
		out = append(out, "Transfer-Encoding: chunked\r\n\r\n"...)
		for b := rep.Body; len(b) > 0; {
			n := min(len(b), 1000)
			out = fmt.Appendf(out, "%x\r\n%s\r\n", n, b[:n])
			b = b[n:]
		}
		return append(out, "0\r\n\r\n"...)
	default:
		n := len(rep.Body)
		if rep.Announce > 0 {
			n = rep.Announce
		}
		out = fmt.Appendf(out, "Content-Length: %d\r\n\r\n", n)
	}
	if r.Method == "HEAD" {
		return out
	}
	return append(out, rep.Body...)
}
