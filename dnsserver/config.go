package dnsserver

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/mmsrouter/mmsrouter/router"
)

// Config is the section `dns` of the configuration.
type Config struct {
	// Listen are the addresses for UDP and TCP; ":53" is every address of the machine.
	Listen []string `yaml:"listen"`
	// Freebind lets the server bind addresses that the machine does not have yet (IP_FREEBIND).
	Freebind bool `yaml:"freebind"`
	// Sockets is the number of UDP sockets for each address; 0 is one per CPU.
	Sockets int `yaml:"sockets"`
	// Version answers the CHAOS query version.bind; {version} is replaced. Empty: refused.
	Version string `yaml:"version"`
	// NSID names this server to who asks by EDNS (RFC 5001) or for id.server. Empty: the node's name. "none": nothing.
	NSID string `yaml:"nsid"`
	// UDPSize is the largest answer over UDP, and the size told by EDNS.
	UDPSize router.Size `yaml:"udp_size"`
	// UnverifiedSize is the largest answer over UDP to a client without a valid cookie; a larger one is
	// truncated, so that it comes back over TCP. A zone's own addresses are always answered.
	UnverifiedSize router.Size `yaml:"unverified_size"`
	// CookieSecrets are keys of 32 hexadecimal digits for DNS cookies (RFC 9018), the same on every router. The first
	// makes cookies, all verify. None: a random one, made at the start.
	CookieSecrets []string `yaml:"cookie_secrets"`
	// Gateways are networks (WAP gateways, resolvers) to which no limit per client applies. Loopback and
	// private networks always belong to them.
	Gateways []string `yaml:"gateways"`
	// ShortTTL is the most that resolvers may remember the addresses for while a router is about to drain.
	ShortTTL  time.Duration   `yaml:"short_ttl"`
	RateLimit RateLimitConfig `yaml:"rate_limit"`
	TCP       TCPConfig       `yaml:"tcp"`
	Zones     []ZoneConfig    `yaml:"zones"`
}

// RateLimitConfig bounds the answers over UDP to one client network, so that forged queries can't use this
// server to flood it.
type RateLimitConfig struct {
	// Answers per second for one name and type; 0 is no limit.
	Answers int `yaml:"answers"`
	// Errors per second (NXDOMAIN, REFUSED and the like) in all; 0 is no limit.
	Errors int `yaml:"errors"`
	// Slip: every n-th answer beyond the limit is sent truncated, the others are dropped. 0 drops all.
	Slip int `yaml:"slip"`
	// IPv4Prefix and IPv6Prefix are the lengths of a client network's prefix.
	IPv4Prefix int `yaml:"ipv4_prefix"`
	IPv6Prefix int `yaml:"ipv6_prefix"`
}

// TCPConfig bounds DNS over TCP.
type TCPConfig struct {
	MaxConnections int           `yaml:"max_connections"`
	PerClient      int           `yaml:"per_client"`    // connections of one address; 0 is no limit
	IdleTimeout    time.Duration `yaml:"idle_timeout"`  // between two queries, and for one query or answer to pass
	MaxQueries     int           `yaml:"max_queries"`   // per connection, then it is closed
	MaxPipelined   router.Size   `yaml:"max_pipelined"` // octets of answers gathered before they are written
}

// ZoneConfig is one zone. A zone without `ns` gets the name server ns1.<zone> with the zone's own addresses.
type ZoneConfig struct {
	Name string `yaml:"name"`
	// TTL of the addresses and of records that don't say their own.
	TTL time.Duration `yaml:"ttl"`
	// NegativeTTL is how long "there is no such name" may be remembered.
	NegativeTTL time.Duration `yaml:"negative_ttl"`
	// Addresses are the routers' own: IPv4, IPv6, EUI-48, EUI-64.
	Addresses []string `yaml:"addresses"`
	// Order of several addresses in an answer: rotate (another one first each time) or fixed.
	Order string `yaml:"order"`
	// Preferences say otherwise for clients of certain networks; the first that fits counts.
	Preferences []PreferenceConfig `yaml:"preferences"`
	// NS are the name servers' names, NSTTL the TTL of these records.
	NS    []string      `yaml:"ns"`
	NSTTL time.Duration `yaml:"ns_ttl"`
	// MName and RName are the first name server and the responsible mailbox of the SOA record.
	MName string `yaml:"mname"`
	RName string `yaml:"rname"`
	// Refresh, Retry and Expire are the SOA's times for secondaries.
	Refresh time.Duration `yaml:"refresh"`
	Retry   time.Duration `yaml:"retry"`
	Expire  time.Duration `yaml:"expire"`
	// Records are further records, one zone-file line each, names relative to the zone: "@ MX 10 mail.example.net.",
	// "* 300 A 192.0.2.7". NS records below the zone delegate; A and AAAA below them are glue.
	Records []string `yaml:"records"`
	// Transfer are the networks that may fetch the whole zone (AXFR).
	Transfer []string `yaml:"transfer"`
}

// Orders of addresses in an answer.
const (
	OrderRotate = "rotate"
	OrderFixed  = "fixed"
)

// DefaultConfig gives the defaults: everything but zones.
func DefaultConfig() Config {
	return Config{
		Listen: []string{"127.0.0.1:1053"}, Version: "mmsrouter {version}", UDPSize: 1232, UnverifiedSize: 512, ShortTTL: 5 * time.Second,
		RateLimit: RateLimitConfig{Answers: 200, Errors: 50, Slip: 2, IPv4Prefix: 24, IPv6Prefix: 56},
		TCP: TCPConfig{MaxConnections: 1000, PerClient: 50, IdleTimeout: 10 * time.Second, MaxQueries: 10000,
			MaxPipelined: 16 << 10},
	}
}

