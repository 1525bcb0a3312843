package dnsserver

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// policy is everything that a Config says, checked and made ready to use. It is immutable but for the
// limiter's own state.
type policy struct {
	zones      map[string]*zone // by lower-case wire name
	preferring []*zone          // those with preferences
	version    string           // of version.bind; "": refused
	nsid       string           // as text; "": none

	short      uint32 // TTL of addresses while a router is about to drain
	udpSize    int
	unverified int
	cookies    cookieJar
	gateways   []netip.Prefix
	limiter    *limiter // nil: no limit

	maxConns, perClient, maxQueries, maxPipelined int
	idle                                          time.Duration
}

// always are the networks that no limit per client applies to, listed or not.
var always = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
}

// compile checks c and makes a policy of it. old, if any, hands on what should survive a reload: a random
// cookie secret, and the limiter's memory if its limits are the same.
func compile(c Config, version, nodeName string, old *policy) (*policy, error) {
	errs := c.check()
	p := &policy{
		zones: map[string]*zone{}, version: strings.ReplaceAll(c.Version, "{version}", version), nsid: c.NSID,
		short: seconds(c.ShortTTL), udpSize: int(c.UDPSize), unverified: int(c.UnverifiedSize),
		maxConns: c.TCP.MaxConnections, perClient: c.TCP.PerClient, maxQueries: c.TCP.MaxQueries,
		maxPipelined: int(c.TCP.MaxPipelined), idle: c.TCP.IdleTimeout,
	}
	switch p.nsid {
	case "":
		p.nsid = nodeName
	case "none":
		p.nsid = ""
	}
	if len(p.nsid) > 100 {
		p.nsid = p.nsid[:100]
	}
	for i, zc := range c.Zones {
		z, zerrs := compileZone(zc)
		for _, err := range zerrs {
			errs = append(errs, fmt.Errorf("dns.zones[%d] (%s): %w", i, zc.Name, err))
		}
		if z == nil {
			continue
		}
		if p.zones[z.wire] != nil {
			errs = append(errs, fmt.Errorf("dns.zones[%d].name: the zone %s stands there twice", i, z.name))
		}
		p.zones[z.wire] = z
		if len(z.prefer) > 0 {
			p.preferring = append(p.preferring, z)
		}
	}
	errs = append(errs, p.checkNested()...)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	p.gateways, _ = parseNetworks("", c.Gateways) // check has parsed them already
	p.gateways = append(p.gateways, always...)
	if err := p.setSecrets(c.CookieSecrets, old); err != nil {
		return nil, err
	}
	if old != nil && old.limiter != nil && old.limiter.conf == c.RateLimit {
		p.limiter = old.limiter
	} else {
		p.limiter = newLimiter(c.RateLimit)
	}
	return p, nil
}

func (p *policy) setSecrets(configured []string, old *policy) error {
	for _, s := range configured {
		b, err := hex.DecodeString(s)
		if err != nil {
			return fmt.Errorf("dns.cookie_secrets: %w", err)
		}
		p.cookies.add([16]byte(b))
	}
	switch {
	case len(configured) > 0:
	case old != nil && old.cookies.random:
		p.cookies = old.cookies
	default:
		var b [16]byte
		_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
		p.cookies.add(b)
		p.cookies.random = true
	}
	return nil
}

// checkNested refuses a record of one zone whose name belongs to a deeper zone of ours: nobody could ever ask for it.
func (p *policy) checkNested() []error {
	var errs []error
	for _, z := range p.zones {
		for name, n := range z.nodes {
			if len(n.sets) == 0 || name == z.wire {
				continue
			}
			if d := p.zoneOf(name); d != nil && d != z {
				errs = append(errs, fmt.Errorf("dns.zones: a record of %s at %s belongs to the zone %s", z.name, presentation(name), d.name))
			}
		}
	}
	return errs
}

// zoneOf finds the deepest zone that name (lower-case wire form) lies in; nil if none.
func (p *policy) zoneOf(name string) *zone {
	for off := 0; off < len(name); off += 1 + int(name[off]) {
		if z := p.zones[name[off:]]; z != nil {
			return z
		}
		if name[off] == 0 {
			break
		}
	}
	return nil
}

// trusted says whether limits per client are off for a.
func (p *policy) trusted(a netip.Addr) bool {
	for _, n := range p.gateways {
		if n.Contains(a) {
			return true
		}
	}
	return false
}
