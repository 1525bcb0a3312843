package outgoing

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/router"
)

// Config is what outgoing requests may do and cost.
type Config struct {
	Allow       []string      `yaml:"allow"`       // networks or addresses to be reached although they are private, loopback or reserved
	Deny        []string      `yaml:"deny"`        // networks or addresses never to be reached; stronger than allow
	Ports       []int         `yaml:"ports"`       // ports that may be reached; empty: any
	Redirects   int           `yaml:"redirects"`   // redirects that a GET follows, each checked; 0: none
	Timeout     time.Duration `yaml:"timeout"`     // a request from the look-up of the name to the answer's last octet
	Connect     time.Duration `yaml:"connect"`     // look-up, TCP and TLS
	MaxBody     router.Size   `yaml:"max_body"`    // an answer, before and after decompression
	MaxHeader   router.Size   `yaml:"max_header"`  // an answer's head
	Addresses   int           `yaml:"addresses"`   // addresses of a name that are tried
	Connections int           `yaml:"connections"` // connections to one host of one client
	Idle        int           `yaml:"idle"`        // kept-alive connections to one host of one client
}

// DefaultConfig gives the defaults.
func DefaultConfig() Config {
	return Config{Redirects: 3, Timeout: 15 * time.Second, Connect: 5 * time.Second, MaxBody: 8 << 20, MaxHeader: 64 << 10,
		Addresses: 4, Connections: 64, Idle: 8}
}

// Validate says what can't be.
func (c Config) Validate() error {
	_, err := compile(c)
	return err
}

// policy is a Config made ready.
type policy struct {
	Config
	allow, deny []netip.Prefix
}

func compile(c Config) (*policy, error) {
	p := &policy{Config: c}
	var errs []error
	networks := func(key string, list []string) []netip.Prefix {
		var out []netip.Prefix
		for _, s := range list {
			n, err := parseNetwork(s)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %q: want a network such as 10.1.0.0/16 or an address", key, s))
				continue
			}
			out = append(out, n)
		}
		return out
	}
	p.allow, p.deny = networks("allow", c.Allow), networks("deny", c.Deny)
	for _, n := range c.Ports {
		if n < 1 || n > 65535 {
			errs = append(errs, fmt.Errorf("ports: %d: want 1 to 65535", n))
		}
	}
	between := func(key string, v, low, high int64) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%s: %d: want %d to %d", key, v, low, high))
		}
	}
	between("redirects", int64(c.Redirects), 0, 20)
	between("max_body", int64(c.MaxBody), 1, 1<<30)
	between("max_header", int64(c.MaxHeader), 1<<10, 1<<20)
	between("addresses", int64(c.Addresses), 1, 16)
	between("connections", int64(c.Connections), 1, 10000)
	between("idle", int64(c.Idle), 0, 1000)
	if c.Timeout <= 0 || c.Timeout > 10*time.Minute {
		errs = append(errs, fmt.Errorf("timeout: %s: want more than 0 and at most 10m", c.Timeout))
	}
	if c.Connect <= 0 || c.Connect > c.Timeout {
		errs = append(errs, fmt.Errorf("connect: %s: want more than 0 and at most timeout", c.Connect))
	}
	return p, errors.Join(errs...)
}

func parseNetwork(s string) (netip.Prefix, error) {
	s = strings.TrimSpace(s)
	if strings.Contains(s, "/") {
		n, err := netip.ParsePrefix(s)
		if err == nil && n.Addr().Is4In6() {
			return n, fmt.Errorf("write the IPv4 network")
		}
		return n.Masked(), err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func (p *policy) port(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n > 0 && n < 65536 && (len(p.Ports) == 0 || slices.Contains(p.Ports, n))
}
