package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/segment"
)

// folderName is where the segments are in the data folder.
const folderName = "contents"

// openSegments opens the folder of contents and says in the log what of it is missing, since only a copy could bring that back.
func (s *Store) openSegments(ctx context.Context) error {
	if s.engine != sqlite {
		return nil
	}
	var newest sql.NullInt64
	if err := s.write.QueryRowContext(ctx, `SELECT MAX(segment) FROM contents WHERE segment > 0`).Scan(&newest); err != nil {
		return fmt.Errorf("find segments: %w", err)
	}
	var err error
	if s.segments, err = segment.Open(filepath.Join(s.opt.Dir, folderName), s.opt.Tuning.Segment, newest.Int64); err != nil {
		return err
	}
	for number, end := int64(0), int64(0); ; {
		err := s.write.QueryRowContext(ctx, `SELECT segment, start + size FROM contents WHERE segment = (SELECT MIN(segment) FROM contents WHERE segment > $1 AND segment > 0)
			AND segment > 0 ORDER BY start DESC LIMIT 1`, number).Scan(&number, &end)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("find segments: %w", err)
		}
		if octets, err := s.segments.Octets(number); err != nil || octets < end {
			s.log.Error("a file of contents is missing or cut: the messages in it can't be retrieved", "segment", number,
				"octets", octets, "expected", end, "err", err)
		}
	}
}

// tidyBatch is how many segments are looked at in one go, and moveBatch how many contents one write moves: few, so that
// submissions do not wait behind them.
const (
	tidyBatch = 16
	moveBatch = 16
)

// tidy clears segments up that have rubbish: what was purged, what was written by a process that died before it committed. One without a
// content goes; one that is less than half used has its contents moved to the active segment and then goes; any other is cut behind its
// last content and stays until more of it is purged.
func (s *Store) tidy(ctx context.Context) {
	if s.segments == nil {
		return
	}
	idle, err := s.segments.Idle(tidyBatch)
	for _, i := range idle {
		err = errors.Join(err, s.tidyOne(ctx, i))
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed) {
		s.log.Warn("clear up contents", "err", err)
	}
}

func (s *Store) tidyOne(ctx context.Context, i *segment.Idle) error {
	used, end, err := s.live(ctx, i.Number)
	if err == nil && end > 0 && used < i.Octets/2 {
		if err = s.move(ctx, i.Number); err == nil {
			_, end, err = s.live(ctx, i.Number)
		}
	}
	switch {
	case err != nil:
		s.segments.Mark(i.Number) // it has its turn again
		return errors.Join(err, i.Keep(-1))
	case end == 0:
		return i.Remove()
	}
	return i.Keep(end)
}

// live gives what of a segment is used: octets, and the end of the last content; 0 when there is none.
func (s *Store) live(ctx context.Context, number int64) (octets, end int64, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT COALESCE(SUM(size), 0), COALESCE(MAX(start + size), 0) FROM contents WHERE segment = $1 AND segment > 0`,
		number).Scan(&octets, &end)
	if err != nil {
		err = s.readError(ctx, "look for what a segment holds", err)
	}
	return octets, end, err
}

// moved is a content on its way to another segment.
type moved struct {
	id ID
	at segment.Place
	to *segment.Extent
}

// move moves what a segment still holds, a few contents at a time.
func (s *Store) move(ctx context.Context, number int64) error {
	for behind := int64(-1); ctx.Err() == nil; {
		var found []moved
		rows, err := s.read.QueryContext(ctx, `SELECT id, start, size, sum FROM contents WHERE segment = $1 AND segment > 0 AND start > $2 ORDER BY start LIMIT $3`,
			number, behind, moveBatch)
		if err == nil {
			err = eachRow(rows, func(scan func(...any) error) error {
				m := moved{at: segment.Place{Segment: number}}
				var sum int64
				err := scan(&m.id, &m.at.Start, &m.at.Size, &sum)
				m.at.Sum = uint32(sum)
				found = append(found, m)
				return err
			})
		}
		if err != nil {
			return s.readError(ctx, "look for what a segment holds", err)
		}
		if len(found) == 0 {
			return nil
		}
		behind = found[len(found)-1].at.Start
		if err := s.moveSome(ctx, found); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// moveSome copies contents and then points their rows to the copies, in one write. What is damaged stays where it is.
func (s *Store) moveSome(ctx context.Context, found []moved) (err error) {
	var extents []*segment.Extent
	defer func() {
		for _, e := range extents {
			err = errors.Join(err, e.Release())
		}
	}()
	for i := range found {
		m := &found[i]
		var b bytes.Buffer
		b.Grow(int(m.at.Size))
		if err := s.segments.Read(m.at, &b); errors.Is(err, segment.ErrDamaged) {
			s.log.Error("a content is damaged", "content", int64(m.id), "err", err)
			continue
		} else if err != nil {
			return err
		}
		if m.to, err = s.segments.Write(b.Bytes()); err != nil {
			return s.failed(&contentError{err})
		}
		extents = append(extents, m.to)
	}
	return s.hand(ctx, s.lazy, &op{contents: extents, done: make(chan error, 1), do: func(tx *Tx) error {
		for _, m := range found {
			if m.to == nil {
				continue
			}
			// It may have been purged meanwhile: then the copy is rubbish.
			if err := tx.queue(`UPDATE contents SET segment = $1, start = $2 WHERE id = $3 AND segment = $4 AND start = $5`,
				m.to.Segment, m.to.Start, int64(m.id), m.at.Segment, m.at.Start); err != nil {
				return fmt.Errorf("move content: %w", err)
			}
		}
		return nil
	}})
}
