package database_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/database"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// schema is two versions of a table: one row each for "a" and "b".
var schema = database.Schema{Table: "test_versions", Files: fstest.MapFS{
	"migrations/00001_one.sql": {Data: []byte("-- +goose Up\nCREATE TABLE things (id {SERIAL}, name TEXT NOT NULL UNIQUE, data {BYTES}, n BIGINT NOT NULL);\n")},
	"migrations/00002_two.sql": {Data: []byte("-- +goose Up\nINSERT INTO things (name, n) VALUES ('a', 0), ('b', 0);\n")},
}}

func engines(t *testing.T, story func(t *testing.T, o database.Options)) {
	t.Run("SQLite", func(t *testing.T) {
		story(t, database.Options{Dir: filepath.Join(t.TempDir(), "not yet", "there"), File: "x.db", Connections: 4})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		story(t, database.Options{Address: pgtest.DSN(t), Connections: 4})
	})
}

func open(t *testing.T, o database.Options) *database.DB {
	t.Helper()
	db, err := database.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Migrate(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
	return db
}

// TestOpenTogether opens one database from several nodes at once: one of them makes the tables, once.
func TestOpenTogether(t *testing.T) {
	engines(t, func(t *testing.T, o database.Options) {
		errs := make(chan error, 4)
		for range cap(errs) {
			go func() {
				db, err := database.Open(o)
				if err == nil {
					err = errors.Join(db.Migrate(t.Context(), schema), db.Close())
				}
				errs <- err
			}()
		}
		for range cap(errs) {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		db := open(t, o)
		var names []string
		rows, err := db.QueryContext(t.Context(), `SELECT name FROM things ORDER BY id`)
		err = database.Each(rows, err, func(scan func(...any) error) error {
			var name string
			err := scan(&name)
			names = append(names, name)
			return err
		})
		if err != nil || strings.Join(names, " ") != "a b" {
			t.Fatalf("%q, %v", names, err)
		}
	})
}

// TestWithin holds that a transaction is whole or not at all, and that its error is the cause.
func TestWithin(t *testing.T) {
	engines(t, func(t *testing.T, o database.Options) {
		db := open(t, o)
		count := func() (n int) {
			if err := db.QueryRowContext(t.Context(), `SELECT SUM(n) FROM things`).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		add := func(tx *sql.Tx) error {
			_, err := tx.ExecContext(t.Context(), `UPDATE things SET n = n + 1`)
			return err
		}
		broken := errors.New("broken")
		if err := db.Within(t.Context(), func(tx *sql.Tx) error { return errors.Join(add(tx), broken) }); !errors.Is(err, broken) || count() != 0 {
			t.Fatalf("%v, %d", err, count())
		}
		ctx, cancel := context.WithCancel(t.Context())
		if err := db.Within(ctx, func(tx *sql.Tx) error {
			err := add(tx)
			cancel()
			return err
		}); err == nil || count() != 0 {
			t.Fatalf("cut off: %v, %d", err, count())
		}
		if err := db.Within(t.Context(), add); err != nil || count() != 2 {
			t.Fatalf("%v, %d", err, count())
		}
	})
}

// TestConflict lets two transactions take the same rows in opposite order, so that PostgreSQL must give one up: both come
// to their end all the same, each counted once.
func TestConflict(t *testing.T) {
	engines(t, func(t *testing.T, o database.Options) {
		db := open(t, o)
		var both sync.WaitGroup // both hold their first row before either asks for its second
		if db.Postgres {
			both.Add(2)
		}
		run := func(first, second string) error {
			tries := 0
			err := db.Within(t.Context(), func(tx *sql.Tx) error {
				tries++
				for i, name := range []string{first, second} {
					if _, err := tx.ExecContext(t.Context(), `UPDATE things SET n = n + 1 WHERE name = $1`, name); err != nil {
						return err
					}
					if i == 0 && tries == 1 && db.Postgres {
						both.Done()
						both.Wait()
					}
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("%s before %s, try %d: %w", first, second, tries, err)
			}
			return nil
		}
		other := make(chan error, 1)
		go func() { other <- run("b", "a") }()
		if err := errors.Join(run("a", "b"), <-other); err != nil {
			t.Fatal(err)
		}
		var a, b int
		if err := db.QueryRowContext(t.Context(), `SELECT MIN(n), MAX(n) FROM things`).Scan(&a, &b); err != nil || a != 2 || b != 2 {
			t.Fatalf("counted %d and %d times, want 2: %v", a, b, err)
		}
	})
}

func TestBadOptions(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(file, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		o    database.Options
		want string
	}{
		{"an address that can't be read", database.Options{Address: "postgres://u:geheim@[::1", Connections: 1}, "can't be read"},
		{"nobody listens", database.Options{Address: "postgres://u:geheim@127.0.0.1:1/x", Connections: 2}, "schema: "},
		{"a file in place of the folder", database.Options{Dir: file, File: "x.db", Connections: 1}, "data folder"},
		{"no SQLite file", database.Options{Dir: dir, File: "garbage.db", Connections: 1}, "not a database"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, err := database.Open(c.o)
			if err == nil {
				defer db.Close()
				err = db.Migrate(t.Context(), schema)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "geheim") {
				t.Fatalf("%v", err)
			}
		})
	}
}

// TestWithinTogether lets many write at once: each outcome is its own, whatever the others' are, and what was answered stands.
func TestWithinTogether(t *testing.T) {
	engines(t, func(t *testing.T, o database.Options) {
		db := open(t, o)
		no := errors.New("no")
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		var wg sync.WaitGroup
		var mu sync.Mutex
		want := 0
		for i := range 200 {
			wg.Go(func() {
				ctx := t.Context()
				if i%7 == 3 {
					ctx = gone
				}
				err := db.Within(ctx, func(tx *sql.Tx) error {
					if _, err := tx.ExecContext(ctx, `INSERT INTO things (name, n) VALUES ($1, 1)`, fmt.Sprint("t", i)); err != nil {
						return err
					}
					switch i % 5 {
					case 0: // it changes its mind
						return no
					case 1: // it breaks a rule
						_, err := tx.ExecContext(ctx, `INSERT INTO things (name, n) VALUES ('a', 1)`)
						return err
					}
					return nil
				})
				switch {
				case i%7 == 3:
					if !errors.Is(err, context.Canceled) {
						t.Errorf("%d, whose context has ended: %v", i, err)
					}
				case i%5 == 0:
					if !errors.Is(err, no) {
						t.Errorf("%d: %v", i, err)
					}
				case i%5 == 1:
					if err == nil || errors.Is(err, no) {
						t.Errorf("%d: %v", i, err)
					}
				case err != nil:
					t.Errorf("%d: %v", i, err)
				default:
					mu.Lock()
					want++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		var n int
		if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM things WHERE n = 1`).Scan(&n); err != nil || n != want {
			t.Errorf("%d rows, %v; want those %d that were answered", n, err, want)
		}
	})
}

// TestWithinInterrupted ends contexts in the middle of statements: SQLite then undoes the whole transaction, the others' part too,
// and they have to be done again.
func TestWithinInterrupted(t *testing.T) {
	db := open(t, database.Options{Dir: t.TempDir(), File: "x.db", Connections: 4})
	const slow = `INSERT INTO things (name, n) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 300000) SELECT 'x' || i, 2 FROM c`
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := db.Within(ctx, func(tx *sql.Tx) error {
				if i%10 != 5 {
					_, err := tx.ExecContext(ctx, `INSERT INTO things (name, n) VALUES ($1, 1)`, fmt.Sprint("t", i))
					return err
				}
				time.AfterFunc(5*time.Millisecond, cancel)
				_, err := tx.ExecContext(ctx, slow)
				return err
			})
			if (err != nil) != (i%10 == 5) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for n, want := range map[int]int{1: 36, 2: 0} {
		var rows int
		if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM things WHERE n = $1`, n).Scan(&rows); err != nil || rows != want {
			t.Errorf("%d rows of %d, want %d, %v", rows, n, want, err)
		}
	}
}
