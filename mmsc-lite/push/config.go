package push

import (
	"fmt"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/udp"
)

// Config is the section `push`.
type Config struct {
	Carriers    []CarrierConfig `yaml:"carriers"`     // the ways out; a list replaces the default
	Routes      []RouteConfig   `yaml:"routes"`       // the one with the longest prefix counts
	Segments    int             `yaml:"segments"`     // short messages that a notification may take before fields are left out of it
	MaxSegments int             `yaml:"max_segments"` // short messages that it may take at all
}

// CarrierConfig is one carrier; of pap, smpp, udp and http the section of its type counts.
type CarrierConfig struct {
	Name string     `yaml:"name"` // a label of metrics and the word in routes
	Type string     `yaml:"type"` // pap | smpp | udp | http
	PAP  PAPConfig  `yaml:"pap"`
	SMPP sms.Config `yaml:"smpp"`
	UDP  udp.Config `yaml:"udp"`
	HTTP HTTPConfig `yaml:"http"`
}

// RouteConfig says which carriers notify a number.
type RouteConfig struct {
	Prefix   string   `yaml:"prefix"`   // of normalised numbers, such as +4670; empty: every other recipient
	Carriers []string `yaml:"carriers"` // in the order of fall-back
}

// PAPConfig is a push proxy gateway.
type PAPConfig struct {
	URL            string        `yaml:"url"`             // of the gateway: http:// or https://
	User           string        `yaml:"user"`            // HTTP Basic; empty: none
	Password       string        `yaml:"password"`        // of that user
	Host           string        `yaml:"host"`            // the part of addresses behind @; empty: the host of url
	Version        string        `yaml:"version"`         // of PAP: 1.0, 2.0 or 2.1
	Source         string        `yaml:"source"`          // source-reference
	DeliveryMethod string        `yaml:"delivery_method"` // unconfirmed, confirmed, preferconfirmed or notspecified
	Network        string        `yaml:"network"`         // quality-of-service: network
	Bearer         string        `yaml:"bearer"`          // quality-of-service: bearer
	NotifyURL      string        `yaml:"notify_url"`      // where the gateway tells the outcome; empty: it is not asked to
	CA             string        `yaml:"ca"`              // https: PEM file of authorities; empty: the system's
	Timeout        time.Duration `yaml:"timeout"`         // of one request
}

// HTTPConfig is a JSON hook.
type HTTPConfig struct {
	URL     string        `yaml:"url"`     // where each push is posted: http:// or https://
	Token   string        `yaml:"token"`   // Authorization: Bearer
	CA      string        `yaml:"ca"`      // https: PEM file of authorities; empty: the system's
	Timeout time.Duration `yaml:"timeout"` // of one request
}

// DefaultConfig gives the defaults: SMPP to an SMSC on this machine, and UDP to a handset on it.
func DefaultConfig() Config {
	c := Config{
		Carriers: []CarrierConfig{{Name: "sms", Type: "smpp"}, {Name: "udp", Type: "udp", UDP: udp.Config{To: "127.0.0.1"}}},
		Routes:   []RouteConfig{{Carriers: []string{"sms", "udp"}}},
		Segments: 2, MaxSegments: 4,
	}
	c.fill()
	return c
}

// fill puts defaults where an entry of the list leaves a key out.
func (c *Config) fill() {
	for i := range c.Carriers {
		k := &c.Carriers[i]
		switch k.Type {
		case "smpp":
			k.SMPP.Fill()
		case "udp":
			k.UDP.Fill()
		case "pap":
			for v, def := range map[*string]string{&k.PAP.Version: "2.0", &k.PAP.DeliveryMethod: "unconfirmed", &k.PAP.Network: "GSM", &k.PAP.Bearer: "SMS"} {
				if *v == "" {
					*v = def
				}
			}
			if k.PAP.Timeout == 0 {
				k.PAP.Timeout = 10 * time.Second
			}
		case "http":
			if k.HTTP.Timeout == 0 {
				k.HTTP.Timeout = 10 * time.Second
			}
		}
	}
}

// Validate says which key is wrong and what is allowed.
func (c *Config) Validate() error {
	c.fill()
	names := map[string]bool{}
	for i := range c.Carriers {
		k, at := &c.Carriers[i], fmt.Sprintf("push.carriers[%d]", i)
		switch {
		case k.Name == "" || len(k.Name) > 40 || strings.Trim(k.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "":
			return fmt.Errorf("%s.name: %q; want 1 to 40 letters, digits, -, _ or .", at, k.Name)
		case names[k.Name]:
			return fmt.Errorf("%s.name: %q is the name of another one too", at, k.Name)
		}
		names[k.Name] = true
		if err := k.validate(at); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for i, r := range c.Routes {
		at := fmt.Sprintf("push.routes[%d]", i)
		if r.Prefix != "" && (mms.Number(r.Prefix) != r.Prefix) {
			return fmt.Errorf("%s.prefix: %q; want the beginning of a number, such as +4670, or nothing", at, r.Prefix)
		}
		if seen[r.Prefix] {
			return fmt.Errorf("%s.prefix: %q has a route already", at, r.Prefix)
		}
		seen[r.Prefix] = true
		for _, name := range r.Carriers {
			if !names[name] {
				return fmt.Errorf("%s.carriers: no carrier is named %q", at, name)
			}
		}
	}
	if c.Segments < 1 || c.Segments > 255 || c.MaxSegments < c.Segments || c.MaxSegments > 255 {
		return fmt.Errorf("push.segments, max_segments: %d and %d; allowed are 1 to 255, the second not below the first", c.Segments, c.MaxSegments)
	}
	return nil
}

func (k *CarrierConfig) validate(at string) error {
	switch k.Type {
	case "smpp":
		return k.SMPP.Validate(at + ".smpp")
	case "udp":
		return k.UDP.Validate(at + ".udp")
	case "http":
		if _, err := outgoing.URL(k.HTTP.URL); err != nil {
			return fmt.Errorf("%s.http.url: %w", at, err)
		}
		return timeout(at+".http", k.HTTP.Timeout)
	case "pap":
		return k.PAP.validate(at + ".pap")
	}
	return fmt.Errorf("%s.type: %q; allowed are pap, smpp, udp and http", at, k.Type)
}

func timeout(at string, d time.Duration) error {
	if d < 10*time.Millisecond || d > time.Minute {
		return fmt.Errorf("%s.timeout: %s; allowed are 10ms to 1m", at, d)
	}
	return nil
}

func (p *PAPConfig) validate(at string) error {
	if _, err := outgoing.URL(p.URL); err != nil {
		return fmt.Errorf("%s.url: %w", at, err)
	}
	if _, err := outgoing.URL(p.NotifyURL); p.NotifyURL != "" && err != nil {
		return fmt.Errorf("%s.notify_url: %w", at, err)
	}
	switch p.Version {
	case "1.0", "2.0", "2.1":
	default:
		return fmt.Errorf("%s.version: %q; allowed are 1.0, 2.0 and 2.1", at, p.Version)
	}
	switch p.DeliveryMethod {
	case "unconfirmed", "confirmed", "preferconfirmed", "notspecified":
	default:
		return fmt.Errorf("%s.delivery_method: %q; allowed are unconfirmed, confirmed, preferconfirmed and notspecified", at, p.DeliveryMethod)
	}
	if strings.ContainsAny(p.Host, " @/\"<>") {
		return fmt.Errorf("%s.host: %q is not a host name", at, p.Host)
	}
	return timeout(at, p.Timeout)
}
