package dnsserver_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mmsrouter/mmsrouter/dnsserver"
)

// parse reads a section over the defaults, as the composition root does.
func parse(t *testing.T, text string) dnsserver.Config {
	t.Helper()
	c := dnsserver.DefaultConfig()
	d := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEveryKeyParses(t *testing.T) {
	c := parse(t, `
listen: ["127.0.0.1:1053", "[::1]:1053", ":5300"]
freebind: true
sockets: 4
version: ""
nsid: none
udp_size: 1400
unverified_size: 1KiB
cookie_secrets: [e5e973e5a6b2a43f48e7dc849e37bfcf, 445536bcd2513298075a5d379663c962]
gateways: [198.51.100.0/24, 2001:db8::1]
rate_limit: {answers: 10, errors: 5, slip: 1, ipv4_prefix: 32, ipv6_prefix: 48}
tcp: {max_connections: 10, per_client: 2, idle_timeout: 2s, max_queries: 100, max_pipelined: 16KiB}
zones:
  - name: MMS.example.net.
    ttl: 1m
    negative_ttl: 10s
    addresses: [192.0.2.1, "2001:db8::1", 00-00-5e-00-53-2a]
    order: fixed
    ns: [ns1.example.net]
    ns_ttl: 1h
    mname: ns1.example.net
    rname: dns@example.net
    refresh: 1h
    retry: 10m
    expire: 168h
    records: ["@ MX 10 mail", "mail A 192.0.2.3"]
    transfer: [192.0.2.0/24]
`)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	zones, err := c.BoardZones()
	if err != nil || len(zones) != 1 || zones[0].Name != "mms.example.net" || len(zones[0].Addresses) != 3 {
		t.Errorf("zones: %v, %v", zones, err)
	}
	if err := dnsserver.DefaultConfig().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*dnsserver.Config)
		want []string
	}{
		{"nowhere to listen", func(c *dnsserver.Config) { c.Listen = nil }, []string{"dns.listen", "at least one"}},
		{"no port", func(c *dnsserver.Config) { c.Listen = []string{"127.0.0.1"} }, []string{"dns.listen", "address:port"}},
		{"a host name", func(c *dnsserver.Config) { c.Listen = []string{"localhost:53"} }, []string{"dns.listen", "IP address"}},
		{"a port too large", func(c *dnsserver.Config) { c.Listen = []string{"127.0.0.1:70000"} }, []string{"dns.listen", "0 to 65535"}},
		{"the same twice", func(c *dnsserver.Config) { c.Listen = []string{"127.0.0.1:53", "127.0.0.1:53"} }, []string{"dns.listen", "twice"}},
		{"udp_size", func(c *dnsserver.Config) { c.UDPSize = 65000 }, []string{"dns.udp_size", "512 to 4096"}},
		{"unverified_size", func(c *dnsserver.Config) { c.UnverifiedSize = 1 }, []string{"dns.unverified_size", "512"}},
		{"secret", func(c *dnsserver.Config) { c.CookieSecrets = []string{"secret"} }, []string{"dns.cookie_secrets[0]", "32 hexadecimal"}},
		{"gateways", func(c *dnsserver.Config) { c.Gateways = []string{"10.0.0.0/33"} }, []string{"dns.gateways", "10.0.0.0/33"}},
		{"rate", func(c *dnsserver.Config) { c.RateLimit.Answers = -1 }, []string{"dns.rate_limit.answers"}},
		{"prefix", func(c *dnsserver.Config) { c.RateLimit.IPv6Prefix = 128 }, []string{"dns.rate_limit.ipv6_prefix", "16 to 64"}},
		{"idle", func(c *dnsserver.Config) { c.TCP.IdleTimeout = 0 }, []string{"dns.tcp.idle_timeout", "100ms to 1h"}},
		{"zone without a name", func(c *dnsserver.Config) { c.Zones[0].Name = "" }, []string{"dns.zones[0]", "name"}},
		{"zone with an impossible name", func(c *dnsserver.Config) { c.Zones[0].Name = strings.Repeat("a", 64) + ".net" }, []string{"dns.zones[0]", "63 octets"}},
		{"zone twice", func(c *dnsserver.Config) { c.Zones = append(c.Zones, dnsserver.ZoneConfig{Name: "Z.example."}) }, []string{"dns.zones[1].name", "twice"}},
		{"part of a second", func(c *dnsserver.Config) { c.Zones[0].TTL = 1500 * time.Millisecond }, []string{"ttl", "whole seconds"}},
		{"negative TTL below nothing", func(c *dnsserver.Config) { c.Zones[0].NegativeTTL = -time.Second }, []string{"negative_ttl", "at least 1s"}},
		{"address", func(c *dnsserver.Config) { c.Zones[0].Addresses = []string{"192.0.2.256"} }, []string{"addresses", "192.0.2.256", "IPv4, IPv6"}},
		{"order", func(c *dnsserver.Config) { c.Zones[0].Order = "random" }, []string{"order", "rotate or fixed"}},
		{"name server", func(c *dnsserver.Config) { c.Zones[0].NS = []string{"ns 1"} }, []string{"ns", "not a domain name"}},
		{"name server without address", func(c *dnsserver.Config) { c.Zones[0].NS = []string{"ns.z.example"} }, []string{"ns.z.example", "no A or AAAA"}},
		{"transfer", func(c *dnsserver.Config) { c.Zones[0].Transfer = []string{"any"} }, []string{"transfer", "any"}},
		{"record: nonsense", rec("www B 192.0.2.1"), []string{"records[0]", "www B"}},
		{"record: bad address", rec("www A 192.0.2"), []string{"records[0]"}},
		{"record: no name", rec(" A 192.0.2.1"), []string{"records[0]", "a name first"}},
		{"record: directive", rec("$INCLUDE /etc/passwd"), []string{"records[0]", "directives"}},
		{"record: two lines", rec("a A 192.0.2.1\nb A 192.0.2.2"), []string{"one line"}},
		{"record: comment only", rec("; nothing"), []string{"is not a record"}},
		{"record: outside", rec("www.example.org. A 192.0.2.1"), []string{"outside the zone"}},
		{"record: class", rec("www CH TXT x"), []string{"class IN"}},
		{"record: SOA", rec("@ SOA a b 1 2 3 4 5"), []string{"the SOA record is made from"}},
		{"record: apex NS", rec("@ NS ns.example.org."), []string{"belong into ns"}},
		{"record: apex A", rec("@ A 192.0.2.1"), []string{"belong into addresses"}},
		{"record: apex CNAME", rec("@ CNAME www.example.org."), []string{"can't stand"}},
		{"record: DNAME", rec("x DNAME example.org."), []string{"DNAME"}},
		{"record: DNSSEC", rec("@ DNSKEY 256 3 8 AwEAAQ=="), []string{"not signed"}},
		{"record: wildcard delegation", rec("*.x NS ns.example.org."), []string{"wildcard"}},
		{"record: twice", rec("www A 192.0.2.1", "www A 192.0.2.1"), []string{"records[1]", "twice"}},
		{"record: two TTLs", rec("www 60 A 192.0.2.1", "www 61 A 192.0.2.2"), []string{"records[1]", "another TTL"}},
		{"record: CNAME and others", rec("www CNAME a", "www TXT x"), []string{"www.z.example.", "CNAME and other"}},
		{"record: two CNAMEs", rec("www CNAME a", "www CNAME b"), []string{"www.z.example.", "CNAME"}},
		{"record: below a delegation", rec("sub NS ns.example.org.", "x.sub TXT x"), []string{"below the delegation of sub.z.example."}},
		{"record: beside a delegation", rec("sub NS ns.example.org.", "sub TXT x"), []string{"is delegated"}},
		{"record: at the default name server", rec("ns1 A 192.0.2.1"), []string{"default name server"}},
		{"record: of a deeper zone", func(c *dnsserver.Config) {
			rec("www.in A 192.0.2.1")(c)
			c.Zones = append(c.Zones, dnsserver.ZoneConfig{Name: "in.z.example"})
		}, []string{"www.in.z.example.", "belongs to the zone in.z.example"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := dnsserver.DefaultConfig()
			conf.Zones = []dnsserver.ZoneConfig{{Name: "z.example", Addresses: []string{"192.0.2.1"}}}
			c.edit(&conf)
			err := conf.Validate()
			if err == nil {
				t.Fatal("nothing is said")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func rec(lines ...string) func(*dnsserver.Config) {
	return func(c *dnsserver.Config) { c.Zones[0].Records = lines }
}

func TestAllMistakesAtOnce(t *testing.T) {
	c := dnsserver.DefaultConfig()
	c.Listen = nil
	c.UDPSize = 1
	c.Zones = []dnsserver.ZoneConfig{{Name: "a.example", Order: "x", Records: []string{"x Y", "@ A 192.0.2.1"}}}
	err := c.Validate()
	for _, w := range []string{"dns.listen", "dns.udp_size", "order", "records[0]", "records[1]"} {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%v does not say %q", err, w)
		}
	}
}

func FuzzRecords(f *testing.F) {
	for _, z := range testConfig().Zones {
		for _, r := range z.Records {
			f.Add(r)
		}
	}
	f.Add("$GENERATE 1-1000000000 h$ A 192.0.2.1")
	f.Add("@ TXT (\n x )")
	f.Fuzz(func(t *testing.T, line string) {
		c := dnsserver.DefaultConfig()
		c.Zones = []dnsserver.ZoneConfig{{Name: "z.example", Records: []string{line}}}
		_ = c.Validate() // any verdict will do, but it comes, and without a panic
	})
}
