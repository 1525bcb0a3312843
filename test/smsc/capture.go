package smsc

import (
	"encoding/binary"
)

// capture makes a pcap of raw IP packets. Each link gets a handshake, and each frame one segment; a frame of more than 60,000 octets
// would need two, and no test writes such.
func capture(frames []Frame, port int) []byte {
	const rawIP = 101
	b := binary.LittleEndian.AppendUint32(nil, 0xA1B2C3D4)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, 262144)
	b = binary.LittleEndian.AppendUint32(b, rawIP)
	next := map[int]*[2]uint32{} // per ESME's port: the next sequence number of ESME and SMSC
	packet := func(f Frame, flags byte, octets []byte) {
		seq := next[f.Port]
		from, to, own, other := f.Port, port, seq[0], seq[1]
		if f.FromSMSC {
			from, to, own, other = port, f.Port, seq[1], seq[0]
		}
		p := tcp(from, to, own, other, flags, octets)
		b = binary.LittleEndian.AppendUint32(b, uint32(f.At.Unix()))
		b = binary.LittleEndian.AppendUint32(b, uint32(f.At.Nanosecond()/1000))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
		n := uint32(len(octets))
		if flags&synFlag != 0 {
			n = 1
		}
		if f.FromSMSC {
			seq[1] += n
		} else {
			seq[0] += n
		}
	}
	for _, f := range frames {
		if next[f.Port] == nil {
			next[f.Port] = &[2]uint32{1000, 5000}
			packet(Frame{At: f.At, Port: f.Port}, synFlag, nil)
			packet(Frame{At: f.At, Port: f.Port, FromSMSC: true}, synFlag|ackFlag, nil)
			packet(Frame{At: f.At, Port: f.Port}, ackFlag, nil)
		}
		packet(f, ackFlag|pushFlag, f.Octets)
	}
	return b
}

const (
	synFlag  = 0x02
	pushFlag = 0x08
	ackFlag  = 0x10
)

// tcp makes an IPv4 packet between two ports of loopback.
func tcp(from, to int, seq, ack uint32, flags byte, octets []byte) []byte {
	h := make([]byte, 40, 40+len(octets))
	h[0], h[8], h[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(h[2:], uint16(40+len(octets)))
	copy(h[12:], []byte{127, 0, 0, 1, 127, 0, 0, 1})
	binary.BigEndian.PutUint16(h[10:], checksum(h[:20]))
	t := h[20:]
	binary.BigEndian.PutUint16(t, uint16(from))
	binary.BigEndian.PutUint16(t[2:], uint16(to))
	binary.BigEndian.PutUint32(t[4:], seq)
	if flags&ackFlag != 0 {
		binary.BigEndian.PutUint32(t[8:], ack)
	}
	t[12], t[13] = 0x50, flags
	binary.BigEndian.PutUint16(t[14:], 65535)
	h = append(h, octets...)
	pseudo := append([]byte{127, 0, 0, 1, 127, 0, 0, 1, 0, 6}, byte((20+len(octets))>>8), byte(20+len(octets)))
	binary.BigEndian.PutUint16(h[36:], checksum(append(pseudo, h[20:]...)))
	return h
}

func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		v := uint32(b[i]) << 8
		if i+1 < len(b) {
			v |= uint32(b[i+1])
		}
		sum += v
	}
	for sum > 0xFFFF {
		sum = sum>>16 + sum&0xFFFF
	}
	return ^uint16(sum)
}
