package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Messages is what the embedded MMSC tells and does about its messages. An id is a Message-ID.
type Messages interface {
	List(ctx context.Context, f MessageFilter) ([]Message, error)
	Show(ctx context.Context, id string) (Message, error)
	Requeue(ctx context.Context, id string) (int, error) // recipients whose delivery begins again
	Cancel(ctx context.Context, id string) (int, error)  // recipients that were still open
}

// ErrNoMessage says that nothing is known of a message; ErrFilter that a filter can't be understood.
var (
	ErrNoMessage = errors.New("no such message, or it is older than what is kept")
	ErrFilter    = errors.New("filter")
)

// maxMessages bounds a list.
const maxMessages = 1000

// MessageFilter chooses messages; what is empty chooses all.
type MessageFilter struct {
	Number string    // of sender or a recipient
	State  string    // of at least one recipient
	After  time.Time // accepted later than this
	Before time.Time
	Limit  int // the newest; 0: 100
}

// Message is a message of the embedded MMSC.
type Message struct {
	ID         string         `json:"id"`
	Origin     string         `json:"origin"`
	Created    time.Time      `json:"created"`
	Expires    time.Time      `json:"expires"`
	Sender     string         `json:"sender"`
	Subject    string         `json:"subject,omitempty"`
	Class      string         `json:"class,omitempty"`
	Size       int64          `json:"size"`
	Purged     bool           `json:"purged,omitempty"` // the content is gone, the timeline stays
	Recipients []Recipient    `json:"recipients"`
	Timeline   []MessageEvent `json:"timeline,omitempty"` // of one that is shown
}

// Recipient is what became of a message for one recipient.
type Recipient struct {
	Kind      string    `json:"kind"` // to, cc or bcc
	Address   string    `json:"address"`
	State     string    `json:"state"`
	Attempts  int       `json:"attempts"`
	Due       time.Time `json:"due,omitzero"`
	Fetched   time.Time `json:"fetched,omitzero"`
	Final     time.Time `json:"final,omitzero"`
	LastError string    `json:"last_error,omitempty"`
}

// MessageEvent is a line of a message's timeline.
type MessageEvent struct {
	Time      time.Time `json:"time"`
	Recipient string    `json:"recipient,omitempty"` // empty: the message as a whole
	Event     string    `json:"event"`
	Detail    string    `json:"detail,omitempty"`
}

// Changed is the answer of requeue and cancel.
type Changed struct {
	ID         string `json:"id"`
	Recipients int    `json:"recipients"`
}

func (f *MessageFilter) query() url.Values {
	v := url.Values{}
	set := func(k, s string) {
		if s != "" {
			v.Set(k, s)
		}
	}
	set("number", f.Number)
	set("state", f.State)
	if !f.After.IsZero() {
		set("after", f.After.Format(time.RFC3339))
	}
	if !f.Before.IsZero() {
		set("before", f.Before.Format(time.RFC3339))
	}
	if f.Limit > 0 {
		set("limit", strconv.Itoa(f.Limit))
	}
	return v
}

func readFilter(v url.Values) (f MessageFilter, err error) {
	f.Number, f.State = v.Get("number"), v.Get("state")
	for k, at := range map[string]*time.Time{"after": &f.After, "before": &f.Before} {
		if s := v.Get(k); s != "" {
			if *at, err = time.Parse(time.RFC3339, s); err != nil {
				return f, errors.New(k + ": want a time such as 2026-01-31T12:00:00Z")
			}
		}
	}
	f.Limit = 100
	if s := v.Get("limit"); s != "" {
		if f.Limit, err = strconv.Atoi(s); err != nil || f.Limit < 1 || f.Limit > maxMessages {
			return f, errors.New("limit: want 1 to " + strconv.Itoa(maxMessages))
		}
	}
	return f, nil
}

func (s *Server) messages(door func(string, string, http.HandlerFunc)) {
	door("GET /api/v1/messages", "messages", func(w http.ResponseWriter, r *http.Request) {
		f, err := readFilter(r.URL.Query())
		if err != nil {
			writeError(w, http.StatusBadRequest, err.Error())
			return
		}
		list, err := s.o.Messages.List(r.Context(), f)
		if list == nil {
			list = []Message{}
		}
		s.answer(w, list, err)
	})
	door("GET /api/v1/messages/{id}", "messages", func(w http.ResponseWriter, r *http.Request) {
		m, err := s.o.Messages.Show(r.Context(), r.PathValue("id"))
		s.answer(w, m, err)
	})
	change := func(do func(context.Context, string) (int, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			id := r.PathValue("id")
			n, err := do(r.Context(), id)
			if err == nil {
				s.o.Log.Info("messages", "asked", r.URL.Path, "recipients", n)
			}
			s.answer(w, Changed{id, n}, err)
		}
	}
	door("POST /api/v1/messages/{id}/requeue", "messages", change(s.o.Messages.Requeue))
	door("POST /api/v1/messages/{id}/cancel", "messages", change(s.o.Messages.Cancel))
}

// noMessages answers where nobody has messages; a 404 would speak of one message alone.
func noMessages(w http.ResponseWriter, _ *http.Request) {
	writeError(w, http.StatusNotImplemented, "this router runs no embedded MMSC (mmsc.enabled)")
}

func (s *Server) answer(w http.ResponseWriter, v any, err error) {
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, v)
	case errors.Is(err, ErrNoMessage):
		writeError(w, http.StatusNotFound, err.Error())
	case errors.Is(err, ErrFilter):
		writeError(w, http.StatusBadRequest, err.Error())
	default:
		s.o.Log.Error("messages", "err", err)
		writeError(w, http.StatusServiceUnavailable, "the store does not answer: "+err.Error())
	}
}

// Messages lists messages of the embedded MMSC, the newest first.
func (c *Client) Messages(ctx context.Context, f MessageFilter) ([]Message, error) {
	var list []Message
	return list, c.Do(ctx, http.MethodGet, "/api/v1/messages?"+f.query().Encode(), "", nil, &list)
}

// Message shows one with its timeline.
func (c *Client) Message(ctx context.Context, id string) (Message, error) {
	var m Message
	return m, c.Do(ctx, http.MethodGet, "/api/v1/messages/"+url.PathEscape(id), "", nil, &m)
}

// RequeueMessage lets its delivery begin again, CancelMessage ends it, for the recipients that are still open.
func (c *Client) RequeueMessage(ctx context.Context, id string) (Changed, error) {
	return c.changeMessage(ctx, id, "requeue")
}

// CancelMessage ends the delivery to the recipients that are still open.
func (c *Client) CancelMessage(ctx context.Context, id string) (Changed, error) {
	return c.changeMessage(ctx, id, "cancel")
}

func (c *Client) changeMessage(ctx context.Context, id, what string) (Changed, error) {
	var n Changed
	return n, c.post(ctx, "/api/v1/messages/"+url.PathEscape(id)+"/"+what, struct{}{}, &n)
}
