package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
)

// guard lets a request in, or answers it. Without a token only callers of this machine can reach the
// listener, and what must be kept out is a web page that a browser here has open: by name (DNS rebinding)
// and by a cross-site request. With a token, the token decides; browsers send it as Basic, so cross-site
// requests that change something are refused there too.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		c := s.conf.Load()
		switch {
		case c.Token == "" && !hostAllowed(r.Host, c.Hosts):
			s.refuse(w, http.StatusMisdirectedRequest, "host",
				"this name is not in admin.hosts, and without admin.token only names of this machine are answered")
		case s.cross.Check(r) != nil:
			s.refuse(w, http.StatusForbidden, "cross_site", "cross-site requests are refused")
		case c.Token != "" && !open(r.URL.Path) && !tokenMatches(r, c.Token):
			h.Set("WWW-Authenticate", `Basic realm="mmsrouter", charset="UTF-8"`)
			s.refuse(w, http.StatusUnauthorized, "token", "give admin.token as a bearer token, or as the password of Basic")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (s *Server) refuse(w http.ResponseWriter, status int, why, text string) {
	s.m.refused.WithLabelValues(why).Inc()
	writeError(w, status, text)
}

// open paths tell nothing but yes or no, and load balancers ask them without a token.
func open(path string) bool { return path == "/healthz" || path == "/readyz" }

func hostAllowed(hostport string, names []string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if loopbackName(host) {
		return true
	}
	for _, n := range names {
		if strings.EqualFold(n, host) {
			return true
		}
	}
	return false
}

// tokenMatches compares digests, so that the time tells neither the token's content nor its length.
func tokenMatches(r *http.Request, token string) bool {
	got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, got, ok = r.BasicAuth()
	}
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && ok
}
