package peer

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/router"
)

// Config is the section `peers`.
type Config struct {
	Operators       []Operator       `yaml:"operators"`        // whose servers may be fetched from; empty: nobody's
	Path            string           `yaml:"path"`             // PATH?location=URL names a message as an absolute-form request does
	RequireIdentity bool             `yaml:"require_identity"` // only subscribers whom the network names are fetched for
	MaxMessage      router.Size      `yaml:"max_message"`      // larger ones are not taken
	Timeout         time.Duration    `yaml:"timeout"`          // of one attempt
	Deadline        time.Duration    `yaml:"deadline"`         // of all attempts of a retrieval: the handset waits meanwhile
	Pause           time.Duration    `yaml:"pause"`            // before the second attempt; doubles
	InFlight        int              `yaml:"in_flight"`        // retrievals from peers at the same time; each may hold max_message in memory
	PerSubscriber   int              `yaml:"per_subscriber"`   // of them for one subscriber
	Keep            time.Duration    `yaml:"keep"`             // how long a message is served from the store
	Indications     IndicationConfig `yaml:"indications"`
}

// IndicationConfig says how handsets' answers are passed back.
type IndicationConfig struct {
	RetryFirst time.Duration `yaml:"retry_first"` // pause after the first attempt that a peer did not take; doubles
	RetryMax   time.Duration `yaml:"retry_max"`   // ceiling of that pause
	Expiry     time.Duration `yaml:"expiry"`      // given up after it
	Queue      int           `yaml:"queue"`       // of them that wait; beyond it a handset is told to try again
}

// Operator is another operator.
type Operator struct {
	Name       string         `yaml:"name"`        // for people and metrics
	Hosts      []string       `yaml:"hosts"`       // names or addresses in its locations; with :port that port, else 80 for http and 443 for https
	Networks   []netip.Prefix `yaml:"networks"`    // where those hosts must lie, and where its own requests come from
	Paths      []string       `yaml:"paths"`       // beginnings of the paths of its locations; empty: any
	URL        string         `yaml:"url"`         // where it takes indications; empty: at the location
	Secure     bool           `yaml:"secure"`      // locations must be https
	Token      string         `yaml:"token"`       // sent as Authorization: Bearer
	Expect     string         `yaml:"expect"`      // token that requests from its networks must carry; empty: none
	CA         string         `yaml:"ca"`          // https: PEM file of authorities; empty: the system's
	ServerName string         `yaml:"server_name"` // https: name that its certificate must have; empty: the host
	ClientCert string         `yaml:"client_cert"` // https: PEM file of our certificate
	ClientKey  string         `yaml:"client_key"`  // https: PEM file of its key; empty: it stands in client_cert
}

// DefaultConfig gives the defaults.
func DefaultConfig() Config {
	return Config{Path: "/relay", MaxMessage: 5 << 20, Timeout: 15 * time.Second, Deadline: 30 * time.Second, Pause: time.Second, InFlight: 32, PerSubscriber: 4,
		Keep:        24 * time.Hour,
		Indications: IndicationConfig{RetryFirst: 2 * time.Second, RetryMax: 10 * time.Minute, Expiry: 24 * time.Hour, Queue: 100_000}}
}

// Validate says which key is wrong and what is allowed.
func (c *Config) Validate() error {
	switch {
	case !strings.HasPrefix(c.Path, "/") || c.Path == "/" || strings.ContainsAny(c.Path, "?# \t%"):
		return fmt.Errorf("peers.path: %q; want a path such as /relay", c.Path)
	case c.MaxMessage < 1<<10 || c.MaxMessage > 1<<30:
		return fmt.Errorf("peers.max_message: %s; allowed are 1KiB to 1GiB", c.MaxMessage)
	case c.Timeout < 10*time.Millisecond || c.Timeout > 10*time.Minute:
		return fmt.Errorf("peers.timeout: %s; allowed are 10ms to 10m", c.Timeout)
	case c.Deadline < c.Timeout || c.Deadline > 10*time.Minute:
		return fmt.Errorf("peers.deadline: %s; want at least peers.timeout (%s) and at most 10m", c.Deadline, c.Timeout)
	case c.Pause < time.Millisecond || c.Pause > c.Deadline:
		return fmt.Errorf("peers.pause: %s; want at least 1ms and at most peers.deadline (%s)", c.Pause, c.Deadline)
	case c.InFlight < 1 || c.InFlight > 10000:
		return fmt.Errorf("peers.in_flight: %d; allowed are 1 to 10000", c.InFlight)
	case c.PerSubscriber < 1 || c.PerSubscriber > c.InFlight:
		return fmt.Errorf("peers.per_subscriber: %d; allowed are 1 to peers.in_flight (%d)", c.PerSubscriber, c.InFlight)
	case c.Keep < time.Minute || c.Keep > 366*24*time.Hour:
		return fmt.Errorf("peers.keep: %s; allowed are 1m to 8784h", c.Keep)
	case c.Indications.RetryFirst < 10*time.Millisecond || c.Indications.RetryMax < c.Indications.RetryFirst:
		return fmt.Errorf("peers.indications.retry_first, retry_max: %s and %s; want at least 10ms, and the ceiling not below it", c.Indications.RetryFirst, c.Indications.RetryMax)
	case c.Indications.Expiry < c.Indications.RetryFirst || c.Indications.Expiry > 30*24*time.Hour:
		return fmt.Errorf("peers.indications.expiry: %s; want at least retry_first and at most 720h", c.Indications.Expiry)
	case c.Indications.Queue < 1:
		return fmt.Errorf("peers.indications.queue: %d; at least 1", c.Indications.Queue)
	}
	names, hosts := map[string]bool{}, map[string]string{}
	for i := range c.Operators {
		o, at := &c.Operators[i], fmt.Sprintf("peers.operators[%d]", i)
		if o.Name == "" || names[o.Name] {
			return fmt.Errorf("%s.name: %q; each operator needs a name of its own", at, o.Name)
		}
		names[o.Name] = true
		if err := o.validate(at, hosts); err != nil {
			return err
		}
	}
	return nil
}

