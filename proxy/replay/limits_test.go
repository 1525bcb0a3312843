package replay_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/mmsrouter/mmsrouter/proxy/replay"
)

func TestTooLarge(t *testing.T) {
	for _, c := range []struct {
		name    string
		message int64
		limit   int
	}{{"memory", 1 << 30, 100 * kib}, {"file", 0, 200 * kib}, {"at once", 1 << 30, 0}} {
		t.Run(c.name, func(t *testing.T) {
			s := store(t, c.message, 1<<30)
			want := noise(rand.New(rand.NewPCG(1, 1)), c.limit)
			var b replay.Body
			b.Init(s, int64(c.limit), true)
			defer b.Free()
			write(t, &b, want)
			space, err := b.Space()
			if err != nil {
				t.Fatal(err)
			}
			for i := range space {
				space[i] = 0xEE
			}
			if err := b.Commit(1); !errors.Is(err, replay.ErrTooLarge) {
				t.Fatal(err)
			}
			if b.Size() != int64(c.limit) || b.Digest() != xxh3.Hash(want) {
				t.Fatalf("the body has changed: %d octets", b.Size())
			}
			check(t, &b, want, 0)
			check(t, &b, want, c.limit/2)
			if c.limit > 0 {
				check(t, &b, want, c.limit-1)
			}
			if err := b.Commit(0); err != nil {
				t.Fatalf("nothing is not too large: %v", err)
			}
		})
	}
}

// TestFilesTogether holds that all bodies together keep to their part of the disk, and that it is free again behind them.
func TestFilesTogether(t *testing.T) {
	s, err := replay.NewStore(replay.Options{Files: 300 * kib, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var a, b replay.Body
		a.Init(s, 1<<30, false)
		b.Init(s, 1<<30, false)
		one := noise(rand.New(rand.NewPCG(1, 1)), replay.Large+200*kib) // the first chunk is in memory
		write(t, &a, one)
		two := noise(rand.New(rand.NewPCG(2, 1)), replay.Large+100*kib)
		write(t, &b, two)
		if _, err := b.Space(); err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(1); !errors.Is(err, replay.ErrFull) {
			t.Fatalf("beyond it: %v", err)
		}
		check(t, &b, two, 0)
		check(t, &a, one, 0)
		if err := b.Commit(0); err != nil {
			t.Fatalf("nothing is not too much: %v", err)
		}
		b.Free()
		if _, err := a.Space(); err != nil {
			t.Fatal(err)
		}
		if err := a.Commit(100); err != nil {
			t.Fatalf("with room again: %v", err)
		}
		a.Free()
	}
}

// TestBudget holds that all bodies together keep to their part of memory: each has one chunk, and a file beyond.
func TestBudget(t *testing.T) {
	const bodies, total = 20, 6 * replay.Large
	s := store(t, 1<<30, total)
	all := make([]replay.Body, bodies)
	data := make([][]byte, bodies)
	for i := range all {
		data[i] = noise(rand.New(rand.NewPCG(uint64(i), 1)), 5*replay.Large/2)
		all[i].Init(s, 1<<30, false)
	}
	for part := range 5 {
		for i := range all {
			write(t, &all[i], data[i][part*replay.Large/2:(part+1)*replay.Large/2])
		}
	}
	if s.Spilled() != bodies { // after the first round the budget is gone
		t.Fatalf("%d of %d bodies went to a file", s.Spilled(), bodies)
	}
	if most := int64(total + 2*bodies*replay.Large); s.Used() > most { // a chunk and a scratch chunk each are not refused
		t.Fatalf("%d octets of memory, %d is the most", s.Used(), most)
	}
	for i := range all {
		check(t, &all[i], data[i], 0)
		check(t, &all[i], data[i], replay.Large+i)
		all[i].Free()
	}
	if s.Used() != 0 {
		t.Fatalf("%d octets are still in use", s.Used())
	}
	var b replay.Body
	b.Init(s, 1<<30, false)
	defer b.Free()
	write(t, &b, data[0])
	if s.Spilled() != bodies {
		t.Fatal("memory is free again, and a body went to a file")
	}
}

// TestFreeTwice holds that no buffer goes back to the pool twice.
func TestFreeTwice(t *testing.T) {
	s := store(t, 0, 1<<30)
	var b replay.Body
	b.Init(s, 1<<30, false)
	write(t, &b, make([]byte, 3*replay.Large))
	b.Free()
	b.Free()
	if s.Used() != 0 {
		t.Fatalf("%d octets in use", s.Used())
	}
	seen := map[*byte]bool{}
	for range 10 {
		p := s.Get()
		if seen[&p[0]] {
			t.Fatal("one buffer was given out twice")
		}
		seen[&p[0]] = true
	}
	var never replay.Body
	never.Init(s, 1, false)
	never.Free()
}

// TestFiles holds that temporary files have no names, and that Free closes them.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	s, err := replay.NewStore(replay.Options{Dir: dir, Total: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	open := func() (n int) {
		links, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, dir) { // one may be closed meanwhile
				n++
			}
		}
		return n
	}
	var b replay.Body
	b.Init(s, 1<<30, false)
	write(t, &b, make([]byte, 3*replay.Large))
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Fatalf("%v in the folder, %v", names, err)
	}
	if runtime.GOOS == "linux" && open() != 1 {
		t.Fatalf("%d files are open", open())
	}
	if b.Free(); runtime.GOOS == "linux" && open() != 0 {
		t.Fatalf("%d files are open behind Free", open())
	}
	t.Run("no folder", func(t *testing.T) {
		if _, err := replay.NewStore(replay.Options{Dir: filepath.Join(dir, "none")}); err == nil || !strings.Contains(err.Error(), "replay folder") {
			t.Fatal(err)
		}
	})
	t.Run("the folder goes away", func(t *testing.T) {
		gone := filepath.Join(dir, "gone")
		if err := os.Mkdir(gone, 0o700); err != nil {
			t.Fatal(err)
		}
		s, err := replay.NewStore(replay.Options{Dir: gone, Total: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(gone); err != nil {
			t.Fatal(err)
		}
		var b replay.Body
		b.Init(s, 1<<30, true)
		defer b.Free()
		want := noise(rand.New(rand.NewPCG(1, 1)), replay.Large)
		write(t, &b, want)
		for range 2 {
			if _, err := b.Space(); !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		if check(t, &b, want, 0); b.Digest() != xxh3.Hash(want) || s.Spilled() != 0 {
			t.Fatal("the body has changed")
		}
	})
}

// TestConcurrentBodies has many uploads at once over one Store: none sees another's octets.
func TestConcurrentBodies(t *testing.T) {
	s := store(t, 128*kib, 1<<20)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 9))
			for range 10 {
				want := noise(rnd, rnd.IntN(400*kib))
				var b replay.Body
				b.Init(s, 1<<30, false)
				for p := want; len(p) > 0; {
					space, err := b.Space()
					if err != nil {
						t.Error(err)
						return
					}
					n := copy(space, p)
					if err := b.Commit(n); err != nil {
						t.Error(err)
						return
					}
					p = p[n:]
				}
				got, err := io.ReadAll(&reader{b: &b})
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d octets read of %d, %v", len(got), len(want), err)
				}
				b.Free()
			}
		})
	}
	wg.Wait()
	if s.Used() != 0 {
		t.Fatalf("%d octets are still in use", s.Used())
	}
}

