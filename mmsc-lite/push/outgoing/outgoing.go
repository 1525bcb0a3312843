// Package outgoing makes HTTP requests that can't be led astray: redirects are never followed, proxies of the environment not used, answers and
// times bounded, and where an address comes from somebody else, the resolved IP address is checked at the moment of the connection, so that
// a name can't change its mind in between. It has no state.
package outgoing

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// Options of a client.
type Options struct {
	// Allowed says which addresses may be connected to; nil: all.
	Allowed func(ctx context.Context, ip netip.Addr) bool
	Timeout time.Duration // of one request, its answer included
	TLS     *tls.Config
	Conns   int // kept connections to one host; 0: 4
}

// ErrForbidden is wrapped by the error of a request to an address that is not allowed.
var ErrForbidden = errors.New("address not allowed")

// New makes a client.
func New(opt Options) *http.Client {
	if opt.Conns <= 0 {
		opt.Conns = 4
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			d := net.Dialer{Timeout: opt.Timeout, ControlContext: func(ctx context.Context, _, address string, _ syscall.RawConn) error {
				return check(ctx, opt.Allowed, address)
			}}
			return d.DialContext(ctx, network, address)
		},
		TLSClientConfig: opt.TLS, TLSHandshakeTimeout: opt.Timeout, ResponseHeaderTimeout: opt.Timeout, MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost: opt.Conns, IdleConnTimeout: 30 * time.Second, DisableCompression: true, ForceAttemptHTTP2: opt.TLS != nil,
	}
	return &http.Client{Transport: transport, Timeout: opt.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func check(ctx context.Context, allowed func(context.Context, netip.Addr) bool, address string) error {
	if allowed == nil {
		return nil
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrForbidden, address)
	}
	if !allowed(ctx, ap.Addr().Unmap()) {
		return fmt.Errorf("%w: %s", ErrForbidden, ap.Addr())
	}
	return nil
}

// URL checks an address that a configuration or a document names.
func URL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" || len(s) > 1024 {
		return nil, fmt.Errorf("%.100q is not http://HOST… or https://HOST…", s)
	}
	return u, nil
}

// Body reads a bounded answer and closes it.
func Body(resp *http.Response, most int64) ([]byte, error) {
	defer resp.Body.Close() // read as far as it is wanted
	b, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("the answer has more than %d octets", most)
	}
	return b, err
}

// RetryAfter reads a Retry-After in seconds, at most an hour; zero if there is none.
func RetryAfter(h http.Header) time.Duration {
	s, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || s < 0 {
		return 0
	}
	return min(time.Duration(s)*time.Second, time.Hour)
}
