package cluster

import (
	"encoding/binary"
	"errors"
)

// Every payload begins with its version. A newer program that must break the form counts it up, and this
// one refuses what it can't know; what can be added without breaking goes behind the known fields of an
// entry, which carries its own length, so that older programs step over it.
const wireVersion = 1

// Limits of what is taken from the wire. Ours are smaller or equal.
const (
	maxStateName = 64
	maxKind      = 64
	maxNode      = 64
	maxKey       = 512
	maxValue     = 16 << 10
	maxState     = 2 << 20 // one state's whole payload
	maxFull      = 8 << 20 // all states
	maxStates    = 64
	maxMessage   = 1 << 20 // one point-to-point payload
	maxPacket    = 1100    // what goes by a datagram: 1400 less headers, key and label
)

var errCorrupt = errors.New("corrupt payload")

// reader takes a payload apart; after the first fault everything it gives is empty and bad is set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.bad, r.b = true, nil }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) uint64() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// bytes gives a length-prefixed field of at most most octets; it aliases the payload.
func (r *reader) bytes(most int) []byte {
	n := r.uvarint()
	if r.bad || n > uint64(most) || n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) str(most int) string { return string(r.bytes(most)) }

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func appendString(b []byte, v string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// nodeName says whether s can be a router's name: 1 to 64 letters, digits, dots, dashes, underscores. It
// never holds the slash that parts an owned key.
func nodeName(s string) bool {
	if s == "" || len(s) > maxNode {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}
