package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mms/smpp"
)

// State is how far a delivery is; the numbers stand in the database.
type State int

// The states. From Waiting on a carrier has taken the push; from Delivered on nothing follows.
const (
	Pending       State = 1
	Waiting       State = 2 // for the SMSC's receipt
	Delivered     State = 3
	Undeliverable State = 4
	Expired       State = 5
	Cancelled     State = 6
	TimedOut      State = 7 // no receipt came
)

// PAP gives the message-state.
func (s State) PAP() pap.State {
	switch s {
	case Pending, Waiting:
		return pap.Pending
	case Delivered:
		return pap.Delivered
	case Undeliverable:
		return pap.Undeliverable
	case Expired:
		return pap.Expired
	case Cancelled:
		return pap.Cancelled
	case TimedOut:
		return pap.TimedOut
	}
	return pap.UnknownState
}

// Final says whether nothing follows.
func (s State) Final() bool { return s >= Delivered }

// Push is a push that is accepted.
type Push struct {
	Row           int64 // set by the journal
	Initiator     string
	PushID        string
	Version       pap.Version
	AcceptedAt    time.Time
	DeliverAfter  time.Time // zero: at once
	DeliverBefore time.Time
	NotifyTo      string // "" nobody asks for results
	Remote        string // address of the initiator
	Quality       string // JSON
	Priority      byte
	Confirm       bool
	Content       []byte // WSP push
	Addresses     []Address
}

// Address is one recipient.
type Address struct {
	Text  string // as the initiator wrote it
	Kind  pap.Kind
	Value string
}

// Delivery is a push on its way to one address.
type Delivery struct {
	Row      int64
	Push     Push // without Addresses
	Address  Address
	State    State
	Code     pap.Code
	Detail   string
	EventAt  time.Time
	Attempts int // to send, or to tell the result
}

// Accept makes a push durable. ErrDuplicate: its initiator has used the id before.
func (j *Journal) Accept(ctx context.Context, p *Push) error {
	err := j.do(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRow(`INSERT INTO ppg_pushes (initiator, push_id, version, accepted_at, deliver_before, notify_to, remote, quality, priority, confirm, content)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (initiator, push_id) DO NOTHING RETURNING id`,
			p.Initiator, p.PushID, string(p.Version), millis(p.AcceptedAt), millis(p.DeliverBefore), p.NotifyTo, p.Remote, p.Quality, p.Priority, number(p.Confirm), p.Content).Scan(&p.Row)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrDuplicate
		}
		if err != nil {
			return fmt.Errorf("insert a push: %w", err)
		}
		insert, err := tx.Prepare(`INSERT INTO ppg_deliveries (push, address, kind, value, state, code, detail, event_at, due_at, lease, attempts, notify_due, notify_lease, notify_attempts)
			VALUES ($1, $2, $3, $4, $5, $6, '', $7, $8, '', 0, NULL, '', 0)`)
		if err != nil {
			return fmt.Errorf("insert a delivery: %w", err)
		}
		defer insert.Close() // the transaction ends with it
		due := millis(p.AcceptedAt)
		if p.DeliverAfter.After(p.AcceptedAt) {
			due = millis(p.DeliverAfter)
		}
		for _, a := range p.Addresses {
			if _, err := insert.Exec(p.Row, a.Text, string(a.Kind), a.Value, Pending, int(pap.Accepted), millis(p.AcceptedAt), due); err != nil {
				return fmt.Errorf("insert a delivery: %w", err)
			}
		}
		return nil
	})
	if err == nil {
		j.wake()
	}
	return err
}

