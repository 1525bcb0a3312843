// Package store keeps what mmsc-lite must not lose: messages with their contents, recipients with their
// states, work that is due, reports, call detail records and PDUs held for an MMSC that is down.
//
// There is one schema and there are two engines: SQLite, the default, in one file with the larger contents in segments beside
// it (package segment); PostgreSQL when several nodes share one database, which has the contents too. All writes go through committers
// that put concurrent ones into one transaction, so that they share a sync (group commit).
//
// Promise: a write that returns nil is committed and synced. One that returns an error has left nothing
// behind, except when PostgreSQL broke while it committed; the row in submissions then makes a repeated
// submission find the first. A write that the engine refuses is answered with an *Unavailable error, which a
// client may retry; the store recovers by itself when the engine does.
//
// States: open (Open has returned), running (Run), closed. Writes need Run.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/segment"
)

// Options is what Open needs.
type Options struct {
	Dir      string // folder of the SQLite file and of uploads that outgrow memory
	Database string // postgres:// address; empty: SQLite in Dir
	Node     string // name of this node, for people
	Tuning   Tuning
	Metrics  prometheus.Registerer // nil: none
	Log      *slog.Logger          // nil: none
}

// Tuning has the limits; a zero takes its default.
type Tuning struct {
	Batch      int   // writes in one transaction at most; 64
	BatchBytes int64 // octets of contents in one transaction, unless one message has more; 16 MiB
	Memory     int64 // octets that all uploads may hold in memory; 64 MiB
	Writers    int   // committers; 1 for SQLite, 4 for PostgreSQL
	Readers    int   // connections that read; 8
	Inline     int64 // SQLite: contents up to so many octets stand in the database, larger ones in segments; 8 KiB
	Segment    int64 // SQLite: octets of a segment; 64 MiB

	KeepContent  time.Duration // a content stays after its last recipient is final; 1h
	KeepMessages time.Duration // the rows of a message and its timeline stay after that; 30 days
	DedupeWindow time.Duration // a submission is known again for so long; 2h
}

func (t *Tuning) fill(e engine) {
	set(&t.Batch, 64)
	set(&t.BatchBytes, 16<<20)
	set(&t.Memory, 64<<20)
	set(&t.Readers, 8)
	set(&t.Inline, 8<<10)
	set(&t.Segment, 64<<20)
	set(&t.KeepContent, time.Hour)
	set(&t.KeepMessages, 30*24*time.Hour)
	set(&t.DedupeWindow, 2*time.Hour)
	if e == sqlite {
		t.Writers = 1
	} else {
		set(&t.Writers, 4)
	}
}

func set[T ~int | ~int64](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}

// Store is an open database.
type Store struct {
	opt      Options
	engine   engine
	write    *sql.DB // committers' connections
	read     *sql.DB
	log      *slog.Logger
	met      *metrics
	ids      ids
	instance string
	tag      int
	ops      chan *op
	lazy     chan *op      // bookkeeping
	closing  chan struct{} // closed when writes are no longer taken
	ended    chan struct{} // closed when the committers have ended
	memory   budget
	health   health
	segments *segment.Log // nil with PostgreSQL
	digester digester
	commits  atomic.Int64 // of SQLite, since the last checkpoint
	rest     atomic.Bool  // the committer is to end a checkpoint

	Wake Wakers // what became due

	sweeping sync.Mutex // held by one Sweep at a time; taken before mu

	mu     sync.Mutex
	state  lifecycle
	closed bool
	leases map[string]int64 // end of the last lease, by table
}

type lifecycle int

const (
	opened lifecycle = iota
	running
	ended
)

// ErrClosed is the answer to a write after the store has ended.
var ErrClosed = &Unavailable{Err: errors.New("the store is closed")}

// Unavailable is a write or read that the engine did not do; it may work later.
type Unavailable struct {
	Err  error
	Full bool // no space left
}

func (u *Unavailable) Error() string { return "store unavailable: " + u.Err.Error() }

// Unwrap gives the engine's error.
func (u *Unavailable) Unwrap() error { return u.Err }

// Open opens or creates the database, brings its schema up to date and checks that it can be written. It starts no
// goroutine of its own.
func Open(ctx context.Context, opt Options) (*Store, error) {
	s := &Store{opt: opt, engine: engineOf(opt.Database), log: opt.Log, closing: make(chan struct{}), ended: make(chan struct{}),
		leases: make(map[string]int64)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.opt.Tuning.fill(s.engine)
	s.ops = make(chan *op, 4*s.opt.Tuning.Batch)
	s.lazy = make(chan *op, 4*s.opt.Tuning.Batch)
	s.memory.limit = s.opt.Tuning.Memory
	s.Wake = Wakers{Delivery: newWaker(), CDR: newWaker(), Held: newWaker()}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	undo := func(err error) (*Store, error) {
		s.closed = true
		return nil, errors.Join(fmt.Errorf("open %s: %w", s.Name(), err), s.closeFiles())
	}
	if err := migrate(ctx, s.write, s.engine); err != nil {
		return undo(err)
	}
	if err := s.claimTag(ctx); err != nil {
		return undo(err)
	}
	var err error
	if s.digester, err = s.newDigester(ctx); err != nil {
		return undo(err)
	}
	if err := s.openSegments(ctx); err != nil {
		return undo(err)
	}
	met, err := newMetrics(opt.Metrics, s)
	if err != nil {
		return undo(err)
	}
	s.met = met
	return s, nil
}

// Name says in words where the database is, without its password.
func (s *Store) Name() string {
	if s.engine == sqlite {
		return filepath.Join(s.opt.Dir, fileName)
	}
	return s.engine.String() + " " + withoutSecret(s.opt.Database)
}

// Engine gives "sqlite" or "postgres".
func (s *Store) Engine() string { return s.engine.String() }

// Run serves writes until ctx ends, then those already handed in, gives back what this process held, and closes
// the database. It returns after the last of its goroutines.
func (s *Store) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.state != opened {
		s.mu.Unlock()
		return errors.New("store: Run called twice")
	}
	s.state = running
	s.mu.Unlock()

	var committers, keeper sync.WaitGroup
	stop := make(chan struct{})
	for range s.opt.Tuning.Writers {
		committers.Go(func() { s.commitLoop() })
	}
	keeper.Go(func() { s.keepLoop(ctx, stop) })
	<-ctx.Done()
	s.release()
	close(s.closing)
	committers.Wait()
	close(s.ended)
	close(stop)
	keeper.Wait()
	return s.Close()
}

