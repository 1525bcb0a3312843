package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/router"
)

// maxForwardAnswer bounds what is read of an MMSC's answer to a held message.
const maxForwardAnswer = 64 << 10

// message is a held M-Send.req on its way to an MMSC.
type message struct {
	id     string // our Message-ID
	target string // path and query of the client's request
	host   string
	header http.Header
	size   int64
	again  bool // an earlier round may have reached an MMSC
	write  func(context.Context, io.Writer) error
}

// forwarder gives held messages to MMSCs. No client waits, so one attempt follows the other at leisure; what an attempt's end means is
// the table of the design (section 3), as for messages that stream through.
type forwarder struct {
	config  func() *Config
	board   *router.Board
	results *prometheus.CounterVec
	turn    atomic.Uint64
	sides   tlsSides
	trails  trails
}

// The ends of an attempt.
type end uint8

const (
	notReached end = iota // nothing was sent, or not all of it, or it was refused: the next MMSC
	ambiguous             // it may have been committed
	answered              // an M-Send.conf that ends the matter
)

func (e end) String() string { return [...]string{"refused", "ambiguous", "answered"}[e] }

// forwarded is what became of an attempt.
type forwarded struct {
	end    end
	conf   []byte // answered
	err    error  // otherwise
	phase  string // how far it came, in the words of the access log
	octets int64  // of the body, handed to the connection
	status int    // of HTTP; 0: none came
}

// forward tries the MMSCs that pass detection in the order of the decision; the error means that none has answered for good.
func (f *forwarder) forward(ctx context.Context, m *message) (mmsc string, conf []byte, err error) {
	c := f.config()
	head, err := m.head(ctx)
	if err != nil {
		return "", nil, err
	}
	snap := f.board.Load()
	order := f.order(snap, m, &head)
	if len(order) == 0 {
		return "", nil, errors.New("no MMSC passes detection")
	}
	retry := c.MM1.Ambiguous[mms.MSendReq.String()] != "fail"
	attempt, doubtful := f.trails.before(m)
	try := func(up *MMSCConfig) forwarded {
		attempt++
		mark := 0
		if doubtful {
			mark = attempt
		}
		began := time.Now()
		got := f.attempt(ctx, c, up, m, &head, mark)
		doubtful = doubtful || got.end == ambiguous
		f.results.WithLabelValues(got.end.String()).Inc()
		f.trails.add(m.id, doubtful, got.told(up.Name, time.Since(began)))
		return got
	}
	var all []error
	for len(order) > 0 {
		up := c.mmscNamed(order[0])
		if up == nil {
			order = order[1:] // a reload has just removed it
			continue
		}
		got := try(up)
		switch {
		case got.end == answered:
			return up.Name, got.conf, nil
		case got.end == ambiguous && !retry:
			return up.Name, head.sendConf(mms.StatusPermanentFailure, "the MMSC's answer got lost: the message may or may not have been accepted"), nil
		case got.end == ambiguous && f.passesWithin(ctx, up.Name, c.MM1.AmbiguousWait):
			// the same MMSC first: it may know the transaction id
			if got = try(up); got.end == answered {
				return up.Name, got.conf, nil
			}
		}
		all = append(all, fmt.Errorf("%s: %w", up.Name, got.err))
		if ctx.Err() != nil {
			break
		}
		order = order[1:]
	}
	return "", nil, errors.Join(all...)
}

// order is the decision's, without the embedded MMSC, which has the message already.
func (f *forwarder) order(snap *router.Snapshot, m *message, head *pduHead) []string {
	req := router.Request{PDU: mms.MSendReq, Sender: head.sender, Recipients: head.recipients}
	req.Host, _, _ = strings.Cut(m.host, ":")
	req.Path, req.Query, _ = strings.Cut(m.target, "?")
	var d router.Decision
	router.Decide(&d, snap, &req, router.Load{Turn: f.turn.Add(1)})
	var names []string
	for _, i := range d.Order {
		if !snap.MMSCs[i].Local {
			names = append(names, snap.MMSCs[i].Name)
		}
	}
	return names
}

