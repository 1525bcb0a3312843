package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
)

// answerWithin bounds how long after a retrieval an M-NotifyResp.ind with an unknown transaction id is taken for its answer.
const answerWithin = time.Hour

// take queues an indication for a peer and confirms it; false: it is none of ours, and nothing has been written.
func (x *Relay) take(w http.ResponseWriter, r *http.Request, set *settings, at *location, h *mms.Head, pdu []byte) bool {
	if !x.enter() {
		if at == nil {
			return false
		}
		x.unavailable(w, errNotRunning)
		return true
	}
	defer x.leave()
	// It has arrived whole: it counts even if the handset goes away now.
	ctx := context.WithoutCancel(r.Context())
	subscriber := x.opt.Identify(r)
	m, guessed, err := x.match(ctx, at, h, subscriber)
	if err == nil && m == nil && at == nil {
		return false
	}
	if err == nil {
		i := &Indication{PDU: pdu, ExpiresAt: time.Now().Add(set.Indications.Expiry)}
		if at != nil {
			i.Location = at.url
		} else {
			i.Location = m.Location
		}
		err = x.store.Queue(ctx, m, i, set.Indications.Queue)
	}
	if err != nil {
		if guessed {
			return false // ours may know it
		}
		x.unavailable(w, err)
		return true
	}
	x.met.passed(passQueued)
	x.rouse()
	if guessed {
		return false // the MMSC beside us is asked too, and confirms what it does not know
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
	return true
}

// match finds the message that an indication speaks of: by where it was posted, by the transaction id (that of the
// M-Retrieve.conf, which most servers use in the notification too) or Message-ID. Where the ids of notification and
// M-Retrieve.conf differ, the one message that the subscriber has just got and not answered is meant (guessed).
func (x *Relay) match(ctx context.Context, at *location, h *mms.Head, subscriber string) (m *Message, guessed bool, err error) {
	if at != nil {
		m, err = x.store.Find(ctx, KeyOf(at.url, subscriber))
		return m, false, known(err)
	}
	q := Query{TransactionID: string(h.TransactionID), Subscriber: subscriber}
	if h.Type == mms.MReadRecInd {
		q = Query{MessageID: trimID(h.MessageID), Subscriber: subscriber}
	}
	if q.TransactionID == "" && q.MessageID == "" {
		return nil, false, nil
	}
	m, err = x.store.Match(ctx, q)
	if !errors.Is(err, ErrNotFound) || h.Type != mms.MNotifyRespInd || h.Message != mms.Retrieved || subscriber == "" {
		return m, false, known(err)
	}
	m, err = x.store.Match(ctx, Query{ServedSince: time.Now().Add(-answerWithin), Subscriber: subscriber})
	return m, m != nil, known(err)
}

func known(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// trimID gives a Message-ID without < >.
func trimID(id []byte) string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(string(id)), "<"), ">")
}

// look is how often the store is asked for indications when nothing wakes us: another node's may have become ours.
const look = 10 * time.Second

