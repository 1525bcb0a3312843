package handset

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
)

// take does with a notification what the phone's mode says.
func (p *phone) take(ctx context.Context, n *notification) {
	switch p.opt.Mode {
	case Reject:
		p.tell(Event{Kind: Refused, Number: p.number, Transaction: n.transaction, Location: n.location})
		p.owe(n, mms.Rejected)
		p.report(ctx, n)
	case Deferred:
		p.tell(Event{Kind: Postponed, Number: p.number, Transaction: n.transaction, Location: n.location})
		p.owe(n, mms.Deferred)
		p.report(ctx, n)
		if p.opt.FetchAfter <= 0 || !pause(ctx, p.opt.FetchAfter) || !p.resume(n) {
			return
		}
		_ = p.fetch(ctx, n, true) // the event has told
	default:
		_ = p.fetch(ctx, n, false) // the event has told
	}
}

// owe notes the M-NotifyResp.ind that is due.
func (p *phone) owe(n *notification, s mms.MessageStatus) {
	n.owed = mms.NotifyResp{TransactionID: n.transaction, Version: n.version.Reply(), Status: s, ReportAllowed: p.reportAllowed()}.Append(nil)
}

func (p *phone) reportAllowed() mms.Flag {
	if p.opt.DenyReports {
		return mms.No
	}
	return 0
}

// resume takes a deferred notification up; false if somebody else has.
func (p *phone) resume(n *notification) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.seen[n.key]
	if e == nil || e.state != waiting {
		return false
	}
	e.state = underWay
	return true
}

// settle notes the state of a notification.
func (p *phone) settle(n *notification, s state) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.seen[n.key]
	if e == nil {
		return
	}
	e.state = s
	if s == done {
		e.note = nil
	}
}

// Fetch fetches a message that a phone has deferred, by the transaction id of its notification.
func (x *Phones) Fetch(ctx context.Context, number, transaction string) error {
	p, err := x.find(number)
	if err != nil {
		return err
	}
	var n *notification
	p.mu.Lock()
	for _, e := range p.seen {
		if e.state == waiting && e.note.transaction == transaction {
			n, e.state = e.note, underWay
			break
		}
	}
	p.mu.Unlock()
	if n == nil {
		return fmt.Errorf("handset: %s has no deferred message of transaction %q", p.number, transaction)
	}
	return p.fetch(ctx, n, true)
}

// fetch gets a message, stores it, acknowledges, and answers.
func (p *phone) fetch(ctx context.Context, n *notification, deferred bool) error {
	e := Event{Number: p.number, Transaction: n.transaction, Location: n.location, PDU: mms.MRetrieveConf}
	var m *mms.PDU
	err := p.persist(ctx, e, true, n.expires, func() (err error) {
		m, err = p.get(ctx, n.location)
		return err
	})
	if err == nil {
		e.Folder, err = p.store(n.key, m)
	}
	if err != nil {
		p.mu.Lock()
		p.forget(n.key)
		p.mu.Unlock()
		if ctx.Err() == nil {
			e.Kind, e.Err = Failed, err
			p.tell(e)
		}
		return err
	}
	e.Kind, e.Message, e.MessageID, e.Subject, e.Size, e.Parts = Stored, m, m.MessageID(), m.Subject(), m.BodyOffset+m.BodySize, len(m.Parts)
	e.From, _ = m.From()
	p.tell(e)
	n.owed = nil
	switch {
	case !deferred:
		p.owe(n, mms.Retrieved)
	case m.TransactionID() != nil: // OMA-MMS-ENC 6.4: one without asks for no acknowledgement
		n.owed = mms.Acknowledge{TransactionID: string(m.TransactionID()), Version: m.Version().Reply(), ReportAllowed: p.reportAllowed()}.Append(nil)
	}
	p.report(ctx, n)
	p.follow(ctx, m)
	return nil
}

// get does one GET of a message.
func (p *phone) get(ctx context.Context, location string) (*mms.PDU, error) {
	b, err := p.exchange(ctx, http.MethodGet, location, nil)
	if err != nil {
		return nil, err
	}
	m, err := mms.Decode(b)
	if err != nil {
		return nil, &failure{fmt.Errorf("the answer: %w", err), later}
	}
	if m.Type != mms.MRetrieveConf {
		return nil, &failure{fmt.Errorf("the answer is %s", m.Type), later}
	}
	if s := mms.Status(m.Octet(mms.FieldRetrieveStatus)); m.Has(mms.FieldRetrieveStatus) && mms.RetrieveClass(s) != mms.Ok {
		err := fmt.Errorf("Retrieve-Status %s %q", s.RetrieveString(), m.Text(mms.FieldRetrieveText))
		if mms.RetrieveClass(s) == mms.Transient {
			return nil, &failure{err, later}
		}
		return nil, &failure{err, never}
	}
	return m, nil
}

