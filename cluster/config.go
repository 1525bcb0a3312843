package cluster

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// DefaultPort is the gossip port where an address of join names none.
const DefaultPort = 7946

// Config is the section `cluster` of the configuration.
type Config struct {
	// Listen is the gossip address, for UDP and TCP; empty: this router is alone.
	Listen string `yaml:"listen"`
	// Advertise is the address by which the other routers reach this one; empty: that of listen.
	Advertise string `yaml:"advertise"`
	// Name of the cluster: routers of another name are not let in, even with the same key.
	Name string `yaml:"name"`
	// Join are addresses of other routers, host:port; of a DNS name, all its addresses. They are tried again for ever.
	Join []string `yaml:"join"`
	// Key encrypts the gossip (AES-GCM): 16, 24 or 32 octets in base64 or hexadecimal. It may be empty only where
	// all addresses are loopback.
	Key string `yaml:"key"`
	// OldKeys are accepted but not used for sending, while a new key is brought in.
	OldKeys []string `yaml:"old_keys"`
	// ProbeInterval is how often one other router is asked whether it lives.
	ProbeInterval time.Duration `yaml:"probe_interval"`
	// ProbeTimeout is how long its answer may take before others are asked to look too.
	ProbeTimeout time.Duration `yaml:"probe_timeout"`
	// Suspicion times probe_interval is how long a router that does not answer may deny its death.
	Suspicion int `yaml:"suspicion"`
	// GossipInterval is how often waiting news is passed on.
	GossipInterval time.Duration `yaml:"gossip_interval"`
	// SyncInterval is how often whole states are compared with one other router.
	SyncInterval time.Duration `yaml:"sync_interval"`
	// LeaveTimeout bounds the farewell.
	LeaveTimeout time.Duration `yaml:"leave_timeout"`
	// AskTimeout is how long a message waits for another router's word (duplicate fence, owners), then goes on.
	AskTimeout time.Duration `yaml:"ask_timeout"`
	// Forget is how long a router that went away without farewell is shown, and tried again.
	Forget time.Duration `yaml:"forget"`
	// MaxMembers bounds the routers of the cluster.
	MaxMembers int `yaml:"max_members"`
}

// DefaultConfig is a router that is alone.
func DefaultConfig() Config {
	return Config{
		Name: "mmsrouter", ProbeInterval: 500 * time.Millisecond, ProbeTimeout: 200 * time.Millisecond, Suspicion: 4,
		GossipInterval: 100 * time.Millisecond, SyncInterval: 15 * time.Second, LeaveTimeout: 3 * time.Second,
		AskTimeout: 20 * time.Millisecond, Forget: time.Hour, MaxMembers: 256,
	}
}

// Enabled says whether this router is one of several.
func (c *Config) Enabled() bool { return c.Listen != "" }

// Validate names each wrong key and what it allows.
func (c *Config) Validate() error {
	var errs []error
	bad := func(key, format string, a ...any) { errs = append(errs, fmt.Errorf("cluster."+key+": "+format, a...)) }
	if !c.Enabled() {
		if len(c.Join) > 0 {
			bad("listen", "wanted, because cluster.join names other routers")
		}
		return errors.Join(errs...)
	}
	loopback := true
	listen, err := netip.ParseAddrPort(c.Listen)
	switch {
	case err != nil:
		bad("listen", "%q: want an IP address and port such as 192.0.2.1:7946", c.Listen)
	case listen.Addr().IsUnspecified() && c.Advertise == "":
		bad("advertise", "wanted, because cluster.listen is every address of the machine")
	}
	loopback = loopback && listen.Addr().IsLoopback()
	if c.Advertise != "" {
		a, err := netip.ParseAddrPort(c.Advertise)
		if err != nil || a.Addr().IsUnspecified() {
			bad("advertise", "%q: want the IP address and port that the other routers reach", c.Advertise)
		}
		loopback = loopback && a.Addr().IsLoopback()
	}
	for i, j := range c.Join {
		host, _, err := splitJoin(j)
		if err != nil {
			bad(fmt.Sprintf("join[%d]", i), "%v", err)
			continue
		}
		ip, err := netip.ParseAddr(host)
		loopback = loopback && (err == nil && ip.IsLoopback() || strings.EqualFold(host, "localhost"))
	}
	if c.Key == "" && !loopback {
		bad("key", "may be empty only where listen, advertise and join are loopback addresses; `openssl rand -base64 32` makes one")
	}
	for i, k := range append([]string{c.Key}, c.OldKeys...) {
		if _, err := parseKey(k); err != nil && (i > 0 || k != "") {
			at := "key"
			if i > 0 {
				at = fmt.Sprintf("old_keys[%d]", i-1)
			}
			bad(at, "%v", err)
		}
	}
	if len(c.OldKeys) > 0 && c.Key == "" {
		bad("old_keys", "have a meaning only with cluster.key")
	}
	if len(c.OldKeys) > 8 {
		bad("old_keys", "%d of them: want at most 8", len(c.OldKeys))
	}
	if !nodeName(c.Name) {
		bad("name", "%q: want up to 64 letters, digits, dots, dashes, underscores", c.Name)
	}
	c.validateTimes(bad)
	return errors.Join(errs...)
}

func (c *Config) validateTimes(bad func(key, format string, a ...any)) {
	for _, d := range []struct {
		key    string
		v      time.Duration
		lo, hi time.Duration
	}{
		{"probe_interval", c.ProbeInterval, 20 * time.Millisecond, time.Minute},
		{"probe_timeout", c.ProbeTimeout, 10 * time.Millisecond, time.Minute},
		{"gossip_interval", c.GossipInterval, 10 * time.Millisecond, 10 * time.Second},
		{"sync_interval", c.SyncInterval, 100 * time.Millisecond, time.Hour},
		{"leave_timeout", c.LeaveTimeout, 0, time.Minute},
		{"ask_timeout", c.AskTimeout, time.Millisecond, time.Second},
		{"forget", c.Forget, time.Minute, 30 * 24 * time.Hour},
	} {
		if d.v < d.lo || d.v > d.hi {
			bad(d.key, "%s: want %s to %s", d.v, d.lo, d.hi)
		}
	}
	if c.ProbeTimeout >= c.ProbeInterval {
		bad("probe_timeout", "%s: want less than cluster.probe_interval (%s)", c.ProbeTimeout, c.ProbeInterval)
	}
	if c.Suspicion < 1 || c.Suspicion > 20 {
		bad("suspicion", "%d: want 1 to 20", c.Suspicion)
	}
	if c.MaxMembers < 2 || c.MaxMembers > 1024 {
		bad("max_members", "%d: want 2 to 1024", c.MaxMembers)
	}
}

// splitJoin parts host and port; the port may be left out.
func splitJoin(s string) (string, uint16, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), strconv.Itoa(DefaultPort)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if _, bad := netip.ParseAddr(host); err != nil || n == 0 || host == "" || strings.ContainsAny(host, " /@") || bad != nil && strings.Contains(host, ":") {
		return "", 0, fmt.Errorf("%q: want host:port, an IP address or a DNS name before the port", s)
	}
	return host, uint16(n), nil
}

// parseKey reads an AES key: hexadecimal where the text is 32, 48 or 64 such digits, else base64.
func parseKey(s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 16 && len(b) != 24 && len(b) != 32 {
		b, err = base64.StdEncoding.DecodeString(s)
	}
	if err != nil || len(b) != 16 && len(b) != 24 && len(b) != 32 {
		return nil, errors.New("want 16, 24 or 32 octets in base64 or hexadecimal; `openssl rand -base64 32` makes one")
	}
	return b, nil
}
