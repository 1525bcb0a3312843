package dispatcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Summary is a line of the list of services.
type Summary struct {
	Name     string `json:"name"`
	Disabled bool   `json:"disabled,omitempty"`
	Priority int    `json:"priority,omitempty"`
	Match    string `json:"match"`
	Format   string `json:"format"`
	URL      string `json:"url"`
}

// Document is a service, or several, as YAML without secrets.
type Document struct {
	YAML string `json:"yaml"`
}

// Question describes a message for API's test.
type Question struct {
	From    string   `json:"from"`
	Code    string   `json:"code"`
	Subject string   `json:"subject,omitempty"`
	Text    string   `json:"text,omitempty"`
	Media   []string `json:"media,omitempty"` // types of further parts
	Reply   bool     `json:"reply,omitempty"` // it comes from a service
}

// Verdict is API's answer to a Question.
type Verdict struct {
	Decision
	Refusal string `json:"refusal,omitempty"` // why the M-Send.conf would refuse it
}

// Replayed is API's answer to a replay.
type Replayed struct {
	Replayed int64 `json:"replayed"`
}

// problem is an answer that is not a success.
type problem struct {
	Error string `json:"error"`
}

// API is for the admin server to mount at /api/v1/services and /api/v1/services/, behind its own guard:
//
//	GET    /api/v1/services               list of Summary
//	POST   /api/v1/services               add, from YAML or JSON
//	PUT    /api/v1/services               add or change
//	GET    /api/v1/services/NAME          Document
//	PUT    /api/v1/services/NAME          change
//	DELETE /api/v1/services/NAME          remove
//	POST   /api/v1/services/-/test        Question -> Verdict
//	GET    /api/v1/services/-/dead        list of DeadLetter; ?service= and ?limit= choose
//	POST   /api/v1/services/NAME/replay   Replayed; ?id= chooses one
//
// An entry that can't work is 422, a name that is taken 409, one that is unknown 404, each with {"error": reason}.
func (d *Dispatcher) API() http.Handler {
	const base = "/api/v1/services"
	mux := http.NewServeMux()
	door := func(pattern string, do func(r *http.Request) (any, error)) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" "+base+path, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxImport+1)
			out, err := do(r)
			status := http.StatusOK
			if err != nil {
				status, out = statusOf(err), problem{err.Error()}
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(out) // the client is gone
		})
	}
	enter := func(how change, named bool) func(*http.Request) (any, error) {
		return func(r *http.Request) (any, error) {
			list, err := ParseServices(r.Body)
			if err != nil {
				return nil, badRequest{err}
			}
			if named && (len(list) != 1 || list[0].Name != r.PathValue("name")) {
				return nil, badRequest{fmt.Errorf("want one service, called %s: a service keeps its name", r.PathValue("name"))}
			}
			if err := d.cat.write(r.Context(), how, list...); err != nil {
				return nil, err
			}
			names := make([]string, len(list))
			for i := range list {
				names[i] = list[i].Name
			}
			return names, nil
		}
	}
	door("GET ", func(*http.Request) (any, error) { return d.summaries(), nil })
	door("POST ", enter(add, false))
	door("PUT ", enter(put, false))
	door("PUT /{name}", enter(edit, true))
	door("GET /{name}", func(r *http.Request) (any, error) {
		s, err := d.Service(r.PathValue("name"))
		if err != nil {
			return nil, err
		}
		text, err := YAML([]Service{s})
		return Document{string(text)}, err
	})
	door("DELETE /{name}", func(r *http.Request) (any, error) { return struct{}{}, d.Remove(r.Context(), r.PathValue("name")) })
	door("POST /-/test", d.test)
	door("GET /-/dead", func(r *http.Request) (any, error) {
		limit := 100
		if s := r.FormValue("limit"); s != "" {
			var err error
			if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > 1000 {
				return nil, badRequest{errors.New("limit: want 1 to 1000")}
			}
		}
		return d.DeadLetters(r.Context(), r.FormValue("service"), limit)
	})
	door("POST /{name}/replay", func(r *http.Request) (any, error) {
		n, err := d.Replay(r.Context(), r.PathValue("name"), r.URL.Query().Get("id"))
		return Replayed{n}, err
	})
	return mux
}

type badRequest struct{ error }

func statusOf(err error) int {
	var bad *InvalidError
	var wrong badRequest
	switch {
	case errors.As(err, &bad):
		return http.StatusUnprocessableEntity
	case errors.As(err, &wrong):
		return http.StatusBadRequest
	case errors.Is(err, ErrNoService):
		return http.StatusNotFound
	case errors.Is(err, ErrExists):
		return http.StatusConflict
	}
	return http.StatusServiceUnavailable
}

func (d *Dispatcher) summaries() []Summary {
	t := d.cat.table()
	out := []Summary{}
	for _, e := range t.entries {
		out = append(out, Summary{e.Name, e.Disabled, e.Priority, e.rules.String(), e.Provider.Format, e.Provider.URL})
	}
	return out
}

// String says in words what rules want.
func (r *rules) String() string {
	var places []string
	for _, p := range r.places {
		places = append(places, p.String())
	}
	out := []string{strings.Join(places, " or ")}
	add := func(what string, list []string) {
		if len(list) > 0 {
			out = append(out, what+" "+strings.Join(list, " or "))
		}
	}
	add("keyword", r.keywords)
	if r.pattern != nil {
		out = append(out, "pattern "+r.pattern.String())
	}
	add("media", r.media)
	add("sender", r.senders)
	if r.window != nil {
		out = append(out, "window")
	}
	return strings.Join(out, ", ")
}

// test answers which service would take a message.
func (d *Dispatcher) test(r *http.Request) (any, error) {
	var q Question
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&q); err != nil {
		return nil, badRequest{err}
	}
	s := &Submission{From: address(q.From), Code: q.Code, Subject: q.Subject, Reply: q.Reply, Received: time.Now()}
	if q.Text != "" {
		s.Parts = append(s.Parts, Part{Type: "text/plain; charset=utf-8", Data: []byte(q.Text)})
	}
	for _, m := range q.Media {
		s.Parts = append(s.Parts, Part{Type: m})
	}
	dec2, err := d.Explain(r.Context(), s)
	v := Verdict{Decision: dec2}
	var no *Refusal
	if errors.As(err, &no) {
		v.Refusal, err = no.Text, nil
	}
	return v, err
}
