package store

import (
	"context"
	"database/sql"
	"errors"
)

// Subscriber gives the profile, as it was put, of a subscriber. ErrNotFound: there is none.
func (s *Store) Subscriber(ctx context.Context, number string) (profile string, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT profile FROM subscribers WHERE number = $1`, number).Scan(&profile)
	if errors.Is(err, sql.ErrNoRows) {
		return "", ErrNotFound
	}
	if err != nil {
		return "", s.readError(ctx, "look up a subscriber", err)
	}
	return profile, nil
}

// PutSubscriber adds or replaces a subscriber; an empty profile removes it.
func (s *Store) PutSubscriber(ctx context.Context, number, profile string) error {
	return s.do(ctx, 0, nil, func(tx *Tx) error {
		if profile == "" {
			_, err := tx.exec(`DELETE FROM subscribers WHERE number = $1`, number)
			return err
		}
		_, err := tx.exec(`INSERT INTO subscribers (number, profile) VALUES ($1, $2) ON CONFLICT (number) DO UPDATE SET profile = excluded.profile`, number, profile)
		return err
	})
}
