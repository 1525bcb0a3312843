package push

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mms/smpp"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/carrier"
)

// gateway is the carrier pap: a client of a push proxy gateway (WAP-247-PAP).
type gateway struct {
	p      *Pusher
	name   string
	cfg    PAPConfig
	host   string
	client *outgoing.Client

	mu      sync.Mutex
	started map[string]string // push ids whose outcome nobody knows, by ID of the delivery.Push: tried again under the same
	pushed  map[string]Outcome
	older   map[string]Outcome
}

const (
	gatewayMemory = 10_000
	maxAnswer     = 256 << 10
)

func newPAP(p *Pusher, k *CarrierConfig, at string) (*gateway, error) {
	u, err := outgoing.URL(k.PAP.URL)
	if err != nil {
		return nil, fmt.Errorf("%s.pap.url: %w", at, err)
	}
	tc, err := authorities(k.PAP.CA)
	if err != nil {
		return nil, fmt.Errorf("%s.pap.ca: %w", at, err)
	}
	g := &gateway{p: p, name: k.Name, cfg: k.PAP, host: k.PAP.Host, started: map[string]string{}, pushed: map[string]Outcome{},
		client: p.guard.Client(outgoing.ClientOptions{Timeout: k.PAP.Timeout, TLS: tc, MaxBody: maxAnswer, Reach: outgoing.Anywhere})}
	if g.host == "" {
		g.host = u.Hostname()
	}
	return g, nil
}

// authorities reads a PEM file; "" gives the system's.
func authorities(file string) (*tls.Config, error) {
	tc := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return tc, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	tc.RootCAs = x509.NewCertPool()
	if !tc.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return tc, nil
}

func (g *gateway) run(ctx context.Context) error {
	<-ctx.Done()
	g.client.Release()
	return nil
}

func (g *gateway) takes(c *parcel) bool { return c.number != "" || c.ip.IsValid() }

// pushID gives an id for this attempt: a new one each time, since a notification may be pushed again after hours; but the same as the
// last one if nobody knows what became of that: a gateway that has it says so with 2007.
func (g *gateway) pushID(id string) (pushID string, again bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if pushID, ok := g.started[id]; ok {
		return pushID, true
	}
	if len(g.started) > gatewayMemory {
		clear(g.started)
	}
	pushID = fmt.Sprintf("%s-%x@%s", id, time.Now().UnixMicro(), g.p.host)
	g.started[id] = pushID
	return pushID, false
}

// ended notes that the outcome of an attempt is known.
func (g *gateway) ended(c *parcel, pushID string, taken bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.started, c.ID)
	if !taken || g.cfg.NotifyURL == "" {
		return
	}
	if len(g.pushed) >= gatewayMemory {
		g.older, g.pushed = g.pushed, map[string]Outcome{}
	}
	g.pushed[pushID] = Outcome{ID: c.ID, To: c.To, Carrier: g.name}
}

func (g *gateway) send(ctx context.Context, c *parcel) error {
	id, again := g.pushID(c.ID)
	code, err := g.post(ctx, c, id)
	switch {
	case carrier.IsUnknown(err):
		return err
	case err == nil && (code.Success() || again && code == pap.DuplicatePushID):
		g.ended(c, id, true)
		return nil
	}
	g.ended(c, id, false)
	switch {
	case err != nil:
		return err
	case code.Again():
		return carrier.Later(0, "gateway: %d %s", code, code)
	}
	return carrier.Refused("gateway: %d %s", code, code)
}

// body makes the HTTP body of a push.
func (g *gateway) body(c *parcel, id string) (contentType string, body []byte) {
	to := pap.ClientAddress{Kind: pap.PLMN, Value: c.number, Host: g.host}
	if c.number == "" {
		to.Kind, to.Value = pap.IPv4, c.ip.String()
		if c.ip.Is6() {
			to.Kind = pap.IPv6
		}
	}
	m := &pap.PushMessage{PushID: id, DeliverBefore: c.ExpiresAt, SourceReference: g.cfg.Source, NotifyTo: g.cfg.NotifyURL, Addresses: []pap.Address{{Value: to.String()}}}
	if c.number != "" {
		m.Quality = &pap.QualityOfService{DeliveryMethod: g.cfg.DeliveryMethod, Network: g.cfg.Network, Bearer: g.cfg.Bearer}
	}
	pdu := c.PDU
	if c.number != "" {
		if short, changed := squeeze(pdu, room(g.p.cfg.Segments)-wappush.Overhead); changed {
			g.p.met.squeezed.Inc()
			pdu = short
		}
	}
	q := pap.Request{Control: (&pap.Document{Version: pap.Version(g.cfg.Version), Product: "mmsrouter", Message: m}).Encode(),
		Content: &pap.Entity{Header: textproto.MIMEHeader{"Content-Type": {wsp.MMSMessage}, "X-Wap-Application-Id": {wappush.MMSApplication}}, Body: pdu}}
	return q.Encode()
}

