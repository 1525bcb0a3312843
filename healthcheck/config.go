package healthcheck

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"gopkg.in/yaml.v3"
)

// The kinds of probe.
const (
	TCP  = "tcp"  // a connection (and a TLS handshake for https) is enough
	HTTP = "http" // a request whose answer has the expected status and body
	MM1  = "mm1"  // an M-Send.req that must be refused: the MMS application itself answers
)

// Config is the `detection` section of the configuration.
type Config struct {
	Probe     ProbeConfig   `yaml:"probe"`      // what an MMSC's own `probe` leaves out
	Jitter    int           `yaml:"jitter"`     // percent by which intervals vary, so that probes do not march in step: 0 to 50
	SlowStart time.Duration `yaml:"slow_start"` // time in which a recovered MMSC grows to its whole weight; 0: at once
	Passive   PassiveConfig `yaml:"passive"`    // detection from live traffic
}

// PassiveConfig says how failed attempts of live traffic count.
type PassiveConfig struct {
	Enabled    bool          `yaml:"enabled"`
	Fall       int           `yaml:"fall"`        // failed attempts in a row that eject; 0: the probe's `fall`
	Window     time.Duration `yaml:"window"`      // a failed attempt is forgotten when none has followed for so long
	MaxEjected int           `yaml:"max_ejected"` // percent of the MMSCs that live traffic may eject; the last one that is up never is
	Hold       time.Duration `yaml:"hold"`        // an MMSC that probes find well but traffic ejects again stays out so long, doubled each time
	MaxHold    time.Duration `yaml:"max_hold"`    // the most that hold grows to
}

// ProbeConfig is how one MMSC is probed: an MMSC's `probe`, or `detection.probe` for all. What is
// empty or 0 in an MMSC's `probe` is taken from `detection.probe`.
type ProbeConfig struct {
	Type         string            `yaml:"type"`          // tcp | http | mm1
	Interval     time.Duration     `yaml:"interval"`      // from the start of one probe to the start of the next
	FastInterval time.Duration     `yaml:"fast_interval"` // while a state is changing; 0: a quarter of interval, at least 100ms
	Timeout      time.Duration     `yaml:"timeout"`       // for the whole probe
	Rise         int               `yaml:"rise"`          // good probes in a row that bring an MMSC back
	Fall         int               `yaml:"fall"`          // failures in a row that take it out
	Method       string            `yaml:"method"`        // http: GET | HEAD | OPTIONS | POST
	Path         string            `yaml:"path"`          // http, mm1: path and query; empty: that of the MMSC's url
	Host         string            `yaml:"host"`          // http, mm1: Host header; empty: the MMSC's `host`, then that of its url
	Headers      map[string]string `yaml:"headers"`       // http, mm1: more request headers
	Status       StatusSet         `yaml:"status"`        // http: statuses that mean up
	Body         string            `yaml:"body"`          // http: regular expression that the first 64 KiB of the body must match
	File         string            `yaml:"file"`          // mm1: a file with the M-Send.req to post instead of ours
}

// DefaultConfig gives the defaults of the configuration.
func DefaultConfig() Config {
	return Config{
		Probe: ProbeConfig{
			Type: TCP, Interval: time.Second, Timeout: 500 * time.Millisecond, Rise: 2, Fall: 2,
			Method: http.MethodGet, Status: StatusSet{{200, 399}},
		},
		Jitter:    10,
		SlowStart: 10 * time.Second,
		Passive: PassiveConfig{Enabled: true, Window: 10 * time.Second, MaxEjected: 50,
			Hold: time.Second, MaxHold: 30 * time.Second},
	}
}

