// Package outgoing makes the HTTP requests whose target others can choose: a
// provider's content by URL, a service's address, a handset's profile.
//
// It owns the guard between such a URL and the network behind us. http and https
// only; the name is resolved here, each address is checked, and exactly the
// checked address is dialled, so that a name that changes its mind between check
// and use gains nothing. Loopback, private, link-local, multicast and reserved
// networks are refused unless listed. Redirects are followed for GET and HEAD
// alone, counted, and checked like the first URL. Time, head and body are
// bounded, the body after decompression too. Proxies of the environment are not
// used.
//
// On failure a request gives an *Error whose Kind says whether trying again
// makes sense; nothing is retried here. A Guard has no goroutines of its own
// beyond the idle connections of its clients, which Close ends.
package outgoing

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Resolver finds the addresses of a name; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options are what a Guard is made of.
type Options struct {
	Config    Config
	Resolver  Resolver // nil: the system's
	UserAgent string   // empty: "mmsrouter"
	Metrics   prometheus.Registerer
	Log       *slog.Logger
}

// Guard holds what may be reached and hands out clients that keep to it. It is
// safe for concurrent use.
type Guard struct {
	policy   atomic.Pointer[policy]
	resolver Resolver
	agent    string
	log      *slog.Logger
	met      *metrics

	mu      sync.Mutex // guards clients
	clients []*Client
}

// New checks the configuration and gives a Guard.
func New(o Options) (*Guard, error) {
	p, err := compile(o.Config)
	if err != nil {
		return nil, err
	}
	g := &Guard{resolver: o.Resolver, agent: cmp.Or(o.UserAgent, "mmsrouter"), log: o.Log}
	if g.resolver == nil {
		g.resolver = net.DefaultResolver
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.met, err = newMetrics(o.Metrics); err != nil {
		return nil, err
	}
	g.policy.Store(p)
	return g, nil
}

// Reload checks a new configuration and puts it in force: requests that run keep
// the one they began with, connections that idle are closed.
func (g *Guard) Reload(c Config) error {
	p, err := compile(c)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.policy.Store(p)
	for _, c := range g.clients {
		c.http.Swap(c.connections(p)).CloseIdleConnections() // also those that become idle later
	}
	return nil
}

// Close ends the idle connections of all clients. They can still be used.
func (g *Guard) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.clients {
		c.http.Load().CloseIdleConnections()
	}
}

// ClientOptions are what one peer needs beyond the Guard's configuration.
type ClientOptions struct {
	TLS     *tls.Config   // client certificate, roots; nil: the system's roots
	Timeout time.Duration // a whole request; 0: Config.Timeout
	MaxBody int64         // octets of an answer; 0: Config.MaxBody
	// Reach says which addresses may be dialled, instead of the Guard's networks; nil: those.
	Reach func(netip.Addr) bool
}

// Anywhere is the Reach of clients whose target our own configuration names.
func Anywhere(netip.Addr) bool { return true }

// Client gives a client with connections of its own. Make one per peer or
// purpose, not one per request, and Release it when the peer is gone.
func (g *Guard) Client(o ClientOptions) *Client {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := &Client{guard: g, tls: o.TLS.Clone(), timeout: o.Timeout, maxBody: o.MaxBody, reach: o.Reach}
	c.http.Store(c.connections(g.policy.Load()))
	g.clients = append(g.clients, c)
	return c
}

// connections makes the pool of one client under one policy, so that a policy
// that is replaced takes its connections with it.
func (c *Client) connections(p *policy) *http.Client {
	t := &http.Transport{
		Proxy:                  nil, // a proxy would resolve and dial in our place
		DialContext:            c.dial,
		TLSClientConfig:        c.tls.Clone(),
		TLSHandshakeTimeout:    p.Connect,
		MaxIdleConnsPerHost:    p.Idle,
		MaxIdleConns:           8 * p.Idle,
		DisableKeepAlives:      p.Idle == 0,
		MaxConnsPerHost:        p.Connections,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: int64(p.MaxHeader),
		DisableCompression:     true, // undone here, with a bound
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // followed here, with a check
	}}
}

// dial resolves, checks and connects; what it dials is what it has checked.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	p := c.guard.policy.Load()
	ctx, cancel := context.WithTimeout(ctx, p.Connect)
	defer cancel()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &Error{Kind: Forbidden, Host: address, Err: err}
	}
	if !p.port(port) {
		return nil, &Error{Kind: Forbidden, Host: host, Err: fmt.Errorf("port %s is not listed in ports", port)}
	}
	addrs, err := c.guard.resolve(ctx, host)
	if err != nil {
		return nil, &Error{Kind: Unreachable, Host: host, Err: err}
	}
	tried := 0
	for _, a := range addrs {
		if why := c.refuses(p, a); why != "" {
			err = &Error{Kind: Forbidden, Host: host, Err: fmt.Errorf("%s is %s", a, why)}
			continue
		}
		if tried++; tried > p.Addresses {
			break
		}
		var conn net.Conn
		d := net.Dialer{Timeout: p.Connect}
		if conn, err = d.DialContext(ctx, network, net.JoinHostPort(a.String(), port)); err == nil {
			return conn, nil
		}
		err = &Error{Kind: Unreachable, Host: host, Err: err}
	}
	if err == nil {
		err = &Error{Kind: Unreachable, Host: host, Err: fmt.Errorf("no address")}
	}
	return nil, err
}

// refuses says what is wrong with an address, "" if it may be dialled.
func (c *Client) refuses(p *policy, a netip.Addr) string {
	switch {
	case c.reach == nil:
		return p.refuses(a)
	case !c.reach(a):
		return "not an address for this"
	}
	return ""
}

// resolve gives the addresses of a host; an address is its own.
func (g *Guard) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	addrs, err := g.resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	out := make([]netip.Addr, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, a.Unmap())
	}
	return out, nil
}
