package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/router"
)

// Operators keeps what operators say about MMSCs and, with router set, about routers. A glob is a name or a pattern
// with * ? [a-z].
type Operators interface {
	// Drain says that what glob matches drains, for lifetime or until it is lifted (0).
	Drain(router bool, glob string, why Reason, lifetime time.Duration) error
	// Undrain lifts what was said of glob; a name that a wider one still matches becomes an exception. False: nothing drained.
	Undrain(router bool, glob string, why Reason) (bool, error)
	// List gives all that holds.
	List() []Override
}

// Reason is the optional body of a drain.
type Reason struct {
	By     string `json:"by"`
	Reason string `json:"reason"`
	For    string `json:"for,omitempty"` // a duration such as 1h, after which it ends by itself; empty: it stays
	In     string `json:"in,omitempty"`  // of the node's own drain: a duration after which it begins
}

// Drained is the answer to a drain: of a name the MMSC, of a pattern all that match.
type Drained struct {
	*MMSC
	MMSCs []MMSC `json:"mmscs,omitempty"`
}

// all gives them as a list.
func (d *Drained) all() []MMSC {
	if d.MMSC != nil && d.MMSC.Name != "" {
		return []MMSC{*d.MMSC}
	}
	return d.MMSCs
}

func (s *Server) drain(w http.ResponseWriter, r *http.Request)   { s.setDrain(w, r, true) }
func (s *Server) undrain(w http.ResponseWriter, r *http.Request) { s.setDrain(w, r, false) }

func (s *Server) setDrain(w http.ResponseWriter, r *http.Request, on bool) {
	name := r.PathValue("name")
	matches := func() []MMSC {
		var all []MMSC
		snap := s.o.Board.Load()
		for i := range snap.MMSCs {
			if ok, err := path.Match(name, snap.MMSCs[i].Name); err == nil && ok {
				all = append(all, s.mmsc(&snap.MMSCs[i]))
			}
		}
		return all
	}
	if len(matches()) == 0 {
		writeError(w, http.StatusNotFound, fmt.Sprintf("no MMSC is named %q", clip(name, 100)))
		return
	}
	if !s.say(w, r, false, name, on) {
		return
	}
	if fromPage(r) {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	all := matches()
	switch {
	case len(all) == 0:
		writeError(w, http.StatusNotFound, "a reload has just removed "+clip(name, 100))
	case strings.ContainsAny(name, `*?[`):
		writeJSON(w, http.StatusOK, Drained{MMSCs: all})
	default:
		writeJSON(w, http.StatusOK, Drained{MMSC: &all[0]})
	}
}

// say passes an operator's word on; false: it was refused, and answered.
func (s *Server) say(w http.ResponseWriter, r *http.Request, router bool, name string, on bool) bool {
	why, err := readReason(r)
	var lifetime time.Duration
	if err == nil {
		lifetime, err = duration("for", why.For)
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return false
	}
	changed := on
	if on {
		err = s.o.Operators.Drain(router, name, why, lifetime)
	} else {
		changed, err = s.o.Operators.Undrain(router, name, why)
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return false
	}
	if !changed {
		return true // there was nothing to undrain, and there is nothing to tell
	}
	s.o.Log.Info("an operator's word", "drain", on, "router", router, "name", clip(name, 128), "by", why.By, "reason", why.Reason, "for", lifetime)
	return true
}

func (s *Server) drainRouter(w http.ResponseWriter, r *http.Request)   { s.setRouterDrain(w, r, true) }
func (s *Server) undrainRouter(w http.ResponseWriter, r *http.Request) { s.setRouterDrain(w, r, false) }

// setRouterDrain takes routers out of the DNS answers, or brings them back; they go on serving.
func (s *Server) setRouterDrain(w http.ResponseWriter, r *http.Request, on bool) {
	name := r.PathValue("name")
	known := slices.ContainsFunc(s.members(), func(m Member) bool {
		ok, err := path.Match(name, m.Name)
		return err == nil && ok
	})
	if !known {
		writeError(w, http.StatusNotFound, fmt.Sprintf("no router is named %q", clip(name, 100)))
		return
	}
	if s.say(w, r, true, name, on) {
		writeJSON(w, http.StatusOK, s.status())
	}
}

func (s *Server) drainSelf(w http.ResponseWriter, r *http.Request) {
	if s.o.DrainSelf == nil {
		writeError(w, http.StatusNotImplemented, "this node can't drain itself")
		return
	}
	why, err := readReason(r)
	var in time.Duration
	if err == nil {
		in, err = duration("in", why.In)
	}
	if err == nil {
		err = s.o.DrainSelf(why, in)
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	s.o.Log.Info("this node was asked to drain", "by", why.By, "reason", why.Reason, "in", in)
	writeJSON(w, http.StatusAccepted, s.status())
}

// undrainSelf calls a planned drain off; one that has begun goes on to its end.
func (s *Server) undrainSelf(w http.ResponseWriter, _ *http.Request) {
	if s.o.CallOff == nil {
		writeError(w, http.StatusNotImplemented, "this node can't drain itself")
		return
	}
	switch planned, err := s.o.CallOff(); {
	case err != nil:
		writeError(w, http.StatusInternalServerError, err.Error())
	case !planned:
		writeError(w, http.StatusConflict, "no drain is planned")
	default:
		writeJSON(w, http.StatusOK, s.status())
	}
}

// duration reads a duration that is at most a year; empty is 0.
func duration(key, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second || d > 365*24*time.Hour {
		return 0, fmt.Errorf("%s: %q: want a duration such as 30m, 1s to 8760h", key, clip(text, 40))
	}
	return d, nil
}

// readReason takes JSON, a form of the page, or nothing.
func readReason(r *http.Request) (Reason, error) {
	why := Reason{By: "admin"}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // an unreadable type is treated as none
	switch media {
	case "application/x-www-form-urlencoded":
		why.By = "page"
	case "", "application/json":
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return why, fmt.Errorf("read the request: %w", err)
		}
		if len(strings.TrimSpace(string(b))) > 0 {
			if err := json.Unmarshal(b, &why); err != nil {
				return why, fmt.Errorf(`want {"by": "…", "reason": "…"}: %w`, err)
			}
		}
	default:
		return why, errors.New("want application/json")
	}
	why.By, why.Reason = clip(why.By, 64), clip(why.Reason, 200)
	if why.By == "" {
		why.By = "admin"
	}
	return why, nil
}

// boardOnly is the Operators of a server that has no others to tell: their words hold until a restart.
type boardOnly struct {
	board *router.Board
	now   func() time.Time
}

func (b boardOnly) Drain(ofRouter bool, name string, why Reason, lifetime time.Duration) error {
	if ofRouter || lifetime > 0 {
		return errors.New("this node keeps drains of MMSCs only, until they are lifted")
	}
	return b.board.SetDrain(name, &router.Drain{By: why.By, Reason: why.Reason, Since: b.now()})
}

func (b boardOnly) Undrain(_ bool, name string, _ Reason) (bool, error) {
	s := b.board.Load()
	i := s.Index(name)
	return i >= 0 && s.MMSCs[i].Drain != nil, b.board.SetDrain(name, nil)
}

func (b boardOnly) List() []Override { return []Override{} }
