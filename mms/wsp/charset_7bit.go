package wsp

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/korean"
)

// Two charsets of seven bits that the library of charsets does not have.
const (
	iso2022KR Charset = 37
	utf7      Charset = 1012
)

// decodeUTF7 reads RFC 2152: ASCII, and runs of UTF-16 in base64 between a plus
// and a minus.
func decodeUTF7(b []byte) (text string, exact bool) {
	var out strings.Builder
	exact = true
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c != '+' {
			if c >= utf8.RuneSelf {
				c, exact = '?', false
			}
			out.WriteByte(c)
			continue
		}
		end := i + 1
		for end < len(b) && isBase64(b[end]) {
			end++
		}
		run := b[i+1 : end]
		if len(run) == 0 && end < len(b) && b[end] == '-' { // "+-" is a plus
			out.WriteByte('+')
			i = end
			continue
		}
		units, ok := base64Units(run)
		exact = exact && ok && len(run) > 0
		for _, r := range utf16.Decode(units) {
			exact = exact && r != utf8.RuneError
			out.WriteRune(r)
		}
		if i = end - 1; end < len(b) && b[end] == '-' {
			i = end
		}
	}
	return out.String(), exact
}

func isBase64(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/'
}

func base64Units(run []byte) (units []uint16, ok bool) {
	octets := make([]byte, base64.RawStdEncoding.DecodedLen(len(run)))
	n, err := base64.RawStdEncoding.Decode(octets, run)
	for i := 0; i+1 < n; i += 2 {
		units = append(units, uint16(octets[i])<<8|uint16(octets[i+1]))
	}
	return units, err == nil && n%2 == 0
}

// decode2022KR reads RFC 1557: a designation of KS X 1001 at the start, and runs
// of it between SO and SI. With the top bits set such a run is EUC-KR.
func decode2022KR(b []byte) (text string, exact bool) {
	b = []byte(strings.ReplaceAll(string(b), "\x1b$)C", ""))
	euc := make([]byte, 0, len(b))
	shifted := false
	for _, c := range b {
		switch {
		case c == 0x0E:
			shifted = true
		case c == 0x0F:
			shifted = false
		case shifted && c > 0x20 && c < 0x7F:
			euc = append(euc, c|0x80)
		default:
			euc = append(euc, c)
		}
	}
	out, err := korean.EUCKR.NewDecoder().Bytes(euc)
	if err != nil {
		return latin1(b), false
	}
	return string(out), !strings.ContainsRune(string(out), utf8.RuneError)
}
