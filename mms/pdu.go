package mms

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// Bounds of what Decode accepts. MaxHeaders bounds the header block.
const (
	MaxRecipients = 1024    // To, Cc and Bcc in all
	MaxValue      = 8 << 10 // octets of one field, its name included
)

// Error says where a PDU can't be read and why, in one line.
type Error struct {
	Offset int64 // octets from the start of the PDU
	Err    error
}

// Error gives the line.
func (e *Error) Error() string { return fmt.Sprintf("octet %d: %v", e.Offset, e.Err) }

// Unwrap gives the reason.
func (e *Error) Unwrap() error { return e.Err }

// PDU is a decoded PDU. Headers hold every field in the order of the wire but
// the Content-Type that ends the header block; fields that are repeated, unknown
// or of an application are there too, with their octets, so that Append gives
// back what Decode was given.
type PDU struct {
	Type        Type
	Headers     []Header
	ContentType *wsp.ContentType // nil: the PDU ends with its headers
	Body        []byte           // what stands behind the Content-Type; nil when it is not in memory
	BodyOffset  int64            // octets of the header block
	BodySize    int64
	Parts       []wsp.Part // of a multipart body, else nil; their offsets count from the start of the PDU
}

// Decode reads a whole PDU. The result aliases b. What a careful reader can make
// sense of is accepted: unknown fields, values outside their tables, fields in
// any order behind X-Mms-Message-Type, no Content-Type (Check says what is
// missing). Refused with an *Error: what does not begin with X-Mms-Message-Type,
// a value that runs past the end, a multipart body that is cut, and anything
// beyond the bounds.
func Decode(b []byte) (*PDU, error) {
	p, err := decodeHead(b, int64(len(b)))
	if err != nil {
		return nil, err
	}
	p.Body = b[p.BodyOffset:]
	p.BodySize = int64(len(p.Body))
	if !p.multipart() {
		return p, nil
	}
	if p.Parts, err = wsp.ReadParts(p.Body, p.BodyOffset); err != nil {
		return nil, bodyError(err)
	}
	return p, nil
}

// OpenAt reads the headers and the table of parts of a PDU of size octets that
// lies in r, without its bodies: memory is bounded by the headers.
func OpenAt(r io.ReaderAt, size int64) (*PDU, error) {
	var h Head
	var b []byte
	for window := int64(4 << 10); ; window = MaxHeaders {
		b = make([]byte, min(window, size))
		if n, err := r.ReadAt(b, 0); n < len(b) {
			return nil, fmt.Errorf("read the headers: %w", errors.Join(io.ErrUnexpectedEOF, err))
		}
		if window == MaxHeaders || int64(len(b)) == size || h.settled(b) {
			break
		}
	}
	p, err := decodeHead(b, size)
	if err != nil {
		return nil, err
	}
	if p.ContentType == nil && int64(len(b)) < size {
		return nil, tooManyHeaders()
	}
	p.BodySize = size - p.BodyOffset
	if p.multipart() {
		if p.Parts, err = wsp.ReadPartsAt(r, p.BodyOffset, p.BodySize); err != nil {
			return nil, bodyError(err)
		}
	}
	return p, nil
}

