package peer

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/database"
)

// fileName is SQLite's file in the data folder. It is not that of the messages: a SQLite file has one writer at a time, and
// submissions must not wait behind what is fetched from peers.
const fileName = "peer.db"

// chunkSize is how many octets of a message a row holds at most.
const chunkSize = 64 << 10

//go:embed migrations/*.sql
var migrations embed.FS

// Database is the Store in SQLite or PostgreSQL.
type Database struct{ db *database.DB }

// Open opens or creates the database and brings the schema up to date. address is the postgres:// address of the MMSC's
// database, whose tables stand beside ours; empty: SQLite in dir.
func Open(ctx context.Context, dir, address string) (*Database, error) {
	db, err := database.Open(database.Options{Address: address, Dir: dir, File: fileName, Connections: 8})
	if err != nil {
		return nil, fmt.Errorf("open messages of peers: %w", err)
	}
	if err := db.Migrate(ctx, database.Schema{Files: migrations, Table: "peer_versions"}); err != nil {
		return nil, errors.Join(fmt.Errorf("messages of peers: %w", err), db.Close())
	}
	return &Database{db}, nil
}

// Close implements Store.
func (d *Database) Close() error { return d.db.Close() }

// text makes what peers and handsets chose fit for an engine that takes none but valid text. It is the same for the same octets, so that what
// is kept is found.
func text(s string) string { return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "") }

const columns = `id, operator, location, subscriber, transaction_id, message_id, size, expires_at`

func scan(row interface{ Scan(...any) error }) (*Message, error) {
	m, key, expires := &Message{}, []byte(nil), int64(0)
	err := row.Scan(&key, &m.Operator, &m.Location, &m.Subscriber, &m.TransactionID, &m.MessageID, &m.Size, &expires)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	copy(m.Key[:], key)
	m.ExpiresAt = time.UnixMilli(expires)
	return m, err
}

// Find implements Store.
func (d *Database) Find(ctx context.Context, key Key) (*Message, error) {
	return scan(d.db.QueryRowContext(ctx, `SELECT `+columns+` FROM peer_messages WHERE id = $1 AND expires_at > $2`, key[:], time.Now().UnixMilli()))
}

// Keep implements Store.
func (d *Database) Keep(ctx context.Context, m *Message, pdu []byte) error {
	now := time.Now().UnixMilli()
	return d.db.Within(ctx, func(tx *sql.Tx) error {
		// One that has expired and was not purged yet makes room.
		for _, query := range []string{`DELETE FROM peer_chunks WHERE message_id IN (SELECT id FROM peer_messages WHERE id = $1 AND expires_at <= $2)`,
			`DELETE FROM peer_messages WHERE id = $1 AND expires_at <= $2`} {
			if _, err := tx.ExecContext(ctx, query, m.Key[:], now); err != nil {
				return err
			}
		}
		res, err := tx.ExecContext(ctx, `INSERT INTO peer_messages (`+columns+`, fetched_at, served_at, told_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0) ON CONFLICT (id) DO NOTHING`,
			m.Key[:], m.Operator, m.Location, m.Subscriber, text(m.TransactionID), text(m.MessageID), len(pdu), m.ExpiresAt.UnixMilli(), now)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		for seq := 0; len(pdu) > 0; seq++ {
			n := min(chunkSize, len(pdu))
			if _, err := tx.ExecContext(ctx, `INSERT INTO peer_chunks (message_id, seq, data) VALUES ($1, $2, $3)`, m.Key[:], seq, pdu[:n]); err != nil {
				return err
			}
			pdu = pdu[n:]
		}
		return nil
	})
}

