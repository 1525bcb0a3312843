package mms

import "github.com/mmsrouter/mmsrouter/mms/wsp"

// MaxHeaders bounds the header block of a PDU, in octets.
const MaxHeaders = 64 << 10

// headRecipients is how many addresses a Head keeps.
const headRecipients = 16

// State is what Peek makes of the octets that have arrived.
type State uint8

// Complete: the Content-Type was reached, or final octets ended where a header
// ends. Partial: well-formed so far, more octets are needed; what was read is
// valid. Garbage: not a PDU, or broken from some header on; what was read
// before it stays.
const (
	Partial State = iota
	Complete
	Garbage
)

// String gives "partial", "complete" or "garbage".
func (s State) String() string {
	switch s {
	case Complete:
		return "complete"
	case Garbage:
		return "garbage"
	}
	return "partial"
}

// Head is what a router wants to know of a PDU, read from its first octets.
// All slices alias the input of Peek. Of a field that is repeated the first
// counts. A Head can be used again and again; it holds no memory of its own.
type Head struct {
	Type            Type
	Version         Version // 0: not read
	TransactionID   []byte  // nil: not read; may be empty
	MessageID       []byte
	ContentLocation []byte
	From            []byte // address text, taken out of its encoded-string form
	FromInsert      bool   // the insert-address token
	To              [headRecipients][]byte
	Recipients      int // To, Cc and Bcc in all; the first 16 stand in To
	Response        Status
	Retrieve        Status
	Store           Status
	HasResponse     bool
	HasRetrieve     bool
	HasStore        bool
	Message         MessageStatus // X-Mms-Status of M-NotifyResp.ind and M-Delivery.ind; 0: not read
	CancelID        []byte        // X-Mms-Cancel-ID
	ReplaceID       []byte        // X-Mms-Replace-ID
	MessageSize     uint64        // X-Mms-Message-Size of M-Notification.ind
	ContentType     []byte        // the Content-Type value as it stands on the wire; nil: not reached
	Headers         int           // header fields read
	Size            int           // octets of the header block; 0 unless Complete
}

// Addresses gives the recipients that were kept.
func (h *Head) Addresses() [][]byte { return h.To[:min(h.Recipients, headRecipients)] }

// Peek reads the head of a PDU from scratch on each call. final says that b is
// the whole PDU. It tolerates any input, does not allocate, and looks at no
// more than MaxHeaders octets; fields it does not know are skipped by the rule
// of their first octet (WAP-230-WSP 8.4.1.2). X-Mms-Message-Type must come
// first, as OMA-MMS-ENC 7 says.
func (h *Head) Peek(b []byte, final bool) State {
	*h = Head{}
	if len(b) == 0 {
		return unfinished(final)
	}
	if b[0] != byte(FieldMessageType) {
		return Garbage
	}
	window, cut := b, false
	if len(window) > MaxHeaders {
		window, cut = window[:MaxHeaders], true
	}
	for at := 0; at < len(window); {
		n, state := h.next(window[at:], final || cut)
		if n == 0 {
			if h.Size > 0 { // the Content-Type was reached, and what follows is a body after all
				return Complete
			}
			return state
		}
		at += n
		if h.ContentType != nil && h.Size == 0 {
			h.Size = at
		}
		if h.Size > 0 && !h.midway() {
			return Complete
		}
	}
	switch {
	case final && !cut:
		h.Size = len(b)
		return Complete
	case h.Size > 0:
		return Complete
	}
	return unfinished(cut)
}

// midway says whether fields may follow the Content-Type: some peers write one
// into PDUs that have no body.
func (h *Head) midway() bool {
	return h.Type.Known() && !h.Type.HasBody() && !multipartOctet(h.ContentType)
}

// multipartOctet says whether a Content-Type is one of the well-known multiparts.
func multipartOctet(v []byte) bool {
	if len(v) > 1 {
		if _, n := wsp.ValueLength(v); n > 0 && n < len(v) {
			v = v[n:]
		}
	}
	return v[0] >= 0xA2 && v[0] <= 0xA6 || v[0] == 0xB3
}

