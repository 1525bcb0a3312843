package store

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"sync"
	"time"
)

// ID is the key of a row: 41 bits of milliseconds since 2024, 10 bits that name the process, 12 bits that
// count. It grows with time. It is no secret; what a peer must not guess has a Secret beside it.
type ID int64

const (
	tagBits   = 10
	countBits = 12
	maxTag    = 1 << tagBits
)

// epoch is 2024-01-01 in milliseconds since 1970.
const epoch = 1704067200000

// Time gives the moment the id was made, to the millisecond.
func (id ID) Time() time.Time { return fromMillis(int64(id)>>(tagBits+countBits) + epoch) }

// after gives the smallest id that a process could have made at t: a bound for searches by time.
func after(t time.Time) ID { return ID((millis(t) - epoch) << (tagBits + countBits)) }

// ids makes keys.
type ids struct {
	mu   sync.Mutex
	tag  int64
	last int64 // milliseconds and count of the newest one
}

// next gives a key above all that this process has made. When the clock goes back it counts on.
func (g *ids) next(now time.Time) ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = max(g.last+1, (millis(now)-epoch)<<countBits)
	return ID(g.last>>countBits<<(tagBits+countBits) | g.tag<<countBits | g.last&(1<<countBits-1))
}

// start lets the keys go on above one that stands in the database.
func (g *ids) start(tag int, newest ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tag = int64(tag)
	g.last = max(g.last, int64(newest)>>(tagBits+countBits)<<countBits|(1<<countBits-1))
}

// Secret is 128 random bits that make a reference unguessable.
type Secret [16]byte

// String gives 32 hexadecimal digits.
func (s Secret) String() string { return hex.EncodeToString(s[:]) }

func newSecret() (s Secret) {
	rand.Read(s[:]) // never fails: the runtime ends the program instead
	return s
}

// refLen is the length of a reference's text: 24 octets in base 64.
const refLen = 32

// Ref is an id with its secret: 32 letters, digits, - and _. Whoever shows it has been told it. It is short, since a
// location travels in an SMS.
type Ref struct {
	ID     ID
	Secret Secret
}

// String gives the text.
func (r Ref) String() string {
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], uint64(r.ID))
	copy(b[8:], r.Secret[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// ParseRef reads the text of a Ref; false if it is none.
func ParseRef(s string) (Ref, bool) {
	if len(s) != refLen {
		return Ref{}, false
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != 24 || b[0] >= 0x80 {
		return Ref{}, false
	}
	r := Ref{ID: ID(binary.BigEndian.Uint64(b))}
	copy(r.Secret[:], b[8:])
	return r, true
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
