package segment_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/segment"
)

func open(t *testing.T, dir string, limit int64) *segment.Log {
	t.Helper()
	l, err := segment.Open(dir, limit, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, l.Close()) })
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func octets(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.IntN(256))
	}
	return b
}

// write writes in pieces of 1,000 octets, at once or one by one.
func write(l *segment.Log, b []byte) (*segment.Extent, error) {
	if len(b)%2 == 0 {
		return l.Write(slices.Collect(slices.Chunk(b, 1000))...)
	}
	return l.Stream(int64(len(b)), func(piece func([]byte) error) error {
		for c := range slices.Chunk(b, 1000) {
			if err := piece(c); err != nil {
				return err
			}
		}
		return nil
	})
}

func stored(t *testing.T, l *segment.Log, b []byte) *segment.Extent {
	t.Helper()
	e, err := write(l, b)
	must(t, err)
	must(t, l.Sync([]*segment.Extent{e}))
	return e
}

func numbers(t *testing.T, l *segment.Log) []int64 {
	t.Helper()
	n, err := l.Numbers()
	must(t, err)
	return n
}

func TestManyWriters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "contents")
	l := open(t, dir, 100_000)
	var mu sync.Mutex
	want := map[segment.Place][]byte{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 20 {
				b := octets(1 + rand.IntN(40_000))
				e, err := write(l, b)
				if err == nil {
					end := func() error { return l.Sync([]*segment.Extent{e}) }
					if i%2 == 0 {
						end = l.Begin([]*segment.Extent{e})
					}
					err = errors.Join(end(), e.Release())
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				want[e.Place] = b
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	must(t, l.Close())
	l = open(t, dir, 100_000)
	for p, b := range want {
		var got bytes.Buffer
		if err := l.Read(p, &got); err != nil || !bytes.Equal(got.Bytes(), b) {
			t.Errorf("%+v: %d octets, %v", p, got.Len(), err)
		}
		if p.Start%4096 != 0 {
			t.Errorf("%+v does not begin with a block", p)
		}
		if n, err := l.Octets(p.Segment); err != nil || n < p.Start+p.Size {
			t.Errorf("segment %d has %d octets, %v", p.Segment, n, err)
		}
	}
	if n := len(numbers(t, l)); n < 10 {
		t.Errorf("%d segments for 3 MB at 100 KB each", n)
	}
	e := stored(t, l, octets(10))
	if len(want[segment.Place{Segment: e.Segment}]) > 0 || slices.Max(numbers(t, l)) != e.Segment {
		t.Errorf("segment %d is written again by another process", e.Segment)
	}
	must(t, e.Release())
}

// TestDamage looks at what Read gives of contents that are not as they were written.
func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(path string, p *segment.Place) error
		want error
		come int // octets that may come before
	}{
		{"a bit", func(path string, p *segment.Place) error {
			b, err := os.ReadFile(path)
			if err == nil {
				b[p.Start+5] ^= 1
				err = os.WriteFile(path, b, 0o600)
			}
			return err
		}, segment.ErrDamaged, 128 << 10},
		{"cut", func(path string, p *segment.Place) error { return os.Truncate(path, p.Start+p.Size-1) }, segment.ErrDamaged, 128 << 10},
		{"another place", func(_ string, p *segment.Place) error { p.Start++; return nil }, segment.ErrDamaged, 128 << 10},
		{"no file", func(path string, _ *segment.Place) error { return os.Remove(path) }, segment.ErrGone, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "contents")
			l := open(t, dir, 1<<20)
			must(t, stored(t, l, octets(100)).Release())
			e := stored(t, l, octets(200_000))
			must(t, e.Release())
			p := e.Place
			must(t, c.harm(filepath.Join(dir, "000000000001.seg"), &p))
			var got bytes.Buffer
			if err := l.Read(p, &got); !errors.Is(err, c.want) || got.Len() > c.come {
				t.Errorf("%v after %d octets", err, got.Len())
			}
		})
	}
}

func TestReaderGoesAway(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "contents"), 1<<20)
	e := stored(t, l, octets(1000))
	must(t, e.Release())
	r, w := io.Pipe()
	must(t, r.CloseWithError(io.ErrNoProgress))
	if err := l.Read(e.Place, w); err != io.ErrNoProgress {
		t.Errorf("%v instead of the writer's own error", err)
	}
}

