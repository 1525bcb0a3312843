// Package sms sends pushes as short messages: an ESME of SMPP 3.4 that keeps one session with each of its SMSCs, several
// submissions under way in each, and goes on with the next SMSC where one is gone.
//
// Promises: Send returns nil only when an SMSC has taken every segment. A segment that failed lets the whole message go again,
// with another reference. Where an answer never came, the failure says that the outcome is unknown. Throttling slows
// the link down and is not an error while the caller can wait. Memory is bounded by the window and the largest PDU.
//
// The PDUs are made by gosmpp. Sessions are our own: gosmpp's sleep between binds without a context, drop what was submitted when
// they break without saying so, and can't answer garbage.
//
// States: New has checked the configuration; Run binds and keeps bound until its context ends, then waits for answers and unbinds.
package sms

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/mmsrouter/mmsrouter/mms/smpp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/carrier"
)

// Options is what New needs.
type Options struct {
	Config Config
	At     string // the configuration key that errors name; empty: sms
	// Receipt is told each delivery receipt; it should be quick. False asks the SMSC to send it again later. nil: nobody.
	Receipt func(Receipt) bool
	Dial    func(ctx context.Context, address string) (net.Conn, error) // nil: TCP, or TLS
	Metrics prometheus.Registerer                                       // nil: none; two clients need a label between them
	Log     *slog.Logger                                                // nil: none
}

// Receipt is a delivery receipt.
type Receipt struct {
	SMSC  string // its name
	ID    string // message id, as the SMSC wrote it in the receipt
	State smpp.State
	Error string
}

// Message is a push for one number.
type Message struct {
	To          string        // a number
	Push        []byte        // WSP push
	MaxSegments int           // 0: as many as there can be
	Validity    time.Duration // 0: the SMSC's own
	Priority    byte          // 0 to 3
	Receipt     bool          // ask for a final receipt, whatever Config.Receipts says
	// Noted is called when the SMSC has taken all segments, before their place in the window is given on: who writes it down
	// there has at most a window of messages that an SMSC has and nobody knows of. nil: nobody does.
	Noted func(Sent)
}

// Sent is a message that an SMSC has taken.
type Sent struct {
	SMSC string
	IDs  []string // of its segments, in order; empty strings where the SMSC gave none
}

// Client sends.
type Client struct {
	opt       Options
	log       *slog.Logger
	met       *metrics
	form      form
	links     []*link
	reference atomic.Uint32

	mu   sync.Mutex
	news chan struct{} // closed when a link has changed
}

// New checks the configuration. It starts nothing.
func New(opt Options) (*Client, error) {
	if opt.At == "" {
		opt.At = "sms"
	}
	if err := opt.Config.Validate(opt.At); err != nil {
		return nil, err
	}
	c := &Client{opt: opt, log: opt.Log, news: make(chan struct{})}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	source, err := smpp.Source(opt.Config.Source)
	if err != nil {
		return nil, fmt.Errorf("%s.source: %w", opt.At, err)
	}
	c.form = form{source: source, serviceType: opt.Config.ServiceType, kind: opt.Config.Form, wide: opt.Config.WideReference,
		registered: map[string]byte{"none": 0, "final": 1, "failure": 2}[opt.Config.Receipts]}
	c.reference.Store(rand.Uint32()) // handsets remember segments across our restarts
	for i := range opt.Config.SMSCs {
		cfg := &opt.Config.SMSCs[i]
		l := &link{client: c, cfg: cfg, name: cfg.name(), coding: byte(opt.Config.DataCoding), counted: time.Now()}
		if l.tls, err = cfg.tls(); err != nil {
			return nil, fmt.Errorf("%s.smscs[%d].%w", opt.At, i, err)
		}
		l.pace = rate.NewLimiter(l.most(), max(1, min(opt.Config.Window, int(opt.Config.Rate)+1)))
		c.links = append(c.links, l)
	}
	c.met, err = newMetrics(opt.Metrics, c)
	return c, err
}

// Run keeps the sessions until ctx ends and returns after the last of its goroutines.
func (c *Client) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, l := range c.links {
		wg.Go(func() { l.run(ctx) })
	}
	wg.Wait()
	return nil
}

