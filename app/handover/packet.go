package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The kinds of packets.
const (
	kindCall    = 1
	kindAnswer  = 2
	kindFailure = 3
	kindNote    = 4
)

// packet is what one datagram of the socket holds: kind (1 octet), id of a call (8), length of the name (1), name, payload.
type packet struct {
	kind    byte
	id      uint64
	name    string
	payload []byte
}

const headSize = 10

func (p *packet) append(b []byte) ([]byte, error) {
	if len(p.name) > 255 || headSize+len(p.name)+len(p.payload) > MaxPacket {
		return nil, fmt.Errorf("hand-over: a packet of %d octets, allowed are %d", headSize+len(p.name)+len(p.payload), MaxPacket)
	}
	b = append(b, p.kind)
	b = binary.BigEndian.AppendUint64(b, p.id)
	b = append(b, byte(len(p.name)))
	b = append(b, p.name...)
	return append(b, p.payload...), nil
}

// parse takes a packet apart; its payload aliases b.
func parse(b []byte) (packet, error) {
	if len(b) < headSize || b[0] < kindCall || b[0] > kindNote || len(b) < headSize+int(b[9]) {
		return packet{}, errors.New("hand-over: a packet that can't be read")
	}
	end := headSize + int(b[9])
	return packet{kind: b[0], id: binary.BigEndian.Uint64(b[1:]), name: string(b[headSize:end]), payload: b[end:]}, nil
}
