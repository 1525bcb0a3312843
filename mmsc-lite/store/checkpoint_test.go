package store

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestLogIsWrittenOver: behind a checkpoint SQLite begins its log anew, so the file does not grow.
func TestLogIsWrittenOver(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), Options{Dir: dir, Node: "n"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	write := func() int64 {
		t.Helper()
		for range 50 {
			if err := s.do(ctx, 0, nil, func(tx *Tx) error {
				return tx.event(1, 0, time.Now(), "test", probeText[:3000])
			}); err != nil {
				t.Fatal(err)
			}
		}
		info, err := os.Stat(filepath.Join(dir, fileName+"-wal"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	first := write()
	for range 4 {
		s.checkpoint()
		s.rest.Store(true) // however long that took here
		if now := write(); now > first*3/2 {
			t.Fatalf("the log has grown from %d to %d octets", first, now)
		}
	}
}
