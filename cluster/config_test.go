package cluster_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/cluster"
)

func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*cluster.Config)
		want string // part of the error; "" is none
	}{
		{"off", func(c *cluster.Config) { c.Listen = "" }, ""},
		{"loopback without a key", func(c *cluster.Config) {}, ""},
		{"loopback by name", func(c *cluster.Config) { c.Join = []string{"localhost:7946", "[::1]:7946", "127.0.0.2"} }, ""},
		{"a network without a key", func(c *cluster.Config) { c.Listen = "192.0.2.1:7946" }, "cluster.key: "},
		{"to join a network without a key", func(c *cluster.Config) { c.Join = []string{"r2.example.net"} }, "cluster.key: "},
		{"to advertise a network without a key", func(c *cluster.Config) { c.Advertise = "192.0.2.1:7946" }, "cluster.key: "},
		{"a network with a key", func(c *cluster.Config) { c.Listen, c.Key = "192.0.2.1:7946", testKey }, ""},
		{"a key in hexadecimal", func(c *cluster.Config) { c.Key = strings.Repeat("0f", 16) }, ""},
		{"a key too short", func(c *cluster.Config) { c.Key = "c2hvcnQ=" }, "16, 24 or 32 octets"},
		{"a key that is none", func(c *cluster.Config) { c.Key = "secret!" }, "16, 24 or 32 octets"},
		{"an old key that is none", func(c *cluster.Config) { c.Key, c.OldKeys = testKey, []string{testKey, "x"} }, "cluster.old_keys[1]: "},
		{"old keys alone", func(c *cluster.Config) { c.OldKeys = []string{testKey} }, "cluster.old_keys: "},
		{"a name before the port", func(c *cluster.Config) { c.Listen = "r1:7946" }, "cluster.listen: "},
		{"every address", func(c *cluster.Config) { c.Listen, c.Key = "0.0.0.0:7946", testKey }, "cluster.advertise: wanted"},
		{"every address, advertised", func(c *cluster.Config) {
			c.Listen, c.Key, c.Advertise = "[::]:7946", testKey, "192.0.2.1:7946"
		}, ""},
		{"to join without listening", func(c *cluster.Config) { c.Listen, c.Join = "", []string{"r2"} }, "cluster.listen: wanted"},
		{"to join nonsense", func(c *cluster.Config) { c.Join = []string{"127.0.0.1", "a b"} }, "cluster.join[1]: "},
		{"a name with blanks", func(c *cluster.Config) { c.Name = "my cluster" }, "cluster.name: "},
		{"a probe that outlasts its interval", func(c *cluster.Config) { c.ProbeTimeout = time.Second }, "cluster.probe_timeout: "},
		{"an hour of waiting", func(c *cluster.Config) { c.AskTimeout = time.Hour }, "cluster.ask_timeout: "},
		{"nobody", func(c *cluster.Config) { c.MaxMembers = 0 }, "cluster.max_members: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := cluster.DefaultConfig()
			conf.Listen = "127.0.0.1:7946"
			c.edit(&conf)
			err := conf.Validate()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
