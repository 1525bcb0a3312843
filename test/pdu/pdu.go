// Package pdu builds and reads the few MM1 PDUs that the fakes and stories need, octet by octet.
//
// It shares no code with package mms on purpose: a mistake in the codec must not hide itself by
// standing on both sides of a story. What it builds is small and plain (version 1.2, token values);
// what it reads it reads leniently, since the one under test may answer anything.
package pdu

import (
	"bytes"
	"fmt"
)

// Octets of the message type field (OMA-MMS-ENC, X-Mms-Message-Type).
const (
	TypeSendReq      = 0x80
	TypeSendConf     = 0x81
	TypeNotifyResp   = 0x83
	TypeRetrieveConf = 0x84
	TypeAcknowledge  = 0x85
	TypeReadRec      = 0x87
	TypeForwardReq   = 0x89
	TypeForwardConf  = 0x8A
	TypeMboxViewReq  = 0x8D
	TypeDeleteReq    = 0x94
	TypeCancelConf   = 0x97
)

// Status octets used by stories (Response-Status and Retrieve-Status, X-Mms-Status).
const (
	Ok              = 0x80
	Denied          = 0x82
	NetworkProblem  = 0x86 // transient in MMS 1.0
	Transient       = 0xC0
	TransientNet    = 0xC3
	Partial         = 0xC4
	Permanent       = 0xE0
	PermanentDenied = 0xE1
	NotFound        = 0xE2 // as Retrieve-Status
	Corrupt         = 0xE2 // as Response-Status
	TooLarge        = 0xE5
	Retrieved       = 0x81 // X-Mms-Status
	Deferred        = 0x83
)

// ContentType is the media type of every MM1 body.
const ContentType = "application/vnd.wap.mms-message"

func head(dst []byte, typ byte, tid string) []byte {
	dst = append(dst, 0x8C, typ)
	if tid != "" {
		dst = append(append(append(dst, 0x98), tid...), 0)
	}
	return append(dst, 0x8D, 0x92)
}

func text(dst []byte, field byte, s string) []byte {
	return append(append(append(dst, field), s...), 0)
}

func uintvar(dst []byte, n int) []byte {
	var b [5]byte
	i := len(b) - 1
	b[i] = byte(n & 0x7F)
	for n >>= 7; n > 0; n >>= 7 {
		i--
		b[i] = byte(n&0x7F) | 0x80
	}
	return append(dst, b[i:]...)
}

// multipart appends application/vnd.wap.multipart.mixed with one image/jpeg part so that the whole
// PDU has size octets; a size too small for that gives the shortest PDU. Every 8th octet of the part differs by
// position and tid, so that octets lost, doubled or from another message show in a digest.
func multipart(dst []byte, tid string, size int) []byte {
	dst = append(dst, 0x84, 0xA3, 1, 1)
	n := max(size-len(dst)-2, 0)
	for n > 0 && len(dst)+len(uintvar(nil, n))+1+n > size {
		n--
	}
	dst = append(uintvar(dst, n), 0x9E) // image/jpeg
	at := len(dst)
	dst = append(dst, make([]byte, n)...)
	var seed uint32 = 2166136261
	for _, c := range []byte(tid) {
		seed = (seed ^ uint32(c)) * 16777619
	}
	for i := at; i < len(dst); i += 8 {
		seed = seed*1664525 + 1013904223
		dst[i] = byte(seed >> 24)
	}
	return dst
}

// SendReq builds an M-Send.req of exactly size octets (at least about 110) with this transaction id. The
// sender is the insert-address token, the recipient +46700000001.
func SendReq(tid string, size int) []byte {
	return SendReqFrom(tid, "", size)
}

// SendReqFrom is SendReq with an explicit sender address ("+46…/TYPE=PLMN"); "" is the insert token.
func SendReqFrom(tid, from string, size int) []byte {
	b := head(make([]byte, 0, max(size, 128)), TypeSendReq, tid)
	b = append(b, 0x85, 0x04, 0x65, 0x53, 0xF1, 0x00) // Date
	if from == "" {
		b = append(b, 0x89, 0x01, 0x81)
	} else {
		b = append(b, 0x89, byte(len(from)+2), 0x80)
		b = append(append(b, from...), 0)
	}
	b = text(b, 0x97, "+46700000001/TYPE=PLMN")
	return multipart(b, tid, size)
}

// SendConf builds an M-Send.conf; an empty message id is left out.
func SendConf(tid string, status byte, messageID string) []byte {
	b := append(head(nil, TypeSendConf, tid), 0x92, status)
	if messageID != "" {
		b = text(b, 0x8B, messageID)
	}
	return b
}

