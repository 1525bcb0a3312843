package smsc

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"
)

func reply(p pdu.PDU, status uint32, sequence int32) []byte {
	p.SetSequenceNumber(sequence)
	b := pdu.NewBuffer(nil)
	p.Marshal(b)
	out := b.Bytes()
	binary.BigEndian.PutUint32(out[8:], status)
	return out
}

func (x *session) run() {
	s := x.smsc
	defer s.note(func() { delete(s.sessions, x) })
	defer x.conn.Close()
	r := bufio.NewReader(x.conn)
	for {
		head := make([]byte, 16)
		if _, err := io.ReadFull(r, head); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(head)
		if n < 16 || n > 70<<10 {
			return
		}
		whole := append(head, make([]byte, n-16)...)
		if _, err := io.ReadFull(r, whole[16:]); err != nil {
			return
		}
		x.keep(false, whole)
		if !x.handle(whole) {
			return
		}
	}
}

// handle serves one PDU; false ends the connection.
func (x *session) handle(whole []byte) bool {
	s := x.smsc
	sequence := int32(binary.BigEndian.Uint32(whole[12:]))
	switch command := binary.BigEndian.Uint32(whole[4:]); command {
	case 0x09:
		return x.bind(whole, sequence)
	case 0x04:
		return x.submit(whole, sequence)
	case 0x15:
		var mute bool
		s.note(func() { s.enquires++; mute = s.mute })
		if !mute {
			x.send(reply(pdu.NewEnquireLinkResp(), 0, sequence))
		}
	case 0x06:
		x.send(reply(pdu.NewUnbindResp(), 0, sequence))
		s.note(func() { s.unbinds++ })
		return false
	case 0x80000000:
		s.note(func() { s.nacks++ })
	case 0x80000005, 0x80000015, 0x80000006:
		s.note(func() {})
	default:
		x.send(reply(pdu.NewGenericNack(), 3, sequence))
	}
	return true
}

func (x *session) bind(whole []byte, sequence int32) bool {
	p := pdu.NewBindTransceiver().(*pdu.BindRequest)
	if err := p.Unmarshal(pdu.NewBuffer(whole)); err != nil {
		return false
	}
	status := uint32(0)
	if x.smsc.Bind != nil {
		status = x.smsc.Bind(p.SystemID, p.Password)
	}
	resp := pdu.NewBindTransceiverResp().(*pdu.BindResp)
	resp.SystemID = "lab"
	x.send(reply(resp, status, sequence))
	x.smsc.note(func() { x.smsc.binds++; x.bound = status == 0 })
	return status == 0
}

func (x *session) submit(whole []byte, sequence int32) bool {
	s := x.smsc
	p := pdu.NewSubmitSM().(*pdu.SubmitSM)
	esm := whole[16:]
	if err := p.Unmarshal(pdu.NewBuffer(withoutUDHI(whole))); err != nil {
		x.send(reply(pdu.NewSubmitSMResp(), 2, sequence))
		return true
	}
	p.EsmClass = esmClass(esm)
	octets, _ := p.Message.GetMessageData() // never fails
	sub := &Submit{Source: fmt.Sprintf("%d/%d:%s", p.SourceAddr.Ton(), p.SourceAddr.Npi(), p.SourceAddr.Address()), Number: p.DestAddr.Address(),
		Octets: octets, Coding: coding(esm), Message: p}
	var a Answer
	s.note(func() {
		sub.Seq = len(s.submits) + 1
		s.submits = append(s.submits, sub)
		if s.Judge != nil {
			a = s.Judge(*sub)
		}
	})
	if a.Die {
		return false
	}
	if a.Silent {
		return true
	}
	if a.ID == "" {
		a.ID = fmt.Sprint(1000 + sub.Seq)
	}
	if a.After > 0 {
		s.wg.Go(func() {
			later := time.NewTimer(a.After)
			defer later.Stop()
			<-later.C
			x.answer(sub, a, sequence)
		})
		return true
	}
	x.answer(sub, a, sequence)
	return true
}

func (x *session) answer(sub *Submit, a Answer, sequence int32) {
	resp := pdu.NewSubmitSMResp().(*pdu.SubmitSMResp)
	if a.Status == 0 {
		resp.MessageID = a.ID
	}
	x.smsc.note(func() { sub.Answered, sub.Status, sub.ID = true, a.Status, a.ID }) // before the ESME can know it
	x.send(reply(resp, a.Status, sequence))
	if a.Receipt == "" {
		return
	}
	id := a.ReceiptID
	if id == "" {
		id = a.ID
	}
	x.send(x.receipt(sub, id, a.Receipt))
}

func (x *session) receipt(sub *Submit, id, stat string) []byte {
	p := pdu.NewDeliverSM().(*pdu.DeliverSM)
	p.SourceAddr, p.DestAddr, p.EsmClass = sub.Message.DestAddr, sub.Message.SourceAddr, 0x04
	now := time.Now().UTC().Format("0601021504")
	text := fmt.Sprintf("id:%s sub:001 dlvrd:001 submit date:%s done date:%s stat:%s err:000 text:", id, now, now, stat)
	_ = p.Message.SetMessageDataWithEncoding([]byte(text), data.NewCustomEncoding(0, nil)) // short enough
	x.write.Lock()
	x.seq++
	seq := x.seq
	x.write.Unlock()
	return reply(p, 0, int32(seq))
}

// withoutUDHI lets the message be read as octets: the user data header is the test's to look at.
func withoutUDHI(whole []byte) []byte {
	b := append([]byte(nil), whole...)
	if at := esmAt(b[16:]); at >= 0 {
		b[16+at] &^= 0x40
	}
	return b
}

func esmClass(body []byte) byte {
	if at := esmAt(body); at >= 0 {
		return body[at]
	}
	return 0
}

// coding reads data_coding, which gosmpp keeps only where it knows the alphabet.
func coding(body []byte) byte {
	at := esmAt(body) + 3
	for range 2 { // schedule_delivery_time, validity_period
		for at < len(body) && body[at] != 0 {
			at++
		}
		at++
	}
	if at += 2; at >= len(body) {
		return 0
	}
	return body[at]
}

// esmAt finds esm_class in the body of a submit_sm; -1 if it is cut.
func esmAt(body []byte) int {
	at := 0
	text := func() {
		for at < len(body) && body[at] != 0 {
			at++
		}
		at++
	}
	text()
	at += 2
	text()
	at += 2
	text()
	if at >= len(body) {
		return -1
	}
	return at
}
