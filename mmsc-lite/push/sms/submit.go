package sms

import (
	"context"
	"fmt"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/smpp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/carrier"
)

// submit submits all segments over one session and waits for their answers. The status is that of the first segment that was
// refused; Ok if the failure was another.
func (c *Client) submit(ctx context.Context, l *link, s *session, m Message, to smpp.Address, code byte) (Sent, smpp.Status, *carrier.Failure) {
	f := c.form
	if m.Receipt {
		f.registered = 1
	}
	segments, err := f.cut(m.Push, uint16(c.reference.Add(1)), m.MaxSegments)
	if err != nil {
		return Sent{}, 0, carrier.Refused("%w", err)
	}
	type call struct {
		sequence uint32
		ch       chan answer
	}
	calls := make([]call, 0, len(segments))
	var failure *carrier.Failure
	for i, seg := range segments {
		p, err := f.submit(seg, to, code, m.Validity, min(m.Priority, 3))
		if err != nil {
			return Sent{}, 0, carrier.Refused("make a submit_sm: %w", err)
		}
		sequence, ch, err := s.start(ctx, p, i == len(segments)-1)
		if err != nil {
			failure = carrier.Later(0, "submit to %s: %w", l.name, err)
			break
		}
		calls = append(calls, call{sequence, ch})
	}
	limit := time.NewTimer(c.opt.Config.Timeout)
	defer limit.Stop()
	out := Sent{SMSC: l.name, IDs: make([]string, 0, len(segments))}
	status, lost := smpp.Ok, error(nil)
	for i, call := range calls {
		if lost != nil {
			limit.Reset(time.Millisecond) // the others have had their time
		}
		a := s.wait(ctx, call.sequence, call.ch, limit)
		if a.err == nil && i == len(segments)-1 {
			defer s.release() // behind Noted: what a crash may send twice is bounded by the window
		}
		c.met.submitted(l.name, a)
		switch {
		case a.err != nil:
			lost = a.err
		case a.status != smpp.Ok && status == smpp.Ok:
			status = a.status
		case a.status == smpp.Ok:
			l.took(time.Now(), code)
		}
		out.IDs = append(out.IDs, a.id)
	}
	switch class := status.Class(); {
	case lost != nil:
		return Sent{}, 0, carrier.Unclear("submit to %s: %w", l.name, lost)
	case class != smpp.Done:
		return Sent{}, status, &carrier.Failure{Final: class == smpp.Refused || class == smpp.Unsuited, Err: fmt.Errorf("%s refused: %s", l.name, status)}
	case failure != nil:
		return Sent{}, 0, failure
	}
	if m.Noted != nil {
		m.Noted(out)
	}
	return out, smpp.Ok, nil
}
