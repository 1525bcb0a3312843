package outgoing

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// maxURL bounds a URL, in octets.
const maxURL = 4096

// Client makes guarded requests. It is safe for concurrent use.
type Client struct {
	guard   *Guard
	tls     *tls.Config
	http    atomic.Pointer[http.Client]
	timeout time.Duration
	maxBody int64
	reach   func(netip.Addr) bool // nil: the guard's networks
}

// Request is one request. Its header fields go to the URL's origin alone, not
// where it redirects to.
type Request struct {
	Method  string // empty: GET
	URL     string
	Header  http.Header
	Body    []byte
	MaxBody int64 // octets of the answer; 0: the client's; never above it
	// StatusOnly drops the answer's body: of one that is too large or broken the status counts all the same.
	StatusOnly bool
}

// Answer is an answer that was read whole.
type Answer struct {
	Status int
	Header http.Header // without Content-Encoding, which is undone
	Body   []byte
	URL    *url.URL // where it came from, behind redirects
}

// RetryAfter reads the Retry-After in seconds, at most an hour; zero if there is none.
func (a *Answer) RetryAfter() time.Duration {
	s, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if err != nil || s < 0 {
		return 0
	}
	return min(time.Duration(min(s, 3600))*time.Second, time.Hour)
}

// URL checks an address that a configuration or a document names, without a guard.
func URL(raw string) (*url.URL, error) {
	u, bad := (&policy{}).check(raw, nil)
	if bad != nil || strings.Contains(raw, "#") {
		return nil, fmt.Errorf("%.100q is not http://HOST… or https://HOST…", raw)
	}
	return u, nil
}

// Release ends the client's idle connections and forgets it.
func (c *Client) Release() {
	c.guard.mu.Lock()
	defer c.guard.mu.Unlock()
	for i, other := range c.guard.clients {
		if other == c {
			c.guard.clients = append(c.guard.clients[:i:i], c.guard.clients[i+1:]...)
			break
		}
	}
	c.http.Load().CloseIdleConnections()
}

// Check says whether a URL can be asked for at all, without a look-up of its
// name (an address in its place is looked at): for
// catalogues that refuse a bad URL when it is entered. The error is a *Error.
func (g *Guard) Check(rawURL string) (*url.URL, error) {
	p := g.policy.Load()
	u, err := p.check(rawURL, p.refuses)
	if err != nil {
		return nil, err
	}
	return u, nil
}

