package wsp

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

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
