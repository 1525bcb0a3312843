package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mmsrouter/mmsrouter/proxy/wire"
)

// Upstream is an MMSC as the proxy reaches it. Its name is a target's on the Board.
type Upstream struct {
	Name          string
	URL           string        // http:// or https://; ignored if Dial is set
	Host          string        // Host to send instead of the client's
	SourceAddress string        // our side of the connection
	TLS           *tls.Config   // for https; ServerName is set from the URL if empty
	InFlight      int           // most requests at a time; 0: limits.in_flight
	Idle          time.Duration // how long a connection is kept without use; must be less than the MMSC keeps it
	// Dial reaches an MMSC that has no address (the embedded one).
	Dial func(ctx context.Context) (net.Conn, error)
}

// DefaultIdle is below the keep-alive time of any server we know of (5 s and more).
const DefaultIdle = 4 * time.Second

// upstream is an Upstream at work: its connections, its places and its figures.
type upstream struct {
	Upstream
	address string // host:port
	path    string // replaces the client's path unless "/"
	stats   *targetStats

	mu      sync.Mutex
	idle    []idleConn // the youngest last
	waiting int
	flying  int
	places  chan struct{} // a token for each place given up while somebody waits
	closed  bool

	outstanding atomic.Int64
}

type idleConn struct {
	c     *upConn
	until time.Time
}

// upConn is one connection to an MMSC.
type upConn struct {
	*wire.Conn
	up     *upstream
	reused bool
	once   bool // a drill's fault lies on it: it is not kept for others
	keep   time.Duration
}

func newUpstream(u Upstream, stats *targetStats) (*upstream, error) {
	up := &upstream{Upstream: u, path: "/", stats: stats, places: make(chan struct{}, 1)}
	if up.Idle <= 0 {
		up.Idle = DefaultIdle
	}
	if u.Dial != nil {
		return up, nil
	}
	p, err := url.Parse(u.URL)
	if err != nil || p.Scheme != "http" && p.Scheme != "https" || p.Hostname() == "" || p.User != nil || p.RawQuery != "" || p.Fragment != "" {
		return nil, fmt.Errorf("mmscs.%s.url: %q: want http://host:port/path or https://…", u.Name, u.URL)
	}
	if p.Path != "" {
		up.path = p.EscapedPath()
	}
	port := p.Port()
	if p.Scheme == "https" {
		if port == "" {
			port = "443"
		}
		cfg := &tls.Config{MinVersion: tls.VersionTLS12}
		if u.TLS != nil {
			cfg = u.TLS.Clone()
		}
		if cfg.ServerName == "" {
			cfg.ServerName = p.Hostname()
		}
		up.TLS = cfg
	} else {
		up.TLS = nil
		if port == "" {
			port = "80"
		}
	}
	up.address = net.JoinHostPort(p.Hostname(), port)
	if u.SourceAddress != "" && net.ParseIP(u.SourceAddress) == nil {
		return nil, fmt.Errorf("mmscs.%s.source_address: %q: want an IP address of this machine", u.Name, u.SourceAddress)
	}
	return up, nil
}

// same says whether a reload may keep u's connections.
func (u *upstream) same(o Upstream) bool {
	return u.Dial == nil && o.Dial == nil && u.URL == o.URL && u.SourceAddress == o.SourceAddress && u.TLS == nil && o.TLS == nil &&
		u.Host == o.Host && u.InFlight == o.InFlight && (u.Idle == o.Idle || o.Idle == 0 && u.Idle == DefaultIdle)
}

// Errors of get; all mean that nothing was sent.
var (
	errBusy   = errors.New("its limit of requests in flight is reached and its queue is full")
	errQueued = errors.New("waited too long for a place")
)

// place takes one of the MMSC's places, waiting in the bounded queue if there is none.
func (u *upstream) place(inFlight, queue int, wait time.Duration) (waited bool, err error) {
	if u.InFlight > 0 {
		inFlight = u.InFlight
	}
	u.mu.Lock()
	if u.flying < inFlight {
		u.flying++
		u.mu.Unlock()
		u.outstanding.Add(1)
		return false, nil
	}
	if u.waiting >= queue || wait <= 0 {
		u.mu.Unlock()
		return false, errBusy
	}
	u.waiting++
	u.mu.Unlock()
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		late := false
		select {
		case <-u.places:
		case <-t.C:
			late = true
		}
		u.mu.Lock()
		if u.flying < inFlight {
			u.waiting--
			u.flying++
			u.wake(inFlight)
			u.mu.Unlock()
			u.outstanding.Add(1)
			return true, nil
		}
		if late {
			u.waiting--
			u.mu.Unlock()
			return true, errQueued
		}
		u.mu.Unlock()
	}
}

