// Package platform is the common service platform: it obtains what a provider
// wants to be sent to a user and makes a multimedia message of it that the
// user's handset can show, ready to be submitted.
//
// Content is any of pictures, sounds, videos, texts, HTML, zip archives,
// multiparts, lists of URLs and MMS messages, given or fetched through a guarded
// client. Pictures are fitted to the content class's dimensions, texts become
// UTF-8, names safe and unique, and a presentation is written by the rules of
// OMA-MMS-CONF; a given one is read, checked and written anew. A message that is
// too large is made smaller by the order of Step. DRM-protected parts are never
// touched: one that does not fit is an error.
//
// Everything a provider gives is hostile until it is read: counts, sizes, depths,
// pixels and times are bounded, and what is beyond a bound is an *Error, never a
// panic. A piece that can't be read is left out and noted as long as something
// else is left. The package keeps nothing between two calls but what handsets'
// profiles say, and starts no goroutines; what it makes is the caller's.
package platform

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
)

// Fetcher obtains content by URL: an answer of 200 with at most limit octets.
// *outgoing.Client is one. It has to be guarded, since the URL is the provider's.
type Fetcher interface {
	Get(ctx context.Context, rawURL string, limit int64) (*outgoing.Answer, error)
}

// Submitter takes a message for delivery: it has to be durable when Submit
// returns without an error. pdu is an M-Send.req that the callee may keep.
type Submitter interface {
	Submit(ctx context.Context, pdu []byte) (messageID string, err error)
}

