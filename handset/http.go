package handset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// failure is why an operation did not work, and what to do about it.
type failure struct {
	err  error
	next next
}

// next is what follows a failure.
type next uint8

const (
	again next = iota // another attempt soon
	later             // another round of attempts
	never
)

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// parseURL takes what a phone can fetch from or post to.
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("%.80q is no URL", s) // a URL's error quotes all of it
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("%.80q is not http://HOST/…", s)
	}
	return u, nil
}

// newTransport makes the phones' HTTP: no compression, absolute-form requests to the MMS proxy where there is one.
func newTransport(o *Options) *http.Transport {
	t := &http.Transport{DisableCompression: true, MaxIdleConns: o.Parallel, MaxIdleConnsPerHost: o.Parallel, IdleConnTimeout: 5 * time.Second,
		MaxResponseHeaderBytes: 64 << 10, TLSHandshakeTimeout: o.Retry.Timeout}
	if o.Proxy != "" {
		if u, err := parseURL(o.Proxy); err == nil { // complete has seen to it
			t.Proxy = http.ProxyURL(u)
		}
	}
	d := net.Dialer{Timeout: o.Retry.Timeout}
	t.DialContext = func(ctx context.Context, network, at string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(at)
		if err != nil || o.Resolve == nil || literal(host) {
			return d.DialContext(ctx, network, at)
		}
		addrs, err := o.Resolve(ctx, host)
		if err != nil {
			return nil, err
		}
		all := fmt.Errorf("%s has no address", host)
		for i, a := range addrs {
			conn, err := d.DialContext(ctx, network, net.JoinHostPort(a, port))
			if err == nil {
				return conn, nil
			}
			if i == 0 {
				all = err
			} else {
				all = errors.Join(all, err)
			}
		}
		return nil, all
	}
	return t
}

// moving resets a timer with every octet that moves, so that only what stands still times out.
type moving struct {
	io.Reader
	timer *time.Timer
	limit time.Duration
}

func (m *moving) Read(b []byte) (int, error) {
	m.timer.Reset(m.limit)
	return m.Reader.Read(b)
}

var errStill = errors.New("nothing moved for too long")

// exchange does one HTTP request of the phone and reads the whole answer. Its errors are failures.
func (p *phone) exchange(ctx context.Context, method, to string, body []byte) ([]byte, error) {
	if err := p.turn(ctx); err != nil {
		return nil, &failure{err, never}
	}
	defer p.turned()
	limit := p.opt.Retry.Timeout
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(limit, func() { cancel(errStill) })
	defer timer.Stop()
	var in io.Reader
	if body != nil {
		in = &moving{bytes.NewReader(body), timer, limit}
	}
	r, err := http.NewRequestWithContext(ctx, method, to, in)
	if err != nil {
		return nil, &failure{err, never}
	}
	p.dress(r, body)
	resp, err := p.http.RoundTrip(r) // no redirect is followed: phones don't
	if err != nil {
		return nil, &failure{errors.Join(err, context.Cause(ctx)), again}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(&moving{resp.Body, timer, limit}, p.opt.MaxMessage+1))
	switch {
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone:
		return nil, &failure{fmt.Errorf("HTTP %s", resp.Status), never} // for many a phone the message is gone for good then
	case resp.StatusCode/100 != 2:
		return nil, &failure{fmt.Errorf("HTTP %s", resp.Status), again}
	case err != nil:
		return nil, &failure{errors.Join(fmt.Errorf("the answer broke after %d octets: %w", len(b), err), context.Cause(ctx)), again}
	case int64(len(b)) > p.opt.MaxMessage:
		return nil, &failure{fmt.Errorf("the answer has more than %d octets", p.opt.MaxMessage), never}
	}
	return b, nil
}

// dress gives a request the header fields that a phone sends.
func (p *phone) dress(r *http.Request, body []byte) {
	r.Header.Set("Accept", "*/*, "+wsp.MMSMessage)
	r.Header.Set("User-Agent", p.opt.UserAgent)
	if body != nil {
		r.ContentLength = int64(len(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		r.Header.Set("Content-Type", wsp.MMSMessage)
	}
	for _, h := range p.opt.Header {
		name, value, _ := strings.Cut(h, ":")
		r.Header.Set(strings.TrimSpace(name), strings.ReplaceAll(strings.TrimSpace(value), "##LINE1##", p.number))
	}
}

// turn waits until the phone, and the process, may do another exchange.
func (p *phone) turn(ctx context.Context) error {
	select {
	case p.busy <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case p.free <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-p.busy
		return ctx.Err()
	}
}

func (p *phone) turned() {
	<-p.free
	<-p.busy
}

// persist tries an operation as Android does: a few attempts with growing pauses, then, with rounds, again by the schedule,
// not beyond until. Errors of what are failures, or those of ctx.
func (p *phone) persist(ctx context.Context, e Event, rounds bool, until time.Time, what func() error) error {
	o := &p.opt.Retry
	retrying := func(err error, after time.Duration) bool {
		e.Kind, e.Err, e.After = Retrying, err, after
		p.tell(e)
		return pause(ctx, after)
	}
	for round := 0; ; round++ {
		wait := o.Pause
		var err error
		for attempt := 1; ; attempt++ {
			var f *failure
			if err = what(); err == nil || ctx.Err() != nil || errors.As(err, &f) && f.next == never {
				return err
			}
			if attempt == o.Attempts || f != nil && f.next == later {
				break
			}
			if !retrying(err, wait) {
				return err
			}
			wait *= 2
		}
		switch {
		case !rounds || round == len(o.Schedule):
			return err
		case !until.IsZero() && time.Now().Add(o.Schedule[round]).After(until):
			return fmt.Errorf("it expires before the next attempt: %w", err)
		case !retrying(err, o.Schedule[round]):
			return err
		}
	}
}
