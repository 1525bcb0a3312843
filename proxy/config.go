package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/router"
)

// Config is the `mm1` section of the configuration.
type Config struct {
	Listen        []string          `yaml:"listen"`         // addresses of the MM1 front door
	Freebind      bool              `yaml:"freebind"`       // lets the proxy bind addresses that the machine does not have yet (IP_FREEBIND)
	URL           string            `yaml:"url"`            // the MMS URL that handsets are given; `check` compares its port with listen
	MaxMessage    router.Size       `yaml:"max_message"`    // largest upload
	WhenAllDown   string            `yaml:"when_all_down"`  // refuse | hold | local
	RefuseWith    string            `yaml:"refuse_with"`    // pdu: the PDU's own .conf in a 200; 503: HTTP 503 with Retry-After
	RetryAfter    time.Duration     `yaml:"retry_after"`    // what Retry-After says
	Deadline      time.Duration     `yaml:"deadline"`       // all attempts together, from the upload's last octet
	Ambiguous     map[string]string `yaml:"ambiguous"`      // per PDU name: retry | fail
	AmbiguousWait time.Duration     `yaml:"ambiguous_wait"` // how long the same MMSC may take to pass detection again before the next is tried
	Unreadable    string            `yaml:"unreadable"`     // forward | refuse a body that is not a readable PDU
	Hosts         []string          `yaml:"hosts"`          // further host names (or name:port) that are ours; zones and our own addresses always are
	Peers         []string          `yaml:"peers"`          // host names of peer operators that handsets may name in absolute-form requests
	ProxyProtocol []string          `yaml:"proxy_protocol"` // networks that must send a PROXY protocol header (v1 or v2)
	TLS           TLSConfig         `yaml:"tls"`            // serve MM1 over TLS; the files are read again when they change
	Identity      IdentityConfig    `yaml:"identity"`
	Gateways      []string          `yaml:"gateways"` // networks of WAP gateways: limits per client address are off for them
	Timeouts      TimeoutConfig     `yaml:"timeouts"`
	Limits        LimitConfig       `yaml:"limits"`
	Replay        ReplayConfig      `yaml:"replay"`
	Fence         FenceConfig       `yaml:"fence"`
	Owners        OwnerConfig       `yaml:"owners"`
	AccessLog     AccessLogConfig   `yaml:"access_log"`
	Fate          FateConfig        `yaml:"fate"`
}

// TLSConfig names the files of a server certificate. Empty: plain HTTP.
type TLSConfig struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// IdentityConfig says which header fields carry the subscriber and from whom they are believed.
type IdentityConfig struct {
	Headers []string `yaml:"headers"` // in order; the first that is there counts
	Trusted []string `yaml:"trusted"` // networks; the fields are stripped from everybody else's requests
	Strip   []string `yaml:"-"`       // further fields to strip: those that an MMSC of the house believes whatever comes from here
}

// TimeoutConfig bounds each phase.
type TimeoutConfig struct {
	Head    time.Duration `yaml:"head"`     // from a request's first octet to its head's last
	Idle    time.Duration `yaml:"idle"`     // a kept-alive client connection without a request
	Body    time.Duration `yaml:"body"`     // between two reads of an upload
	MinRate router.Size   `yaml:"min_rate"` // octets a second that an upload must come with, measured after its first ten seconds; 0: off
	Connect time.Duration `yaml:"connect"`  // TCP and TLS towards an MMSC
	Write   time.Duration `yaml:"write"`    // one stalled write towards an MMSC
	Answer  time.Duration `yaml:"answer"`   // from the upload's last octet to the answer's first, per attempt
	Client  time.Duration `yaml:"client"`   // one stalled write towards a client
	Linger  time.Duration `yaml:"linger"`   // reading on after a refusal
	Queue   time.Duration `yaml:"queue"`    // waiting for a place at an MMSC whose limit is reached
}

// LimitConfig bounds counts and sizes.
type LimitConfig struct {
	Header      router.Size `yaml:"header"`                 // a request's or answer's head
	Fields      int         `yaml:"header_fields"`          //
	Connections int         `yaml:"connections"`            // client connections in all
	PerClient   int         `yaml:"connections_per_client"` // per address; not for gateways, loopback and private networks
	InFlight    int         `yaml:"in_flight"`              // requests at one MMSC
	Queue       int         `yaml:"queue"`                  // requests that wait for a place at one MMSC
	Idle        int         `yaml:"idle"`                   // kept-alive connections per MMSC
	// PerSubscriber is how many requests one subscriber may have under way, where a trusted network names it; 0: any number.
	PerSubscriber int `yaml:"per_subscriber"`
}

