package outgoing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
)

// Kind is why a request failed.
type Kind uint8

// The kinds.
const (
	Unreachable Kind = iota // look-up, connection, TLS, or a break within the answer
	TimedOut                // the request's time is over
	Cancelled               // the caller gave up
	Forbidden               // the guard refuses the URL or its address
	Redirected              // too many redirects, one that can't be followed, or one for a request with a body
	TooLarge                // head or body beyond the limit
	Unreadable              // a content coding that is unknown or broken
	BadStatus               // Get: the answer is not 200
)

var kindNames = [...]string{"unreachable", "timeout", "cancelled", "forbidden", "redirect", "too_large", "unreadable", "status"}

// String gives one word.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Error is a failed request. Its text names the host and never the rest of the
// URL, which may hold secrets.
type Error struct {
	Kind   Kind
	Host   string
	Status int // of BadStatus
	Err    error
}

// Error gives one line.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s: %v", e.Host, e.Kind, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Transient says whether the same request may succeed later.
func (e *Error) Transient() bool {
	switch e.Kind {
	case Unreachable, TimedOut, Cancelled:
		return true
	case BadStatus:
		return e.Status >= 500 && e.Status != 501 && e.Status != 505 || e.Status == 408 || e.Status == 425 || e.Status == 429
	}
	return false
}

// classify makes an *Error of what a transport or a body gave; asked is the
// caller's context, which tells his giving up from our time-out.
func classify(asked context.Context, host string, err error) *Error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // its text holds the whole URL
	}
	var ours *Error
	var netErr net.Error
	switch {
	case asked.Err() != nil:
		return &Error{Kind: Cancelled, Host: host, Err: context.Cause(asked)}
	case errors.As(err, &ours) && ours.Kind != Unreachable:
		return ours
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return &Error{Kind: TimedOut, Host: host, Err: err}
	case ours != nil:
		return ours
	}
	return &Error{Kind: Unreachable, Host: host, Err: err}
}
