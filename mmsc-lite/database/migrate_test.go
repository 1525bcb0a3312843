package database_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"modernc.org/sqlite"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/database"
)

// watched connects to a SQLite file and tells of each transaction before it begins: goose's table of versions is the first one
// of a new file, then each step is one.
type watched struct {
	file  string
	begun int
	begin func(n int)
}

func (w *watched) Driver() driver.Driver { return &sqlite.Driver{} }

func (w *watched) Connect(context.Context) (driver.Conn, error) {
	c, err := w.Driver().Open("file:" + w.file + "?_txlock=immediate&_pragma=busy_timeout(1)")
	if err != nil {
		return nil, err
	}
	return watchedConn{c.(sqliteConn), w}, nil
}

// sqliteConn is what the driver's connections do.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
}

type watchedConn struct {
	sqliteConn
	w *watched
}

func (c watchedConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	c.w.begun++
	c.w.begin(c.w.begun)
	return c.sqliteConn.BeginTx(ctx, o)
}

// TestMigrateAgain holds which failures of a migration are worth another try: those that another process has caused.
func TestMigrateAgain(t *testing.T) {
	wrong := database.Schema{Table: "test_versions", Files: fstest.MapFS{
		"migrations/00001_one.sql": schema.Files.(fstest.MapFS)["migrations/00001_one.sql"],
		"migrations/00002_two.sql": {Data: []byte("-- +goose Up\nINSERT INTO nowhere (name) VALUES ('a');\n")},
	}}
	for _, c := range []struct {
		name   string
		schema database.Schema
		meddle func(t *testing.T, n int, other *database.DB) // before transaction n
		begun  int
		want   string // in the error; empty: none
	}{
		{"nobody else", schema, func(*testing.T, int, *database.DB) {}, 3, ""},
		{"a fault of its own", wrong, func(*testing.T, int, *database.DB) {}, 3, "nowhere"},
		{"another process makes all the tables", schema, func(t *testing.T, n int, other *database.DB) {
			if n == 2 {
				if err := other.Migrate(t.Context(), schema); err != nil {
					t.Error(err)
				}
			}
		}, 2, ""},
		{"a lock for one try", schema, func() func(*testing.T, int, *database.DB) {
			var lock *sql.Tx
			return func(t *testing.T, n int, other *database.DB) {
				var err error
				switch n {
				case 2:
					lock, err = other.BeginTx(t.Context(), nil)
				case 3:
					err = lock.Rollback()
				}
				if err != nil {
					t.Error(err)
				}
			}
		}(), 4, ""},
		{"a lock for good", schema, func(t *testing.T, n int, other *database.DB) {
			if n == 2 {
				lock, err := other.BeginTx(t.Context(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { _ = lock.Rollback() }) // the context's end may have done it
			}
		}, 11, "locked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			other, err := database.Open(database.Options{Dir: dir, File: "x.db", Connections: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			w := &watched{file: filepath.Join(dir, "x.db"), begin: func(n int) { c.meddle(t, n, other) }}
			db := &database.DB{DB: sql.OpenDB(w)}
			defer db.Close()
			err = db.Migrate(t.Context(), c.schema)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v; want %q", err, c.want)
			}
			if w.begun != c.begun {
				t.Errorf("%d transactions, want %d", w.begun, c.begun)
			}
			if c.want == "" {
				var rows int
				if err := errors.Join(other.Migrate(t.Context(), schema), other.QueryRowContext(t.Context(), `SELECT count(*) FROM things`).Scan(&rows)); err != nil || rows != 2 {
					t.Errorf("%d rows, %v", rows, err)
				}
			}
		})
	}
}
