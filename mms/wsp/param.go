package wsp

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
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

// formatQ: one to two digits are q*100+1, three are q*1000+100 (WAP-230-WSP 8.4.2.3).
func formatQ(v uint32) string {
	switch {
	case v >= 1 && v <= 100:
		return strconv.FormatFloat(float64(v-1)/100, 'f', -1, 64)
	case v > 100 && v <= 1099:
		return strconv.FormatFloat(float64(v-100)/1000, 'f', -1, 64)
	}
	return "1"
}

func parseQ(s string) uint32 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || f > 0.999 || f != f {
		return 1 // a q that says nothing
	}
	thousandths := uint32(f*1000 + 0.5)
	if thousandths%10 == 0 {
		return thousandths/10 + 1
	}
	return thousandths + 100
}

func formatVersion(v byte) string {
	major, minor := strconv.Itoa(int(v>>4)&7), int(v&0x0F)
	if minor == 0x0F {
		return major
	}
	return major + "." + strconv.Itoa(minor)
}

func parseVersion(s string) (byte, bool) {
	major, minor, dotted := strings.Cut(s, ".")
	a, err := strconv.ParseUint(major, 10, 3)
	if err != nil {
		return 0, false
	}
	if !dotted {
		return 0x8F | byte(a)<<4, true
	}
	b, err := strconv.ParseUint(minor, 10, 4)
	if err != nil || b == 15 {
		return 0, false
	}
	return 0x80 | byte(a)<<4 | byte(b), true
}

// lastDate is the end of the year 9999, behind which RFC 3339 has no form.
const lastDate = 253402300799

func formatDate(v uint64) string {
	if v > lastDate {
		return strconv.FormatUint(v, 10)
	}
	return time.Unix(int64(v), 0).UTC().Format(time.RFC3339)
}

func parseDate(s string) (uint64, bool) {
	if v, err := strconv.ParseUint(s, 10, 64); err == nil {
		return v, true
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Unix() < 0 {
		return 0, false
	}
	return uint64(t.Unix()), true
}

// formatParams writes parameters in the form of mail.
func formatParams(list []Param) string {
	var b strings.Builder
	for _, p := range list {
		b.WriteString("; " + p.Name + "=")
		if p.Value != "" && strings.IndexFunc(p.Value, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`";,\()`, r) }) < 0 {
			b.WriteString(p.Value)
			continue
		}
		b.WriteByte('"')
		for _, c := range []byte(p.Value) {
			if c == '"' || c == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		}
		b.WriteByte('"')
	}
	return b.String()
}

// parseParams reads what formatParams writes: name=value or name="a value",
// divided by semicolons.
func parseParams(s string) ([]Param, error) {
	var out []Param
	for s = strings.TrimLeft(s, "; \t"); s != ""; s = strings.TrimLeft(s, "; \t") {
		if len(out) == maxParams {
			return nil, fmt.Errorf("more than %d parameters", maxParams)
		}
		end := strings.IndexAny(s, "=;")
		if end < 0 || s[end] == ';' {
			if end < 0 {
				end = len(s)
			}
			out = append(out, Param{Name: strings.ToLower(strings.TrimSpace(s[:end]))})
			s = s[end:]
			continue
		}
		p := Param{Name: strings.ToLower(strings.TrimSpace(s[:end]))}
		s = strings.TrimLeft(s[end+1:], " \t")
		if p.Name == "" {
			return nil, fmt.Errorf("a parameter without a name")
		}
		p.Value, s = cutValue(s)
		out = append(out, p)
	}
	return out, nil
}

// cutValue takes a token or a quoted value off the front of s.
func cutValue(s string) (value, rest string) {
	if s == "" || s[0] != '"' {
		if i := strings.IndexByte(s, ';'); i >= 0 {
			return strings.TrimSpace(s[:i]), s[i:]
		}
		return strings.TrimSpace(s), ""
	}
	var b strings.Builder
	i := 1
	for ; i < len(s) && s[i] != '"'; i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), s[min(i+1, len(s)):]
}
