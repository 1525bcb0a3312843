package segment

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// Mark says that a content in a segment is no longer used.
func (l *Log) Mark(number int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marked[number] = true
}

// Idle is a sealed segment that nobody holds an extent of, in no process. It stays so until Keep or Remove is called, one of which has
// to be. Rows may go away from it meanwhile; none can come.
type Idle struct {
	Number int64
	Octets int64
	log    *Log
	f      *os.File // has the lock
}

// Idle gives at most limit idle segments that may have rubbish, the oldest first. What it gives is not given again until it is marked.
func (l *Log) Idle(limit int) ([]*Idle, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var numbers []int64
	for n := range l.marked {
		if l.open[n] == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	var out []*Idle
	for _, n := range numbers {
		if len(out) == limit {
			break
		}
		idle, err := l.idle(n)
		if err != nil {
			for _, i := range out {
				err = errors.Join(err, i.f.Close())
			}
			return nil, err
		}
		if idle != nil {
			out = append(out, idle)
		}
	}
	for _, i := range out {
		delete(l.marked, i.Number)
	}
	return out, nil
}

// idle takes a segment's lock; nil when it is gone or another process has it.
func (l *Log) idle(number int64) (*Idle, error) {
	f, err := os.OpenFile(l.path(number), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		delete(l.marked, number)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look into segment %d: %w", number, err)
	}
	mine, err := lock(f)
	if err != nil || !mine {
		return nil, errors.Join(err, f.Close())
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Idle{Number: number, Octets: info.Size(), log: l, f: f}, nil
}

// Keep lets the segment be, cut behind the last octet that a row points to. Negative: as it is.
func (i *Idle) Keep(end int64) error {
	var err error
	if end >= 0 && end < i.Octets {
		err = i.f.Truncate(end)
	}
	return errors.Join(err, i.f.Close())
}

// Remove deletes the segment. No row may point to it. Who reads it goes on reading.
func (i *Idle) Remove() error {
	err := os.Remove(i.log.path(i.Number))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, i.f.Close())
}
