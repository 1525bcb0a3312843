package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// chunkSize is how many octets a row of a content holds at most, and the unit of memory of an upload.
const chunkSize = 64 << 10

var chunkPool = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// budget bounds the memory of all uploads together.
type budget struct {
	limit int64
	used  atomic.Int64
}

func (b *budget) take() bool {
	if b.used.Add(chunkSize) > b.limit {
		b.used.Add(-chunkSize)
		return false
	}
	return true
}

// Upload is a PDU on its way in. It is filled by one goroutine, read by a committer after that, and freed by Close. It
// stays in memory while the budget allows and goes on in an unlinked file from there; nothing in it is durable.
type Upload struct {
	budget *budget
	dir    string
	chunks []*[chunkSize]byte
	file   *os.File // holds what is behind the chunks
	window []byte   // what is on its way to the file
	size   int64
	limit  int64
	sum    *[sha256.Size]byte // the digest, once it was asked for

	digester digester
}

// ErrTooLarge is the answer of an upload that has more octets than its limit.
var ErrTooLarge = errors.New("the message is larger than allowed")

// Upload begins an upload of at most limit octets.
func (s *Store) Upload(limit int64) *Upload {
	return &Upload{budget: &s.memory, dir: s.opt.Dir, limit: limit, digester: s.digester}
}

// ReadFrom fills the upload from r until its end. Errors of r come back as they are; ErrTooLarge ends the
// reading; an error of the file is an *Unavailable.
func (u *Upload) ReadFrom(r io.Reader) (int64, error) {
	before := u.size
	for {
		room, err := u.room()
		if err != nil {
			return u.size - before, err
		}
		n, err := r.Read(room)
		if n > 0 {
			if u.size+int64(n) > u.limit {
				return u.size - before, ErrTooLarge
			}
			if u.file != nil {
				if _, err := u.file.Write(room[:n]); err != nil {
					return u.size - before, &Unavailable{Err: fmt.Errorf("write upload file: %w", err), Full: isFull(err)}
				}
			}
			u.size += int64(n)
		}
		if err == io.EOF {
			return u.size - before, nil
		}
		if err != nil {
			return u.size - before, err
		}
	}
}

// room gives memory for the next octets: what is left of the last chunk, a new chunk, or a window that goes to the file.
func (u *Upload) room() ([]byte, error) {
	if u.file == nil {
		if used := int(u.size % chunkSize); used > 0 || u.size < int64(len(u.chunks))*chunkSize {
			return u.chunks[len(u.chunks)-1][used:], nil
		}
		if u.budget.take() {
			u.chunks = append(u.chunks, chunkPool.Get().(*[chunkSize]byte))
			return u.chunks[len(u.chunks)-1][:], nil
		}
		f, err := os.CreateTemp(u.dir, "upload-*")
		if err != nil {
			return nil, &Unavailable{Err: fmt.Errorf("make upload file: %w", err), Full: isFull(err)}
		}
		u.file = f
		if err := os.Remove(f.Name()); err != nil {
			return nil, &Unavailable{Err: fmt.Errorf("unlink upload file: %w", err)}
		}
	}
	if u.window == nil {
		u.window = make([]byte, 4<<10)
	}
	return u.window, nil
}

// Size gives the octets so far.
func (u *Upload) Size() int64 { return u.size }

// Head gives at most n of the first octets; the slice is the upload's own while it is in memory.
func (u *Upload) Head(n int) ([]byte, error) {
	n = int(min(int64(n), u.size))
	if len(u.chunks) > 0 && n <= chunkSize {
		return u.chunks[0][:n], nil
	}
	b := make([]byte, n)
	_, err := u.ReadAt(b, 0)
	return b, err
}

// ReadAt implements io.ReaderAt.
func (u *Upload) ReadAt(p []byte, off int64) (n int, err error) {
	inMemory := min(u.size, int64(len(u.chunks))*chunkSize)
	for n < len(p) && off < inMemory {
		c := u.chunks[off/chunkSize][:min(chunkSize, inMemory-off/chunkSize*chunkSize)]
		m := copy(p[n:], c[off%chunkSize:])
		n += m
		off += int64(m)
	}
	if n == len(p) {
		return n, nil
	}
	if u.file == nil || off >= u.size {
		return n, io.EOF
	}
	m, err := u.file.ReadAt(p[n:], off-inMemory)
	return n + m, err
}

// each gives the octets from off on in pieces of at most chunkSize, without a copy where they are in memory.
func (u *Upload) each(off int64, f func(piece []byte) error) error {
	inMemory := min(u.size, int64(len(u.chunks))*chunkSize)
	for off < inMemory {
		start := off / chunkSize * chunkSize
		c := u.chunks[off/chunkSize][off-start : min(chunkSize, inMemory-start)]
		if err := f(c); err != nil {
			return err
		}
		off += int64(len(c))
	}
	if off >= u.size {
		return nil
	}
	window := chunkPool.Get().(*[chunkSize]byte)
	defer chunkPool.Put(window)
	for off < u.size {
		n, err := u.ReadAt(window[:min(chunkSize, u.size-off)], off)
		if n == 0 && err != nil {
			return &Unavailable{Err: fmt.Errorf("read upload file: %w", err)}
		}
		if err := f(window[:n]); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// pieces gives the octets from off on as they stand in memory; false if not all of them do.
func (u *Upload) pieces(off int64) (pieces [][]byte, ok bool) {
	if u.file != nil {
		return nil, false
	}
	err := u.each(off, func(piece []byte) error {
		pieces = append(pieces, piece)
		return nil
	})
	return pieces, err == nil
}

// Close frees memory and file. Nothing of the upload may be used after it.
func (u *Upload) Close() error {
	for _, c := range u.chunks {
		chunkPool.Put(c)
	}
	u.budget.used.Add(-chunkSize * int64(len(u.chunks)))
	u.chunks = nil
	if u.file == nil {
		return nil
	}
	f := u.file
	u.file = nil
	return f.Close()
}
