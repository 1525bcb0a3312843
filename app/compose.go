package app

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"

	"github.com/mmsrouter/mmsrouter/healthcheck"
	"github.com/mmsrouter/mmsrouter/proxy"
	"github.com/mmsrouter/mmsrouter/router"
)

// composition is a configuration turned into what the rooms take.
type composition struct {
	targets   []router.Target
	zones     []router.Zone
	table     *router.Table
	upstreams []proxy.Upstream
	watched   []healthcheck.Target
}

// compose does all of the turning that can fail: it reads certificates and compiles rules.
func (a *App) compose(c *Config) (*composition, error) {
	s := &composition{}
	var err error
	if s.table, err = router.Compile(c.Routing, c.targetNames()); err != nil {
		return nil, err
	}
	if s.zones, err = c.DNS.BoardZones(); err != nil {
		return nil, err
	}
	for i := range c.MMSCs {
		m := &c.MMSCs[i]
		tc, err := a.forwarder.sides.of(m)
		if err != nil {
			return nil, fmt.Errorf("mmscs[%d].%w", i, err)
		}
		s.targets = append(s.targets, router.Target{Name: m.Name, URL: m.URL, Weight: m.weight(), Tier: m.Tier})
		s.upstreams = append(s.upstreams, proxy.Upstream{Name: m.Name, URL: m.URL, Host: m.Host, SourceAddress: m.SourceAddress,
			TLS: tc, InFlight: m.InFlight, Idle: m.IdleTimeout})
		s.watched = append(s.watched, m.watched(tc))
	}
	if a.mmsc != nil {
		s.targets = append(s.targets, router.Target{Name: router.LocalName, Weight: 1, Local: true, Spare: len(c.MMSCs) > 0})
		s.upstreams = append(s.upstreams, proxy.Upstream{Name: router.LocalName, Dial: a.mmsc.Dial})
		s.watched = append(s.watched, healthcheck.Target{Name: router.LocalName, Check: a.mmsc.Healthy})
	}
	return s, nil
}

// PublicURL is how handsets reach the MM1 door: what the embedded MMSC puts into notifications, and where send
// posts.
func (c *Config) PublicURL() string {
	if c.MM1.URL != "" {
		return c.MM1.URL
	}
	if len(c.DNS.Zones) == 0 {
		return ""
	}
	u := url.URL{Scheme: "http", Host: c.DNS.Zones[0].Name, Path: "/"}
	standard := "80"
	if c.MM1.TLS.Cert != "" {
		u.Scheme, standard = "https", "443"
	}
	if len(c.MM1.Listen) > 0 {
		if p := port(c.MM1.Listen[0]); p != "" && p != standard && p != "0" {
			u.Host = net.JoinHostPort(u.Host, p)
		}
	}
	return u.String()
}

func (m *MMSCConfig) watched(tc *tls.Config) healthcheck.Target {
	return healthcheck.Target{Name: m.Name, URL: m.URL, SourceAddress: m.SourceAddress, TLS: tc, Host: m.Host, Probe: m.Probe}
}
