package fence

import (
	"encoding/binary"
	"errors"
)

// The payloads between routers: version, then length-prefixed fields. What a newer program puts behind them is passed
// over, so that routers of two versions work together.
const sharedVersion = 1

// Limits of what is taken.
const (
	maxSharedKey    = 2048
	maxSharedName   = 64
	maxSharedAnswer = 64 << 10
	maxSharedKeys   = 16
)

var errShared = errors.New("a payload that can't be read")

// field takes a length-prefixed field off b; it aliases b.
func field(b []byte, most int) (v, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(most) || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	return b[w : w+int(n)], b[w+int(n):], true
}

func appendField[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// appendKey begins a payload about one key.
func appendKey(key string) []byte {
	return appendField(append(make([]byte, 0, len(key)+64), sharedVersion), key)
}

// readKey takes the head of such a payload.
func readKey(b []byte) (key string, rest []byte, err error) {
	if len(b) == 0 || b[0] != sharedVersion {
		return "", nil, errShared
	}
	k, rest, ok := field(b[1:], maxSharedKey)
	if !ok || len(k) == 0 {
		return "", nil, errShared
	}
	return string(k), rest, nil
}

// appendRemote adds phase, origin, length, digest and answer.
func appendRemote(b []byte, r Remote) []byte {
	b = append(b, byte(r.Phase))
	b = appendField(b, r.Node)
	b = binary.AppendUvarint(b, uint64(r.Length))
	b = binary.BigEndian.AppendUint64(b, r.Digest)
	return appendField(b, r.Answer)
}

// readRemote takes them apart; the answer is a copy.
func readRemote(b []byte) (Remote, error) {
	var r Remote
	if len(b) == 0 || Phase(b[0]) > Answered {
		return r, errShared
	}
	r.Phase = Phase(b[0])
	node, b, ok := field(b[1:], maxSharedName)
	if !ok {
		return Remote{}, errShared
	}
	r.Node = string(node)
	n, w := binary.Uvarint(b)
	if w <= 0 || n > 1<<62 || len(b) < w+8 {
		return Remote{}, errShared
	}
	r.Length, r.Digest = int64(n), binary.BigEndian.Uint64(b[w:])
	answer, _, ok := field(b[w+8:], maxSharedAnswer)
	if !ok || r.Phase == Answered && len(answer) == 0 {
		return Remote{}, errShared
	}
	r.Answer = append([]byte(nil), answer...)
	return r, nil
}

// appendOwner begins a payload that says who holds what the keys name; readOwner takes it apart.
func appendOwner(name string, keys []string) []byte {
	b := appendField([]byte{sharedVersion}, name)
	for _, k := range keys {
		b = appendField(b, k)
	}
	return b
}

func readOwner(b []byte) (name string, keys []string, err error) {
	if len(b) == 0 || b[0] != sharedVersion {
		return "", nil, errShared
	}
	n, b, ok := field(b[1:], maxSharedName)
	if !ok {
		return "", nil, errShared
	}
	for len(b) > 0 {
		var k []byte
		if k, b, ok = field(b, maxSharedKey); !ok || len(k) == 0 || len(keys) == maxSharedKeys {
			return "", nil, errShared
		}
		keys = append(keys, string(k))
	}
	if len(keys) == 0 {
		return "", nil, errShared
	}
	return string(n), keys, nil
}
