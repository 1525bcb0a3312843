package dnsserver

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/miekg/dns"
)

// The orders of a preference.
const (
	OrderFailover = "failover"
	OrderWeighted = "weighted"
)

// Bounds of preferences.
const (
	maxPreferences = 1000 // of a zone
	maxPreferred   = 64   // addresses of one
	maxWeight      = 1000
)

// PreferenceConfig is what clients of certain networks get first of a zone's addresses, of those that are there now.
type PreferenceConfig struct {
	// Clients are the networks of who asks: resolvers and WAP gateways.
	Clients []string `yaml:"clients"`
	// Order: failover answers with the first of addresses that is there; weighted with all that are there, and which one
	// comes first is shared out by weights. If none is there, the zone's own order counts.
	Order string `yaml:"order"`
	// Addresses are IP addresses of the routers.
	Addresses []string `yaml:"addresses"`
	// Weights of the addresses, in the same order, 1 to 1000; none: all alike.
	Weights []int `yaml:"weights"`
}

// preference is one of them, ready to use.
type preference struct {
	clients  []netip.Prefix
	failover bool
	order    []netip.Addr
	weights  []uint32
}

func compilePreferences(list []PreferenceConfig) ([]preference, []error) {
	var errs []error
	var out []preference
	if len(list) > maxPreferences {
		return nil, []error{fmt.Errorf("preferences: %d of them: want at most %d", len(list), maxPreferences)}
	}
	for i, c := range list {
		p := preference{failover: c.Order == OrderFailover}
		bad := func(key string, err error) { errs = append(errs, fmt.Errorf("preferences[%d].%s: %w", i, key, err)) }
		var err error
		if p.clients, err = parseNetworks("clients", c.Clients); err != nil {
			errs = append(errs, fmt.Errorf("preferences[%d].%w", i, err))
		} else if len(p.clients) == 0 {
			bad("clients", errors.New("want at least one network"))
		}
		if c.Order != OrderFailover && c.Order != OrderWeighted {
			bad("order", fmt.Errorf("%q: want failover or weighted", c.Order))
		}
		if len(c.Addresses) == 0 || len(c.Addresses) > maxPreferred {
			bad("addresses", fmt.Errorf("%d of them: want 1 to %d", len(c.Addresses), maxPreferred))
		}
		for _, s := range c.Addresses {
			a, err := netip.ParseAddr(s)
			if err != nil || a.Zone() != "" {
				bad("addresses", fmt.Errorf("%q: want an IP address", s))
				continue
			}
			p.order = append(p.order, a.Unmap())
			p.weights = append(p.weights, 1)
		}
		switch {
		case len(c.Weights) == 0:
		case p.failover || len(c.Weights) != len(c.Addresses):
			bad("weights", errors.New("want one for each address, and order weighted"))
		default:
			for k, w := range c.Weights {
				if w < 1 || w > maxWeight {
					bad("weights", fmt.Errorf("%d: want 1 to %d", w, maxWeight))
				} else if k < len(p.weights) {
					p.weights[k] = uint32(w)
				}
			}
		}
		out = append(out, p)
	}
	return out, errs
}

// preferred gives the preference of a client in a zone; nil if it has none. The first that fits counts.
func (z *zone) preferred(src netip.Addr) *preference {
	for i := range z.prefer {
		for _, n := range z.prefer[i].clients {
			if n.Contains(src) {
				return &z.prefer[i]
			}
		}
	}
	return nil
}

// prefers says whether a client has a preference anywhere: then the packed answers are not for it.
func (p *policy) prefers(src netip.Addr) bool {
	for _, z := range p.preferring {
		if z.preferred(src) != nil {
			return true
		}
	}
	return false
}

// arrange puts a zone's own addresses, all of one type, in the order that the client prefers.
func (p *preference) arrange(answer []dns.RR, turn uint32) []dns.RR {
	at := func(a netip.Addr) int {
		for i, rr := range answer {
			if b, ok := recordAddress(rr); ok && a == b {
				return i
			}
		}
		return -1
	}
	total := uint32(0)
	for k, a := range p.order {
		i := at(a)
		switch {
		case i < 0:
		case p.failover:
			return answer[i : i+1]
		default:
			total += p.weights[k]
		}
	}
	if total == 0 {
		return answer
	}
	left := spread(turn) % total
	for k, a := range p.order {
		i := at(a)
		if i < 0 {
			continue
		}
		if left < p.weights[k] {
			out := append([]dns.RR{answer[i]}, answer[:i]...)
			return append(out, answer[i+1:]...)
		}
		left -= p.weights[k]
	}
	return answer
}

// spread mixes a counter, so that a heavy address does not come many times in a row (Knuth's multiplicative hash).
func spread(n uint32) uint32 { return (n * 2654435761) >> 8 }

// recordAddress gives the address of an A or AAAA record.
func recordAddress(rr dns.RR) (netip.Addr, bool) {
	var b []byte
	switch rr := rr.(type) {
	case *dns.A:
		b = rr.A
	case *dns.AAAA:
		b = rr.AAAA
	}
	a, ok := netip.AddrFromSlice(b)
	return a.Unmap(), ok
}
