package smsc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Status is a command_status (SMPP 3.4 5.1.3).
type Status uint32

// The statuses that this SMSC gives.
const (
	Ok                  Status = 0x00
	InvalidMessage      Status = 0x01 // message length
	InvalidLength       Status = 0x02 // command length
	InvalidCommand      Status = 0x03
	WrongState          Status = 0x04 // not bound so
	AlreadyBound        Status = 0x05
	SystemError         Status = 0x08
	InvalidDestination  Status = 0x0B
	InvalidPassword     Status = 0x0E
	InvalidSystemID     Status = 0x0F
	QueueFull           Status = 0x14
	Throttled           Status = 0x58
	ParameterNotAllowed Status = 0xC1
	ParameterLength     Status = 0xC2
)

// Commands (SMPP 3.4 5.1.2).
const (
	bindReceiver    = 0x01
	bindTransmitter = 0x02
	submitSM        = 0x04
	deliverSM       = 0x05
	unbind          = 0x06
	bindTransceiver = 0x09
	enquireLink     = 0x15
	dataSM          = 0x103
	response        = 0x80000000
	genericNack     = response
)

// Optional parameters (SMPP 3.4 5.3.2).
const (
	tagReceiptedID     = 0x001E
	tagSourcePort      = 0x020A
	tagDestinationPort = 0x020B
	tagReference       = 0x020C
	tagSegments        = 0x020E
	tagSegment         = 0x020F
	tagVersion         = 0x0210
	tagPayload         = 0x0424
	tagState           = 0x0427
)

const (
	headSize   = 16
	maxPDU     = 66 << 10 // message_payload has at most 64 KiB
	version34  = 0x34
	classUDHI  = 0x40 // esm_class: the message begins with a user data header
	maxMessage = 254
)

// Address is one end of a short message.
type Address struct {
	TON, NPI byte
	Digits   string // as submitted: digits, or a word for TON 5
}

// Message is what an ESME submitted.
type Message struct {
	System              string // system_id of the ESME
	ServiceType         string
	Source, Destination Address
	ESMClass, Protocol  byte
	Coding              byte // data_coding
	Registered          byte // registered_delivery
	// UserData holds the message; it begins with a user data header when Header is set, also when the ESME gave ports
	// and segments as optional parameters.
	UserData []byte
	Header   bool
}

// head is a PDU's header.
type head struct {
	length, command, status, sequence uint32
}

func readHead(b []byte) head {
	return head{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])}
}

// appendPDU appends a PDU.
func appendPDU(dst []byte, command uint32, status Status, sequence uint32, body []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(headSize+len(body)))
	dst = binary.BigEndian.AppendUint32(dst, command)
	dst = binary.BigEndian.AppendUint32(dst, uint32(status))
	dst = binary.BigEndian.AppendUint32(dst, sequence)
	return append(dst, body...)
}

// fields reads the mandatory parameters of a body, then the optional ones. The first fault stays.
type fields struct {
	b   []byte
	err error
}

var errCut = errors.New("the body is cut")

func (f *fields) octet() byte {
	b := f.octets(1)
	if f.err != nil {
		return 0
	}
	return b[0]
}

func (f *fields) octets(n int) []byte {
	if f.err == nil && len(f.b) < n {
		f.err = errCut
	}
	if f.err != nil {
		return nil
	}
	v := f.b[:n]
	f.b = f.b[n:]
	return v
}

// text reads a C-octet string of at most size octets, its zero included.
func (f *fields) text(name string, size int) string {
	if f.err != nil {
		return ""
	}
	n := bytes.IndexByte(f.b[:min(size, len(f.b))], 0)
	switch {
	case n < 0 && len(f.b) < size:
		f.err = errCut
		return ""
	case n < 0:
		f.err = fmt.Errorf("%s has more than %d characters", name, size-1)
		return ""
	}
	return string(f.octets(n + 1)[:n])
}

func (f *fields) address(name string, size int) Address {
	return Address{TON: f.octet(), NPI: f.octet(), Digits: f.text(name, size)}
}