// Write implements Store. A row at a time: a slow handset holds neither a connection nor the whole message.
func (d *Database) Write(ctx context.Context, m *Message, w io.Writer) error {
	left := m.Size
	for seq := 0; left > 0; seq++ {
		var data []byte
		if err := d.db.QueryRowContext(ctx, `SELECT data FROM peer_chunks WHERE message_id = $1 AND seq = $2`, m.Key[:], seq).Scan(&data); err != nil {
			return fmt.Errorf("read piece %d: %w", seq, err)
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
		left -= int64(len(data))
	}
	return nil
}

// Served implements Store.
func (d *Database) Served(ctx context.Context, key Key) error {
	_, err := d.db.ExecContext(ctx, `UPDATE peer_messages SET served_at = $1 WHERE id = $2`, time.Now().UnixMilli(), key[:])
	return err
}

// Match implements Store.
func (d *Database) Match(ctx context.Context, q Query) (*Message, error) {
	const mine = ` AND expires_at > $2 AND (subscriber = $3 OR subscriber = '' OR $3 = '') ORDER BY (subscriber = $3) DESC, fetched_at DESC LIMIT 2`
	const open = ` AND expires_at > $2 AND served_at >= $3 AND told_at = 0 LIMIT 2`
	where, args := `subscriber = $1`+open, []any{q.Subscriber, time.Now().UnixMilli(), q.ServedSince.UnixMilli()}
	alone := true // one of several is none
	switch {
	case q.TransactionID != "":
		where, args, alone = `transaction_id = $1`+mine, []any{text(q.TransactionID), args[1], q.Subscriber}, q.Subscriber == ""
	case q.MessageID != "":
		where, args, alone = `message_id = $1`+mine, []any{text(q.MessageID), args[1], q.Subscriber}, q.Subscriber == ""
	case q.Subscriber == "":
		return nil, ErrNotFound
	}
	rows, err := d.db.QueryContext(ctx, `SELECT `+columns+` FROM peer_messages WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	var found []*Message
	for rows.Next() {
		m, err := scan(rows)
		if err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		found = append(found, m)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	if len(found) == 0 || len(found) > 1 && alone {
		return nil, ErrNotFound
	}
	return found[0], nil
}

// Queue implements Store.
func (d *Database) Queue(ctx context.Context, m *Message, i *Indication, limit int) error {
	now := time.Now().UnixMilli()
	return d.db.Within(ctx, func(tx *sql.Tx) error {
		var waiting int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM peer_indications WHERE due_at IS NOT NULL`).Scan(&waiting); err != nil {
			return err
		}
		if waiting >= limit {
			return ErrFull
		}
		if m != nil {
			if _, err := tx.ExecContext(ctx, `UPDATE peer_messages SET told_at = $1 WHERE id = $2`, now, m.Key[:]); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO peer_indications (id, location, pdu, due_at, attempts, expires_at) VALUES ($1, $2, $3, $4, 0, $5)
			ON CONFLICT (id) DO NOTHING`, i.key(), i.Location, i.PDU, now, i.ExpiresAt.UnixMilli())
		return err
	})
}

// Due implements Store.
func (d *Database) Due(ctx context.Context, until time.Time, n int) (due []*Indication, next time.Time, err error) {
	err = d.db.Within(ctx, func(tx *sql.Tx) error {
		due = due[:0]
		rows, err := tx.QueryContext(ctx, `UPDATE peer_indications SET due_at = $1 WHERE id IN (SELECT id FROM peer_indications
			WHERE due_at IS NOT NULL AND due_at <= $2 ORDER BY due_at LIMIT $3`+d.db.SkipLocked()+`) RETURNING location, pdu, attempts, expires_at`,
			until.UnixMilli(), time.Now().UnixMilli(), n)
		if err != nil {
			return err
		}
		for rows.Next() {
			i, expires := &Indication{}, int64(0)
			if err := rows.Scan(&i.Location, &i.PDU, &i.Attempts, &expires); err != nil {
				return errors.Join(err, rows.Close())
			}
			i.ExpiresAt = time.UnixMilli(expires)
			due = append(due, i)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		var first sql.NullInt64
		if err := tx.QueryRowContext(ctx, `SELECT MIN(due_at) FROM peer_indications WHERE due_at IS NOT NULL`).Scan(&first); err != nil {
			return err
		}
		if next = (time.Time{}); first.Valid {
			next = time.UnixMilli(first.Int64)
		}
		return nil
	})
	return due, next, err
}

// Settle implements Store. What is done stays until it expires, so that a handset that says it again is heard once.
func (d *Database) Settle(ctx context.Context, i *Indication, again time.Time) error {
	var at any
	if !again.IsZero() {
		at = again.UnixMilli()
	}
	_, err := d.db.ExecContext(ctx, `UPDATE peer_indications SET due_at = $1, attempts = attempts + 1 WHERE id = $2`, at, i.key())
	return err
}

// Purge implements Store.
func (d *Database) Purge(ctx context.Context) error {
	now := time.Now().UnixMilli()
	return d.db.Within(ctx, func(tx *sql.Tx) error {
		for _, query := range []string{`DELETE FROM peer_chunks WHERE message_id IN (SELECT id FROM peer_messages WHERE expires_at <= $1)`,
			`DELETE FROM peer_messages WHERE expires_at <= $1`,
			// One that is still due is settled first, so that its loss is told.
			`DELETE FROM peer_indications WHERE expires_at <= $1 AND due_at IS NULL`} {
			if _, err := tx.ExecContext(ctx, query, now); err != nil {
				return err
			}
		}
		return nil
	})
}