// ReadHead reads the header block of a PDU from a stream and gives the rest of
// the stream as body, to be read by wsp.NewReader or copied. BodySize is not
// known then. A PDU without a body is read to its end, and body is empty.
func ReadHead(r io.Reader) (p *PDU, body io.Reader, err error) {
	var h Head
	b := make([]byte, 0, 4<<10)
	total := int64(MaxHeaders + 1) // unknown
	for {
		if len(b) == cap(b) {
			if len(b) == MaxHeaders && h.Size == 0 {
				return nil, nil, tooManyHeaders()
			}
			if len(b) == MaxHeaders {
				break
			}
			b = append(make([]byte, 0, MaxHeaders), b...)
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err != nil && err != io.EOF {
			return nil, nil, fmt.Errorf("read the headers: %w", err)
		}
		if err == io.EOF {
			total = int64(len(b))
			break
		}
		if h.settled(b) {
			break
		}
	}
	if p, err = decodeHead(b, total); err != nil {
		return nil, nil, err
	}
	return p, io.MultiReader(bytes.NewReader(b[p.BodyOffset:]), r), nil
}

// settled says whether more octets can't change what the headers are.
func (h *Head) settled(b []byte) bool {
	s := h.Peek(b, false)
	return s == Garbage || s == Complete && !h.midway()
}

func tooManyHeaders() error {
	return &Error{MaxHeaders, fmt.Errorf("the headers are longer than %d octets", MaxHeaders)}
}

func bodyError(err error) error {
	var at *wsp.PartError
	if !errors.As(err, &at) {
		return fmt.Errorf("read the body: %w", err)
	}
	if at.Part == 0 {
		return &Error{at.Offset, fmt.Errorf("body: %w", at.Err)}
	}
	return &Error{at.Offset, fmt.Errorf("body, part %d: %w", at.Part, at.Err)}
}

// decodeHead reads the header block at the start of b, which is the start of a
// PDU of total octets, and sets BodyOffset.
func decodeHead(b []byte, total int64) (*PDU, error) {
	if len(b) == 0 {
		return nil, &Error{0, errors.New("no octets, not a PDU")}
	}
	if b[0] != byte(FieldMessageType) {
		return nil, &Error{0, fmt.Errorf("not a PDU: X-Mms-Message-Type (8c) must come first, this is %02x", b[0])}
	}
	if len(b) < 2 || b[1] < 0x80 {
		return nil, &Error{1, errors.New("X-Mms-Message-Type has no octet of 80 or above")}
	}
	p := &PDU{Type: Type(b[1]), Headers: make([]Header, 0, 16)}
	recipients, midway := 0, false
	for at := 0; at < len(b); {
		window := b[at:]
		if Field(b[at]) == FieldContentType && !midway {
			done, err := p.takeContentType(b, at, total)
			if err != nil || done {
				return p, err
			}
			midway = true // what follows is fields to the end: seen once, not to be looked at again
		}
		h, n, err := readHeader(p.Type, window)
		if err != nil {
			return nil, &Error{int64(at), err}
		}
		switch {
		case at+n > MaxHeaders:
			return nil, tooManyHeaders()
		case n > MaxValue:
			return nil, &Error{int64(at), fmt.Errorf("%s: %d octets, %d are allowed", oneLine(h.Name()), n, MaxValue)}
		case h.Field == FieldTo || h.Field == FieldCc || h.Field == FieldBcc:
			if recipients++; recipients > MaxRecipients {
				return nil, &Error{int64(at), fmt.Errorf("more than %d recipients", MaxRecipients)}
			}
		}
		p.Headers = append(p.Headers, h)
		at += n
	}
	p.BodyOffset = int64(len(b))
	return p, nil
}

// onlyHeaders says whether b is header fields up to its end.
func onlyHeaders(b []byte) bool {
	for len(b) > 0 {
		_, n, err := readHeader(0, b)
		if err != nil {
			return false
		}
		b = b[n:]
	}
	return true
}

// takeContentType reads the Content-Type at b[at:]. In a PDU that has no body it
// does not end the block if header fields follow: some peers send it in the middle.
func (p *PDU) takeContentType(b []byte, at int, total int64) (done bool, err error) {
	c, n, err := wsp.ReadContentType(b[at+1:])
	if err != nil {
		return true, &Error{int64(at), fmt.Errorf("Content-Type: %w", err)}
	}
	end := at + 1 + n
	if end > MaxHeaders {
		return true, tooManyHeaders()
	}
	if p.Type.Known() && !p.Type.HasBody() && end < len(b) && total <= MaxHeaders && !c.Multipart() && onlyHeaders(b[end:]) {
		return false, nil
	}
	p.ContentType, p.BodyOffset = &c, int64(end)
	return true, nil
}

// multipart says whether the body must be a multipart structure. A Content-Type
// with nothing behind it announces a body that is not there; that is let pass
// for the answers that only carry a status.
func (p *PDU) multipart() bool {
	return p.ContentType != nil && p.ContentType.Multipart() && (p.BodySize > 0 || p.Type == MSendReq)
}

// Append appends the PDU: each header as it stands, the Content-Type, the body.
// The body must be in memory.
func (p *PDU) Append(dst []byte) []byte {
	return append(p.AppendHead(dst), p.Body...)
}

// AppendHead appends what stands before the body.
func (p *PDU) AppendHead(dst []byte) []byte {
	for _, h := range p.Headers {
		dst = append(dst, h.Wire...)
	}
	if p.ContentType != nil {
		dst = p.ContentType.Append(append(dst, byte(FieldContentType)))
	}
	return dst
}

// Encode gives the octets of the PDU.
func (p *PDU) Encode() []byte { return p.Append(nil) }

// SetParts makes parts, whose Data are in memory, the body, as the given
// multipart type.
func (p *PDU) SetParts(c wsp.ContentType, parts []wsp.Part) error {
	body, err := wsp.AppendParts(nil, parts)
	if err != nil {
		return err
	}
	p.ContentType, p.Body, p.BodySize = &c, body, int64(len(body))
	p.BodyOffset = int64(len(p.AppendHead(nil)))
	p.Parts, err = wsp.ReadParts(body, p.BodyOffset)
	return err
}

// OpenBody gives a reader of the body, out of memory or out of the source that
// OpenAt read.
func (p *PDU) OpenBody(source io.ReaderAt) *io.SectionReader {
	if p.Body != nil || source == nil {
		return io.NewSectionReader(bytes.NewReader(p.Body), 0, int64(len(p.Body)))
	}
	return io.NewSectionReader(source, p.BodyOffset, p.BodySize)
}
