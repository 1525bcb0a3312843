package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/segment"
)

// content is an upload's body on its way in. The large ones of SQLite are written into a segment by whoever hands them in, many at once, before
// a committer has to do with them; it then only syncs.
type content struct {
	store  *Store
	upload *Upload
	from   int64
	kind   []byte // Content-Type
	digest [sha256.Size]byte
	extent *segment.Extent // nil: it goes into rows
}

// contentError is a content that the disk did not take.
type contentError struct{ error }

func (c *contentError) Unwrap() error { return c.error }

// place writes the body that begins at from, unless it is one for the database; nil for no upload. end has to be called on what it gives.
func (s *Store) place(u *Upload, from int64, kind []byte) (*content, error) {
	if u == nil {
		return nil, nil
	}
	c := &content{store: s, upload: u, from: from, kind: kind}
	var err error
	if c.digest, err = u.Digest(); err != nil {
		return nil, s.failed(err)
	}
	size := u.Size() - from
	if s.segments == nil || size <= s.opt.Tuning.Inline {
		return c, nil
	}
	if pieces, ok := u.pieces(from); ok {
		c.extent, err = s.segments.Write(pieces...)
	} else {
		c.extent, err = s.segments.Stream(size, func(piece func([]byte) error) error { return u.each(from, piece) })
	}
	if errors.Is(err, segment.ErrClosed) {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, s.failed(&contentError{err})
	}
	return c, nil
}

// extents gives what has to be synced.
func (c *content) extents() []*segment.Extent {
	if c == nil || c.extent == nil {
		return nil
	}
	return []*segment.Extent{c.extent}
}

// end lets the segment go, once it is known whether there is a row; err is what the write said.
func (c *content) end(used bool, err error) {
	if c == nil || c.extent == nil {
		return
	}
	end := c.extent.Release
	var no Refusal
	if !used && (err == nil || errors.As(err, &no)) { // else a row may be there after all, when the engine starts again
		end = c.extent.Discard
	}
	if err := end(); err != nil {
		c.store.log.Warn("close a segment", "err", err) // nothing is lost: what is synced is synced
	}
}

// beginSync begins to sync what the writes of a batch point to; end waits for it.
func (s *Store) beginSync(batch []*op) (end func() error) {
	if s.segments == nil {
		return func() error { return nil }
	}
	var extents []*segment.Extent
	for _, o := range batch {
		extents = append(extents, o.contents...)
	}
	synced := s.segments.Begin(extents)
	return func() error {
		if err := synced(); err != nil {
			return &contentError{err}
		}
		return nil
	}
}

// insertContent writes the rows of a content.
func (tx *Tx) insertContent(c *content, now time.Time) (ID, error) {
	id := tx.s.ids.next(now)
	var p segment.Place
	if c.extent != nil {
		p = c.extent.Place
	}
	err := tx.queue(`INSERT INTO contents (id, size, digest, content_type, created_at, segment, start, sum) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		id, c.upload.Size()-c.from, c.digest[:], nonNil(c.kind), millis(now), p.Segment, p.Start, int64(p.Sum))
	if err != nil {
		return 0, fmt.Errorf("insert content: %w", err)
	}
	if c.extent != nil {
		return id, nil
	}
	seq := 0
	err = c.upload.each(c.from, func(piece []byte) error {
		seq++
		const insert = `INSERT INTO chunks (content_id, seq, data) VALUES ($1, $2, $3)`
		if c.upload.file == nil {
			return tx.queue(insert, id, seq-1, piece)
		}
		_, err := tx.exec(insert, id, seq-1, piece) // the next piece of a file takes its place
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("insert chunk %d: %w", seq, err)
	}
	return id, nil
}

// writeContent writes a content to w. A segment that is gone when it is opened has been cleared up: then the row says where the content is now.
func (s *Store) writeContent(ctx context.Context, w io.Writer, content ID, size int64) error {
	out := &remembering{w: w}
	for last := int64(-1); ; {
		var p segment.Place
		var sum int64
		err := s.read.QueryRowContext(ctx, `SELECT segment, start, size, sum FROM contents WHERE id = $1`, int64(content)).Scan(&p.Segment, &p.Start, &p.Size, &sum)
		if errors.Is(err, sql.ErrNoRows) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return s.readError(ctx, "read content", err)
		}
		if p.Sum = uint32(sum); p.Segment == 0 || s.segments == nil {
			return s.writeChunks(ctx, w, content, size)
		}
		err = s.segments.Read(p, out)
		if err == nil || out.err != nil {
			return out.err
		}
		if errors.Is(err, segment.ErrGone) && p.Segment != last {
			last = p.Segment
			continue
		}
		s.met.faults.Inc()
		s.log.Error("a content can't be read", "content", int64(content), "err", err)
		return s.readError(ctx, "read content", err)
	}
}

// remembering tells an error of the writer behind it from one of what is read.
type remembering struct {
	w   io.Writer
	err error
}

func (r *remembering) Write(b []byte) (int, error) {
	n, err := r.w.Write(b)
	r.err = err
	return n, err
}

func (s *Store) writeChunks(ctx context.Context, w io.Writer, content ID, size int64) error {
	for seq, done := 0, int64(0); done < size; seq++ {
		var piece []byte
		err := s.read.QueryRowContext(ctx, `SELECT data FROM chunks WHERE content_id = $1 AND seq = $2`, int64(content), seq).Scan(&piece)
		if errors.Is(err, sql.ErrNoRows) || err == nil && len(piece) == 0 {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return s.readError(ctx, "read content", err)
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
		done += int64(len(piece))
	}
	return nil
}
