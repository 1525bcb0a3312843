package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer bounds what the client takes from a server.
const maxAnswer = 64 << 20

// Client asks the admin API of a router.
type Client struct {
	Base  string // such as http://127.0.0.1:8090
	Token string // empty: none
	HTTP  *http.Client
}

// NewClient checks the address; "127.0.0.1:8090" is short for http.
func NewClient(base, token string) (*Client, error) {
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("admin address %q: want a URL such as http://127.0.0.1:8090", base)
	}
	return &Client{Base: strings.TrimRight(base, "/"), Token: token, HTTP: &http.Client{Timeout: 30 * time.Second}}, nil
}

// Refusal is an answer of the API that is not a success.
type Refusal struct {
	Status int
	Text   string
}

func (r *Refusal) Error() string { return fmt.Sprintf("%s (HTTP %d)", r.Text, r.Status) }

// NotFound tells whether err says that the API knows no such thing.
func NotFound(err error) bool {
	var r *Refusal
	return errors.As(err, &r) && r.Status == http.StatusNotFound
}

// Status asks for the state of the node and of what it knows.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var st Status
	return st, c.Do(ctx, http.MethodGet, "/api/v1/status", "", nil, &st)
}

// Drain takes the MMSCs that a name or pattern matches out of balancing, on all routers.
func (c *Client) Drain(ctx context.Context, mmsc string, why Reason) ([]MMSC, error) {
	var d Drained
	err := c.post(ctx, "/api/v1/mmscs/"+url.PathEscape(mmsc)+"/drain", why, &d)
	return d.all(), err
}

// Undrain gives them their share again.
func (c *Client) Undrain(ctx context.Context, mmsc string, why Reason) ([]MMSC, error) {
	var d Drained
	err := c.post(ctx, "/api/v1/mmscs/"+url.PathEscape(mmsc)+"/undrain", why, &d)
	return d.all(), err
}

// DrainRouter takes the routers that a name or pattern matches out of the DNS answers; they go on serving.
func (c *Client) DrainRouter(ctx context.Context, name string, why Reason) (Status, error) {
	var st Status
	return st, c.post(ctx, "/api/v1/routers/"+url.PathEscape(name)+"/drain", why, &st)
}

// UndrainRouter brings them back.
func (c *Client) UndrainRouter(ctx context.Context, name string, why Reason) (Status, error) {
	var st Status
	return st, c.post(ctx, "/api/v1/routers/"+url.PathEscape(name)+"/undrain", why, &st)
}

// UndrainSelf calls a planned drain of the node itself off.
func (c *Client) UndrainSelf(ctx context.Context) (Status, error) {
	var st Status
	return st, c.post(ctx, "/api/v1/undrain", struct{}{}, &st)
}

// DrainSelf begins or plans (why.In) the drain of the node itself, which ends its process.
func (c *Client) DrainSelf(ctx context.Context, why Reason) (Status, error) {
	var st Status
	return st, c.post(ctx, "/api/v1/drain", why, &st)
}

// Explain asks for the decision on a request described by q.
func (c *Client) Explain(ctx context.Context, q Question) (Explanation, error) {
	var e Explanation
	return e, c.post(ctx, "/api/v1/explain", q, &e)
}

// ExplainPDU asks for the decision on a PDU; q adds method, URL and subscriber.
func (c *Client) ExplainPDU(ctx context.Context, pdu []byte, q Question) (Explanation, error) {
	var e Explanation
	v := url.Values{}
	for k, s := range map[string]string{"method": q.Method, "url": q.URL, "subscriber": q.Subscriber} {
		if s != "" {
			v.Set(k, s)
		}
	}
	if len(pdu) > maxBody {
		pdu = pdu[:maxBody] // the head is all that the decision looks at
	}
	return e, c.Do(ctx, http.MethodPost, "/api/v1/explain?"+v.Encode(), PDUType, pdu, &e)
}

// Fate asks what became of a transaction or message.
func (c *Client) Fate(ctx context.Context, id string) ([]Fate, error) {
	var f []Fate
	return f, c.Do(ctx, http.MethodGet, "/api/v1/fate/"+url.PathEscape(id), "", nil, &f)
}

func (c *Client) post(ctx context.Context, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return c.Do(ctx, http.MethodPost, path, "application/json", b, out)
}

// Do makes one request and decodes a successful answer into out (nil: dropped). Other answers are a
// *Refusal.
func (c *Client) Do(ctx context.Context, method, path, media string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	req.Header.Set("Accept", "application/json")
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return fmt.Errorf("ask the admin API: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.Base, err)
	}
	if resp.StatusCode/100 != 2 {
		var p Problem
		if json.Unmarshal(b, &p) != nil || p.Error == "" {
			p.Error = clip(strings.TrimSpace(string(b)), 200)
		}
		return &Refusal{resp.StatusCode, p.Error}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.Base, err)
	}
	return nil
}
