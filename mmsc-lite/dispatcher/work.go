package dispatcher

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
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

// fault is an error that says whether the same thing may work later.
type fault struct {
	retry bool
	after time.Duration // the provider's wish
	err   error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func forGood(err error) error { return &fault{err: err} }

// failed says what becomes of a job that failed.
func (d *Dispatcher) failed(ctx context.Context, j *job, err error) outcome {
	now := time.Now()
	if ctx.Err() != nil {
		return outcome{State: j.State, Again: now, Error: "interrupted"} // we are being stopped: the next one goes on at once
	}
	retry := true
	var f *fault
	if errors.As(err, &f) {
		retry = f.retry
	}
	d.log.Info("service did not work", "service", j.Service, "kind", j.Kind, "job", j.ID, "user", mms.Mask(j.User), "attempt", j.Attempts, "again", retry, "err", err)
	if retry && now.Before(j.GiveUp) {
		pause := j.pause()
		if f != nil && f.after > pause {
			pause = f.after
		}
		again := now.Add(pause)
		if again.After(j.GiveUp) {
			again = j.GiveUp
		}
		return outcome{State: jobDue, Again: again, Error: err.Error()}
	}
	if j.Kind == kindTurn {
		return outcome{State: jobFallback, Again: now, GiveUp: now.Add(noticeLife), Error: err.Error()}
	}
	return outcome{State: jobDead, Again: now, Error: err.Error()}
}

// pause gives the time before another attempt: it doubles, with a tenth more or less.
func (j *job) pause() time.Duration {
	r := DefaultService().Provider.Retry
	if j.entry != nil {
		r = j.entry.Provider.Retry
	}
	p := r.First << min(j.Attempts-1, 20)
	if p <= 0 || p > r.Max {
		p = r.Max
	}
	return p - p/10 + rand.N(p/5+1)
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

// send has the platform make the user's message of an answer.
func (d *Dispatcher) send(ctx context.Context, j *job) ([]platform.Sent, error) {
	if j.entry == nil {
		return nil, forGood(errors.New("the service is not in the catalogue any more"))
	}
	a, e := j.Answer, j.entry
	r := d.message(j)
	r.TransactionID = j.ID
	r.Content = platform.Content{Subject: a.Subject, SMIL: a.SMIL, Items: items(a.Parts)}
	for _, p := range a.Pages {
		r.Content.Pages = append(r.Content.Pages, platform.Page{Duration: p.Duration, Items: items(p.Parts)})
	}
	most := e.Reply.MaxDelay
	if most == 0 {
		most = 24 * time.Hour
	}
	r.Delay = min(a.Delay, most)
	if a.Recipients == "all" && e.Reply.Recipients == "all" {
		r.To = append(r.To, j.Event.Others...)
	}
	r.DeliveryReport, r.ReadReport = e.Provider.Reports, e.Provider.Reports
	if a.Price != "" {
		if err := mark(&r, MarkPrice, a.Price); err != nil {
			return nil, err
		}
	}
	return d.submit(ctx, r)
}

func items(parts []Part) []platform.Item {
	var out []platform.Item
	for _, p := range parts {
		out = append(out, platform.Item{Type: p.Type, Name: p.Name, ID: p.ID, Data: p.Data, URL: p.URL, Optional: p.Optional})
	}
	return out
}

// text sends a text of ours; a failure is tried again for noticeLife.
func (d *Dispatcher) text(ctx context.Context, j *job, text, then string) (outcome, noted) {
	r := d.message(j)
	r.TransactionID = j.ID + "-t"
	r.Content.Items = []platform.Item{{Type: "text/plain; charset=utf-8", Data: []byte(text)}}
	_, err := d.submit(ctx, r)
	now := time.Now()
	switch {
	case err == nil:
		return outcome{State: then, Error: j.LastErr}, nil
	case ctx.Err() != nil:
		return outcome{State: j.State, Again: now}, nil
	}
	var f *fault
	if errors.As(err, &f) && !f.retry || !now.Before(j.GiveUp) {
		d.log.Error("a user did not get an answer", "service", j.Service, "job", j.ID, "user", mms.Mask(j.User), "err", err)
		return outcome{State: jobDead, Again: now, Error: err.Error()}, nil
	}
	return outcome{State: j.State, Again: now.Add(j.pause()), Error: err.Error()}, nil
}

// message makes what all messages of a service have.
func (d *Dispatcher) message(j *job) platform.Request {
	r := platform.Request{From: j.Event.Code, To: []string{j.User}, Profile: j.Event.Profile}
	if j.entry != nil {
		r.Class = j.entry.Reply.Class
		if j.entry.Reply.From != "" {
			r.From = j.entry.Reply.From
		}
	}
	for name, value := range map[string]string{MarkService: j.Service, MarkHops: strconv.Itoa(j.Event.Hops + 1)} {
		if value == "" {
			value = "none" // an empty value has no form on the wire
		}
		if err := mark(&r, name, value); err != nil {
			d.log.Error("mark a message", "mark", name, "err", err)
		}
	}
	return r
}

func mark(r *platform.Request, name, value string) error {
	h, err := mms.ParseHeader(mms.MSendReq, name, value)
	if err != nil {
		return forGood(fmt.Errorf("%s: %w", name, err))
	}
	r.Extra = append(r.Extra, h)
	return nil
}

func (d *Dispatcher) submit(ctx context.Context, r platform.Request) ([]platform.Sent, error) {
	sent, notes, err := d.opt.Sender.Send(ctx, r)
	if err != nil {
		var p *platform.Error
		if errors.As(err, &p) && !p.Retry {
			return nil, forGood(err)
		}
		return nil, &fault{retry: true, err: err}
	}
	if len(notes) > 0 {
		d.log.Debug("content adapted", "user", mms.Mask(r.To[0]), "notes", len(notes), "first", notes[0].String())
	}
	return sent, nil
}