// optional calls take for each optional parameter.
func (f *fields) optional(take func(tag uint16, v []byte)) {
	for f.err == nil && len(f.b) > 0 {
		h := f.octets(4)
		if f.err != nil {
			return
		}
		if v := f.octets(int(binary.BigEndian.Uint16(h[2:]))); f.err == nil {
			take(binary.BigEndian.Uint16(h), v)
		}
	}
}

// bindRequest is the body of bind_receiver, bind_transmitter, bind_transceiver (SMPP 3.4 4.1).
type bindRequest struct {
	system, password string
	version          byte
}

func readBind(b []byte) (bindRequest, error) {
	f := fields{b: b}
	var r bindRequest
	r.system, r.password = f.text("system_id", 16), f.text("password", 9)
	f.text("system_type", 13)
	r.version = f.octet()
	f.address("address_range", 41)
	return r, f.err
}

// readSubmit reads the body of a submit_sm (SMPP 3.4 4.4.1), or of a data_sm (4.7.1). An error means that it is no such
// body; a status other than Ok that it must be refused.
func readSubmit(command uint32, b []byte) (*Message, Status, error) {
	f := fields{b: b}
	m := &Message{ServiceType: f.text("service_type", 6)}
	var short []byte
	long := command == dataSM
	size := 21
	if long {
		size = 65
	}
	m.Source, m.Destination = f.address("source_addr", size), f.address("destination_addr", size)
	m.ESMClass = f.octet()
	if long {
		m.Registered, m.Coding = f.octet(), f.octet()
	} else {
		m.Protocol = f.octet()
		f.octet() // priority_flag
		f.text("schedule_delivery_time", 17)
		f.text("validity_period", 17)
		m.Registered = f.octet()
		f.octet() // replace_if_present_flag
		m.Coding = f.octet()
		f.octet() // sm_default_msg_id
		n := int(f.octet())
		if f.err == nil && n > maxMessage {
			return m, InvalidMessage, nil
		}
		short = f.octets(n)
	}
	var o optionals
	f.optional(o.take)
	if f.err != nil {
		return nil, 0, f.err
	}
	status := m.content(short, &o)
	return m, status, nil
}

// optionals are the optional parameters that carry content or say where it goes.
type optionals struct {
	payload                              []byte
	hasPayload, hasPorts, hasSAR, faulty bool
	source, destination, reference       uint16
	total, sequence                      byte
}

func (o *optionals) take(tag uint16, v []byte) {
	two := func() uint16 {
		if len(v) != 2 {
			o.faulty = true
			return 0
		}
		return binary.BigEndian.Uint16(v)
	}
	one := func() byte {
		if len(v) != 1 {
			o.faulty = true
			return 0
		}
		return v[0]
	}
	switch tag {
	case tagPayload:
		o.payload, o.hasPayload = v, true
	case tagSourcePort:
		o.source = two()
	case tagDestinationPort:
		o.destination, o.hasPorts = two(), true
	case tagReference:
		o.reference, o.hasSAR = two(), true
	case tagSegments:
		o.total = one()
	case tagSegment:
		o.sequence = one()
	}
}

// content sets UserData. Ports and segments belong into a user data header or into optional parameters, never both
// (SMPP 3.4 5.3.2.20 to 24).
func (m *Message) content(short []byte, o *optionals) Status {
	switch {
	case o.faulty:
		return ParameterLength
	case o.hasPayload && len(short) > 0:
		return ParameterNotAllowed
	case o.hasPayload:
		short = o.payload
	}
	m.Header = m.ESMClass&classUDHI != 0
	if !o.hasPorts && !o.hasSAR {
		m.UserData = bytes.Clone(short)
		return Ok
	}
	if m.Header {
		return ParameterNotAllowed
	}
	var udh []byte
	if o.hasPorts {
		udh = binary.BigEndian.AppendUint16(append(udh, 0x05, 4), o.destination)
		udh = binary.BigEndian.AppendUint16(udh, o.source)
	}
	if o.hasSAR {
		udh = binary.BigEndian.AppendUint16(append(udh, 0x08, 4), o.reference)
		udh = append(udh, o.total, o.sequence)
	}
	m.Header = true
	m.UserData = append(append([]byte{byte(len(udh))}, udh...), short...)
	return Ok
}
