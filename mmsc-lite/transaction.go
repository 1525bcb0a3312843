package mmsc

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// transaction gives the transaction id under which a recipient is notified and acknowledges: the recipient's id, then
// 96 bits that only we can make of its secret. So ids of different phones never collide, nobody can acknowledge for
// another, and the id does not tell the location.
func transaction(r store.Ref) string {
	var b [20]byte
	binary.BigEndian.PutUint64(b[:], uint64(r.ID))
	sum := sha256.Sum256(append([]byte("transaction id\x00"), r.Secret[:]...))
	copy(b[8:], sum[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// recipientOf reads the recipient's id out of a transaction id of ours; false if it can't be one. Whether it is one, only
// a comparison with transaction of the recipient tells.
func recipientOf(id []byte) (store.ID, bool) {
	if len(id) != 27 {
		return 0, false
	}
	var b [20]byte
	if n, err := base64.RawURLEncoding.Decode(b[:], id); err != nil || n != len(b) || b[0] >= 0x80 {
		return 0, false
	}
	return store.ID(binary.BigEndian.Uint64(b[:8])), true
}
