// Package wappush reads and writes the connectionless WSP push that carries a
// notification to a handset, and the SMS user data around it: ports,
// segmentation, reassembly (WAP-230-WSP 8.2.4.1, WAP-259-WDP, 3GPP TS 23.040 9.2.3.24).
//
// It does no I/O and holds no clock. Readers refuse what is cut or is no push
// with an error of one line. The one thing with a state is the Reassembler,
// whose memory is bounded.
package wappush

import (
	"fmt"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// The WSP PDU types of a push.
const (
	TypePush          = 0x06
	TypeConfirmedPush = 0x07
)

// MMSApplication is the application id of the MMS user agent.
const MMSApplication = "x-wap-application:mms.ua"

// Push is a WSP push.
type Push struct {
	TID         byte
	Type        byte // TypePush or TypeConfirmedPush
	ContentType wsp.ContentType
	Headers     []wsp.Header
	Body        []byte
}

// Decode reads a push. The result aliases b. Headers that are unknown are kept.
func Decode(b []byte) (*Push, error) {
	if len(b) < 3 {
		return nil, fmt.Errorf("push of %d octets, 3 are the least", len(b))
	}
	p := &Push{TID: b[0], Type: b[1]}
	if p.Type != TypePush && p.Type != TypeConfirmedPush {
		return nil, fmt.Errorf("octet 1: PDU type %02x is no push (06 or 07)", p.Type)
	}
	size, n := wsp.Uintvar(b[2:])
	if n <= 0 {
		return nil, fmt.Errorf("octet 2: the length of the headers is no uintvar")
	}
	at := 2 + n
	if int64(size) > int64(len(b)-at) {
		return nil, fmt.Errorf("octet 2: headers of %d octets are announced, %d octets are there", size, len(b)-at)
	}
	block := b[at : at+int(size)]
	var err error
	if p.ContentType, n, err = wsp.ReadContentType(block); err != nil {
		return nil, fmt.Errorf("octet %d: %w", at, err)
	}
	if p.Headers, err = wsp.ReadHeaders(block[n:]); err != nil {
		return nil, fmt.Errorf("octet %d: %w", at+n, err)
	}
	p.Body = b[at+int(size):]
	return p, nil
}

// Append appends the wire form.
func (p *Push) Append(dst []byte) []byte {
	block := p.ContentType.Append(make([]byte, 0, 64))
	for _, h := range p.Headers {
		block = append(block, h.Wire...)
	}
	dst = wsp.AppendUintvar(append(dst, p.TID, p.Type), uint32(len(block)))
	return append(append(dst, block...), p.Body...)
}

// ApplicationID gives the X-Wap-Application-Id, "x-wap-application:mms.ua" for
// MMS; "" if there is none.
func (p *Push) ApplicationID() string {
	h, ok := wsp.Find(p.Headers, wsp.HeaderApplicationID)
	if !ok {
		return ""
	}
	text, _ := h.Text()
	return text
}

// IsMMS says whether the body is a PDU of MMS.
func (p *Push) IsMMS() bool { return p.ContentType.Is(wsp.MMSMessage) }

// AppendMMS appends the push of an MMS PDU in the six octets of overhead that
// are the least, and that every handset knows.
func AppendMMS(dst []byte, tid byte, pdu []byte) []byte {
	return append(append(dst, tid, TypePush, 0x03, 0xBE, wsp.HeaderApplicationID, 0x84), pdu...)
}

// Overhead is how many octets AppendMMS puts before a PDU.
const Overhead = 6
