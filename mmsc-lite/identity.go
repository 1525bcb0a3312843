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
	Address  string      // normalised; empty: nobody says
	Asserted bool        // a trusted network says so
	Peer     *PeerConfig // another operator's server; nil: none
	own      bool        // this server: the common service platform
}

type trustKey struct{}

// trustAll marks the connections of Dial: whoever holds one has checked the identity headers already.
func trustAll(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, trustKey{}, true)
}

// identify reads the identity headers of a request when it comes from a trusted network; others' are not even looked at.
func (m *MMSC) identify(r *http.Request) Identity {
	ip := remoteIP(r.RemoteAddr)
	for i := range m.cfg.Peers {
		if contains(m.cfg.Peers[i].Networks, ip) {
			return Identity{Peer: &m.cfg.Peers[i]}
		}
	}
	if trusted, _ := r.Context().Value(trustKey{}).(bool); !trusted && !contains(m.cfg.Identity.Trusted, ip) {
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

// prefix is a network in a configuration file.
type prefix = netip.Prefix

func remoteIP(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{} // a line has no address; no network contains the zero one
	}
	return ap.Addr().Unmap()
}

func contains(networks []prefix, ip netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}
