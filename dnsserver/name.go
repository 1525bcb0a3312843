package dnsserver

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// Names are looked up in wire form with the letters A to Z in lower case: a string of labels, each behind its
// length, with the root's zero at the end. Lengths are at most 63 and so below 'A': a whole name can be lowered
// octet by octet, and each suffix of labels is a substring.

// lower is an octet in lower case (RFC 4343: ASCII only).
func lower(c byte) byte {
	if c-'A' < 26 {
		c |= 0x20
	}
	return c
}

// wireName packs a name and lowers it.
func wireName(fqdn string) (string, error) {
	var buf [256]byte
	n, err := dns.PackDomainName(dns.Fqdn(fqdn), buf[:], 0, nil, false)
	if err != nil {
		return "", fmt.Errorf("name %q: %w", fqdn, err)
	}
	for i := range n {
		buf[i] = lower(buf[i])
	}
	return string(buf[:n]), nil
}

// mustWire is wireName for a name that has been checked; a name that is not one is the root.
func mustWire(fqdn string) string {
	w, err := wireName(fqdn)
	if err != nil {
		return "\x00"
	}
	return w
}

// presentation gives a wire name as text with the final dot.
func presentation(wire string) string {
	s, _, err := dns.UnpackDomainName([]byte(wire), 0)
	if err != nil {
		return "?"
	}
	return s
}

// lowerName is a checked name as text, in lower case and with the final dot.
func lowerName(s string) string { return dns.Fqdn(strings.ToLower(s)) }

// inZone says whether name is apex or lies below it; both in lower-case wire form.
func inZone(name, apex string) bool {
	for off := 0; len(name)-off >= len(apex); off += 1 + int(name[off]) {
		if name[off:] == apex {
			return true
		}
		if name[off] == 0 {
			break
		}
	}
	return false
}

// isMeta says whether a type is a question or a transport matter, never data (RFC 6895, 3.1).
func isMeta(t uint16) bool { return t == 0 || t == dns.TypeOPT || (t >= 249 && t <= 255) }
