// Package handset is phones in software: they receive WAP pushes, over SMS from a PPG that binds to them as to an SMSC or
// over UDP, fetch the message on their own, keep it in a folder, and acknowledge; they answer and send too. One Phones is
// one phone or ten thousand, for labs, drills and tests.
//
// A notification goes through these states: taken (a duplicate of it is dropped from here on), fetched, stored,
// acknowledged; or deferred until it is asked for; or rejected. A message is whole in its folder before its
// acknowledgement leaves. What could not be fetched after all attempts is forgotten, so that a later notification of the
// same message starts anew; nothing is told to the MMSC then, which will notify again.
//
// Promise: whatever comes by SMPP, UDP or HTTP, a phone refuses or ignores it with an event that says why, in bounded
// memory. A short message for a phone whose queue is full is answered with "message queue full".
//
// States: New checks and binds; Run serves until its context ends and returns after the last of its goroutines.
package handset

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mmsrouter/mmsrouter/handset/smsc"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
)

// Phones is one or many phones.
type Phones struct {
	opt    Options
	log    *slog.Logger
	phones []*phone
	byKey  map[string]*phone // by the digits of the number
	smsc   *smsc.SMSC        // nil: none
	udp    []net.PacketConn  // of the phones with the same index
	http   http.RoundTripper
	free   chan struct{} // a token per HTTP exchange under way
	met    *metrics
	counts [kinds]atomic.Int64

	joinMu sync.Mutex
	join   *wappush.Reassembler

	jobsMu sync.Mutex // guards what follows, and the first Add of jobs
	ctx    context.Context
	early  []func(context.Context) // jobs that wait for Run
	state  running
	jobs   sync.WaitGroup
}

type running uint8

const (
	notYet running = iota
	underRun
	ended
)

// New checks the options, looks at what earlier runs left in the folder, and binds the listeners. It starts nothing.
func New(opt Options) (*Phones, error) {
	if err := opt.complete(); err != nil {
		return nil, err
	}
	x := &Phones{opt: opt, log: opt.Log, byKey: make(map[string]*phone, len(opt.Numbers)), free: make(chan struct{}, opt.Parallel),
		join: wappush.NewReassembler(max(wappush.DefaultMaxOpen, 2*len(opt.Numbers)), 0)}
	if x.log == nil {
		x.log = slog.New(slog.DiscardHandler)
	}
	for _, number := range opt.Numbers {
		p, err := newPhone(x, number)
		if err != nil {
			return nil, err
		}
		if x.byKey[p.key()] != nil {
			return nil, fmt.Errorf("handset: number %s stands there twice", number)
		}
		x.byKey[p.key()] = p
		x.phones = append(x.phones, p)
	}
	if x.http = opt.Transport; x.http == nil {
		x.http = newTransport(&x.opt)
	}
	var err error
	if x.met, err = newMetrics(opt.Metrics); err != nil {
		return nil, err
	}
	if err := x.bind(); err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

func (x *Phones) bind() (err error) {
	for _, at := range x.opt.UDP {
		c, err := net.ListenPacket("udp", at)
		if err != nil {
			return fmt.Errorf("handset: pushes by UDP: %w", err)
		}
		x.udp = append(x.udp, c)
	}
	if x.opt.SMPP == "" {
		return nil
	}
	x.smsc, err = smsc.New(smsc.Options{Listen: x.opt.SMPP, Accounts: x.opt.Accounts, Receive: x.receive, Log: x.log,
		Bound: func(system, remote string, bound bool) {
			e := Event{Kind: Unbound, Note: fmt.Sprintf("%q from %s", system, remote)}
			if bound {
				e.Kind = Bound
			}
			x.tell(e)
		}})
	if err != nil {
		return fmt.Errorf("handset: short messages by SMPP: %w", err)
	}
	return nil
}

// Close frees the listeners, for a caller that never calls Run.
func (x *Phones) Close() error {
	var err error
	for _, c := range x.udp {
		err = errors.Join(err, c.Close())
	}
	if x.smsc != nil {
		err = errors.Join(err, x.smsc.Close())
	}
	return err
}

// SMPPAddr is where PPGs bind, nil without.
func (x *Phones) SMPPAddr() net.Addr {
	if x.smsc == nil {
		return nil
	}
	return x.smsc.Addr()
}

// UDPAddr is where pushes for the n-th phone go, nil without.
func (x *Phones) UDPAddr(n int) net.Addr {
	if n >= len(x.udp) {
		return nil
	}
	return x.udp[n].LocalAddr()
}

// Run receives until ctx ends, gives up what is under way and returns after the last goroutine.
func (x *Phones) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := x.begin(ctx); err != nil {
		return err
	}
	var doors sync.WaitGroup
	var smppErr error
	if x.smsc != nil {
		doors.Go(func() { defer cancel(); smppErr = x.smsc.Run(ctx) })
	}
	udpErrs := make([]error, len(x.udp))
	for i, c := range x.udp {
		doors.Go(func() { defer cancel(); udpErrs[i] = x.datagrams(ctx, c, x.phones[i]) })
	}
	<-ctx.Done()
	doors.Wait()
	x.jobsMu.Lock()
	x.state = ended // no more jobs
	x.jobsMu.Unlock()
	x.jobs.Wait()
	if t, ok := x.http.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	return errors.Join(append(udpErrs, smppErr)...)
}

