package mmsc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// HoldConfig is the section `mmsc.hold`: what happens to messages that the router accepted while all MMSCs were down
// (mm1.when_all_down: hold).
type HoldConfig struct {
	Expiry     time.Duration `yaml:"expiry"`      // the sender is told when no MMSC came back in time
	Workers    int           `yaml:"workers"`     // forwarded at once
	Lease      time.Duration `yaml:"lease"`       // after it another node takes over from one that died; longer than a forward may take
	RetryFirst time.Duration `yaml:"retry_first"` // pause after an attempt that no MMSC answered; doubles
	RetryMax   time.Duration `yaml:"retry_max"`   // ceiling of that pause
}

func (c *HoldConfig) validate() error {
	switch {
	case c.Expiry < time.Minute:
		return fmt.Errorf("mmsc.hold.expiry: %s; at least 1m", c.Expiry)
	case c.Workers < 1 || c.Workers > 1000:
		return fmt.Errorf("mmsc.hold.workers: %d; allowed are 1 to 1000", c.Workers)
	case c.Lease < 10*time.Second:
		return fmt.Errorf("mmsc.hold.lease: %s; at least 10s", c.Lease)
	case c.RetryFirst < 10*time.Millisecond || c.RetryMax < c.RetryFirst:
		return fmt.Errorf("mmsc.hold.retry_first, retry_max: %s and %s; want at least 10ms, and the ceiling not below it", c.RetryFirst, c.RetryMax)
	}
	return nil
}

// HoldRequest is a message that the router could give to no MMSC.
type HoldRequest struct {
	Target string      // path and query, as the client asked
	Host   string      // Host of the client's request
	Header http.Header // the client's, hygiene done: identity headers are kept
	Body   io.Reader   // the M-Send.req
	Who    Identity    // the subscriber, when a trusted network says so
}

// HoldAnswer is what the client is told.
type HoldAnswer struct {
	PDU       []byte // M-Send.conf: Ok, or why not
	MessageID string // ours; empty: refused. The later MMSC's reports speak of its own
	Duplicate bool   // the message had been accepted before
}

// HeldMessage is a held message on its way to an MMSC.
type HeldMessage struct {
	ID      string // our Message-ID
	Target  string
	Host    string
	Header  http.Header
	Size    int64 // octets of the body
	Attempt int   // 0, 1, …
	held    *store.Held
}

// Write writes the PDU, from its first octet on each call.
func (h *HeldMessage) Write(ctx context.Context, w io.Writer) error { return h.held.Write(ctx, w) }

// ForwardResult is what an MMSC answered to a held message.
type ForwardResult struct {
	MMSC string // its name
	PDU  []byte // M-Send.conf
}

// ForwardFunc gives a held message to an MMSC that passes detection, by the rules for ambiguous results that hold for any
// message. An error means that none has answered: it will be asked again.
type ForwardFunc func(ctx context.Context, h *HeldMessage) (*ForwardResult, error)

type heldRequest struct {
	Target string      `json:"target"`
	Host   string      `json:"host"`
	Header http.Header `json:"header"`
}

// Hold accepts an M-Send.req durably, to be forwarded when an MMSC is back. A refusal is an answer with a PDU and no
// Message-ID; an error means that the store did not take it (*store.Unavailable), that the body broke off, or that the PDU is
// none that can be held (ErrNotHeld).
func (m *MMSC) Hold(ctx context.Context, req HoldRequest) (HoldAnswer, error) {
	u := m.store.Upload(int64(m.cfg.MaxMessage))
	defer u.Close() // its file is unlinked; an error of close loses nothing
	if _, err := u.ReadFrom(req.Body); err != nil {
		return HoldAnswer{}, fmt.Errorf("hold: %w", err)
	}
	buf, err := u.Head(mms.MaxHeaders)
	if err != nil {
		return HoldAnswer{}, err
	}
	var head mms.Head
	if head.Peek(buf, int64(len(buf)) == u.Size()) != mms.Complete || head.Type != mms.MSendReq || head.TransactionID == nil {
		return HoldAnswer{}, ErrNotHeld
	}
	sender, expires, err := m.admitHeld(ctx, &head, buf, req.Who)
	var no *refusal
	if errors.As(err, &no) {
		pdu, _ := head.AppendRefusal(nil, no.why, no.text) // an M-Send.req with a transaction id always has one
		return HoldAnswer{PDU: pdu}, nil
	}
	if err != nil {
		return HoldAnswer{}, err
	}
	text, err := json.Marshal(heldRequest{Target: req.Target, Host: req.Host, Header: req.Header})
	if err != nil {
		return HoldAnswer{}, err
	}
	ref, dup, err := m.store.Hold(context.WithoutCancel(ctx), &store.Holdable{Subscriber: sender, TransactionID: readable(head.TransactionID),
		PDU: byte(head.Type), Request: string(text), ExpiresAt: expires, Upload: u})
	if err != nil {
		return HoldAnswer{}, err
	}
	id := m.messageID(ref)
	return HoldAnswer{MessageID: id, Duplicate: dup, PDU: mms.SendConf{TransactionID: head.TransactionID, Version: head.Version,
		Status: mms.StatusOk, MessageID: id}.Append(nil)}, nil
}

