package dispatcher

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/database"
)

// Kinds of jobs.
const (
	kindTurn   = "turn"   // a user's message for a provider, whose answer is for the user
	kindEnded  = "ended"  // the end of a session, for its provider
	kindReport = "report" // what became of a message, for its provider
	kindNotice = "notice" // a text of ours for a user
)

// States of a job.
const (
	jobDue      = "due"
	jobWaiting  = "waiting"  // the provider has said that it will answer by the reply URL
	jobFallback = "fallback" // it failed; the user's fall-back text has to be sent
	jobDone     = "done"
	jobDead     = "dead" // it failed for good; it can be replayed
)

// Event is what happened.
type Event struct {
	Code       string
	Message    string // Message-ID
	Others     []string
	Subject    string
	Hops       int
	Profile    string
	UserAgent  string
	Received   time.Time
	Parts      []Part
	State      []byte // of the session, when the event is its end
	Why        string // of an ending
	Status     string // of a report
	Recipient  string // of a report
	ReportKind string // delivery or read
	Text       string // of a notice
}

// job is what has to be done, once.
type job struct {
	ID       string // the idempotency key
	Kind     string
	State    string
	Service  string
	User     string
	Session  string
	Turn     int
	Event    Event
	Answer   *Answer // the provider's, until the message is submitted
	Due      time.Time
	GiveUp   time.Time
	Attempts int
	LastErr  string
	Lease    int64 // due_at in the database while we have it

	// What it is done with, as it was when the job was claimed.
	entry  *entry // nil: the service is gone, or there is none
	caller Caller
	bad    error // why there is no caller
	stale  bool  // the breaker is open: the provider is not to be asked
	probe  bool  // it tries whether the breaker may be closed
}

// jobIDSize is the length of jobID's result, with which the transaction ids of a turn's messages begin.
const jobIDSize = len("t-") + 32

// jobID makes the key of a turn: the same message for the same code gives the same one.
func jobID(message, code string) string {
	sum := sha256.Sum256([]byte(message + "\x00" + code))
	return "t-" + hex.EncodeToString(sum[:16])
}

// known says whether a job is there, done or not.
func (d *tables) known(ctx context.Context, id string) (bool, error) {
	var n int
	if err := d.QueryRowContext(ctx, `SELECT COUNT(*) FROM svc_jobs WHERE id = $1`, id).Scan(&n); err != nil {
		return false, fmt.Errorf("look for a turn: %w", err)
	}
	return n > 0, nil
}

