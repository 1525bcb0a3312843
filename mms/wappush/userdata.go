package wappush

import "fmt"

// Ports of WDP (WAP-259-WDP, appendix B).
const (
	PortPush       = 2948 // destination: WAP push, connectionless
	PortPushSecure = 2949
	PortWSP        = 9200 // source: connectionless WSP
)

// MaxUserData is the octets of user data that one SMS holds.
const MaxUserData = 140

// Information elements of the user data header (3GPP TS 23.040 9.2.3.24).
const (
	elementConcat8  = 0x00
	elementPorts8   = 0x04
	elementPorts16  = 0x05
	elementConcat16 = 0x08
)

// UserData is the user data of an SMS whose header indicator is set.
type UserData struct {
	HasPorts            bool
	Destination, Source uint16
	Reference           uint16 // of the message that this is a segment of
	WideReference       bool   // 16 bits: another space of references
	Total, Sequence     byte   // 1 of 1 when the header says nothing
	Payload             []byte
	Skipped             int // octets of elements that nobody here knows
}

// ParseUserData reads the header and gives the rest as Payload, which aliases b.
// Elements may stand in any order; of repeated ones the last counts, as 3GPP TS
// 23.040 says; unknown ones are skipped.
func ParseUserData(b []byte) (UserData, error) {
	u := UserData{Total: 1, Sequence: 1}
	if len(b) == 0 {
		return u, fmt.Errorf("user data: no octets")
	}
	size := int(b[0])
	if size > len(b)-1 {
		return u, fmt.Errorf("user data: a header of %d octets is announced, %d octets are there", size, len(b)-1)
	}
	head := b[1 : 1+size]
	for at := 0; at < len(head); {
		if len(head)-at < 2 {
			return u, fmt.Errorf("user data: octet %d: an element without its length", 1+at)
		}
		id, n := head[at], int(head[at+1])
		if n > len(head)-at-2 {
			return u, fmt.Errorf("user data: octet %d: element %02x of %d octets runs past the header", 1+at, id, n)
		}
		if err := u.element(id, head[at+2:at+2+n]); err != nil {
			return u, fmt.Errorf("user data: octet %d: %w", 1+at, err)
		}
		at += 2 + n
	}
	u.Payload = b[1+size:]
	return u, nil
}

func (u *UserData) element(id byte, v []byte) error {
	want, ok := map[byte]int{elementConcat8: 3, elementPorts8: 2, elementPorts16: 4, elementConcat16: 4}[id]
	if !ok {
		u.Skipped += 2 + len(v)
		return nil
	}
	if len(v) != want {
		return fmt.Errorf("element %02x has %d octets, it takes %d", id, len(v), want)
	}
	switch id {
	case elementPorts8:
		u.HasPorts, u.Destination, u.Source = true, uint16(v[0]), uint16(v[1])
	case elementPorts16:
		u.HasPorts, u.Destination, u.Source = true, uint16(v[0])<<8|uint16(v[1]), uint16(v[2])<<8|uint16(v[3])
	case elementConcat8:
		return u.concat(uint16(v[0]), false, v[1], v[2])
	case elementConcat16:
		return u.concat(uint16(v[0])<<8|uint16(v[1]), true, v[2], v[3])
	}
	return nil
}

// concat takes a place among segments. One out of none or beyond the last is to
// be ignored by 3GPP TS 23.040; it is an error here, so that it gets counted.
func (u *UserData) concat(ref uint16, wide bool, total, sequence byte) error {
	if total == 0 || sequence == 0 || sequence > total {
		return fmt.Errorf("segment %d of %d", sequence, total)
	}
	u.Reference, u.WideReference, u.Total, u.Sequence = ref, wide, total, sequence
	return nil
}

// Segmentation says how Segment cuts. The zero value cuts for WAP push with
// references of 8 bits.
type Segmentation struct {
	Destination, Source uint16 // 0: 2948 and 9200
	Reference           uint16 // another one for each message to one handset
	WideReference       bool
	MaxSegments         int // 0: 255, the most there can be
}

// Segment cuts a payload into user data of at most 140 octets each, ports in
// every one: alone if it fits into 133 octets, else in segments of 128, or of 127
// with references of 16 bits.
func (s Segmentation) Segment(payload []byte) ([][]byte, error) {
	if s.Destination == 0 {
		s.Destination = PortPush
	}
	if s.Source == 0 {
		s.Source = PortWSP
	}
	if s.MaxSegments <= 0 || s.MaxSegments > 255 {
		s.MaxSegments = 255
	}
	ports := []byte{elementPorts16, 4, byte(s.Destination >> 8), byte(s.Destination), byte(s.Source >> 8), byte(s.Source)}
	if len(payload) <= MaxUserData-1-len(ports) {
		one := append([]byte{byte(len(ports))}, ports...)
		return [][]byte{append(one, payload...)}, nil
	}
	concat := []byte{elementConcat8, 3, byte(s.Reference)}
	if s.WideReference {
		concat = []byte{elementConcat16, 4, byte(s.Reference >> 8), byte(s.Reference)}
	}
	size := len(ports) + len(concat) + 2
	room := MaxUserData - 1 - size
	total := (len(payload) + room - 1) / room
	if total > s.MaxSegments {
		return nil, fmt.Errorf("%d octets take %d segments, %d are allowed", len(payload), total, s.MaxSegments)
	}
	segments := make([][]byte, 0, total)
	for i := range total {
		ud := make([]byte, 0, MaxUserData)
		ud = append(append(append(ud, byte(size)), ports...), concat...)
		ud = append(ud, byte(total), byte(i+1))
		segments = append(segments, append(ud, payload[i*room:min((i+1)*room, len(payload))]...))
	}
	return segments, nil
}