// admitHeld says whose message it is and until when it is held, or why it is refused. Whom it can reach and how long it may wait there is for
// the MMSC to say that will get it: what this server could not deliver itself, to an e-mail address for instance, that one may.
func (m *MMSC) admitHeld(ctx context.Context, head *mms.Head, buf []byte, who Identity) (sender string, expires time.Time, err error) {
	now := time.Now()
	expires = now.Add(m.cfg.Hold.Expiry)
	if head.ContentType == nil {
		return "", expires, refused(mms.FormatCorrupt, "no content type")
	}
	req, err := parse(*head, buf)
	if err != nil {
		return "", expires, refused(mms.FormatCorrupt, "%v", err)
	}
	if sender, err = m.sender(req, who); err != nil {
		return "", expires, err
	}
	if err := m.admit(ctx, sender); err != nil {
		return "", expires, err
	}
	if len(req.to) == 0 {
		return "", expires, refused(mms.AddressUnresolved, "no recipient")
	}
	for _, a := range req.to {
		if addr := normal(a.text); addr != "" && m.barred(m.home(addr)) {
			return "", expires, refused(mms.ServiceDenied, "a recipient is not allowed")
		}
	}
	if at := req.expiry.from(now); req.expiry.set && at.Before(expires) {
		expires = at
	}
	if !expires.After(now) {
		return "", expires, refused(mms.PermanentFailure, "the message has expired already")
	}
	return sender, expires, nil
}

// ErrNotHeld says that a PDU is none that can be answered for somebody else.
var ErrNotHeld = errors.New("only an M-Send.req can be held")

// ForwardNow makes all held messages due: an MMSC is back.
func (m *MMSC) ForwardNow(ctx context.Context) error { return m.store.HeldDueNow(ctx) }

// Held finds held messages by our Message-ID, the MMSC's, or the client's transaction id: newest first.
func (m *MMSC) Held(ctx context.Context, id string) ([]store.Held, error) {
	if ref, ok := m.parseMessageID(id); ok {
		id = ref.String()
	}
	return m.store.FindHeld(ctx, readable(id))
}

// holder forwards held messages.
type holder struct {
	m       *MMSC
	forward ForwardFunc
}

// run forwards until ctx ends and returns after the last attempt, which work cuts off.
func (h *holder) run(ctx, work context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	free := make(chan struct{}, h.m.cfg.Hold.Workers)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-h.m.store.Wake.Held:
		}
		timer.Reset(h.round(ctx, work, &wg, free))
	}
}

// round starts what is due and says how long to wait.
func (h *holder) round(ctx, work context.Context, wg *sync.WaitGroup, free chan struct{}) time.Duration {
	room := cap(free) - len(free)
	if room == 0 {
		return 100 * time.Millisecond
	}
	due, err := h.m.store.ClaimHeld(ctx, room, h.m.cfg.Hold.Lease)
	if err != nil {
		h.m.log.Debug("look for held messages", "err", err) // the store says in the log when it goes and comes
		return time.Second
	}
	for i := range due {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			h.one(work, &due[i])
		})
	}
	next, ok, err := h.m.store.NextHeld(ctx)
	if err != nil || !ok {
		return store.Poll
	}
	return max(50*time.Millisecond, min(store.Poll, time.Until(next)))
}

