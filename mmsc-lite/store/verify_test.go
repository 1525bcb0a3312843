package store_test

import (
	"database/sql"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// TestVerifyBesideTheStore verifies while messages come, are purged and are moved: none of it is a fault.
func TestVerifyBesideTheStore(t *testing.T) {
	dir := pgtest.TempDir(t)
	s := openAt(t, dir, store.Tuning{Segment: 100_000, KeepContent: time.Millisecond}, nil)
	running(t, s)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 60 {
			got, err := s.Submit(t.Context(), message(t, s, nil, body(500*(i+1)), "+46700000002"))
			if err == nil && i%3 > 0 {
				err = s.Finish(t.Context(), got.Recipients[0].ID, store.Outcome{State: store.Retrieved})
			}
			if err != nil {
				t.Error(err)
				return
			}
			s.Sweep(t.Context())
		}
	})
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for more := true; more; {
		select {
		case <-done:
			more = false // once more, with nobody at work
		default:
		}
		v, err := store.Verify(t.Context(), dir, func(f store.Fault) { t.Errorf("%+v", f) })
		if err != nil || !more && (v.Contents < 20 || v.InFiles == 0 || v.InFiles == v.Contents) {
			t.Errorf("%+v, %v", v, err)
		}
	}
}

func TestVerifyChunks(t *testing.T) {
	dir := pgtest.TempDir(t)
	if _, err := store.Verify(t.Context(), dir, nil); err == nil {
		t.Error("an empty folder was verified")
	}
	s := openAt(t, dir, store.Tuning{}, nil)
	stop := running(t, s)
	got, err := s.Submit(t.Context(), message(t, s, nil, body(5000), "+46700000002"))
	must(t, err)
	stop()
	db, err := sql.Open("sqlite", filepath.Join(dir, "mmsc.db"))
	must(t, err)
	_, err = db.Exec(`UPDATE chunks SET data = x'00'`)
	must(t, err)
	must(t, db.Close())
	var faults []store.Fault
	v, err := store.Verify(t.Context(), dir, func(f store.Fault) { faults = append(faults, f) })
	if err != nil || v.Faults != 1 || len(faults) != 1 || len(faults[0].Messages) != 1 || faults[0].Messages[0] != got.Message {
		t.Errorf("%+v, %v, %v", v, faults, err)
	}
}
