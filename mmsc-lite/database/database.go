// Package database opens the small databases of the embedded MMSC's rooms: a SQLite file in the data folder, or tables of the
// room's own in the MMSC's PostgreSQL. It brings their schema up to date and runs their transactions. What is committed is
// synced, on either engine and whatever its default is. (The messages' own store has a committer and pools of its own.)
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Options of Open.
type Options struct {
	Address     string   // postgres://USER@HOST/NAME; empty: SQLite
	Dir, File   string   // SQLite's file; the folder is made. A SQLite file has one writer at a time, so each room has its own
	Connections int      // how many at most
	Pragmas     []string // for SQLite, beyond the common ones
}

// DB is an open database.
type DB struct {
	*sql.DB
	Postgres bool
	group    group // SQLite's writers
}

// Open opens or creates a database. It shows no part of the address in errors: it may hold a password.
func Open(o Options) (*DB, error) {
	d := &DB{Postgres: o.Address != ""}
	var err error
	if d.Postgres {
		d.DB, err = openPostgres(o.Address)
	} else {
		d.DB, err = openSQLite(o)
	}
	if err != nil {
		return nil, err
	}
	d.SetMaxOpenConns(o.Connections)
	d.SetMaxIdleConns(o.Connections)
	return d, nil
}

func openSQLite(o Options) (*sql.DB, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	pragmas := append([]string{"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "temp_store(MEMORY)", "journal_size_limit(67108864)"}, o.Pragmas...)
	path := (&url.URL{Path: filepath.Join(o.Dir, o.File)}).EscapedPath()
	db, err := sql.Open("sqlite", "file:"+path+"?"+url.Values{"_txlock": {"immediate"}, "_pragma": pragmas}.Encode())
	if err != nil {
		return nil, err
	}
	if err := first(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// openTime bounds the first connection.
const openTime = 10 * time.Second

// first makes the first connection, which turns a new file to WAL. Where two processes do that at once SQLite tells one of them
// that the file is locked, without the wait that busy_timeout asks for: it could wait for itself.
func first(db *sql.DB) error {
	ctx, cancel := context.WithTimeout(context.Background(), openTime)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := db.PingContext(ctx)
		if !busy(err) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// busy says that SQLite has refused because another connection works on the same file.
func busy(err error) bool {
	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return false
	}
	code := lite.Code() & 0xFF // without what its extended codes add
	return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED
}

func openPostgres(address string) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, errors.New("the database's address can't be read as postgres://USER@HOST/NAME") // the error could show the password
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	cfg.RuntimeParams["synchronous_commit"] = "on" // accepted means durable, whatever the server's default is
	cfg.RuntimeParams["statement_timeout"] = "30000"
	return stdlib.OpenDB(*cfg), nil
}

// conflictTries bounds how often a transaction is repeated that PostgreSQL gave up in favour of another one.
const conflictTries = 10

// Conflict says that PostgreSQL has rolled a transaction back because of others that run at the same time: a deadlock, or a
// serialization failure. It may be repeated at once.
func Conflict(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40P01" || pg.Code == "40001")
}

// Within runs a transaction; nil means committed and synced. do may run several times, from the beginning each time: see
// Conflict. It returns as soon as a statement fails, and neither commits nor rolls back itself: on SQLite others may share the
// transaction, each with an outcome of its own.
func (d *DB) Within(ctx context.Context, do func(tx *sql.Tx) error) error {
	if !d.Postgres {
		return d.group.join(ctx, d, do)
	}
	err := d.once(ctx, do)
	for tries := 1; tries < conflictTries && Conflict(err); tries++ {
		err = d.once(ctx, do)
	}
	return err
}

func (d *DB) once(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := d.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		if undo := tx.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) { // done: the context's end has undone it
			return errors.Join(err, undo)
		}
		return err
	}
	return tx.Commit()
}

// SkipLocked ends a query that picks rows to work on, so that two nodes pick different ones.
func (d *DB) SkipLocked() string {
	if d.Postgres {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

// Each reads all rows of a query and closes them.
func Each(rows *sql.Rows, err error, row func(scan func(...any) error) error) error {
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}
