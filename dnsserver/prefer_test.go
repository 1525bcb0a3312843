package dnsserver_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mmsrouter/mmsrouter/dnsserver"
	"github.com/mmsrouter/mmsrouter/router"
)

// asking asks the handler, by the fast path where it answers.
func asking(t *testing.T, s *dnsserver.Server, src string, qtype uint16) (addresses []string, ttl uint32) {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion("mms.example.net.", qtype)
	pkt, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	h := s.NewHandler()
	h.Refresh()
	buf := make([]byte, dnsserver.SlotSize)
	n, ok := h.Fast(buf, copy(buf, pkt), netip.MustParseAddr(src))
	out := buf[:n]
	if !ok {
		out = h.Slow(pkt, netip.MustParseAddr(src), false)
	}
	var in dns.Msg
	if err := in.Unpack(out); err != nil {
		t.Fatal(err)
	}
	for _, rr := range in.Answer {
		ttl = rr.Header().Ttl
		switch rr := rr.(type) {
		case *dns.A:
			addresses = append(addresses, rr.A.String())
		case *dns.AAAA:
			addresses = append(addresses, rr.AAAA.String())
		}
	}
	return addresses, ttl
}

func TestPreferences(t *testing.T) {
	c := testConfig()
	c.RateLimit = dnsserver.RateLimitConfig{IPv4Prefix: 24, IPv6Prefix: 56}
	c.Zones[0].Addresses = []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"}
	c.Zones[0].Preferences = []dnsserver.PreferenceConfig{
		{Clients: []string{"198.51.100.0/24"}, Order: "failover", Addresses: []string{"192.0.2.3", "2001:db8::2", "192.0.2.1"}},
		{Clients: []string{"203.0.113.7", "2001:db8:7::/48"}, Order: "weighted", Addresses: []string{"192.0.2.1", "192.0.2.2"}, Weights: []int{3, 1}},
	}
	s, board := newServer(t, c)
	first := func(src string) map[string]int {
		got := map[string]int{}
		for range 2000 {
			all, _ := asking(t, s, src, dns.TypeA)
			if len(all) != 3 {
				t.Fatalf("%s gets %v", src, all)
			}
			got[all[0]]++
		}
		return got
	}
	if got, _ := asking(t, s, "198.51.100.9", dns.TypeA); fmt.Sprint(got) != "[192.0.2.3]" {
		t.Errorf("failover, A: %v", got)
	}
	if got, _ := asking(t, s, "198.51.100.9", dns.TypeAAAA); fmt.Sprint(got) != "[2001:db8::2]" {
		t.Errorf("failover, AAAA: %v", got)
	}
	for _, src := range []string{"203.0.113.7", "2001:db8:7::9"} {
		if got := first(src); got["192.0.2.1"] < 1350 || got["192.0.2.1"] > 1650 || got["192.0.2.1"]+got["192.0.2.2"] != 2000 {
			t.Errorf("weights 3 and 1, asked 2000 times from %s: %v", src, got)
		}
	}
	if got := first("203.0.113.8"); got["192.0.2.3"] < 600 || got["192.0.2.2"] < 600 {
		t.Errorf("without a preference, asked 2000 times: %v", got)
	}
	set := func(list ...string) {
		var all []router.Address
		for _, s := range list {
			a, err := router.ParseAddress(s)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, a)
		}
		board.SetAddresses("mms.example.net", all)
	}
	for _, tc := range []struct{ there, src, want string }{
		{"192.0.2.1 192.0.2.2", "198.51.100.9", "[192.0.2.1]"},
		{"192.0.2.2", "198.51.100.9", "[192.0.2.2]"}, // none of the preferred: the zone's
		{"192.0.2.2 192.0.2.3", "203.0.113.7", "[192.0.2.2 192.0.2.3]"},
		{"192.0.2.3", "203.0.113.7", "[192.0.2.3]"},
		{"", "203.0.113.7", "[]"},
	} {
		set(strings.Fields(tc.there)...)
		if got, _ := asking(t, s, tc.src, dns.TypeA); fmt.Sprint(got) != tc.want {
			t.Errorf("of %q %s gets %v, want %s", tc.there, tc.src, got, tc.want)
		}
	}
}

func TestPreferenceMistakes(t *testing.T) {
	good := dnsserver.PreferenceConfig{Clients: []string{"10.0.0.0/8"}, Order: "weighted", Addresses: []string{"192.0.2.1", "192.0.2.2"}, Weights: []int{1, 2}}
	for _, tc := range []struct {
		name   string
		change func(*dnsserver.PreferenceConfig)
		want   string
	}{
		{"fine", func(*dnsserver.PreferenceConfig) {}, ""},
		{"nobody", func(p *dnsserver.PreferenceConfig) { p.Clients = nil }, "preferences[0].clients"},
		{"no network", func(p *dnsserver.PreferenceConfig) { p.Clients = []string{"home"} }, "preferences[0].clients"},
		{"no order", func(p *dnsserver.PreferenceConfig) { p.Order = "" }, "want failover or weighted"},
		{"no address", func(p *dnsserver.PreferenceConfig) { p.Addresses = nil }, "preferences[0].addresses"},
		{"a name", func(p *dnsserver.PreferenceConfig) { p.Addresses[0] = "r1" }, "want an IP address"},
		{"too few weights", func(p *dnsserver.PreferenceConfig) { p.Weights = []int{1} }, "one for each address"},
		{"weights of a failover", func(p *dnsserver.PreferenceConfig) { p.Order = "failover" }, "order weighted"},
		{"weight 0", func(p *dnsserver.PreferenceConfig) { p.Weights = []int{0, 1} }, "want 1 to 1000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := good
			p.Addresses = append([]string(nil), good.Addresses...)
			tc.change(&p)
			c := testConfig()
			c.Zones[0].Preferences = []dnsserver.PreferenceConfig{p}
			err := c.Validate()
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// The short TTL holds while it is on; how long addresses may be remembered is that of the longest TTL that was given.
func TestShortTTL(t *testing.T) {
	c := testConfig()
	c.Zones = c.Zones[:1]
	c.Zones[0].TTL, c.ShortTTL = time.Hour, 5*time.Second
	s, _ := newServer(t, c)
	about := func(what string, want time.Duration) {
		t.Helper()
		if got := time.Until(s.CachedUntil()); got > want || got < want-time.Minute {
			t.Errorf("%s: remembered for %s, want about %s", what, got, want)
		}
	}
	ttl := func(what string, want uint32) {
		t.Helper()
		for _, q := range []uint16{dns.TypeA, dns.TypeAAAA} {
			if _, got := asking(t, s, "192.0.2.200", q); got != want {
				t.Errorf("%s: TTL %d, want %d", what, got, want)
			}
		}
	}
	ttl("at first", 3600)
	about("at first", time.Hour)
	s.Shorten(true)
	ttl("shortened", 5)
	about("shortened just now", time.Hour)
	s.Shorten(false)
	ttl("ended", 3600)
	c.Zones[0].TTL = 30 * time.Second
	if err := s.Reload(c); err != nil {
		t.Fatal(err)
	}
	ttl("after a reload", 30)
	about("after a reload", time.Hour)
	s.Shorten(true)
	ttl("a short one", 5)
	c.Zones[0].TTL = 2 * time.Second
	if err := s.Reload(c); err != nil {
		t.Fatal(err)
	}
	ttl("one that is short already", 2)
}