// one does what is due for a held message.
func (h *holder) one(work context.Context, held *store.Held) {
	leased := time.Now().Add(h.m.cfg.Hold.Lease * 7 / 8) // sure to be ours until then
	out := h.attempt(work, held)
	if work.Err() != nil && out.State == store.Holding {
		return // stopping: the lease is given back with the others
	}
	ctx := context.WithoutCancel(work) // what the MMSC said is noted, even while we stop
	if out.State == store.HeldRefused || out.State == store.HeldExpired {
		// First the notice, then the end: a crash between the two repeats the notice, which is then known again.
		if err := h.notice(ctx, held, told(&out)); err != nil {
			h.m.log.Warn("notice to a sender not stored; tried again", "message", h.m.messageID(held.Ref), "err", err)
			out = store.HeldOutcome{State: store.Holding, Next: time.Now().Add(h.m.cfg.Hold.RetryMax), Target: out.Target, Why: out.Why}
		}
	}
	log := h.m.log.With("message", h.m.messageID(held.Ref), "state", out.State.String(), "mmsc", out.Target, "upstream", out.UpstreamID, "why", out.Why)
	again := time.NewTicker(noteAgain)
	defer again.Stop()
	for told := false; ; told = true {
		err := h.m.store.EndHeld(ctx, held, out)
		if err == nil {
			break
		}
		if !told {
			log.Warn("outcome of a held message not noted", "err", err)
		}
		// What an MMSC has taken would go to one again when the lease ends. So a store that is away for a moment is asked again.
		var down *store.Unavailable
		if out.State == store.Holding || !errors.As(err, &down) || time.Now().After(leased) {
			return
		}
		select {
		case <-again.C:
		case <-work.Done():
			return
		}
	}
	if out.State != store.Holding {
		h.m.met.held.WithLabelValues(out.State.String()).Inc()
		log.Info("held message is done with")
	}
}

// noteAgain is the pause before an outcome that could not be noted is noted again.
const noteAgain = 200 * time.Millisecond

func (h *holder) attempt(ctx context.Context, held *store.Held) store.HeldOutcome {
	again := func(target, why string) store.HeldOutcome {
		pause := h.m.cfg.Hold.RetryFirst
		for range min(held.Attempts, 30) {
			pause = min(2*pause, h.m.cfg.Hold.RetryMax)
		}
		return store.HeldOutcome{State: store.Holding, Next: time.Now().Add(pause), Target: target, Why: why}
	}
	if !time.Now().Before(held.ExpiresAt) {
		return store.HeldOutcome{State: store.HeldExpired, Target: held.Target, Why: "no MMSC took it in time: " + held.LastError}
	}
	var req heldRequest
	if err := json.Unmarshal([]byte(held.Request), &req); err != nil {
		return store.HeldOutcome{State: store.HeldRefused, Why: "its request can't be read: " + err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, h.m.cfg.Hold.Lease*3/4)
	defer cancel()
	got, err := h.forward(ctx, &HeldMessage{ID: h.m.messageID(held.Ref), Target: req.Target, Host: req.Host, Header: req.Header, Size: held.Size,
		Attempt: held.Attempts, held: held})
	if err != nil {
		return again(held.Target, err.Error())
	}
	var head mms.Head
	if head.Peek(got.PDU, true) != mms.Complete || head.Type != mms.MSendConf || !head.HasResponse {
		return again(got.MMSC, "the MMSC answered with no M-Send.conf")
	}
	switch mms.ResponseClass(head.Response) {
	case mms.Ok, mms.PartialSuccess:
		return store.HeldOutcome{State: store.HeldForwarded, Target: got.MMSC, UpstreamID: readable(head.MessageID), Status: byte(head.Response)}
	case mms.Transient:
		return again(got.MMSC, head.Response.String())
	}
	return store.HeldOutcome{State: store.HeldRefused, Target: got.MMSC, Status: byte(head.Response), Why: head.Response.String()}
}

// told is what a sender may know of why its message was not sent: the names and addresses of our MMSCs are for the records.
func told(out *store.HeldOutcome) string {
	switch {
	case out.State == store.HeldExpired:
		return "no server took it in time"
	case out.Status != 0:
		return mms.Status(out.Status).String()
	}
	return "it could not be read"
}

// notice tells the sender that a message we had accepted was not delivered. It is an ordinary message of class Auto.
func (h *holder) notice(ctx context.Context, held *store.Held, why string) error {
	if held.Subscriber == "" {
		h.m.log.Error("a held message is lost to its sender, whom nobody knows", "message", h.m.messageID(held.Ref), "why", why)
		return nil
	}
	text := fmt.Sprintf("Your message of %s could not be sent: %s.", held.CreatedAt.Format("2006-01-02 15:04 MST"), why)
	_, err := h.m.submitOwn(ctx, own{to: held.Subscriber, subject: "Message not sent", class: "auto", contentType: []byte{0xA3}, body: textBody(text),
		key: "notice " + held.Ref.String()})
	return err
}
