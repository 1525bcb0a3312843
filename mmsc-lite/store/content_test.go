package store_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// small makes segments of about three contents of 30 KB.
var small = store.Tuning{Segment: 100_000, KeepContent: time.Millisecond}

func openAt(t *testing.T, dir string, tune store.Tuning, log *slog.Logger) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: dir, Node: "r1", Tuning: tune, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "contents", "*.seg"))
	must(t, err)
	return names
}

// octetsIn gives the length of all segments together.
func octetsIn(t *testing.T, dir string) (n int64) {
	t.Helper()
	for _, name := range segments(t, dir) {
		info, err := os.Stat(name)
		must(t, err)
		n += info.Size()
	}
	return n
}

// purge finishes recipients and returns when their contents are gone and the segments are cleared up.
func purge(t *testing.T, s *store.Store, refs ...store.Ref) {
	t.Helper()
	for _, ref := range refs {
		must(t, s.Finish(t.Context(), ref.ID, store.Outcome{State: store.Retrieved}))
	}
	end := time.Now().Add(20 * time.Second)
	for _, ref := range refs {
		for {
			_, err := s.Lookup(t.Context(), ref)
			if errors.Is(err, store.ErrNotFound) {
				break
			}
			must(t, err)
			if time.Now().After(end) {
				t.Fatal("a content is not purged")
			}
			s.Sweep(t.Context())
		}
	}
	s.Sweep(t.Context())
}

// TestTidy purges most contents and wants their room back, and the others whole.
func TestTidy(t *testing.T) {
	dir := pgtest.TempDir(t)
	s := openAt(t, dir, small, nil)
	stop := running(t, s)
	var all []store.Ref
	for i := range 30 {
		got, err := s.Submit(t.Context(), message(t, s, nil, body(30_000+i), "+46700000002"))
		must(t, err)
		all = append(all, got.Recipients[0])
	}
	if n := len(segments(t, dir)); n != 10 {
		t.Fatalf("%d segments", n)
	}
	kept := map[int]bool{4: true, 5: true, 7: true, 10: true, 28: true}
	var old []store.Ref
	for i, ref := range all {
		if !kept[i] {
			old = append(old, ref)
		}
	}
	check := func(s *store.Store) {
		t.Helper()
		for i, ref := range all {
			if kept[i] {
				if b, _ := fetch(t, s, ref); !bytes.Equal(b, body(30_000+i)) {
					t.Errorf("message %d differs", i)
				}
			} else if _, err := s.Lookup(t.Context(), ref); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("message %d is still there: %v", i, err)
			}
		}
	}
	purge(t, s, old...)
	// Messages 4 and 5 fill two thirds of their segment and stay where they are; 28 lies in the active one.
	if n, octets := len(segments(t, dir)), octetsIn(t, dir); n > 4 || octets > 300_000 {
		t.Errorf("%d segments with %d octets for 5 contents", n, octets)
	}
	check(s)
	stop()
	s = openAt(t, dir, small, nil)
	running(t, s)
	s.Sweep(t.Context()) // also what was active before
	check(s)
	if n, octets := len(segments(t, dir)), octetsIn(t, dir); n > 4 || octets > 250_000 {
		t.Errorf("after a restart: %d segments with %d octets", n, octets)
	}
}

// TestMovedWhileFetched moves a content between a lookup and the reading of its body.
func TestMovedWhileFetched(t *testing.T) {
	dir := pgtest.TempDir(t)
	s := openAt(t, dir, small, nil)
	running(t, s)
	var all []store.Ref
	for range 4 {
		got, err := s.Submit(t.Context(), message(t, s, nil, body(30_000), "+46700000002"))
		must(t, err)
		all = append(all, got.Recipients[0])
	}
	f, err := s.Lookup(t.Context(), all[0])
	must(t, err)
	gone, err := s.Lookup(t.Context(), all[1])
	must(t, err)
	first := segments(t, dir)[0]
	purge(t, s, all[1:3]...)
	if _, err := os.Stat(first); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the first segment is still there: %v", err)
	}
	var b bytes.Buffer
	if err := f.WriteBody(t.Context(), &b); err != nil || !bytes.Equal(b.Bytes(), body(30_000)) {
		t.Errorf("%d octets, %v", b.Len(), err)
	}
	if err := gone.WriteBody(t.Context(), io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a content that was purged: %v", err)
	}
}

