package database

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"
)

// group lets transactions that wait for SQLite's one writer share a commit and its sync: whoever comes first does the work of all
// who have come meanwhile, each behind a savepoint of its own, and hands the lead on. A lone transaction waits for nobody.
type group struct {
	mu      sync.Mutex
	waiting []*member // in the order in which they came
	leading bool      // somebody leads, or has been told to
}

// member is a transaction that waits.
type member struct {
	ctx  context.Context
	do   func(tx *sql.Tx) error
	lead chan struct{} // closed: it is the next to lead
	done chan error    // holds one
}

const (
	// groupSize bounds how many share a commit.
	groupSize = 64
	// groupTime bounds a shared transaction; no member's context can end it.
	groupTime = 30 * time.Second
)

// savepoint stands before each member's statements.
const savepoint = "member"

// join runs a transaction, together with others if there are any.
func (g *group) join(ctx context.Context, d *DB, do func(tx *sql.Tx) error) error {
	m := &member{ctx: ctx, do: do, lead: make(chan struct{}), done: make(chan error, 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, m)
	first := !g.leading
	g.leading = true
	g.mu.Unlock()
	if !first {
		select {
		case err := <-m.done:
			return err
		case <-m.lead:
		case <-ctx.Done():
			if g.leave(m) {
				return ctx.Err()
			}
			select { // too late to leave: it is being done, or is to lead
			case err := <-m.done:
				return err
			case <-m.lead:
			}
		}
	}
	g.mu.Lock()
	n := min(groupSize, len(g.waiting))
	batch := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	g.mu.Unlock()
	d.share(batch)
	g.mu.Lock()
	if g.leading = len(g.waiting) > 0; g.leading {
		close(g.waiting[0].lead)
	}
	g.mu.Unlock()
	return <-m.done // it was the first of its batch
}

// leave takes out one that nobody has taken yet and that is not to lead.
func (g *group) leave(m *member) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-m.lead:
		return false
	default:
	}
	for i, w := range g.waiting {
		if w == m {
			g.waiting = append(g.waiting[:i:i], g.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// share runs a batch in one transaction. If that can't be committed, each member is tried on its own, so that one does not
// fail the others.
func (d *DB) share(batch []*member) {
	if len(batch) > 1 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(batch[0].ctx), groupTime)
		defer cancel()
		answers := make([]error, len(batch))
		err := d.once(ctx, func(tx *sql.Tx) error {
			for i, m := range batch {
				var err error
				if answers[i], err = m.within(ctx, tx); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			for i, m := range batch {
				m.done <- answers[i]
			}
			return
		}
	}
	for _, m := range batch {
		m.done <- d.once(m.ctx, m.do)
	}
}

// within runs a member's statements. answer is the member's own error, whose changes are undone; err says that the whole
// transaction is broken: SQLite undoes all of it when a context's end interrupts a write, and then there is no savepoint.
func (m *member) within(ctx context.Context, tx *sql.Tx) (answer, err error) {
	if _, err = tx.ExecContext(ctx, "SAVEPOINT "+savepoint); err != nil {
		return nil, err
	}
	if answer = m.do(tx); answer != nil {
		if _, err = tx.ExecContext(ctx, "ROLLBACK TO "+savepoint); err != nil {
			return nil, errors.Join(answer, err)
		}
	}
	_, err = tx.ExecContext(ctx, "RELEASE "+savepoint)
	return answer, err
}
