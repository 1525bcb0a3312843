package app

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/mmsrouter/mmsrouter/cluster/takeover"
	"github.com/mmsrouter/mmsrouter/healthcheck"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/router"
)

// handsetPatience is how long handsets wait for an M-Send.conf before they give up.
const handsetPatience = 60 * time.Second

// Warnings says what is allowed but will most likely not do what its writer wants; each begins with a key.
func (c *Config) Warnings() []string {
	var out []string
	warn := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	c.warnURL(warn)
	c.warnTimes(warn)
	if c.MM1.Fence.Window > 0 && len(c.MM1.Identity.Trusted) == 0 {
		warn("mm1.identity.trusted: no network is trusted, so the duplicate fence works only for messages with an explicit From")
	} else if c.MM1.Fence.Window > 0 && len(c.MM1.Identity.Headers) == 0 {
		warn("mm1.identity.headers: none, so the duplicate fence works only for messages with an explicit From")
	}
	if c.MM1.Fence.Window == 0 {
		warn("mm1.fence.window: the duplicate fence is off: a handset that posts again after a lost answer makes a second message")
	}
	c.warnCluster(warn)
	if !c.ServesDNS() {
		warn("dns.zones: none, so no DNS is served; handsets must find mm1.listen by other means")
	}
	if c.MMSC.Enabled && c.MMSC.URL == "" && c.PublicURL() == "" {
		warn("mmsc.url: with neither mm1.url nor a zone, handsets can't be told where their messages are")
	}
	for i, z := range c.DNS.Zones {
		switch {
		case len(z.Addresses) == 0:
			warn("dns.zones[%d].addresses: none: %s has no address", i, z.Name)
		case z.TTL > 5*time.Minute:
			warn("dns.zones[%d].ttl: %s: resolvers keep a router's address for so long after it was withdrawn", i, z.TTL)
		}
	}
	primary := false
	for i := range c.MMSCs {
		m := &c.MMSCs[i]
		primary = primary || m.weight() > 0
		if k := m.Probe.Type; k == healthcheck.TCP || k == "" && c.Detection.Probe.Type == healthcheck.TCP {
			warn("mmscs[%d].probe.type: tcp sees only that the port is open; http or mm1 sees the MMSC itself", i)
		}
	}
	if len(c.MMSCs) > 0 && !primary {
		warn("mmscs: every weight is 0, so no MMSC gets new messages")
	}
	c.warnCircles(warn)
	c.warnRules(warn)
	c.warnServices(warn)
	if len(c.MMSCs) == 1 && c.MM1.WhenAllDown == "refuse" {
		warn("mmscs: there is one only: when it is down, messages are refused (mm1.when_all_down)")
	}
	return out
}

// warnRules looks for rules that leave new messages to nobody: weight 0 is what only keeps its old ones. The embedded MMSC has a weight.
func (c *Config) warnRules(warn func(string, ...any)) {
	for i, r := range c.Routing.Rules {
		nobody := len(r.PDU) == 0 || slices.Contains(r.PDU, mms.MSendReq.String()) || slices.Contains(r.PDU, "unknown")
		for _, name := range r.To {
			m := c.mmscNamed(name)
			nobody = nobody && m != nil && m.weight() == 0
		}
		if nobody {
			warn("routing.rules[%d].to: every weight of %s is 0, so new messages that rule %q matches go to nobody", i, oneLine(r.To), r.Name)
		}
	}
}

// warnServices looks for messages to services that would go elsewhere.
func (c *Config) warnServices(warn func(string, ...any)) {
	s := &c.MMSC.Services
	if !s.Enabled {
		return
	}
	if len(s.Codes) == 0 {
		warn("mmsc.services.codes: none, so a message to a code that no service takes goes the way of one to a subscriber")
	}
	toLocal := func(r router.RuleConfig) bool { return slices.Contains(r.To, router.LocalName) }
	if len(c.MMSCs) > 0 && !slices.ContainsFunc(c.Routing.Rules, toLocal) {
		warn("mmsc.services.enabled: with mmscs configured and no rule to local in routing.rules, no message reaches services")
	}
	if u, err := url.Parse(s.ReplyURL); err == nil && u.Path != "" && len(c.MMSCs) > 0 &&
		!slices.ContainsFunc(c.Routing.Rules, func(r router.RuleConfig) bool { return r.Path != "" && toLocal(r) }) {
		warn("mmsc.services.reply_url: with mmscs configured and no rule that sends its path to local, late answers go to an MMSC")
	}
}

