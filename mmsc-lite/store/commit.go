package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/segment"
)

// op is one write. do may run more than once, each time in a fresh transaction: what it leaves in Go variables must
// be what its last run found. An error that is a Refusal is an answer: it is returned by an op that has written nothing.
type op struct {
	do       func(*Tx) error
	cost     int64
	contents []*segment.Extent // what do's rows point to: they are synced before the transaction commits
	done     chan error
	next     *op // an urgent write that came while this one waited for company
}

// Refusal is an error by which a write says no: nothing is wrong with the engine.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// The refusals.
const (
	ErrNotFound Refusal = "not found"
	ErrFinal    Refusal = "already in a final state"
	ErrStale    Refusal = "the lease has run out and somebody else has it"
)

// Tx is the transaction of a committer. Its statements are prepared once per connection.
type Tx struct {
	ctx   context.Context
	s     *Store
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	lite  map[string]driver.Stmt // SQLite's, without database/sql between
	named []driver.NamedValue    // arguments of one of these
	after []func()               // run once the transaction is durable
	again time.Time              // not before it is a server asked that was not there

	waiting *pgx.Batch // statements for PostgreSQL that are not sent yet (pipeline.go)
	queued  int        // octets of contents in them
}

// connectPause is how long a committer leaves a server alone that was not there.
const connectPause = 100 * time.Millisecond

// writeTimeout bounds a transaction; a PostgreSQL server that is gone without a word must not hold a committer for ever.
const writeTimeout = 40 * time.Second

// do hands a write to the committers and waits until it is durable, and the contents with it. Once it has been taken it is not
// called back: when ctx ends first the write may still happen, and the error says so.
func (s *Store) do(ctx context.Context, cost int64, contents []*segment.Extent, f func(*Tx) error) error {
	return s.hand(ctx, s.ops, &op{do: f, cost: cost, contents: contents, done: make(chan error, 1)})
}

// later is do for bookkeeping that nobody waits for on a wire: where submissions come one close behind the other it rides along with the next,
// and has a transaction of its own only when none comes within lazyWait. So delivery does not cost submissions their syncs, and a lone
// message is handed on at once.
func (s *Store) later(ctx context.Context, f func(*Tx) error) error {
	return s.hand(ctx, s.lazy, &op{do: f, done: make(chan error, 1)})
}

// lazyWait bounds how long bookkeeping waits for company.
const lazyWait = 15 * time.Millisecond

func (s *Store) hand(ctx context.Context, queue chan *op, o *op) error {
	select {
	case queue <- o:
	case <-s.closing:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("wait for a committer: %w", ctx.Err())
	}
	select {
	case err := <-o.done:
		return err
	case <-s.ended: // no committer touches an op any more
	}
	select {
	case err := <-o.done:
		return err
	default:
		return ErrClosed
	}
}

// commitLoop takes whatever waits, up to the batch limits, into one transaction. While that one syncs the next
// batch gathers by itself, so a lone writer waits for nobody and many share.
func (s *Store) commitLoop() {
	tx := &Tx{s: s}
	defer func() { tx.drop() }()
	batch := make([]*op, 0, s.opt.Tuning.Batch)
	var kept *op // did not fit any more
	var company company
	for {
		first := kept
		kept = nil
		if first == nil {
			if first = s.first(&company); first == nil {
				s.drain(tx)
				return
			}
		}
		tx.moveRest()
		batch, kept = s.gather(append(batch[:0], first))
		s.commit(tx, batch)
	}
}

// company tells whether writes come so close together that it is worth while to wait for the next one.
type company struct {
	last time.Time
	gap  time.Duration // between the last two
}

func (c *company) came() {
	now := time.Now()
	c.gap, c.last = now.Sub(c.last), now
}

