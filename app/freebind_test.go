package app_test

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/app"
)

// Each door can open on an address that comes later; without the key the error names the key.
func TestFreebind(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("IP_FREEBIND is Linux's")
	}
	const base = `node: {name: r1, data: %DATA%}
dns: {listen: ["127.0.0.1:0"], zones: [{name: mms.example.net, addresses: ["192.0.2.10"]}]}
mm1: {listen: ["127.0.0.1:0"], access_log: {path: "off"}}
admin: {listen: "127.0.0.1:0"}
ppg: {listen: "127.0.0.1:0", initiators: [{name: x, user: x, password: "0123456789abcdef"}]}
mmscs: [{name: a, url: "http://127.0.0.1:9/"}]
`
	tests := []struct{ name, from, with, key string }{
		{"MM1", `mm1: {listen: ["127.0.0.1:0"]`, `mm1: {listen: ["192.0.2.10:0", "[2001:db8::10]:0"]`, "mm1.freebind"},
		{"DNS", `dns: {listen: ["127.0.0.1:0"]`, `dns: {listen: ["192.0.2.10:0"]`, "dns.freebind"},
		{"PPG", `ppg: {listen: "127.0.0.1:0"`, `ppg: {listen: "192.0.2.10:0"`, "ppg.freebind"},
		{"admin", `admin: {listen: "127.0.0.1:0"`, `admin: {token: "0123456789abcdef", listen: "192.0.2.10:0"`, "admin.freebind"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			without := strings.ReplaceAll(strings.Replace(base, tc.from, tc.with, 1), "%DATA%", t.TempDir())
			cfg, err := app.Parse("f.yaml", []byte(without))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := app.New(app.Options{Config: cfg, LogTo: &logBuffer{}}); err == nil || !strings.Contains(err.Error(), tc.key) {
				t.Errorf("without it: %v", err)
			}
			if cfg, err = app.Parse("f.yaml", []byte(strings.Replace(without, tc.with, tc.with+", freebind: true", 1))); err != nil {
				t.Fatal(err)
			}
			a, err := app.New(app.Options{Config: cfg, LogTo: &logBuffer{}})
			if err != nil {
				t.Fatalf("with it: %v", err)
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			a.EndNow()
			if err := a.Run(ended); err != nil {
				t.Error(err)
			}
		})
	}
}
