package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	sqlitedriver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// engine is the kind of database.
type engine int

const (
	sqlite engine = iota
	postgres
)

// String gives "sqlite" or "postgres".
func (e engine) String() string {
	if e == postgres {
		return "postgres"
	}
	return "sqlite"
}

func engineOf(dsn string) engine {
	if dsn == "" {
		return sqlite
	}
	return postgres
}

// CheckDatabase says whether dsn is one that Open understands: empty or a postgres:// address.
func CheckDatabase(dsn string) error {
	if dsn == "" {
		return nil
	}
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return errors.New("want nothing (SQLite in the data folder) or postgres://USER@HOST/NAME")
	}
	if _, err := pgx.ParseConfig(dsn); err != nil {
		return errors.New("want postgres://USER@HOST/NAME; this one can't be read") // the error could show the password
	}
	return nil
}

// fileName is SQLite's file in the data folder.
const fileName = "mmsc.db"

// SQLite's log is moved into its file so often: soon again while there are writes, so that the log stays short and is written over. A log that
// grows costs its sync twice as much as one that does not, since the disk has to find blocks for it.
const (
	checkpointBusy = 150 * time.Millisecond
	checkpointIdle = 2 * time.Second
)

// checkpointQuick is how long the move may take for the committer to move the rest, what was written meanwhile: only when all has been moved
// does SQLite begin its log anew. On a slower disk the log grows instead, and submissions wait for no checkpoint.
const checkpointQuick = 30 * time.Millisecond

// maxLog lets a committer move the log itself when it has grown by so many pages: a bound for the disk, should
// these be too slow.
const maxLog = 32 << 10

// connect makes the two pools.
func (s *Store) connect(ctx context.Context) error {
	if s.engine == postgres {
		return s.connectPostgres(ctx)
	}
	// Pages have SQLite's own 4 KiB: each message changes a few pages of indexes, and each such page is written twice.
	pragmas := []string{"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "temp_store(MEMORY)",
		fmt.Sprintf("wal_autocheckpoint(%d)", maxLog), "journal_size_limit(67108864)", "foreign_keys(OFF)"}
	path := (&url.URL{Path: filepath.Join(s.opt.Dir, fileName)}).EscapedPath()
	dsn := func(extra ...string) string {
		q := url.Values{"_pragma": append(append([]string{}, pragmas...), extra...)}
		return "file:" + path + "?" + q.Encode()
	}
	w, err := sql.Open("sqlite", dsn("cache_size(-65536)"))
	if err != nil {
		return fmt.Errorf("open %s: %w", s.Name(), err)
	}
	w.SetMaxOpenConns(2) // the committer and the checkpoint
	if err := w.PingContext(ctx); err != nil {
		return errors.Join(fmt.Errorf("open %s: %w", s.Name(), err), w.Close())
	}
	r, err := sql.Open("sqlite", dsn("query_only(1)", "cache_size(-8192)"))
	if err != nil {
		return errors.Join(fmt.Errorf("open %s: %w", s.Name(), err), w.Close())
	}
	r.SetMaxOpenConns(s.opt.Tuning.Readers)
	r.SetMaxIdleConns(s.opt.Tuning.Readers)
	s.write, s.read = w, r
	return nil
}

func (s *Store) connectPostgres(ctx context.Context) error {
	cfg, err := pgx.ParseConfig(s.opt.Database)
	if err != nil {
		return errors.New("open the database: mmsc.database can't be read as a postgres:// address")
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "mmsrouter " + s.opt.Node
	}
	// An answer of Ok must mean durable whatever the server's default is.
	cfg.RuntimeParams["synchronous_commit"] = "on"
	cfg.RuntimeParams["statement_timeout"] = "30000"
	s.write, s.read = stdlib.OpenDB(*cfg), stdlib.OpenDB(*cfg)
	s.write.SetMaxOpenConns(s.opt.Tuning.Writers + 1)
	s.write.SetMaxIdleConns(s.opt.Tuning.Writers + 1)
	s.read.SetMaxOpenConns(s.opt.Tuning.Readers)
	s.read.SetMaxIdleConns(s.opt.Tuning.Readers)
	if err := s.write.PingContext(ctx); err != nil {
		return errors.Join(fmt.Errorf("open %s: %w", s.Name(), err), s.write.Close(), s.read.Close())
	}
	return nil
}

// checkpoint moves SQLite's log into its file beside the committer, which goes on meanwhile. It says when to come again.
func (s *Store) checkpoint() time.Duration {
	if s.engine != sqlite || s.commits.Swap(0) == 0 {
		return checkpointIdle
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	began := time.Now()
	if _, err := s.write.ExecContext(ctx, checkpointText); err != nil {
		s.log.Warn("checkpoint", "err", err)
	} else if time.Since(began) < checkpointQuick {
		s.rest.Store(true)
	}
	return checkpointBusy
}

const checkpointText = `PRAGMA wal_checkpoint(PASSIVE)`

// moveRest lets the committer end a checkpoint, between two transactions.
func (tx *Tx) moveRest() {
	if tx.conn == nil || !tx.s.rest.Swap(false) {
		return
	}
	if _, err := tx.conn.ExecContext(context.Background(), checkpointText); err != nil {
		tx.s.log.Warn("checkpoint", "err", err)
	}
}

// begin starts a transaction that writes.
func (e engine) begin() string {
	if e == postgres {
		return "BEGIN"
	}
	return "BEGIN IMMEDIATE"
}

// skipLocked ends a query that picks rows to work on, so that two nodes pick different ones.
func (e engine) skipLocked() string {
	if e == postgres {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

// isFull says whether err means that no space is left.
func isFull(err error) bool {
	var lite *sqlitedriver.Error
	if errors.As(err, &lite) {
		return lite.Code()&0xFF == sqlite3.SQLITE_FULL
	}
	var pg interface{ SQLState() string }
	return errors.As(err, &pg) && pg.SQLState() == "53100" || isNoSpace(err)
}
