package healthcheck_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/healthcheck"
	"gopkg.in/yaml.v3"
)

func TestDefaultsAreTheContracts(t *testing.T) {
	c := healthcheck.DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	p := c.Probe
	if p.Type != "tcp" || p.Interval != time.Second || p.Timeout != 500*time.Millisecond || p.Rise != 2 || p.Fall != 2 {
		t.Errorf("%+v", p)
	}
}

func TestConfigMistakes(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"fine", "{}", ""},
		{"all keys", `
probe: {type: http, interval: 2s, fast_interval: 500ms, timeout: 1s, rise: 3, fall: 1, method: HEAD, path: /x, host: h, headers: {X-A: b}, status: [200, 300-302]}
jitter: 0
slow_start: 0s
passive: {enabled: false, fall: 5, window: 1s, max_ejected: 100, hold: 0s, max_hold: 0s}`, ""},
		{"type", "probe: {type: icmp}", `detection.probe.type: "icmp" is not allowed; want tcp, http or mm1`},
		{"jitter", "jitter: 51", "detection.jitter: 51 is not allowed; want 0 to 50"},
		{"slow start", "slow_start: -1s", "detection.slow_start: -1s"},
		{"passive fall", "passive: {fall: -1}", "detection.passive.fall: -1"},
		{"cap", "passive: {max_ejected: 101}", "detection.passive.max_ejected: 101"},
		{"window", "passive: {window: 2h}", "detection.passive.window: 2h0m0s"},
		{"hold", "passive: {hold: 1m}", "detection.passive.max_hold: 30s is below hold (1m0s)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := healthcheck.DefaultConfig()
			if err := yaml.Unmarshal([]byte(c.yaml), &cfg); err != nil {
				t.Fatal(err)
			}
			mistake(t, cfg.Validate(), c.want)
		})
	}
}

func TestProbeMistakes(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"empty", "{}", ""},
		{"as in the contract", "{type: http, path: /, interval: 1s, timeout: 500ms, rise: 2, fall: 2}", ""},
		{"status alone", "{type: http, status: 204}", ""},
		{"status range", "{type: http, status: 200-204}", ""},
		{"mm1 file", "{type: mm1, file: x.mms, path: '/mms?a=b'}", ""},
		{"type", "{type: HTTP}", `probe.type: "HTTP"`},
		{"interval", "{interval: 1ms}", "probe.interval: 1ms is not allowed; want 10ms to 1h0m0s"},
		{"fast interval", "{interval: 1s, fast_interval: 2s}", "probe.fast_interval: 2s is not allowed; want 10ms to interval (1s)"},
		{"timeout", "{timeout: -1s}", "probe.timeout: -1s"},
		{"rise", "{rise: 101}", "probe.rise: 101 is not allowed; want 1 to 100"},
		{"fall", "{fall: -2}", "probe.fall: -2"},
		{"method", "{type: http, method: BREW}", `probe.method: "BREW" is not allowed; want GET, HEAD, OPTIONS, POST`},
		{"path without slash", "{type: http, path: x}", `probe.path: "x"`},
		{"path with a line end", `{type: http, path: "/ HTTP/1.1\r\nX: y"}`, "probe.path:"},
		{"path that is not escaped", `{type: http, path: "/%zz"}`, ""}, // told by New, which parses it
		{"host", `{type: http, host: "a\r\nb"}`, "probe.host:"},
		{"header name", `{type: http, headers: {"a b": c}}`, "probe.headers:"},
		{"header value", `{type: http, headers: {a: "c\nd"}}`, "probe.headers:"},
		{"header of ours", `{type: http, headers: {content-length: "1"}}`, "probe.headers: content-length can't be set here"},
		{"status", "{type: http, status: [200, 700]}", "probe.status: 700"},
		{"status backwards", "{type: http, status: 299-200}", "probe.status: 299-200"},
		{"body", "{type: http, body: '('}", "probe.body: error parsing regexp"},
		{"body of HEAD", "{type: http, body: x, method: HEAD}", "probe.body: an answer to HEAD has none"},
		{"a key of another kind", "{path: /x}", "probe.path: has no meaning for a probe of type tcp"},
		{"a key of mm1", "{type: http, file: x.mms}", "probe.file: has no meaning for a probe of type http"},
		{"a key of http", "{type: mm1, status: 200}", "probe.status: has no meaning for a probe of type mm1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p healthcheck.ProbeConfig
			if err := yaml.Unmarshal([]byte(c.yaml), &p); err != nil {
				t.Fatal(err)
			}
			mistake(t, p.Validate(), c.want)
		})
	}
}

func mistake(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want %q in it", err, want)
	}
}

func TestTheSectionFillsInWhatAProbeLeavesOut(t *testing.T) {
	cfg := steady()
	cfg.Probe.Type = healthcheck.HTTP
	p := healthcheck.ProbeConfig{Path: "/x"}
	if err := p.Validate(); err == nil {
		t.Error("a path for the default probe, tcp, is taken")
	}
	if err := p.ValidateWith(cfg); err != nil {
		t.Errorf("a path for a probe that is http by the section: %v", err)
	}
}

func TestStatusSetText(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"200", "200"}, {"200-299", "200-299"}, {"[200, 301-302]", "200, 301-302"},
	} {
		var s healthcheck.StatusSet
		if err := yaml.Unmarshal([]byte(c.in), &s); err != nil || s.String() != c.want {
			t.Errorf("%s: %s %v", c.in, s, err)
		}
		b, err := yaml.Marshal(s)
		var again healthcheck.StatusSet
		if err != nil || yaml.Unmarshal(b, &again) != nil || !reflect.DeepEqual(s, again) {
			t.Errorf("%s does not come back from %q", c.in, b)
		}
	}
	for _, in := range []string{"ok", "200-", "-200", "[[200]]", "{a: b}", "200-300-400"} {
		var s healthcheck.StatusSet
		if err := yaml.Unmarshal([]byte(in), &s); err == nil || !strings.Contains(err.Error(), "line 1: status") {
			t.Errorf("%s: %v, %v", in, s, err)
		}
	}
}