// wake passes the token on while there are both places and waiters; the lock is held.
func (u *upstream) wake(inFlight int) {
	if u.waiting > 0 && (inFlight == 0 || u.flying < inFlight) {
		select {
		case u.places <- struct{}{}:
		default: // somebody has been woken and will look
		}
	}
}

// leave gives the place back.
func (u *upstream) leave() {
	u.outstanding.Add(-1)
	u.mu.Lock()
	u.flying--
	u.wake(0)
	u.mu.Unlock()
}

// full says whether a request would have to queue.
func (u *upstream) full(inFlight int) bool {
	if u.InFlight > 0 {
		inFlight = u.InFlight
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.flying >= inFlight
}

// get gives a connection: a kept one that is checked to be open and silent, else a new one. What befalls a drill's
// message (nil: nothing) makes a new one in its own way.
func (u *upstream) get(now time.Time, patience time.Duration, fresh bool, befall Befall) (*upConn, error) {
	for !fresh {
		u.mu.Lock()
		n := len(u.idle)
		if n == 0 {
			u.mu.Unlock()
			break
		}
		ic := u.idle[n-1]
		u.idle[n-1] = idleConn{}
		u.idle = u.idle[:n-1]
		u.mu.Unlock()
		if now.Before(ic.until) {
			ic.c.reused = true
			return ic.c, nil
		}
		_ = ic.c.NC.Close() // nothing is under way on it
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dial := u.dial
	if befall != nil {
		dial = func(ctx context.Context) (net.Conn, error) { return befall(ctx, u.dial) }
	}
	nc, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	return &upConn{Conn: wire.NewConn(nc), up: u, keep: u.Idle, once: befall != nil}, nil
}

func (u *upstream) dial(ctx context.Context) (net.Conn, error) {
	if u.Dial != nil {
		return u.Dial(ctx)
	}
	d := net.Dialer{KeepAlive: 15 * time.Second}
	if u.SourceAddress != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(u.SourceAddress)}
	}
	nc, err := d.DialContext(ctx, "tcp", u.address)
	if err != nil || u.TLS == nil {
		return nc, err
	}
	tc := tls.Client(nc, u.TLS)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close() // the handshake's error is the one to tell
		return nil, &tlsError{err}
	}
	return tc, nil
}

// tlsError keeps TLS failures apart from connect failures.
type tlsError struct{ error }

func (e *tlsError) Unwrap() error { return e.error }

// put keeps a connection for the next request.
func (u *upstream) put(c *upConn, now time.Time, most int) {
	u.mu.Lock()
	if u.closed || len(u.idle) >= most {
		u.mu.Unlock()
		_ = c.NC.Close() // nothing is under way on it
		return
	}
	u.idle = append(u.idle, idleConn{c, now.Add(c.keep)})
	u.mu.Unlock()
}

// sweep closes what has been idle for too long.
func (u *upstream) sweep(now time.Time) {
	u.mu.Lock()
	n := 0
	for n < len(u.idle) && !now.Before(u.idle[n].until) {
		n++
	}
	old := append([]idleConn(nil), u.idle[:n]...)
	u.idle = slices.Delete(u.idle, 0, n)
	u.mu.Unlock()
	for _, ic := range old {
		_ = ic.c.NC.Close() // nothing is under way on it
	}
}

// close lets what is in flight finish and keeps no connection any more.
func (u *upstream) close() {
	u.mu.Lock()
	u.closed = true
	old := u.idle
	u.idle = nil
	u.mu.Unlock()
	for _, ic := range old {
		_ = ic.c.NC.Close() // nothing is under way on it
	}
}

// learnKeepAlive shortens the time a connection is kept to what the MMSC announces, less a second.
func (c *upConn) learnKeepAlive(h *wire.Head) {
	v := string(h.Get("Keep-Alive"))
	if v == "" {
		return
	}
	i := strings.Index(strings.ToLower(v), "timeout=")
	if i < 0 {
		return
	}
	n := 0
	for _, d := range v[i+len("timeout="):] {
		if d < '0' || d > '9' || n > 3600 {
			break
		}
		n = n*10 + int(d-'0')
	}
	if k := time.Duration(n)*time.Second - time.Second; k < c.keep {
		c.keep = max(k, 0)
	}
}