// Segments says how many short messages a push of so many octets takes, each of them of at most 140 octets.
func (c *Client) Segments(octets int) int {
	alone, room := 133, 128
	if c.opt.Config.WideReference {
		room = 127
	}
	if octets <= alone {
		return 1
	}
	return (octets + room - 1) / room
}

// Bound says whether some SMSC takes messages now.
func (c *Client) Bound() bool {
	for _, l := range c.links {
		if s, _, _ := l.state(); s != nil {
			return true
		}
	}
	return false
}

func (c *Client) changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.news)
	c.news = make(chan struct{})
}

func (c *Client) watch() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.news
}

func (c *Client) receipt(r Receipt) smpp.Status {
	c.met.receipt(r)
	if r.State.Final() && r.State != smpp.Delivered {
		c.log.Info("an SMSC could not deliver", "smsc", r.SMSC, "id", r.ID, "state", r.State.String(), "error", r.Error)
	}
	if c.opt.Receipt != nil && !c.opt.Receipt(r) {
		return 0x64 // temporary error of the receiver: it comes again
	}
	return smpp.Ok
}

// Send sends a message; an error is a *carrier.Failure.
func (c *Client) Send(ctx context.Context, m Message) (Sent, error) {
	to, err := smpp.Number(m.To)
	if err != nil {
		return Sent{}, carrier.Refused("%w", err)
	}
	tried := map[*link]bool{}
	var last *carrier.Failure
	for {
		l, s, code, fail := c.pick(ctx, tried)
		if fail != nil {
			if last != nil {
				return Sent{}, last
			}
			return Sent{}, fail
		}
		sent, status, fail := c.submit(ctx, l, s, m, to, code)
		if fail == nil {
			return sent, nil
		}
		switch status.Class() {
		case smpp.Slow:
			fail.After = l.slow(time.Now())
			last = fail
			continue // pick waits, or takes another one
		case smpp.Rebind, smpp.Alarm:
			s.end(errors.New("the SMSC says that we are not bound: " + status.String()))
		case smpp.Unsuited:
			if code != 4 {
				l.try(4)
				last = fail
				continue
			}
			l.try(byte(c.opt.Config.DataCoding)) // that was not the reason
		}
		if fail.Final || ctx.Err() != nil {
			return Sent{}, fail
		}
		tried[l], last = true, fail
	}
}

// pick finds an SMSC that has not been tried: the first one that is bound and not paused, else the first one whose pause ends. If
// none is bound it waits a little.
func (c *Client) pick(ctx context.Context, tried map[*link]bool) (*link, *session, byte, *carrier.Failure) {
	limit := time.NewTimer(max(c.opt.Config.Wait, time.Millisecond))
	defer limit.Stop()
	for {
		news := c.watch()
		var soon time.Time
		for _, l := range c.links {
			s, until, code := l.state()
			if s == nil || tried[l] {
				continue
			}
			if !time.Now().Before(until) {
				return l, s, code, nil
			}
			if soon.IsZero() || until.Before(soon) {
				soon = until
			}
		}
		if soon.IsZero() {
			if len(tried) > 0 {
				return nil, nil, 0, carrier.Later(c.opt.Config.Reconnect, "no other SMSC is bound")
			}
			select {
			case <-news:
			case <-limit.C:
				return nil, nil, 0, carrier.Later(c.opt.Config.Reconnect, "no SMSC is bound")
			case <-ctx.Done():
				return nil, nil, 0, carrier.Later(c.opt.Config.Reconnect, "no SMSC is bound: %w", ctx.Err())
			}
			continue
		}
		if !c.sleep(ctx, soon) {
			return nil, nil, 0, carrier.Later(time.Until(soon), "every SMSC that is bound has asked for a pause: %w", ctx.Err())
		}
	}
}

// sleep waits until a moment; false if ctx ended first, or would.
func (c *Client) sleep(ctx context.Context, until time.Time) bool {
	if end, ok := ctx.Deadline(); ok && end.Before(until) {
		return false
	}
	t := time.NewTimer(max(time.Until(until), time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
