// Package segment keeps contents in plain files beside a database whose rows say where each one lies: what is large is
// written once, and not through a database's pages and its log.
//
// A segment is a file that only grows, up to a limit; then the next one begins. Each content lies in one extent, in one
// piece and from a multiple of 4 KiB on, so that no block that has been synced is ever written again. Nothing but octets stands in a
// segment: the row has place, length and CRC-32C.
//
// Promise: an extent for which Sync has returned nil is on the disk. The rows that point there may be committed then, and not
// before; so after a crash each row finds its octets, and what no row points to is rubbish. A write or sync that fails
// leaves nothing but rubbish behind, and a segment whose sync failed is never written or synced again.
//
// Several processes may use one folder. Each writes into segments that it made itself, and holds their locks while it may still
// commit rows for them; a segment with a lock is left alone by those who clear up.
//
// States of a segment: active (takes extents), sealed (full, failed or left behind by a process that has ended), idle (sealed
// and nobody holds an extent of it any more). Only idle ones may be cut or removed.
package segment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Place is where a content lies.
type Place struct {
	Segment int64  // number of the file, from 1
	Start   int64  // octet in the file
	Size    int64  // octets
	Sum     uint32 // CRC-32C of the octets
}

// Errors of Read.
var (
	ErrGone    = errors.New("the segment is not there")
	ErrDamaged = errors.New("the octets in the segment are not those that were written")
)

// ErrClosed is the answer to a write after Close.
var ErrClosed = errors.New("the segments are closed")

// blockSize is what extents are aligned to: the largest sector that a disk writes as one.
const blockSize = 4 << 10

// Log is a folder of segments.
type Log struct {
	dir   string
	limit int64

	syncing    sync.Mutex // held from Begin to its end; taken before mu
	background *aio       // nil: there is none

	mu     sync.Mutex
	active *file
	last   int64           // highest number that is in use, or was
	open   map[int64]*file // ours that are active or have extents held
	marked map[int64]bool  // sealed ones that may have rubbish
	closed bool
}

// Open opens the folder, which it makes if need be. A segment takes extents up to limit octets. after is the highest number that the
// rows know: new segments get higher ones.
func Open(dir string, limit, after int64) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of contents: %w", err)
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("folder of contents: %w", err)
	}
	l := &Log{dir: dir, limit: limit, last: after, background: newAIO(), open: make(map[int64]*file), marked: make(map[int64]bool)}
	numbers, err := l.Numbers()
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	for _, n := range numbers {
		l.last, l.marked[n] = max(l.last, n), true
	}
	return l, nil
}

// View gives the segments of a folder for reading only, whoever writes there.
func View(dir string) *Log { return &Log{dir: dir, closed: true} }

// suffix ends the names of segments.
const suffix = ".seg"

func (l *Log) path(number int64) string {
	return filepath.Join(l.dir, fmt.Sprintf("%012d", number)+suffix)
}

// Numbers gives the segments that are there.
func (l *Log) Numbers() ([]int64, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("list contents: %w", err)
	}
	var out []int64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if n, err := strconv.ParseInt(name, 10, 64); ok && err == nil && n > 0 {
			out = append(out, n)
		}
	}
	return out, nil
}

// Octets gives the length of a segment; ErrGone if it is not there.
func (l *Log) Octets(number int64) (int64, error) {
	info, err := os.Stat(l.path(number))
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("segment %d: %w", number, ErrGone)
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Close ends writing; it is harmless twice. Extents that are still held keep their segments open until they are released.
func (l *Log) Close() error {
	l.syncing.Lock()
	if l.background != nil {
		l.background.close()
		l.background = nil
	}
	l.syncing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.seal()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
