package peer_test

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/peer"
)

const sample = `
operators:
  - name: b
    hosts: [mms.b.example, "mms.b.example:8080", 198.51.100.7, "[2001:db8::7]:8002"]
    networks: [198.51.100.0/24, "2001:db8::/32"]
    paths: [/m/]
    url: http://mms.b.example/
    token: secret
timeout: 5s
max_message: 1MiB
`

func parse(t *testing.T, text string) peer.Config {
	t.Helper()
	c := peer.DefaultConfig()
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfig(t *testing.T) {
	c := parse(t, sample)
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	none := peer.DefaultConfig()
	if err := none.Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []struct {
		name, key string
		change    func(*peer.Config)
	}{
		{"path", "peers.path", func(c *peer.Config) { c.Path = "relay" }},
		{"root", "peers.path", func(c *peer.Config) { c.Path = "/" }},
		{"size", "peers.max_message", func(c *peer.Config) { c.MaxMessage = 1 }},
		{"timeout", "peers.timeout", func(c *peer.Config) { c.Timeout = 0 }},
		{"deadline", "peers.deadline", func(c *peer.Config) { c.Deadline = 1 }},
		{"pause", "peers.pause", func(c *peer.Config) { c.Pause = 0 }},
		{"in flight", "peers.in_flight", func(c *peer.Config) { c.InFlight = 0 }},
		{"per subscriber", "peers.per_subscriber", func(c *peer.Config) { c.PerSubscriber = 1000 }},
		{"keep", "peers.keep", func(c *peer.Config) { c.Keep = 1 }},
		{"retry", "peers.indications.retry_first", func(c *peer.Config) { c.Indications.RetryMax = 0 }},
		{"expiry", "peers.indications.expiry", func(c *peer.Config) { c.Indications.Expiry = 0 }},
		{"queue", "peers.indications.queue", func(c *peer.Config) { c.Indications.Queue = 0 }},
		{"no name", "peers.operators[0].name", func(c *peer.Config) { c.Operators[0].Name = "" }},
		{"a name twice", "peers.operators[1].name", func(c *peer.Config) { c.Operators = append(c.Operators, c.Operators[0]) }},
		{"a host twice", "peers.operators[1].hosts", func(c *peer.Config) {
			o := c.Operators[0]
			o.Name = "c"
			c.Operators = append(c.Operators, o)
		}},
		{"no hosts", "peers.operators[0]", func(c *peer.Config) { c.Operators[0].Hosts = nil }},
		{"no networks", "peers.operators[0]", func(c *peer.Config) { c.Operators[0].Networks = nil }},
		{"the whole Internet", "peers.operators[0].networks", func(c *peer.Config) { c.Operators[0].Networks[0] = netip.MustParsePrefix("0.0.0.0/0") }},
		{"a URL as host", "peers.operators[0].hosts", func(c *peer.Config) { c.Operators[0].Hosts[0] = "http://x" }},
		{"a port that is none", "peers.operators[0].hosts", func(c *peer.Config) { c.Operators[0].Hosts[0] = "x:99999" }},
		{"an address elsewhere", "peers.operators[0].hosts", func(c *peer.Config) { c.Operators[0].Hosts[0] = "10.0.0.1" }},
		{"a path", "peers.operators[0].paths", func(c *peer.Config) { c.Operators[0].Paths[0] = "m" }},
		{"a URL elsewhere", "peers.operators[0].url", func(c *peer.Config) { c.Operators[0].URL = "http://x/" }},
		{"a token", "peers.operators[0].token", func(c *peer.Config) { c.Operators[0].Token = "a b" }},
		{"a key alone", "peers.operators[0].client_key", func(c *peer.Config) { c.Operators[0].ClientKey = "x" }},
	} {
		c := parse(t, sample)
		bad.change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), bad.key) {
			t.Errorf("%s: %v; want it to name %s", bad.name, err, bad.key)
		}
	}
	c.Operators[0].CA = "no such file"
	if _, err := peer.New(peer.Options{Config: c, Store: open(t, t.TempDir(), "")}); err == nil || !strings.Contains(err.Error(), "peers.operators[0].ca") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// FuzzLocation: what is found to be an operator's is one for everybody who reads URLs, and reads the same once more.
func FuzzLocation(f *testing.F) {
	for _, s := range []string{"http://mms.b.example/m/1", "http://MMS.b.example.:80/m/1?a=b", "http://mms.b.example:8080/m/%41", "http://198.51.100.7/m/x", "http://[2001:db8::7]:8002/m/",
		"http://mms.b.example@evil/m/1", "http://mms.b.example:443/m/1", "http://mms.b.example/m/..%2f", "http://mms.b.example/m/%2e%2e/x", "https://mms.b.example/m/1#x", "http:///m/"} {
		f.Add(s)
	}
	c := peer.DefaultConfig()
	if err := yaml.Unmarshal([]byte(sample), &c); err != nil {
		f.Fatal(err)
	}
	find, err := peer.Finder(c)
	if err != nil {
		f.Fatal(err)
	}
	hosts := map[string]bool{"mms.b.example": true, "mms.b.example:8080": true, "198.51.100.7": true, "[2001:db8::7]:8002": true}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := find(raw)
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		if err != nil || !hosts[u.Host] || u.User != nil || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" || !strings.HasPrefix(u.EscapedPath(), "/m/") {
			t.Fatalf("%q became %q (%v)", raw, got, err)
		}
		for _, segment := range strings.Split(u.Path, "/") {
			if segment == ".." {
				t.Fatalf("%q became %q", raw, got)
			}
		}
		if again, err := find(got); err != nil || again != got {
			t.Fatalf("%q became %q, then %q (%v)", raw, got, again, err)
		}
	})
}
