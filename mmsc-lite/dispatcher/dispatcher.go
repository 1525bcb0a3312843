// Package dispatcher is the two-way service: it knows from its catalogue and from the sessions of users which service a
// message belongs to, asks that service's provider over HTTP (forms, raw media, XML or JSON), and has the platform make the
// provider's answer a message for the user, turn by turn until the user, the provider or the time ends the session.
//
// Promises: what Accept has taken is committed and synced, and its sender gets an answer: the provider's content, or the
// service's fall-back text. A message that is accepted twice is one turn. Turns of a session are served in order. A
// provider is asked again with the same idempotency key until its time is over; then the turn is a dead letter that can
// be replayed. A crash loses nothing: work is leased, and what was under way is done again, so a provider may be asked
// twice and, if the crash falls between the submission of the reply and our note of it, the reply is submitted again
// with the same transaction id. Each service has its own workers on each node, so a slow one delays no other.
//
// States: New has opened the database; Run serves until its context ends, gives back what was under way and closes it.
package dispatcher

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
	"github.com/prometheus/client_golang/prometheus"
)

// Sender makes a message of content and submits it durably; *platform.Platform is one.
type Sender interface {
	Send(ctx context.Context, r platform.Request) ([]platform.Sent, []platform.Note, error)
}

// Caller makes requests to a provider; *outgoing.Client is one.
type Caller interface {
	Do(ctx context.Context, r outgoing.Request) (*outgoing.Answer, error)
}

// Options is what New needs.
type Options struct {
	Config   Config
	DataDir  string // folder of the SQLite file
	Database string // postgres:// address of the MMSC's database; empty: SQLite in DataDir
	Guard    *outgoing.Guard
	Sender   Sender
	Callers  func(*Service) Caller // providers that are not asked over the network; nil, or nil for a service: the guard's client
	Metrics  prometheus.Registerer // nil: none
	Log      *slog.Logger          // nil: none
}

// Dispatcher is the two-way service.
type Dispatcher struct {
	opt  Options
	cfg  atomic.Pointer[Config]
	db   *tables
	cat  *catalogue
	met  *metrics
	log  *slog.Logger
	key  string // of the reply URLs
	wake chan struct{}

	withdrawn atomic.Bool // another process of this node does what is due

	mu    sync.Mutex // guards lanes and what is in them
	lanes map[string]*lane
	swept time.Time // Run's alone
	purge time.Time // Run's alone
}

// New checks the options, opens the database and enters the services of the files to import. It starts nothing.
func New(opt Options) (*Dispatcher, error) {
	if err := opt.Config.Validate(); err != nil {
		return nil, err
	}
	if opt.Guard == nil || opt.Sender == nil {
		return nil, errors.New("services: there is nobody to ask or to send by")
	}
	d := &Dispatcher{opt: opt, log: opt.Log, wake: make(chan struct{}, 1), lanes: map[string]*lane{}}
	d.cfg.Store(&opt.Config)
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	var err error
	if d.db, err = openTables(ctx, opt.DataDir, opt.Database); err != nil {
		return nil, err
	}
	if err := d.furnish(ctx); err != nil {
		return nil, errors.Join(err, d.db.Close())
	}
	return d, nil
}

// openTimeout bounds New.
const openTimeout = 2 * time.Minute

func (d *Dispatcher) furnish(ctx context.Context) (err error) {
	if _, err = d.db.ExecContext(ctx, `INSERT INTO svc_keys (id, secret) VALUES (1, $1) ON CONFLICT (id) DO NOTHING`, rand.Text()); err != nil {
		return fmt.Errorf("services: %w", err)
	}
	if err = d.db.QueryRowContext(ctx, `SELECT secret FROM svc_keys WHERE id = 1`).Scan(&d.key); err != nil {
		return fmt.Errorf("services: %w", err)
	}
	check := func(u string) error { _, err := d.opt.Guard.Check(u); return err }
	if d.cat, err = newCatalogue(ctx, d.db, check, d.log); err != nil {
		return err
	}
	if err = d.importFiles(ctx, &d.opt.Config); err != nil {
		return err
	}
	d.met, err = newMetrics(d.opt.Metrics)
	return err
}