func (o *Operator) validate(at string, hosts map[string]string) error {
	if len(o.Hosts) == 0 || len(o.Networks) == 0 {
		return fmt.Errorf("%s: %q needs hosts and networks", at, o.Name)
	}
	for _, n := range o.Networks {
		if !n.IsValid() || n.Bits() == 0 || n.Addr().Is4In6() {
			return fmt.Errorf("%s.networks: %s; want a network of the operator's, such as 198.51.100.0/24", at, n)
		}
	}
	for _, text := range o.Hosts {
		h, err := parseHost(text)
		if err != nil {
			return fmt.Errorf("%s.hosts: %q: %w", at, text, err)
		}
		if a, err := netip.ParseAddr(h.name); err == nil && !contains(o.Networks, a) {
			return fmt.Errorf("%s.hosts: %s lies in none of the operator's networks", at, text)
		}
		if other, taken := hosts[h.String()]; taken {
			return fmt.Errorf("%s.hosts: %s is a host of %s too", at, text, other)
		}
		hosts[h.String()] = o.Name
	}
	for _, p := range o.Paths {
		if !strings.HasPrefix(p, "/") {
			return fmt.Errorf("%s.paths: %q; want the beginning of a path, such as /m/", at, p)
		}
	}
	for key, v := range map[string]string{"token": o.Token, "expect": o.Expect} {
		if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r >= 0x7F }) {
			return fmt.Errorf("%s.%s: want printable ASCII without blanks", at, key)
		}
	}
	if o.ClientKey != "" && o.ClientCert == "" {
		return fmt.Errorf("%s.client_key: there is no client_cert", at)
	}
	if o.URL != "" {
		r, err := compileRules(o)
		if err == nil {
			_, err = r.check(o.URL, false)
		}
		if err != nil {
			return fmt.Errorf("%s.url: %w", at, err)
		}
	}
	return nil
}

// tls makes the client side of https; its files are read again when the configuration is.
func (o *Operator) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName}
	if o.CA != "" {
		pem, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: no certificate stands in %s", o.CA)
		}
	}
	if o.ClientCert != "" {
		key := o.ClientKey
		if key == "" {
			key = o.ClientCert
		}
		pair, err := tls.LoadX509KeyPair(o.ClientCert, key)
		if err != nil {
			return nil, fmt.Errorf("client_cert: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// host is an entry of `hosts`; port 0 is that of the scheme.
type host struct {
	name string
	port int
}

func (h host) String() string { return h.name + " " + strconv.Itoa(h.port) }

var errHost = errors.New("want a name or an address, with :PORT where it is not that of the scheme")

func parseHost(s string) (host, error) {
	h := host{name: s}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return host{name: a.Unmap().WithZone("").String()}, nil
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		port, err := strconv.Atoi(s[i+1:])
		if err != nil || port < 1 || port > 65535 {
			return host{}, errHost
		}
		h = host{name: strings.Trim(s[:i], "[]"), port: port}
	}
	h.name = plainHost(h.name)
	if h.name == "" || len(h.name) > 253 || strings.ContainsFunc(h.name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '.' || r == '_' || r == ':')
	}) {
		return host{}, errHost
	}
	return h, nil
}

// plainHost gives the form in which hosts are compared.
func plainHost(s string) string {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone("").String()
	}
	return s
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}
