package journal

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

//go:embed migrations/*.sql
var migrations embed.FS

// fileName is SQLite's file in the data folder; lockName is held by the process that owns it.
const (
	fileName = "ppg.db"
	lockName = "ppg.lock"
)

// connections of the two pools.
const readers = 4

// connect opens the two pools.
func (j *Journal) connect(ctx context.Context) (err error) {
	if j.postgres {
		cfg, err := pgx.ParseConfig(j.opt.Database)
		if err != nil {
			return errors.New("the database's address can't be read") // the error could show the password
		}
		if cfg.ConnectTimeout == 0 {
			cfg.ConnectTimeout = 5 * time.Second
		}
		cfg.RuntimeParams["synchronous_commit"] = "on" // accepted means durable, whatever the server's default is
		cfg.RuntimeParams["statement_timeout"] = "30000"
		j.write, j.read = stdlib.OpenDB(*cfg), stdlib.OpenDB(*cfg)
	} else {
		if err := os.MkdirAll(j.opt.Dir, 0o700); err != nil {
			return fmt.Errorf("data folder: %w", err)
		}
		path := (&url.URL{Path: filepath.Join(j.opt.Dir, fileName)}).EscapedPath()
		pragmas := []string{"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "journal_size_limit(33554432)"}
		if j.write, err = sql.Open("sqlite", "file:"+path+"?"+url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}.Encode()); err != nil {
			return err
		}
		if j.read, err = sql.Open("sqlite", "file:"+path+"?"+url.Values{"_pragma": append(pragmas, "query_only(1)")}.Encode()); err != nil {
			return errors.Join(err, j.write.Close())
		}
	}
	j.write.SetMaxOpenConns(1)
	j.read.SetMaxOpenConns(readers)
	j.read.SetMaxIdleConns(readers)
	if err := j.write.PingContext(ctx); err != nil {
		return errors.Join(err, j.write.Close(), j.read.Close())
	}
	return nil
}

// migrate brings the schema to the newest version.
func (j *Journal) migrate(ctx context.Context) error {
	words := strings.NewReplacer("{SERIAL}", "INTEGER PRIMARY KEY", "{BYTES}", "BLOB")
	dialect := goose.DialectSQLite3
	options := []goose.ProviderOption{goose.WithTableName("ppg_schema")}
	if j.postgres {
		words = strings.NewReplacer("{SERIAL}", "BIGSERIAL PRIMARY KEY", "{BYTES}", "BYTEA")
		dialect = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(schemaLock))
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	files := fstest.MapFS{}
	err := fs.WalkDir(migrations, "migrations", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := migrations.ReadFile(path)
		files[d.Name()] = &fstest.MapFile{Data: []byte(words.Replace(string(text)))}
		return err
	})
	if err != nil {
		return err
	}
	db := j.write
	if j.postgres {
		db = j.read // the lock takes a connection of its own
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

// schemaLock keeps two nodes from bringing up the schema at once; another one than the messages' own.
const schemaLock = 7_022_948
