package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// sweepBatch is how many messages one write purges: few, so that submissions do not wait behind it.
const sweepBatch = 16

// Sweep purges what has been kept long enough: contents first, rows and timelines later; then it gives the disk back what segments
// hold of them. Run does it by itself.
func (s *Store) Sweep(ctx context.Context) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	for _, step := range []func(*Tx, time.Time) (int64, error){(*Tx).purgeMessages, (*Tx).purgeSubmissions, (*Tx).purgeHeld} {
		for ctx.Err() == nil {
			var n int64
			err := s.later(ctx, func(tx *Tx) (err error) {
				n, err = step(tx, time.Now())
				return err
			})
			if err != nil {
				if !errors.Is(err, ErrClosed) && ctx.Err() == nil {
					s.log.Warn("purge", "err", err)
				}
				return
			}
			if n < sweepBatch {
				break
			}
		}
	}
	s.tidy(ctx)
}

func (tx *Tx) purgeMessages(now time.Time) (int64, error) {
	type old struct{ id, content ID }
	var found []old
	err := tx.rows(`SELECT id, content_id FROM messages WHERE purge_at IS NOT NULL AND purge_at <= $1 ORDER BY purge_at LIMIT $2`+tx.s.engine.skipLocked(),
		[]any{millis(now), sweepBatch}, func(scan func(...any) error) error {
			var o old
			err := scan(&o.id, &o.content)
			found = append(found, o)
			return err
		})
	if err != nil {
		return 0, fmt.Errorf("find old messages: %w", err)
	}
	for _, o := range found {
		if o.content != 0 {
			err = tx.purgeContentOf(o.id, o.content, now)
		} else {
			err = tx.purgeMessage(o.id, now)
		}
		if err != nil {
			return 0, err
		}
	}
	return int64(len(found)), nil
}

func (tx *Tx) purgeContentOf(message, content ID, now time.Time) error {
	if err := tx.queue(`UPDATE messages SET content_id = 0, purge_at = $1 WHERE id = $2`,
		millis(now.Add(tx.s.opt.Tuning.KeepMessages)), message); err != nil {
		return fmt.Errorf("purge content: %w", err)
	}
	if err := tx.event(message, 0, now, "content purged", ""); err != nil {
		return err
	}
	return tx.dropContent(content)
}

// dropContent deletes a content that nothing refers to any more.
func (tx *Tx) dropContent(content ID) error {
	var users int
	if err := tx.row(`SELECT (SELECT COUNT(*) FROM messages WHERE content_id = $1) + (SELECT COUNT(*) FROM mbox WHERE content_id = $1)
		+ (SELECT COUNT(*) FROM held WHERE content_id = $1)`, []any{int64(content)}, &users); err != nil {
		return fmt.Errorf("count users of a content: %w", err)
	}
	if users > 0 {
		return nil
	}
	if err := tx.queue(`DELETE FROM chunks WHERE content_id = $1`, int64(content)); err != nil {
		return fmt.Errorf("purge content: %w", err)
	}
	var number int64
	err := tx.row(`DELETE FROM contents WHERE id = $1 RETURNING segment`, []any{int64(content)}, &number)
	if err != nil && !errors.Is(err, ErrNotFound) { // somebody was faster
		return fmt.Errorf("purge content: %w", err)
	}
	if number > 0 && tx.s.segments != nil {
		tx.after = append(tx.after, func() { tx.s.segments.Mark(number) })
	}
	return nil
}

// purgeMessage deletes all that is left of a message, unless a CDR of it still waits to be exported.
func (tx *Tx) purgeMessage(id ID, now time.Time) error {
	var open int
	if err := tx.row(`SELECT COUNT(*) FROM cdrs WHERE message_id = $1 AND open IS NOT NULL`, []any{int64(id)}, &open); err != nil {
		return err
	}
	if open > 0 {
		err := tx.queue(`UPDATE messages SET purge_at = $1 WHERE id = $2`, millis(now.Add(time.Hour)), id)
		return err
	}
	for _, query := range []string{`DELETE FROM events WHERE message_id = $1`, `DELETE FROM cdrs WHERE message_id = $1`,
		`DELETE FROM reports WHERE message_id = $1`, `DELETE FROM recipients WHERE message_id = $1`, `DELETE FROM messages WHERE id = $1`} {
		if err := tx.queue(query, int64(id)); err != nil {
			return fmt.Errorf("purge message: %w", err)
		}
	}
	return nil
}

func (tx *Tx) purgeSubmissions(now time.Time) (int64, error) {
	return tx.exec(`DELETE FROM submissions WHERE digest IN (SELECT digest FROM submissions WHERE at < $1 ORDER BY at LIMIT $2)`,
		millis(now.Add(-tx.s.opt.Tuning.DedupeWindow)), 8*sweepBatch)
}

func (tx *Tx) purgeHeld(now time.Time) (int64, error) {
	return tx.exec(`DELETE FROM held WHERE id IN (SELECT id FROM held WHERE final_at IS NOT NULL AND final_at < $1 ORDER BY final_at LIMIT $2)`,
		millis(now.Add(-tx.s.opt.Tuning.KeepMessages)), sweepBatch)
}
