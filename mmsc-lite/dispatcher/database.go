package dispatcher

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/database"
)

// fileName is SQLite's file in the data folder. It is not that of the messages: a SQLite file has one writer at a time, and
// submissions must not wait behind services.
const fileName = "services.db"

//go:embed migrations/*.sql
var migrations embed.FS

// tables is where everything stands that must not be lost. A write that returns nil is committed and synced.
type tables struct{ *database.DB }

// openTables opens or creates the database and brings the schema up to date. address is the postgres:// address of the MMSC's
// database, whose tables stand beside ours; empty: SQLite in dir.
func openTables(ctx context.Context, dir, address string) (*tables, error) {
	db, err := database.Open(database.Options{Address: address, Dir: dir, File: fileName, Connections: 8})
	if err != nil {
		return nil, fmt.Errorf("open services: %w", err)
	}
	if err := db.Migrate(ctx, database.Schema{Files: migrations, Table: "svc_versions"}); err != nil {
		return nil, errors.Join(fmt.Errorf("services: %w", err), db.Close())
	}
	return &tables{db}, nil
}

// lock makes this transaction the only one for its thing on PostgreSQL; SQLite has one writer anyway.
func (d *tables) lock(ctx context.Context, tx *sql.Tx, what string) error {
	if !d.Postgres {
		return nil
	}
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtext($1))`, "mmsrouter services "+what)
	return err
}

func millis(t time.Time) int64 { return t.UnixMilli() }
