package dispatcher

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/database"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gopkg.in/yaml.v3"
)

// maxServices bounds the catalogue.
const maxServices = 2000

// Errors of the catalogue beside those of an entry that can't work, which are *InvalidError.
var (
	ErrNoService = errors.New("no such service")
	ErrExists    = errors.New("there is a service of this name")
)

// InvalidError is an entry that was refused.
type InvalidError struct {
	Service string
	Err     error
}

func (e *InvalidError) Error() string { return fmt.Sprintf("service %s: %v", e.Service, e.Err) }

// Unwrap gives the reason.
func (e *InvalidError) Unwrap() error { return e.Err }

// catalogue keeps the services in the database and, ready to be used, in memory. The memory follows the database, where
// other nodes may write, within refreshEvery.
type catalogue struct {
	db    *tables
	check func(rawURL string) error // the guard's word on a URL
	log   *slog.Logger
	now   atomic.Pointer[table]
	mu    sync.Mutex // one refresh at a time, so that an older table never replaces a newer one
}

func newCatalogue(ctx context.Context, db *tables, check func(string) error, log *slog.Logger) (*catalogue, error) {
	c := &catalogue{db: db, check: check, log: log}
	c.now.Store(&table{})
	return c, c.refresh(ctx)
}

func (c *catalogue) table() *table { return c.now.Load() }