// TestDamagedContent breaks files of contents under a store.
func TestDamagedContent(t *testing.T) {
	dir := pgtest.TempDir(t)
	s := openAt(t, dir, small, nil)
	stop := running(t, s)
	var all, messages []store.Ref
	for range 5 { // two segments
		got, err := s.Submit(t.Context(), message(t, s, nil, body(30_000), "+46700000002"))
		must(t, err)
		all, messages = append(all, got.Recipients[0]), append(messages, got.Message)
	}
	stop()
	names := segments(t, dir)
	b, err := os.ReadFile(names[0])
	must(t, err)
	b[100] ^= 1
	must(t, os.WriteFile(names[0], b, 0o600))
	must(t, os.Remove(names[1]))
	var log bytes.Buffer
	s = openAt(t, dir, small, slog.New(slog.NewTextHandler(&log, nil)))
	if text := log.String(); strings.Count(text, "missing or cut") != 1 {
		t.Errorf("log: %q", text)
	}
	running(t, s)
	var faults []store.Ref
	v, err := store.Verify(t.Context(), dir, func(f store.Fault) { faults = append(faults, f.Messages...) })
	if err != nil || v != (store.Verified{Contents: 5, InFiles: 5, Octets: 150_000, Faults: 3}) {
		t.Errorf("verified: %+v, %v", v, err)
	}
	if !slices.Equal(faults, []store.Ref{messages[0], messages[3], messages[4]}) {
		t.Errorf("faults in %v", faults)
	}
	for i, want := range []bool{false, true, true, false, false} {
		f, err := s.Lookup(t.Context(), all[i])
		must(t, err)
		var b bytes.Buffer
		var down *store.Unavailable
		switch err := f.WriteBody(t.Context(), &b); {
		case want && (err != nil || !bytes.Equal(b.Bytes(), body(30_000))):
			t.Errorf("message %d: %v", i, err)
		case !want && (!errors.As(err, &down) || b.Len() > 0):
			t.Errorf("damaged message %d: %d octets, %v", i, b.Len(), err)
		}
	}
}

// TestContentsInTheDatabase opens a database whose contents are all in rows, as older programs wrote them.
func TestContentsInTheDatabase(t *testing.T) {
	dir := pgtest.TempDir(t)
	s := openAt(t, dir, store.Tuning{Inline: 10 << 20}, nil)
	stop := running(t, s)
	got, err := s.Submit(t.Context(), message(t, s, nil, body(300_000), "+46700000002"))
	must(t, err)
	stop()
	if n := len(segments(t, dir)); n != 0 {
		t.Fatalf("%d segments", n)
	}
	s = openAt(t, dir, small, nil)
	running(t, s)
	if b, _ := fetch(t, s, got.Recipients[0]); !bytes.Equal(b, body(300_000)) {
		t.Error("the content differs")
	}
	purge(t, s, got.Recipients[0])
}

// TestDuplicateLeavesNoOctets submits one message again and again.
func TestDuplicateLeavesNoOctets(t *testing.T) {
	dir := pgtest.TempDir(t)
	s := openAt(t, dir, store.Tuning{}, nil)
	running(t, s)
	for range 5 {
		m := message(t, s, nil, body(30_000), "+46700000002")
		m.Dedupe = true
		_, err := s.Submit(t.Context(), m)
		must(t, err)
	}
	if n := octetsIn(t, dir); n != 30_000 && n != 32<<10 {
		t.Errorf("%d octets for one content", n)
	}
}

// TestOctetsWritten counts what stands on the disk behind submissions of 300 KB: each content once, from the next block on, and little else.
// It is the guard of what the store costs; the time it takes is measured by the bench.
func TestOctetsWritten(t *testing.T) {
	dir := pgtest.TempDir(t)
	s := openAt(t, dir, store.Tuning{}, nil)
	running(t, s)
	const n, size, block = 40, 300_000, 4096
	for range n {
		_, err := s.Submit(t.Context(), message(t, s, nil, body(size), "+46700000002"))
		must(t, err)
	}
	if got, most := octetsIn(t, dir), int64(n*(size+block)); got < n*size || got > most {
		t.Errorf("%d octets in segments for %d contents of %d", got, n, size)
	}
	rows := int64(0)
	for _, name := range []string{"mmsc.db", "mmsc.db-wal"} {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		rows += info.Size()
	}
	// The log alone has grown by some pages for each commit; the contents would be 12 MB.
	if rows > n*100_000 {
		t.Errorf("%d octets in the database and its log for %d messages", rows, n)
	}
}
