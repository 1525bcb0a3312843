// Package journal keeps what the push proxy gateway must not lose: pushes it has accepted, what became of each of their addresses, which
// results have to be told, and the message ids by which SMSCs name what they took. It has one schema, with tables ppg_…, and two
// engines: SQLite in a file of its own, or the PostgreSQL database that several nodes share.
//
// Promise: a write that returns nil is committed and synced; one that fails has left nothing, except when PostgreSQL broke while it
// committed. Concurrent writes share a transaction. Work is leased, so of several nodes one does it; when that one dies the lease runs out,
// and on SQLite the next process takes over at once. What a carrier has taken is noted in a file before it is committed, so that a process
// which dies in between does not send it again.
//
// States: open (Open has returned), running (Run), closed. Writes need Run.
package journal

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/database"
)

// Options is what Open needs.
type Options struct {
	Dir      string // folder of the SQLite file
	Database string // postgres:// address; empty: SQLite
	Log      *slog.Logger
}

// Journal is an open database.
type Journal struct {
	opt      Options
	write    *database.DB
	read     *database.DB
	log      *slog.Logger
	instance string
	lock     *os.File
	mine     bool   // the lock is held: no other process has the folder
	notes    *notes // nil: another process has the folder, or there is none

	ops     chan *op
	closing chan struct{}
	ended   chan struct{}

	// Wake gets a token when something may have become due.
	Wake chan struct{}
}

// Errors that are answers.
var (
	ErrDuplicate = errors.New("the push id has been used")
	ErrNotFound  = errors.New("no such push")
	ErrClosed    = errors.New("the journal is closed")
)

// Open opens or creates the database and brings its schema up to date.
func Open(ctx context.Context, opt Options) (*Journal, error) {
	j := &Journal{opt: opt, log: opt.Log, instance: rand.Text(), ops: make(chan *op, 256), closing: make(chan struct{}),
		ended: make(chan struct{}), Wake: make(chan struct{}, 1)}
	if j.log == nil {
		j.log = slog.New(slog.DiscardHandler)
	}
	if err := j.connect(ctx); err != nil {
		return nil, fmt.Errorf("open the push journal: %w", err)
	}
	if err := j.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open the push journal: %w", err), j.Close())
	}
	return j, nil
}

// prepare brings the schema up and takes over what a process that has gone held.
func (j *Journal) prepare(ctx context.Context) error {
	if err := j.migrate(ctx); err != nil {
		return err
	}
	return j.Own(ctx)
}

// Own takes the folder over from a process that has ended: what it had sent and not committed is noted, what it held is due. While another
// process has the folder it does nothing, and carriers' answers are committed without a note. Open does it; who opened while a process was
// still at work calls it again, before Run, when that one has gone.
func (j *Journal) Own(ctx context.Context) error {
	if j.mine || j.opt.Dir == "" {
		return nil // leases of the dead run out
	}
	if err := os.MkdirAll(j.opt.Dir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	lock, mine, err := lockFile(filepath.Join(j.opt.Dir, lockName))
	if lock != nil && (err != nil || !mine) {
		return errors.Join(err, lock.Close())
	}
	if err != nil || !mine {
		return err
	}
	j.lock, j.mine = lock, true
	if j.notes, err = openNotes(j.opt.Dir); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if err := j.replay(ctx); err != nil || j.write.Postgres { // other nodes may be at work in PostgreSQL: leases of the dead run out
		return err
	}
	now := millis(time.Now())
	_, err = j.write.ExecContext(ctx, `UPDATE ppg_deliveries SET due_at = $1, lease = '' WHERE lease <> '' AND due_at IS NOT NULL`, now)
	_, err2 := j.write.ExecContext(ctx, `UPDATE ppg_deliveries SET notify_due = $1, notify_lease = '' WHERE notify_lease <> '' AND notify_due IS NOT NULL`, now)
	return errors.Join(err, err2)
}

// Close closes a journal whose Run was never called.
func (j *Journal) Close() error {
	errs := []error{j.write.Close(), j.read.Close()}
	if j.notes != nil {
		errs = append(errs, j.notes.close())
		j.notes = nil
	}
	if j.lock != nil {
		errs = append(errs, j.lock.Close())
		j.lock = nil
	}
	return errors.Join(errs...)
}

// Run serves writes until ctx ends, then those already handed in, gives back leases and closes the database.
func (j *Journal) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(j.commitLoop)
	<-ctx.Done()
	j.release()
	close(j.closing)
	wg.Wait()
	close(j.ended)
	return j.Close()
}

// release gives back what this process holds, so that the next one need not wait.
func (j *Journal) release() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	now := millis(time.Now())
	err := j.do(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE ppg_deliveries SET due_at = $1, lease = '' WHERE lease = $2 AND due_at IS NOT NULL`, now, j.instance)
		_, err2 := tx.Exec(`UPDATE ppg_deliveries SET notify_due = $1, notify_lease = '' WHERE notify_lease = $2 AND notify_due IS NOT NULL`, now, j.instance)
		return errors.Join(err, err2)
	})
	if err != nil {
		j.log.Warn("give back leases; they run out by themselves", "err", err)
	}
}

// op is a write. do may run twice, each time in a fresh transaction; an error undoes it.
type op struct {
	do   func(*sql.Tx) error
	done chan error
}

// maxBatch is how many writes share a transaction.
const maxBatch = 64

// writeTimeout bounds a transaction.
const writeTimeout = 40 * time.Second

func (j *Journal) do(ctx context.Context, f func(*sql.Tx) error) error {
	o := &op{f, make(chan error, 1)}
	select {
	case j.ops <- o:
	case <-j.closing:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("wait for the committer: %w", ctx.Err())
	}
	select {
	case err := <-o.done:
		return err
	case <-j.ended: // the committer touches nothing any more
	}
	select {
	case err := <-o.done:
		return err
	default:
		return ErrClosed
	}
}

// commitLoop takes what waits into one transaction; while that one syncs, the next batch gathers.
func (j *Journal) commitLoop() {
	for {
		var batch []*op
		select {
		case o := <-j.ops:
			batch = append(batch, o)
		case <-j.closing:
			for {
				select {
				case o := <-j.ops:
					j.commit([]*op{o})
				default:
					return
				}
			}
		}
	gather:
		for len(batch) < maxBatch {
			select {
			case o := <-j.ops:
				batch = append(batch, o)
			default:
				break gather
			}
		}
		j.commit(batch)
	}
}

// commit runs a batch in one transaction; if that fails, each write in one of its own, so that a bad one hurts nobody else.
func (j *Journal) commit(batch []*op) {
	if err := j.transact(batch); err != nil {
		if len(batch) > 1 {
			for _, o := range batch {
				j.commit([]*op{o})
			}
			return
		}
		batch[0].done <- err
		return
	}
	for _, o := range batch {
		o.done <- nil
	}
}

func (j *Journal) transact(batch []*op) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	tx, err := j.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	for _, o := range batch {
		if err := o.do(tx); err != nil {
			_ = tx.Rollback() // the cause says more
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func (j *Journal) wake() {
	select {
	case j.Wake <- struct{}{}:
	default:
	}
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
