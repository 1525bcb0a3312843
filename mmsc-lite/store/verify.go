package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/segment"
)

// Fault is a content that is not what was accepted, or of which something is missing.
type Fault struct {
	Content  ID
	Messages []Ref // that have it; none: a held PDU or an MMBox
	Err      error
}

// Verified is what Verify has looked at.
type Verified struct {
	Contents int   // all of them
	InFiles  int   // of these, in segments
	Octets   int64 // of all contents
	Faults   int
}

// Verify reads every content of an SQLite store in folder dir, a router's or a copy of it, and tells each fault it finds. It may run beside a
// router. What is purged or moved meanwhile is no fault. The error is one of the database.
func Verify(ctx context.Context, dir string, tell func(Fault)) (v Verified, err error) {
	file := filepath.Join(dir, fileName)
	if _, err := os.Stat(file); err != nil {
		return v, fmt.Errorf("no store: %w", err)
	}
	q := url.Values{"_pragma": {"busy_timeout(10000)", "query_only(1)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var sound string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&sound); err != nil || sound != "ok" {
		return v, errors.Join(fmt.Errorf("%s is damaged: %s", file, sound), err)
	}
	s := &verifier{db: db, log: segment.View(filepath.Join(dir, folderName))}
	for last := ID(-1); ; {
		found, err := s.next(ctx, last)
		if err != nil || len(found) == 0 {
			return v, err
		}
		for _, c := range found {
			last = c.id
			v.Contents++
			v.Octets += c.at.Size
			if c.at.Segment > 0 {
				v.InFiles++
			}
			fault, err := s.look(ctx, c)
			if err != nil {
				return v, err
			}
			if fault == nil {
				continue
			}
			v.Faults++
			refs, err := s.messages(ctx, c.id)
			if err != nil {
				return v, err
			}
			tell(Fault{Content: c.id, Messages: refs, Err: fault})
		}
	}
}

type verifier struct {
	db  *sql.DB
	log *segment.Log
}

// next gives some contents behind last.
func (s *verifier) next(ctx context.Context, last ID) (found []moved, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT id, segment, start, size, sum FROM contents WHERE id > $1 ORDER BY id LIMIT 100`, int64(last))
	if err != nil {
		return nil, fmt.Errorf("read contents: %w", err)
	}
	err = eachRow(rows, func(scan func(...any) error) error {
		var c moved
		var sum int64
		err := scan(&c.id, &c.at.Segment, &c.at.Start, &c.at.Size, &sum)
		c.at.Sum = uint32(sum)
		found = append(found, c)
		return err
	})
	return found, err
}

// look reads a content. What is wrong is a fault only if its row still says the same: it may have been moved or purged.
func (s *verifier) look(ctx context.Context, c moved) (fault, err error) {
	if c.at.Segment > 0 {
		if fault = s.log.Read(c.at, io.Discard); fault == nil {
			return nil, nil
		}
	} else {
		var size int64
		if err := s.db.QueryRowContext(ctx, `SELECT COALESCE(SUM(LENGTH(data)), 0) FROM chunks WHERE content_id = $1`, int64(c.id)).Scan(&size); err != nil {
			return nil, fmt.Errorf("read chunks: %w", err)
		}
		if size == c.at.Size {
			return nil, nil
		}
		fault = fmt.Errorf("%d octets in the database instead of %d", size, c.at.Size)
	}
	var same int
	err = s.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM contents WHERE id = $1 AND segment = $2 AND start = $3`, int64(c.id), c.at.Segment, c.at.Start).Scan(&same)
	if err != nil {
		return nil, fmt.Errorf("read contents: %w", err)
	}
	if same == 0 {
		now, err := s.next(ctx, c.id-1)
		if err != nil || len(now) == 0 || now[0].id != c.id {
			return nil, err // purged
		}
		return s.look(ctx, now[0])
	}
	return fault, nil
}

func (s *verifier) messages(ctx context.Context, content ID) (refs []Ref, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT id, secret FROM messages WHERE content_id = $1 ORDER BY id`, int64(content))
	if err != nil {
		return nil, fmt.Errorf("find messages: %w", err)
	}
	err = eachRow(rows, func(scan func(...any) error) error {
		var r Ref
		var secret []byte
		err := scan(&r.ID, &secret)
		copy(r.Secret[:], secret)
		refs = append(refs, r)
		return err
	})
	return refs, err
}