// next reads the field at the start of b and answers how long it is, or 0 and
// what that makes of the PDU. last says that no more octets come.
func (h *Head) next(b []byte, last bool) (int, State) {
	name, n := b[0], 1
	if name < 0x80 {
		if name <= 0x1F || name == 0x7F {
			return 0, Garbage // code page shifts have no place in a PDU
		}
		if _, n = wsp.Text(b); n <= 0 {
			return 0, unfinished(last)
		}
	}
	size := wsp.Skip(b[n:])
	if size == wsp.Bad {
		return 0, Garbage
	}
	if size == wsp.More {
		return 0, unfinished(last)
	}
	value := b[n : n+size]
	if h.Headers == 0 && value[0] < 0x80 {
		return 0, Garbage // the message type is an octet
	}
	h.Headers++
	if name >= 0x80 {
		h.take(Field(name), value)
	}
	return n + size, Complete
}

func unfinished(final bool) State {
	if final {
		return Garbage
	}
	return Partial
}

// take keeps the value of a field that matters. value is at least one octet.
func (h *Head) take(f Field, value []byte) {
	switch f {
	case FieldMessageType:
		if h.Type == 0 {
			h.Type = Type(value[0])
		}
	case FieldMMSVersion:
		if h.Version == 0 && value[0] >= 0x80 {
			h.Version = Version(value[0])
		}
	case FieldTransactionID:
		keepText(&h.TransactionID, value)
	case FieldMessageID:
		keepText(&h.MessageID, value)
	case FieldContentLocation:
		keepText(&h.ContentLocation, value)
	case FieldCancelID:
		keepText(&h.CancelID, value)
	case FieldReplaceID:
		keepText(&h.ReplaceID, value)
	case FieldFrom:
		h.takeFrom(value)
	case FieldTo, FieldCc, FieldBcc:
		if h.Recipients < headRecipients {
			h.To[h.Recipients] = encodedText(value)
		}
		h.Recipients++
	case FieldResponseStatus:
		keepStatus(&h.Response, &h.HasResponse, value)
	case FieldRetrieveStatus:
		keepStatus(&h.Retrieve, &h.HasRetrieve, value)
	case FieldStoreStatus:
		keepStatus(&h.Store, &h.HasStore, value)
	case FieldStatus:
		if h.Message == 0 && value[0] >= 0x80 {
			h.Message = MessageStatus(value[0])
		}
	case FieldMessageSize:
		if v, n := wsp.Integer(value); n > 0 && h.MessageSize == 0 {
			h.MessageSize = v
		}
	case FieldContentType:
		if h.ContentType == nil {
			h.ContentType = value
		}
	}
}

// takeFrom reads From: a length, then the token for an address or the one that
// asks the server to put it in (OMA-MMS-ENC 7.3.15).
func (h *Head) takeFrom(value []byte) {
	if h.From != nil || h.FromInsert {
		return
	}
	size, n := wsp.ValueLength(value)
	if n <= 0 || size == 0 {
		return
	}
	switch inner := value[n : n+size]; inner[0] {
	case tokenAddressPresent:
		h.From = encodedText(inner[1:])
	case tokenInsertAddress:
		h.FromInsert = true
	}
}

func keepText(to *[]byte, value []byte) {
	if *to != nil || value[0] >= 0x80 || value[0] > 0 && value[0] < 0x20 {
		return // an octet or a lengthed value where a text belongs
	}
	if text, n := wsp.Text(value); n > 0 {
		*to = text
	}
}

// keepStatus takes a plain status, or the first status in the counted form of
// M-Mbox-Delete.conf and M-Delete.conf.
func keepStatus(to *Status, has *bool, value []byte) {
	if *has {
		return
	}
	if value[0] < 0x80 {
		size, n := wsp.ValueLength(value)
		if n <= 0 || size == 0 {
			return
		}
		_, m := wsp.Integer(value[n : n+size])
		if m <= 0 || m >= size || value[n+m] < 0x80 {
			return
		}
		value = value[n+m:]
	}
	*to, *has = Status(value[0]), true
}

// encodedText gives the text of an Encoded-string-value with the charset
// skipped; nil if there is no text in it (OMA-MMS-ENC 7.3, Encoded-string).
func encodedText(value []byte) []byte {
	if len(value) == 0 {
		return nil
	}
	if value[0] <= 0x1F {
		size, n := wsp.ValueLength(value)
		if n <= 0 || size > len(value)-n {
			return nil
		}
		value = value[n : n+size]
		if len(value) == 0 {
			return value
		}
		skip := wsp.Skip(value) // the charset: a number, or in the wild its name
		if skip <= 0 {
			return nil
		}
		value = value[skip:]
	}
	if len(value) > 0 && value[0] == 0x7F {
		value = value[1:]
	}
	if len(value) > 0 && value[len(value)-1] == 0 {
		value = value[:len(value)-1]
	}
	return value
}