// enqueue stores a job; one that is there already stays.
func enqueue(ctx context.Context, tx *sql.Tx, j *job) error {
	body, err := json.Marshal(&j.Event)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO svc_jobs (id, kind, state, service, user_addr, session_id, turn, body, created_at, due_at, give_up_at, attempts, last_error)
		VALUES ($1, $2, 'due', $3, $4, $5, $6, $7, $8, $9, $10, 0, '') ON CONFLICT (id) DO NOTHING`,
		j.ID, j.Kind, j.Service, j.User, j.Session, j.Turn, body, millis(j.Event.Received), millis(j.Due), millis(j.GiveUp))
	return err
}

// claim leases jobs of a service that are due. Turns of a session, and its end, are done one after the other; one that
// waits for a late answer holds up nobody. With stale, only those whose time is over or that need no provider.
func (d *tables) claim(ctx context.Context, service string, n int, now, until time.Time, stale bool) ([]*job, error) {
	only := ""
	if stale {
		only = ` AND (j.give_up_at <= $2 OR j.state = 'fallback' OR j.answer IS NOT NULL)`
	}
	var out []*job
	err := d.Within(ctx, func(tx *sql.Tx) (err error) {
		out, err = d.claimIn(ctx, tx, service, n, now, until, only)
		return err
	})
	return out, err
}

func (d *tables) claimIn(ctx context.Context, tx *sql.Tx, service string, n int, now, until time.Time, only string) ([]*job, error) {
	var out []*job
	rows, err := tx.QueryContext(ctx, `UPDATE svc_jobs SET due_at = $1, attempts = attempts + 1 WHERE id IN (SELECT j.id FROM svc_jobs j
		WHERE j.service = $3 AND j.due_at <= $2 AND j.ended_at IS NULL`+only+` AND (j.session_id = '' OR j.kind = 'report' OR NOT EXISTS (
			SELECT 1 FROM svc_jobs e WHERE e.session_id = j.session_id AND e.ended_at IS NULL AND e.kind = 'turn' AND e.state <> 'waiting' AND e.id <> j.id
			AND (e.turn < j.turn OR j.kind <> 'turn')))
		ORDER BY j.due_at LIMIT $4`+d.SkipLocked()+`)
		RETURNING id, kind, state, user_addr, session_id, turn, body, answer, give_up_at, attempts, last_error`, millis(until), millis(now), service, n)
	err = database.Each(rows, err, func(scan func(...any) error) error {
		j, body, answer, giveUp := &job{Service: service, Lease: millis(until)}, []byte(nil), []byte(nil), int64(0)
		if err := scan(&j.ID, &j.Kind, &j.State, &j.User, &j.Session, &j.Turn, &body, &answer, &giveUp, &j.Attempts, &j.LastErr); err != nil {
			return err
		}
		j.GiveUp = time.UnixMilli(giveUp)
		if err := json.Unmarshal(body, &j.Event); err != nil {
			return fmt.Errorf("job %s: %w", j.ID, err)
		}
		if answer != nil {
			j.Answer = &Answer{}
			if err := json.Unmarshal(answer, j.Answer); err != nil {
				return fmt.Errorf("answer of job %s: %w", j.ID, err)
			}
		}
		out = append(out, j)
		return nil
	})
	return out, err
}

// work says which services have jobs that are due, and when the next one of any will be.
func (d *tables) work(ctx context.Context, now time.Time) (services []string, next time.Time, err error) {
	// The services are found one by one in the index, so that it does not matter how many jobs wait. A job that is due may have to wait for
	// an earlier one of its session, whose time has not come: so the next time counts for services with due jobs too.
	rows, err := d.QueryContext(ctx, `WITH RECURSIVE s (service) AS (SELECT MIN(service) FROM svc_jobs WHERE ended_at IS NULL
			UNION ALL SELECT (SELECT MIN(j.service) FROM svc_jobs j WHERE j.ended_at IS NULL AND j.service > s.service) FROM s WHERE s.service IS NOT NULL)
		SELECT service, (SELECT MIN(due_at) FROM svc_jobs j WHERE j.ended_at IS NULL AND j.service = s.service),
			(SELECT MIN(due_at) FROM svc_jobs j WHERE j.ended_at IS NULL AND j.service = s.service AND j.due_at > $1) FROM s WHERE service IS NOT NULL`, millis(now))
	err = database.Each(rows, err, func(scan func(...any) error) error {
		var name string
		var first, later sql.NullInt64
		if err := scan(&name, &first, &later); err != nil {
			return err
		}
		if first.Valid && !time.UnixMilli(first.Int64).After(now) {
			services = append(services, name)
		}
		if at := time.UnixMilli(later.Int64); later.Valid && (next.IsZero() || at.Before(next)) {
			next = at
		}
		return nil
	})
	return services, next, err
}

// errLost says that a lease has run out and the job is another's now.
var errLost = errors.New("another node has the job")

// outcome is how a job is left.
type outcome struct {
	State  string
	Again  time.Time // of one that stays open
	GiveUp time.Time // zero: as it was
	Error  string
	Answer *Answer // to be kept with the job
}

// clip makes words, some of which a provider chose, fit for a database: a text that PostgreSQL refuses would take the whole outcome with it.
func clip(text string) string {
	const most = 1000
	text = text[:min(len(text), most)]
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
}

// settle leaves a job. It does nothing when the lease is no longer ours.
func settle(ctx context.Context, tx *sql.Tx, j *job, o outcome, now time.Time) error {
	var ended any
	if o.State == jobDone || o.State == jobDead {
		ended = millis(now)
	}
	var answer any
	if o.Answer != nil {
		b, err := json.Marshal(o.Answer)
		if err != nil {
			return err
		}
		answer = b
	}
	if o.GiveUp.IsZero() {
		o.GiveUp = j.GiveUp
	}
	res, err := tx.ExecContext(ctx, `UPDATE svc_jobs SET state = $1, due_at = $2, give_up_at = $3, last_error = $4, answer = $5, ended_at = $6
		WHERE id = $7 AND due_at = $8 AND ended_at IS NULL`, o.State, millis(o.Again), millis(o.GiveUp), clip(o.Error), answer, ended, j.ID, j.Lease)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return errLost
	}
	return nil
}

// DeadLetter is a job that failed for good.
type DeadLetter struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Service string    `json:"service"`
	User    string    `json:"user"`
	Turn    int       `json:"turn"`
	Created time.Time `json:"created"`
	Ended   time.Time `json:"ended"`
	Error   string    `json:"error"`
}

// renew makes a job's lease last longer. It tells when the lease is no longer ours.
func (d *tables) renew(ctx context.Context, j *job, until time.Time) (lost bool, err error) {
	res, err := d.DB.ExecContext(ctx, `UPDATE svc_jobs SET due_at = $1 WHERE id = $2 AND due_at = $3 AND ended_at IS NULL`, millis(until), j.ID, j.Lease)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 1 {
		j.Lease = millis(until)
	}
	return err == nil && n == 0, err
}

// deadLetters lists them, the latest first; service "" means all.
func (d *tables) deadLetters(ctx context.Context, service string, limit int) ([]DeadLetter, error) {
	out := []DeadLetter{}
	rows, err := d.QueryContext(ctx, `SELECT id, kind, service, user_addr, turn, created_at, ended_at, last_error FROM svc_jobs
		WHERE state = 'dead' AND ended_at IS NOT NULL AND (service = $1 OR $1 = '') ORDER BY ended_at DESC LIMIT $2`, service, limit)
	err = database.Each(rows, err, func(scan func(...any) error) error {
		var l DeadLetter
		var created, ended int64
		if err := scan(&l.ID, &l.Kind, &l.Service, &l.User, &l.Turn, &created, &ended, &l.Error); err != nil {
			return err
		}
		l.Created, l.Ended = time.UnixMilli(created).UTC(), time.UnixMilli(ended).UTC()
		out = append(out, l)
		return nil
	})
	return out, err
}

// replay lets dead letters be done again, with their old keys; id "" means all of the service.
func (d *tables) replay(ctx context.Context, service, id string, now, giveUp time.Time) (int64, error) {
	res, err := d.ExecContext(ctx, `UPDATE svc_jobs SET state = 'due', ended_at = NULL, due_at = $1, give_up_at = $2, attempts = 0
		WHERE state = 'dead' AND ended_at IS NOT NULL AND service = $3 AND (id = $4 OR $4 = '')`, millis(now), millis(giveUp), service, id)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}