// TestIdle follows segments from active to removed.
func TestIdle(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "contents"), 10_000)
	first, second := stored(t, l, octets(9000)), stored(t, l, octets(9000)) // seals the first segment
	idle := func() (out []*segment.Idle) {
		t.Helper()
		out, err := l.Idle(10)
		must(t, err)
		return out
	}
	if got := idle(); len(got) != 0 {
		t.Fatalf("%d segments idle while extents are held", len(got))
	}
	must(t, second.Release())
	must(t, first.Release())
	got := idle()
	if len(got) != 1 || got[0].Number != first.Segment || got[0].Octets != 9000 {
		t.Fatalf("idle: %+v", got)
	}
	if len(idle()) != 0 {
		t.Error("a segment is given twice")
	}
	must(t, got[0].Keep(5000))
	if n, err := l.Octets(first.Segment); err != nil || n != 5000 {
		t.Errorf("cut to %d, %v", n, err)
	}
	if len(idle()) != 0 {
		t.Error("a segment that was kept is given again")
	}
	l.Mark(first.Segment)
	l.Mark(second.Segment) // still active
	got = idle()
	if len(got) != 1 || got[0].Number != first.Segment {
		t.Fatalf("idle: %+v", got)
	}
	must(t, got[0].Remove())
	if n := numbers(t, l); !slices.Equal(n, []int64{second.Segment}) {
		t.Errorf("there are %v", n)
	}
}

// TestTwoProcesses lets two use one folder, as old and new program do for a moment in an upgrade.
func TestTwoProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "contents")
	old := open(t, dir, 10_000)
	e := stored(t, old, octets(100))
	now := open(t, dir, 10_000)
	if got, err := now.Idle(10); err != nil || len(got) != 0 {
		t.Fatalf("the other's segment is idle: %v, %v", got, err)
	}
	mine := stored(t, now, octets(100))
	if mine.Segment == e.Segment {
		t.Error("both write one segment")
	}
	must(t, mine.Release())
	must(t, e.Release())
	must(t, old.Close())
	got, err := now.Idle(10)
	if err != nil || len(got) != 1 || got[0].Number != e.Segment {
		t.Fatalf("after the other's end: %v, %v", got, err)
	}
	must(t, got[0].Remove())
}

func TestDiscard(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "contents"), 1<<20)
	first := stored(t, l, octets(5000))
	second := stored(t, l, octets(5000))
	must(t, second.Discard())
	third := stored(t, l, octets(6000))
	if third.Place.Start != second.Place.Start || third.Segment != second.Segment {
		t.Errorf("the room of %+v is not used again: %+v", second.Place, third.Place)
	}
	must(t, first.Discard()) // something follows it: rubbish
	short := errors.New("short")
	if _, err := l.Stream(100, func(piece func([]byte) error) error { return errors.Join(piece(octets(50)), short) }); !errors.Is(err, short) {
		t.Errorf("a source that fails: %v", err)
	}
	for name, n := range map[string]int{"shorter": 99, "longer": 101} {
		if _, err := l.Stream(100, func(piece func([]byte) error) error { return piece(octets(n)) }); err == nil {
			t.Errorf("a content %s than it said was taken", name)
		}
	}
	var got bytes.Buffer
	must(t, l.Read(third.Place, &got))
	must(t, third.Release())
	must(t, l.Close())
	if _, err := write(l, octets(1)); !errors.Is(err, segment.ErrClosed) {
		t.Errorf("a write after Close: %v", err)
	}
}

// TestSyncFails: a segment whose sync failed takes nothing more, and no later sync of it says yes.
func TestSyncFails(t *testing.T) {
	l, err := segment.Open(filepath.Join(t.TempDir(), "contents"), 1<<20, 41)
	must(t, err)
	e, err := write(l, octets(100))
	must(t, err)
	must(t, e.BreakSync())
	for range 2 {
		if err := l.Begin([]*segment.Extent{e})(); err == nil {
			t.Error("a sync in the background that failed said yes")
		}
		if err := l.Sync([]*segment.Extent{e}); err == nil {
			t.Error("a sync that failed said yes")
		}
	}
	next := stored(t, l, octets(100))
	if e.Segment != 42 || next.Segment != 43 {
		t.Errorf("segments %d and %d", e.Segment, next.Segment)
	}
	must(t, next.Release())
	if err := e.Release(); err == nil {
		t.Error("the file was closed twice without a word")
	}
	must(t, l.Close())
}

// TestManyPieces writes more pieces than the kernel takes at once, empty ones among them.
func TestManyPieces(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "contents"), 1<<20)
	b := octets(5001)
	pieces := [][]byte{{}, b[:1]}
	for i := 1; i < len(b); i += 2 {
		pieces = append(pieces, b[i:i+2], nil)
	}
	e, err := l.Write(pieces...)
	must(t, err)
	var got bytes.Buffer
	if err := l.Read(e.Place, &got); err != nil || !bytes.Equal(got.Bytes(), b) {
		t.Errorf("%d octets, %v", got.Len(), err)
	}
	must(t, e.Release())
}
