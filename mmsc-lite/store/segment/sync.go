package segment

import (
	"errors"
	"fmt"
)

// Sync returns when the extents are on the disk. One sync serves all extents that have been written before it.
func (l *Log) Sync(extents []*Extent) error {
	for _, e := range extents {
		if err := e.sync(); err != nil {
			return fmt.Errorf("sync segment %d: %w", e.Segment, err)
		}
	}
	return nil
}

// Begin is Sync that leaves the caller time for other work: it has begun when Begin returns, and the extents are on the disk when end
// has returned nil. end has to be called, once. A second Begin before the end of the first does its work in the end.
func (l *Log) Begin(extents []*Extent) (end func() error) {
	rest := func() error { return l.Sync(extents) } // what lies in other segments, or all
	if len(extents) == 0 || !l.syncing.TryLock() {
		return rest
	}
	begun := func() error { return nil }
	last := extents[len(extents)-1]
	switch turn, owed := last.owed(); {
	case !owed: // or it has failed: rest says it
	case l.background != nil && l.background.begin(last.file.f):
		begun = func() error { return last.synced(turn, l.background.end()) }
	default:
		done := make(chan error, 1)
		go func() { done <- fdatasync(last.file.f) }()
		begun = func() error { return last.synced(turn, <-done) }
	}
	return func() error {
		err := begun()
		l.syncing.Unlock()
		if err != nil {
			return fmt.Errorf("sync segment %d: %w", last.Segment, err)
		}
		return rest()
	}
}

func (e *Extent) sync() error {
	turn, owed := e.owed()
	if !owed {
		e.file.mu.Lock()
		defer e.file.mu.Unlock()
		return e.file.broken
	}
	return e.synced(turn, fdatasync(e.file.f))
}

// owed says whether the extent has to be synced yet, and how far a sync that begins now would come. It need not be where another one has
// come as far, and must not be where one has failed.
func (e *Extent) owed() (turn int64, owed bool) {
	e.file.mu.Lock()
	defer e.file.mu.Unlock()
	return e.file.written, e.file.broken == nil && e.turn > e.file.synced
}

// synced notes what became of a sync; a segment whose sync failed takes no more.
func (e *Extent) synced(turn int64, err error) error {
	f := e.file
	f.mu.Lock()
	if err == nil {
		f.synced = max(f.synced, turn)
	} else {
		f.broken = err // the kernel may have dropped the pages: a second sync would say yes to nothing
	}
	f.mu.Unlock()
	if err == nil {
		return nil
	}
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	if e.log.active == f {
		err = errors.Join(err, e.log.seal())
	}
	return err
}
