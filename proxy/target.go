package proxy

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/proxy/wire"
	"github.com/mmsrouter/mmsrouter/router"
)

// parseTarget splits the request target into host and path. An absolute-form target's authority goes before
// the Host field (RFC 9112 section 3.2.2).
func (x *exchange) parseTarget() error {
	t := x.cl.req.Target
	x.host, x.target, x.relay = x.cl.req.Host, t, false
	if bytes.IndexByte(t, '#') >= 0 {
		return errors.New("request target with a fragment")
	}
	if t[0] == '/' {
		return nil
	}
	i := bytes.Index(t, []byte("://"))
	if i < 0 || !wire.EqualFold(t[:i], "http") && !wire.EqualFold(t[:i], "https") {
		return errors.New("request target is neither a path nor an http URL")
	}
	rest := t[i+3:]
	end := bytes.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	x.host = rest[:end]
	if len(x.host) == 0 || bytes.IndexByte(x.host, '@') >= 0 {
		return errors.New("request target without a host, or with user information")
	}
	switch x.target = rest[end:]; {
	case len(x.target) == 0:
		x.target = slash
	case x.target[0] == '?':
		x.target = append([]byte{'/'}, x.target...)
	}
	x.relay = true // if the host turns out to be a peer's
	return nil
}

var slash = []byte("/")

// splitHost cuts a Host value into lower-case host and port; ok is false if it is malformed.
func splitHost(h string) (host, port string, ok bool) {
	host = h
	if strings.HasPrefix(h, "[") {
		i := strings.IndexByte(h, ']')
		if i < 0 {
			return "", "", false
		}
		host = h[1:i]
		if _, err := netip.ParseAddr(host); err != nil {
			return "", "", false
		}
		h = h[i+1:]
		if h != "" && h[0] != ':' {
			return "", "", false
		}
		port = strings.TrimPrefix(h, ":")
		if h == ":" {
			return "", "", false
		}
	} else if i := strings.IndexByte(h, ':'); i >= 0 {
		host, port = h[:i], h[i+1:]
		if port == "" {
			return "", "", false
		}
	}
	if host == "" || len(host) > 255 || len(port) > 5 || strings.Trim(port, "0123456789") != "" {
		return "", "", false
	}
	for _, c := range []byte(host) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == ':') {
			return "", "", false
		}
	}
	return strings.ToLower(strings.TrimSuffix(host, ".")), port, true
}

// hostOnly gives the host of a Host value without its port, in lower case; "" if it is malformed.
func hostOnly(h string) string {
	host, _, _ := splitHost(h)
	return host
}

// ours says whether the request is for this router: a name in our zones, our address, a listed name, or (in absolute
// form only) a listed peer operator. The MMSC is never chosen from it.
func (x *exchange) ours() bool {
	relay := x.relay
	x.relay = false
	if len(x.host) == 0 {
		return x.cl.req.Minor == 0 // HTTP/1.0 without Host: it reached our address
	}
	cl, snap := x.cl, x.p.opt.Board.Load()
	if !relay && cl.known.set == x.set && cl.known.snap == snap && bytes.Equal(cl.known.host, x.host) {
		return true // as the last time on this connection
	}
	host, port, ok := splitHost(string(x.host))
	if !ok {
		return false
	}
	if relay && x.set.peers[host] {
		x.relay = true
		return true
	}
	if !x.set.hosts[host+":"+port] && !(x.set.ourPort(port, cl.local.Port()) && x.set.ourName(snap, host, cl.local.Addr())) {
		return false
	}
	cl.known.set, cl.known.snap = x.set, snap
	cl.known.host = append(cl.known.host[:0], x.host...)
	return true
}

// Ours says whether requests for a host (with or without port) are taken on any of the listeners. Empty: yes, as in
// HTTP/1.0.
func (p *Proxy) Ours(host string) bool {
	if host == "" {
		return true
	}
	set, snap := p.set.Load(), p.opt.Board.Load()
	name, port, ok := splitHost(host)
	if !ok {
		return false
	}
	if set.hosts[name+":"+port] || set.peers[name] {
		return true
	}
	for _, l := range p.Addrs() {
		a, ok := l.(*net.TCPAddr)
		if !ok {
			continue
		}
		if local := a.AddrPort(); set.ourPort(port, local.Port()) && set.ourName(snap, name, local.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// ourName says whether a host without its port is ours.
func (s *settings) ourName(snap *router.Snapshot, host string, local netip.Addr) bool {
	if s.hosts[host] || host == "localhost" && local.IsLoopback() {
		return true
	}
	addr, aerr := netip.ParseAddr(host)
	if aerr == nil && addr.Unmap() == local {
		return true
	}
	for i := range snap.Zones {
		z := &snap.Zones[i]
		if host == z.Name || strings.HasSuffix(host, z.Name) && host[len(host)-len(z.Name)-1] == '.' {
			return true
		}
		if aerr != nil {
			continue
		}
		for _, a := range z.Addresses {
			if a.IP == addr.Unmap() {
				return true
			}
		}
	}
	return false
}

// ourPort accepts no port, the well-known ones (a port may be mapped on the way) and the one that was reached.
func (s *settings) ourPort(port string, local uint16) bool {
	switch port {
	case "", "80", "443":
		return true
	}
	n := 0
	for _, d := range []byte(port) {
		n = n*10 + int(d-'0')
	}
	return n == int(local) || s.urlPort == port
}

// identityFields are header fields that networks use to name the subscriber (none is standard). From a sender that
// is not trusted, none of them is passed on, whatever is configured to be read.
var identityFields = func() map[string]bool {
	m := map[string]bool{}
	for _, n := range strings.Fields(`x-wap-network-client-msisdn x-msisdn msisdn x_msisdn http_x_msisdn x-nokia-msisdn
		x-nokia-alias x-nokia-ipaddress x-nokia-imsi x-up-calling-line-id x-up-subno x-h3g-msisdn x-vzw-mdn x-mdn x-cs3g-mdn
		x-wsb-identity x-wte-msisdn x-wap-msisdn x-ericsson-msisdn x-huawei-msisdn x-hts-clid x-wap-clientid
		user-identity-forward-msisdn x-drutt-portal-user-msisdn x-network-info x-imsi x-wap-3gpp-imsi
		x-wap-3gpp-sgsn-mcc-mnc x-wap-3gpp-rat-type x-wap-client-ip x-forwarded-for x-real-ip forwarded`) {
		m[fieldKey(n)] = true
	}
	return m
}()

// fieldKey is a field's name in lower case and with dashes for underscores: behind CGI and its kin X_MSISDN and X-MSISDN are one.
func fieldKey(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

// maxIdentity bounds what is taken for a subscriber's name, in octets.
const maxIdentity = 128

// findIdentity reads the subscriber from the first configured field, if the sender is trusted.
func (x *exchange) findIdentity() string {
	if !x.cl.trusted {
		return ""
	}
	for _, name := range x.set.Identity.Headers {
		v := x.cl.req.Get(name)
		if len(v) == 0 || len(v) > maxIdentity {
			continue
		}
		if i := bytes.IndexByte(v, ','); i >= 0 {
			v = bytes.TrimSpace(v[:i])
		}
		if n := mms.Number(v); n != "" {
			return n
		}
		return string(v)
	}
	return ""
}

// identityField says whether a field names the subscriber.
func (s *settings) identityField(name []byte) bool {
	var low [64]byte
	if len(name) > len(low) {
		return false
	}
	for i, c := range name {
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == '_':
			c = '-'
		}
		low[i] = c
	}
	return identityFields[string(low[:len(name)])] || s.identityNames[string(low[:len(name)])]
}
