package app

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/app/strict"
	"github.com/mmsrouter/mmsrouter/cluster"
	"github.com/mmsrouter/mmsrouter/cluster/takeover"
	"github.com/mmsrouter/mmsrouter/dnsserver"
	"github.com/mmsrouter/mmsrouter/drill/lease"
	"github.com/mmsrouter/mmsrouter/healthcheck"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/peer"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push"
	"github.com/mmsrouter/mmsrouter/proxy"
	"github.com/mmsrouter/mmsrouter/router"
)

// Config is the whole configuration: each section is its room's own.
type Config struct {
	Node      NodeConfig         `yaml:"node"`      // who this router is
	DNS       dnsserver.Config   `yaml:"dns"`       // the authoritative name server of the MMS domains
	MM1       proxy.Config       `yaml:"mm1"`       // the front door for handsets and WAP gateways
	MMSCs     []MMSCConfig       `yaml:"mmscs"`     // the MMSCs behind it
	Routing   router.Config      `yaml:"routing"`   // which MMSC takes what
	Detection healthcheck.Config `yaml:"detection"` // how MMSCs are watched
	MMSC      mmsc.Config        `yaml:"mmsc"`      // the embedded MMSC: the only one where mmscs is empty, else reached by when_all_down or by a rule naming local
	Push      push.Config        `yaml:"push"`      // how the embedded MMSC's notifications reach handsets
	PPG       ppg.Config         `yaml:"ppg"`       // the push proxy gateway: a PAP server for push initiators
	Peers     peer.Config        `yaml:"peers"`     // other operators' servers that the embedded MMSC fetches from for its handsets
	Cluster   cluster.Config     `yaml:"cluster"`   // other routers: several work as one
	Takeover  takeover.Config    `yaml:"takeover"`  // moving a dead router's service addresses to a living one, by keepalived
	Admin     admin.Config       `yaml:"admin"`     // page, API and metrics
	Log       LogConfig          `yaml:"log"`       // the log on standard error
	Drain     DrainConfig        `yaml:"drain"`     // how this router ends
	Upgrade   UpgradeConfig      `yaml:"upgrade"`   // how another process takes over from this one (mmsrouter upgrade)
	Drill     lease.Config       `yaml:"drill"`     // failover drills against this router
}

// NodeConfig is the `node` section.
type NodeConfig struct {
	Name string `yaml:"name"` // of this router, unique in a cluster; empty: the host's name
	Data string `yaml:"data"` // folder of all that outlives a restart
}

// MMSCConfig is one entry of `mmscs`.
type MMSCConfig struct {
	Name          string                  `yaml:"name"`           // unique; a label of metrics and the word in rules
	URL           string                  `yaml:"url"`            // http:// or https://; a path other than / replaces the client's
	Host          string                  `yaml:"host"`           // Host header instead of the client's
	SourceAddress string                  `yaml:"source_address"` // IP address of our side: MMSCs trust identity headers by it
	Weight        *int                    `yaml:"weight"`         // relative share, 0 to 1000, default 1; 0: nothing new, only what it holds
	Tier          int                     `yaml:"tier"`           // 0: primary; a higher tier is a backup, used when none below it passes detection
	InFlight      int                     `yaml:"in_flight"`      // most requests at a time; 0: mm1.limits.in_flight
	IdleTimeout   time.Duration           `yaml:"idle_timeout"`   // how long a kept connection may be unused: less than the MMSC keeps it; 0: 4s
	CA            string                  `yaml:"ca"`             // https: PEM file of authorities, read again when it changes; empty: the system's
	ServerName    string                  `yaml:"server_name"`    // https: name that the certificate must have; empty: the URL's host
	ClientCert    string                  `yaml:"client_cert"`    // https: PEM file of our certificate; read again when it changes
	ClientKey     string                  `yaml:"client_key"`     // https: PEM file of its key; empty: it stands in client_cert
	Probe         healthcheck.ProbeConfig `yaml:"probe"`          // what is left out comes from detection.probe
}

// DrainConfig is the `drain` section.
type DrainConfig struct {
	Max time.Duration `yaml:"max"` // the longest that a drain may take; what is then in flight is cut
}

