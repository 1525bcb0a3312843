// Package push carries PDUs to handsets: M-Notification.ind, M-Delivery.ind, M-Read-Orig.ind and M-Cancel.req as WAP pushes, by the carriers of
// its configuration. The route with the longest prefix of the recipient's number names the carriers; when one does not take
// a push the next one is tried.
//
// Promises: Push returns nil only when a carrier has taken the PDU: an SMSC all its segments, a push proxy gateway with 1000 or 1001, a
// hook with 2xx; UDP when nobody refused the datagram. An error that wraps delivery.ErrNoRoute is final: there is no carrier for the
// recipient, or each has refused for good. A push whose outcome nobody knows may be tried again and arrive twice; handsets know
// it by its transaction id.
//
// States: New has checked the configuration; Run keeps the sessions with SMSCs until its context ends.
package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/smpp"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/delivery"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/carrier"
)

// Options is what New needs.
type Options struct {
	Config Config
	Host   string // how push ids name us: the host name of the MMS domain; empty: mmsrouter
	// Outcome is told what carriers learn later: delivery receipts of SMSCs, result notifications of gateways. It should be quick. nil: nobody.
	Outcome func(Outcome)
	Metrics prometheus.Registerer // nil: none
	Log     *slog.Logger          // nil: none
}

// Outcome is what became of a push after a carrier had taken it.
type Outcome struct {
	ID      string // of the delivery.Push
	To      string
	Carrier string
	State   smpp.State
	Error   string // the carrier's own word
}

// Pusher is the Notifier of mmsc-lite.
type Pusher struct {
	cfg      Config
	host     string
	outcome  func(Outcome)
	log      *slog.Logger
	met      *metrics
	carriers map[string]carrying
	guard    *outgoing.Guard
	routes   []RouteConfig // longest prefix first
	tid      atomic.Uint32
}

// parcel is a push on its way.
type parcel struct {
	*delivery.Push
	number string     // in digits, with its plus; "" if the recipient has none
	ip     netip.Addr // of a recipient that is one
	tid    byte
}

// to gives the recipient as carriers name it.
func (p *parcel) to() string {
	if p.number != "" {
		return p.number
	}
	return p.ip.String()
}

// carrying is a carrier. Errors of send are *carrier.Failure.
type carrying interface {
	takes(p *parcel) bool // whether it can reach such a recipient at all
	send(ctx context.Context, p *parcel) error
	run(ctx context.Context) error // until ctx ends
}

// New checks the configuration. It starts nothing.
func New(opt Options) (*Pusher, error) {
	cfg := opt.Config
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Pusher{cfg: cfg, host: opt.Host, outcome: opt.Outcome, log: opt.Log, carriers: map[string]carrying{}}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.host == "" {
		p.host = "mmsrouter"
	}
	var err error
	if p.met, err = newMetrics(opt.Metrics, &cfg); err != nil {
		return nil, err
	}
	guard := outgoing.DefaultConfig()
	guard.Redirects, guard.Idle = 0, 16
	if p.guard, err = outgoing.New(outgoing.Options{Config: guard, Log: p.log}); err != nil {
		return nil, fmt.Errorf("push: %w", err)
	}
	for i := range cfg.Carriers {
		k, at := &cfg.Carriers[i], fmt.Sprintf("push.carriers[%d]", i)
		var c carrying
		switch k.Type {
		case "smpp":
			c, err = newSMS(p, k, at, opt.Metrics)
		case "pap":
			c, err = newPAP(p, k, at)
		case "http":
			c, err = newHook(p, k, at)
		default:
			c = &datagrams{k.UDP}
		}
		if err != nil {
			return nil, err
		}
		p.carriers[k.Name] = c
	}
	p.routes = append([]RouteConfig(nil), cfg.Routes...)
	sort.SliceStable(p.routes, func(i, j int) bool { return len(p.routes[i].Prefix) > len(p.routes[j].Prefix) })
	return p, nil
}