// Close closes a store whose Run was never called; after Run it does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed, s.state = true, ended
	return s.closeFiles()
}

func (s *Store) closeFiles() error {
	err := errors.Join(s.write.Close(), s.read.Close())
	if s.segments != nil {
		err = errors.Join(err, s.segments.Close())
	}
	return err
}

// heartbeat is how often a process says that it lives; its tag is free again after tagLife without.
const (
	heartbeat = time.Minute
	tagLife   = 10 * time.Minute
)

// sweepEvery is how often what is old is looked for.
const sweepEvery = 5 * time.Second

// keepLoop says that this process lives, purges what is old and moves SQLite's log into its file.
func (s *Store) keepLoop(ctx context.Context, stop <-chan struct{}) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	point := time.NewTimer(checkpointIdle)
	defer point.Stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-stop:
			return
		case <-sweep.C:
			s.Sweep(ctx)
		case <-point.C:
			point.Reset(s.checkpoint())
		case <-beat.C:
			err := s.do(context.Background(), 0, nil, func(tx *Tx) error {
				_, err := tx.exec(`UPDATE nodes SET seen_at = $1 WHERE tag = $2 AND instance = $3`, millis(time.Now()), s.tag, s.instance)
				return err
			})
			if err != nil {
				s.log.Warn("heartbeat", "err", err)
			}
		}
	}
}

// release gives back what this process held, so that the next one need not wait for it.
func (s *Store) release() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.do(ctx, 0, nil, func(tx *Tx) error {
		if err := tx.giveBack("recipients", "reports", "held"); err != nil {
			return err
		}
		_, err := tx.exec(`DELETE FROM nodes WHERE tag = $1 AND instance = $2`, s.tag, s.instance)
		return err
	})
	if err != nil {
		s.log.Warn("give back leases; they run out by themselves", "err", err)
	}
}

// GiveBack gives back what this process has claimed of notifications and reports, when nobody works on them here any more: another process of
// this node need not wait for the leases' end.
func (s *Store) GiveBack(ctx context.Context) error {
	return s.do(ctx, 0, nil, func(tx *Tx) error { return tx.giveBack("recipients", "reports") })
}

// giveBack makes due what this process holds in some tables.
func (tx *Tx) giveBack(tables ...string) error {
	tx.s.mu.Lock()
	leases := maps.Clone(tx.s.leases)
	tx.s.mu.Unlock()
	now := millis(time.Now())
	for _, table := range tables {
		// By index: no lease of ours ends behind the last one, and one that has run out is due anyway.
		if _, err := tx.exec(`UPDATE `+table+` SET due_at = $1, lease = '' WHERE due_at > $1 AND due_at <= $2 AND lease = $3`, now, leases[table], tx.s.instance); err != nil {
			return err
		}
	}
	return nil
}

// claimTag takes a free number for this process: it makes its keys unlike those of others on the database.
func (s *Store) claimTag(ctx context.Context) error {
	s.instance = newSecret().String()
	now := time.Now()
	for tag := range maxTag {
		res, err := s.write.ExecContext(ctx, `INSERT INTO nodes (tag, instance, name, seen_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (tag) DO UPDATE SET instance = excluded.instance, name = excluded.name, seen_at = excluded.seen_at
			WHERE nodes.seen_at < $5`, tag, s.instance, s.opt.Node, millis(now), millis(now.Add(-tagLife)))
		if err != nil {
			return fmt.Errorf("claim a tag: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			continue
		}
		s.tag = tag
		var newest int64
		for _, table := range []string{"contents", "messages", "recipients", "reports", "held", "mbox"} {
			var id sql.NullInt64
			if err := s.write.QueryRowContext(ctx, `SELECT MAX(id) FROM `+table).Scan(&id); err != nil {
				return err
			}
			newest = max(newest, id.Int64)
		}
		s.ids.start(tag, ID(newest))
		return nil
	}
	return fmt.Errorf("all %d tags in table nodes are in use", maxTag)
}

func withoutSecret(dsn string) string {
	if at := strings.LastIndexByte(dsn, '@'); at >= 0 {
		return dsn[at+1:]
	}
	return strings.TrimPrefix(strings.TrimPrefix(dsn, "postgres://"), "postgresql://")
}
