package mms

import (
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// Get gives the first header of a field: of repeated ones the first counts.
func (p *PDU) Get(f Field) (Header, bool) {
	for _, h := range p.Headers {
		if h.Field == f {
			return h, true
		}
	}
	return Header{}, false
}

// All gives every header of a field, in order.
func (p *PDU) All(f Field) []Header {
	var all []Header
	for _, h := range p.Headers {
		if h.Field == f {
			all = append(all, h)
		}
	}
	return all
}

// Has says whether a field is there.
func (p *PDU) Has(f Field) bool {
	_, ok := p.Get(f)
	return ok
}

// Add puts a header behind the others.
func (p *PDU) Add(h ...Header) { p.Headers = append(p.Headers, h...) }

// Set replaces the first header of h's field and removes its others, or adds h.
func (p *PDU) Set(h Header) {
	for i := range p.Headers {
		if p.Headers[i].Field == h.Field {
			p.Headers[i] = h
			rest := p.Headers[:i+1]
			for _, other := range p.Headers[i+1:] {
				if other.Field != h.Field {
					rest = append(rest, other)
				}
			}
			p.Headers = rest
			return
		}
	}
	p.Add(h)
}

// Remove takes all headers of the given fields out.
func (p *PDU) Remove(which ...Field) {
	keep := p.Headers[:0]
	for _, h := range p.Headers {
		gone := false
		for _, f := range which {
			gone = gone || h.Field == f
		}
		if !gone {
			keep = append(keep, h)
		}
	}
	p.Headers = keep
}

// Text gives the text of the first header of a field, "" if it is not there or
// does not have the form of its field.
func (p *PDU) Text(f Field) string {
	h, ok := p.Get(f)
	if !ok {
		return ""
	}
	text, ok := h.Text()
	if !ok {
		return ""
	}
	return text
}

// texts gives the texts of all headers of a field that can be read.
func (p *PDU) texts(f Field) []string {
	var all []string
	for _, h := range p.Headers {
		if h.Field != f {
			continue
		}
		if text, ok := h.Text(); ok {
			all = append(all, text)
		}
	}
	return all
}

// Octet gives the octet of the first header of a field, 0 if it is not there.
func (p *PDU) Octet(f Field) byte {
	h, ok := p.Get(f)
	if !ok {
		return 0
	}
	return h.Octet()
}

// Flag gives the Yes or No of a field, or absent if it is not there or neither.
func (p *PDU) Flag(f Field, absent bool) bool {
	switch p.Octet(f) {
	case tokenYes:
		return true
	case tokenNo:
		return false
	}
	return absent
}

// Number gives the number of a field; false if it is not there.
func (p *PDU) Number(f Field) (uint64, bool) {
	h, ok := p.Get(f)
	if !ok {
		return 0, false
	}
	n, m := wsp.Integer(h.Value())
	return n, m > 0 && m == len(h.Value())
}

// When gives a time field (Expiry, Delivery-Time, Reply-Charging-Deadline).
func (p *PDU) When(f Field) (When, bool) {
	h, ok := p.Get(f)
	if !ok {
		return When{}, false
	}
	return h.When()
}

// TransactionID gives the transaction id as it stands, byte for byte; nil if
// there is none.
func (p *PDU) TransactionID() []byte {
	h, ok := p.Get(FieldTransactionID)
	if !ok {
		return nil
	}
	var id []byte
	keepText(&id, h.Value())
	return id
}

// Version gives X-Mms-MMS-Version, 0 if there is none.
func (p *PDU) Version() Version { return Version(p.Octet(FieldMMSVersion)) }

// MessageID gives the Message-ID without angle brackets.
func (p *PDU) MessageID() string { return unbracket(p.Text(FieldMessageID)) }

func unbracket(id string) string {
	if len(id) > 2 && id[0] == '<' && id[len(id)-1] == '>' {
		return id[1 : len(id)-1]
	}
	return id
}

// ContentLocation gives the URI without white space around it.
func (p *PDU) ContentLocation() string { return trimSpace(p.Text(FieldContentLocation)) }

// From gives the sender's address; insert says that the PDU asks the server to
// put it in. Neither: a hidden sender.
func (p *PDU) From() (address string, insert bool) {
	text := p.Text(FieldFrom)
	if text == InsertAddress {
		return "", true
	}
	return text, false
}

// To gives the addresses of all To headers.
func (p *PDU) To() []string { return p.texts(FieldTo) }

// Cc gives the addresses of all Cc headers.
func (p *PDU) Cc() []string { return p.texts(FieldCc) }

// Bcc gives the addresses of all Bcc headers.
func (p *PDU) Bcc() []string { return p.texts(FieldBcc) }

// Recipients gives To, Cc and Bcc in this order.
func (p *PDU) Recipients() []string {
	return append(append(p.To(), p.Cc()...), p.Bcc()...)
}

// Subject gives the subject decoded out of its charset.
func (p *PDU) Subject() string { return p.Text(FieldSubject) }

// Date gives the date; false if there is none.
func (p *PDU) Date() (time.Time, bool) {
	n, ok := p.Number(FieldDate)
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(int64(min(n, lastDate)), 0).UTC(), true
}

// Class gives the message class; Personal, "Personal", is the default.
func (p *PDU) Class() string {
	if text := p.Text(FieldMessageClass); text != "" {
		return text
	}
	return classWords[0]
}

// Priority is the octet of X-Mms-Priority.
type Priority byte

// The priorities.
const (
	Low    Priority = 0x80
	Normal Priority = 0x81
	High   Priority = 0x82
)

// Priority gives the priority; Normal is the default.
func (p *PDU) Priority() Priority {
	if c := Priority(p.Octet(FieldPriority)); c >= Low && c <= High {
		return c
	}
	return Normal
}

// HideSender says whether the sender asks not to be named.
func (p *PDU) HideSender() bool { return p.Octet(FieldSenderVisibility) == 0x80 }

// Status gives X-Mms-Status, 0 if there is none.
func (p *PDU) Status() MessageStatus { return MessageStatus(p.Octet(FieldStatus)) }

// PreviousHop is a forward that a message has behind it.
type PreviousHop struct {
	Count uint64 // of the hop; whether the first is 0 or 1 differs between servers
	By    string
	At    time.Time // zero: not told
}

// maxHops bounds the hops that are told: pairing them is quadratic.
const maxHops = 64

// PreviouslySent gives the first 64 hops of a forwarded message, paired by their
// count, in the order of Previously-Sent-By.
func (p *PDU) PreviouslySent() []PreviousHop {
	var hops []PreviousHop
	for _, h := range p.All(FieldPreviouslySentBy) {
		count, rest, ok := splitCount(h.Value())
		if !ok || len(hops) == maxHops {
			continue
		}
		e, err := readEncoded(rest)
		if err != nil {
			continue // a hop that can't be read says nothing about the others
		}
		hops = append(hops, PreviousHop{Count: count, By: e.String()})
	}
	for _, h := range p.All(FieldPreviouslySentDate) {
		count, rest, ok := splitCount(h.Value())
		if !ok {
			continue
		}
		n, m := wsp.Integer(rest)
		for i := range hops {
			if hops[i].Count == count && m == len(rest) && hops[i].At.IsZero() {
				hops[i].At = time.Unix(int64(min(n, lastDate)), 0).UTC()
			}
		}
	}
	return hops
}

func trimSpace(s string) string {
	for len(s) > 0 && s[0] == ' ' {
		s = s[1:]
	}
	for len(s) > 0 && s[len(s)-1] == ' ' {
		s = s[:len(s)-1]
	}
	return s
}