type reader struct {
	b   *replay.Body
	off int64
}

func (r *reader) Read(p []byte) (int, error) {
	r.b.End()
	n, err := r.b.ReadAt(p, r.off)
	r.off += int64(n)
	return n, err
}

// TestBuffers holds that the Store gives and takes both sizes, and counts them.
func TestBuffers(t *testing.T) {
	s := store(t, 0, 0)
	l, m := s.Get(), s.GetSmall()
	if len(l) != replay.Large || len(m) != replay.Small || s.Used() != replay.Large+replay.Small {
		t.Fatalf("%d and %d octets, %d in use", len(l), len(m), s.Used())
	}
	s.Put(l[:7])
	if s.Used() != replay.Small {
		t.Fatalf("%d in use", s.Used())
	}
	s.Put(m[:0])
	if s.Used() != 0 {
		t.Fatalf("%d in use", s.Used())
	}
	if l, m = s.Get(), s.GetSmall(); len(l) != replay.Large || len(m) != replay.Small {
		t.Fatalf("what went back short comes as %d and %d octets", len(l), len(m))
	}
	s.Put(make([]byte, 100)) // not the Store's: dropped
	if s.Used() != replay.Large+replay.Small {
		t.Fatalf("%d in use", s.Used())
	}
}

// TestAllocates holds that a body of the usual size costs no allocation once the pool is warm.
func TestAllocates(t *testing.T) {
	if raced {
		t.Skip("the race detector makes pools drop buffers")
	}
	s := store(t, 1<<20, 1<<30)
	var b replay.Body
	dst := make([][]byte, 0, 8)
	octets := make([]byte, 60*kib)
	if n := testing.AllocsPerRun(100, func() {
		buf := s.Get()
		b.Init(s, 1<<20, true)
		if err := b.Adopt(buf, 500, 1000); err != nil {
			t.Error(err)
		}
		for range 3 {
			space, err := b.Space()
			if err != nil {
				t.Error(err)
			}
			if err := b.Commit(copy(space, octets)); err != nil {
				t.Error(err)
			}
		}
		dst, _ = b.Slices(dst[:0], 0)
		b.Free()
		s.Put(buf)
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}