// refresh reads the catalogue when its revision has changed.
func (c *catalogue) refresh(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var revision int64
	if err := c.db.QueryRowContext(ctx, `SELECT revision FROM svc_revision WHERE id = 1`).Scan(&revision); err != nil {
		return fmt.Errorf("read the catalogue: %w", err)
	}
	if revision == c.table().revision {
		return nil
	}
	var list []Service
	err := c.db.Within(ctx, func(tx *sql.Tx) (err error) {
		list = nil
		if err := tx.QueryRowContext(ctx, `SELECT revision FROM svc_revision WHERE id = 1`).Scan(&revision); err != nil {
			return err
		}
		list, err = services(ctx, tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the catalogue: %w", err)
	}
	t, bad := compile(revision, list)
	if bad != nil {
		c.log.Error("a service of the catalogue can't be used", "err", bad)
	}
	c.now.Store(t)
	return nil
}

func services(ctx context.Context, tx *sql.Tx) ([]Service, error) {
	var list []Service
	rows, err := tx.QueryContext(ctx, `SELECT name, body FROM svc_services ORDER BY name`)
	err = database.Each(rows, err, func(scan func(...any) error) error {
		var name, body string
		if err := scan(&name, &body); err != nil {
			return err
		}
		var s Service
		if err := yaml.Unmarshal([]byte(body), &s); err != nil {
			return fmt.Errorf("service %s: %w", name, err)
		}
		list = append(list, s)
		return nil
	})
	return list, err
}

// changes of an entry.
type change int

const (
	add change = iota
	edit
	put // either
)

// write enters services, all or none, after all checks.
func (c *catalogue) write(ctx context.Context, how change, list ...Service) error {
	err := c.db.Within(ctx, func(tx *sql.Tx) error {
		if err := c.db.lock(ctx, tx, "catalogue"); err != nil {
			return err
		}
		if err := c.enterAll(ctx, tx, how, list); err != nil {
			return err
		}
		return raise(ctx, tx)
	})
	if err != nil {
		return err
	}
	return c.refresh(ctx)
}

// errTried ends a transaction that was for its checks alone.
var errTried = errors.New("tried")

// try makes all the checks of write and changes nothing.
func (c *catalogue) try(ctx context.Context, how change, list ...Service) error {
	err := c.db.Within(ctx, func(tx *sql.Tx) error {
		return cmp.Or(c.enterAll(ctx, tx, how, list), errTried)
	})
	if errors.Is(err, errTried) {
		return nil
	}
	return err
}

func (c *catalogue) enterAll(ctx context.Context, tx *sql.Tx, how change, list []Service) error {
	there, err := services(ctx, tx)
	for i := 0; i < len(list) && err == nil; i++ {
		there, err = c.enter(ctx, tx, how, &list[i], there)
	}
	return err
}

// enter checks one service against the others and writes it.
func (c *catalogue) enter(ctx context.Context, tx *sql.Tx, how change, s *Service, there []Service) ([]Service, error) {
	at := -1
	for i := range there {
		if there[i].Name == s.Name {
			at = i
		}
	}
	switch {
	case at >= 0 && how == add:
		return nil, fmt.Errorf("%s: %w", s.Name, ErrExists)
	case at < 0 && how == edit:
		return nil, fmt.Errorf("%s: %w", s.Name, ErrNoService)
	case at < 0:
		if len(there) >= maxServices {
			return nil, &InvalidError{s.Name, fmt.Errorf("the catalogue has %d services already", maxServices)}
		}
		there, at = append(there, *s), len(there)
	default:
		s.keep(&there[at])
		there[at] = *s
	}
	if err := c.valid(s); err != nil {
		return nil, &InvalidError{s.Name, err}
	}
	if err := overlap(s, there); err != nil {
		return nil, &InvalidError{s.Name, err}
	}
	body, err := yaml.Marshal(s)
	if err != nil {
		return nil, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO svc_services (name, body, updated_at) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET body = excluded.body, updated_at = excluded.updated_at`, s.Name, string(body), millis(time.Now()))
	return there, err
}

// valid says whether an entry can work at all.
func (c *catalogue) valid(s *Service) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if err := c.check(placeholders.ReplaceAllString(s.Provider.URL, "0")); err != nil {
		return fmt.Errorf("provider.url: %w", err)
	}
	_, err := s.Provider.TLS.load()
	return err
}

// overlap says which other service would take the same message with the same right.
func overlap(s *Service, there []Service) error {
	if s.Disabled {
		return nil
	}
	mine, err := compileRules(s)
	if err != nil {
		return err
	}
	for i := range there {
		o := &there[i]
		if o.Name == s.Name || o.Disabled {
			continue
		}
		theirs, err := compileRules(o)
		if err != nil {
			continue // it takes no message
		}
		if where, same := mine.equalRank(theirs); same {
			return fmt.Errorf("match: service %s takes the same messages with equal rank (%s, priority %d): change one of the rules or give one of them another priority",
				o.Name, where, s.Priority)
		}
	}
	return nil
}

// remove takes a service out. Turns that it still has end with the fall-back text.
func (c *catalogue) remove(ctx context.Context, name string) error {
	err := c.db.Within(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM svc_services WHERE name = $1`, name)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return fmt.Errorf("%s: %w", name, ErrNoService)
		}
		return raise(ctx, tx)
	})
	if err != nil {
		return err
	}
	return c.refresh(ctx)
}

func raise(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `UPDATE svc_revision SET revision = revision + 1 WHERE id = 1`)
	return err
}

// maxPEM bounds a file of certificates.
const maxPEM = 1 << 20

// load reads the files; nil without any.
func (t *TLS) load() (*tls.Config, error) {
	if *t == (TLS{}) {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		pem, err := readPEM(t.CA)
		if err != nil {
			return nil, fmt.Errorf("provider.tls.ca: %w", err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("provider.tls.ca: %s: no certificate in it", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("provider.tls.cert: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func readPEM(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxPEM {
		return nil, fmt.Errorf("%s: want a file of at most %d octets", file, maxPEM)
	}
	return os.ReadFile(file)
}

// YAML gives services as a document that ParseServices reads.
func YAML(list []Service) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(map[string][]Service{"services": list}); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}

// find gives a service of the table by name.
func (t *table) find(name string) (*entry, error) {
	if e := t.names[strings.TrimSpace(name)]; e != nil {
		return e, nil
	}
	return nil, fmt.Errorf("%s: %w", name, ErrNoService)
}
