package push

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/carrier"
)

// hook is the carrier http: each push is posted as JSON to somebody who has a way to handsets.
type hook struct {
	p      *Pusher
	cfg    HTTPConfig
	client *outgoing.Client
}

// Posted is what a hook gets.
type Posted struct {
	ID        string    `json:"id"`             // the same when it is tried again
	PDU       string    `json:"pdu"`            // name of the PDU, such as m-notification-ind
	To        string    `json:"to"`             // number or IP address
	Message   string    `json:"message"`        // Message-ID
	Location  string    `json:"location"`       // of a notification
	ExpiresAt time.Time `json:"expires_at"`     // no use after it
	Octets    []byte    `json:"octets"`         // the PDU itself, base64
	Push      []byte    `json:"push"`           // the WSP push around it, base64
	SMS       []string  `json:"sms,omitempty"`  // user data with its header of each short message, hex; for numbers only
	Coding    int       `json:"data_coding"`    // of those
	Port      int       `json:"datagrams_port"` // for who sends the push as a datagram
}

func newHook(p *Pusher, k *CarrierConfig, at string) (*hook, error) {
	tc, err := authorities(k.HTTP.CA)
	if err != nil {
		return nil, fmt.Errorf("%s.http.ca: %w", at, err)
	}
	return &hook{p: p, cfg: k.HTTP, client: p.guard.Client(outgoing.ClientOptions{Timeout: k.HTTP.Timeout, TLS: tc, Reach: outgoing.Anywhere})}, nil
}

func (h *hook) run(ctx context.Context) error {
	<-ctx.Done()
	h.client.Release()
	return nil
}

func (h *hook) takes(c *parcel) bool { return c.number != "" || c.ip.IsValid() }

func (h *hook) send(ctx context.Context, c *parcel) error {
	p := Posted{ID: c.ID, PDU: c.Kind.String(), To: c.to(), Message: c.Message, Location: c.Location, ExpiresAt: c.ExpiresAt.UTC(),
		Octets: c.PDU, Push: wappush.AppendMMS(nil, c.tid, c.PDU), Coding: 0xF5, Port: wappush.PortPush}
	if c.number != "" {
		p.Push = h.p.fit(c)
		p.Octets = p.Push[wappush.Overhead:]
		segments, err := wappush.Segmentation{Reference: uint16(c.tid), MaxSegments: h.p.cfg.MaxSegments}.Segment(p.Push)
		if err != nil {
			return carrier.Refused("%w", err)
		}
		for _, s := range segments {
			p.SMS = append(p.SMS, hex.EncodeToString(s))
		}
	}
	body, err := json.Marshal(&p)
	if err != nil {
		return carrier.Refused("%w", err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if h.cfg.Token != "" {
		header.Set("Authorization", "Bearer "+h.cfg.Token)
	}
	resp, err := h.client.Do(ctx, outgoing.Request{Method: http.MethodPost, URL: h.cfg.URL, Header: header, Body: body, MaxBody: maxAnswer, StatusOnly: true})
	var bad *outgoing.Error
	if errors.As(err, &bad) && bad.Kind == outgoing.Redirected {
		return carrier.Later(time.Minute, "hook: %w", err) // about our configuration, not about this message
	}
	if err != nil {
		return carrier.Unclear("hook: %w", err)
	}
	switch code := resp.Status; {
	case code/100 == 2:
		return nil
	case code == http.StatusBadRequest, code == http.StatusNotFound, code == http.StatusGone, code == http.StatusUnprocessableEntity:
		return carrier.Refused("hook: HTTP status %d", code)
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable:
		return carrier.Later(resp.RetryAfter(), "hook: HTTP status %d", code)
	case code >= 500:
		return carrier.Unclear("hook: HTTP status %d", code)
	default:
		return carrier.Later(time.Minute, "hook: HTTP status %d", code) // about our configuration, not about this message
	}
}
