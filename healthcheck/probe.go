package healthcheck

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// maxAnswer bounds what a probe reads of an answer: headers and body each.
const maxAnswer = 64 << 10

// maxWhy bounds the words about an observation.
const maxWhy = 200

// Result is what one probe saw.
type Result struct {
	Up    bool
	Why   string // the observation in words
	Fault string // a misconfiguration of an MMSC that answers, else ""
}

func down(format string, a ...any) Result { return Result{Why: words(fmt.Sprintf(format, a...))} }

// words keeps a text that may quote a peer fit for a log line and a page.
func words(s string) string {
	if len(s) > maxWhy {
		s = s[:maxWhy] + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// prober is one kind of probe, made for one target. probe ends soon after ctx ends.
type prober interface {
	probe(ctx context.Context) Result
}

// dialFunc opens a connection; tests put pipes here.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// door is how a target is reached.
type door struct {
	url  *url.URL
	addr string // host:port
	host string // Host header
	dial dialFunc
	tls  *tls.Config // nil: plain
}

func newDoor(t Target, dial dialFunc) (*door, error) {
	u, err := url.Parse(t.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("url: %q is not allowed; want http://host:port/ or https://host:port/", t.URL)
	}
	d := &door{url: u, host: t.Host, dial: dial}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	d.addr = net.JoinHostPort(u.Hostname(), port)
	if d.host == "" {
		d.host = u.Host
	}
	if u.Scheme == "https" {
		d.tls = &tls.Config{}
		if t.TLS != nil {
			d.tls = t.TLS.Clone()
		}
		if d.tls.ServerName == "" {
			d.tls.ServerName = u.Hostname()
		}
		d.tls.NextProtos = nil // the probes speak HTTP/1.1
	}
	if d.dial == nil {
		// A new dialer for each door: without keep-alive probes, since the connection lives for one answer.
		nd := &net.Dialer{KeepAlive: -1}
		if t.SourceAddress != "" {
			ip, err := netip.ParseAddr(t.SourceAddress)
			if err != nil {
				return nil, fmt.Errorf("source_address: %q is not an IP address", t.SourceAddress)
			}
			nd.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0))
		}
		d.dial = nd.DialContext
	}
	return d, nil
}

// newProber makes the prober that the merged probe p asks for.
func newProber(t Target, p ProbeConfig, dial dialFunc) (prober, error) {
	if t.Check != nil {
		return checkProber(t.Check), nil
	}
	d, err := newDoor(t, dial)
	if err != nil {
		return nil, err
	}
	switch p.Type {
	case HTTP:
		return newHTTPProber(d, p)
	case MM1:
		return newMM1Prober(d, p)
	}
	return tcpProber{d}, nil
}

// checkProber asks a function of the same process: the embedded MMSC.
type checkProber func(ctx context.Context) error

func (c checkProber) probe(ctx context.Context) Result {
	if err := c(ctx); err != nil {
		return down("%v", err)
	}
	return Result{Up: true, Why: "answers"}
}

// probeWithin bounds a probe in time; a probe that ran out of it says so.
func probeWithin(ctx context.Context, p prober, timeout time.Duration) Result {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r := p.probe(ctx)
	if !r.Up && ctx.Err() == context.DeadlineExceeded {
		r.Why = words(fmt.Sprintf("no answer within %s: %s", timeout, r.Why))
	}
	return r
}
