package wsp

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// NewHeader makes a header of a name and a value in the form that Text gives.
// A name that is no field of code page 1 becomes an application header.
func NewHeader(name, value string) (Header, error) {
	code, ok := headerCodes[strings.ToLower(name)]
	if !ok {
		if err := checkToken(name); err != nil {
			return Header{}, err
		}
		w := AppendText(nil, name)
		return Header{Page: 1, Wire: AppendText(w, value), value: len(w)}, nil
	}
	h := Header{Code: code, Page: 1, value: 1}
	v, err := appendHeaderValue(nil, h.kind(), value)
	if err != nil {
		return Header{}, fmt.Errorf("%s: %w", headers[code&0x7F].name, err)
	}
	h.Wire = append([]byte{code}, v...)
	return h, nil
}

func checkToken(name string) error {
	if name == "" {
		return fmt.Errorf("a header without a name")
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7F {
			return fmt.Errorf("header name %q: only visible ASCII is allowed", name)
		}
	}
	return nil
}

func appendHeaderValue(dst []byte, k headerKind, value string) ([]byte, error) {
	switch k {
	case headerText:
		return AppendText(dst, value), nil
	case headerQuoted:
		return AppendQuoted(dst, unquote(value)), nil
	case headerInteger:
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no number", value)
		}
		return AppendInteger(dst, n), nil
	case headerDate:
		n, ok := parseDate(value)
		if !ok {
			return nil, fmt.Errorf("%q is no date in RFC 3339 nor seconds since 1970", value)
		}
		return AppendLong(dst, n), nil
	case headerContentType:
		c, err := ParseContentType(value)
		return c.Append(dst), err
	case headerDisposition:
		return appendDisposition(dst, value)
	case headerEncoding:
		for i, e := range encodings {
			if strings.EqualFold(e, value) {
				return append(dst, byte(i)|0x80), nil
			}
		}
		return AppendText(dst, value), nil
	case headerOctets:
		b, err := hex.DecodeString(value)
		if err != nil {
			return nil, fmt.Errorf("%q is no hex: %w", value, err)
		}
		return append(AppendValueLength(dst, len(b)), b...), nil
	case headerAppID:
		return appendAppID(dst, value), nil
	case headerVersion:
		if v, ok := parseVersion(value); ok {
			return append(dst, v), nil
		}
		return nil, fmt.Errorf("%q is no version", value)
	}
	return nil, fmt.Errorf("this header has no text form, give its octets")
}

func appendDisposition(dst []byte, value string) ([]byte, error) {
	word, rest, _ := strings.Cut(value, ";")
	word = strings.TrimSpace(word)
	list, err := parseParams(rest)
	if err != nil {
		return nil, err
	}
	if err := checkToken(word); err != nil {
		return nil, fmt.Errorf("disposition %q is no token", word)
	}
	var inner []byte
	for i, d := range dispositions {
		if strings.EqualFold(d, word) {
			inner = append(inner, byte(i)|0x80)
		}
	}
	if inner == nil {
		inner = AppendText(inner, word)
	}
	for _, p := range list {
		inner = appendParam(inner, p)
	}
	return append(AppendValueLength(dst, len(inner)), inner...), nil
}

func appendAppID(dst []byte, value string) []byte {
	if name, ok := strings.CutPrefix(value, appIDPrefix); ok {
		for i, id := range appIDs {
			if id == name {
				return AppendInteger(dst, uint64(i))
			}
		}
	}
	if n, err := strconv.ParseUint(value, 10, 64); err == nil {
		return AppendInteger(dst, n)
	}
	return AppendText(dst, value)
}
