package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

// Origin says how a message came in.
type Origin int

// The origins; their numbers stand in the database.
const (
	FromMM1     Origin = 1 // M-Send.req
	FromForward Origin = 2 // M-Forward.req
	FromServer  Origin = 3 // made by this server: a notice, the common service platform
	FromPeer    Origin = 4 // from another operator's server
	FromMbox    Origin = 5 // out of an MMBox
)

// String gives a word.
func (o Origin) String() string {
	return word(int(o), "mm1", "forward", "server", "peer", "mbox")
}

// Kind says in which header a recipient stood.
type Kind int

// The kinds; their numbers stand in the database.
const (
	To  Kind = 1
	Cc  Kind = 2
	Bcc Kind = 3
)

// String gives a word.
func (k Kind) String() string { return word(int(k), "to", "cc", "bcc") }

func word(n int, words ...string) string {
	if n < 1 || n > len(words) {
		return "unknown"
	}
	return words[n-1]
}

// Recipient of a new message.
type Recipient struct {
	Kind    Kind
	Address string // normalised
	// Due is when delivery begins; zero: nobody delivers it, it waits to be fetched.
	Due time.Time
}

// Message is a new message. Its content is either Upload from BodyAt on, or that of message Parent.
type Message struct {
	Origin         Origin
	Sender         string // normalised; empty: unknown
	Hidden         bool
	TransactionID  string
	Version        byte
	Class          string // "personal", "advertisement", "informational", "auto" or a token of the client's
	Priority       int    // 0 low, 1 normal, 2 high
	Subject        string
	DeliverAt      time.Time
	ExpiresAt      time.Time
	DeliveryReport bool
	ReadReport     bool
	Size           int64  // octets of the M-Retrieve.conf to expect
	Head           []byte // header fields that travel on, as they stood on the wire
	Recipients     []Recipient

	Upload      *Upload
	BodyAt      int64  // where the body begins in Upload
	ContentType []byte // Content-Type value, as it stood on the wire

	Parent ID // forwarded from
	// Forwarder is the recipient who forwarded it: unless final it becomes Forwarded in the same transaction.
	Forwarder    ID
	ForwardQuiet bool // the forwarder does not allow a delivery report

	// Dedupe asks for exactly one message per subscriber, transaction id and PDU: a second one
	// gets the first one's id. It needs a subscriber.
	Dedupe     bool
	Subscriber string
	// ByTransaction lets subscriber and transaction id alone tell: a service that answers a turn again may say something else.
	ByTransaction bool

	Marks Marks
}

// Submitted is the answer to Submit.
type Submitted struct {
	Message    Ref
	Duplicate  bool  // Message is the earlier one
	Recipients []Ref // in the order of Message.Recipients; nil for a duplicate
}

// Submit stores a message; when it returns nil the message is durable. m.Upload may be closed afterwards.
func (s *Store) Submit(ctx context.Context, m *Message) (Submitted, error) {
	var out Submitted
	key, err := m.dedupeKey()
	if err != nil {
		return Submitted{}, s.failed(err)
	}
	cost := int64(4 << 10)
	if m.Upload != nil {
		cost += m.Upload.Size()
	}
	now := time.Now()
	c, err := s.place(m.Upload, m.BodyAt, m.ContentType)
	if err != nil {
		return Submitted{}, err
	}
	err = s.do(ctx, cost, c.extents(), func(tx *Tx) error {
		out = Submitted{Message: Ref{ID: s.ids.next(now), Secret: newSecret()}}
		if key != nil {
			n, err := tx.exec(`INSERT INTO submissions (digest, message_id, at) VALUES ($1, $2, $3) ON CONFLICT (digest) DO NOTHING`,
				key, out.Message.ID, millis(now))
			if err != nil {
				return fmt.Errorf("note submission: %w", err)
			}
			if n == 0 {
				return tx.earlier(key, &out)
			}
		}
		return tx.forwardAndInsert(m, c, now, &out)
	})
	c.end(err == nil && !out.Duplicate, err)
	if err != nil {
		return Submitted{}, err
	}
	return out, nil
}

