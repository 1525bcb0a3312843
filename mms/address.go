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
// the last two digits, of an e-mail address the first letter and the domain, of
// anything else the first letter. Numbers of up to six digits are short codes
// of services, not of people, and stay.
func Mask(addr string) string {
	if i := strings.IndexByte(addr, '/'); i > 0 {
		addr = addr[:i]
	}
	if n := Number(addr); n != "" {
		digits := strings.TrimPrefix(n, "+")
		if len(digits) <= 6 {
			return n
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
