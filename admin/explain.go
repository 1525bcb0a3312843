package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/router"
)

// PDUType is the media type under which explain takes a PDU's octets.
const PDUType = "application/vnd.wap.mms-message"

// Question is what explain is asked: a request as the MM1 door would see it. All fields may be empty.
type Question struct {
	Method        string   `json:"method,omitempty"` // GET or POST (default)
	URL           string   `json:"url,omitempty"`    // host, path and query of the request
	PDU           string   `json:"pdu,omitempty"`    // such as m-send-req (the default of a POST)
	Subscriber    string   `json:"subscriber,omitempty"`
	Sender        string   `json:"sender,omitempty"`
	Recipients    []string `json:"recipients,omitempty"`
	Location      string   `json:"content_location,omitempty"`
	MessageID     string   `json:"message_id,omitempty"`
	TransactionID string   `json:"transaction_id,omitempty"`
}

// Explanation is the decision for a question, with its reasons.
type Explanation struct {
	Kind    string   `json:"kind"` // any, owner, search or all
	Order   []string `json:"order"`
	Missing []string `json:"missing,omitempty"` // might hold the message but do not pass detection
	Rule    string   `json:"rule,omitempty"`
	Key     string   `json:"key,omitempty"`
	Why     []string `json:"why"`
	Request Question `json:"request"` // as it was understood
}

// explain answers with the decision that the MM1 door would make now. The body is JSON (Question), or a
// PDU with the other fields in the query.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		writeError(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("read the request: %v (the first %d octets of a PDU are enough)", err, maxBody))
		return
	}
	var q Question
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // an unreadable type is treated as none
	if media == PDUType {
		v := r.URL.Query()
		q = Question{Method: v.Get("method"), URL: v.Get("url"), Subscriber: v.Get("subscriber")}
		q.read(b)
	} else if err := json.Unmarshal(b, &q); err != nil {
		writeError(w, http.StatusBadRequest, fmt.Sprintf("want a question as JSON, or a PDU as %s: %v", PDUType, err))
		return
	}
	e, err := Explain(s.o.Board.Load(), q, s.o.Traffic)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, e)
}

// hostJudge is a Traffic that knows which hosts the MM1 door takes requests for.
type hostJudge interface{ Ours(host string) bool }

// hostOf gives the authority of a URL that has been parsed before.
func hostOf(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Host
}

// read fills the question from a PDU's head.
func (q *Question) read(pdu []byte) {
	var h mms.Head
	if h.Peek(pdu, true) == mms.Garbage && h.Type == 0 {
		q.PDU = "unknown"
		return
	}
	q.PDU = h.Type.String()
	q.TransactionID, q.MessageID, q.Location = string(h.TransactionID), string(h.MessageID), string(h.ContentLocation)
	if n := mms.Number(h.From); n != "" {
		q.Sender = n
	}
	for _, to := range h.Addresses() {
		if n := mms.Number(to); n != "" {
			q.Recipients = append(q.Recipients, n)
		}
	}
}

// Explain makes the decision for a question against a snapshot; t may be nil.
func Explain(snap *router.Snapshot, q Question, t Traffic) (Explanation, error) {
	get := strings.EqualFold(q.Method, http.MethodGet) || strings.EqualFold(q.PDU, "get")
	if !get && q.PDU == "" {
		q.PDU = mms.MSendReq.String()
	}
	req := router.Request{Get: get, Subscriber: q.Subscriber, Sender: q.Sender, Recipients: q.Recipients,
		Location: q.Location, MessageID: q.MessageID}
	if !get && q.PDU != "unknown" {
		p, err := mms.ParseType(strings.ToLower(q.PDU))
		if err != nil {
			return Explanation{}, fmt.Errorf("pdu: %w", err)
		}
		req.PDU = p
	}
	if q.URL != "" {
		u, err := url.Parse(q.URL)
		if err != nil {
			return Explanation{}, fmt.Errorf("url: %w", err)
		}
		req.Host, req.Path, req.Query = u.Hostname(), u.Path, u.RawQuery
	}
	if d, ok := t.(hostJudge); ok && q.URL != "" && !d.Ours(hostOf(q.URL)) {
		return Explanation{Kind: "refused", Order: []string{}, Why: []string{"not a host of this router: 403 (our zones, our addresses, mm1.hosts and listed peers are)"}, Request: q}, nil
	}
	load := router.Load{}
	if t != nil {
		load.Outstanding = func(i int) int { return t.Outstanding(snap.MMSCs[i].Name) }
		req.Learned = t.Learned(req.Host, req.Path, q.Subscriber, q.TransactionID, q.MessageID)
	}
	d := router.Decision{Explain: true}
	router.Decide(&d, snap, &req, load)
	e := Explanation{Kind: d.Kind.String(), Order: names(snap, d.Order), Missing: names(snap, d.Missing), Rule: d.Rule, Key: d.Key, Why: d.Why, Request: q}
	if len(d.Order) == 0 {
		e.Why = append(e.Why, "nobody can take it now")
	}
	return e, nil
}

func names(snap *router.Snapshot, order []int) []string {
	out := make([]string, 0, len(order))
	for _, i := range order {
		out = append(out, snap.MMSCs[i].Name)
	}
	return out
}
