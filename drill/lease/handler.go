package lease

import (
	"encoding/json"
	"errors"
	"net/http"
)

// ServeHTTP is the admin API's door: GET tells the Door, POST begins a Lease (201), PUT with an id replaces its faults, DELETE with
// an id ends it. Refusals are {"error": "…"} with 400 (not understood), 403 (not allowed here), 404 (no such lease or MMSC) or 409
// (another drill runs).
func (l *Leases) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	var out any
	var err error
	status := http.StatusOK
	switch {
	case r.Method == http.MethodGet && id == "":
		out = l.Door()
	case r.Method == http.MethodPost && id == "":
		var q Request
		if err = decode(r, &q); err == nil {
			out, err = l.Begin(q)
			status = http.StatusCreated
		}
	case r.Method == http.MethodPut && id != "":
		var faults []Fault
		if err = decode(r, &faults); err == nil {
			out, err = l.Set(id, faults)
		}
	case r.Method == http.MethodDelete && id != "":
		err = l.End(id)
		out = struct{}{}
	default:
		err = refuse(http.StatusMethodNotAllowed, "want GET or POST of a drill, PUT or DELETE of its lease")
	}
	if err != nil {
		status = http.StatusInternalServerError
		if no := (*refusal)(nil); errors.As(err, &no) {
			status = no.status
		}
		out = struct {
			Error string `json:"error"`
		}{err.Error()}
	}
	b, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		http.Error(w, `{"error":"encode the answer"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the caller has gone; there is nobody to tell
}

func decode(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return refuse(http.StatusBadRequest, "want JSON: %v", err)
	}
	return nil
}