// ForwardConf builds an M-Forward.conf.
func ForwardConf(tid string, status byte) []byte {
	return append(head(nil, TypeForwardConf, tid), 0x92, status)
}

// RetrieveConf builds an M-Retrieve.conf of exactly size octets (at least about 150).
func RetrieveConf(tid, messageID string, size int) []byte {
	b := head(make([]byte, 0, max(size, 160)), TypeRetrieveConf, tid)
	b = text(b, 0x8B, messageID)
	b = append(b, 0x85, 0x04, 0x65, 0x53, 0xF1, 0x00, 0x99, Ok)
	b = text(b, 0x97, "+46700000001/TYPE=PLMN")
	return multipart(b, tid, size)
}

// RetrieveError builds an M-Retrieve.conf without content.
func RetrieveError(tid string, status byte) []byte {
	b := head(nil, TypeRetrieveConf, tid)
	return append(b, 0x85, 0x04, 0x65, 0x53, 0xF1, 0x00, 0x99, status, 0x84, 0xA3, 0)
}

// NotifyResp builds an M-NotifyResp.ind.
func NotifyResp(tid string, status byte) []byte {
	return append(head(nil, TypeNotifyResp, tid), 0x95, status)
}

// Acknowledge builds an M-Acknowledge.ind.
func Acknowledge(tid string) []byte { return head(nil, TypeAcknowledge, tid) }

// ReadRec builds an M-Read-Rec.ind: no transaction id, the message is named by its Message-ID.
func ReadRec(messageID string) []byte {
	b := text(head(nil, TypeReadRec, ""), 0x8B, messageID)
	b = text(b, 0x97, "+46700000002/TYPE=PLMN")
	return append(b, 0x89, 0x01, 0x81, 0x9B, 0x80)
}

// ForwardReq builds an M-Forward.req for the message at that URL.
func ForwardReq(tid, location string) []byte {
	b := append(head(nil, TypeForwardReq, tid), 0x89, 0x01, 0x81)
	b = text(b, 0x97, "+46700000001/TYPE=PLMN")
	return text(b, 0x83, location)
}

// Facts is what a fake or a story wants to know of a PDU.
type Facts struct {
	Type        byte
	Transaction string
	MessageID   string
	Location    string // X-Mms-Content-Location
	Response    byte   // Response-Status, 0 if absent
	Retrieve    byte   // Retrieve-Status, 0 if absent
}

// Read reads the header fields up to Content-Type or the end. ok is false if b does not begin with a message type
// or a field runs past the end; what was read until then is kept.
func Read(b []byte) (f Facts, ok bool) {
	if len(b) < 2 || b[0] != 0x8C {
		return f, false
	}
	for len(b) > 0 {
		name := b[0]
		if name == 0x84 { // Content-Type: the last header
			return f, true
		}
		if name < 0x80 { // an application header: two texts
			i := bytes.IndexByte(b, 0)
			if i < 0 {
				return f, false
			}
			if b = skip(b[i+1:]); b == nil {
				return f, false
			}
			continue
		}
		rest := skip(b[1:])
		if rest == nil {
			return f, false
		}
		v := b[1 : len(b)-len(rest)]
		switch name {
		case 0x8C:
			f.Type = v[0]
		case 0x98:
			f.Transaction = cstring(v)
		case 0x8B:
			f.MessageID = cstring(v)
		case 0x83:
			f.Location = cstring(v)
		case 0x92:
			f.Response = v[0]
		case 0x99:
			f.Retrieve = v[0]
		}
		b = rest
	}
	return f, true
}

func cstring(v []byte) string {
	return string(bytes.TrimPrefix(bytes.TrimSuffix(v, []byte{0}), []byte{0x7F}))
}

// skip gives what follows the value at the start of b (never nil for success), nil if the value is cut.
func skip(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	n := 0
	switch c := b[0]; {
	case c < 0x1F:
		n = 1 + int(c)
	case c == 0x1F:
		l, i := 0, 1
		for ; i < len(b) && i < 6; i++ {
			l = l<<7 | int(b[i]&0x7F)
			if b[i] < 0x80 {
				break
			}
		}
		n = i + 1 + l
	case c < 0x80:
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			return nil
		}
		n = i + 1
	default:
		n = 1
	}
	if n > len(b) {
		return nil
	}
	return b[n:]
}

// String names the PDU type for messages of tests.
func (f Facts) String() string {
	return fmt.Sprintf("type %02X transaction %q message-id %q response %02X retrieve %02X", f.Type, f.Transaction, f.MessageID, f.Response, f.Retrieve)
}
