package dispatcher

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
)

// Marks on what services send, for the loop guard and the call detail record: names of header fields of the M-Send.req.
const (
	MarkService = "X-Mmsrouter-Service"
	MarkHops    = "X-Mmsrouter-Hops"
	MarkPrice   = "X-Mmsrouter-Price"
)

// settleTime bounds the note of what was done.
const settleTime = 30 * time.Second

// do does a job that is leased and notes how it went.
func (d *Dispatcher) do(ctx context.Context, l *lane, j *job) {
	release := d.hold(ctx, j)
	o, after := d.perform(ctx, l, j)
	release()
	// What was done is noted even if we are being stopped.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	now := time.Now()
	err := d.db.Within(ctx, func(tx *sql.Tx) error {
		if err := settle(ctx, tx, j, o, now); err != nil || after == nil {
			return err
		}
		return after(ctx, tx, now)
	})
	switch {
	case errors.Is(err, errLost):
		d.log.Debug("a job was taken over while it was done", "job", j.ID, "service", j.Service)
	case err != nil:
		d.log.Warn("job not noted; it is done again when its lease ends", "job", j.ID, "service", j.Service, "err", err)
	case o.State == jobDone:
		d.met.jobs.WithLabelValues(j.Kind, resultDone).Inc()
	case o.State == jobDead && j.State == jobFallback:
		d.met.jobs.WithLabelValues(j.Kind, resultFallback).Inc()
	case o.State == jobDead:
		d.met.jobs.WithLabelValues(j.Kind, resultDead).Inc()
	}
}

// hold renews the lease of a job until release is called, which waits for the last renewal. A lease that was lost is left
// alone: settle tells.
func (d *Dispatcher) hold(ctx context.Context, j *job) (release func()) {
	lease := d.cfg.Load().Lease
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		tick := time.NewTicker(lease / 3)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			within, cancel := context.WithTimeout(context.WithoutCancel(ctx), lease/3)
			lost, err := d.db.renew(within, j, time.Now().Add(lease))
			cancel()
			if lost {
				return
			}
			if err != nil {
				d.log.Debug("lease not renewed", "job", j.ID, "service", j.Service, "err", err)
			}
		}
	}()
	return func() {
		close(done)
		<-over
	}
}

// noted is what is written in the same transaction as the end of a job.
type noted func(ctx context.Context, tx *sql.Tx, now time.Time) error

func (d *Dispatcher) perform(ctx context.Context, l *lane, j *job) (outcome, noted) {
	switch {
	case j.Kind == kindNotice:
		return d.text(ctx, j, j.Event.Text, jobDone)
	case j.State == jobFallback:
		text := DefaultService().Reply.Fallback
		if j.entry != nil {
			text = j.entry.Reply.Fallback
		}
		return d.text(ctx, j, text, jobDead)
	}
	if j.Answer == nil {
		if err := d.obtain(ctx, l, j); err != nil {
			return d.failed(ctx, j, err), nil
		}
		if j.State == jobWaiting {
			until := time.Now().Add(j.entry.Provider.Late)
			return outcome{State: jobWaiting, Again: until, GiveUp: until}, nil
		}
	}
	if j.Kind != kindTurn {
		return outcome{State: jobDone}, nil
	}
	sent, err := d.send(ctx, j)
	if err != nil {
		o := d.failed(ctx, j, err)
		if o.State == jobDue {
			o.Answer = j.Answer // the provider need not be asked again
		}
		return o, nil
	}
	return outcome{State: jobDone}, func(ctx context.Context, tx *sql.Tx, now time.Time) error { return d.answered(ctx, tx, j, sent, now) }
}

// answered notes what an answer means for the session and for later reports.
func (d *Dispatcher) answered(ctx context.Context, tx *sql.Tx, j *job, sent []platform.Sent, now time.Time) error {
	for _, s := range sent {
		_, err := tx.ExecContext(ctx, `INSERT INTO svc_replies (message_id, service, session_id, turn, sent_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (message_id) DO NOTHING`, s.MessageID, j.Service, j.Session, j.Turn, millis(now))
		if err != nil {
			return err
		}
	}
	if err := setState(ctx, tx, j.Session, j.Answer.State, now.Add(j.entry.Session.Idle)); err != nil {
		return err
	}
	t := d.cat.table()
	switch most := j.entry.Session.MaxTurns; {
	case j.Answer.End:
		return end(ctx, tx, t, j.Session, endedProvider, now)
	case most > 0 && j.Turn >= most:
		return end(ctx, tx, t, j.Session, endedTurns, now)
	}
	return nil
}

// obtain asks the provider. On nil the job has its answer, or its state is waiting.
func (d *Dispatcher) obtain(ctx context.Context, l *lane, j *job) error {
	now := time.Now()
	switch {
	case j.entry == nil || j.entry.Disabled:
		return forGood(errors.New("the service is not in the catalogue any more"))
	case j.bad != nil:
		return forGood(j.bad)
	case j.State == jobWaiting:
		return forGood(errors.New("the provider has not answered by the reply URL in time"))
	case (j.Attempts > 1 || j.stale) && !now.Before(j.GiveUp):
		return forGood(errors.New("the provider has not answered in time"))
	}
	if j.Kind == kindTurn {
		// The state is that of now: the turn before this one may have changed it since this one came in.
		err := d.db.QueryRowContext(ctx, `SELECT state FROM svc_sessions WHERE id = $1`, j.Session).Scan(&j.Event.State)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("read the session: %w", err)
		}
	}
	p := &j.entry.Provider
	url := ""
	if j.Kind == kindTurn {
		url = d.replyURL(j.ID)
	}
	req, err := p.request(j.call(url), j.Event.Parts, now)
	if err != nil {
		return forGood(err)
	}
	within, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	ans, err := j.caller.Do(within, req)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	result, err := j.understand(p, ans, err)
	d.called(l, result != resultFailed, time.Now())
	d.met.called(result, now)
	return err
}

// understand takes a provider's answer into the job.
func (j *job) understand(p *Provider, ans *outgoing.Answer, err error) (string, error) {
	if err != nil {
		retry := true
		var o *outgoing.Error
		if errors.As(err, &o) {
			retry = o.Transient()
		}
		return resultFailed, &fault{retry: retry, err: err}
	}
	switch s := ans.Status; {
	case s >= 500 && s != http.StatusNotImplemented, s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests:
		return resultFailed, &fault{retry: true, after: ans.RetryAfter(), err: fmt.Errorf("the provider answered %d", s)}
	case s < 200 || s > 299:
		return resultRefused, forGood(fmt.Errorf("the provider answered %d", s))
	case j.Kind != kindTurn:
		return resultAnswered, nil
	case s == http.StatusAccepted:
		j.State = jobWaiting
		return resultLater, nil
	}
	if j.Answer, err = decode(p.Format, ans.Header, ans.Body); err != nil {
		return resultGarbage, forGood(err)
	}
	return resultAnswered, nil
}