// first waits for a write; nil when the store is closing. Bookkeeping waits for company, where there is some.
func (s *Store) first(c *company) *op {
	select {
	case o := <-s.ops:
		c.came()
		return o
	default:
	}
	select {
	case o := <-s.ops:
		c.came()
		return o
	case <-s.closing:
		return nil
	case o := <-s.lazy:
		if c.gap > lazyWait {
			return o
		}
		timer := time.NewTimer(lazyWait)
		defer timer.Stop()
		select {
		case urgent := <-s.ops:
			c.came()
			o.next = urgent
		case <-timer.C:
		case <-s.closing:
		}
		return o
	}
}

// gather fills a batch with what waits; kept is a write that would have made it too large. Bookkeeping comes last and has places of its own:
// else it would starve while more submit than a batch holds.
func (s *Store) gather(batch []*op) (full []*op, kept *op) {
	cost := batch[0].cost
	if urgent := batch[0].next; urgent != nil {
		batch, cost = append(batch, urgent), urgent.cost
	}
	room := s.opt.Tuning.Batch
	for _, queue := range []chan *op{s.ops, s.lazy} {
		for len(batch) < room {
			select {
			case o := <-queue:
				if cost += o.cost; cost > s.opt.Tuning.BatchBytes {
					return batch, o
				}
				batch = append(batch, o)
				continue
			default:
			}
			break
		}
		room += s.opt.Tuning.Batch / 4
	}
	return batch, nil
}

// drain serves what was handed in before the end.
func (s *Store) drain(tx *Tx) {
	for {
		select {
		case o := <-s.ops:
			s.commit(tx, []*op{o})
		case o := <-s.lazy:
			s.commit(tx, []*op{o})
		default:
			return
		}
	}
}

// conflictTries bounds how often a transaction is repeated that PostgreSQL gave up in favour of another one.
const conflictTries = 10

// conflict says that PostgreSQL has rolled a transaction back because of others that run at the same time: a deadlock
// between committers that came by the same rows in another order, or a serialization failure. It may be repeated at once.
func conflict(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40P01" || pg.Code == "40001")
}

// commit runs a batch in one transaction and answers each op. If the transaction fails each op is tried on its own, so
// that one bad write does not fail its neighbours.
func (s *Store) commit(tx *Tx, batch []*op) {
	began := time.Now()
	answers, err := tx.run(batch)
	for tries := 0; tries < conflictTries && conflict(err); tries++ {
		answers, err = tx.run(batch)
	}
	s.met.commit(len(batch), time.Since(began), err)
	if err == nil {
		s.recovered(slices.ContainsFunc(batch, func(o *op) bool { return len(o.contents) > 0 }))
		for i, o := range batch {
			o.done <- answers[i]
		}
		return
	}
	if len(batch) == 1 || tx.conn == nil {
		err = s.failed(err)
		for _, o := range batch {
			o.done <- err
		}
		return
	}
	for i := range batch {
		s.commit(tx, batch[i:i+1])
	}
}

// run does the whole transaction. On an error nothing of it remains, unless the commit itself broke on PostgreSQL.
func (tx *Tx) run(batch []*op) (answers []error, err error) {
	ctx := context.Background() // on SQLite a lock is waited for within busy_timeout, and a context that can end costs a goroutine for each statement
	if tx.s.engine == postgres {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, writeTimeout)
		defer cancel()
	}
	tx.ctx, tx.after = ctx, tx.after[:0]
	tx.waiting, tx.queued = &pgx.Batch{}, 0
	// A pool may hold connections to a server that has been restarted since: nothing has been sent on them, so
	// the next one is tried.
	for tries := 0; ; tries++ {
		if err = tx.start(ctx); err == nil {
			break
		}
		tx.drop()
		if tries == tx.s.opt.Tuning.Writers+1 || ctx.Err() != nil {
			tx.again = time.Now().Add(connectPause)
			return nil, err
		}
	}
	// The contents are synced while the rows are written, and both before the commit.
	synced := tx.s.beginSync(batch)
	answers, err = tx.doAll(batch)
	if contentErr := synced(); err == nil {
		err = contentErr
	}
	if err != nil {
		return nil, tx.rollback(err)
	}
	if err = tx.control("COMMIT"); err != nil {
		return nil, tx.rollback(fmt.Errorf("commit: %w", err))
	}
	tx.s.commits.Add(1)
	for _, f := range tx.after {
		f()
	}
	return answers, nil
}

