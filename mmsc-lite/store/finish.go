package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// envelope is what a change of a recipient's state needs to know of it and of its message.
type envelope struct {
	recipient, message         ID
	kind                       Kind
	state                      State
	address, sender, class     string
	created, fetched, expires  int64
	size, content              int64
	deliveryReport, allowed    int
	origin                     Origin
	attempts, open, readReport int
	token                      []byte
	transaction                string
}

const envelopeQuery = `SELECT r.id, r.message_id, r.kind, r.state, r.address, m.sender, m.class, m.created_at, r.fetched_at, r.expires_at, m.size, m.content_id,
	m.delivery_report, r.report_allowed, m.origin, r.attempts, m.open_recipients, m.read_report, r.token, m.transaction_id
	FROM recipients r JOIN messages m ON m.id = r.message_id WHERE `

func (e *envelope) into() []any {
	return []any{&e.recipient, &e.message, &e.kind, &e.state, &e.address, &e.sender, &e.class, &e.created, &e.fetched, &e.expires, &e.size, &e.content,
		&e.deliveryReport, &e.allowed, &e.origin, &e.attempts, &e.open, &e.readReport, &e.token, &e.transaction}
}

// load reads a recipient; on PostgreSQL its row is locked until the transaction ends, so that of two nodes that want
// to finish it one waits and then sees what the other did.
func (tx *Tx) load(id ID) (*envelope, error) {
	e := &envelope{}
	query := envelopeQuery + `r.id = $1`
	if tx.s.engine == postgres {
		query += ` FOR UPDATE OF r`
	}
	return e, tx.row(query, []any{int64(id)}, e.into()...)
}

// CDR is a call detail record: one per recipient, written with its final state.
type CDR struct {
	Node          string    `json:"node"`
	MessageID     string    `json:"message_id"` // without the host
	RecipientID   int64     `json:"recipient_id"`
	Origin        string    `json:"origin"`
	Sender        string    `json:"sender"`
	Recipient     string    `json:"recipient"`
	Kind          string    `json:"kind"`
	Class         string    `json:"class"`
	Size          int64     `json:"size"`
	Transaction   string    `json:"transaction_id"`
	Submitted     time.Time `json:"submitted"`
	Fetched       time.Time `json:"fetched,omitzero"`
	Final         time.Time `json:"final"`
	State         string    `json:"state"`
	Detail        string    `json:"detail,omitempty"`
	Notifications int       `json:"notifications"`
	Service       string    `json:"service,omitempty"` // that has sent the message
	Price         string    `json:"price,omitempty"`   // as the service's provider said
}

// Outcome is how a recipient is finished.
type Outcome struct {
	State          State
	Detail         string // for the timeline
	SuppressReport bool   // the recipient does not allow a delivery report
}

// Finish brings a recipient to its final state, with its one delivery report and its one CDR in the same transaction.
// ErrFinal: it has one already, and nothing was changed. ErrNotFound: no such recipient.
func (s *Store) Finish(ctx context.Context, id ID, o Outcome) error {
	return s.do(ctx, 0, nil, func(tx *Tx) error { return tx.finishID(id, o) })
}

func (tx *Tx) finishID(id ID, o Outcome) error {
	e, err := tx.load(id)
	if err != nil {
		return err
	}
	return tx.finish(e, o, time.Now())
}

func (tx *Tx) finish(e *envelope, o Outcome, now time.Time) error {
	if e.state.Final() {
		return ErrFinal
	}
	at := millis(now)
	allowed := e.allowed == 1 && !o.SuppressReport
	n, err := tx.exec(`UPDATE recipients SET state = $1, final_at = $2, due_at = NULL, lease = '', report_allowed = $3 WHERE id = $4 AND final_at IS NULL`,
		o.State, at, bit(allowed), e.recipient)
	if err != nil {
		return fmt.Errorf("finish recipient: %w", err)
	}
	if n == 0 {
		return ErrFinal
	}
	if err := tx.event(e.message, e.recipient, now, o.State.String(), o.Detail); err != nil {
		return err
	}
	if err := tx.cdr(e, o, now); err != nil {
		return err
	}
	if e.deliveryReport == 1 && allowed && e.sender != "" {
		if err := tx.report(e, DeliveryReport, int(reportStatus[o.State]), o.Detail, now); err != nil {
			return err
		}
	}
	// The last recipient to finish lets the message be purged.
	err = tx.queue(`UPDATE messages SET open_recipients = open_recipients - 1,
		purge_at = CASE WHEN open_recipients = 1 THEN CAST($1 AS BIGINT) ELSE purge_at END WHERE id = $2`,
		at+tx.s.opt.Tuning.KeepContent.Milliseconds(), e.message)
	if err != nil {
		return fmt.Errorf("close message: %w", err)
	}
	return nil
}

func (tx *Tx) cdr(e *envelope, o Outcome, now time.Time) error {
	var secret []byte
	var text string
	var marks Marks
	if err := tx.row(`SELECT secret, marks FROM messages WHERE id = $1`, []any{e.message}, &secret, &text); err != nil {
		return err
	}
	if err := marks.read(text); err != nil {
		return err
	}
	ref := Ref{ID: e.message}
	copy(ref.Secret[:], secret)
	record, err := json.Marshal(CDR{Node: tx.s.opt.Node, MessageID: ref.String(), RecipientID: int64(e.recipient), Origin: e.origin.String(),
		Sender: e.sender, Recipient: e.address, Kind: e.kind.String(), Class: e.class, Size: e.size, Transaction: e.transaction,
		Submitted: fromMillis(e.created), Fetched: fromMillis(e.fetched), Final: now.UTC().Truncate(time.Millisecond), State: o.State.String(),
		Detail: o.Detail, Notifications: e.attempts, Service: marks.Service, Price: marks.Price})
	if err != nil {
		return fmt.Errorf("write CDR: %w", err)
	}
	err = tx.queue(`INSERT INTO cdrs (recipient_id, message_id, record, exporter, open) VALUES ($1, $2, $3, '', 1)`, e.recipient, e.message, string(record))
	if err != nil {
		return fmt.Errorf("insert CDR: %w", err)
	}
	tx.after = append(tx.after, tx.s.Wake.CDR.set)
	return nil
}

// event adds to the timeline of a message.
func (tx *Tx) event(message, recipient ID, now time.Time, kind, detail string) error {
	err := tx.queue(`INSERT INTO events (message_id, recipient_id, at, kind, detail) VALUES ($1, $2, $3, $4, $5)`,
		message, recipient, millis(now), kind, clip(detail))
	if err != nil {
		return fmt.Errorf("insert event: %w", err)
	}
	return nil
}

// clip bounds what a peer can make us write into a timeline, and makes it text.
func clip(s string) string {
	const most = 300
	if len(s) > most {
		s = s[:most]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}
