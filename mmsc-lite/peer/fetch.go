package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
)

// flight is a retrieval under way; who asks for the same meanwhile waits for it.
type flight struct {
	done chan struct{}
	got  outcome // once done is closed
}

// outcome is how a retrieval ended: with a message, or with what the handset is told.
type outcome struct {
	message *Message // kept
	pdu     []byte   // its octets, or an M-Retrieve.conf that says why there is none
	result  string
	err     error // the store could not be asked
}

// fetch gets a message from a peer and keeps it, once however many ask for it. It goes on when the handset has gone: that
// one will ask again, and is served from the store then.
func (x *Relay) fetch(ctx context.Context, set *settings, at *location, key Key, subscriber string) outcome {
	x.mu.Lock()
	f := x.flights[key]
	if f == nil {
		if len(x.flights) >= set.InFlight || subscriber != "" && x.busy[subscriber] >= set.PerSubscriber {
			x.mu.Unlock()
			x.log.Warn("retrieval refused: too many at the same time (peers.in_flight, peers.per_subscriber)", "operator", at.operator.Name)
			return outcome{pdu: refusal(mms.StatusTransientFailure, "too many messages at the same time, try again"), result: resultBusy}
		}
		f = &flight{done: make(chan struct{}), got: outcome{err: errors.New("the retrieval ended in a fault")}}
		x.flights[key] = f
		x.busy[subscriber]++
		run := x.ctx
		x.mu.Unlock()
		defer x.landed(f, key, subscriber)
		f.got = x.attempts(run, set, at, key, subscriber)
		return f.got
	}
	x.mu.Unlock()
	select {
	case <-f.done:
		return f.got
	case <-ctx.Done():
		return outcome{err: ctx.Err()}
	}
}

func (x *Relay) landed(f *flight, key Key, subscriber string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.flights, key)
	if x.busy[subscriber]--; x.busy[subscriber] == 0 {
		delete(x.busy, subscriber)
	}
	close(f.done)
}

// attempts asks a peer until it has answered or the deadline is reached.
func (x *Relay) attempts(run context.Context, set *settings, at *location, key Key, subscriber string) outcome {
	began := time.Now()
	ctx, cancel := context.WithTimeout(run, set.Deadline)
	defer cancel()
	pause := set.Pause
	for n := 1; ; n++ {
		pdu, head, no := x.ask(ctx, set, at)
		if no == nil {
			m := &Message{Key: key, Operator: at.operator.Name, Location: at.url, Subscriber: subscriber, TransactionID: string(head.TransactionID),
				MessageID: trimID(head.MessageID), Size: int64(len(pdu)), ExpiresAt: time.Now().Add(set.Keep)}
			if err := x.store.Keep(run, m, pdu); err != nil {
				return outcome{err: err}
			}
			x.met.fetched(began, len(pdu))
			return outcome{message: m, pdu: pdu, result: resultFetched}
		}
		deadline, _ := ctx.Deadline()
		if !no.again || time.Until(deadline) <= pause || !wait(ctx, pause) {
			x.log.Warn("message not fetched from a peer", "operator", at.operator.Name, "host", at.host, "attempts", n, "err", no.err)
			return outcome{pdu: no.pdu, result: no.result}
		}
		x.log.Info("message not yet fetched from a peer", "operator", at.operator.Name, "host", at.host, "attempt", n, "err", no.err)
		pause *= 2
	}
}

// miss is an attempt that brought no message.
type miss struct {
	err    error
	again  bool   // another one makes sense
	pdu    []byte // for the handset, if it was the last
	result string
}

// ask does one request and judges the answer.
func (x *Relay) ask(ctx context.Context, set *settings, at *location) ([]byte, *mms.Head, *miss) {
	a, err := at.operator.client.Do(ctx, outgoing.Request{URL: at.url, Header: at.operator.header(), MaxBody: int64(set.MaxMessage)})
	var bad *outgoing.Error
	switch {
	case errors.Is(err, errOutside):
		return nil, nil, &miss{err, false, refusal(mms.RetrieveTransientNetworkProblem, "the sender's server can't be asked"), resultOutside}
	case errors.As(err, &bad) && bad.Kind == outgoing.Forbidden:
		return nil, nil, &miss{err, false, refusal(mms.RetrieveTransientNetworkProblem, "the sender's server can't be asked"), resultOutside}
	case errors.As(err, &bad) && bad.Kind == outgoing.TooLarge:
		return nil, nil, &miss{err, false, refusal(mms.RetrievePermanentContentUnsupport, "larger than "+set.MaxMessage.String()), resultTooLarge}
	case errors.As(err, &bad) && (bad.Kind == outgoing.Redirected || bad.Kind == outgoing.Unreadable):
		return nil, nil, &miss{err, false, refusal(mms.RetrieveTransientNetworkProblem, "the sender's server answers something else"), resultUnreachable}
	case err != nil:
		return nil, nil, unreachable(err)
	}
	switch a.Status {
	case http.StatusOK:
		return judge(a)
	case http.StatusNotFound, http.StatusGone:
		return nil, nil, &miss{fmt.Errorf("answered %d", a.Status), false, refusal(mms.RetrievePermanentMessageNotFound, "the message is no longer there"), resultMissing}
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, nil, &miss{fmt.Errorf("answered %d", a.Status), false, refusal(mms.RetrievePermanentServiceDenied, "the sender's server refuses"), resultDenied}
	}
	return nil, nil, unreachable(fmt.Errorf("answered %d", a.Status))
}

func unreachable(err error) *miss {
	return &miss{err, true, refusal(mms.RetrieveTransientNetworkProblem, "the sender's server can't be reached, try again later"), resultUnreachable}
}

// judge takes a whole M-Retrieve.conf with a message. One that says why there is none goes to the handset as it is.
func judge(a *outgoing.Answer) ([]byte, *mms.Head, *miss) {
	h := &mms.Head{}
	if h.Peek(a.Body[:min(len(a.Body), mms.MaxHeaders)], len(a.Body) <= mms.MaxHeaders) != mms.Complete || h.Type != mms.MRetrieveConf {
		return nil, nil, unreachable(errors.New("the answer is no M-Retrieve.conf"))
	}
	if h.HasRetrieve && mms.RetrieveClass(h.Retrieve) != mms.Ok {
		no := &miss{fmt.Errorf("Retrieve-Status %s", h.Retrieve.RetrieveString()), mms.RetrieveClass(h.Retrieve) == mms.Transient, a.Body, resultUnreachable}
		switch h.Retrieve {
		case mms.RetrievePermanentMessageNotFound:
			no.result = resultMissing
		case mms.RetrievePermanentServiceDenied:
			no.result = resultDenied
		}
		return nil, nil, no
	}
	if h.ContentType == nil {
		return nil, nil, unreachable(errors.New("the answer has no content"))
	}
	if a.Header.Get("Content-Length") == "" {
		// Nothing but its own form says whether all of it has come.
		if _, err := mms.Decode(a.Body); err != nil {
			return nil, nil, unreachable(fmt.Errorf("the answer: %w", err))
		}
	}
	return a.Body, h, nil
}

func (o *operator) header() http.Header {
	h := http.Header{"Accept": {"*/*, " + mediaType}}
	if o.Token != "" {
		h.Set("Authorization", "Bearer "+o.Token)
	}
	return h
}

// refusal makes an M-Retrieve.conf that says why there is no message (OMA-MMS-ENC 6.3).
func refusal(s mms.Status, text string) []byte {
	return mms.RetrieveError{Version: mms.Version12, Date: time.Now(), Status: s, Text: text}.Append(nil)
}

// wait waits; false if ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
