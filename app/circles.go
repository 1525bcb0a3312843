package app

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// An MMSC that is this router itself gets each message again and again, until the head has grown too long and the handset is told no for
// good. So what is sure to be a circle is refused, and what is one most likely is warned of.

// authority gives the host, in lower case, and the port that an MMSC's URL leads to.
func (m *MMSCConfig) authority() (host, port string) {
	u, err := url.Parse(m.URL)
	if err != nil {
		return "", ""
	}
	if port = u.Port(); port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), port
}

// reaches says whether a URL's host and port are sure to lead to a listen address of ours.
func reaches(host, port, listen string) bool {
	at, p, err := net.SplitHostPort(listen)
	if err != nil || p != port || p == "0" {
		return false
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return false // a name may lead anywhere
	}
	l, err := netip.ParseAddr(at)
	if at == "" || err == nil && l.IsUnspecified() {
		return a.IsLoopback() || a.IsUnspecified() // every address of this machine, of which only these are known
	}
	return err == nil && a.Unmap() == l.Unmap()
}

// circle is the listen address that an MMSC's URL is, "" if it is none.
func (c *Config) circle(m *MMSCConfig) string {
	host, port := m.authority()
	if i := slices.IndexFunc(c.MM1.Listen, func(l string) bool { return reaches(host, port, l) }); i >= 0 {
		return c.MM1.Listen[i]
	}
	return ""
}

// warnCircles looks for MMSCs that handsets are told to find here, and for one MMSC under two names.
func (c *Config) warnCircles(warn func(string, ...any)) {
	ours := func(p string) bool {
		return slices.ContainsFunc(c.MM1.Listen, func(l string) bool { return port(l) == p })
	}
	seen := map[string]int{}
	for i := range c.MMSCs {
		m := &c.MMSCs[i]
		host, p := m.authority()
		for _, z := range c.DNS.Zones {
			switch {
			case host == strings.ToLower(strings.TrimSuffix(z.Name, ".")):
				warn("mmscs[%d].url: %s is the name by which handsets find this router: unless another DNS answers here, messages go round in circles", i, host)
			case ours(p) && slices.Contains(z.Addresses, host):
				warn("mmscs[%d].url: %s is an address that dns.zones gives as the router's own: messages go round in circles", i, host)
			}
		}
		at := host + ":" + p
		if first, twice := seen[at]; twice && c.MMSCs[first].Host == m.Host {
			warn("mmscs[%d].url: leads where that of mmscs[%d] does: when that one is down, this one is", i, first)
			continue
		}
		seen[at] = i
	}
}
