package store

import (
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// maxQueue bounds the octets that wait to be sent.
const maxQueue = 4 << 20

// queue is exec for a statement whose outcome nobody needs to know but that it went well. To PostgreSQL such statements go together with the
// next one that is waited for, or with the commit: a round trip for many. What fails then fails the transaction, as it would have at once.
// Octets in args are read until then.
func (tx *Tx) queue(query string, args ...any) error {
	if tx.s.engine != postgres {
		_, err := tx.exec(query, args...)
		return err
	}
	if err := tx.enqueue(query, args); err != nil {
		return err
	}
	if tx.queued > maxQueue {
		_, err := tx.flush()
		return err
	}
	return nil
}

// enqueue adds a statement to what will be sent.
func (tx *Tx) enqueue(query string, args []any) error {
	values := make([]any, len(args))
	for i, a := range args {
		v, err := driver.DefaultParameterConverter.ConvertValue(a)
		if err != nil {
			return fmt.Errorf("argument %d of %.60q: %w", i+1, query, err)
		}
		if b, ok := v.([]byte); ok {
			tx.queued += len(b)
		}
		values[i] = v
	}
	tx.waiting.Queue(query, values...)
	return nil
}

// flush sends what waits and gives the number of rows that its last statement changed.
func (tx *Tx) flush() (changed int64, err error) {
	n := tx.waiting.Len()
	if n == 0 {
		return 0, nil
	}
	batch := tx.waiting
	tx.waiting, tx.queued = &pgx.Batch{}, 0
	err = tx.conn.Raw(func(c any) error {
		results := c.(*stdlib.Conn).Conn().SendBatch(tx.ctx, batch)
		for range n {
			tag, err := results.Exec()
			if err != nil {
				return errors.Join(err, results.Close())
			}
			changed = tag.RowsAffected()
		}
		return results.Close()
	})
	return changed, err
}