// ReplayConfig bounds the memory of uploads kept for another attempt.
type ReplayConfig struct {
	Message router.Size `yaml:"message"` // one upload in memory; the rest of it goes to a temporary file
	Total   router.Size `yaml:"total"`   // all uploads in memory
	Files   router.Size `yaml:"files"`   // all uploads in temporary files; 0B: as much as the disk takes
}

// FenceConfig is the duplicate fence.
type FenceConfig struct {
	Window  time.Duration `yaml:"window"`  // how long a final answer is remembered; 0: no fence
	Entries int           `yaml:"entries"` // how many
}

// OwnerConfig is the table of learned owners.
type OwnerConfig struct {
	Keep    time.Duration `yaml:"keep"`
	Entries int           `yaml:"entries"`
}

// AccessLogConfig says where the line per message goes.
type AccessLogConfig struct {
	Path   string `yaml:"path"`   // a file, stdout, or off
	Unmask bool   `yaml:"unmask"` // whole MSISDNs
}

// FateConfig bounds the index behind `mmsrouter fate`.
type FateConfig struct {
	Entries int `yaml:"entries"`
}

// DefaultConfig holds every default.
func DefaultConfig() Config {
	return Config{
		Listen:        []string{"127.0.0.1:8080"},
		MaxMessage:    5 << 20,
		WhenAllDown:   "refuse",
		RefuseWith:    "pdu",
		RetryAfter:    30 * time.Second,
		Deadline:      45 * time.Second,
		AmbiguousWait: 2 * time.Second,
		Unreadable:    "forward",
		Identity: IdentityConfig{
			Headers: []string{"X-WAP-Network-Client-MSISDN", "X-MSISDN", "X-Nokia-MSISDN", "X-Up-Calling-Line-ID", "X-H3G-MSISDN"},
			Trusted: []string{"127.0.0.0/8", "::1/128"},
		},
		Timeouts: TimeoutConfig{Head: 10 * time.Second, Idle: 60 * time.Second, Body: 20 * time.Second, MinRate: 200,
			Connect: 2 * time.Second, Write: 10 * time.Second, Answer: 20 * time.Second, Client: 30 * time.Second,
			Linger: 5 * time.Second, Queue: 5 * time.Second},
		Limits: LimitConfig{Header: 16 << 10, Fields: 100, Connections: 20000, PerClient: 200, InFlight: 1000, Queue: 1000, Idle: 128, PerSubscriber: 64},
		Replay: ReplayConfig{Message: 1 << 20, Total: 40 << 20, Files: 4 << 30},
		Fence:  FenceConfig{Window: 15 * time.Minute, Entries: 100000},
		Owners: OwnerConfig{Keep: 72 * time.Hour, Entries: 200000},
		AccessLog: AccessLogConfig{
			Path: "stdout",
		},
		Fate: FateConfig{Entries: 10000},
	}
}

// defaultAmbiguous is the policy of the design for PDUs that Config.Ambiguous does not name.
func defaultAmbiguous(t mms.Type) bool {
	switch t {
	case mms.MSendReq, mms.MNotifyRespInd, mms.MAcknowledgeInd, mms.MReadRecInd:
		return true
	}
	return false
}

// Validate reports every mistake, each with its key.
func (c *Config) Validate() error {
	_, err := c.compile()
	return err
}

// settings is a Config made ready for use; immutable.
type settings struct {
	Config
	retry    [256]bool // by PDU: an ambiguous result is tried again
	trusted  nets
	gateways nets
	proxied  nets
	hosts    map[string]bool // lower case, with and without port
	peers    map[string]bool
	urlPort  string // of the MMS URL
	// identityNames are the configured identity fields, by fieldKey.
	identityNames map[string]bool
}

type nets []netip.Prefix

