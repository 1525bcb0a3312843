package mms

import "strings"

// maxNumber bounds the digits of a number: E.164 has 15, some networks prefix a few.
const maxNumber = 32

// Number gives the number of an address with its separators taken out:
// "+46701234567" of "+46 70-123.45.67/TYPE=PLMN". The TYPE is compared without
// regard to case and may be missing; it gives "" for an e-mail or IP address, a
// word, or a number longer than 32 digits (OMA-MMS-ENC 8).
func Number[T ~string | ~[]byte](addr T) string {
	var digits [maxNumber + 1]byte
	n, end := 0, len(addr)
	for i := range end {
		if addr[i] == '/' {
			if !isPLMN(addr[i:]) {
				return ""
			}
			end = i
			break
		}
	}
	for i := range end {
		switch c := addr[i]; {
		case c >= '0' && c <= '9', c == '+' && n == 0:
			if n == len(digits) {
				return ""
			}
			digits[n] = c
			n++
		case c == ' ', c == '-', c == '.', c == '(', c == ')':
		default:
			return ""
		}
	}
	if n == 0 || n == 1 && digits[0] == '+' || n == len(digits) && digits[0] != '+' {
		return ""
	}
	number := string(digits[:n])
	if strings.Count(string(addr[:end]), ".") == 3 && number[0] != '+' && dotted(string(addr[:end])) {
		return "" // an IPv4 address that came without its TYPE
	}
	return number
}

func isPLMN[T ~string | ~[]byte](suffix T) bool {
	const want = "/TYPE=PLMN"
	return len(suffix) == len(want) && strings.EqualFold(string(suffix), want)
}

// dotted says whether s is four numbers of at most three digits and nothing else.
func dotted(s string) bool {
	for _, f := range strings.Split(s, ".") {
		if len(f) == 0 || len(f) > 3 || strings.Trim(f, "0123456789") != "" {
			return false
		}
	}
	return true
}

// Mask makes an address fit for a log: of a number it keeps the first four and
// the last two digits, of one with fewer than nine digits the first three
// characters, of an e-mail address the first letter and the domain, of anything
// else the first letter. Numbers of up to six digits without a plus are short
// codes of services, not of people, and stay.
func Mask(addr string) string {
	if i := strings.IndexByte(addr, '/'); i > 0 {
		addr = addr[:i]
	}
	if n := Number(addr); n != "" {
		digits := strings.TrimPrefix(n, "+")
		switch {
		case len(digits) <= 6 && len(digits) == len(n):
			return n
		case len(digits) < 9: // six of them would show nearly all
			return n[:min(3, len(n)-1)] + "…"
		}
		return n[:len(n)-len(digits)] + digits[:4] + "…" + digits[len(digits)-2:]
	}
	first := ""
	for _, r := range addr {
		first = string(r)
		break
	}
	if i := strings.LastIndexByte(addr, '@'); i >= 0 {
		return strings.TrimSuffix(first, "@") + "…" + strings.TrimRight(addr[i:], "> ")
	}
	if addr == "" {
		return ""
	}
	return first + "…"
}

// AppendMask appends Mask(addr) to b; a plain international number costs no allocation.
func AppendMask(b []byte, addr string) []byte {
	if len(addr) < 10 || len(addr) > maxNumber || addr[0] != '+' {
		return append(b, Mask(addr)...)
	}
	for i := 1; i < len(addr); i++ {
		if addr[i] < '0' || addr[i] > '9' {
			return append(b, Mask(addr)...)
		}
	}
	b = append(b, addr[:5]...)
	b = append(b, "…"...)
	return append(b, addr[len(addr)-2:]...)
}

// AddressKind is the TYPE of an address (OMA-MMS-ENC 8).
type AddressKind uint8

// The kinds of addresses.
const (
	AddressOther  AddressKind = iota // anything else, or a TYPE nobody knows
	AddressNumber                    // /TYPE=PLMN, or digits without a TYPE
	AddressCode                      // short code: up to six digits, or an alphanumeric word
	AddressEmail
	AddressIPv4
	AddressIPv6
)

// String gives "number", "code", "email", "ipv4", "ipv6" or "other".
func (k AddressKind) String() string {
	return [...]string{"other", "number", "code", "email", "ipv4", "ipv6"}[min(k, AddressIPv6)]
}

// Address is an address taken apart.
type Address struct {
	Kind  AddressKind
	Value string // a number without separators, an e-mail address without its display name, else as it stands
}

// ParseAddress takes the address of a To, Cc, Bcc or From apart. It never fails:
// what it does not know is AddressOther. A number of up to six digits without a
// plus is a short code (MMS 1.2), with or without TYPE=PLMN.
func ParseAddress(s string) Address {
	s = strings.TrimSpace(s)
	if i := strings.LastIndexByte(s, '/'); i > 0 {
		value := s[:i]
		switch strings.ToUpper(s[i+1:]) {
		case "TYPE=PLMN":
			return numberAddress(value)
		case "TYPE=IPV4":
			return Address{AddressIPv4, value}
		case "TYPE=IPV6":
			return Address{AddressIPv6, value}
		}
		if strings.HasPrefix(strings.ToUpper(s[i+1:]), "TYPE=") {
			return Address{AddressOther, s}
		}
	}
	if strings.Contains(s, "@") {
		if open := strings.LastIndexByte(s, '<'); open >= 0 && strings.HasSuffix(s, ">") {
			s = s[open+1 : len(s)-1]
		}
		return Address{AddressEmail, s}
	}
	return numberAddress(s)
}

func numberAddress(s string) Address {
	if n := Number(s); n != "" {
		if n[0] != '+' && len(n) <= 6 {
			return Address{AddressCode, n}
		}
		return Address{AddressNumber, n}
	}
	if s == "" || len(s) > 64 || dotted(s) {
		return Address{AddressOther, s}
	}
	for _, c := range []byte(s) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') {
			return Address{AddressOther, s}
		}
	}
	return Address{AddressCode, s}
}

// String gives the form of the wire: a TYPE behind numbers and IP addresses,
// nothing behind the others.
func (a Address) String() string {
	switch a.Kind {
	case AddressNumber:
		return a.Value + "/TYPE=PLMN"
	case AddressIPv4:
		return a.Value + "/TYPE=IPv4"
	case AddressIPv6:
		return a.Value + "/TYPE=IPv6"
	}
	return a.Value
}