// doAll runs the writes of a batch up to the first that the engine does not do.
func (tx *Tx) doAll(batch []*op) (answers []error, err error) {
	answers = make([]error, len(batch))
	for i, o := range batch {
		err := o.do(tx)
		var no Refusal
		if err != nil && !errors.As(err, &no) {
			return nil, err
		}
		answers[i] = err
	}
	_, err = tx.flush()
	return answers, err
}

// start takes a connection, unless there is one, and begins the transaction.
func (tx *Tx) start(ctx context.Context) (err error) {
	if tx.conn == nil {
		if wait := time.Until(tx.again); wait > 0 {
			select {
			case <-time.After(wait):
			case <-tx.s.closing:
			}
		}
		if tx.conn, err = tx.s.write.Conn(ctx); err != nil {
			tx.conn = nil
			return fmt.Errorf("connect: %w", err)
		}
		tx.stmts, tx.lite = make(map[string]*sql.Stmt), make(map[string]driver.Stmt)
	}
	if err = tx.control(tx.s.engine.begin()); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	return nil
}

// control runs a statement that begins or ends a transaction.
func (tx *Tx) control(statement string) error {
	if tx.s.engine == sqlite {
		_, err := tx.execLite(statement, nil)
		return err
	}
	_, err := tx.conn.ExecContext(tx.ctx, statement)
	return err
}

// rollback undoes; a connection that can't even do that is thrown away.
func (tx *Tx) rollback(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := tx.conn.ExecContext(ctx, "ROLLBACK"); err != nil {
		tx.drop() // SQLite may have rolled back already, PostgreSQL may be gone: either way a fresh connection is right
	}
	return cause
}

// drop closes the connection and what was prepared on it.
func (tx *Tx) drop() {
	if tx.conn == nil {
		return
	}
	for _, st := range tx.stmts {
		st.Close() // the connection is going away with it
	}
	for _, st := range tx.lite {
		st.Close() // as above
	}
	// Raw with ErrBadConn keeps the pool from using it again: a transaction may be open on it.
	tx.conn.Raw(func(any) error { return errBadConn })
	tx.conn.Close()
	tx.conn, tx.stmts, tx.lite = nil, nil, nil
}

func (tx *Tx) prepare(query string) (*sql.Stmt, error) {
	if st, ok := tx.stmts[query]; ok {
		return st, nil
	}
	st, err := tx.conn.PrepareContext(tx.ctx, query)
	if err != nil {
		return nil, fmt.Errorf("prepare %.60q: %w", query, err)
	}
	tx.stmts[query] = st
	return st, nil
}

// exec runs a statement and gives the number of rows it changed.
func (tx *Tx) exec(query string, args ...any) (int64, error) {
	if tx.s.engine == postgres {
		if err := tx.enqueue(query, args); err != nil {
			return 0, err
		}
		return tx.flush()
	}
	return tx.execLite(query, args)
}

// row reads one row; ErrNotFound if there is none.
func (tx *Tx) row(query string, args []any, into ...any) error {
	if _, err := tx.flush(); err != nil {
		return err
	}
	st, err := tx.prepare(query)
	if err != nil {
		return err
	}
	err = st.QueryRowContext(tx.ctx, args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// rows reads all rows.
func (tx *Tx) rows(query string, args []any, each func(scan func(...any) error) error) error {
	if _, err := tx.flush(); err != nil {
		return err
	}
	st, err := tx.prepare(query)
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(tx.ctx, args...)
	if err != nil {
		return err
	}
	return eachRow(rows, each)
}

func eachRow(rows *sql.Rows, each func(scan func(...any) error) error) error {
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