// withDefaults fills what a zone does not say.
func (z ZoneConfig) withDefaults() ZoneConfig {
	z.Name = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(z.Name), "."))
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&z.TTL, 30*time.Second)
	def(&z.NegativeTTL, z.TTL)
	def(&z.NSTTL, time.Hour)
	def(&z.Refresh, time.Hour)
	def(&z.Retry, 10*time.Minute)
	def(&z.Expire, 7*24*time.Hour)
	if z.Order == "" {
		z.Order = OrderRotate
	}
	if z.RName == "" {
		z.RName = "hostmaster." + z.Name
	}
	return z
}

// Validate says what is wrong, key by key; all of it, not only the first.
func (c Config) Validate() error {
	_, err := compile(c, "", "", nil)
	return err
}

// BoardZones gives the zones with their addresses as the Board takes them.
func (c Config) BoardZones() ([]router.Zone, error) {
	var zones []router.Zone
	for i, z := range c.Zones {
		z = z.withDefaults()
		rz := router.Zone{Name: z.Name}
		for _, s := range z.Addresses {
			a, err := router.ParseAddress(s)
			if err != nil {
				return nil, fmt.Errorf("dns.zones[%d].addresses: %w", i, err)
			}
			rz.Addresses = append(rz.Addresses, a)
		}
		zones = append(zones, rz)
	}
	return zones, nil
}

// check looks at everything but the zones.
func (c Config) check() []error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	between := func(key string, v, lo, hi int64) {
		if v < lo || v > hi {
			bad("dns.%s: %d: want %d to %d", key, v, lo, hi)
		}
	}
	if len(c.Listen) == 0 {
		bad("dns.listen: want at least one address such as 127.0.0.1:1053")
	}
	seen := map[string]bool{}
	for _, l := range c.Listen {
		if err := checkListen(l); err != nil {
			bad("dns.listen: %w", err)
		} else if seen[l] && !strings.HasSuffix(l, ":0") {
			bad("dns.listen: %s stands there twice", l)
		}
		seen[l] = true
	}
	between("sockets", int64(c.Sockets), 0, 256)
	between("udp_size", int64(c.UDPSize), 512, 4096)
	between("unverified_size", int64(c.UnverifiedSize), 512, 4096)
	between("rate_limit.answers", int64(c.RateLimit.Answers), 0, 1e6)
	between("rate_limit.errors", int64(c.RateLimit.Errors), 0, 1e6)
	between("rate_limit.slip", int64(c.RateLimit.Slip), 0, 100)
	between("rate_limit.ipv4_prefix", int64(c.RateLimit.IPv4Prefix), 8, 32)
	between("rate_limit.ipv6_prefix", int64(c.RateLimit.IPv6Prefix), 16, 64)
	between("tcp.max_connections", int64(c.TCP.MaxConnections), 1, 1e6)
	between("tcp.per_client", int64(c.TCP.PerClient), 0, 1e6)
	between("tcp.max_queries", int64(c.TCP.MaxQueries), 1, math.MaxInt32)
	between("tcp.max_pipelined", int64(c.TCP.MaxPipelined), 512, 16<<20)
	if c.TCP.IdleTimeout < 100*time.Millisecond || c.TCP.IdleTimeout > time.Hour {
		bad("dns.tcp.idle_timeout: %v: want 100ms to 1h", c.TCP.IdleTimeout)
	}
	if c.ShortTTL < time.Second || c.ShortTTL > time.Hour || c.ShortTTL%time.Second != 0 {
		bad("dns.short_ttl: %v: want 1s to 1h in whole seconds", c.ShortTTL)
	}
	if len(c.Version) > 200 || len(c.NSID) > 100 {
		bad("dns.version, dns.nsid: want at most 200 and 100 octets")
	}
	for i, s := range c.CookieSecrets {
		if b, err := hex.DecodeString(s); err != nil || len(b) != 16 {
			bad("dns.cookie_secrets[%d]: want 32 hexadecimal digits", i)
		}
	}
	if _, err := parseNetworks("dns.gateways", c.Gateways); err != nil {
		errs = append(errs, err)
	}
	return errs
}

func checkListen(l string) error {
	host, port, err := net.SplitHostPort(l)
	if err != nil {
		return fmt.Errorf("%q: want address:port", l)
	}
	if _, err := netip.ParseAddr(host); host != "" && err != nil {
		return fmt.Errorf("%q: want an IP address before the port", l)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q: want a port from 0 to 65535", l)
	}
	return nil
}

// parseNetworks reads prefixes; an address alone is a network of one.
func parseNetworks(key string, in []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	var errs []error
	for _, s := range in {
		if a, err := netip.ParseAddr(s); err == nil {
			a = a.Unmap()
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %q: want a network such as 192.0.2.0/24 or an address", key, s))
			continue
		}
		out = append(out, p.Masked())
	}
	return out, errors.Join(errs...)
}

// seconds turns a duration into a TTL; the caller has checked it.
func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }

// checkName says whether s is a domain name that fits into the wire form.
func checkName(s string) error {
	if s == "" || s == "." {
		return errors.New("want a domain name")
	}
	if strings.ContainsAny(s, " \t\"();@") {
		return fmt.Errorf("%q is not a domain name", s)
	}
	if _, ok := dns.IsDomainName(s); !ok {
		return fmt.Errorf("%q is not a domain name (labels of at most 63 octets, 255 in all)", s)
	}
	return nil
}
