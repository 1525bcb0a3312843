// Package delivery does what is due for messages: it notifies recipients, notifies them again, lets messages expire and
// sends reports. What is due stands in the store; this package has no memory of its own, so a crash loses nothing.
//
// Promise: each piece of work is leased, so of several nodes one does it; when that one dies the lease runs out and
// another goes on. A notification may leave twice (a crash between the carrier's yes and our note of it), always with the
// same transaction id and location, which handsets take for one. Final states and reports happen once: the store sees
// to it.
package delivery

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/prometheus/client_golang/prometheus"
)

// Push is a PDU for a handset.
type Push struct {
	ID        string   // unique, the same when it is tried again
	Kind      mms.Type // M-Notification.ind, M-Delivery.ind, M-Read-Orig.ind or M-Cancel.req
	To        string   // normalised address
	PDU       []byte
	Message   string // Message-ID, for logs
	Location  string // of an M-Notification.ind
	ExpiresAt time.Time
}

// Notifier hands pushes on. nil means that the carrier has taken it; ErrNoRoute that there never will be a way to the
// address, or the carrier refused for good; any other error that it may be tried again. An error that has RetryAfter says when.
type Notifier interface {
	Push(ctx context.Context, p *Push) error
}

// ErrNoRoute is wrapped by errors of a Notifier that are for good.
var ErrNoRoute = errors.New("no way to the recipient")

// Composer makes the PDUs.
type Composer interface {
	Notification(d *store.Due) *Push
	Report(r *store.Report) *Push
}

// Services does what is due for recipients and senders that are services.
type Services interface {
	// Serve gives a message to the service that is its recipient, and says how that ends; on an error it is tried again, for the
	// last time when the message expires.
	Serve(ctx context.Context, d *store.Due) (store.Outcome, error)
	// Tell reports on a service's message; on an error it is tried again.
	Tell(ctx context.Context, r *store.Report) error
}

// Options is what New needs.
type Options struct {
	Config   Config
	Store    *store.Store
	Notifier Notifier
	Composer Composer
	Services Services              // nil: no recipient is a service
	Metrics  prometheus.Registerer // nil: none
	Log      *slog.Logger
}

// Delivery works on what is due.
type Delivery struct {
	Options
	met  *metrics
	free chan struct{} // a token per worker
}

// New checks the options.
func New(opt Options) (*Delivery, error) {
	if err := opt.Config.Validate(); err != nil {
		return nil, err
	}
	met, err := newMetrics(opt.Metrics)
	if err != nil {
		return nil, err
	}
	d := &Delivery{Options: opt, met: met, free: make(chan struct{}, opt.Config.Workers)}
	for range opt.Config.Workers {
		d.free <- struct{}{}
	}
	return d, nil
}
