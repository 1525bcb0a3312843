package mmsc

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/router"
)

// Config is the section `mmsc`.
type Config struct {
	Enabled       bool           `yaml:"enabled"`
	URL           string         `yaml:"url"`            // how handsets reach us: base of every Content-Location; empty: http:// and the first zone
	Host          string         `yaml:"host"`           // right side of our Message-IDs; empty: the host of url
	Database      string         `yaml:"database"`       // empty: SQLite in node.data; else postgres://…
	MaxMessage    router.Size    `yaml:"max_message"`    // larger ones are refused with Error-permanent-content-not-accepted
	UploadMemory  router.Size    `yaml:"upload_memory"`  // memory of all uploads; beyond it they go on in an unlinked file
	MaxRecipients int            `yaml:"max_recipients"` // of one message
	DedupeWindow  time.Duration  `yaml:"dedupe_window"`  // a submission that comes again within it gets the first answer
	Expiry        ExpiryConfig   `yaml:"expiry"`
	Identity      IdentityConfig `yaml:"identity"`
	Retrieve      RetrieveConfig `yaml:"retrieve"`
}

// ExpiryConfig says how long a message waits for its recipient.
type ExpiryConfig struct {
	Default time.Duration `yaml:"default"` // when the sender says nothing
	Max     time.Duration `yaml:"max"`     // ceiling of what the sender may ask for
}

// IdentityConfig says who a client is.
type IdentityConfig struct {
	Trusted []netip.Prefix `yaml:"trusted"` // networks whose identity headers are believed
	Headers []string       `yaml:"headers"` // in the order of their precedence
	// From says what counts when no trusted network names the sender: accept (the address in From, as it stands)
	// or refuse (Error-permanent-service-denied).
	From string `yaml:"from"`
}

// RetrieveConfig says who may fetch and how.
type RetrieveConfig struct {
	RequireIdentity bool   `yaml:"require_identity"` // the location alone is not enough
	Status          string `yaml:"status"`           // X-Mms-Retrieve-Status Ok: always, never, or auto (clients of 1.2 and later)
	NotFound        string `yaml:"not_found"`        // http (404, or 410 when expired) or pdu (M-Retrieve.conf with the status)
}

// DefaultConfig gives the defaults.
func DefaultConfig() Config {
	return Config{
		MaxMessage:    5 << 20,
		UploadMemory:  64 << 20,
		MaxRecipients: 100,
		DedupeWindow:  2 * time.Hour,
		Expiry:        ExpiryConfig{Default: 72 * time.Hour, Max: 7 * 24 * time.Hour},
		Identity: IdentityConfig{
			Headers: []string{"X-WAP-Network-Client-MSISDN", "X-MSISDN", "X-Nokia-msisdn", "X-Up-Calling-Line-ID", "X-H3G-MSISDN", "X-WAP-MSISDN", "MSISDN"},
			From:    "accept",
		},
		Retrieve: RetrieveConfig{Status: "auto", NotFound: "http"},
	}
}

// Validate says which key is wrong and what is allowed.
func (c *Config) Validate() error {
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return fmt.Errorf("mmsc.url: %q is not http://HOST or https://HOST with an optional path", c.URL)
		}
		if len(c.URL) > 100 {
			return fmt.Errorf("mmsc.url: %d characters; at most 100, since it travels in an SMS", len(c.URL))
		}
	}
	if strings.ContainsAny(c.Host, " \t@<>/") {
		return fmt.Errorf("mmsc.host: %q is not a host name", c.Host)
	}
	if err := store.CheckDatabase(c.Database); err != nil {
		return fmt.Errorf("mmsc.database: %w", err)
	}
	if c.MaxMessage < 1<<10 || c.MaxMessage > 1<<30 {
		return fmt.Errorf("mmsc.max_message: %s; allowed are 1KiB to 1GiB", c.MaxMessage)
	}
	if c.UploadMemory < 1<<20 {
		return fmt.Errorf("mmsc.upload_memory: %s; at least 1MiB", c.UploadMemory)
	}
	if c.MaxRecipients < 1 || c.MaxRecipients > 10000 {
		return fmt.Errorf("mmsc.max_recipients: %d; allowed are 1 to 10000", c.MaxRecipients)
	}
	if c.DedupeWindow < 0 || c.DedupeWindow > 7*24*time.Hour {
		return fmt.Errorf("mmsc.dedupe_window: %s; allowed are 0s (off) to 168h", c.DedupeWindow)
	}
	if c.Expiry.Max < time.Minute || c.Expiry.Max > 366*24*time.Hour {
		return fmt.Errorf("mmsc.expiry.max: %s; allowed are 1m to 8784h", c.Expiry.Max)
	}
	if c.Expiry.Default < time.Minute || c.Expiry.Default > c.Expiry.Max {
		return fmt.Errorf("mmsc.expiry.default: %s; allowed are 1m to mmsc.expiry.max (%s)", c.Expiry.Default, c.Expiry.Max)
	}
	for _, h := range c.Identity.Headers {
		if h == "" || strings.ContainsAny(h, " \t:\r\n") {
			return fmt.Errorf("mmsc.identity.headers: %q is not the name of a header", h)
		}
	}
	return firstError(
		oneOf("mmsc.identity.from", c.Identity.From, "accept", "refuse"),
		oneOf("mmsc.retrieve.status", c.Retrieve.Status, "auto", "always", "never"),
		oneOf("mmsc.retrieve.not_found", c.Retrieve.NotFound, "http", "pdu"),
	)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func oneOf(key, v string, allowed ...string) error {
	for _, a := range allowed {
		if v == a {
			return nil
		}
	}
	return fmt.Errorf("%s: %q; allowed are %s", key, v, strings.Join(allowed, ", "))
}
