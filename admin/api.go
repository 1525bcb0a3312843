package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/mmsrouter/mmsrouter/router"
)

// maxBody bounds what a request may carry: explain takes the head of a PDU, all others next to nothing.
const maxBody = 256 << 10

// handler lays the doors out. The door's name is the metric's label: a closed set.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	door := func(pattern, name string, h http.HandlerFunc) {
		n := s.m.requests.WithLabelValues(name)
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			n.Inc()
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			h(w, r)
		})
	}
	door("GET /{$}", "page", s.page)
	door("GET /healthz", "healthz", s.healthz)
	door("GET /readyz", "readyz", s.readyz)
	door("GET /metrics", "metrics", promhttp.HandlerFor(s.o.Gatherer, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, Timeout: 30 * time.Second,
		ErrorLog: promLog{s}, ErrorHandling: promhttp.ContinueOnError}).ServeHTTP)
	door("GET /api/v1/status", "status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.status()) })
	door("POST /api/v1/mmscs/{name}/drain", "drain", s.drain)
	door("POST /api/v1/mmscs/{name}/undrain", "undrain", s.undrain)
	door("POST /api/v1/drain", "drain_self", s.drainSelf)
	door("POST /api/v1/explain", "explain", s.explain)
	door("GET /api/v1/fate/{id...}", "fate", s.fate)
	if s.o.Messages != nil {
		s.messages(door)
	}
	door("/", "other", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, "no such door: "+r.Method+" "+clip(r.URL.Path, 100))
	})
	return s.guard(mux)
}

// healthz says that the process answers; nothing else is looked at.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

// readyz says whether new traffic is welcome.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if s.draining() {
		http.Error(w, "draining", http.StatusServiceUnavailable)
		return
	}
	if err := s.ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// Reason is the optional body of a drain.
type Reason struct {
	By     string `json:"by"`
	Reason string `json:"reason"`
}

func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	why, err := readReason(r)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	s.setDrain(w, r, &router.Drain{By: why.By, Reason: why.Reason, Since: s.o.Now()})
}

func (s *Server) undrain(w http.ResponseWriter, r *http.Request) { s.setDrain(w, r, nil) }

func (s *Server) setDrain(w http.ResponseWriter, r *http.Request, d *router.Drain) {
	name := r.PathValue("name")
	if err := s.o.Board.SetDrain(name, d); err != nil {
		writeError(w, http.StatusNotFound, err.Error())
		return
	}
	if d != nil {
		s.o.Log.Info("MMSC drains: it gets no new messages", "mmsc", name, "by", d.By, "reason", d.Reason)
	} else {
		s.o.Log.Info("MMSC no longer drains", "mmsc", name)
	}
	if fromPage(r) {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	snap := s.o.Board.Load()
	if i := snap.Index(name); i >= 0 {
		writeJSON(w, http.StatusOK, s.mmsc(&snap.MMSCs[i]))
		return
	}
	writeError(w, http.StatusNotFound, "a reload has just removed "+name)
}

func (s *Server) drainSelf(w http.ResponseWriter, r *http.Request) {
	if s.o.DrainSelf == nil {
		writeError(w, http.StatusNotImplemented, "this node can't drain itself")
		return
	}
	why, err := readReason(r)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	s.o.Log.Info("this node was asked to drain", "by", why.By, "reason", why.Reason)
	s.o.DrainSelf(why.Reason)
	writeJSON(w, http.StatusAccepted, s.status())
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

func (s *Server) fate(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if s.o.Traffic == nil {
		writeError(w, http.StatusNotImplemented, "no MM1 proxy runs here")
		return
	}
	if id == "" || len(id) > 512 {
		writeError(w, http.StatusBadRequest, "want a transaction or message id of 1 to 512 octets")
		return
	}
	fates := s.o.Traffic.Fate(id)
	if len(fates) == 0 {
		writeError(w, http.StatusNotFound, "nothing is remembered of "+clip(id, 100)+" (the index is bounded and holds the newest)")
		return
	}
	writeJSON(w, http.StatusOK, fates)
}

// fromPage tells a browser's form from a program.
func fromPage(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, `{"error":"encode the answer"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the caller has gone; there is nobody to tell
}

// Problem is the body of every refusal.
type Problem struct {
	Error string `json:"error"`
}

func writeError(w http.ResponseWriter, status int, text string) { writeJSON(w, status, Problem{text}) }

func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

// promLog gives the metrics handler's complaints to the room's log.
type promLog struct{ s *Server }

func (l promLog) Println(v ...any) { l.s.o.Log.Warn("serve metrics", "err", fmt.Sprint(v...)) }