// post sends a push and gives the gateway's result code.
func (g *gateway) post(ctx context.Context, c *parcel, id string) (pap.Code, error) {
	contentType, body := g.body(c, id)
	header := http.Header{"Content-Type": {contentType}} // some gateways copy what they get into the push: keep it short
	if g.cfg.User != "" {
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(g.cfg.User+":"+g.cfg.Password)))
	}
	resp, err := g.client.Do(ctx, outgoing.Request{Method: http.MethodPost, URL: g.cfg.URL, Header: header, Body: body})
	var bad *outgoing.Error
	switch {
	case errors.As(err, &bad) && bad.Kind == outgoing.Redirected:
		return 0, g.misled(bad)
	case err != nil:
		return 0, carrier.Unclear("gateway: %w", err)
	case resp.Status == http.StatusServiceUnavailable || resp.Status == http.StatusTooManyRequests:
		return 0, carrier.Later(resp.RetryAfter(), "gateway: HTTP status %d", resp.Status)
	case resp.Status >= 500:
		return 0, carrier.Unclear("gateway: HTTP status %d", resp.Status)
	case resp.Status/100 != 2:
		return 0, g.misled(fmt.Errorf("HTTP status %d", resp.Status))
	}
	return responseCode(resp.Header.Get("Content-Type"), resp.Body)
}

// misled is an answer that is about us and our configuration, not about this message: an operator has to look.
func (g *gateway) misled(err error) error {
	g.p.log.Warn("the push proxy gateway does not take our requests", "carrier", g.name, "err", err)
	return carrier.Later(time.Minute, "gateway: %w", err)
}

// responseCode reads the gateway's answer. One that can't be read leaves open what became of the push.
func responseCode(contentType string, answer []byte) (pap.Code, error) {
	q, err := pap.ReadRequest(contentType, answer)
	if err != nil {
		q = &pap.Request{Control: answer} // some name no type
	}
	d, err := pap.Decode(q.Control, pap.Limits{Octets: maxAnswer})
	if err != nil {
		return 0, carrier.Unclear("gateway's answer: %w", err)
	}
	switch m := d.Message.(type) {
	case *pap.PushResponse:
		return m.Code, nil
	case *pap.BadMessage:
		return m.Code, nil
	}
	return 0, carrier.Unclear("gateway answered with %s", d.Message.Element())
}

// states gives what a message-state means in the words of receipts.
var states = map[pap.State]smpp.State{pap.Delivered: smpp.Delivered, pap.Pending: smpp.Enroute, pap.Expired: smpp.Expired, pap.TimedOut: smpp.Expired,
	pap.Undeliverable: smpp.Undeliverable, pap.Aborted: smpp.Undeliverable, pap.Rejected: smpp.Rejected, pap.Cancelled: smpp.Deleted}

// result notes what a gateway tells about a push; false if it is none of ours.
func (g *gateway) result(m *pap.ResultNotification) bool {
	g.mu.Lock()
	o, ok := g.pushed[m.PushID]
	if !ok {
		o, ok = g.older[m.PushID]
	}
	g.mu.Unlock()
	if !ok {
		return false
	}
	o.State, o.Error = states[m.State], fmt.Sprintf("%d", int(m.Code))
	g.p.tell(o)
	return true
}

// Results serves the address of notify_url: result notifications of gateways.
func (p *Pusher) Results() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "POST a PAP resultnotification-message", http.StatusMethodNotAllowed)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAnswer))
		if err != nil {
			http.Error(w, "the request is too large or cut", http.StatusRequestEntityTooLarge)
			return
		}
		q, err := pap.ReadRequest(r.Header.Get("Content-Type"), body)
		var d *pap.Document
		if err == nil {
			d, err = pap.Decode(q.Control, pap.Limits{Octets: maxAnswer})
		}
		var answer pap.Message = &pap.BadMessage{Code: pap.BadRequest, Description: "want a resultnotification-message"}
		if err != nil {
			answer = &pap.BadMessage{Code: pap.BadRequest, Description: err.Error()}
		} else if m, ok := d.Message.(*pap.ResultNotification); ok {
			answer = p.noteResult(m)
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write((&pap.Document{Product: "mmsrouter", Message: answer}).Encode()) // who went away comes again
	})
}

func (p *Pusher) noteResult(m *pap.ResultNotification) pap.Message {
	answer := &pap.ResultNotificationResponse{PushID: m.PushID, Code: pap.OK, Address: m.Address}
	for _, c := range p.carriers {
		if g, ok := c.(*gateway); ok && g.result(m) {
			return answer
		}
	}
	p.log.Debug("result of a push that nobody here remembers", "to", mms.Mask(m.Address.Value))
	answer.Code = pap.PushIDNotFound
	return answer
}
