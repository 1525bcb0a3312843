package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/segment"
)

var errBadConn = driver.ErrBadConn

// health remembers whether the last write went well.
type health struct {
	mu      sync.Mutex
	err     error // why the last one did not
	since   time.Time
	content bool // it was a content that could not be written: writes without one say nothing about it
}

// failed notes a write that the engine did not do, logs the first of a row, and wraps it for the caller.
func (s *Store) failed(err error) error {
	u := &Unavailable{Err: err, Full: isFull(err)}
	s.health.mu.Lock()
	first := s.health.err == nil
	if first {
		s.health.since = time.Now()
	}
	s.health.err = u
	var content *contentError
	s.health.content = s.health.content || errors.As(err, &content)
	s.health.mu.Unlock()
	s.met.failed(u.Full)
	if first {
		what := "database does not take writes: submissions get a transient status until it does"
		if u.Full {
			what = "disk full: submissions get a transient status until there is space"
		}
		s.log.Error(what, "database", s.Name(), "full", u.Full, "err", err)
	}
	return u
}

// recovered notes a write that went well, with a content in a segment or without.
func (s *Store) recovered(content bool) {
	s.health.mu.Lock()
	if s.health.content && !content {
		s.health.mu.Unlock()
		return
	}
	was, since := s.health.err, s.health.since
	s.health.err, s.health.content = nil, false
	s.health.mu.Unlock()
	if was != nil {
		s.log.Info("database takes writes again", "database", s.Name(), "after", time.Since(since).Round(time.Millisecond))
	}
}

// Healthy says whether the store can be read and, if the last write failed, whether one works now.
func (s *Store) Healthy(ctx context.Context) error {
	s.health.mu.Lock()
	bad := s.health.err
	s.health.mu.Unlock()
	if bad != nil {
		return s.probe(ctx)
	}
	var one int
	if err := s.read.QueryRowContext(ctx, `SELECT 1`).Scan(&one); err != nil {
		return &Unavailable{Err: fmt.Errorf("read: %w", err), Full: isFull(err)}
	}
	return nil
}

// probe writes and takes it away again: rows and a content as large as a small message, since a disk with a few octets left is full.
func (s *Store) probe(ctx context.Context) (err error) {
	var contents []*segment.Extent
	if s.segments != nil {
		e, err := s.segments.Write([]byte(probeText))
		if err != nil {
			return s.failed(&contentError{err})
		}
		defer func() { err = errors.Join(err, e.Discard()) }()
		contents = append(contents, e)
	}
	return s.do(ctx, 0, contents, func(tx *Tx) error {
		if _, err := tx.exec(`INSERT INTO events (message_id, recipient_id, at, kind, detail) VALUES ($1, $2, $3, $4, $5)`,
			0, 0, millis(time.Now()), "probe", probeText); err != nil {
			return err
		}
		_, err := tx.exec(`DELETE FROM events WHERE message_id = 0`)
		return err
	})
}

var probeText = fmt.Sprintf("%65536s", "probe")
