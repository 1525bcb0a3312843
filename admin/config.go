package admin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Config is the `admin` section of the configuration.
type Config struct {
	// Listen is the TCP address of page, API and metrics.
	Listen string `yaml:"listen"`
	// Freebind lets the server bind an address that the machine does not have yet (IP_FREEBIND).
	Freebind bool `yaml:"freebind"`
	// Token is asked as "Authorization: Bearer TOKEN", or as the password of Basic. It may be empty only
	// where listen is a loopback address.
	Token string `yaml:"token"`
	// Hosts are names beyond localhost by which browsers may call the page while there is no token.
	Hosts []string `yaml:"hosts"`
	// MaxConnections bounds the connections at a time.
	MaxConnections int `yaml:"max_connections"`
}

// DefaultConfig listens on loopback, without a token.
func DefaultConfig() Config {
	return Config{Listen: "127.0.0.1:8090", MaxConnections: 64}
}

// Validate names each wrong key and what it allows.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	host, port, err := net.SplitHostPort(c.Listen)
	switch {
	case err != nil || port == "":
		bad("admin.listen: %q: want an address and port such as 127.0.0.1:8090", c.Listen)
	case c.Token == "" && !loopbackName(host):
		bad("admin.token: empty is allowed only where admin.listen is a loopback address, and %q is not", c.Listen)
	}
	if c.Token != "" && (len(c.Token) < 16 || len(c.Token) > 256 || strings.Trim(c.Token, " \t") != c.Token) {
		bad("admin.token: want 16 to 256 characters without blanks at the ends")
	}
	for i, h := range c.Hosts {
		if h == "" || strings.ContainsAny(h, "/:@ ") {
			bad("admin.hosts[%d]: %q: want a host name without scheme and port", i, h)
		}
	}
	if c.MaxConnections < 1 || c.MaxConnections > 10000 {
		bad("admin.max_connections: %d: want 1 to 10000", c.MaxConnections)
	}
	return errors.Join(errs...)
}

// loopbackName tells whether a host part names this machine alone.
func loopbackName(host string) bool {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
