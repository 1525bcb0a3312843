package sms

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/mmsrouter/mmsrouter/mms/smpp"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
)

// head is a PDU's header.
type head struct{ length, command, status, sequence uint32 }

const (
	headSize = 16
	maxPDU   = 66 << 10 // message_payload has at most 64 KiB

	deliverSM   = 0x05
	unbind      = 0x06
	enquireLink = 0x15
	alert       = 0x102
	response    = 0x80000000
	submitResp  = 0x80000004
	bindResp    = 0x80000009
)

func readHead(b []byte) head {
	return head{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])}
}

// bare is a PDU that is a header and, for some answers, one empty string.
func bare(command uint32, status smpp.Status, sequence uint32, body ...byte) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, headSize+len(body)), uint32(headSize+len(body)))
	b = binary.BigEndian.AppendUint32(b, command)
	b = binary.BigEndian.AppendUint32(b, uint32(status))
	return append(binary.BigEndian.AppendUint32(b, sequence), body...)
}

func marshal(p pdu.PDU, sequence uint32) []byte {
	p.SetSequenceNumber(int32(sequence))
	b := pdu.NewBuffer(make([]byte, 0, 256))
	p.Marshal(b)
	return b.Bytes()
}

func bindPDU(c *SMSCConfig, sequence uint32) []byte {
	p := pdu.NewBindRequest(pdu.Transceiver)
	p.SystemID, p.Password, p.SystemType = c.SystemID, c.Password, c.SystemType
	return marshal(p, sequence)
}

// coding is a data_coding for octets as they are.
func coding(code byte) data.Encoding { return data.NewCustomEncoding(code, nil) }

// form makes the submit_sm PDUs of a message. They differ only in what they carry, so that a handset can put them together.
type form struct {
	source      smpp.Address
	serviceType string
	kind        string
	wide        bool
	registered  byte
}

// segments cuts a push. Each piece becomes one submit_sm.
type segment struct {
	octets []byte
	tlv    []pdu.Field
	esm    byte
}

// tlv makes an optional parameter of a number of two octets, or of one.
func tlv(tag pdu.Tag, v uint16, octets int) pdu.Field {
	b := binary.BigEndian.AppendUint16(nil, v)
	return pdu.Field{Tag: tag, Data: b[2-octets:]}
}

// maxPayload is how many octets the parameter message_payload holds.
const maxPayload = 64<<10 - 1

func (f *form) cut(push []byte, reference uint16, most int) ([]segment, error) {
	ports := []pdu.Field{tlv(pdu.TagSourcePort, wappush.PortWSP, 2), tlv(pdu.TagDestinationPort, wappush.PortPush, 2)}
	cut, err := wappush.Segmentation{Reference: reference, WideReference: f.wide, MaxSegments: most}.Segment(push)
	if err != nil {
		return nil, err
	}
	if f.kind == "payload" {
		if len(push) > maxPayload {
			return nil, fmt.Errorf("%d octets, message_payload holds %d", len(push), maxPayload)
		}
		return []segment{{tlv: append(ports, pdu.Field{Tag: pdu.TagMessagePayload, Data: push})}}, nil
	}
	out := make([]segment, len(cut))
	for i, ud := range cut {
		if f.kind != "sar" {
			out[i] = segment{octets: ud, esm: smpp.ClassUDHI}
			continue
		}
		out[i] = segment{octets: ud[1+int(ud[0]):], tlv: ports[:2:2]}
		if len(cut) > 1 {
			out[i].tlv = append(out[i].tlv, tlv(pdu.TagSarMsgRefNum, reference, 2), tlv(pdu.TagSarTotalSegments, uint16(len(cut)), 1), tlv(pdu.TagSarSegmentSeqnum, uint16(i+1), 1))
		}
	}
	return out, nil
}

// submit makes the submit_sm of a segment.
func (f *form) submit(s segment, to smpp.Address, code byte, validity time.Duration, priority byte) (pdu.PDU, error) {
	p := pdu.NewSubmitSM().(*pdu.SubmitSM)
	p.ServiceType, p.EsmClass, p.RegisteredDelivery, p.PriorityFlag = f.serviceType, s.esm, f.registered, priority
	p.ValidityPeriod = smpp.Validity(validity)
	var err1, err2 error
	p.SourceAddr, err1 = pdu.NewAddressWithTonNpiAddr(f.source.TON, f.source.NPI, f.source.Text)
	p.DestAddr, err2 = pdu.NewAddressWithTonNpiAddr(to.TON, to.NPI, to.Text)
	for _, t := range s.tlv {
		p.RegisterOptionalParam(t)
	}
	return p, errors.Join(err1, err2, p.Message.SetMessageDataWithEncoding(s.octets, coding(code)))
}

// messageID reads the body of a submit_sm_resp; SMSCs leave it out when they refuse, and some when they do not.
func messageID(body []byte) string {
	if i := bytes.IndexByte(body, 0); i >= 0 {
		body = body[:i]
	}
	if len(body) > 64 {
		return ""
	}
	return string(body)
}

// delivery is a deliver_sm as far as we read it.
type delivery struct {
	receipt bool
	id      string
	state   smpp.State
	err     string
}

// readDelivery reads a whole deliver_sm.
func readDelivery(whole []byte) (delivery, error) {
	p := pdu.NewDeliverSM().(*pdu.DeliverSM)
	if err := p.Unmarshal(pdu.NewBuffer(whole)); err != nil {
		return delivery{}, fmt.Errorf("deliver_sm: %w", err)
	}
	if !smpp.IsReceipt(p.EsmClass) {
		return delivery{}, nil
	}
	text, err := p.Message.GetMessageData()
	if err != nil {
		return delivery{}, err
	}
	if len(text) == 0 {
		f := p.OptionalParameters[pdu.TagMessagePayload]
		text = f.Data
	}
	r := smpp.ParseReceipt(string(text))
	d := delivery{receipt: true, id: r.ID, state: r.State, err: r.Error}
	if f, ok := p.OptionalParameters[pdu.TagReceiptedMessageID]; ok && len(f.Data) > 0 && len(f.Data) <= 65 {
		d.id = messageID(f.Data)
	}
	if f, ok := p.OptionalParameters[pdu.TagMessageStateOption]; ok && len(f.Data) == 1 {
		d.state = smpp.State(f.Data[0])
	}
	return d, nil
}