func number(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// columns are read by scan.
const columns = `d.id, d.address, d.kind, d.value, d.state, d.code, d.detail, d.event_at, d.attempts,
	p.id, p.initiator, p.push_id, p.version, p.accepted_at, p.deliver_before, p.notify_to, p.remote, p.quality, p.priority, p.confirm`

func scan(rows *sql.Rows, more ...any) (Delivery, error) {
	var d Delivery
	var kind, version string
	var code, confirm int
	var event, accepted, before int64
	into := append([]any{&d.Row, &d.Address.Text, &kind, &d.Address.Value, &d.State, &code, &d.Detail, &event, &d.Attempts,
		&d.Push.Row, &d.Push.Initiator, &d.Push.PushID, &version, &accepted, &before, &d.Push.NotifyTo, &d.Push.Remote, &d.Push.Quality, &d.Push.Priority, &confirm}, more...)
	err := rows.Scan(into...)
	d.Address.Kind, d.Push.Version, d.Code, d.Push.Confirm = pap.Kind(kind), pap.Version(version), pap.Code(code), confirm == 1
	d.EventAt, d.Push.AcceptedAt, d.Push.DeliverBefore = fromMillis(event), fromMillis(accepted), fromMillis(before)
	return d, err
}

// each reads all rows of a query.
func each(rows *sql.Rows, err error, take func() error) error {
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := take(); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// Claim leases up to n deliveries that are due, the most urgent first.
func (j *Journal) Claim(ctx context.Context, n int, lease time.Duration) ([]Delivery, error) {
	var out []Delivery
	err := j.do(ctx, func(tx *sql.Tx) error {
		out = out[:0]
		now := time.Now()
		pick := `SELECT id FROM ppg_deliveries WHERE due_at IS NOT NULL AND due_at <= $1 ORDER BY due_at, id LIMIT $2` + j.write.SkipLocked()
		ids, err := tx.Query(pick, millis(now), n)
		var picked []int64
		if err := each(ids, err, func() error {
			var id int64
			err := ids.Scan(&id)
			picked = append(picked, id)
			return err
		}); err != nil {
			return fmt.Errorf("look for due deliveries: %w", err)
		}
		for _, id := range picked {
			if _, err := tx.Exec(`UPDATE ppg_deliveries SET due_at = $1, lease = $2 WHERE id = $3`, millis(now.Add(lease)), j.instance, id); err != nil {
				return fmt.Errorf("lease a delivery: %w", err)
			}
			rows, err := tx.Query(`SELECT `+columns+`, p.content FROM ppg_deliveries d JOIN ppg_pushes p ON p.id = d.push WHERE d.id = $1`, id)
			if err := each(rows, err, func() error {
				var content []byte
				d, err := scan(rows, &content)
				d.Push.Content = content
				out = append(out, d)
				return err
			}); err != nil {
				return fmt.Errorf("read a delivery: %w", err)
			}
		}
		return nil
	})
	return out, err
}

// clip makes words, some of which an SMSC chose, fit for a database: a text that PostgreSQL refuses would take the whole outcome with it.
func clip(text string) string {
	const most = 200
	text = text[:min(len(text), most)]
	return strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "?")
}

// settle ends or goes on with a delivery that this process has leased. A delivery that somebody else has by now is left alone.
func (j *Journal) settle(tx *sql.Tx, d *Delivery, state State, code pap.Code, detail string, due sql.NullInt64) (bool, error) {
	now := time.Now()
	var notify sql.NullInt64
	if state.Final() && d.Push.NotifyTo != "" {
		notify = sql.NullInt64{Int64: millis(now), Valid: true}
	}
	res, err := tx.Exec(`UPDATE ppg_deliveries SET state = $1, code = $2, detail = $3, event_at = $4, due_at = $5, lease = '', attempts = attempts + 1, notify_due = $6
		WHERE id = $7 AND lease = $8`, state, int(code), clip(detail), millis(now), due, notify, d.Row, j.instance)
	if err != nil {
		return false, fmt.Errorf("settle a delivery: %w", err)
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// Finish brings a delivery to a final state.
func (j *Journal) Finish(ctx context.Context, d *Delivery, state State, code pap.Code, detail string) error {
	err := j.do(ctx, func(tx *sql.Tx) error {
		_, err := j.settle(tx, d, state, code, detail, sql.NullInt64{})
		return err
	})
	if err == nil && d.Push.NotifyTo != "" {
		j.wake()
	}
	return err
}

// Retry notes an attempt that failed and when the next one is due.
func (j *Journal) Retry(ctx context.Context, d *Delivery, next time.Time, code pap.Code, detail string) error {
	return j.do(ctx, func(tx *sql.Tx) error {
		_, err := j.settle(tx, d, Pending, code, detail, sql.NullInt64{Int64: millis(next), Valid: true})
		return err
	})
}

// Await notes that an SMSC has the push under these ids, and that its receipt decides until a moment.
func (j *Journal) Await(ctx context.Context, d *Delivery, smsc string, ids []string, until time.Time) error {
	return j.do(ctx, func(tx *sql.Tx) error {
		ours, err := j.settle(tx, d, Waiting, pap.Accepted, "taken by the SMSC", sql.NullInt64{Int64: millis(until), Valid: true})
		if err != nil || !ours {
			return err
		}
		return insertSegments(tx, d.Row, smsc, ids)
	})
}

// Receipt notes what an SMSC says of a message: all segments delivered makes the delivery Delivered, one that failed makes
// it Undeliverable. found is false if nobody waits for it.
func (j *Journal) Receipt(ctx context.Context, smsc, text string, state smpp.State, detail string) (found bool, err error) {
	id := smpp.ParseID(text)
	if id.Text == "" || !state.Final() {
		return false, nil
	}
	err = j.do(ctx, func(tx *sql.Tx) error {
		segment, delivery, err := find(tx, smsc, id)
		if found = err == nil; errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("find a receipt's message: %w", err)
		}
		final, code := Undeliverable, pap.ServiceFailure
		if state == smpp.Delivered {
			if _, err := tx.Exec(`UPDATE ppg_segments SET delivered = 1 WHERE id = $1`, segment); err != nil {
				return err
			}
			var open int
			if err := tx.QueryRow(`SELECT COUNT(*) FROM ppg_segments WHERE delivery = $1 AND delivered = 0`, delivery).Scan(&open); err != nil || open > 0 {
				return err
			}
			final, code = Delivered, pap.OK
		} else if state == smpp.Expired {
			final = Expired
		}
		now := millis(time.Now())
		if _, err := tx.Exec(`UPDATE ppg_deliveries SET state = $1, code = $2, detail = $3, event_at = $4, due_at = NULL, lease = '',
			notify_due = (SELECT CASE WHEN p.notify_to = '' THEN NULL ELSE CAST($5 AS BIGINT) END FROM ppg_pushes p WHERE p.id = ppg_deliveries.push) WHERE id = $6 AND state = $7`,
			final, int(code), clip(detail), now, now, delivery, Waiting); err != nil {
			return fmt.Errorf("settle by receipt: %w", err)
		}
		_, err = tx.Exec(`DELETE FROM ppg_segments WHERE delivery = $1`, delivery)
		return err
	})
	if found {
		j.wake()
	}
	return found, err
}

// find looks for the segment that a receipt means: first by equal text, then by equal value in the other base.
func find(tx *sql.Tx, smsc string, id smpp.ID) (segment, delivery int64, err error) {
	err = tx.QueryRow(`SELECT id, delivery FROM ppg_segments WHERE smsc = $1 AND text = $2 ORDER BY id DESC LIMIT 1`, smsc, id.Text).Scan(&segment, &delivery)
	for _, other := range []struct{ column, value string }{{"hex", id.Decimal}, {"decimal", id.Hex}} {
		if errors.Is(err, sql.ErrNoRows) && other.value != "" {
			err = tx.QueryRow(`SELECT id, delivery FROM ppg_segments WHERE smsc = $1 AND `+other.column+` = $2 ORDER BY id DESC LIMIT 1`, smsc, other.value).Scan(&segment, &delivery)
		}
	}
	return segment, delivery, err
}
