package udp_test

import (
	"net"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/carrier"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/udp"
)

func TestSend(t *testing.T) {
	phone, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	port := phone.LocalAddr().(*net.UDPAddr).Port
	cfg := udp.DefaultConfig()
	cfg.Port = port
	cfg.Hosts = map[string]string{"+4601": "127.0.0.1", "+4602": gone.LocalAddr().String(), "+4603": phone.LocalAddr().String()}
	cfg.Source = "127.0.0.1:0"
	if err := cfg.Validate("x"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, to string
		push     string
		err      string
		final    bool
	}{
		{"a number with an address", "+4601", "one", "", false},
		{"with a port", "+4603", "two", "", false},
		{"an IP address", "127.0.0.1", "three", "", false},
		{"nobody listens", "+4602", "four", "connection refused", false},
		{"unknown", "+4609", "five", "no IP address is known for +46…", true},
		{"too long", "+4601", strings.Repeat("x", 1401), "push of 1401 octets, a datagram may have 1400", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := cfg.Send(t.Context(), tc.to, []byte(tc.push))
			if (err == nil) != (tc.err == "") || err != nil && (!strings.Contains(err.Error(), tc.err) || carrier.IsFinal(err) != tc.final) {
				t.Fatalf("%v", err)
			}
			if err != nil {
				return
			}
			b := make([]byte, 100)
			if n, _, err := phone.ReadFrom(b); err != nil || string(b[:n]) != tc.push {
				t.Errorf("%q, %v", b[:n], err)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*udp.Config)
		want   string
	}{
		{"port", func(c *udp.Config) { c.Port = 70000 }, "x.port: 70000; allowed are 1 to 65535"},
		{"source", func(c *udp.Config) { c.Source = "here" }, `x.source: "here" is not IP:port`},
		{"host", func(c *udp.Config) { c.Hosts = map[string]string{"+46": "phone"} }, `x.hosts.+46: "phone" is neither an IP address nor IP:port`},
		{"number", func(c *udp.Config) { c.Hosts = map[string]string{"me@x": "127.0.0.1"} }, `x.hosts: "me@x" is not a number`},
		{"size", func(c *udp.Config) { c.Largest = 1 }, "x.largest: 1; allowed are 64 to 65000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := udp.DefaultConfig()
			tc.change(&cfg)
			if err := cfg.Validate("x"); err == nil || err.Error() != tc.want {
				t.Errorf("%v", err)
			}
		})
	}
}
