package takeover

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// Config is the section `takeover` of the configuration, the same on every router.
type Config struct {
	// Interface is where the service addresses live.
	Interface string `yaml:"interface"`
	// Routers in the order in which they stand in for each other: the next one in the list comes first.
	Routers []RouterConfig `yaml:"routers"`
	// VRID is the virtual router id of the first router, the next one has one more. Ids must be free on the interface's
	// network.
	VRID int `yaml:"vrid"`
	// Advert is how often the holder says that it lives; after three times that it counts as dead.
	Advert time.Duration `yaml:"advert"`
	Check  CheckConfig   `yaml:"check"`
	// User runs the scripts.
	User string `yaml:"user"`
	// Dir is where the scripts lie; only root may write there.
	Dir string `yaml:"dir"`
}

// RouterConfig is one router.
type RouterConfig struct {
	Name string `yaml:"name"` // its node.name
	Peer string `yaml:"peer"` // its own fixed address, by which keepalived speaks to the others; all of one family
	// Addresses are its service addresses with their prefix lengths, 192.0.2.1/24: those that its DNS answers and WAP
	// gateways know. They are never a machine's fixed address.
	Addresses []string `yaml:"addresses"`
}

// CheckConfig is how readiness is asked.
type CheckConfig struct {
	Interval time.Duration `yaml:"interval"` // whole seconds: keepalived knows no others
	Timeout  time.Duration `yaml:"timeout"`  // of one question; less than interval
	Fall     int           `yaml:"fall"`     // so many failures in a row give the addresses up
	Rise     int           `yaml:"rise"`     // so many successes in a row bring them home
}

// DefaultConfig is without routers: off.
func DefaultConfig() Config {
	return Config{VRID: 51, Advert: 500 * time.Millisecond, User: "nobody", Dir: "/etc/mmsrouter/takeover",
		Check: CheckConfig{Interval: time.Second, Timeout: 800 * time.Millisecond, Fall: 2, Rise: 5}}
}

// Enabled says whether addresses are taken over at all.
func (c *Config) Enabled() bool { return len(c.Routers) > 0 }

// Priorities: the owner's, the first stand-in's and the last one's (those between are spread evenly: the wider apart two are, the
// less likely both think for a moment that it is their turn), and what a router loses that yields or is not
// ready. One that yields stands below all that do not; one that is not ready stands below all that are, and among those that are not the
// order stays: if no router is ready the addresses stay where they belong.
const (
	ownerPriority = 200
	firstPriority = 150
	lastPriority  = 120
	yields        = 90 // so that the owner falls below the last stand-in
	notReady      = 100
	mostRouters   = 32
)

// Validate names each wrong key and what it allows.
func (c *Config) Validate() error {
	if !c.Enabled() {
		return nil
	}
	var errs []error
	bad := func(key, format string, a ...any) { errs = append(errs, fmt.Errorf("takeover."+key+": "+format, a...)) }
	if !word(c.Interface, 15) {
		bad("interface", "%q: want the name of a network interface", c.Interface)
	}
	if len(c.Routers) > mostRouters {
		bad("routers", "%d of them: want at most %d", len(c.Routers), mostRouters)
	}
	if c.VRID < 1 || c.VRID+len(c.Routers)-1 > 255 {
		bad("vrid", "%d: want 1 to %d, for %d routers", c.VRID, 256-len(c.Routers), len(c.Routers))
	}
	if c.Advert < 10*time.Millisecond || c.Advert > 40*time.Second || c.Advert%(10*time.Millisecond) != 0 {
		bad("advert", "%s: want 10ms to 40s in steps of 10ms", c.Advert)
	}
	if c.Check.Interval < time.Second || c.Check.Interval > time.Minute || c.Check.Interval%time.Second != 0 {
		bad("check.interval", "%s: want 1s to 1m in whole seconds", c.Check.Interval)
	}
	if c.Check.Timeout < 50*time.Millisecond || c.Check.Timeout >= c.Check.Interval {
		bad("check.timeout", "%s: want 50ms to less than takeover.check.interval", c.Check.Timeout)
	}
	if c.Check.Fall < 1 || c.Check.Fall > 60 {
		bad("check.fall", "%d: want 1 to 60", c.Check.Fall)
	}
	if c.Check.Rise < 1 || c.Check.Rise > 600 {
		bad("check.rise", "%d: want 1 to 600", c.Check.Rise)
	}
	if !word(c.User, 32) {
		bad("user", "%q: want the name of a user of this machine", c.User)
	}
	if !filepath.IsAbs(c.Dir) || strings.ContainsAny(c.Dir, "\"'\\ \t\n$`{}#!") {
		bad("dir", "%q: want an absolute path without blanks and quotes", c.Dir)
	}
	c.validateRouters(bad)
	return errors.Join(errs...)
}

func (c *Config) validateRouters(bad func(key, format string, a ...any)) {
	names, taken := map[string]bool{}, map[netip.Addr]string{}
	var family netip.Addr
	for i, r := range c.Routers {
		at := fmt.Sprintf("routers[%d]", i)
		if !word(r.Name, 64) || names[r.Name] {
			bad(at+".name", "%q: want each router's node.name, once", r.Name)
		}
		names[r.Name] = true
		claim := func(key string, a netip.Addr) {
			if other, ok := taken[a]; ok {
				bad(key, "%s is %s too", a, other)
			}
			taken[a] = "takeover." + key
		}
		peer, err := netip.ParseAddr(r.Peer)
		switch {
		case err != nil || peer.IsUnspecified() || peer.IsMulticast() || peer.Zone() != "" || peer.Is4In6():
			bad(at+".peer", "%q: want the router's own fixed IP address", r.Peer)
		case family.IsValid() && family.Is4() != peer.Is4():
			bad(at+".peer", "%s: the peers must be all IPv4 or all IPv6", peer)
		default:
			family = peer
			claim(at+".peer", peer)
		}
		if len(r.Addresses) == 0 || len(r.Addresses) > 64 {
			bad(at+".addresses", "%d of them: want 1 to 64", len(r.Addresses))
		}
		announced := len(r.Addresses) == 0
		for k, s := range r.Addresses {
			key := fmt.Sprintf("%s.addresses[%d]", at, k)
			p, err := netip.ParsePrefix(s)
			if err != nil || p.Addr().IsUnspecified() || p.Addr().IsMulticast() || p.Addr().Zone() != "" || p.Addr().Is4In6() {
				bad(key, "%q: want an IP address with its prefix length such as 192.0.2.1/24", s)
				continue
			}
			claim(key, p.Addr())
			announced = announced || p.Addr().Is4() == peer.Is4()
		}
		if !announced && peer.IsValid() {
			bad(at+".addresses", "want at least one of the family of the peers: keepalived announces that, the others go with it")
		}
	}
}

// word says whether s can stand in a configuration without quotes.
func word(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._-", c) >= 0) {
			return false
		}
	}
	return true
}

// prefixes gives the addresses of a router.
func (r *RouterConfig) prefixes() []netip.Prefix {
	var all []netip.Prefix
	for _, s := range r.Addresses {
		if p, err := netip.ParsePrefix(s); err == nil { // Validate has looked at them
			all = append(all, p)
		}
	}
	return all
}
