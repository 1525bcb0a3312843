package mmsc

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Identity is who a client is, as far as its network says so.
type Identity struct {
	Address  string // normalised; empty: nobody says
	Asserted bool   // a trusted network says so
}

type trustKey struct{}

// trustAll marks the connections of Dial: whoever holds one has checked the identity headers already.
func trustAll(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, trustKey{}, true)
}

// identify reads the identity headers of a request when it comes from a trusted network; others' are not even looked at.
func (m *MMSC) identify(r *http.Request) Identity {
	if trusted, _ := r.Context().Value(trustKey{}).(bool); !trusted && !m.trusts(r.RemoteAddr) {
		return Identity{}
	}
	for _, name := range m.cfg.Identity.Headers {
		v := r.Header.Get(name)
		if v == "" {
			continue
		}
		v, _, _ = strings.Cut(v, ",")
		if a := normal(strings.Trim(v, "\" ")); a != "" {
			return Identity{Address: m.home(a), Asserted: true}
		}
	}
	return Identity{}
}

func (m *MMSC) trusts(remote string) bool {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	ip := ap.Addr().Unmap()
	for _, p := range m.cfg.Identity.Trusted {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// home gives a number the form under which this operator knows it.
func (m *MMSC) home(addr string) string { return addr }
