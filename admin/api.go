package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
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
	door("POST /api/v1/routers/{name}/drain", "drain_router", s.drainRouter)
	door("POST /api/v1/routers/{name}/undrain", "undrain_router", s.undrainRouter)
	door("POST /api/v1/drain", "drain_self", s.drainSelf)
	door("POST /api/v1/undrain", "undrain_self", s.undrainSelf)
	door("POST /api/v1/upgrade", "upgrade", s.upgrade)
	if s.o.Takeover != nil {
		door("GET /api/v1/takeover", "takeover", s.o.Takeover.ServeHTTP)
		door("POST /api/v1/takeover", "takeover", s.o.Takeover.ServeHTTP)
	}
	if s.o.Drill != nil {
		door("/api/v1/drill", "drill_lease", s.o.Drill.ServeHTTP)
		door("/api/v1/drill/{id}", "drill_lease", s.o.Drill.ServeHTTP)
	}
	door("POST /api/v1/explain", "explain", s.explain)
	door("GET /api/v1/fate/{id...}", "fate", s.fate)
	if s.o.Messages != nil {
		s.messages(door)
	} else {
		door("/api/v1/messages", "messages", noMessages)
		door("/api/v1/messages/", "messages", noMessages)
	}
	services := s.o.Services
	if services == nil {
		services = http.HandlerFunc(noServices)
	}
	n := s.m.requests.WithLabelValues("services")
	counted := func(w http.ResponseWriter, r *http.Request) {
		n.Inc()
		services.ServeHTTP(w, r) // it bounds what a request may carry itself: a catalogue is larger than anything else here
	}
	mux.HandleFunc("/api/v1/services", counted)
	mux.HandleFunc("/api/v1/services/", counted)
	door("/", "other", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, "no such door: "+r.Method+" "+clip(r.URL.Path, 100))
	})
	return s.guard(mux)
}

// noServices answers where nobody has services.
func noServices(w http.ResponseWriter, _ *http.Request) {
	writeError(w, http.StatusNotImplemented, "no two-way services run here: set mmsc.services.enabled")
}

// healthz says that the process answers; nothing else is looked at.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

// readyz says whether new traffic is welcome; with ?addresses whether service addresses may stay here: they leave a router that
// drains by its own word, when nobody is left on them.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if _, ok := r.URL.Query()["addresses"]; ok && s.o.Keeps != nil {
		if err := s.o.Keeps(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "keeps")
		return
	}
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