// forwardAndInsert finishes the recipient who forwards, if there is one, and stores the message. What may be refused is
// looked at before anything is written.
func (tx *Tx) forwardAndInsert(m *Message, c *content, now time.Time, out *Submitted) error {
	if m.Forwarder == 0 {
		return tx.insertMessage(m, c, now, out)
	}
	e, err := tx.load(m.Forwarder)
	if err != nil {
		return err
	}
	if e.content == 0 {
		return ErrNotFound
	}
	err = tx.finish(e, Outcome{State: Forwarded, Detail: "as message " + out.Message.String(), SuppressReport: m.ForwardQuiet}, now)
	if err != nil && !errors.Is(err, ErrFinal) { // a final one had been fetched before
		return err
	}
	return tx.insertMessage(m, c, now, out)
}

// earlier finds the message that has taken key.
func (tx *Tx) earlier(key []byte, out *Submitted) error {
	*out = Submitted{Duplicate: true}
	var secret []byte
	if err := tx.row(`SELECT m.id, m.secret FROM submissions s JOIN messages m ON m.id = s.message_id WHERE s.digest = $1`,
		[]any{key}, &out.Message.ID, &secret); err != nil {
		return err
	}
	copy(out.Message.Secret[:], secret)
	return nil
}

// dedupeKey gives what makes a submission one that comes again; nil: nothing does.
func (m *Message) dedupeKey() ([]byte, error) {
	if !m.Dedupe || m.Subscriber == "" || m.TransactionID == "" || m.Upload == nil {
		return nil, nil
	}
	h := sha256.New()
	if m.ByTransaction {
		fmt.Fprintf(h, "transaction\x00%d\x00%s\x00%s", m.Origin, m.Subscriber, m.TransactionID)
		return h.Sum(nil)[:16], nil
	}
	fmt.Fprintf(h, "%d\x00%s\x00%d\x00%s\x00%d\x00", m.Origin, m.Subscriber, len(m.TransactionID), m.TransactionID, m.Upload.Size())
	d, err := m.Upload.Digest()
	h.Write(d[:])
	return h.Sum(nil)[:16], err
}

func (tx *Tx) insertMessage(m *Message, c *content, now time.Time, out *Submitted) error {
	content, err := tx.contentOf(m, c, now)
	if err != nil {
		return err
	}
	marks, err := m.Marks.text()
	if err != nil {
		return fmt.Errorf("write marks: %w", err)
	}
	id := out.Message.ID
	err = tx.queue(`INSERT INTO messages (id, secret, content_id, origin, created_at, sender, hidden, transaction_id, version, class, priority,
		subject, deliver_at, expires_at, delivery_report, read_report, size, head, parent_id, open_recipients, purge_at, marks)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, NULL, $21)`,
		id, out.Message.Secret[:], content, m.Origin, millis(now), m.Sender, bit(m.Hidden), m.TransactionID, m.Version, m.Class, m.Priority,
		m.Subject, millis(m.DeliverAt), millis(m.ExpiresAt), bit(m.DeliveryReport), bit(m.ReadReport), m.Size, nonNil(m.Head), m.Parent, len(m.Recipients), marks)
	if err != nil {
		return fmt.Errorf("insert message: %w", err)
	}
	for _, r := range m.Recipients {
		ref := Ref{ID: tx.s.ids.next(now), Secret: newSecret()}
		err := tx.queue(`INSERT INTO recipients (id, message_id, kind, address, state, token, expires_at, due_at, lease, attempts, report_allowed,
			read_status, fetched_at, final_at, last_error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '', 0, 1, 0, 0, NULL, '')`,
			ref.ID, id, r.Kind, r.Address, Queued, ref.Secret[:], millis(m.ExpiresAt), due(r.Due))
		if err != nil {
			return fmt.Errorf("insert recipient: %w", err)
		}
		out.Recipients = append(out.Recipients, ref)
		if !r.Due.IsZero() {
			tx.soon(tx.s.Wake.Delivery, r.Due, now)
		}
	}
	return nil
}

// contentOf stores the body, or finds the one that the parent has.
func (tx *Tx) contentOf(m *Message, c *content, now time.Time) (ID, error) {
	if m.Upload == nil {
		var id ID
		if err := tx.row(`SELECT content_id FROM messages WHERE id = $1`, []any{m.Parent}, &id); err != nil {
			return 0, err
		}
		if id == 0 {
			return 0, ErrNotFound
		}
		return id, nil
	}
	return tx.insertContent(c, now)
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// due is a time for a column that may be NULL.
func due(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return millis(t)
}

// nonNil keeps an empty value from becoming NULL.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
