package outgoing

import "net/netip"

// reserved networks of IPv4 and IPv6 are no place for content: IANA's
// special-purpose registries (RFC 6890 and what came after).
var reserved = []struct {
	net  netip.Prefix
	what string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "of this host"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "of carrier-grade NAT"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"},
	{netip.MustParsePrefix("192.0.2.0/24"), "of documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "reserved"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "of benchmarks"},
	{netip.MustParsePrefix("198.51.100.0/24"), "of documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "of documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("fc00::/7"), "private"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("2001::/23"), "reserved"}, // Teredo and other protocol assignments
	{netip.MustParsePrefix("2001:db8::/32"), "of documentation"},
	{netip.MustParsePrefix("3fff::/20"), "of documentation"},
}

var (
	global = netip.MustParsePrefix("2000::/3") // all that is assigned as global unicast
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
	sixTo4 = netip.MustParsePrefix("2002::/16")
)

// refuses says what is wrong with an address, "" if it may be dialled.
func (p *policy) refuses(a netip.Addr) string {
	a = a.Unmap().WithZone("") // a zone names an interface; Contains would never match it
	for _, n := range p.deny {
		if n.Contains(a) {
			return "denied"
		}
	}
	// The IPv4 address within an IPv6 one is where the packets go in the end.
	b := a.As16()
	if nat64.Contains(a) {
		return p.refuses(netip.AddrFrom4([4]byte(b[12:])))
	}
	if sixTo4.Contains(a) {
		return p.refuses(netip.AddrFrom4([4]byte(b[2:6])))
	}
	for _, n := range p.allow {
		if n.Contains(a) {
			return ""
		}
	}
	for _, r := range reserved {
		if r.net.Contains(a) {
			return r.what + ", and not listed in allow"
		}
	}
	if a.Is6() && !global.Contains(a) {
		return "not a global address, and not listed in allow"
	}
	return ""
}
