package dispatcher

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Config is the section `mmsc.services`.
type Config struct {
	Enabled  bool          `yaml:"enabled"`   // run two-way services
	Import   []string      `yaml:"import"`    // YAML files of services that are entered at the start
	Codes    []string      `yaml:"codes"`     // beginnings of addresses that are services', known or not
	Unknown  UnknownConfig `yaml:"unknown"`   // a message to one of codes that no service takes
	ReplyURL string        `yaml:"reply_url"` // how providers reach us, for late answers: http://HOST/PATH at the MM1 door; empty: none are taken
	Keep     KeepConfig    `yaml:"keep"`
	Lease    time.Duration `yaml:"lease"` // what a node that died had under way is done by another, or by itself started again, after so long
}

// UnknownConfig says what the sender gets.
type UnknownConfig struct {
	Text   string `yaml:"text"`   // a message with this text; empty: status
	Status string `yaml:"status"` // of the M-Send.conf: address_unresolved or service_denied
}

// KeepConfig says how long what is over stays.
type KeepConfig struct {
	Done time.Duration `yaml:"done"` // turns and sessions; also how long a message that comes again is known
	Dead time.Duration `yaml:"dead"` // dead letters, and what reports need
}

// DefaultConfig gives the defaults.
func DefaultConfig() Config {
	return Config{Unknown: UnknownConfig{Status: "address_unresolved"}, Keep: KeepConfig{Done: 24 * time.Hour, Dead: 30 * 24 * time.Hour}, Lease: 30 * time.Second}
}

// Validate says what can't be.
func (c *Config) Validate() error {
	for _, p := range c.Codes {
		if p == "" || strings.ContainsAny(p, " \t") {
			return fmt.Errorf("codes: %q: want the beginning of an address", p)
		}
	}
	if s := c.Unknown.Status; s != "address_unresolved" && s != "service_denied" {
		return fmt.Errorf("unknown.status: %q: want address_unresolved or service_denied", s)
	}
	if len(c.Unknown.Text) > maxText {
		return fmt.Errorf("unknown.text: want at most %d octets", maxText)
	}
	if c.ReplyURL != "" {
		u, err := url.Parse(c.ReplyURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return fmt.Errorf("reply_url: want http://HOST/PATH or https://HOST/PATH")
		}
	}
	if c.Keep.Done < time.Minute || c.Keep.Dead < c.Keep.Done {
		return fmt.Errorf("keep: done %s, dead %s: want at least 1m, and dead at least as long as done", c.Keep.Done, c.Keep.Dead)
	}
	if c.Lease < time.Second {
		return fmt.Errorf("lease: %s: want at least 1s", c.Lease)
	}
	return nil
}
