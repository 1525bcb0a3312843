package sms

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/mmsrouter/mmsrouter/mms/smpp"
)

// link is an SMSC and the session with it, if there is one.
type link struct {
	client *Client
	cfg    *SMSCConfig
	name   string
	tls    *tls.Config
	pace   *rate.Limiter

	mu      sync.Mutex
	session *session // nil: not bound
	pause   time.Duration
	until   time.Time // nothing is submitted before it: the SMSC asked for less
	coding  byte      // data_coding that it takes
	taken   int       // short messages since counted
	counted time.Time
	calm    time.Time // when the pace is given free again
}

// run binds, and binds again whenever the session has ended, until ctx ends.
func (l *link) run(ctx context.Context) {
	cfg := &l.client.opt.Config
	pause := cfg.Reconnect
	last := ""
	for ctx.Err() == nil {
		bound, err := l.round(ctx)
		if ctx.Err() != nil {
			return
		}
		if bound {
			pause, last = cfg.Reconnect, ""
			l.client.log.Warn("SMPP session ended", "smsc", l.name, "err", err)
		} else if text := err.Error(); text != last { // said once, not at every attempt
			l.client.log.Warn("bind to the SMSC", "smsc", l.name, "err", err)
			last = text
		}
		var refused *statusError
		if errors.As(err, &refused) && refused.status.Class() == smpp.Alarm {
			pause = cfg.ReconnectMax
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
		if pause = 2 * pause; pause > cfg.ReconnectMax {
			pause = cfg.ReconnectMax
		}
	}
}

// round makes one session and serves it; bound says whether it came to be.
func (l *link) round(ctx context.Context) (bound bool, err error) {
	conn, err := l.dial(ctx)
	if err != nil {
		return false, err
	}
	s := newSession(l, conn)
	stop := context.AfterFunc(ctx, func() { conn.Close() }) // a bind is not waited for
	err = s.bind()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close() // the bind's error says more
		return false, err
	}
	l.client.log.Info("bound to the SMSC", "smsc", l.name, "address", l.cfg.Address)
	l.set(s)
	err = s.serve(ctx)
	l.set(nil)
	if err == nil {
		err = errors.New("the SMSC has unbound")
	}
	return true, err
}

func (l *link) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, bindTimeout)
	defer cancel()
	if l.client.opt.Dial != nil {
		return l.client.opt.Dial(ctx, l.cfg.Address)
	}
	if l.tls != nil {
		return (&tls.Dialer{Config: l.tls}).DialContext(ctx, "tcp", l.cfg.Address)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", l.cfg.Address)
}

func (l *link) set(s *session) {
	l.mu.Lock()
	l.session = s
	l.mu.Unlock()
	l.client.met.isBound(l.name, s != nil)
	l.client.changed()
}

// state gives the session, nil if there is none, and until when the SMSC wants to be left alone.
func (l *link) state() (*session, time.Time, byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.session
	if s != nil {
		select {
		case <-s.gone:
			s = nil
		default:
		}
	}
	return s, l.until, l.coding
}

// admit waits until the pace allows another short message.
func (l *link) admit(ctx context.Context) error {
	if l.pace.Limit() == rate.Inf {
		return nil
	}
	if err := l.pace.Wait(ctx); err != nil {
		return fmt.Errorf("wait for the rate that %s takes: %w", l.name, err)
	}
	return nil
}

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 30 * time.Second
	calmTime   = 30 * time.Second // without a complaint, until the pace grows by itself again
)

// slow reacts to throttling: a pause that doubles, and a pace below what has been taken lately.
func (l *link) slow(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.until) {
		return l.until.Sub(now) // the same complaint, from several of the window
	}
	l.pause = min(maxPause, max(firstPause, 2*l.pause))
	l.until, l.calm = now.Add(l.pause), now.Add(l.pause+calmTime)
	if since := now.Sub(l.counted); since > 0 {
		lately := float64(l.taken) / since.Seconds()
		floor := float64(l.client.opt.Config.Window) / 2 // a second: enough to find out when it takes more again
		l.pace.SetLimit(rate.Limit(min(float64(l.most()), max(floor, 0.7*lately))))
	}
	l.taken, l.counted = 0, now
	return l.pause
}

// took notes a short message that the SMSC has taken.
func (l *link) took(now time.Time, coding byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.coding = coding
	if l.taken++; now.Sub(l.counted) > 5*time.Second {
		l.taken, l.counted = 1, now
	}
	if l.pause == 0 {
		return
	}
	most := l.most()
	if now.After(l.calm) {
		l.pause = 0
		l.pace.SetLimit(most)
		return
	}
	l.pace.SetLimit(min(most, l.pace.Limit()*1.01))
}

// try sets the data_coding of what comes next.
func (l *link) try(code byte) {
	l.mu.Lock()
	l.coding = code
	l.mu.Unlock()
}

func (l *link) most() rate.Limit {
	if r := l.client.opt.Config.Rate; r > 0 {
		return rate.Limit(r)
	}
	return rate.Inf
}
