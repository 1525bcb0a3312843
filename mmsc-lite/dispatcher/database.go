package dispatcher

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// fileName is SQLite's file in the data folder. It is not that of the messages: a SQLite file has one writer at a time, and
// submissions must not wait behind services.
const fileName = "services.db"

//go:embed migrations/*.sql
var migrations embed.FS

// database is where everything stands that must not be lost. A write that returns nil is committed and synced.
type database struct {
	db       *sql.DB
	postgres bool
}

// openDatabase opens or creates it and brings the schema up to date. dsn is the postgres:// address of the MMSC's database,
// whose tables stand beside ours; empty: SQLite in dir.
func openDatabase(ctx context.Context, dir, dsn string) (*database, error) {
	d := &database{postgres: dsn != ""}
	var err error
	if d.postgres {
		d.db, err = openPostgres(dsn)
	} else {
		d.db, err = openSQLite(dir)
	}
	if err != nil {
		return nil, err
	}
	if err := d.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("services: schema: %w", err), d.db.Close())
	}
	return d, nil
}

func openSQLite(dir string) (*sql.DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "temp_store(MEMORY)",
		"journal_size_limit(67108864)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.Join(dir, fileName)}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open services: %w", err)
	}
	// One connection: writers of one file wait for each other anyway, here in a fair queue.
	db.SetMaxOpenConns(1)
	return db, nil
}

func openPostgres(dsn string) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("open services: the database can't be read as a postgres:// address") // the error could show the password
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	// What is accepted must be durable whatever the server's default is.
	cfg.RuntimeParams["synchronous_commit"] = "on"
	cfg.RuntimeParams["statement_timeout"] = "30000"
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	return db, nil
}

// migrate brings the tables to the newest version; their versions stand in a table of their own.
func (d *database) migrate(ctx context.Context) error {
	words := strings.NewReplacer("{BYTES}", "BLOB")
	dialect := goose.DialectSQLite3
	options := []goose.ProviderOption{goose.WithTableName("svc_versions"), goose.WithDisableGlobalRegistry(true)}
	if d.postgres {
		words, dialect = strings.NewReplacer("{BYTES}", "BYTEA"), goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker() // several nodes may start at once
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	files := fstest.MapFS{}
	for _, name := range names {
		text, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		files[filepath.Base(name)] = &fstest.MapFile{Data: []byte(words.Replace(string(text)))}
	}
	p, err := goose.NewProvider(dialect, d.db, files, options...)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// within runs a transaction.
func (d *database) within(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// each reads all rows.
func each(rows *sql.Rows, err error, row func(scan func(...any) error) error) error {
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

// lock makes this transaction the only one for its thing on PostgreSQL; SQLite has one writer anyway.
func (d *database) lock(ctx context.Context, tx *sql.Tx, what string) error {
	if !d.postgres {
		return nil
	}
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtext($1))`, "mmsrouter services "+what)
	return err
}

// skipLocked ends a query that picks rows to work on, so that two nodes pick different ones.
func (d *database) skipLocked() string {
	if d.postgres {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

func millis(t time.Time) int64 { return t.UnixMilli() }
