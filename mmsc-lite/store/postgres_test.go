package store_test

import (
	"os"
	"testing"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestPostgres(t *testing.T) {
	pgtest.DSN(t) // skips here, in one line, and not in each case
	conformance(t, openPostgres)
}

func openPostgres(t *testing.T, tune store.Tuning) (*store.Store, func() *store.Store) {
	dsn, dir := pgtest.DSN(t), pgtest.TempDir(t)
	reopen := func() *store.Store {
		t.Helper()
		s, err := store.Open(t.Context(), store.Options{Dir: dir, Database: dsn, Node: "r1", Tuning: tune})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return reopen(), reopen
}
