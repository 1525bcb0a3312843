package store

import (
	"context"
	"fmt"
)

// Record is a CDR on its way into the files of a node.
type Record struct {
	ID        int64 // of the row
	Recipient int64 // names the CDR: there is one per recipient
	JSON      string
}

// ClaimRecords gives CDRs that this node has claimed and not confirmed, and if there are none claims up to limit that
// nobody has. A node asks with fresh false after a start: what it gets then may stand in its files already.
func (s *Store) ClaimRecords(ctx context.Context, limit int, fresh bool) ([]Record, error) {
	var out []Record
	err := s.later(ctx, func(tx *Tx) error {
		out = out[:0]
		if fresh {
			if err := tx.queue(`UPDATE cdrs SET exporter = $1 WHERE id IN (SELECT id FROM cdrs WHERE exporter = '' AND open IS NOT NULL ORDER BY id LIMIT $2`+
				tx.s.engine.skipLocked()+`)`, s.exporter(), limit); err != nil {
				return fmt.Errorf("claim CDRs: %w", err)
			}
		}
		return tx.rows(`SELECT id, recipient_id, record FROM cdrs WHERE exporter = $1 AND open IS NOT NULL ORDER BY id`, []any{s.exporter()},
			func(scan func(...any) error) error {
				var r Record
				err := scan(&r.ID, &r.Recipient, &r.JSON)
				out = append(out, r)
				return err
			})
	})
	return out, err
}

// exporter names the node whose files a CDR goes to. It must not be ” which means nobody.
func (s *Store) exporter() string { return "node " + s.opt.Node }

// RecordsWritten confirms that CDRs stand in the files, synced.
func (s *Store) RecordsWritten(ctx context.Context, records []Record) error {
	return s.later(ctx, func(tx *Tx) error {
		for _, r := range records {
			if err := tx.queue(`UPDATE cdrs SET open = NULL WHERE id = $1 AND exporter = $2`, r.ID, s.exporter()); err != nil {
				return fmt.Errorf("confirm CDR: %w", err)
			}
		}
		return nil
	})
}
