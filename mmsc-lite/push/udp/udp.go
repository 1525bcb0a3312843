// Package udp sends pushes as datagrams to port 2948 of handsets (WAP-259-WDP over IP). It is for handsets whose address is known: in
// labs, and where the network keeps a table. Nothing confirms a datagram; one that the handset's host refuses with an ICMP message is a
// failure that can be tried again. It has no state.
package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/carrier"
)

// Config says where handsets are. Its keys stand in the section of whoever uses it.
type Config struct {
	Port    int               `yaml:"port"`    // of handsets
	Hosts   map[string]string `yaml:"hosts"`   // number: IP address, or IP:port
	To      string            `yaml:"to"`      // where a number goes that hosts does not name: IP or IP:port; empty: nowhere
	Source  string            `yaml:"source"`  // our address, IP:port; empty: the system chooses
	Confirm time.Duration     `yaml:"confirm"` // how long a refusal is waited for
	Largest int               `yaml:"largest"` // octets of a push
}

// DefaultConfig gives the defaults.
func DefaultConfig() Config {
	return Config{Port: wappush.PortPush, Confirm: 50 * time.Millisecond, Largest: 1400}
}

// Fill puts defaults where a key was left out, for configurations that stand in lists.
func (c *Config) Fill() {
	d := DefaultConfig()
	if c.Port == 0 {
		c.Port = d.Port
	}
	if c.Confirm == 0 {
		c.Confirm = d.Confirm
	}
	if c.Largest == 0 {
		c.Largest = d.Largest
	}
}

// Validate says which key below at is wrong and what is allowed.
func (c *Config) Validate(at string) error {
	switch {
	case c.Port < 1 || c.Port > 65535:
		return fmt.Errorf("%s.port: %d; allowed are 1 to 65535", at, c.Port)
	case c.Confirm < 0 || c.Confirm > 5*time.Second:
		return fmt.Errorf("%s.confirm: %s; allowed are 0s to 5s", at, c.Confirm)
	case c.Largest < 64 || c.Largest > 65000:
		return fmt.Errorf("%s.largest: %d; allowed are 64 to 65000", at, c.Largest)
	case c.Source != "" && c.source() == nil:
		return fmt.Errorf("%s.source: %q is not IP:port", at, c.Source)
	}
	if _, ok := c.parse(c.To); c.To != "" && !ok {
		return fmt.Errorf("%s.to: %q is neither an IP address nor IP:port", at, c.To)
	}
	for number, host := range c.Hosts {
		if _, ok := c.parse(host); !ok {
			return fmt.Errorf("%s.hosts.%s: %q is neither an IP address nor IP:port", at, number, host)
		}
		if mms.Number(number) == "" {
			return fmt.Errorf("%s.hosts: %q is not a number", at, number)
		}
	}
	return nil
}

func (c *Config) source() *net.UDPAddr {
	ap, err := netip.ParseAddrPort(c.Source)
	if err != nil {
		return nil
	}
	return net.UDPAddrFromAddrPort(ap)
}

func (c *Config) parse(host string) (netip.AddrPort, bool) {
	if ap, err := netip.ParseAddrPort(host); err == nil {
		return ap, true
	}
	ip, err := netip.ParseAddr(host)
	return netip.AddrPortFrom(ip, uint16(c.Port)), err == nil && ip.Zone() == ""
}

// Find gives the address for a number or an IP address.
func (c *Config) Find(to string) (netip.AddrPort, bool) {
	if host, ok := c.Hosts[to]; ok {
		return c.parse(host)
	}
	if ip, err := netip.ParseAddr(to); err == nil && !strings.HasPrefix(to, "+") {
		return netip.AddrPortFrom(ip, uint16(c.Port)), ip.Zone() == ""
	}
	if c.To == "" {
		return netip.AddrPort{}, false
	}
	return c.parse(c.To)
}

// Send sends a WSP push; an error is a *carrier.Failure.
func (c *Config) Send(ctx context.Context, to string, push []byte) error {
	addr, ok := c.Find(to)
	if !ok {
		return carrier.Refused("no IP address is known for %s", mms.Mask(to))
	}
	if len(push) > c.Largest {
		return carrier.Refused("push of %d octets, a datagram may have %d", len(push), c.Largest)
	}
	dialer := net.Dialer{}
	if c.Source != "" {
		dialer.LocalAddr = c.source()
	}
	conn, err := dialer.DialContext(ctx, "udp", addr.String())
	if err != nil {
		return carrier.Later(0, "push to %s: %w", addr, err)
	}
	defer conn.Close() // nothing is read from it any more
	if _, err := conn.Write(push); err != nil {
		return carrier.Later(0, "push to %s: %w", addr, err)
	}
	if c.Confirm == 0 {
		return nil
	}
	if err := conn.SetReadDeadline(time.Now().Add(c.Confirm)); err != nil {
		return carrier.Later(0, "push to %s: %w", addr, err)
	}
	// A connectionless push has no answer; what comes is the ICMP message of a host where nobody listens.
	if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return carrier.Later(0, "push to %s: %w", addr, err)
	}
	return nil
}