// DefaultConfig is what stands for keys that a file leaves out.
func DefaultConfig() Config {
	return Config{
		Node:      NodeConfig{Data: "./data"},
		DNS:       dnsserver.DefaultConfig(),
		MM1:       proxy.DefaultConfig(),
		Routing:   router.Config{Balance: router.Weighted},
		Detection: healthcheck.DefaultConfig(),
		MMSC:      mmsc.DefaultConfig(),
		Cluster:   cluster.DefaultConfig(),
		Takeover:  takeover.DefaultConfig(),
		Push:      push.DefaultConfig(),
		PPG:       noPPG(),
		Peers:     peer.DefaultConfig(),
		Admin:     admin.DefaultConfig(),
		Log:       LogConfig{Level: "info", Format: "json"},
		Drain:     DrainConfig{Max: 60 * time.Second},
		Upgrade:   UpgradeConfig{Timeout: time.Minute, Finish: 10 * time.Minute},
		Drill:     lease.DefaultConfig(),
	}
}

// noPPG is the gateway's defaults without an address: only the embedded default opens one unasked.
func noPPG() ppg.Config {
	c := ppg.DefaultConfig()
	c.Listen = ""
	return c
}

// EmbeddedName stands for the file in messages about the configuration that serve uses without -c.
const EmbeddedName = "(embedded default)"

//go:embed default.yaml
var embedded []byte

// EmbeddedText is the configuration that serve uses without -c.
func EmbeddedText() string { return string(embedded) }

// Load reads a file; "" is the embedded default. The error is strict.Mistakes, or the file's own.
func Load(file string) (Config, error) {
	c, _, err := load(file)
	return c, err
}

// Check is Load that also reads the files which the configuration names: certificates, authorities, probes.
func Check(file string) (Config, error) {
	c, doc, err := load(file)
	if err != nil {
		return c, err
	}
	if all := doc.Place(c.checkFiles()); len(all) > 0 {
		return c, all
	}
	return c, nil
}

func load(file string) (Config, *strict.Document, error) {
	if file == "" {
		return parse(EmbeddedName, embedded)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return Config{}, nil, fmt.Errorf("read the configuration: %w", err)
	}
	return parse(file, b)
}

// Parse reads a configuration and checks all of it; the error is of type strict.Mistakes.
func Parse(file string, data []byte) (Config, error) {
	c, _, err := parse(file, data)
	return c, err
}

func parse(file string, data []byte) (Config, *strict.Document, error) {
	c := DefaultConfig()
	doc, err := strict.Decode(file, data, &c)
	if err != nil {
		return c, doc, err
	}
	if c.Node.Name == "" {
		if c.Node.Name, err = os.Hostname(); err != nil {
			return c, doc, strict.Mistakes{{File: file, Key: "node.name", Text: fmt.Sprintf("give one: the host has no name: %v", err)}}
		}
	}
	if all := doc.Place(c.Validate()); len(all) > 0 {
		return c, doc, all
	}
	return c, doc, nil
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

// Validate checks every section and what they ask of each other; each error begins with its key.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if !nameForm.MatchString(c.Node.Name) {
		bad("node.name: %q: want up to 64 letters, digits, dots, dashes, underscores", c.Node.Name)
	}
	if c.Node.Data == "" {
		bad("node.data: want a folder")
	}
	if c.Drain.Max < time.Second || c.Drain.Max > time.Hour {
		bad("drain.max: %s: want 1s to 1h", c.Drain.Max)
	}
	if c.Upgrade.Timeout < time.Second || c.Upgrade.Timeout > time.Hour {
		bad("upgrade.timeout: %s: want 1s to 1h", c.Upgrade.Timeout)
	}
	if c.Upgrade.Finish < time.Second || c.Upgrade.Finish > 24*time.Hour {
		bad("upgrade.finish: %s: want 1s to 24h", c.Upgrade.Finish)
	}
	errs = append(errs, c.Log.validate()...)
	errs = append(errs, c.Admin.Validate(), c.MM1.Validate(), c.Detection.Validate(), c.MMSC.Validate(), c.Push.Validate(), c.PPG.Validate(), c.Peers.Validate(),
		c.Cluster.Validate(), c.Takeover.Validate(), c.Drill.Validate())
	if c.ServesDNS() {
		errs = append(errs, c.DNS.Validate())
	}
	errs = append(errs, c.validateMMSCs()...)
	_, err := router.Compile(c.Routing, c.targetNames())
	errs = append(errs, err)
	if len(c.Peers.Operators) > 0 && !c.MMSC.Enabled {
		bad("peers.operators: the embedded MMSC fetches from them: it needs mmsc.enabled: true")
	}
	if c.MMSC.Services.Enabled && !c.MMSC.Enabled {
		bad("mmsc.services.enabled: the embedded MMSC takes the messages: it needs mmsc.enabled: true")
	}
	if len(c.MMSCs) == 0 && !c.MMSC.Enabled {
		bad("mmscs: there is none, and mmsc.enabled is false: nobody could take a message")
	}
	if w := c.MM1.WhenAllDown; (w == "local" || w == "hold") && !c.MMSC.Enabled {
		bad("mm1.when_all_down: %s needs mmsc.enabled: true, whose store takes the messages", w)
	}
	return errors.Join(errs...)
}

