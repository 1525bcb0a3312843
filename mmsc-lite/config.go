package mmsc

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/delivery"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/dispatcher"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/router"
)

// Config is the section `mmsc`.
type Config struct {
	Enabled       bool             `yaml:"enabled"`
	URL           string           `yaml:"url"`            // how handsets reach us: base of every Content-Location; empty: http:// and the first zone
	Host          string           `yaml:"host"`           // right side of our Message-IDs; empty: the host of url
	Database      string           `yaml:"database"`       // empty: SQLite in node.data; else postgres://…
	MaxMessage    router.Size      `yaml:"max_message"`    // larger ones are refused with Error-permanent-content-not-accepted
	UploadMemory  router.Size      `yaml:"upload_memory"`  // memory of all uploads; beyond it they go on in an unlinked file
	MaxRecipients int              `yaml:"max_recipients"` // of one message
	DedupeWindow  time.Duration    `yaml:"dedupe_window"`  // a submission that comes again within it gets the first answer
	Expiry        ExpiryConfig     `yaml:"expiry"`
	Identity      IdentityConfig   `yaml:"identity"`
	Retrieve      RetrieveConfig   `yaml:"retrieve"`
	Delivery      delivery.Config  `yaml:"delivery"`
	Addresses     AddressConfig    `yaml:"addresses"`
	Rate          RateConfig       `yaml:"rate"` // of one sender
	Subscribers   SubscriberConfig `yaml:"subscribers"`
	Peers         []PeerConfig     `yaml:"peers"` // other operators whose servers fetch from us
	Mbox          MboxConfig       `yaml:"mmbox"`
	Keep          KeepConfig       `yaml:"keep"`
	CDR           CDRConfig        `yaml:"cdr"`
	Hold          HoldConfig       `yaml:"hold"`
	// Services are two-way services: messages to their codes go to providers.
	Services dispatcher.Config `yaml:"services"`
	Platform platform.Config   `yaml:"platform"` // how providers' answers become multimedia messages
	Outgoing outgoing.Config   `yaml:"outgoing"` // what may be reached where others choose the target: providers, content by URL
}

// KeepConfig says how long what is done with stays.
type KeepConfig struct {
	Content  time.Duration `yaml:"content"`  // the content, after its last recipient is final
	Messages time.Duration `yaml:"messages"` // envelope and timeline, after that
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
		Retrieve:  RetrieveConfig{Status: "auto", NotFound: "http"},
		Delivery:  delivery.DefaultConfig(),
		Addresses: AddressConfig{ShortCode: 6, Foreign: "accept"},
		Rate:      RateConfig{Per: time.Minute},
		Mbox:      MboxConfig{MaxMessages: 100, MaxSize: 20 << 20},
		Keep:      KeepConfig{Content: time.Hour, Messages: 30 * 24 * time.Hour},
		CDR:       CDRConfig{Format: []string{"json"}, Rotate: 24 * time.Hour},
		Hold:      HoldConfig{Expiry: 24 * time.Hour, Workers: 16, Lease: 2 * time.Minute, RetryFirst: time.Second, RetryMax: 30 * time.Second},
		Services:  dispatcher.DefaultConfig(), Platform: platform.DefaultConfig(), Outgoing: outgoing.DefaultConfig(),
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
	if c.Rate.Messages < 0 || c.Rate.Messages > 0 && c.Rate.Per < time.Second {
		return fmt.Errorf("mmsc.rate: %d messages per %s; want 0 (unlimited) or more, per at least 1s", c.Rate.Messages, c.Rate.Per)
	}
	for _, s := range c.Subscribers.List {
		if normal(s.Number) == "" {
			return fmt.Errorf("mmsc.subscribers.list: %q is not an address", s.Number)
		}
	}
	for _, p := range c.Peers {
		if p.Name == "" || len(p.Networks) == 0 || len(p.Prefixes) == 0 {
			return fmt.Errorf("mmsc.peers: %q needs a name, networks and prefixes", p.Name)
		}
	}
	if c.Mbox.MaxMessages < 1 || c.Mbox.MaxSize < 1<<10 {
		return fmt.Errorf("mmsc.mmbox.max_messages, max_size: %d and %s; at least 1 and 1KiB", c.Mbox.MaxMessages, c.Mbox.MaxSize)
	}
	if c.Keep.Content < 0 || c.Keep.Messages < c.DedupeWindow {
		return fmt.Errorf("mmsc.keep: content %s, messages %s; want 0s or more, and messages at least mmsc.dedupe_window (%s)",
			c.Keep.Content, c.Keep.Messages, c.DedupeWindow)
	}
	if err := firstError(within("mmsc.services", c.Services.Validate()), within("mmsc.platform", c.Platform.Validate()), within("mmsc.outgoing", c.Outgoing.Validate())); err != nil {
		return err
	}
	if c.Services.Keep.Done < c.DedupeWindow {
		return fmt.Errorf("mmsc.services.keep.done: %s; at least mmsc.dedupe_window (%s), or a message that comes again would be a second turn",
			c.Services.Keep.Done, c.DedupeWindow)
	}
	return firstError(
		c.Delivery.Validate(),
		c.Addresses.validate(),
		c.CDR.validate(),
		c.Hold.validate(),
		oneOf("mmsc.identity.from", c.Identity.From, "accept", "refuse"),
		oneOf("mmsc.retrieve.status", c.Retrieve.Status, "auto", "always", "never"),
		oneOf("mmsc.retrieve.not_found", c.Retrieve.NotFound, "http", "pdu"),
	)
}

// within puts a section before each of the joined errors.
func within(section string, err error) error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range j.Unwrap() {
			all = append(all, within(section, e))
		}
		return errors.Join(all...)
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s.%w", section, err)
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