// rouse lets pass look for what is due.
func (x *Relay) rouse() {
	select {
	case x.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// tellers is how many indications are on their way at the same time.
const tellers = 16

// pass passes indications back until ctx ends, and returns when none is on its way.
func (x *Relay) pass(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, tellers) // only this goroutine takes them
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		set := x.set.Load()
		due, next, err := x.store.Due(ctx, time.Now().Add(2*set.Timeout+look), tellers-len(slots)+1)
		if err != nil && ctx.Err() == nil {
			x.log.Warn("indications for peers are not available", "err", err)
		}
		for n, i := range due {
			if n > 0 {
				slots <- struct{}{}
			}
			wg.Go(func() {
				defer func() { <-slots }()
				x.tell(ctx, set, i)
			})
		}
		if len(due) > 0 {
			continue
		}
		<-slots
		pause := look
		if !next.IsZero() {
			pause = min(pause, max(time.Until(next), time.Millisecond))
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-x.wake:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// tell brings one indication to its peer and settles it. While a peer does not answer, the others for it wait with the one
// that found out, so that they do not keep those for other peers waiting.
func (x *Relay) tell(ctx context.Context, set *settings, i *Indication) {
	if !time.Now().Before(i.ExpiresAt) {
		x.met.passed(passExpired)
		x.log.Error("a handset's answer expired before its peer took it", "attempts", i.Attempts)
		x.settle(ctx, i, time.Time{})
		return
	}
	at, err := set.find(i.Location)
	if err != nil { // the operator may have gone from the configuration since
		x.met.passed(passRefused)
		x.log.Error("a handset's answer is for nobody any more", "err", err)
		x.settle(ctx, i, time.Time{})
		return
	}
	if until := x.shyUntil(at.operator.Name); time.Now().Before(until) {
		x.settle(ctx, i, until)
		return
	}
	final, err := at.tell(ctx, i.PDU)
	switch {
	case err == nil:
		x.met.passed(passPassed)
		x.avoid(at.operator.Name, time.Time{})
		x.settle(ctx, i, time.Time{})
	case ctx.Err() != nil: // we end: the next process begins with it
		x.settle(ctx, i, time.Now())
	case final:
		x.met.passed(passRefused)
		x.log.Error("a peer refuses a handset's answer", "operator", at.operator.Name, "err", err)
		x.settle(ctx, i, time.Time{})
	default:
		x.met.passed(passRetried)
		again := set.Indications.pause(i.Attempts)
		x.log.Info("a peer has not taken a handset's answer yet", "operator", at.operator.Name, "attempt", i.Attempts+1, "again_in", again, "err", err)
		until := time.Now().Add(again)
		if until.After(i.ExpiresAt) {
			until = i.ExpiresAt
		}
		x.avoid(at.operator.Name, time.Now().Add(set.Indications.RetryFirst))
		x.settle(ctx, i, until)
	}
}

// pause gives the time until the next attempt: RetryFirst, doubled for each one before, up to RetryMax.
func (c *IndicationConfig) pause(attempts int) time.Duration {
	d := c.RetryFirst
	for range attempts {
		if d *= 2; d >= c.RetryMax {
			return c.RetryMax
		}
	}
	return d
}

func (x *Relay) shyUntil(name string) time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.shy[name]
}

// avoid lets an operator alone until a time; the zero one: no longer.
func (x *Relay) avoid(name string, until time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if until.IsZero() {
		delete(x.shy, name)
		return
	}
	x.shy[name] = until
}

// settle ends a lease, also when Run has been told to end.
func (x *Relay) settle(ctx context.Context, i *Indication, again time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := x.store.Settle(ctx, i, again); err != nil {
		x.log.Warn("indication not settled: it may be passed twice", "err", err)
	}
	if !again.IsZero() {
		x.rouse() // the next one is due earlier than its lease said
	}
}

// tell posts an indication to where the operator takes them; final: another attempt makes no sense.
func (at *location) tell(ctx context.Context, pdu []byte) (final bool, err error) {
	o := at.operator
	to := at.url
	if o.URL != "" {
		to = o.URL
	}
	header := o.header()
	header.Set("Content-Type", mediaType)
	a, err := o.client.Do(ctx, outgoing.Request{Method: http.MethodPost, URL: to, Header: header, Body: pdu, MaxBody: maxAnswer})
	var bad *outgoing.Error
	switch {
	case errors.As(err, &bad):
		// One that says too much has taken it or not, nobody knows: to hear it twice harms nobody.
		return !bad.Transient() && bad.Kind != outgoing.TooLarge && !errors.Is(err, errOutside), err
	case err != nil:
		return false, err
	case a.Status/100 == 2:
		return false, nil
	}
	transient := a.Status >= 500 || a.Status == http.StatusRequestTimeout || a.Status == http.StatusTooEarly || a.Status == http.StatusTooManyRequests
	return !transient, fmt.Errorf("answered %d", a.Status)
}
