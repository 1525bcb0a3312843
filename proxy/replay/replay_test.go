package replay_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/mmsrouter/mmsrouter/proxy/replay"
)

func store(t testing.TB, message, total int64) *replay.Store {
	t.Helper()
	s, err := replay.NewStore(replay.Options{Message: message, Total: total, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// noise is n octets that differ from place to place.
func noise(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// write puts p into the body, as much at a time as each Space takes.
func write(t testing.TB, b *replay.Body, p []byte) {
	t.Helper()
	for len(p) > 0 {
		space, err := b.Space()
		if err != nil {
			t.Fatal(err)
		}
		n := copy(space, p)
		if n == 0 {
			t.Fatal("an empty Space")
		}
		if err := b.Commit(n); err != nil {
			t.Fatal(err)
		}
		p = p[n:]
	}
}

// from reads the body from offset on, by Slices where they go on and by ReadAt where they don't.
func from(t testing.TB, b *replay.Body, offset int64) []byte {
	t.Helper()
	var out []byte
	buf := make([]byte, 50000)
	for offset < b.Size() {
		slices, to := b.Slices(nil, offset)
		n := int64(0)
		for _, s := range slices {
			out = append(out, s...)
			n += int64(len(s))
		}
		if to != offset+n {
			t.Fatalf("slices of %d octets from %d on are said to go up to %d", n, offset, to)
		}
		if offset = to; n > 0 {
			continue
		}
		k, err := b.ReadAt(buf, offset)
		if err != nil || k == 0 {
			t.Fatalf("ReadAt(%d) gives %d octets and %v, the body has %d", offset, k, err, b.Size())
		}
		out = append(out, buf[:k]...)
		offset += int64(k)
	}
	return out
}

func check(t testing.TB, b *replay.Body, want []byte, offset int) {
	t.Helper()
	if got := from(t, b, int64(offset)); !bytes.Equal(got, want[offset:]) {
		t.Fatalf("%d octets are read from %d on, %d were written, or others", len(got), offset, len(want)-offset)
	}
}

const kib = 1 << 10

// TestEveryOffset reads bodies of all kinds from each of their offsets.
func TestEveryOffset(t *testing.T) {
	for _, c := range []struct {
		name           string
		message, total int64
		size           int
		spills         bool
	}{
		{"empty", 1 << 20, 1 << 30, 0, false},
		{"one octet", 1 << 20, 1 << 30, 1, false},
		{"one chunk", 1 << 20, 1 << 30, replay.Large, false},
		{"one octet more", 1 << 20, 1 << 30, replay.Large + 1, false},
		{"memory", 1 << 20, 1 << 30, 140 * kib, false},
		{"as much as is kept in memory", 128 * kib, 1 << 30, 128 * kib, false},
		{"one octet goes to the file", 128 * kib, 1 << 30, 128*kib + 1, true},
		{"more goes to the file", 100 * kib, 1 << 30, 150 * kib, true},
		{"the first chunk is always memory", 0, 1 << 30, 140 * kib, true},
		{"no budget left", 1 << 30, 0, 70 * kib, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := store(t, c.message, c.total)
			want := noise(rand.New(rand.NewPCG(1, 2)), c.size)
			var b replay.Body
			b.Init(s, 1<<30, true)
			write(t, &b, want)
			b.End()
			if (s.Spilled() == 1) != c.spills || b.Size() != int64(c.size) || !b.Whole() {
				t.Fatalf("spilled %d, size %d, whole %v", s.Spilled(), b.Size(), b.Whole())
			}
			if got := xxh3.Hash(want); b.Digest() != got {
				t.Fatalf("digest %x, want %x", b.Digest(), got)
			}
			var dst [][]byte
			var one, two [16]byte
			for off := 0; off <= c.size; off++ {
				var to int64
				dst, to = b.Slices(dst[:0], int64(off))
				at := off
				for _, p := range dst {
					if len(p) == 0 || at+len(p) > c.size || p[0] != want[at] || p[len(p)-1] != want[at+len(p)-1] {
						t.Fatalf("the slices from %d on differ at %d", off, at)
					}
					at += len(p)
				}
				if int64(at) != to || to > b.Size() {
					t.Fatalf("the slices from %d on reach %d and say %d", off, at, to)
				}
				if near := off % (replay.Large / 2); near > 20 && near < replay.Large/2-20 && off%37 != 0 && off < c.size-20 {
					continue // reads from the file cost a system call each
				}
				n, err := b.ReadAt(one[:], int64(off))
				if left := copy(two[:], want[off:]); n > left || !bytes.Equal(one[:n], two[:n]) || (n == 0) != (off == c.size) || (err == io.EOF) != (off == c.size) {
					t.Fatalf("ReadAt(%d) gives %d octets and %v", off, n, err)
				}
				if off%(37*200) == 0 || off == c.size {
					check(t, &b, want, off)
				}
			}
			b.Free()
		})
	}
}

// TestRandomCommits fills bodies in random portions, with looks, unused Spaces and readers in between.
func TestRandomCommits(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		s := store(t, int64(rnd.IntN(256*kib)), int64(rnd.IntN(512*kib)))
		var b replay.Body
		b.Init(s, 1<<30, seed%2 == 0)
		var want, first []byte
		if rnd.IntN(2) == 0 {
			size := []int{replay.Small, replay.Large, 100}[rnd.IntN(3)]
			first = noise(rnd, size)
			lo := rnd.IntN(size + 1)
			hi := lo + rnd.IntN(size-lo+1)
			want = append(want, first[lo:hi]...)
			if err := b.Adopt(first, lo, hi); err != nil {
				t.Fatal(err)
			}
		}
		var readers [4]int64 // each an attempt that has got so far
		for range 60 {
			var room [][]byte
			var err error
			if rnd.IntN(2) == 0 {
				room, err = b.Room(nil, rnd.Int64N(300*kib))
			} else {
				var space []byte
				space, err = b.Space()
				room = append(room, space)
			}
			size := 0
			for _, p := range room {
				if size += len(p); len(p) == 0 {
					t.Fatalf("seed %d: an empty piece", seed)
				}
			}
			if err != nil || size == 0 {
				t.Fatalf("room for %d octets, %v", size, err)
			}
			if rnd.IntN(4) == 0 {
				continue // nothing came
			}
			p := noise(rnd, rnd.IntN(min(size, []int{1, 100, 1 << 20}[rnd.IntN(3)])+1))
			for rest := p; len(rest) > 0; room = room[1:] {
				rest = rest[copy(room[0], rest):]
			}
			if err := b.Commit(len(p)); err != nil {
				t.Fatal(err)
			}
			want = append(want, p...)
			if b.Size() != int64(len(want)) {
				t.Fatalf("seed %d: %d octets, want %d", seed, b.Size(), len(want))
			}
			i := rnd.IntN(len(readers))
			part, to := b.Slices(nil, readers[i])
			if got := bytes.Join(part, nil); !bytes.Equal(got, want[readers[i]:to]) {
				t.Fatalf("seed %d: slices from %d to %d differ", seed, readers[i], to)
			}
			readers[i] = to
			check(t, &b, want, rnd.IntN(len(want)+1))
			if f := b.First(); !bytes.HasPrefix(want, f) {
				t.Fatalf("seed %d: First is not the beginning", seed)
			}
		}
		for off := range want {
			if off%30011 == 0 {
				check(t, &b, want, off)
			}
		}
		if d := b.Digest(); seed%2 == 0 && d != xxh3.Hash(want) || seed%2 == 1 && d != 0 {
			t.Fatalf("seed %d: digest %x", seed, d)
		}
		kept := bytes.Clone(first)
		b.Free()
		b.Free()
		if s.Used() != 0 {
			t.Fatalf("seed %d: %d octets are still in use", seed, s.Used())
		}
		if !bytes.Equal(first, kept) {
			t.Fatalf("seed %d: Free has touched the adopted buffer", seed)
		}
	}
}

// TestRoom asks for many pieces of which few are used: the others go back, also where the next asks without a Commit.
func TestRoom(t *testing.T) {
	for _, c := range []struct {
		name           string
		message, total int64
		want           int64
		pieces         int
	}{
		{"one octet", 1 << 20, 8 << 20, 1, 1},
		{"one chunk", 1 << 20, 8 << 20, replay.Large, 1},
		{"one octet more", 1 << 20, 8 << 20, replay.Large + 1, 2},
		{"more than a call takes", 8 << 20, 8 << 20, 8 << 20, 16},
		{"no more than a message may hold", 3 * replay.Large, 8 << 20, 1 << 20, 3},
		{"no more than all may hold", 1 << 20, 2 * replay.Large, 1 << 20, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := store(t, c.message, c.total)
			var b replay.Body
			b.Init(s, 1<<30, true)
			for range 2 {
				room, err := b.Room(nil, c.want)
				if err != nil || len(room) != c.pieces || s.Used() != int64(c.pieces*replay.Large) {
					t.Fatalf("%d pieces, %d octets in use, %v; want %d pieces", len(room), s.Used(), err, c.pieces)
				}
			}
			if err := b.Commit(0); err != nil || b.Size() != 0 || s.Used() != replay.Large {
				t.Fatalf("nothing came: size %d, %d octets in use, %v", b.Size(), s.Used(), err)
			}
			room, err := b.Room(nil, c.want)
			if err != nil {
				t.Fatal(err)
			}
			want := bytes.Repeat([]byte("o"), min(replay.Large+1, len(room)*replay.Large))
			for i, p := range room {
				copy(p, want[min(i*replay.Large, len(want)):])
			}
			if err := b.Commit(len(want)); err != nil || s.Used() != int64((len(want)+replay.Large-1)/replay.Large*replay.Large) {
				t.Fatalf("%d octets came: %d octets in use, %v", len(want), s.Used(), err)
			}
			check(t, &b, want, 0)
			// no octet of an upload is copied on its way: what is written on is where the system put it
			slices, _ := b.Slices(nil, 0)
			for i, p := range slices {
				if &p[0] != &room[i][0] {
					t.Fatalf("piece %d was copied", i)
				}
			}
			b.Free()
			if s.Used() != 0 {
				t.Fatalf("%d octets are still in use", s.Used())
			}
		})
	}
}

// TestRoomOfFile looks at what an upload holds once it is in a file: a Small buffer while it is waited for.
func TestRoomOfFile(t *testing.T) {
	s := store(t, replay.Large, 8<<20)
	var b replay.Body
	b.Init(s, 1<<30, true)
	want := bytes.Repeat([]byte("0123456789abcdef"), replay.Large/16)
	write(t, &b, want)
	for i, step := range []struct {
		room int64
		size int
	}{{1, replay.Small}, {replay.Small + 1, replay.Large}, {1 << 20, replay.Large}, {1, replay.Small}, {replay.Small, replay.Small}, {1 << 20, replay.Large}} {
		room, err := b.Room(nil, step.room)
		if err != nil || len(room) != 1 || len(room[0]) != step.size || s.Used() != int64(replay.Large+step.size) {
			t.Fatalf("step %d: %d pieces, %d octets in use, %v", i, len(room), s.Used(), err)
		}
		n := copy(room[0], fmt.Sprintf("what came in step %d", i))
		want = append(want, room[0][:n]...)
		if err := b.Commit(n); err != nil {
			t.Fatal(err)
		}
		check(t, &b, want, len(want)-n)
		check(t, &b, want, 0)
	}
	if s.Spilled() != 1 || b.Digest() != xxh3.Hash(want) {
		t.Fatalf("%d files, digest %x", s.Spilled(), b.Digest())
	}
	b.Free()
	if s.Used() != 0 {
		t.Fatalf("%d octets are still in use", s.Used())
	}
}

func TestAdopt(t *testing.T) {
	s := store(t, 1<<20, 1<<30)
	buf := s.Get()
	copy(buf, "head body and more")
	var b replay.Body
	b.Init(s, 1<<20, true)
	if err := b.Adopt(buf, 5, 9); err != nil {
		t.Fatal(err)
	}
	if string(b.First()) != "body" || b.Size() != 4 {
		t.Fatalf("%q, %d octets", b.First(), b.Size())
	}
	if slices, _ := b.Slices(nil, 0); len(slices) != 1 || &slices[0][0] != &buf[5] || &b.First()[0] != &buf[5] {
		t.Fatal("what stood behind the head was copied")
	}
	space, err := b.Space()
	if err != nil || len(space) != replay.Large-9 || &space[0] != &buf[9] {
		t.Fatalf("the Space behind it has %d octets, %v", len(space), err)
	}
	write(t, &b, []byte("!"))
	if string(b.First()) != "body!" || string(buf[:10]) != "head body!" {
		t.Fatalf("%q in %q", b.First(), buf[:10])
	}
	rest := noise(rand.New(rand.NewPCG(1, 1)), replay.Large)
	write(t, &b, rest)
	if b.Free(); s.Used() != replay.Large {
		t.Fatalf("%d octets in use, want those of the adopted buffer", s.Used())
	}
	if string(buf[:10]) != "head body!" {
		t.Fatalf("the adopted buffer holds %q behind Free", buf[:10])
	}
	if s.Put(buf); s.Used() != 0 {
		t.Fatalf("%d octets in use", s.Used())
	}
	t.Run("too large", func(t *testing.T) {
		b.Init(s, 3, false)
		defer b.Free()
		if err := b.Adopt(make([]byte, 100), 0, 4); !errors.Is(err, replay.ErrTooLarge) || b.Size() != 0 {
			t.Fatalf("%v, %d octets", err, b.Size())
		}
	})
	t.Run("nothing of it", func(t *testing.T) {
		b.Init(s, 3, false)
		defer b.Free()
		small := s.GetSmall()
		defer s.Put(small)
		if err := b.Adopt(small, replay.Small, replay.Small); err != nil || b.Size() != 0 || len(b.First()) != 0 {
			t.Fatalf("%v, %d octets", err, b.Size())
		}
		write(t, &b, []byte("abc"))
		check(t, &b, []byte("abc"), 0)
	})
}

// TestReadAtEdges holds what ReadAt says at and behind the end.
func TestReadAtEdges(t *testing.T) {
	for _, size := range []int{10, 3 * replay.Large} {
		s := store(t, 0, 1<<30)
		var b replay.Body
		b.Init(s, 1<<30, false)
		write(t, &b, make([]byte, size))
		buf := make([]byte, 10)
		for _, whole := range []bool{false, true} {
			if whole {
				b.End()
			}
			for _, off := range []int{size, size + 1, size + 1000000} {
				if n, err := b.ReadAt(buf, int64(off)); n != 0 || (err == io.EOF) != whole {
					t.Errorf("%d octets, whole %v: ReadAt(%d) gives %d, %v", size, whole, off, n, err)
				}
			}
			if n, err := b.ReadAt(nil, int64(size-1)); n != 0 || err != nil {
				t.Errorf("%d octets, whole %v: nothing asked for, %d and %v given", size, whole, n, err)
			}
			if n, err := b.ReadAt(buf, int64(size-3)); n != 3 || err != nil {
				t.Errorf("%d octets, whole %v: %d of the last 3, %v", size, whole, n, err)
			}
		}
		b.Free()
	}
}

func ExampleBody() {
	s, err := replay.NewStore(replay.Options{Message: 1 << 20, Total: 64 << 20})
	if err != nil {
		panic(err)
	}
	var b replay.Body
	b.Init(s, 1<<20, true)
	defer b.Free()
	space, err := b.Space()
	if err != nil {
		panic(err)
	}
	n := copy(space, "an upload")
	if err := b.Commit(n); err != nil {
		panic(err)
	}
	b.End()
	slices, to := b.Slices(nil, 3)
	fmt.Printf("%s, up to %d of %d\n", slices, to, b.Size())
	// Output: [upload], up to 9 of 9
}
