package journal

import (
	"context"
	"embed"
	"errors"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/database"
)

//go:embed migrations/*.sql
var migrations embed.FS

// fileName is SQLite's file in the data folder; lockName is held by the process that owns it.
const (
	fileName = "ppg.db"
	lockName = "ppg.lock"
)

// readers is the connections of the pool that reads; the committer has the one of the other.
const readers = 4

// connect opens the two pools.
func (j *Journal) connect(ctx context.Context) (err error) {
	o := database.Options{Address: j.opt.Database, Dir: j.opt.Dir, File: fileName, Connections: 1}
	if j.write, err = database.Open(o); err != nil {
		return err
	}
	if !j.write.Postgres {
		o.Pragmas = []string{"query_only(1)"}
	}
	o.Connections = readers
	if j.read, err = database.Open(o); err != nil {
		return errors.Join(err, j.write.Close())
	}
	if err := j.write.PingContext(ctx); err != nil {
		return errors.Join(err, j.write.Close(), j.read.Close())
	}
	return nil
}

// migrate brings the schema to the newest version.
func (j *Journal) migrate(ctx context.Context) error {
	db := j.write
	if db.Postgres {
		db = j.read // the lock takes a connection of its own
	}
	return db.Migrate(ctx, database.Schema{Files: migrations, Table: "ppg_schema"})
}