// report tells the MMSC what is owed; what does not get through is kept for the next notification of the same message.
func (p *phone) report(ctx context.Context, n *notification) {
	after := done
	if len(n.owed) > 0 {
		pdu, err := mms.Decode(n.owed)
		if err != nil {
			p.log.Error("an indication of our own can't be read", "err", err)
			return
		}
		if pdu.Status() == mms.Deferred {
			after = waiting
		}
		status := ""
		if pdu.Has(mms.FieldStatus) {
			status = pdu.Status().String()
		}
		err = p.indicate(ctx, n.owed, n.location, Event{PDU: pdu.Type, Status: status, Transaction: string(pdu.TransactionID()), Location: n.location})
		switch {
		case err == nil:
			n.owed = nil
		case after == done:
			after = unreported
		}
	}
	p.settle(n, after)
}

// indicate posts a PDU that no PDU answers: to the MMSC, or where the message came from.
func (p *phone) indicate(ctx context.Context, pdu []byte, location string, e Event) error {
	to := p.opt.URL
	if to == "" {
		to = location
	}
	e.Number = p.number
	var err error
	if to == "" {
		err = errors.New("no URL of an MMSC is known")
	} else {
		err = p.persist(ctx, e, false, time.Time{}, func() error {
			_, err := p.exchange(ctx, http.MethodPost, to, pdu)
			return err
		})
	}
	e.Kind, e.Err = Indicated, err
	p.tell(e)
	return err
}

// cancelled answers an M-Cancel.req (OMA-MMS-ENC 6.10). What the phone has stored it keeps: a drill wants to see it.
func (p *phone) cancelled(pdu *mms.PDU) {
	tid := pdu.TransactionID()
	p.tell(Event{Kind: Cancelled, Number: p.number, PDU: pdu.Type, Transaction: string(tid), MessageID: pdu.Text(mms.FieldCancelID)})
	if tid == nil || p.full() {
		return
	}
	const received mms.Status = 0x80
	conf := mms.CancelConf{TransactionID: tid, Version: mms.Version13, Status: received}.Append(nil)
	p.start(func(ctx context.Context) {
		_ = p.indicate(ctx, conf, "", Event{PDU: mms.MCancelConf, Transaction: string(tid)}) // the event tells
	}, func() {})
}

// unrecognised tells the MMSC that its notification is of a version that the phone does not know (OMA-MMS-ENC 8.1).
func (p *phone) unrecognised(n *notification) {
	p.owe(n, mms.Unrecognised)
	p.start(func(ctx context.Context) {
		e := Event{PDU: mms.MNotifyRespInd, Status: mms.Unrecognised.String(), Transaction: n.transaction, Location: n.location}
		_ = p.indicate(ctx, n.owed, n.location, e) // the event tells
	}, func() {})
}

// follow does what comes after a message: the read report, the answer.
func (p *phone) follow(ctx context.Context, m *mms.PDU) {
	from, _ := m.From()
	if from == "" {
		return
	}
	if p.opt.ReadReport && m.Flag(mms.FieldReadReport, false) && m.MessageID() != "" {
		r := mms.ReadReport{Type: mms.MReadRecInd, MessageID: m.MessageID(), To: from, From: p.sender(), Date: time.Now(), Status: mms.Read}
		// The event tells how it went.
		_ = p.indicate(ctx, r.Append(nil), "", Event{PDU: mms.MReadRecInd, From: from, MessageID: m.MessageID()})
	}
	if text, ok := p.answer(from); ok {
		subject := m.Subject()
		if subject != "" {
			subject = "Re: " + subject
		}
		// The event tells how it went.
		_, _ = p.submit(ctx, Letter{To: []string{from}, Subject: subject, Parts: []Part{{Name: "text.txt", Type: "text/plain", Data: []byte(text)}}})
	}
}

// answer gives the next reply to a correspondent. There are as many as the phone has texts, so that two phones that answer
// each other come to an end.
func (p *phone) answer(from string) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.answers[from]
	if n >= len(p.opt.Replies) || n == 0 && len(p.answers) >= maxCorrespondents {
		return "", false
	}
	if p.answers == nil {
		p.answers = map[string]int{}
	}
	p.answers[from]++
	return p.opt.Replies[n], true
}