// Close closes the database, for a caller that never calls Run.
func (d *Dispatcher) Close() error { return d.db.Close() }

// Takes says whether an address is a service's, so that messages for it are for Accept and not for a handset.
func (d *Dispatcher) Takes(code string) bool { return d.cat.table().takes(code) || d.owns(code) }

// owns says whether an address belongs to services, known or not.
func (d *Dispatcher) owns(code string) bool {
	code = address(code)
	for _, p := range d.cfg.Load().Codes {
		if code != "" && strings.HasPrefix(code, strings.ToLower(p)) {
			return true
		}
	}
	return false
}

// Refusal is a message that can't be taken; Reason is for the M-Send.conf.
type Refusal struct {
	Reason mms.Reason
	Text   string
}

func (r *Refusal) Error() string { return r.Text }

// Check says whether Accept would take a message: nil, a *Refusal, or an error of the database. It changes nothing.
func (d *Dispatcher) Check(ctx context.Context, s *Submission) error {
	_, err := d.route(ctx, s, false)
	return err
}

// Explain says which service would take a message, and why.
func (d *Dispatcher) Explain(ctx context.Context, s *Submission) (Decision, error) {
	return d.route(ctx, s, true)
}

func (d *Dispatcher) route(ctx context.Context, s *Submission, all bool) (Decision, error) {
	if s.From == "" {
		return Decision{Why: "nobody says who sends it"}, &Refusal{mms.ServiceDenied, "a service needs to know who asks"}
	}
	f := factsOf(s)
	open, err := openSessions(ctx, d.db, s.From, f.code, time.Now())
	if err != nil {
		return Decision{}, fmt.Errorf("look for sessions: %w", err)
	}
	t := d.cat.table()
	dec := t.decide(f, open, all)
	if dec.Service == "" {
		if d.cfg.Load().Unknown.Text != "" && !s.Reply {
			return dec, nil
		}
		why := mms.AddressUnresolved
		if d.cfg.Load().Unknown.Status == "service_denied" {
			why = mms.ServiceDenied
		}
		return dec, &Refusal{why, "no service takes this message"}
	}
	e := t.names[dec.Service]
	if (s.Reply || s.Hops > 0 || s.Class == "auto") && !(e.Loop.Allow && s.Hops <= e.Loop.MaxHops) {
		dec.Why += "; but it comes from a service, which this one does not allow"
		return dec, &Refusal{mms.ServiceDenied, "a service's message can't trigger this service"}
	}
	return dec, nil
}

