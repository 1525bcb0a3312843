package ppg

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/udp"
	"github.com/mmsrouter/mmsrouter/router"
)

// Config is the section `ppg`.
type Config struct {
	Listen       string             `yaml:"listen"`        // where push initiators post; empty: there is no gateway
	Freebind     bool               `yaml:"freebind"`      // lets the gateway bind an address that the machine does not have yet (IP_FREEBIND)
	Path         string             `yaml:"path"`          // of their requests; empty: any
	Name         string             `yaml:"name"`          // sender-name of answers
	URL          string             `yaml:"url"`           // sender-address of answers; empty: not said
	Initiators   []InitiatorConfig  `yaml:"initiators"`    // none: whoever reaches listen, which must then be a loopback address
	MaxRequest   router.Size        `yaml:"max_request"`   // of one HTTP body
	MaxAddresses int                `yaml:"max_addresses"` // of one push
	MaxSegments  int                `yaml:"max_segments"`  // short messages that one push may take
	MaxRequests  int                `yaml:"max_requests"`  // requests under way; more get 503
	Networks     []string           `yaml:"networks"`      // names of networks that network-required may ask for
	Expiry       time.Duration      `yaml:"expiry"`        // of a push without deliver-before-timestamp
	MaxExpiry    time.Duration      `yaml:"max_expiry"`    // no push is kept longer, whatever it says
	Keep         time.Duration      `yaml:"keep"`          // how long push ids and states are known after that
	Confirm      bool               `yaml:"confirm"`       // delivery-method confirmed: the SMSC's delivery receipt decides; false: it is refused
	ConfirmWait  time.Duration      `yaml:"confirm_wait"`  // how long for that receipt
	Workers      int                `yaml:"workers"`       // deliveries under way at once
	Lease        time.Duration      `yaml:"lease"`         // after it another node takes over from one that died
	RetryFirst   time.Duration      `yaml:"retry_first"`   // pause after the first attempt that failed; doubles
	RetryMax     time.Duration      `yaml:"retry_max"`     // ceiling of that pause
	Results      ResultConfig       `yaml:"results"`
	Capabilities []CapabilityConfig `yaml:"capabilities"` // answers to client capability queries
	SMPP         sms.Config         `yaml:"smpp"`         // bearer of numbers
	UDP          udp.Config         `yaml:"udp"`          // bearer of IP addresses
}

// InitiatorConfig is a push initiator.
type InitiatorConfig struct {
	Name     string         `yaml:"name"`     // its pushes are its own: no other one sees or cancels them
	User     string         `yaml:"user"`     // of HTTP Basic; empty: its networks are enough
	Password string         `yaml:"password"` // of that user
	Networks []netip.Prefix `yaml:"networks"` // where it posts from; none: anywhere, which needs a password
	Allow    []string       `yaml:"allow"`    // prefixes of numbers and IP networks that it may push to; none: all
	Deny     []string       `yaml:"deny"`     // the same, and may not
}

// ResultConfig says how results are told to initiators who ask for them. They are told to the address that posted the push; other
// addresses must be listed.
type ResultConfig struct {
	Networks   []netip.Prefix `yaml:"networks"`    // further addresses that results may be posted to
	Timeout    time.Duration  `yaml:"timeout"`     // of one request
	RetryFirst time.Duration  `yaml:"retry_first"` // pause after the first one that failed; doubles
	RetryMax   time.Duration  `yaml:"retry_max"`   // ceiling of that pause
	GiveUp     time.Duration  `yaml:"give_up"`     // after the event
}

// CapabilityConfig is what is known of some handsets.
type CapabilityConfig struct {
	Prefix string `yaml:"prefix"` // of their numbers; empty: all others
	File   string `yaml:"file"`   // UAProf document (RDF)
}

// DefaultConfig gives the defaults.
func DefaultConfig() Config {
	return Config{Listen: "127.0.0.1:8091", Name: "mmsrouter", MaxRequest: 1 << 20, MaxAddresses: 1000, MaxSegments: 10, MaxRequests: 256, Networks: []string{"GSM", "Any"},
		Expiry: 24 * time.Hour, MaxExpiry: 7 * 24 * time.Hour, Keep: 72 * time.Hour, Confirm: true, ConfirmWait: 24 * time.Hour, Workers: 64, Lease: time.Minute,
		RetryFirst: time.Second, RetryMax: 5 * time.Minute,
		Results: ResultConfig{Timeout: 10 * time.Second, RetryFirst: 2 * time.Second, RetryMax: 10 * time.Minute, GiveUp: 24 * time.Hour},
		SMPP:    sms.DefaultConfig(), UDP: udp.DefaultConfig()}
}