func (x *Phones) begin(ctx context.Context) error {
	x.jobsMu.Lock()
	defer x.jobsMu.Unlock()
	if x.state != notYet {
		return errors.New("handset: Run may be called once")
	}
	x.state, x.ctx = underRun, ctx
	for _, job := range x.early {
		x.jobs.Go(func() { job(ctx) })
	}
	x.early = nil
	return nil
}

// work runs a job that Run waits for, once Run is under way; false if it has ended.
func (x *Phones) work(job func(context.Context)) bool {
	x.jobsMu.Lock()
	defer x.jobsMu.Unlock()
	switch {
	case x.state == notYet: // the phones' queues bound how many
		x.early = append(x.early, job)
		return true
	case x.state == ended || x.ctx.Err() != nil:
		return false
	}
	ctx := x.ctx
	x.jobs.Go(func() { job(ctx) })
	return true
}

// Count gives how many events of a kind there were.
func (x *Phones) Count(k Kind) int64 { return x.counts[k].Load() }

// find gives the phone with a number in any form.
func (x *Phones) find(number string) (*phone, error) {
	if p := x.byKey[digits(number)]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("handset: no phone here has the number %s", number)
}

// digits is a number without separators, TYPE and plus.
func digits(number string) string { return strings.TrimPrefix(mms.Number(number), "+") }

// datagrams receives pushes over UDP (WAP-259-WDP): a datagram is a whole push.
func (x *Phones) datagrams(ctx context.Context, c net.PacketConn, p *phone) error {
	stop := context.AfterFunc(ctx, func() { c.Close() }) // ReadFrom tells
	defer stop()
	buf := make([]byte, 64<<10)
	for {
		n, _, err := c.ReadFrom(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("handset: pushes by UDP: %w", err)
		case err != nil: // a datagram of ours found nobody, or the like: the socket goes on
			x.log.Debug("receive by UDP", "err", err)
			if !pause(ctx, 10*time.Millisecond) {
				return nil
			}
			continue
		}
		if p.full() {
			x.tell(Event{Kind: Ignored, Number: p.number, Note: "the phone's queue is full"})
			continue
		}
		p.push(append([]byte{}, buf[:n]...))
	}
}

// Push hands a WSP push to a phone, as another carrier would. What the phone makes of it its events tell.
func (x *Phones) Push(number string, push []byte) error {
	p, err := x.find(number)
	if err != nil {
		return err
	}
	if p.full() {
		return fmt.Errorf("handset: the queue of %s is full", p.number)
	}
	p.push(append([]byte{}, push...))
	return nil
}

// pause waits; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
