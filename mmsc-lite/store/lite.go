package store

import (
	"database/sql/driver"
	"fmt"
)

// execLite runs a statement of SQLite that gives no rows, and gives the number of those that it changed. It is prepared once for a
// connection, and asked without database/sql's conversions and locks, which cost as much as a small statement itself.
func (tx *Tx) execLite(query string, args []any) (changed int64, err error) {
	values := tx.named[:0]
	for i, a := range args {
		v, err := driver.DefaultParameterConverter.ConvertValue(a)
		if err != nil {
			return 0, fmt.Errorf("argument %d of %.60q: %w", i+1, query, err)
		}
		values = append(values, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	tx.named = values
	defer clear(values) // contents are not to be held
	err = tx.conn.Raw(func(c any) error {
		st := tx.lite[query]
		if st == nil {
			if st, err = c.(driver.ConnPrepareContext).PrepareContext(tx.ctx, query); err != nil {
				return fmt.Errorf("prepare %.60q: %w", query, err)
			}
			tx.lite[query] = st
		}
		res, err := st.(driver.StmtExecContext).ExecContext(tx.ctx, values)
		if err != nil {
			return err
		}
		changed, err = res.RowsAffected()
		return err
	})
	return changed, err
}