// Validate checks the section; the error joins every mistake, each with its key.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf("detection."+format, a...)) }
	if c.Jitter < 0 || c.Jitter > 50 {
		bad("jitter: %d is not allowed; want 0 to 50 (percent)", c.Jitter)
	}
	if c.SlowStart < 0 || c.SlowStart > time.Hour {
		bad("slow_start: %s is not allowed; want 0s to 1h", c.SlowStart)
	}
	p := c.Passive
	if p.Fall < 0 || p.Fall > maxCount {
		bad("passive.fall: %d is not allowed; want 1 to %d, or 0 for the probe's fall", p.Fall, maxCount)
	}
	if p.MaxEjected < 0 || p.MaxEjected > 100 {
		bad("passive.max_ejected: %d is not allowed; want 0 to 100 (percent)", p.MaxEjected)
	}
	for _, d := range []struct {
		key string
		v   time.Duration
	}{{"window", p.Window}, {"hold", p.Hold}, {"max_hold", p.MaxHold}} {
		if d.v < 0 || d.v > time.Hour {
			bad("passive.%s: %s is not allowed; want 0s to 1h", d.key, d.v)
		}
	}
	if p.MaxHold < p.Hold {
		bad("passive.max_hold: %s is below hold (%s)", p.MaxHold, p.Hold)
	}
	for _, err := range c.Probe.mistakes(c.Probe.merged(DefaultConfig().Probe), false) {
		bad("%w", err)
	}
	return errors.Join(errs...)
}

// Validate checks what can be checked of an MMSC's own `probe` alone; keys begin with "probe.".
func (p *ProbeConfig) Validate() error { return p.ValidateWith(DefaultConfig()) }

// ValidateWith is Validate with the `detection` section that fills in what p leaves out.
func (p *ProbeConfig) ValidateWith(c Config) error {
	return errors.Join(p.mistakes(p.merged(c.Probe.merged(DefaultConfig().Probe)), true)...)
}

const (
	maxCount    = 100
	minInterval = 10 * time.Millisecond
	maxInterval = time.Hour
	maxTimeout  = time.Minute
	maxHeaders  = 32
)

// merged fills what p leaves out from base.
func (p ProbeConfig) merged(base ProbeConfig) ProbeConfig {
	or := func(to *string, from string) {
		if *to == "" {
			*to = from
		}
	}
	or(&p.Type, base.Type)
	or(&p.Method, base.Method)
	or(&p.Path, base.Path)
	or(&p.Host, base.Host)
	or(&p.Body, base.Body)
	or(&p.File, base.File)
	if p.FastInterval == 0 && p.Interval == 0 {
		p.FastInterval = base.FastInterval
	}
	if p.Interval == 0 {
		p.Interval = base.Interval
	}
	if p.FastInterval == 0 {
		p.FastInterval = min(p.Interval, max(p.Interval/4, 100*time.Millisecond))
	}
	if p.Timeout == 0 {
		p.Timeout = base.Timeout
	}
	if p.Rise == 0 {
		p.Rise = base.Rise
	}
	if p.Fall == 0 {
		p.Fall = base.Fall
	}
	if len(p.Headers) == 0 {
		p.Headers = base.Headers
	}
	if len(p.Status) == 0 {
		p.Status = base.Status
	}
	return p
}