// warnURL compares the MMS URL of handsets with where MM1 listens: DNS can't tell a port.
func (c *Config) warnURL(warn func(string, ...any)) {
	want, from := "80", "handsets use port 80 unless their MMS URL names one; set mm1.url if it does"
	if c.MM1.TLS.Cert != "" {
		want = "443"
	}
	if c.MM1.URL != "" {
		u, err := url.Parse(c.MM1.URL)
		if err != nil {
			return // Validate says so
		}
		want = u.Port()
		if want == "" {
			want = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		from = "that is the port of mm1.url"
		known := false
		for _, z := range c.DNS.Zones {
			known = known || u.Hostname() == z.Name
		}
		for _, h := range c.MM1.Hosts {
			known = known || u.Hostname() == h
		}
		if !known && len(c.DNS.Zones) > 0 {
			warn("mm1.url: %s is none of dns.zones, so our DNS does not lead handsets here", u.Hostname())
		}
	}
	for _, l := range c.MM1.Listen {
		if port(l) == want {
			return
		}
	}
	warn("mm1.listen: %s: nothing listens on port %s (%s): DNS can't say a port", oneLine(c.MM1.Listen), want, from)
}

// warnTimes looks for time-outs that can't fit into one another.
func (c *Config) warnTimes(warn func(string, ...any)) {
	t := c.MM1.Timeouts
	if c.MM1.Deadline >= handsetPatience {
		warn("mm1.deadline: %s: handsets give up after %s, and then post again", c.MM1.Deadline, handsetPatience)
	}
	if t.Answer >= c.MM1.Deadline {
		warn("mm1.timeouts.answer: %s: one silent MMSC uses up mm1.deadline (%s), and no other is tried", t.Answer, c.MM1.Deadline)
	}
	if t.Connect >= c.MM1.Deadline {
		warn("mm1.timeouts.connect: %s: one unreachable MMSC uses up mm1.deadline (%s)", t.Connect, c.MM1.Deadline)
	}
	if t.Queue >= c.MM1.Deadline {
		warn("mm1.timeouts.queue: %s: waiting for a place uses up mm1.deadline (%s)", t.Queue, c.MM1.Deadline)
	}
	if c.Drain.Max < c.MM1.Deadline {
		warn("drain.max: %s: shorter than mm1.deadline (%s), so a drain may cut off a message", c.Drain.Max, c.MM1.Deadline)
	}
	if c.MMSC.Enabled && c.MMSC.MaxMessage < c.MM1.MaxMessage {
		warn("mmsc.max_message: %s: the embedded MMSC refuses what mm1.max_message (%s) lets in", c.MMSC.MaxMessage, c.MM1.MaxMessage)
	}
}

// warnCluster looks at what several routers need to work as one.
func (c *Config) warnCluster(warn func(string, ...any)) {
	for i, z := range c.DNS.Zones {
		if room := c.forgetting(); c.Cluster.Enabled() && z.TTL+newsTime > room {
			warn("drain.max: %s: of it %s are for resolvers to forget this router, less than dns.zones[%d].ttl (%s)", c.Drain.Max, room, i, z.TTL)
		}
	}
	if !c.Takeover.Enabled() {
		return
	}
	if !slices.ContainsFunc(c.Takeover.Routers, func(r takeover.RouterConfig) bool { return r.Name == c.Node.Name }) {
		warn("takeover.routers: this router, %s, is not among them", c.Node.Name)
		return
	}
	if !filepath.IsAbs(c.Node.Data) {
		warn("node.data: %q: keepalived watches a file in it, so takeover wants an absolute path", c.Node.Data)
	}
	c.warnServiceAddresses(warn)
}

// warnServiceAddresses looks whether the doors that gateways know would answer on an address that comes over.
func (c *Config) warnServiceAddresses(warn func(string, ...any)) {
	doors := []struct {
		key    string
		listen []string
		free   bool
		needed bool
	}{{"mm1", c.MM1.Listen, c.MM1.Freebind, true}, {"dns", c.DNS.Listen, c.DNS.Freebind, false}, {"ppg", []string{c.PPG.Listen}, c.PPG.Freebind, false},
		{"admin", []string{c.Admin.Listen}, c.Admin.Freebind, false}}
	for _, d := range doors {
		listens := map[netip.Addr]bool{}
		everywhere := false
		for _, l := range d.listen {
			host, _, err := net.SplitHostPort(l)
			a, aerr := netip.ParseAddr(host)
			everywhere = everywhere || err == nil && (host == "" || aerr == nil && a.IsUnspecified())
			listens[a] = true
		}
		for _, r := range c.Takeover.Routers {
			for _, s := range r.Addresses {
				p, err := netip.ParsePrefix(s)
				switch {
				case err != nil || everywhere: // Validate has read them
				case listens[p.Addr()] && !d.free:
					warn("%s.freebind: without it %s.listen can't open %s while another router holds it", d.key, d.key, p.Addr())
				case !listens[p.Addr()] && d.needed:
					warn("%s.listen: nothing listens on %s, a service address of %s that may come over", d.key, p.Addr(), r.Name)
				}
			}
		}
	}
}
