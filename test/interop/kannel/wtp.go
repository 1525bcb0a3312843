package kannel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// WTP PDU types (WAP-224-WTP table 8) and the flags of their first octet.
const (
	wtpInvoke          = 1
	wtpResult          = 2
	wtpAck             = 3
	wtpAbort           = 4
	wtpSegmentedInvoke = 5
	wtpSegmentedResult = 6
	wtpNegativeAck     = 7

	flagContinue = 0x80 // TPIs follow the fixed header
	flagGTR      = 0x04 // last packet of a group; in an Ack: the TID verification bit
	flagTTR      = 0x02 // last packet of the transaction
	flagRepeat   = 0x01 // retransmitted
)

const (
	segment    = 1400                   // octets of a message per packet
	group      = 8                      // packets sent before an acknowledgement is waited for
	repeatWait = 500 * time.Millisecond // until a packet is sent again
	repeats    = 20
	tpiPSN     = 3 // the TPI with the packet sequence number (WAP-224-WTP table 22)
)

// Session is connection-oriented WSP over WTP (WAP-230-WSP 8.2.2, WAP-224-WTP), as GPRS phones spoke it: a
// session, and in it methods as class 2 transactions, segmented and reassembled where they are large. It is
// for one goroutine.
type Session struct {
	conn   net.Conn
	end    time.Time
	id     uint32
	tid    uint16
	buf    []byte
	result []byte // segments of a result so far
}

// Connect opens a session with the gateway; ctx's deadline holds for all of it.
func Connect(ctx context.Context, gateway string, tid uint16) (*Session, error) {
	conn, err := dialUDP(ctx, gateway)
	if err != nil {
		return nil, err
	}
	s := &Session{conn: conn, tid: tid & 0x7FFF, buf: make([]byte, maxDatagram)}
	if s.end, _ = ctx.Deadline(); s.end.IsZero() {
		s.end = time.Now().Add(time.Minute)
	}
	// Capabilities: Client-SDU-Size (80) and Server-SDU-Size (81) of 1 MiB, since the default is 1400 octets.
	capabilities := capability(capability(nil, 0x80, 1<<20), 0x81, 1<<20)
	pdu := []byte{wspConnect, 0x10}
	pdu = wsp.AppendUintvar(pdu, uint32(len(capabilities)))
	pdu = append(append(pdu, 0), capabilities...) // no headers
	answer, err := s.transact(pdu)
	if err == nil && (len(answer) < 2 || answer[0] != wspConnectReply) {
		err = fmt.Errorf("no ConnectReply: % x", answer[:min(len(answer), 16)])
	}
	n := 0
	if err == nil {
		if s.id, n = wsp.Uintvar(answer[1:]); n <= 0 {
			err = errors.New("a ConnectReply without a session id")
		}
	}
	if err != nil {
		conn.Close() // the first error tells more
		return nil, fmt.Errorf("connect to %s: %w", gateway, err)
	}
	return s, nil
}

func capability(dst []byte, code byte, size uint32) []byte {
	value := wsp.AppendUintvar([]byte{code}, size)
	return append(wsp.AppendUintvar(dst, uint32(len(value))), value...)
}

// Post posts an MMS PDU in the session.
func (s *Session) Post(uri string, body []byte) (Reply, error) {
	answer, err := s.transact(postPDU(uri, body))
	if err != nil {
		return Reply{}, fmt.Errorf("post %s: %w", uri, err)
	}
	return parseReply(answer)
}

// Get fetches in the session.
func (s *Session) Get(uri string) (Reply, error) {
	answer, err := s.transact(getPDU(uri))
	if err != nil {
		return Reply{}, fmt.Errorf("get %s: %w", uri, err)
	}
	return parseReply(answer)
}

// Close disconnects: a class 0 transaction, which nobody acknowledges.
func (s *Session) Close() error {
	pdu := wsp.AppendUintvar([]byte{wspDisconnect}, s.id)
	_, err := s.conn.Write(s.invoke(pdu, wtpInvoke, flagGTR|flagTTR, 0, 0))
	return errors.Join(err, s.conn.Close())
}

// invoke builds the packet psn of a transaction.
func (s *Session) invoke(data []byte, kind, flags, psn, class byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{kind<<3 | flags}, s.tid)
	if kind == wtpInvoke {
		b = append(b, class) // version 0, no user acknowledgement
	} else {
		b = append(b, psn)
	}
	return append(b, data...)
}

// transact runs one class 2 transaction and gives the data of its result.
func (s *Session) transact(data []byte) ([]byte, error) {
	s.tid = (s.tid + 1) & 0x7FFF
	s.result = nil
	if max := 256 * segment; len(data) > max {
		return nil, fmt.Errorf("%d octets need more packets than WTP can count (%d octets)", len(data), max)
	}
	var packets [][]byte
	for psn := 0; psn == 0 || len(data) > 0; psn++ {
		piece := data[:min(segment, len(data))]
		data = data[len(piece):]
		kind, flags := byte(wtpSegmentedInvoke), byte(0)
		if psn == 0 {
			kind = wtpInvoke
		}
		switch {
		case len(data) == 0 && psn == 0:
			flags = flagGTR | flagTTR // not segmented at all
		case len(data) == 0:
			flags = flagTTR
		case psn%group == group-1:
			flags = flagGTR
		}
		packets = append(packets, s.invoke(piece, kind, flags, byte(psn), 2))
	}
	for at := 0; at < len(packets); {
		next := min(at+group, len(packets))
		result, err := s.sendGroup(packets, at, next)
		if err != nil || result != nil {
			return result, err
		}
		at = next
	}
	return nil, errors.New("all packets are acknowledged, but no result came")
}

