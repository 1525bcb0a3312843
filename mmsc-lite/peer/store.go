package peer

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"time"
)

// Key names a message that was fetched: its location and the subscriber it was fetched for.
type Key [sha256.Size]byte

// KeyOf makes a key. subscriber is normalised; empty: nobody says who it is.
func KeyOf(location, subscriber string) Key {
	return sha256.Sum256([]byte(location + "\x00" + subscriber))
}

// Message is what is known of a message that was fetched; its octets come by Store.Write.
type Message struct {
	Key           Key
	Operator      string
	Location      string
	Subscriber    string
	TransactionID string // of the M-Retrieve.conf
	MessageID     string
	Size          int64
	ExpiresAt     time.Time
}

// Indication is a PDU on its way to a peer.
type Indication struct {
	Location  string
	PDU       []byte
	Attempts  int
	ExpiresAt time.Time
}

// Errors of a Store. Any other one says that it could not be asked.
var (
	ErrNotFound = errors.New("not found")
	ErrFull     = errors.New("too many indications wait")
)

// Store keeps what must not be lost. A write that returns nil is committed and synced. All methods are safe for
// concurrent use, also by several processes on one database.
type Store interface {
	// Find gives a message that has not expired, or ErrNotFound.
	Find(ctx context.Context, key Key) (*Message, error)
	// Keep stores a message; one that is there already stays.
	Keep(ctx context.Context, m *Message, pdu []byte) error
	// Write writes the octets of a message. An error after the first octet means that the receiver must not take it for whole.
	Write(ctx context.Context, m *Message, w io.Writer) error
	// Served notes that a handset has got a message whole.
	Served(ctx context.Context, key Key) error
	// Match gives the message that a handset speaks of, or ErrNotFound.
	Match(ctx context.Context, q Query) (*Message, error)
	// Queue stores an indication, and notes that m was answered; the same one again changes nothing. ErrFull: limit of them wait.
	Queue(ctx context.Context, m *Message, i *Indication, limit int) error
	// Due leases at most n indications that are due until then, and says when the next one will be; zero: none.
	Due(ctx context.Context, until time.Time, n int) (due []*Indication, next time.Time, err error)
	// Settle ends a lease: tried again at a time, or, with the zero time, done.
	Settle(ctx context.Context, i *Indication, again time.Time) error
	// Purge removes what has expired.
	Purge(ctx context.Context) error
	Close() error
}

// Query says by what a message is found: the first of the fields that is not empty.
type Query struct {
	TransactionID string
	MessageID     string
	ServedSince   time.Time // the one message that Subscriber got since and nobody answered; several are none
	// Subscriber is normalised; empty: not known, and a message that is not the only one with that id does not match. One that
	// was fetched for somebody else never does.
	Subscriber string
}

func (i *Indication) key() []byte {
	h := sha256.New()
	h.Write([]byte(i.Location))
	h.Write([]byte{0})
	h.Write(i.PDU)
	return h.Sum(nil)
}
