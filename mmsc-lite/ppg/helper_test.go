package ppg_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// lateHandler is a handler that is made after its server.
type lateHandler struct{ h atomic.Value }

func (l *lateHandler) set(h http.Handler) { l.h.Store(&h) }

func (l *lateHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h, ok := l.h.Load().(*http.Handler); ok {
		(*h).ServeHTTP(w, r)
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
}

// newHandler serves a handler on loopback and gives its address.
func newHandler(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}
