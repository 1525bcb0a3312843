// Package replay keeps one upload so that it can be sent again from octet 0: in memory up to a limit per
// message and in all, beyond that in an unlinked temporary file.
//
// A Body has one owner, the goroutine that reads the upload: it fills, reads and frees it. Nothing here is
// safe for use by two goroutines, but Store's budget, which all bodies share. On failure (disk full, no
// temporary folder) Grow says so and the body stays as it was.
package replay

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"
)

// Buffer sizes. A message in flight begins with a Large buffer that holds its head and first octets; one that
// comes slowly is moved to a Small one by the connection.
const (
	Small = 8 << 10
	Large = 64 << 10
)

// Options of a Store.
type Options struct {
	Message int64  // octets of one message kept in memory; beyond: file
	Total   int64  // octets of all messages together kept in memory; beyond: file
	Files   int64  // octets of all messages together in files; 0: as many as the disk takes
	Dir     string // folder of the temporary files; "" is the system's
}

// Store gives out chunks and keeps the budget.
type Store struct {
	opt     Options
	used    atomic.Int64 // octets of chunks in bodies
	filed   atomic.Int64 // octets of bodies in files
	spilled atomic.Int64 // bodies that went to a file, ever
	large   sync.Pool
	small   sync.Pool
}

// NewStore checks that the folder takes files.
func NewStore(o Options) (*Store, error) {
	f, err := tempFile(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("replay folder: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("replay folder: %w", err)
	}
	s := &Store{opt: o}
	s.large.New = func() any { return new([Large]byte) }
	s.small.New = func() any { return new([Small]byte) }
	return s, nil
}

// tempFile makes a file that has no name any more, so that nothing is left after a crash.
func tempFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "mmsrouter-upload-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Used gives the octets of memory in bodies now, Spilled how many bodies went to a file so far.
func (s *Store) Used() int64    { return s.used.Load() }
func (s *Store) Spilled() int64 { return s.spilled.Load() }

// Get gives a Large buffer, Put takes one back (Large or Small, by its capacity).
func (s *Store) Get() []byte {
	s.used.Add(Large)
	return s.large.Get().(*[Large]byte)[:]
}

// GetSmall gives a Small buffer.
func (s *Store) GetSmall() []byte {
	s.used.Add(Small)
	return s.small.Get().(*[Small]byte)[:]
}

// Put takes a buffer back. The caller must not touch it again.
func (s *Store) Put(b []byte) {
	poison(b[:cap(b)])
	switch cap(b) {
	case Large:
		s.used.Add(-Large)
		s.large.Put((*[Large]byte)(b[:Large]))
	case Small:
		s.used.Add(-Small)
		s.small.Put((*[Small]byte)(b[:Small]))
	}
}

// Body is one upload. Octets are counted from 0, the first of the message body.
type Body struct {
	s      *Store
	chunks [][]byte // full to their length but the last; the first begins behind the head
	size   int64    // octets so far
	mem    int64    // octets held by chunks
	file   *os.File // octets from mem on; the last chunk is then scratch for what was read last
	tail   int64    // offset in the body of the scratch chunk's first octet
	scrap  []byte   // scratch chunk once there is a file
	limit  int64
	hash   *xxh3.Hasher // made by the first Init that wants a digest, and kept
	hashed bool
	end    bool
	lent   bool // the first chunk belongs to the caller
	open   int  // the chunk that the next octets go to
}

// Init begins a body. limit is the most octets that it may have; digest asks for a digest of them. A body that has
// been freed may begin again, and keeps its list of chunks and its hash.
func (b *Body) Init(s *Store, limit int64, digest bool) {
	chunks, hash := b.chunks[:0], b.hash
	*b = Body{s: s, limit: limit, hashed: digest, chunks: chunks, hash: hash}
	if !digest {
		return
	}
	if b.hash == nil {
		b.hash = xxh3.New()
	}
	b.hash.Reset()
}

// ErrTooLarge says that the upload is longer than its limit, ErrFull that all of them together have as much in files as they may.
var (
	ErrTooLarge = errors.New("message is larger than the limit")
	ErrFull     = errors.New("uploads under way have as much in files as they may")
)

// Adopt makes octets from to end of a buffer the body's first, and uses what is behind them as space for
// more. The buffer stays the caller's, who may put it back only after Free.
func (b *Body) Adopt(buf []byte, from, end int) error {
	b.chunks = append(b.chunks, buf[from:from:cap(buf)])
	b.lent = true
	b.open = len(b.chunks) - 1
	return b.Commit(end - from)
}

// Move says that the adopted octets stand in buf from now on, at from, and that what is behind them there is the space for more. Nothing
// but them is in the body yet.
func (b *Body) Move(buf []byte, from int) {
	b.chunks[0] = buf[from : from+len(b.chunks[0]) : cap(buf)]
	b.open = 0
}

// Space gives room for the next octets, at least one: read into it, then Commit. It may allocate, or move
// to a file.
//
// Once there is a file, Space is Small: an upload that is waited for should hold no more.
func (b *Body) Space() ([]byte, error) {
	if b.file != nil {
		return b.scratch(Small), nil
	}
	b.trim()
	if n := len(b.chunks); n > 0 {
		if last := b.chunks[n-1]; len(last) < cap(last) {
			b.open = n - 1
			return last[len(last):cap(last)], nil
		}
	}
	if !b.fits(b.mem) {
		f, err := tempFile(b.s.opt.Dir)
		if err != nil {
			return nil, fmt.Errorf("keep upload: %w", err)
		}
		b.file, b.tail = f, b.size
		b.s.spilled.Add(1)
		return b.scratch(Small), nil
	}
	b.open = len(b.chunks)
	return b.grow(), nil
}

// scratch gives the scratch chunk in that size. What another one held is in the file.
func (b *Body) scratch(size int) []byte {
	if cap(b.scrap) != size {
		b.forget()
		if b.scrap != nil {
			b.s.Put(b.scrap[:cap(b.scrap)])
		}
		if size == Small {
			b.scrap = b.s.GetSmall()[:0]
		} else {
			b.scrap = b.s.Get()[:0]
		}
	}
	return b.scrap[:size]
}

// fits says whether another chunk behind the first held octets may be in memory.
func (b *Body) fits(held int64) bool {
	return (held+Large <= b.s.opt.Message || held == 0) && (b.s.used.Load()+Large <= b.s.opt.Total || len(b.chunks) == 0)
}

// grow adds a chunk and gives all of it.
func (b *Body) grow() []byte {
	b.chunks = append(b.chunks, b.s.Get()[:0])
	return b.chunks[len(b.chunks)-1][:Large]
}

// pieces is the most that Room gives: together a megabyte.
const pieces = 16

// Room is Space in several pieces, so that one call of the system fills them: for want octets, as far as memory and
// the list allow. Read into them in order, then Commit; what stayed empty goes back. Once there is a file it is one piece.
func (b *Body) Room(dst [][]byte, want int64) ([][]byte, error) {
	p, err := b.Space()
	if err != nil {
		return dst, err
	}
	if b.file != nil && want > Small {
		p = b.scratch(Large)
	}
	dst = append(dst, p)
	if b.file != nil {
		return dst, nil
	}
	for room := int64(len(p)); room < want && len(dst) < pieces && b.fits(b.mem+room); room += Large {
		dst = append(dst, b.grow())
	}
	return dst, nil
}

// Commit says that n octets were put at the start of the last Space or Room. After an error the body is what it was
// before.
func (b *Body) Commit(n int) error {
	defer b.trim()
	if b.size+int64(n) > b.limit {
		b.forget()
		return ErrTooLarge
	}
	if b.file != nil {
		p := b.scrap[:n]
		if filed := b.s.filed.Add(int64(n)); n > 0 && b.s.opt.Files > 0 && filed > b.s.opt.Files {
			b.s.filed.Add(int64(-n))
			b.forget()
			return ErrFull
		}
		if _, err := b.file.WriteAt(p, b.size-b.mem); err != nil {
			b.s.filed.Add(int64(-n))
			b.forget()
			return fmt.Errorf("keep upload: %w", err)
		}
		b.scrap, b.tail = p, b.size
		b.took(p)
		return nil
	}
	for i := b.open; n > 0; i++ {
		c := b.chunks[i]
		p := c[len(c):min(cap(c), len(c)+n)]
		b.chunks[i] = c[:len(c)+len(p)]
		b.mem += int64(len(p))
		b.took(p)
		n -= len(p)
	}
	return nil
}

// took counts octets that are in the body now.
func (b *Body) took(p []byte) {
	b.size += int64(len(p))
	if b.hashed {
		_, _ = b.hash.Write(p) // a hash never fails to take octets
	}
}

// trim gives back the chunks of a Room that stayed empty.
func (b *Body) trim() {
	for n := len(b.chunks); n > b.open+1 && len(b.chunks[n-1]) == 0; n-- {
		b.s.Put(b.chunks[n-1][:Large])
		b.chunks[n-1] = nil
		b.chunks = b.chunks[:n-1]
	}
}

// forget leaves it to the file what the scratch chunk held, which has been written over.
func (b *Body) forget() { b.scrap, b.tail = b.scrap[:0], b.size }

// Size is the number of octets so far; Whole whether End was called.
func (b *Body) Size() int64 { return b.size }
func (b *Body) Whole() bool { return b.end }

// End says that the upload is complete.
func (b *Body) End() { b.end = true }

// Digest of the octets so far; 0 if none was asked for.
func (b *Body) Digest() uint64 {
	if !b.hashed {
		return 0
	}
	return b.hash.Sum64()
}

// Slices appends to dst what memory holds from offset on, and says up to which offset that goes. If it
// gets no further than offset, the octets are in the file: use ReadAt. The slices are valid until the next
// Space, Room or Free.
func (b *Body) Slices(dst [][]byte, offset int64) ([][]byte, int64) {
	at := int64(0)
	for _, c := range b.chunks {
		n := int64(len(c))
		if offset < at+n {
			dst = append(dst, c[max(0, offset-at):])
		}
		at += n
	}
	if b.file == nil || offset < at {
		return dst, max(at, offset)
	}
	if offset >= b.tail && offset < b.size {
		return append(dst, b.scrap[offset-b.tail:]), b.size
	}
	return dst, offset
}

// ReadAt reads octets that Slices does not give. It returns io.EOF only at the end of a whole body.
func (b *Body) ReadAt(p []byte, offset int64) (int, error) {
	if offset >= b.size || len(p) == 0 {
		if b.end && offset >= b.size {
			return 0, io.EOF
		}
		return 0, nil
	}
	if b.file == nil || offset < b.mem {
		s, _ := b.Slices(nil, offset)
		n := 0
		for _, c := range s {
			n += copy(p[n:], c)
		}
		return n, nil
	}
	p = p[:min(int64(len(p)), b.size-offset)]
	n, err := b.file.ReadAt(p, offset-b.mem)
	if n == len(p) {
		err = nil
	}
	return n, err
}

// First gives the octets of the body that stand in one piece at its start.
func (b *Body) First() []byte {
	if len(b.chunks) == 0 {
		return nil
	}
	return b.chunks[0]
}

// Free gives everything back but an adopted buffer. Freeing twice is harmless.
func (b *Body) Free() {
	for i, c := range b.chunks {
		if i > 0 || !b.lent {
			b.s.Put(c[:cap(c)])
		}
		b.chunks[i] = nil
	}
	b.chunks = b.chunks[:0]
	if b.scrap != nil {
		b.s.Put(b.scrap[:cap(b.scrap)])
		b.scrap = nil
	}
	if b.file != nil {
		_ = b.file.Close() // it has no name and nobody reads it any more
		b.file = nil
		b.s.filed.Add(b.mem - b.size)
	}
}
