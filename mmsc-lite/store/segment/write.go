package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync"
)

// file is a segment that this process writes.
type file struct {
	number int64
	f      *os.File

	// Under the mutex of Log.
	end    int64 // where the next extent begins
	room   int64 // up to here the disk has been asked for blocks; -1: it is not asked
	held   int   // extents that are not released
	sealed bool

	mu      sync.Mutex
	written int64 // extents written
	synced  int64 // of these, in the order they were written, on the disk
	broken  error // of the sync that failed
}

// Extent is a content that has been written. It keeps its segment from being removed until it is released.
type Extent struct {
	Place
	log  *Log
	file *file
	turn int64 // it was written as so manieth
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Write writes a content whose octets are all at hand, in pieces: with one call, which costs the kernel less than one for each piece. It
// may be called by many at once. The content is not durable yet; the extent has to be released in any case.
func (l *Log) Write(pieces ...[]byte) (*Extent, error) {
	size, sum := int64(0), uint32(0)
	for _, b := range pieces {
		size += int64(len(b))
		sum = crc32.Update(sum, castagnoli, b)
	}
	e, err := l.reserve(size)
	if err != nil {
		return nil, err
	}
	e.Sum = sum
	return e.written(writeAt(e.file.f, pieces, e.Start))
}

// Stream is Write for a content of size octets that each hands over in pieces, one after the other.
func (l *Log) Stream(size int64, each func(piece func([]byte) error) error) (*Extent, error) {
	e, err := l.reserve(size)
	if err != nil {
		return nil, err
	}
	at := e.Start
	err = each(func(b []byte) error {
		if at+int64(len(b)) > e.Start+size {
			return errors.New("a content longer than it said")
		}
		e.Sum = crc32.Update(e.Sum, castagnoli, b)
		n, err := e.file.f.WriteAt(b, at)
		at += int64(n)
		return err
	})
	if err == nil && at != e.Start+size {
		err = errors.New("a content shorter than it said")
	}
	return e.written(err)
}

// written gives the extent its turn, or takes it back.
func (e *Extent) written(err error) (*Extent, error) {
	if err != nil {
		return nil, fmt.Errorf("write segment %d: %w", e.Segment, errors.Join(err, e.Discard()))
	}
	e.file.mu.Lock()
	e.file.written++
	e.turn = e.file.written
	e.file.mu.Unlock()
	return e, nil
}

// reserve gives the room for a content, in a new segment if the active one is full.
func (l *Log) reserve(size int64) (*Extent, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	if l.active != nil && l.active.end > 0 && l.active.end+size > l.limit {
		if err := l.seal(); err != nil {
			return nil, err
		}
	}
	if l.active == nil {
		f, err := l.create()
		if err != nil {
			return nil, fmt.Errorf("new segment: %w", err)
		}
		l.active, l.open[f.number] = f, f
	}
	f := l.active
	e := &Extent{Place: Place{Segment: f.number, Start: f.end, Size: size}, log: l, file: f}
	f.end += (size + blockSize - 1) / blockSize * blockSize
	f.held++
	if f.room >= 0 && f.end > f.room {
		f.room = allocate(f.f, f.room, min(max(f.end, f.room+stepSize), max(f.end, l.limit)))
	}
	return e, nil
}

// create makes the next segment. Others who use the folder may make one at the same moment, or take ours for rubbish before it has its
// lock; then there is another number.
func (l *Log) create() (*file, error) {
	for {
		l.last++
		path := l.path(l.last)
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		mine, err := lock(f)
		if err == nil && mine {
			mine, err = isAt(f, path)
		}
		if err != nil {
			return nil, errors.Join(err, f.Close(), os.Remove(path))
		}
		if !mine {
			if err := f.Close(); err != nil {
				return nil, err
			}
			continue
		}
		if err := syncDir(l.dir); err != nil { // the file has to be there after a power loss, not only its octets
			return nil, errors.Join(err, f.Close(), os.Remove(path))
		}
		return &file{number: l.last, f: f}, nil
	}
}

// isAt says whether path still leads to f.
func isAt(f *os.File, path string) (bool, error) {
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, there), err
}

// seal ends the active segment. The mutex is held.
func (l *Log) seal() error {
	f := l.active
	if f == nil {
		return nil
	}
	l.active, f.sealed = nil, true
	return l.settle(f)
}

// settle closes a segment that is sealed and of which nobody holds an extent. The mutex is held.
func (l *Log) settle(f *file) error {
	if !f.sealed || f.held > 0 {
		return nil
	}
	delete(l.open, f.number)
	l.marked[f.number] = true
	return errors.Join(trim(f), f.f.Close())
}

// stepSize is for how many octets at a time blocks are asked for: then a write costs the kernel two thirds of what it does where it has to
// find them itself.
const stepSize = 8 << 20

// trim gives blocks back that were asked for and not used.
func trim(f *file) error {
	if f.room <= f.end {
		return nil
	}
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	return f.f.Truncate(info.Size())
}

// Release lets the segment go: rows that point to the extent are committed, or never will be.
func (e *Extent) Release() error { return e.end(false) }

// Discard is Release for an extent that no row will ever point to; its room is used again where that is simple.
func (e *Extent) Discard() error { return e.end(true) }

func (e *Extent) end(discard bool) error {
	l, f := e.log, e.file
	l.mu.Lock()
	defer l.mu.Unlock()
	f.held--
	end := e.Start + (e.Size+blockSize-1)/blockSize*blockSize
	if discard && l.active == f && f.end == end {
		f.end = e.Start
		if err := f.f.Truncate(e.Start); err != nil { // the disk may be broken: then no more goes here
			return errors.Join(err, l.seal())
		}
	}
	return l.settle(f)
}
