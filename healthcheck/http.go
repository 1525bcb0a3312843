package healthcheck

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
)

// exchange posts or gets once over a connection of its own: no redirect is followed, no proxy of the
// environment used, no more than maxAnswer octets of headers and of body are read.
type exchange struct {
	door      *door
	transport *http.Transport
	url       url.URL
	host      string
	header    http.Header
}

func newExchange(d *door, p ProbeConfig) (*exchange, error) {
	e := &exchange{door: d, url: *d.url, host: d.host, header: http.Header{"User-Agent": {"mmsrouter-healthcheck"}}}
	e.url.User, e.url.Fragment = nil, ""
	if p.Path != "" {
		at, err := url.Parse(p.Path)
		if err != nil {
			return nil, fmt.Errorf("probe.path: %w", err)
		}
		e.url.Path, e.url.RawPath, e.url.RawQuery = at.Path, at.RawPath, at.RawQuery
	}
	if e.url.Path == "" {
		e.url.Path = "/"
	}
	if p.Host != "" {
		e.host = p.Host
	}
	for name, value := range p.Headers {
		e.header.Set(name, value)
	}
	e.transport = &http.Transport{
		DialContext:            d.dial,
		TLSClientConfig:        d.tls,
		DisableKeepAlives:      true, // each probe shows that a new connection works
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxAnswer,
	}
	return e, nil
}

// do gives the status and at most maxAnswer octets of the body; whole is false if there was more.
func (e *exchange) do(ctx context.Context, method string, contentType string, body []byte) (status int, answer []byte, whole bool, err error) {
	u := e.url
	req := (&http.Request{Method: method, URL: &u, Host: e.host, Header: e.header.Clone(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	if body != nil {
		req.Body = io.NopCloser(bytes.NewReader(body))
		req.ContentLength = int64(len(body))
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := e.transport.RoundTrip(req)
	if err != nil {
		return 0, nil, false, err
	}
	defer resp.Body.Close() // read as far as it matters
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if len(answer) > maxAnswer {
		return resp.StatusCode, answer[:maxAnswer], false, nil
	}
	return resp.StatusCode, answer, true, err
}

// httpProber finds an MMSC up whose answer has an expected status and, if asked for, an expected body.
type httpProber struct {
	*exchange
	method string
	status StatusSet
	body   *regexp.Regexp // nil: any
}

func newHTTPProber(d *door, p ProbeConfig) (*httpProber, error) {
	e, err := newExchange(d, p)
	if err != nil {
		return nil, err
	}
	h := &httpProber{exchange: e, method: p.Method, status: p.Status}
	if p.Body != "" {
		if h.body, err = regexp.Compile(p.Body); err != nil {
			return nil, fmt.Errorf("probe.body: %w", err)
		}
	}
	return h, nil
}

func (p *httpProber) probe(ctx context.Context) Result {
	var empty []byte
	if p.method == http.MethodPost {
		empty = []byte{}
	}
	status, answer, _, err := p.do(ctx, p.method, "application/octet-stream", empty)
	switch {
	case status != 0 && !p.status.Contains(status):
		return down("answers HTTP %d, want %s", status, p.status)
	case err != nil && status == 0:
		return down("%v", err)
	case err != nil:
		return down("answers HTTP %d and breaks off: %v", status, err)
	case p.body != nil && !p.body.Match(answer):
		return down("answers HTTP %d, but its body does not match %q", status, p.body)
	}
	return Result{Up: true, Why: fmt.Sprintf("answers HTTP %d", status)}
}
