package app_test

import (
	"runtime"
	"testing"

	"github.com/mmsrouter/mmsrouter/app"
)

// TestTuneProcessors sets what the whole process has, and puts it back: it can't run beside others.
func TestTuneProcessors(t *testing.T) {
	for _, c := range []struct {
		name, database, environment string
		enabled                     bool
		more                        int
	}{
		{"no embedded MMSC", "", "", false, 0},
		{"SQLite", "", "", true, 1},
		{"PostgreSQL", "postgres://u@h/n", "", true, 0},
		{"said otherwise", "", "7", true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := runtime.GOMAXPROCS(0)
			defer runtime.GOMAXPROCS(before)
			t.Setenv("GOMAXPROCS", c.environment)
			cfg := app.DefaultConfig()
			cfg.MMSC.Enabled, cfg.MMSC.Database = c.enabled, c.database
			if got := app.TuneProcessors(&cfg); got != before+c.more || runtime.GOMAXPROCS(0) != got {
				t.Errorf("%d of %d", got, before)
			}
		})
	}
}
