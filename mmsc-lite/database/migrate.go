package database

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"testing/fstest"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Schema is a room's tables.
type Schema struct {
	Files fs.FS  // goose's migrations/*.sql; {BYTES} and {SERIAL} stand for what the engines call differently
	Table string // where their versions stand: a table of the room's own
}

// Migrate brings the tables to the newest version. Several nodes may start at once: PostgreSQL's advisory lock lets one of
// them do it at a time, whose connection is one more than the migration's own; SQLite has its file lock.
func (d *DB) Migrate(ctx context.Context, s Schema) error {
	if err := d.migrate(ctx, s); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	return nil
}

func (d *DB) migrate(ctx context.Context, s Schema) error {
	words := strings.NewReplacer("{SERIAL}", "INTEGER PRIMARY KEY", "{BYTES}", "BLOB")
	dialect := goose.DialectSQLite3
	options := []goose.ProviderOption{goose.WithTableName(s.Table), goose.WithDisableGlobalRegistry(true)}
	if d.Postgres {
		words = strings.NewReplacer("{SERIAL}", "BIGSERIAL PRIMARY KEY", "{BYTES}", "BYTEA")
		dialect = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	names, err := fs.Glob(s.Files, "migrations/*.sql")
	if err != nil {
		return err
	}
	files := fstest.MapFS{}
	for _, name := range names {
		text, err := fs.ReadFile(s.Files, name)
		if err != nil {
			return err
		}
		files[path.Base(name)] = &fstest.MapFile{Data: []byte(words.Replace(string(text)))}
	}
	p, err := goose.NewProvider(dialect, d.DB, files, options...)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}