func (n nets) contain(a netip.Addr) bool {
	for _, p := range n {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (c *Config) compile() (*settings, error) {
	s := &settings{Config: *c, hosts: map[string]bool{}, peers: map[string]bool{}, identityNames: map[string]bool{}}
	var errs []error
	bad := func(key, format string, a ...any) {
		errs = append(errs, fmt.Errorf("mm1."+key+": "+format, a...))
	}
	oneOf := func(key, v string, words ...string) {
		for _, w := range words {
			if v == w {
				return
			}
		}
		bad(key, "%q: want %s", v, strings.Join(words, " or "))
	}
	networks := func(key string, list []string) (n nets) {
		for _, t := range list {
			p, err := netip.ParsePrefix(t)
			if err != nil {
				a, aerr := netip.ParseAddr(t)
				if aerr != nil {
					bad(key, "%q: want a network such as 192.0.2.0/24", t)
					continue
				}
				p = netip.PrefixFrom(a, a.BitLen())
			}
			n = append(n, p.Masked())
		}
		return n
	}
	if len(c.Listen) == 0 {
		bad("listen", "give at least one address such as 127.0.0.1:8080")
	}
	for _, l := range c.Listen {
		if _, err := netip.ParseAddrPort(l); err != nil {
			bad("listen", "%q: want an IP address and a port such as 127.0.0.1:8080 or [::]:80", l)
		}
	}
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			bad("url", "%q: want the MMS URL of handsets such as http://mms.example.net/", c.URL)
		} else {
			s.urlPort = u.Port()
		}
	}
	if c.MaxMessage < 1024 || c.MaxMessage > 1<<30 {
		bad("max_message", "%s: want 1KiB to 1GiB", c.MaxMessage)
	}
	oneOf("when_all_down", c.WhenAllDown, "refuse", "hold", "local")
	oneOf("refuse_with", c.RefuseWith, "pdu", "503")
	oneOf("unreadable", c.Unreadable, "forward", "refuse")
	for t := range s.retry {
		s.retry[t] = defaultAmbiguous(mms.Type(t))
	}
	for name, policy := range c.Ambiguous {
		t, err := mms.ParseType(name)
		if err != nil {
			bad("ambiguous", "%q is not a PDU: want a name such as m-send-req", name)
		}
		oneOf("ambiguous."+name, policy, "retry", "fail")
		s.retry[t] = policy == "retry"
	}
	s.trusted = networks("identity.trusted", c.Identity.Trusted)
	s.gateways = networks("gateways", c.Gateways)
	s.proxied = networks("proxy_protocol", c.ProxyProtocol)
	for _, h := range c.Identity.Headers {
		if h == "" || strings.ContainsAny(h, " :\r\n\t") {
			bad("identity.headers", "%q is not a header name", h)
		}
		s.identityNames[fieldKey(h)] = true
	}
	for _, h := range c.Identity.Strip {
		s.identityNames[fieldKey(h)] = true
	}
	for _, h := range c.Hosts {
		s.hosts[strings.ToLower(h)] = true
	}
	for _, h := range c.Peers {
		s.peers[strings.ToLower(h)] = true
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		bad("tls", "cert and key go together")
	}
	t := c.Timeouts
	for _, d := range []struct {
		key  string
		v    time.Duration
		zero bool
	}{{"deadline", c.Deadline, false}, {"ambiguous_wait", c.AmbiguousWait, true}, {"retry_after", c.RetryAfter, true},
		{"timeouts.head", t.Head, false}, {"timeouts.idle", t.Idle, false}, {"timeouts.body", t.Body, false},
		{"timeouts.connect", t.Connect, false}, {"timeouts.write", t.Write, false}, {"timeouts.answer", t.Answer, false},
		{"timeouts.client", t.Client, false}, {"timeouts.linger", t.Linger, false}, {"timeouts.queue", t.Queue, true},
		{"fence.window", c.Fence.Window, true}, {"owners.keep", c.Owners.Keep, false}} {
		if d.v < 0 || d.v == 0 && !d.zero {
			bad(d.key, "%s: want a time above zero such as 10s", d.v)
		}
	}
	l := c.Limits
	if l.Header < 1024 || l.Header > 32<<10 {
		bad("limits.header", "%s: want 1KiB to 32KiB", l.Header)
	}
	for _, n := range []struct {
		key string
		v   int
	}{{"limits.header_fields", l.Fields}, {"limits.connections", l.Connections}, {"limits.connections_per_client", l.PerClient},
		{"limits.in_flight", l.InFlight}, {"fence.entries", c.Fence.Entries}, {"owners.entries", c.Owners.Entries}, {"fate.entries", c.Fate.Entries}} {
		if n.v < 1 {
			bad(n.key, "%d: want at least 1", n.v)
		}
	}
	if l.Queue < 0 || l.Idle < 0 || l.PerSubscriber < 0 {
		bad("limits", "queue, idle and per_subscriber: want 0 or more")
	}
	if c.Replay.Message < 0 || c.Replay.Total < 0 || c.Replay.Files < 0 {
		bad("replay", "want sizes of 0 or more")
	}
	return s, errors.Join(errs...)
}
