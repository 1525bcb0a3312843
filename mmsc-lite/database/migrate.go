package database

import (
	"context"
	"errors"
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
// them do it at a time, whose connection is one more than the migration's own; on SQLite each step is one transaction, see
// migrateTries.
func (d *DB) Migrate(ctx context.Context, s Schema) error {
	again, err := d.migrate(ctx, s)
	for tries := 1; tries < migrateTries && again && ctx.Err() == nil; tries++ {
		again, err = d.migrate(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	return nil
}

// migrateTries bounds how often a migration of SQLite is begun again. Nothing keeps two processes from the same step: one
// commits it, the other's is undone as a whole, and then sees the first one's.
const migrateTries = 10

// migrate says of an error whether it comes of another process that migrates too, so that it is worth another try.
func (d *DB) migrate(ctx context.Context, s Schema) (again bool, err error) {
	p, err := d.provider(s)
	if err != nil {
		return false, err
	}
	if _, err = p.Up(ctx); err == nil || d.Postgres {
		return false, err
	}
	if busy(err) {
		return true, err
	}
	var step *goose.PartialError
	if !errors.As(err, &step) {
		return false, err
	}
	version, unknown := p.GetDBVersion(ctx)
	return unknown == nil && version >= step.Failed.Source.Version, err // it stands there, and not by us
}

// provider is goose for these tables. It serves for one try: it looks for the table of versions only once.
func (d *DB) provider(s Schema) (*goose.Provider, error) {
	words := strings.NewReplacer("{SERIAL}", "INTEGER PRIMARY KEY", "{BYTES}", "BLOB")
	dialect := goose.DialectSQLite3
	options := []goose.ProviderOption{goose.WithTableName(s.Table), goose.WithDisableGlobalRegistry(true)}
	if d.Postgres {
		words = strings.NewReplacer("{SERIAL}", "BIGSERIAL PRIMARY KEY", "{BYTES}", "BYTEA")
		dialect = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	names, err := fs.Glob(s.Files, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	files := fstest.MapFS{}
	for _, name := range names {
		text, err := fs.ReadFile(s.Files, name)
		if err != nil {
			return nil, err
		}
		files[path.Base(name)] = &fstest.MapFile{Data: []byte(words.Replace(string(text)))}
	}
	return goose.NewProvider(dialect, d.DB, files, options...)
}