// Accept takes a message for a service. nil means that it is durable and that its sender will get an answer; the same
// message again changes nothing. A *Refusal is for good, any other error may pass.
func (d *Dispatcher) Accept(ctx context.Context, s *Submission) error {
	// One that was taken before stays taken, even if the session that took it has ended and nothing would take it now.
	if there, err := d.db.known(ctx, jobID(s.MessageID, s.Code)); err != nil || there {
		return err
	}
	dec, err := d.route(ctx, s, false)
	if err != nil {
		if no := (*Refusal)(nil); errors.As(err, &no) {
			d.met.accepted.WithLabelValues("refused").Inc()
		}
		return err
	}
	now := time.Now()
	if s.Received.IsZero() {
		s.Received = now
	}
	var result string
	err = d.db.Within(ctx, func(tx *sql.Tx) error {
		result = "turn"
		var there int
		j := &job{ID: jobID(s.MessageID, s.Code), Kind: kindTurn, Service: dec.Service, User: s.From, Due: now}
		// Twins wait for each other here, not in the middle, where one could hold what the other's answer needs.
		if err := d.db.lock(ctx, tx, "turn "+j.ID); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM svc_jobs WHERE id = $1`, j.ID).Scan(&there); err != nil || there > 0 {
			return err
		}
		j.Event = Event{Code: address(s.Code), Message: s.MessageID, Others: s.Others, Subject: s.Subject, Hops: s.Hops, Profile: s.Profile, UserAgent: s.UserAgent,
			Received: s.Received, Parts: s.Parts}
		t := d.cat.table()
		e := t.names[dec.Service]
		switch {
		case e == nil && dec.Service != "":
			j.notice(DefaultService().Reply.Fallback, now) // it was removed at this moment
		case e == nil:
			result = "unknown"
			j.notice(d.cfg.Load().Unknown.Text, now)
		case dec.Stop:
			result = "stop"
			if err := end(ctx, tx, t, dec.Session, endedStop, now); err != nil {
				return err
			}
			j.notice(e.Session.StopText, now)
		default:
			ses, err := turn(ctx, tx, t, e, s.From, j.Event.Code, now)
			if err != nil {
				return err
			}
			j.Session, j.Turn, j.GiveUp = ses.ID, ses.Turn, now.Add(e.Provider.Retry.For)
		}
		return enqueue(ctx, tx, j)
	})
	if err != nil {
		return fmt.Errorf("keep a turn of %s: %w", dec.Service, err)
	}
	d.met.accepted.WithLabelValues(result).Inc()
	d.poke()
	return nil
}

// notice makes a job a text for the user.
func (j *job) notice(text string, now time.Time) {
	j.Kind, j.Event.Text, j.Event.Parts, j.GiveUp = kindNotice, text, nil, now.Add(noticeLife)
}

// poke lets Run look for work.
func (d *Dispatcher) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Report is what became of a message that a service has sent.
type Report struct {
	Kind      string // delivery or read
	MessageID string // of the reply
	// TransactionID is what the reply was submitted with: a phone can be faster than our note of the reply.
	TransactionID string
	Recipient     string
	Status        string // such as retrieved, expired, rejected, read, deleted
	At            time.Time
}

// Tell passes a report on to the provider whose answer the message was. One of any other message is nothing to it.
func (d *Dispatcher) Tell(ctx context.Context, r Report) error {
	var j job
	into := []any{&j.Service, &j.Session, &j.Turn}
	err := d.db.QueryRowContext(ctx, `SELECT service, session_id, turn FROM svc_replies WHERE message_id = $1`, r.MessageID).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) && len(r.TransactionID) >= jobIDSize {
		err = d.db.QueryRowContext(ctx, `SELECT service, session_id, turn FROM svc_jobs WHERE id = $1 AND kind = 'turn'`, r.TransactionID[:jobIDSize]).Scan(into...)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for the reply: %w", err)
	}
	if e := d.cat.table().names[j.Service]; e == nil || !e.Provider.Reports {
		return nil
	}
	now := time.Now()
	j.ID = "r-" + strings.TrimPrefix(jobID(r.Kind+" "+r.Status+" "+r.MessageID, r.Recipient), "t-")
	j.Kind, j.User, j.Due, j.GiveUp = kindReport, r.Recipient, now, now.Add(endingLife)
	j.Event = Event{Message: r.MessageID, Received: r.At, Recipient: r.Recipient, ReportKind: r.Kind, Status: r.Status}
	if err := d.db.Within(ctx, func(tx *sql.Tx) error { return enqueue(ctx, tx, &j) }); err != nil {
		return fmt.Errorf("keep a report: %w", err)
	}
	d.poke()
	return nil
}

// caller gives who asks a service's provider.
func (d *Dispatcher) caller(s *Service) (Caller, error) {
	if d.opt.Callers != nil {
		if c := d.opt.Callers(s); c != nil {
			return c, nil
		}
	}
	var secrets *tls.Config
	var err error
	if secrets, err = s.Provider.TLS.load(); err != nil {
		return nil, err
	}
	return d.opt.Guard.Client(outgoing.ClientOptions{TLS: secrets, Timeout: s.Provider.Timeout, MaxBody: int64(s.Provider.MaxAnswer)}), nil
}