// check looks at a URL without a look-up; refuses says what is wrong with an address in its place, nil: nothing ever is.
func (p *policy) check(rawURL string, refuses func(netip.Addr) string) (*url.URL, *Error) {
	no := func(host, format string, args ...any) (*url.URL, *Error) {
		return nil, &Error{Kind: Forbidden, Host: host, Err: fmt.Errorf(format, args...)}
	}
	if len(rawURL) > maxURL {
		return no("URL", "longer than %d octets", maxURL)
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return no("URL", "%v", errors.Unwrap(err)) // the outer text repeats the URL
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return no("URL", "scheme %q: want http or https", u.Scheme)
	case u.Opaque != "" || u.Hostname() == "":
		return no("URL", "no host")
	case u.User != nil:
		return no(u.Hostname(), "a user name or password in the URL")
	case len(u.Hostname()) > 253 || strings.ContainsAny(u.Hostname(), "%\\ \t\r\n"):
		return no("URL", "the host can't be a name or an address")
	case u.Port() != "" && !p.port(u.Port()):
		return no(u.Hostname(), "port %s may not be reached", u.Port())
	case u.Port() == "" && !p.port(map[string]string{"http": "80", "https": "443"}[u.Scheme]):
		return no(u.Hostname(), "the port of %s is not listed in ports", u.Scheme)
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && refuses != nil {
		if why := refuses(a.Unmap()); why != "" {
			return no(u.Hostname(), "%s is %s", a, why)
		}
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// Get fetches a URL: an answer of 200, or an *Error. limit bounds the body; 0:
// the client's limit.
func (c *Client) Get(ctx context.Context, rawURL string, limit int64) (*Answer, error) {
	a, err := c.Do(ctx, Request{URL: rawURL, MaxBody: limit})
	if err != nil {
		return nil, err
	}
	if a.Status != http.StatusOK {
		return nil, &Error{Kind: BadStatus, Host: a.URL.Hostname(), Status: a.Status, Err: fmt.Errorf("answered %d", a.Status)}
	}
	return a, nil
}

// Do makes a request and reads the answer whole, whatever its status. An error
// is an *Error.
func (c *Client) Do(ctx context.Context, r Request) (*Answer, error) {
	began := time.Now()
	p := c.guard.policy.Load()
	timeout := p.Timeout
	if c.timeout > 0 {
		timeout = c.timeout
	}
	limit := int64(p.MaxBody)
	if c.maxBody > 0 {
		limit = c.maxBody
	}
	if r.MaxBody > 0 {
		limit = min(limit, r.MaxBody)
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	a, err := c.follow(within, ctx, p, r, limit)
	c.guard.met.done(began, err)
	if err != nil {
		c.guard.log.Debug("outgoing request", "host", err.Host, "kind", err.Kind.String(), "err", err.Err)
		return nil, err
	}
	return a, nil
}

// follow asks, and asks again where an answer points to.
func (c *Client) follow(ctx, asked context.Context, p *policy, r Request, limit int64) (*Answer, *Error) {
	refuses := func(a netip.Addr) string { return c.refuses(p, a) }
	u, bad := p.check(r.URL, refuses)
	if bad != nil {
		return nil, bad
	}
	header := r.Header
	for hops := 0; ; hops++ {
		resp, err := c.ask(ctx, r.Method, u, header, r.Body)
		if err != nil {
			return nil, classify(asked, u.Hostname(), err)
		}
		next, bad := redirect(resp, p, refuses, r.Method, hops)
		if bad != nil || next == nil {
			if bad == nil {
				var a *Answer
				if r.StatusOnly {
					a = glance(resp, limit)
				} else {
					a, bad = read(resp, limit)
				}
				if bad == nil {
					a.URL = u
					_ = resp.Body.Close() // read to its end
					return a, nil
				}
			}
			_ = resp.Body.Close() // the error that counts is bad
			if bad.Kind == Unreachable {
				return nil, classify(asked, u.Hostname(), bad.Err)
			}
			bad.Host = u.Hostname()
			return nil, bad
		}
		_ = resp.Body.Close() // a redirect's body says nothing
		if u.Scheme != next.Scheme || u.Host != next.Host {
			header = nil // tokens and signatures were meant for the first origin
		}
		u = next
	}
}

func (c *Client) ask(ctx context.Context, method string, u *url.URL, header http.Header, body []byte) (*http.Response, error) {
	if method == "" {
		method = http.MethodGet
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), reader)
	if err != nil {
		return nil, &Error{Kind: Forbidden, Host: u.Hostname(), Err: err}
	}
	for name, values := range header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", c.guard.agent)
	}
	req.Header.Set("Accept-Encoding", "gzip")
	return c.http.Load().Do(req)
}

// redirect gives the URL that an answer points to, checked; nil if it is no
// redirect.
func redirect(resp *http.Response, p *policy, refuses func(netip.Addr) string, method string, hops int) (*url.URL, *Error) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	no := func(format string, args ...any) (*url.URL, *Error) {
		return nil, &Error{Kind: Redirected, Err: fmt.Errorf(format, args...)}
	}
	if method != "" && method != http.MethodGet && method != http.MethodHead {
		return no("a %s is not sent to where the answer (%d) points", method, resp.StatusCode)
	}
	if hops >= p.Redirects {
		return no("more than %d redirects", p.Redirects)
	}
	target, err := resp.Location()
	if err != nil {
		return no("%d without a usable Location", resp.StatusCode)
	}
	if resp.Request.URL.Scheme == "https" && target.Scheme == "http" {
		return no("from https to http")
	}
	return p.check(target.String(), refuses)
}

// glance reads a body, so that the connection can be kept, and drops it.
func glance(resp *http.Response, limit int64) *Answer {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, limit)) // the status says it all
	return &Answer{Status: resp.StatusCode, Header: resp.Header}
}

// read takes the body of an answer, its content coding undone. The limit holds
// for what travels and for what comes out of it.
func read(resp *http.Response, limit int64) (*Answer, *Error) {
	large := &Error{Kind: TooLarge, Err: fmt.Errorf("the answer is larger than %d octets", limit)}
	if resp.ContentLength > limit && resp.Request.Method != http.MethodHead {
		return nil, large
	}
	counted := &counter{r: resp.Body, left: limit}
	var plain io.Reader = counted
	switch coding := strings.ToLower(strings.TrimSpace(strings.Join(resp.Header.Values("Content-Encoding"), ","))); coding {
	case "", "identity":
	case "gzip", "x-gzip", "deflate":
		if resp.Request.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent {
			break
		}
		var err error
		if coding == "deflate" {
			plain, err = zlib.NewReader(counted)
		} else {
			plain, err = gzip.NewReader(counted)
		}
		if err != nil {
			return nil, broken(counted, large, err)
		}
	default:
		return nil, &Error{Kind: Unreadable, Err: errors.New("a content coding other than gzip and deflate")}
	}
	var buf bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= limit {
		buf.Grow(int(min(n, 1<<20)) + bytes.MinRead)
	}
	n, err := io.Copy(&buf, io.LimitReader(plain, limit+1))
	if err != nil {
		return nil, broken(counted, large, err)
	}
	if n > limit {
		return nil, large
	}
	resp.Header.Del("Content-Encoding")
	return &Answer{Status: resp.StatusCode, Header: resp.Header, Body: buf.Bytes()}, nil
}

// broken tells an answer that was too large or came to a bad end from one whose
// coding is wrong.
func broken(c *counter, large *Error, err error) *Error {
	switch {
	case c.over:
		return large
	case c.err != nil:
		return &Error{Kind: Unreachable, Err: c.err}
	}
	return &Error{Kind: Unreadable, Err: err}
}

var errOver = errors.New("more than the limit")

// counter reads at most left octets and remembers how the stream itself ended.
type counter struct {
	r    io.Reader
	left int64
	over bool
	err  error
}

func (c *counter) Read(b []byte) (int, error) {
	if int64(len(b)) > c.left+1 {
		b = b[:c.left+1]
	}
	n, err := c.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		c.err = err
	}
	if int64(n) > c.left {
		c.over = true
		return 0, errOver
	}
	c.left -= int64(n)
	return n, err
}
