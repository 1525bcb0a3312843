package mms

import (
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// Flag is a Yes or No that may be left out.
type Flag byte

// The flags; the zero Flag is left out of the PDU.
const (
	Yes Flag = tokenYes
	No  Flag = tokenNo
)

// FlagOf gives Yes or No.
func FlagOf(yes bool) Flag {
	if yes {
		return Yes
	}
	return No
}

// block is a header block under construction. Its methods leave out what is empty.
type block []byte

// newBlock begins with the fields that come first, in their order. The zero
// version is 1.2, which the handsets in the field speak.
func newBlock(dst []byte, t Type, transaction string, v Version) block {
	b := append(block(dst), byte(FieldMessageType), byte(t))
	if transaction != "" {
		b = wsp.AppendText(append(b, byte(FieldTransactionID)), transaction)
	}
	if v == 0 {
		v = Version12
	}
	return append(b, byte(FieldMMSVersion), byte(v))
}

func (b *block) octet(f Field, c byte) {
	if c != 0 {
		*b = append(*b, byte(f), c)
	}
}

func (b *block) flag(f Field, v Flag) { b.octet(f, byte(v)) }

func (b *block) text(f Field, texts ...string) {
	for _, t := range texts {
		*b = appendField(*b, f, t)
	}
}

func (b *block) words(f Field, texts ...string) {
	for _, t := range texts {
		*b = appendWords(*b, f, t)
	}
}

func (b *block) date(f Field, t time.Time) {
	if !t.IsZero() {
		*b = wsp.AppendLong(append(*b, byte(f)), seconds(t))
	}
}

func (b *block) when(f Field, w *When) {
	if w != nil {
		*b = w.append(*b, f)
	}
}

func (b *block) number(f Field, n uint64) { *b = wsp.AppendLong(append(*b, byte(f)), n) }

func (b *block) count(f Field, n *uint64) {
	if n != nil {
		*b = wsp.AppendInteger(append(*b, byte(f)), *n)
	}
}

// class writes the octet of a class of the standard, or a class of one's own as text.
func (b *block) class(word string) {
	if word == "" {
		return
	}
	if c, ok := parseOctet(formOctet, classWords, word); ok {
		b.octet(FieldMessageClass, c)
		return
	}
	b.text(FieldMessageClass, word)
}

func (b *block) from(address string) {
	if address != "" {
		*b = appendLengthed(*b, FieldFrom, AppendEncoded([]byte{tokenAddressPresent}, address))
	}
}

// fromOrInsert asks the server to put the address in when there is none.
func (b *block) fromOrInsert(address string) {
	if address == "" {
		*b = append(*b, byte(FieldFrom), 1, tokenInsertAddress)
		return
	}
	b.from(address)
}

func (b *block) hops(hops []PreviousHop) {
	for _, h := range hops {
		*b = appendLengthed(*b, FieldPreviouslySentBy, AppendEncoded(wsp.AppendInteger(nil, h.Count), h.By))
		if !h.At.IsZero() {
			*b = appendLengthed(*b, FieldPreviouslySentDate, wsp.AppendLong(wsp.AppendInteger(nil, h.Count), seconds(h.At)))
		}
	}
}

// flags writes keywords of the MMBox behind their verb.
func (b *block) flags(list []MMFlag) {
	for _, f := range list {
		*b = appendLengthed(*b, FieldMMFlags, AppendEncoded([]byte{byte(f.Verb)}, f.Keyword))
	}
}

func (b *block) headers(extra []Header) {
	for _, h := range extra {
		*b = append(*b, h.Wire...)
	}
}

func (b *block) contentType(c wsp.ContentType) {
	*b = c.Append(append(*b, byte(FieldContentType)))
}

// Message joins the header block of a PDU with a body, given as parts in memory.
func Message(head []byte, parts []wsp.Part) ([]byte, error) { return wsp.AppendParts(head, parts) }

// NewPart makes a part of data in memory with a Content-ID and a
// Content-Location, each left out if empty. The order is that of handsets, which
// drop what stands behind a header they do not know.
func NewPart(c wsp.ContentType, id, location string, data []byte) (wsp.Part, error) {
	p := wsp.Part{ContentType: c, Data: data, Size: int64(len(data))}
	if id != "" {
		h, err := wsp.NewHeader("Content-ID", "<"+unbracket(id)+">")
		if err != nil {
			return p, err
		}
		p.Headers = append(p.Headers, h)
	}
	if location != "" {
		h, err := wsp.NewHeader("Content-Location", location)
		if err != nil {
			return p, err
		}
		p.Headers = append(p.Headers, h)
	}
	return p, nil
}
