package mmsc_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
)

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(*mmsc.Config)
	}{
		{"default", "", func(*mmsc.Config) {}},
		{"url", "mmsc.url", func(c *mmsc.Config) { c.URL = "mms.example.net" }},
		{"url with a query", "mmsc.url", func(c *mmsc.Config) { c.URL = "http://mms.example.net/?a=b" }},
		{"long url", "mmsc.url", func(c *mmsc.Config) { c.URL = "http://" + strings.Repeat("a", 100) }},
		{"host", "mmsc.host", func(c *mmsc.Config) { c.Host = "a b" }},
		{"database", "mmsc.database", func(c *mmsc.Config) { c.Database = "mysql://x" }},
		{"database that can't be read", "mmsc.database", func(c *mmsc.Config) { c.Database = "postgres://u:secret@host:port/x" }},
		{"max_message", "mmsc.max_message", func(c *mmsc.Config) { c.MaxMessage = 1 }},
		{"upload_memory", "mmsc.upload_memory", func(c *mmsc.Config) { c.UploadMemory = 1 }},
		{"max_recipients", "mmsc.max_recipients", func(c *mmsc.Config) { c.MaxRecipients = 0 }},
		{"dedupe_window", "mmsc.dedupe_window", func(c *mmsc.Config) { c.DedupeWindow = -1 }},
		{"expiry max", "mmsc.expiry.max", func(c *mmsc.Config) { c.Expiry.Max = 0 }},
		{"expiry default", "mmsc.expiry.default", func(c *mmsc.Config) { c.Expiry.Default = c.Expiry.Max + 1 }},
		{"identity header", "mmsc.identity.headers", func(c *mmsc.Config) { c.Identity.Headers = []string{"X MSISDN"} }},
		{"identity from", "mmsc.identity.from", func(c *mmsc.Config) { c.Identity.From = "maybe" }},
		{"retrieve status", "mmsc.retrieve.status", func(c *mmsc.Config) { c.Retrieve.Status = "" }},
		{"retrieve not_found", "mmsc.retrieve.not_found", func(c *mmsc.Config) { c.Retrieve.NotFound = "" }},
		{"delivery", "mmsc.delivery.workers", func(c *mmsc.Config) { c.Delivery.Workers = 0 }},
		{"region", "mmsc.addresses.region", func(c *mmsc.Config) { c.Addresses.Region = "Sweden" }},
		{"prefix of all", "mmsc.addresses.home", func(c *mmsc.Config) { c.Addresses.Home = []string{"+"} }},
		{"foreign", "mmsc.addresses.foreign", func(c *mmsc.Config) { c.Addresses.Foreign = "" }},
		{"rate", "mmsc.rate", func(c *mmsc.Config) { c.Rate = mmsc.RateConfig{Messages: 1} }},
		{"subscriber", "mmsc.subscribers.list", func(c *mmsc.Config) { c.Subscribers.List = []mmsc.Subscriber{{}} }},
		{"peer", "mmsc.peers", func(c *mmsc.Config) {
			c.Peers = []mmsc.PeerConfig{{Name: "b", Networks: []netip.Prefix{netip.MustParsePrefix("::/0")}}}
		}},
		{"mmbox", "mmsc.mmbox.max_messages", func(c *mmsc.Config) { c.Mbox.MaxMessages = 0 }},
		{"keep", "mmsc.keep", func(c *mmsc.Config) { c.Keep.Messages = time.Minute }},
		{"cdr format", "mmsc.cdr.format", func(c *mmsc.Config) { c.CDR.Format = []string{"xml"} }},
		{"cdr rotate", "mmsc.cdr.rotate", func(c *mmsc.Config) { c.CDR.Rotate = 0 }},
		{"hold", "mmsc.hold.workers", func(c *mmsc.Config) { c.Hold.Workers = 0 }},
	} {
		cfg := mmsc.DefaultConfig()
		c.change(&cfg)
		err := cfg.Validate()
		if (err == nil) != (c.want == "") || err != nil && (!strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