// passesWithin waits until an MMSC passes detection, at most for d.
func (f *forwarder) passesWithin(ctx context.Context, name string, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if s := f.board.Load(); s.Index(name) >= 0 && s.MMSCs[s.Index(name)].Qualifies() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// attempt posts the message once, on a connection of its own; mark is the number for X-Mmsrouter-Attempt, 0: none.
func (f *forwarder) attempt(ctx context.Context, c *Config, up *MMSCConfig, m *message, head *pduHead, mark int) (got forwarded) {
	tc, err := f.sides.of(up)
	if err != nil {
		return forwarded{err: err}
	}
	body, stop := m.body(ctx)
	defer stop()
	got.phase = "connect"
	defer func() { got.octets = body.read.Load() }()
	req, err := up.request(ctx, m, body, c.Node.Name, mark)
	if err != nil {
		return forwarded{err: err}
	}
	var sent atomic.Bool // a connection was there
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }}))
	tr := up.transport(c, tc)
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	switch {
	case err == nil:
	case sent.Load() && body.whole.Load():
		return forwarded{end: ambiguous, err: err, phase: "ambiguous"}
	case sent.Load():
		return forwarded{err: err, phase: "body"}
	default:
		return forwarded{err: err, phase: "connect"}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxForwardAnswer))
	got = judge(resp.StatusCode, answer, err, head)
	got.status, got.phase = resp.StatusCode, got.end.String()
	return got
}

// judge is the table for an answer that has begun.
func judge(status int, answer []byte, broken error, head *pduHead) forwarded {
	var h mms.Head
	conf := broken == nil && h.Peek(answer, true) == mms.Complete && h.Type == mms.MSendConf && h.HasResponse && string(h.TransactionID) == head.transaction
	said := fmt.Errorf("HTTP %d", status)
	switch {
	case conf && mms.ResponseClass(h.Response) == mms.Transient:
		return forwarded{err: errors.New(h.Response.String())}
	case conf && status == http.StatusOK:
		return forwarded{end: answered, conf: answer}
	case slices.Contains([]int{401, 403, 404, 405, 407, 408, 421, 425, 429, 501, 503}, status):
		return forwarded{err: said}
	case status/100 == 4:
		return forwarded{end: answered, conf: head.sendConf(mms.StatusPermanentFailure, said.Error())}
	case broken != nil:
		return forwarded{end: ambiguous, err: fmt.Errorf("%w, then: %w", said, broken)}
	}
	return forwarded{end: ambiguous, err: fmt.Errorf("%w without an M-Send.conf of this transaction", said)}
}

// request is what the proxy would send for the client.
func (m *MMSCConfig) request(ctx context.Context, msg *message, body io.Reader, node string, mark int) (*http.Request, error) {
	u, err := url.Parse(m.URL)
	if err != nil {
		return nil, err
	}
	if u.Path == "" || u.Path == "/" {
		t, err := url.ParseRequestURI(msg.target)
		if err != nil {
			return nil, err
		}
		u.Path, u.RawPath, u.RawQuery = t.Path, t.RawPath, t.RawQuery
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), body)
	if err != nil {
		return nil, err
	}
	if msg.header != nil {
		req.Header = msg.header.Clone()
	}
	req.ContentLength = msg.size
	if req.Host = msg.host; m.Host != "" {
		req.Host = m.Host
	}
	req.Header.Del("Expect")
	req.Header.Del("Content-Length")
	if req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", admin.PDUType)
	}
	req.Header.Set("Via", strings.Join(append(req.Header.Values("Via"), "1.1 "+node), ", "))
	if req.Header.Values("User-Agent") == nil {
		req.Header.Set("User-Agent", "") // none of the library's: the handset said nothing
	}
	if mark > 0 {
		req.Header.Set("X-Mmsrouter-Attempt", strconv.Itoa(mark))
	}
	return req, nil
}

func (m *MMSCConfig) transport(c *Config, tc *tls.Config) *http.Transport {
	d := net.Dialer{Timeout: c.MM1.Timeouts.Connect}
	if m.SourceAddress != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(m.SourceAddress)}
	}
	return &http.Transport{DialContext: d.DialContext, TLSClientConfig: tc, TLSHandshakeTimeout: c.MM1.Timeouts.Connect, DisableKeepAlives: true,
		DisableCompression: true, ResponseHeaderTimeout: c.MM1.Timeouts.Answer, MaxResponseHeaderBytes: int64(c.MM1.Limits.Header)}
}

func (c *Config) mmscNamed(name string) *MMSCConfig {
	for i := range c.MMSCs {
		if c.MMSCs[i].Name == name {
			return &c.MMSCs[i]
		}
	}
	return nil
}