// Run keeps the carriers' connections until ctx ends and returns after the last of its goroutines.
func (p *Pusher) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, c := range p.carriers {
		wg.Go(func() {
			if err := c.run(ctx); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Reaches says whether a carrier can reach a recipient at all, so that a message to nobody is refused when it is submitted.
func (p *Pusher) Reaches(to string) bool {
	c, _ := p.parcel(&delivery.Push{To: to})
	for _, name := range p.route(c) {
		if p.carriers[name].takes(c) {
			return true
		}
	}
	return false
}

func (p *Pusher) parcel(push *delivery.Push) (*parcel, error) {
	c := &parcel{Push: push, number: mms.Number(push.To)}
	if c.number != "" {
		return c, nil
	}
	value, kind, ok := strings.Cut(push.To, "/")
	if ok && (strings.EqualFold(kind, "type=ipv4") || strings.EqualFold(kind, "type=ipv6")) {
		if ip, err := netip.ParseAddr(value); err == nil && ip.Zone() == "" {
			c.ip = ip
			return c, nil
		}
	}
	return c, fmt.Errorf("%w: %s is neither a number nor an IP address", delivery.ErrNoRoute, mms.Mask(push.To))
}

// route gives the carriers for a recipient, in order.
func (p *Pusher) route(c *parcel) []string {
	for _, r := range p.routes {
		if strings.HasPrefix(c.number, r.Prefix) {
			return r.Carriers
		}
	}
	return nil
}

// RetryError is an error of Push that may be tried again.
type RetryError struct {
	After time.Duration // not before it; zero: the caller's own schedule
	Err   error
}

// Error gives the reasons of all carriers.
func (e *RetryError) Error() string { return e.Err.Error() }

// RetryAfter says when to try again; delivery asks for it.
func (e *RetryError) RetryAfter() time.Duration { return e.After }

// Unwrap gives the reasons.
func (e *RetryError) Unwrap() error { return e.Err }

// Push implements delivery.Notifier.
func (p *Pusher) Push(ctx context.Context, push *delivery.Push) error {
	c, err := p.parcel(push)
	if err != nil {
		return err
	}
	c.tid = byte(p.tid.Add(1))
	var able []string
	for _, name := range p.route(c) {
		if p.carriers[name].takes(c) {
			able = append(able, name)
		}
	}
	if len(able) == 0 {
		return fmt.Errorf("%w: no carrier for %s", delivery.ErrNoRoute, mms.Mask(push.To))
	}
	var errs []error
	final, after := true, time.Duration(0)
	for i, name := range able {
		err := p.attempt(ctx, c, name, len(able)-i)
		p.met.attempt(name, err)
		if err == nil {
			p.log.Debug("pushed", "pdu", push.Kind.String(), "message", push.Message, "to", mms.Mask(push.To), "carrier", name)
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
		if !carrier.IsFinal(err) {
			if d := carrier.After(err); final || d < after {
				after = d
			}
			final = false
		}
		if ctx.Err() != nil {
			final = false
			break
		}
	}
	err = errors.Join(errs...)
	if final {
		return fmt.Errorf("%w: %w", delivery.ErrNoRoute, oneLine{err})
	}
	return &RetryError{After: after, Err: oneLine{err}}
}

// oneLine shows joined errors in one line.
type oneLine struct{ error }

func (o oneLine) Error() string { return strings.ReplaceAll(o.error.Error(), "\n", "; ") }
func (o oneLine) Unwrap() error { return o.error }

// attempt gives a carrier its share of the time that is left, so that the ones behind it get theirs.
func (p *Pusher) attempt(ctx context.Context, c *parcel, name string, left int) error {
	if end, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, time.Now().Add(time.Until(end)/time.Duration(left)))
		defer cancel()
	}
	return p.carriers[name].send(ctx, c)
}

// fit makes the WSP push of a PDU that travels in short messages.
func (p *Pusher) fit(c *parcel) []byte {
	pdu := c.PDU
	if short, changed := squeeze(pdu, room(p.cfg.Segments)-wappush.Overhead); changed {
		p.met.squeezed.Inc()
		pdu = short
	}
	return wappush.AppendMMS(nil, c.tid, pdu)
}

// room is how many octets of push n short messages hold.
func room(n int) int {
	if n == 1 {
		return 133
	}
	return n * 127 // in every form, so that a carrier of another one need not be asked
}

// tell passes an outcome on.
func (p *Pusher) tell(o Outcome) {
	p.met.outcomes.WithLabelValues(o.Carrier, o.State.String()).Inc()
	if o.State.Final() && o.State != smpp.Delivered {
		p.log.Info("a push was not delivered", "push", o.ID, "to", mms.Mask(o.To), "carrier", o.Carrier, "state", o.State.String(), "error", o.Error)
	}
	if p.outcome != nil {
		p.outcome(o)
	}
}
