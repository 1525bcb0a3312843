package pap

import (
	"net/netip"
	"net/url"
	"strings"
)

// Kind is the TYPE of a client address.
type Kind string

// The kinds.
const (
	PLMN Kind = "PLMN"
	IPv4 Kind = "IPv4"
	IPv6 Kind = "IPv6"
	User Kind = "USER"
)

// ClientAddress is an address of WAP-247-PAP 7: WAPPUSH=+447700900456/TYPE=PLMN@ppg.example.net.
type ClientAddress struct {
	Kind  Kind
	Value string // number, IP address, or the user's name with its escapes undone
	Host  string // the gateway that is asked; may be empty
}

const maxAddress = 256

// ParseAddress takes the value of an address element apart. WAPPUSH, TYPE and the
// kinds are compared without regard to case. The error's code is 2002.
func ParseAddress(s string) (ClientAddress, error) {
	fault := func(why string) (ClientAddress, error) {
		return ClientAddress{}, &Error{Code: AddressError, Text: "address: " + why, Fragment: fragment(s)}
	}
	if len(s) > maxAddress {
		return fault("longer than 256 characters")
	}
	const prefix = "WAPPUSH="
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return fault("does not begin with WAPPUSH=")
	}
	rest := s[len(prefix):]
	var a ClientAddress
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest, a.Host = rest[:i], rest[i+1:]
	}
	const word = "/TYPE="
	i := strings.LastIndexByte(rest, '/')
	if i < 0 || len(rest)-i < len(word) || !strings.EqualFold(rest[i:i+len(word)], word) {
		return fault("has no /TYPE=")
	}
	value, kind := rest[:i], rest[i+len(word):]
	switch {
	case value == "":
		return fault("nothing stands before /TYPE=")
	case strings.EqualFold(kind, string(PLMN)):
		a.Kind, a.Value = PLMN, number(value)
		if a.Value == "" {
			return fault("not a number of 3 to 20 digits")
		}
	case strings.EqualFold(kind, string(IPv4)), strings.EqualFold(kind, string(IPv6)):
		ip, err := netip.ParseAddr(value)
		a.Kind, a.Value = IPv4, value
		if strings.EqualFold(kind, string(IPv6)) {
			a.Kind = IPv6
		}
		if err != nil || ip.Zone() != "" || ip.Is4() != (a.Kind == IPv4) {
			return fault("not an address of its TYPE")
		}
		a.Value = ip.String()
	case strings.EqualFold(kind, string(User)):
		name, err := url.PathUnescape(value)
		if err != nil {
			return fault("a % that escapes nothing")
		}
		a.Kind, a.Value = User, name
	default:
		return fault("a TYPE that is none of PLMN, IPv4, IPv6, USER")
	}
	return a, nil
}

// number takes the separators of phone books out (WAP-247-PAP 7: + and digits,
// "-" and "." between them); "" if it is no number.
func number(s string) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c == '+' && i == 0:
			b = append(b, c)
		case c == '-' || c == '.':
		default:
			return ""
		}
	}
	if digits := len(strings.TrimPrefix(string(b), "+")); digits < 3 || digits > 20 {
		return ""
	}
	return string(b)
}

// String gives the form of the wire.
func (a ClientAddress) String() string {
	value := a.Value
	if a.Kind == User {
		value = strings.NewReplacer("@", "%40", "+", "%2B").Replace(url.PathEscape(value))
	}
	s := "WAPPUSH=" + value + "/TYPE=" + string(a.Kind)
	if a.Host != "" {
		s += "@" + a.Host
	}
	return s
}

// fragment bounds what an answer repeats of a request.
func fragment(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7F || r == 0xFFFD {
			return '.'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 80 {
		return string(r[:80])
	}
	return s
}
