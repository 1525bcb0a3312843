package dispatcher

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/database"
	"time"
)

// session is a user with a service.
type session struct {
	ID      string
	Service string
	User    string
	Code    string // that the user last wrote to
	Turn    int    // turns taken in
	State   []byte // the provider's, as it gave it with its last answer
	Expires time.Time
}

// maxOpen bounds how many sessions of one user at one code are looked at.
const maxOpen = 20

// Why a session ended.
const (
	endedStop     = "stop"
	endedProvider = "provider"
	endedTimeout  = "timeout"
	endedTurns    = "turns"
)

// over is the condition for a session whose time is over at a parameter. One that waits for an answer is not: the user's
// time begins when it is sent.
func over(now string) string {
	return `expires_at <= ` + now + ` AND NOT EXISTS (SELECT 1 FROM svc_jobs w WHERE w.session_id = svc_sessions.id AND w.ended_at IS NULL AND w.kind = 'turn')`
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// openSessions gives the sessions that a user has at a code, the latest first.
func openSessions(ctx context.Context, q querier, user, code string, now time.Time) ([]*session, error) {
	var out []*session
	rows, err := q.QueryContext(ctx, `SELECT id, service, turn, state, expires_at FROM svc_sessions
		WHERE user_addr = $1 AND code = $2 AND ended_at IS NULL AND NOT (`+over("$3")+`) ORDER BY active_at DESC LIMIT $4`, user, code, millis(now), maxOpen)
	err = database.Each(rows, err, func(scan func(...any) error) error {
		s, expires := &session{User: user, Code: code}, int64(0)
		if err := scan(&s.ID, &s.Service, &s.Turn, &s.State, &expires); err != nil {
			return err
		}
		s.Expires = time.UnixMilli(expires)
		out = append(out, s)
		return nil
	})
	return out, err
}

// turn takes one more turn of a user with a service: it goes on with the session that is open, or begins one. Two nodes
// that do it at once get different turns.
func turn(ctx context.Context, tx *sql.Tx, t *table, e *entry, user, code string, now time.Time) (*session, error) {
	s, expires := &session{Service: e.Name, User: user, Code: code}, int64(0)
	until := now.Add(e.Session.Idle)
	// One that is over but was not swept yet is closed first: the next one is a new one.
	if err := expire(ctx, tx, t, `user_addr = $2 AND service = $3`, now, user, e.Name); err != nil {
		return nil, err
	}
	err := tx.QueryRowContext(ctx, `INSERT INTO svc_sessions (id, service, user_addr, code, turn, state, started_at, active_at, expires_at, ended_at, ended_why)
		VALUES ($1, $2, $3, $4, 1, NULL, $5, $5, $6, NULL, '')
		ON CONFLICT (user_addr, service) WHERE ended_at IS NULL
		DO UPDATE SET turn = svc_sessions.turn + 1, code = excluded.code, active_at = excluded.active_at, expires_at = excluded.expires_at
		RETURNING id, turn, state, expires_at`, "s-"+rand.Text(), e.Name, user, code, millis(now), millis(until)).Scan(&s.ID, &s.Turn, &s.State, &expires)
	s.Expires = time.UnixMilli(expires)
	return s, err
}

// expire ends sessions whose time is over and that fit where, whose arguments begin with $2, and puts their endings into
// the queue.
func expire(ctx context.Context, tx *sql.Tx, t *table, where string, now time.Time, args ...any) error {
	var ended []*session
	rows, err := tx.QueryContext(ctx, `UPDATE svc_sessions SET ended_at = $1, ended_why = '`+endedTimeout+`'
		WHERE ended_at IS NULL AND `+over("$1")+` AND `+where+` RETURNING id, service, user_addr, code, turn, state`, append([]any{millis(now)}, args...)...)
	err = database.Each(rows, err, func(scan func(...any) error) error {
		s := &session{}
		ended = append(ended, s)
		return scan(&s.ID, &s.Service, &s.User, &s.Code, &s.Turn, &s.State)
	})
	if err != nil {
		return err
	}
	for _, s := range ended {
		if err := tellEnd(ctx, tx, t, s, endedTimeout, now); err != nil {
			return err
		}
	}
	return nil
}

// end closes a session, unless it is closed, and puts its ending into the queue.
func end(ctx context.Context, tx *sql.Tx, t *table, id, why string, now time.Time) error {
	s := &session{ID: id}
	err := tx.QueryRowContext(ctx, `UPDATE svc_sessions SET ended_at = $1, ended_why = $2 WHERE id = $3 AND ended_at IS NULL
		RETURNING service, user_addr, code, turn, state`, millis(now), why, id).Scan(&s.Service, &s.User, &s.Code, &s.Turn, &s.State)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // somebody else has ended it
	}
	if err != nil {
		return err
	}
	return tellEnd(ctx, tx, t, s, why, now)
}

// tellEnd puts the ending of a session into the queue, for its provider and, if the service has a text for it, for the user.
func tellEnd(ctx context.Context, tx *sql.Tx, t *table, s *session, why string, now time.Time) error {
	j := &job{ID: "e-" + s.ID, Kind: kindEnded, Service: s.Service, User: s.User, Session: s.ID, Turn: s.Turn,
		Event: Event{Code: s.Code, Why: why, State: s.State, Received: now}, Due: now, GiveUp: now.Add(endingLife)}
	if err := enqueue(ctx, tx, j); err != nil {
		return err
	}
	e := t.names[s.Service]
	if e == nil {
		return nil
	}
	// The answer to a stop word is its turn's own.
	text := map[string]string{endedTimeout: e.Session.ExpiryText, endedTurns: e.Session.TurnsText, endedProvider: e.Session.EndText}[why]
	if text == "" {
		return nil
	}
	return enqueue(ctx, tx, &job{ID: "n-" + s.ID, Kind: kindNotice, Service: s.Service, User: s.User,
		Event: Event{Code: s.Code, Text: text, Received: now}, Due: now, GiveUp: now.Add(noticeLife)})
}

// endingLife bounds how long a provider is told the end of a session.
const endingLife = 24 * time.Hour

// noticeLife bounds how long a text for a user is tried.
const noticeLife = 24 * time.Hour

// setState keeps what the provider said of a session, whose time begins anew. An answer that is older than another one's
// does not undo it, since turns of one session are served in order.
func setState(ctx context.Context, tx *sql.Tx, id string, state []byte, until time.Time) error {
	_, err := tx.ExecContext(ctx, `UPDATE svc_sessions SET state = $1, expires_at = $2 WHERE id = $3 AND ended_at IS NULL`, state, millis(until), id)
	return err
}