// mistakes checks the merged probe m. With own set, keys that p itself gives but its kind of probe does
// not look at are mistakes too; in detection.probe they may be meant for some MMSCs.
func (p ProbeConfig) mistakes(m ProbeConfig, own bool) (errs []error) {
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf("probe."+format, a...)) }
	if !slices.Contains([]string{TCP, HTTP, MM1}, m.Type) {
		bad("type: %q is not allowed; want tcp, http or mm1", m.Type)
		return errs
	}
	if m.Interval < minInterval || m.Interval > maxInterval {
		bad("interval: %s is not allowed; want %s to %s", m.Interval, minInterval, maxInterval)
	} else if m.FastInterval < minInterval || m.FastInterval > m.Interval {
		bad("fast_interval: %s is not allowed; want %s to interval (%s)", m.FastInterval, minInterval, m.Interval)
	}
	if m.Timeout <= 0 || m.Timeout > maxTimeout {
		bad("timeout: %s is not allowed; want more than 0s, up to %s", m.Timeout, maxTimeout)
	}
	if m.Rise < 1 || m.Rise > maxCount {
		bad("rise: %d is not allowed; want 1 to %d", m.Rise, maxCount)
	}
	if m.Fall < 1 || m.Fall > maxCount {
		bad("fall: %d is not allowed; want 1 to %d", m.Fall, maxCount)
	}
	if own {
		for _, k := range p.unused(m.Type) {
			bad("%s: has no meaning for a probe of type %s", k, m.Type)
		}
	}
	if methods := []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost}; !slices.Contains(methods, m.Method) {
		bad("method: %q is not allowed; want %s", m.Method, strings.Join(methods, ", "))
	}
	if m.Path != "" && (m.Path[0] != '/' || strings.ContainsFunc(m.Path, notURL)) {
		bad("path: %q is not allowed; want a path that begins with / and is escaped", m.Path)
	}
	if m.Host != "" && !httpguts.ValidHostHeader(m.Host) {
		bad("host: %q is not a host", m.Host)
	}
	if len(m.Headers) > maxHeaders {
		bad("headers: %d are too many; want up to %d", len(m.Headers), maxHeaders)
	}
	for name, value := range m.Headers {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			bad("headers: %q can't be a header of HTTP", name)
		}
		switch http.CanonicalHeaderKey(name) {
		case "Host", "Content-Length", "Transfer-Encoding", "Connection":
			bad("headers: %s can't be set here", name)
		}
	}
	for _, r := range m.Status {
		if r.From < 100 || r.To > 599 || r.From > r.To {
			bad("status: %s is not allowed; want 100 to 599, or ranges such as 200-299", r)
		}
	}
	if _, err := regexp.Compile(m.Body); err != nil {
		bad("body: %w", err)
	} else if m.Type == HTTP && m.Body != "" && m.Method == http.MethodHead {
		bad("body: an answer to HEAD has none; use method: GET")
	}
	return errs
}

// unused names the keys that p gives and that a probe of this type does not look at.
func (p ProbeConfig) unused(kind string) (keys []string) {
	for _, k := range []struct {
		key   string
		given bool
		kinds string
	}{
		{"method", p.Method != "", HTTP}, {"status", len(p.Status) > 0, HTTP}, {"body", p.Body != "", HTTP},
		{"path", p.Path != "", HTTP + MM1}, {"host", p.Host != "", HTTP + MM1}, {"headers", len(p.Headers) > 0, HTTP + MM1},
		{"file", p.File != "", MM1},
	} {
		if k.given && !strings.Contains(k.kinds, kind) {
			keys = append(keys, k.key)
		}
	}
	return keys
}

func notURL(r rune) bool { return r <= ' ' || r >= 0x7F || r == '#' }

// StatusRange is an inclusive range of HTTP statuses.
type StatusRange struct{ From, To int }

// String gives "200" or "200-299".
func (r StatusRange) String() string {
	if r.From == r.To {
		return strconv.Itoa(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// StatusSet is a set of HTTP statuses: in YAML one of, or a list of, 200 and 200-299.
type StatusSet []StatusRange

// Contains says whether the status is in the set.
func (s StatusSet) Contains(status int) bool {
	return slices.ContainsFunc(s, func(r StatusRange) bool { return r.From <= status && status <= r.To })
}

// String gives "200-299, 404".
func (s StatusSet) String() string {
	words := make([]string, len(s))
	for i, r := range s {
		words[i] = r.String()
	}
	return strings.Join(words, ", ")
}

// UnmarshalYAML reads a status, a range or a list of both.
func (s *StatusSet) UnmarshalYAML(n *yaml.Node) error {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	set := make(StatusSet, 0, len(items))
	for _, item := range items {
		from, to, isRange := strings.Cut(item.Value, "-")
		if !isRange {
			to = from
		}
		a, err1 := strconv.Atoi(strings.TrimSpace(from))
		b, err2 := strconv.Atoi(strings.TrimSpace(to))
		if item.Kind != yaml.ScalarNode || err1 != nil || err2 != nil {
			return fmt.Errorf("line %d: status %q: want a status such as 200, or a range such as 200-299", item.Line, item.Value)
		}
		set = append(set, StatusRange{a, b})
	}
	*s = set
	return nil
}

// MarshalYAML writes the list.
func (s StatusSet) MarshalYAML() (any, error) {
	words := make([]string, len(s))
	for i, r := range s {
		words[i] = r.String()
	}
	return words, nil
}