// ServesDNS tells whether there is a zone to answer for; without one no DNS listener is opened.
func (c *Config) ServesDNS() bool { return len(c.DNS.Zones) > 0 }

func (c *Config) targetNames() []string {
	names := make([]string, 0, len(c.MMSCs)+1)
	for _, m := range c.MMSCs {
		names = append(names, m.Name)
	}
	if c.MMSC.Enabled {
		names = append(names, router.LocalName)
	}
	return names
}

func (c *Config) validateMMSCs() []error {
	var errs []error
	seen := map[string]int{}
	for i := range c.MMSCs {
		m, key := &c.MMSCs[i], fmt.Sprintf("mmscs[%d]", i)
		bad := func(k, format string, a ...any) { errs = append(errs, fmt.Errorf(key+"."+k+": "+format, a...)) }
		switch first, dup := seen[m.Name]; {
		case m.Name == "":
			bad("name", "want a name of its own")
		case !nameForm.MatchString(m.Name):
			bad("name", "%q: want up to 64 letters, digits, dots, dashes, underscores", m.Name)
		case m.Name == router.LocalName:
			bad("name", "%q is the embedded MMSC's; want another", m.Name)
		case dup:
			bad("name", "%q is the name of mmscs[%d] too", m.Name, first)
		default:
			seen[m.Name] = i
		}
		m.validate(bad)
		if at := c.circle(m); at != "" {
			bad("url", "%s is this router's own mm1.listen (%s): want an MMSC", m.URL, at)
		}
		if err := m.Probe.ValidateWith(c.Detection); err != nil {
			errs = append(errs, within(key, err)...)
		}
	}
	return errs
}

func (m *MMSCConfig) validate(bad func(key, format string, a ...any)) {
	u, err := url.Parse(m.URL)
	https := err == nil && u.Scheme == "https"
	switch {
	case err != nil || strings.ContainsAny(m.URL, " \t\r\n") || u.Scheme != "http" && !https || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		shown := m.URL
		if err == nil && u.User != nil {
			shown = u.Redacted()
		}
		bad("url", "%q: want http://HOST:PORT/PATH or https://…, without user, query and fragment", shown)
	case !https:
		for k, v := range map[string]string{"ca": m.CA, "server_name": m.ServerName, "client_cert": m.ClientCert, "client_key": m.ClientKey} {
			if v != "" {
				bad(k, "has a meaning only with an https url")
			}
		}
	}
	if m.ClientKey != "" && m.ClientCert == "" {
		bad("client_key", "needs client_cert")
	}
	if m.Host != "" && !httpguts.ValidHostHeader(m.Host) {
		bad("host", "%q: want a host name, with a port if need be", m.Host)
	}
	if m.SourceAddress != "" {
		if _, err := netip.ParseAddr(m.SourceAddress); err != nil {
			bad("source_address", "%q: want an IP address of this machine", m.SourceAddress)
		}
	}
	if w := m.weight(); w < 0 || w > 1000 {
		bad("weight", "%d: want 0 to 1000", w)
	}
	if m.Tier < 0 || m.Tier > 100 {
		bad("tier", "%d: want 0 to 100", m.Tier)
	}
	if m.InFlight < 0 {
		bad("in_flight", "%d: want 1 or more, or 0 for mm1.limits.in_flight", m.InFlight)
	}
	if m.IdleTimeout > time.Hour {
		bad("idle_timeout", "%s: want up to 1h", m.IdleTimeout)
	}
}

func (m *MMSCConfig) weight() int {
	if m.Weight == nil {
		return 1
	}
	return *m.Weight
}

// within puts a key before each of the joined errors.
func within(key string, err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range j.Unwrap() {
			all = append(all, within(key, e)...)
		}
		return all
	}
	return []error{fmt.Errorf("%s.%w", key, err)}
}

// port is the port of host:port, "" if it has none.
func port(hostport string) string {
	_, p, err := net.SplitHostPort(hostport)
	if err != nil {
		return ""
	}
	return p
}

// oneLine joins addresses for a message.
func oneLine(list []string) string { return strings.Join(list, ", ") }