// Options are what a Platform is made of.
type Options struct {
	Config  Config
	Fetch   Fetcher   // nil: content by URL is refused
	Submit  Submitter // nil: only Compose works
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// Platform makes messages. It is safe for concurrent use.
type Platform struct {
	rules  atomic.Pointer[rules]
	fetch  Fetcher
	submit Submitter
	known  profiles
	log    *slog.Logger
	met    *metrics
}

// rules are a configuration in force. A content keeps those it began with.
type rules struct {
	cfg   Config
	slots slots
}

// New checks the configuration and gives a Platform.
func New(o Options) (*Platform, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	p := &Platform{fetch: o.Fetch, submit: o.Submit, known: profiles{fetch: o.Fetch}, log: o.Log}
	p.rules.Store(&rules{o.Config, make(slots, o.Config.Workers)})
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	var err error
	p.met, err = newMetrics(o.Metrics)
	return p, err
}

// Reload checks a configuration and puts it in force for what comes from now on.
func (p *Platform) Reload(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	p.rules.Store(&rules{c, make(slots, c.Workers)})
	return nil
}

// Sent is a message that was submitted.
type Sent struct {
	MessageID     string
	TransactionID string
	Size          int64
}

// Send composes and submits. If the second of several messages can't be
// submitted, those before it are told beside the error. The same request gives
// the same octets, so that sending it again with its TransactionID lets a server
// that fences duplicates answer the first ones as such.
func (p *Platform) Send(ctx context.Context, r Request) ([]Sent, []Note, error) {
	if p.submit == nil {
		return nil, nil, errors.New("the platform has nobody to submit to")
	}
	res, err := p.Compose(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	var sent []Sent
	for _, m := range res.Messages {
		pdu, err := m.Encode()
		if err != nil {
			return sent, res.Notes, fmt.Errorf("encode: %w", err)
		}
		size := int64(len(pdu))
		id, err := p.submit.Submit(ctx, pdu)
		if err != nil {
			return sent, res.Notes, fmt.Errorf("submit: %w", err)
		}
		sent = append(sent, Sent{id, m.Head.TransactionID, size})
	}
	return sent, res.Notes, nil
}

// Compose makes the message, or the messages, of a request. An error is an
// *Error.
func (p *Platform) Compose(ctx context.Context, r Request) (*Result, error) {
	now := p.rules.Load()
	within, cancel := context.WithTimeout(ctx, now.cfg.Timeout)
	defer cancel()
	res, err := p.compose(within, now, r)
	if err != nil && within.Err() != nil {
		err = &Error{Kind: Interrupted, Retry: true, Err: fmt.Errorf("make a message: %w", context.Cause(within))}
	}
	var e *Error
	if err != nil && !errors.As(err, &e) {
		err = &Error{Kind: Unusable, Err: err}
	}
	p.met.composed(res, err)
	if err == nil && len(res.Notes) > 0 {
		p.log.Debug("content adapted", "messages", len(res.Messages), "notes", len(res.Notes), "first", res.Notes[0].String())
	}
	return res, err
}

func (p *Platform) compose(ctx context.Context, now *rules, r Request) (*Result, error) {
	c := &composer{ctx: ctx, rules: now, fetch: p.fetch, r: r}
	if c.r.Limits == (Limits{}) && r.Profile != "" {
		c.r.Limits = now.cfg.fit(p.known.of(ctx, &now.cfg.Profiles, r.Profile))
	}
	for _, step := range []func() error{c.address, c.limits, c.prepare, c.reduce} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &Result{Messages: c.messages, Notes: c.notes}, nil
}

// composer is the work on one request.
type composer struct {
	*rules
	ctx   context.Context
	fetch Fetcher
	r     Request
	from  string
	to    []string

	class      Class
	size       int64 // of a message
	boxW, boxH int

	subject  string
	parts    []*part
	deck     *deck
	drm      bool
	base     string // transaction id
	messages []*Message
	notes    []Note
}

func (c *composer) note(n Note) { c.notes = append(c.notes, n) }

// address checks the addresses. A service's code of digits gets the type of a
// number: without it some handsets take it for an e-mail address and offer no
// answer (OMA-MMS-ENC 8). A word stays as the user has written it.
func (c *composer) address() error {
	bad := func(format string, args ...any) error {
		return &Error{Kind: BadRequest, Err: fmt.Errorf(format, args...)}
	}
	one := func(s string) (string, bool) {
		a := mms.ParseAddress(s)
		if a.Value == "" || len(a.Value) > 254 || strings.ContainsFunc(a.Value, func(r rune) bool { return r <= ' ' || r == 0x7F }) {
			return "", false
		}
		if a.Kind == mms.AddressCode && strings.Trim(a.Value, "0123456789") == "" {
			return a.Value + "/TYPE=PLMN", true
		}
		return a.String(), a.Kind != mms.AddressOther
	}
	var ok bool
	if c.from, ok = one(c.r.From); !ok {
		return bad("from: %q can't be answered: want a code, a number or an e-mail address", c.r.From)
	}
	if len(c.r.To) == 0 || len(c.r.To) > mms.MaxRecipients {
		return bad("to: want 1 to %d recipients", mms.MaxRecipients)
	}
	for _, s := range c.r.To {
		a, ok := one(s)
		if !ok {
			return bad("to: %s is no address", mms.Mask(s))
		}
		c.to = append(c.to, a)
	}
	if c.r.Delay < 0 || c.r.Expiry < 0 {
		return bad("delay and expiry can't be negative")
	}
	if c.base = c.r.TransactionID; c.base == "" {
		c.base = rand.Text()[:20]
	}
	return nil
}

// limits finds what the recipient can take.
func (c *composer) limits() error {
	l, name := c.r.Limits, c.r.Limits.Class
	if name == "" {
		name = c.cfg.Class
	}
	var ok bool
	if c.class, ok = c.cfg.Classes[name]; !ok {
		return &Error{Kind: BadRequest, Err: fmt.Errorf("class %q is not configured", name)}
	}
	if l.Size < 0 || l.MaxWidth < 0 || l.MaxHeight < 0 {
		return &Error{Kind: BadRequest, Err: errors.New("limits can't be negative")}
	}
	size := int64(c.class.Size)
	if l.Size > 0 {
		size = min(size, l.Size)
	}
	c.size = size - min(int64(c.cfg.Headroom), size/4)
	c.boxW, c.boxH = c.class.MaxWidth, c.class.MaxHeight
	if l.MaxWidth > 0 && l.MaxHeight > 0 {
		if c.boxW == 0 {
			c.boxW, c.boxH = l.MaxWidth, l.MaxHeight
		}
		c.boxW, c.boxH = min(c.boxW, l.MaxWidth), min(c.boxH, l.MaxHeight)
	}
	return nil
}

// head makes the headers of message n of several, counted from 1. There is no
// Date: the server puts its own, and the same content stays the same octets.
func (c *composer) head(n, of int) mms.SendReq {
	h := mms.SendReq{TransactionID: c.base, Version: c.r.Version, From: c.from, To: c.to, Subject: c.subject, Class: c.r.Class,
		Priority: c.r.Priority, Extra: c.r.Extra}
	if n > 1 {
		h.TransactionID += "-" + strconv.Itoa(n)
	}
	if of > 1 {
		tail := fmt.Sprintf("(%d/%d)", n, of)
		h.Subject = strings.TrimSpace(oneLine(c.subject, max(1, c.cfg.Subject-len(tail)-1)) + " " + tail)
	}
	if c.r.Delay > 0 {
		h.DeliveryTime = &mms.When{After: c.r.Delay}
	}
	if c.r.Expiry > 0 {
		h.Expiry = &mms.When{After: c.r.Expiry}
	}
	if c.r.DeliveryReport {
		h.DeliveryReport = mms.Yes
	}
	if c.r.ReadReport {
		h.ReadReport = mms.Yes
	}
	if c.r.Version >= mms.Version13 {
		if c.class.Code >= 0 {
			h.ContentClass = 0x80 | byte(c.class.Code)
		}
		h.DRMContent = mms.FlagOf(c.drm)
	}
	return h
}