// Validate says which key is wrong and what is allowed.
func (c *Config) Validate() error {
	if c.Listen == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("ppg.listen: %q is not host:port", c.Listen)
	}
	if ip, err := netip.ParseAddr(host); len(c.Initiators) == 0 && host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("ppg.initiators: there are none, which is allowed only where listen is a loopback address, not %q", c.Listen)
	}
	for _, l := range []struct {
		key       string
		v, lo, hi int64
	}{
		{"max_request", int64(c.MaxRequest), 1 << 10, 64 << 20}, {"max_addresses", int64(c.MaxAddresses), 1, 100_000}, {"max_segments", int64(c.MaxSegments), 1, 255},
		{"max_requests", int64(c.MaxRequests), 1, 100_000}, {"workers", int64(c.Workers), 1, 10_000},
	} {
		if l.v < l.lo || l.v > l.hi {
			return fmt.Errorf("ppg.%s: %d; allowed are %d to %d", l.key, l.v, l.lo, l.hi)
		}
	}
	if err := c.times(); err != nil {
		return err
	}
	if c.Path != "" && !strings.HasPrefix(c.Path, "/") {
		return fmt.Errorf("ppg.path: %q; want a path such as /pap, or nothing", c.Path)
	}
	seen := map[string]bool{}
	for i := range c.Initiators {
		if err := c.Initiators[i].validate(fmt.Sprintf("ppg.initiators[%d]", i), seen); err != nil {
			return err
		}
	}
	for i, k := range c.Capabilities {
		if k.File == "" {
			return fmt.Errorf("ppg.capabilities[%d].file: want the name of a file", i)
		}
	}
	if err := c.SMPP.Validate("ppg.smpp"); err != nil {
		return err
	}
	return c.UDP.Validate("ppg.udp")
}

func (c *Config) times() error {
	for _, l := range []struct {
		key  string
		v    time.Duration
		most time.Duration
	}{
		{"expiry", c.Expiry, c.MaxExpiry}, {"max_expiry", c.MaxExpiry, 90 * 24 * time.Hour}, {"keep", c.Keep, 365 * 24 * time.Hour}, {"confirm_wait", c.ConfirmWait, 30 * 24 * time.Hour},
		{"lease", c.Lease, time.Hour}, {"retry_first", c.RetryFirst, c.RetryMax}, {"retry_max", c.RetryMax, 24 * time.Hour}, {"results.timeout", c.Results.Timeout, time.Minute},
		{"results.retry_first", c.Results.RetryFirst, c.Results.RetryMax}, {"results.retry_max", c.Results.RetryMax, 24 * time.Hour}, {"results.give_up", c.Results.GiveUp, 30 * 24 * time.Hour},
	} {
		if l.v < time.Millisecond || l.v > l.most {
			return fmt.Errorf("ppg.%s: %s; allowed are 1ms to %s", l.key, l.v, l.most)
		}
	}
	return nil
}

func (i *InitiatorConfig) validate(at string, seen map[string]bool) error {
	switch {
	case i.Name == "" || len(i.Name) > 40:
		return fmt.Errorf("%s.name: %q; want 1 to 40 characters", at, i.Name)
	case seen["name "+i.Name]:
		return fmt.Errorf("%s.name: %q is the name of another one too", at, i.Name)
	case i.User != "" && seen["user "+i.User]:
		return fmt.Errorf("%s.user: %q is the user of another one too", at, i.User)
	case i.User == "" && len(i.Networks) == 0:
		return fmt.Errorf("%s: neither user nor networks: anybody could be this initiator", at)
	case (i.User == "") != (i.Password == "") || strings.Contains(i.User, ":"):
		return fmt.Errorf("%s.user, password: want both or none, the user without a colon", at)
	}
	seen["name "+i.Name] = true
	seen["user "+i.User] = true
	for key, list := range map[string][]string{"allow": i.Allow, "deny": i.Deny} {
		for _, rule := range list {
			if _, err := netip.ParsePrefix(rule); err != nil && strings.Trim(strings.TrimPrefix(rule, "+"), "0123456789") != "" || rule == "" {
				return fmt.Errorf("%s.%s: %q is neither the beginning of a number nor an IP network", at, key, rule)
			}
		}
	}
	return nil
}

// may says whether this initiator may push to an address.
func (i *InitiatorConfig) may(a pap.ClientAddress) bool {
	return !anyRule(i.Deny, a) && (len(i.Allow) == 0 || anyRule(i.Allow, a))
}

func anyRule(rules []string, a pap.ClientAddress) bool {
	ip, err := netip.ParseAddr(a.Value)
	for _, rule := range rules {
		if a.Kind == pap.PLMN {
			if strings.HasPrefix(a.Value, rule) {
				return true
			}
			continue
		}
		if n, perr := netip.ParsePrefix(rule); perr == nil && err == nil && n.Contains(ip) {
			return true
		}
	}
	return false
}
