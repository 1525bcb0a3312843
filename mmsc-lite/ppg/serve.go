package ppg

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/pap"
)

// everybody is the initiator where none is configured.
var everybody = InitiatorConfig{Name: "local"}

// request is one request of an initiator.
type request struct {
	ctx       context.Context
	initiator *InitiatorConfig
	remote    netip.Addr
	doc       *pap.Document
	parts     *pap.Request
	received  time.Time
}

// answer is what a request gets: a document, and for a capability query the capabilities.
type answer struct {
	message      pap.Message
	code         pap.Code // for metrics
	capabilities *pap.Entity
}

// Handler serves push initiators. Whatever could be read as PAP is answered with 202 and a PAP document; other statuses mean that nothing
// was processed.
func (p *PPG) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status := p.serve(w, r); status != http.StatusAccepted {
			p.met.requests.WithLabelValues("http", http.StatusText(status)).Inc()
		}
	})
}

func (p *PPG) serve(w http.ResponseWriter, r *http.Request) int {
	refuse := func(status int, text string) int {
		http.Error(w, text, status)
		return status
	}
	if p.cfg.Path != "" && r.URL.Path != p.cfg.Path {
		return refuse(http.StatusNotFound, "PAP is spoken at "+p.cfg.Path)
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return refuse(http.StatusMethodNotAllowed, "POST a PAP request")
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return refuse(http.StatusForbidden, "no address")
	}
	initiator, status := p.identify(r, remote.Addr().Unmap())
	if initiator == nil {
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="push proxy gateway", charset="UTF-8"`)
		}
		p.log.Info("push initiator refused", "remote", remote.Addr().String(), "status", status)
		return refuse(status, http.StatusText(status))
	}
	select {
	case p.requests <- struct{}{}:
		defer func() { <-p.requests }()
	default:
		w.Header().Set("Retry-After", "1")
		return refuse(http.StatusServiceUnavailable, "too many requests at once (ppg.max_requests)")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(p.cfg.MaxRequest)))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return refuse(http.StatusRequestEntityTooLarge, "the request is too large (ppg.max_request)")
		}
		return refuse(http.StatusBadRequest, "the request is cut")
	}
	q := &request{ctx: r.Context(), initiator: initiator, remote: remote.Addr().Unmap(), received: time.Now()}
	p.write(w, q, p.answer(q, r.Header.Get("Content-Type"), body))
	return http.StatusAccepted
}

// write sends a PAP document in the version of the request.
func (p *PPG) write(w http.ResponseWriter, q *request, a answer) {
	version, element := pap.Version20, "unreadable"
	if q.doc != nil {
		version, element = q.doc.Version, q.doc.Message.Element()
	}
	p.met.requests.WithLabelValues(element, codeLabel(a.code)).Inc()
	out := pap.Request{Control: (&pap.Document{Version: version, Product: "mmsrouter", Message: a.message}).Encode(), Capabilities: a.capabilities}
	contentType, body := out.Encode()
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write(body) // who went away can ask for the status
}

// identify finds the initiator of a request; nil: the status says why there is none.
func (p *PPG) identify(r *http.Request, remote netip.Addr) (*InitiatorConfig, int) {
	if len(p.cfg.Initiators) == 0 {
		return &everybody, 0
	}
	user, password, basic := r.BasicAuth()
	status := http.StatusForbidden
	for i := range p.cfg.Initiators {
		c := &p.cfg.Initiators[i]
		if !inNetworks(c.Networks, remote) {
			continue
		}
		if c.User == "" {
			return c, 0
		}
		status = http.StatusUnauthorized // with a password this could be the one
		if basic && same(user, c.User) && same(password, c.Password) {
			return c, 0
		}
	}
	return nil, status
}

// same compares without telling by its time where two strings differ.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func inNetworks(list []netip.Prefix, ip netip.Addr) bool {
	for _, n := range list {
		if n.Contains(ip) {
			return true
		}
	}
	return len(list) == 0
}

// answer reads a request and does what it asks for.
func (p *PPG) answer(q *request, contentType string, body []byte) answer {
	var err error
	if q.parts, err = pap.ReadRequest(contentType, body); err == nil {
		q.doc, err = pap.Decode(q.parts.Control, pap.Limits{Octets: int(p.cfg.MaxRequest), Addresses: p.cfg.MaxAddresses})
	}
	var fault *pap.Error
	if errors.As(err, &fault) {
		return answer{message: &pap.BadMessage{Code: fault.Code, Description: fault.Text, Fragment: fault.Fragment}, code: fault.Code}
	}
	switch m := q.doc.Message.(type) {
	case *pap.PushMessage:
		return p.push(q, m)
	case *pap.CancelMessage:
		return p.cancel(q, m)
	case *pap.StatusQuery:
		return p.status(q, m)
	case *pap.CapabilityQuery:
		return p.capability(m)
	}
	text := q.doc.Message.Element() + " is nothing that a push proxy gateway is asked"
	return answer{message: &pap.BadMessage{Code: pap.BadRequest, Description: text}, code: pap.BadRequest}
}

// capability answers a client capability query with what the configuration knows.
func (p *PPG) capability(m *pap.CapabilityQuery) answer {
	r := &pap.CapabilityResponse{QueryID: m.QueryID, Address: m.Address, Code: pap.OK}
	a, err := pap.ParseAddress(m.Address.Value)
	var fault *pap.Error
	if errors.As(err, &fault) {
		r.Code, r.Description = fault.Code, fault.Text
		return answer{message: r, code: r.Code}
	}
	best, found := "", false
	for prefix := range p.capabilities {
		if strings.HasPrefix(a.Value, prefix) && (!found || len(prefix) > len(best)) {
			best, found = prefix, true
		}
	}
	if !found {
		r.Code = pap.CapabilitiesNotAvailable
		return answer{message: r, code: r.Code}
	}
	e := &pap.Entity{Header: map[string][]string{"Content-Type": {"application/xml"}}, Body: p.capabilities[best]}
	return answer{message: r, code: r.Code, capabilities: e}
}
