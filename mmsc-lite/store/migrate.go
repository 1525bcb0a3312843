package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"testing/fstest"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// words fills in what the two engines call differently.
func (e engine) words() *strings.Replacer {
	if e == postgres {
		return strings.NewReplacer("{ID}", "BIGINT PRIMARY KEY", "{SERIAL}", "BIGSERIAL PRIMARY KEY", "{BYTES}", "BYTEA",
			// The octets are compressed already; PostgreSQL need not try.
			"{EXTERNAL}", "ALTER TABLE chunks ALTER COLUMN data SET STORAGE EXTERNAL;")
	}
	return strings.NewReplacer("{ID}", "INTEGER PRIMARY KEY", "{SERIAL}", "INTEGER PRIMARY KEY", "{BYTES}", "BLOB", "{EXTERNAL}", "")
}

// migrate brings the schema to the newest version. Several nodes may start at once: PostgreSQL's advisory
// lock lets one of them do it, SQLite has its own file lock.
func migrate(ctx context.Context, db *sql.DB, e engine) error {
	files := fstest.MapFS{}
	err := fs.WalkDir(migrations, "migrations", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := migrations.ReadFile(path)
		if err != nil {
			return err
		}
		files[d.Name()] = &fstest.MapFile{Data: []byte(e.words().Replace(string(text)))}
		return nil
	})
	if err != nil {
		return err
	}
	dialect := goose.DialectSQLite3
	var options []goose.ProviderOption
	if e == postgres {
		dialect = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	p, err := goose.NewProvider(dialect, db, files, options...)
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	return nil
}
