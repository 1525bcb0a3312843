package wsp

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Param is a parameter of a media type or of a disposition, by its name in
// small letters and its value as text: a charset by its name, a media type by
// its name, a number in decimal, a date in RFC 3339.
type Param struct{ Name, Value string }

// maxParams bounds the parameters of one value.
const maxParams = 64

type kind uint8

const (
	kindText      kind = iota // Text-string or Text-value
	kindQ                     // Q-value
	kindCharset               // Well-known-charset
	kindVersion               // Version-value
	kindMedia                 // Integer-value or Constrained-encoding naming a media type
	kindInteger               // Integer-value
	kindDate                  // Date-value
	kindNone                  // No-value
	kindFieldName             // Field-name
)

// params are the well-known parameters by their numbers (WAP-230-WSP table 38).
// Where a name has two numbers the first, of encoding version 1.1 to 1.3, is
// the one that is written: every handset reads it.
var params = [...]struct {
	name string
	kind kind
}{
	0x00: {"q", kindQ}, 0x01: {"charset", kindCharset}, 0x02: {"level", kindVersion}, 0x03: {"type", kindMedia}, 0x05: {"name", kindText},
	0x06: {"filename", kindText}, 0x07: {"differences", kindFieldName}, 0x08: {"padding", kindInteger}, 0x09: {"type", kindMedia},
	0x0A: {"start", kindText}, 0x0B: {"start-info", kindText}, 0x0C: {"comment", kindText}, 0x0D: {"domain", kindText}, 0x0E: {"max-age", kindInteger},
	0x0F: {"path", kindText}, 0x10: {"secure", kindNone}, 0x11: {"sec", kindInteger}, 0x12: {"mac", kindText}, 0x13: {"creation-date", kindDate},
	0x14: {"modification-date", kindDate}, 0x15: {"read-date", kindDate}, 0x16: {"size", kindInteger}, 0x17: {"name", kindText},
	0x18: {"filename", kindText}, 0x19: {"start", kindText}, 0x1A: {"start-info", kindText}, 0x1B: {"comment", kindText}, 0x1C: {"domain", kindText},
	0x1D: {"path", kindText},
}

var paramCodes = indexParams()

func indexParams() map[string]byte {
	codes := make(map[string]byte)
	for code := len(params) - 1; code >= 0; code-- {
		if params[code].name != "" {
			codes[params[code].name] = byte(code)
		}
	}
	codes["type"] = 0x09 // a text may follow, which 83 does not allow
	return codes
}

// readParams reads parameters up to the end of b. Zero octets at the end are padding.
func readParams(b []byte) ([]Param, error) {
	var out []Param
	for at := 0; at < len(b); {
		if len(out) == maxParams {
			return nil, fmt.Errorf("more than %d parameters", maxParams)
		}
		p, n, err := readParam(b[at:])
		if err != nil {
			return nil, fmt.Errorf("parameter %d: %w", len(out)+1, err)
		}
		if n == 0 {
			break
		}
		out, at = append(out, p), at+n
	}
	return out, nil
}

// readParam reads one parameter: a number and its typed value, or a name and a
// text or a number. n is 0 at padding.
func readParam(b []byte) (p Param, n int, err error) {
	of := kind(0xFF) // untyped
	switch c := b[0]; {
	case c == 0:
		if len(bytes.Trim(b, "\x00")) > 0 {
			return p, 0, fmt.Errorf("a zero octet where a name belongs")
		}
		return p, 0, nil
	case c >= 0x80 || c < lengthQuote:
		code, m := Integer(b)
		if m <= 0 {
			return p, 0, fmt.Errorf("its number runs past the end")
		}
		n = m
		p.Name = "0x" + strconv.FormatUint(code|0x80, 16)
		if code < uint64(len(params)) && params[code].name != "" {
			p.Name, of = params[code].name, params[code].kind
		}
	default:
		name, m := Text(b)
		if m <= 0 {
			name, m = b, len(b)
		}
		p.Name, n = strings.ToLower(string(name)), m
	}
	value, m, err := readParamValue(of, b[n:])
	if err != nil {
		return p, 0, fmt.Errorf("%s: %w", printableName(p.Name), err)
	}
	if of == 0xFF && p.Name == "charset" {
		value = canonicalCharset(value)
	}
	p.Value = value
	return p, n + m, nil
}

func readParamValue(of kind, b []byte) (string, int, error) {
	if len(b) == 0 {
		if of == kindNone {
			return "", 0, nil
		}
		return "", 0, fmt.Errorf("its value is missing")
	}
	switch {
	case of == kindQ:
		v, n := Uintvar(b)
		if n <= 0 {
			return "", 0, fmt.Errorf("its value is no Q-value")
		}
		return formatQ(v), n, nil
	case of == kindText || b[0] > lengthQuote && b[0] < 0x80 || b[0] == 0:
		text, n := Text(b)
		if n <= 0 {
			text, n = bytes.TrimPrefix(b, []byte{textQuote}), len(b) // ends where its container ends
		}
		value := unquote(string(text))
		if of == kindCharset {
			value = canonicalCharset(value)
		}
		return value, n, nil
	}
	v, n := Integer(b)
	if n <= 0 {
		return "", 0, fmt.Errorf("its value runs past the end or is no number")
	}
	switch of {
	case kindCharset:
		if v > 1<<32-1 {
			return "", 0, fmt.Errorf("charset %d is no MIBenum", v)
		}
		return Charset(v).String(), n, nil
	case kindVersion:
		return formatVersion(byte(v)), n, nil
	case kindMedia:
		return MediaName(v), n, nil
	case kindDate:
		return formatDate(v), n, nil
	case kindFieldName:
		return headerName(byte(v)), n, nil
	}
	return strconv.FormatUint(v, 10), n, nil
}

// appendParam writes a parameter with its number where it has one and the value
// fits its type, else as text.
func appendParam(dst []byte, p Param) []byte {
	name := strings.ToLower(p.Name)
	value := unquote(p.Value)
	code, ok := paramCodes[name]
	if !ok {
		if hex, isHex := strings.CutPrefix(name, "0x"); isHex {
			if n, err := strconv.ParseUint(hex, 16, 8); err == nil && n >= 0x80 && (int(n&0x7F) >= len(params) || params[n&0x7F].name == "") {
				return AppendText(append(dst, byte(n)), value)
			}
		}
		return AppendText(AppendText(dst, name), value)
	}
	dst = append(dst, code|0x80)
	switch params[code].kind {
	case kindQ:
		return AppendUintvar(dst, parseQ(value))
	case kindCharset:
		if c, ok := ParseCharset(value); ok {
			return AppendInteger(dst, uint64(c))
		}
	case kindVersion:
		if v, ok := parseVersion(value); ok {
			return append(dst, v)
		}
	case kindMedia:
		if media := appendMedia(nil, value); media[0] >= 0x80 || media[0] > lengthQuote {
			return append(dst, media...)
		}
	case kindInteger:
		if v, err := strconv.ParseUint(value, 10, 64); err == nil {
			return AppendInteger(dst, v)
		}
	case kindDate:
		if v, ok := parseDate(value); ok {
			return AppendLong(dst, v)
		}
	}
	return AppendText(dst, value)
}

// unquote takes the opening mark of a Quoted-string off, and the closing one
// that some peers write.
func unquote(s string) string {
	if len(s) > 0 && s[0] == '"' {
		return strings.Trim(s, `"`)
	}
	return s
}

func canonicalCharset(name string) string {
	if c, ok := ParseCharset(name); ok {
		return c.String()
	}
	return name
}