// sendGroup sends packets[from:to] until they are acknowledged, or, behind the last, until the result is
// there (nil: go on with the next group).
func (s *Session) sendGroup(packets [][]byte, from, to int) ([]byte, error) {
	last := to == len(packets)
	acked := false
	for try := range repeats {
		if !acked {
			for _, p := range packets[from:to] {
				if try > 0 {
					p[0] |= flagRepeat
				}
				if _, err := s.conn.Write(p); err != nil {
					return nil, err
				}
			}
		}
		until := time.Now().Add(repeatWait)
		for {
			kind, psn, hasPSN, verify, result, err := s.receive(until)
			if errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(s.end) {
				if acked {
					until = time.Now().Add(repeatWait) // taken, but not answered yet
					continue
				}
				break
			}
			if err != nil {
				return nil, err
			}
			switch {
			case result != nil:
				return result, nil
			case kind == wtpAck && verify:
				if err := s.ack(flagGTR, nil); err != nil { // "yes, this transaction is mine"
					return nil, err
				}
				acked = true
			case kind == wtpAck && hasPSN && int(psn) == to-1 && !last:
				return nil, nil
			case kind == wtpAck:
				acked = acked || last && (!hasPSN || int(psn) == to-1)
			}
		}
	}
	return nil, fmt.Errorf("packets %d to %d were not acknowledged", from, to-1)
}

// receive reads one packet of the present transaction. result is not nil once a result is whole, which has
// been acknowledged then.
func (s *Session) receive(until time.Time) (kind, psn byte, hasPSN, verify bool, result []byte, err error) {
	if until.After(s.end) {
		until = s.end
	}
	if err = s.conn.SetReadDeadline(until); err != nil {
		return
	}
	n, err := s.conn.Read(s.buf)
	if err != nil {
		return
	}
	b := s.buf[:n]
	// The direction bit of the TID is set in what the responder sends.
	if len(b) < 3 || binary.BigEndian.Uint16(b[1:])&0x7FFF != s.tid {
		return
	}
	kind = b[0] >> 3 & 0x0F
	flags := b[0]
	data := b[3:]
	if kind == wtpSegmentedResult && len(data) > 0 {
		psn, data = data[0], data[1:]
	}
	for more := flags&flagContinue != 0; more && len(data) > 0; {
		var identity byte
		var value []byte
		identity, value, more, data, err = tpi(data)
		if err != nil {
			return
		}
		if identity == tpiPSN && len(value) == 1 {
			psn, hasPSN = value[0], true
		}
	}
	switch kind {
	case wtpAck:
		verify = flags&flagGTR != 0
	case wtpAbort:
		err = fmt.Errorf("the gateway aborts: type %d, reason % x", flags&7, data)
	case wtpNegativeAck:
		err = fmt.Errorf("the gateway misses packets: % x", data)
	case wtpResult, wtpSegmentedResult:
		result, err = s.collect(data, flags, psn)
	}
	return
}

// collect takes a piece of a result and acknowledges it where a group ends.
func (s *Session) collect(data []byte, flags, psn byte) ([]byte, error) {
	segmented := flags&(flagGTR|flagTTR) != flagGTR|flagTTR || psn > 0
	if flags&flagRepeat == 0 || len(s.result) == 0 {
		s.result = append(s.result, data...)
	}
	if flags&(flagGTR|flagTTR) == 0 {
		return nil, nil
	}
	var at *byte
	if segmented {
		at = &psn
	}
	if err := s.ack(0, at); err != nil || flags&flagTTR == 0 {
		return nil, err
	}
	return append([]byte{}, s.result...), nil
}

// ack acknowledges, with the number of the packet where one is given.
func (s *Session) ack(flags byte, psn *byte) error {
	b := binary.BigEndian.AppendUint16([]byte{wtpAck<<3 | flags}, s.tid)
	if psn != nil {
		b[0] |= flagContinue
		b = append(b, tpiPSN<<3|1, *psn)
	}
	_, err := s.conn.Write(b)
	return err
}

// tpi reads a transport information item (WAP-224-WTP 8.4): short items carry their length in two bits.
func tpi(b []byte) (identity byte, value []byte, more bool, rest []byte, err error) {
	more, identity = b[0]&0x80 != 0, b[0]>>3&0x0F
	size, at := int(b[0]&0x03), 1
	if b[0]&0x04 != 0 {
		if len(b) < 2 {
			return 0, nil, false, nil, errors.New("a TPI without its length")
		}
		size, at = int(b[1]), 2
	}
	if at+size > len(b) {
		return 0, nil, false, nil, errors.New("a TPI that does not fit")
	}
	return identity, b[at : at+size], more, b[at+size:], nil
}
