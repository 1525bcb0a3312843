package mms

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// appendValue is the inverse of Text.
func appendValue(dst []byte, f Field, counted bool, value string) ([]byte, error) {
	if count, rest, ok := cutCount(value); counted && ok {
		inner, err := appendValue(wsp.AppendInteger(nil, count), f, false, rest)
		return append(wsp.AppendValueLength(dst, len(inner)), inner...), err
	}
	if counted && !isASCII(value) {
		return nil, fmt.Errorf("%q does not start with a count and a space", value)
	}
	d := fields[f&0x7F]
	switch d.form {
	case formText:
		return wsp.AppendText(dst, value), nil
	case formEncoded:
		return appendEncodedRaw(dst, value), nil
	case formFrom:
		if value == InsertAddress {
			return append(dst, 1, tokenInsertAddress), nil
		}
		inner := appendEncodedRaw([]byte{tokenAddressPresent}, value)
		return append(wsp.AppendValueLength(dst, len(inner)), inner...), nil
	case formDate:
		n, err := parseDate(value)
		return wsp.AppendLong(dst, n), err
	case formWhen:
		return appendWhenText(dst, value)
	case formInteger, formShort:
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no number", value)
		}
		if d.form == formShort {
			return wsp.AppendInteger(dst, n), nil
		}
		return wsp.AppendLong(dst, n), nil
	case formSentBy, formSentDate:
		return appendSentText(dst, d.form, value)
	case formFlags, formTotals:
		return appendTokenText(dst, d.form, d.words, value)
	case formDescriptor:
		return appendDescriptorText(dst, value)
	case formContentType:
		c, err := wsp.ParseContentType(value)
		return c.Append(dst), err
	}
	c, ok := parseOctet(d.form, d.words, value)
	if !ok {
		if d.form == formClass {
			return wsp.AppendText(dst, value), nil
		}
		return nil, fmt.Errorf("%q is none of its words nor 0x80 to 0xFF", value)
	}
	return append(dst, c), nil
}

// parseOctet is the inverse of octetText, without regard to case.
func parseOctet(of form, words []string, value string) (byte, bool) {
	if hex, ok := strings.CutPrefix(value, "0x"); ok {
		n, err := strconv.ParseUint(hex, 16, 8)
		return byte(n), err == nil && n >= 0x80
	}
	switch of {
	case formType:
		t, err := ParseType(strings.ToLower(value))
		return byte(t), err == nil
	case formVersion:
		v, err := ParseVersion(value)
		return byte(v), err == nil
	case formResponse:
		return statusOf(responseWords, value)
	case formRetrieve:
		return statusOf(retrieveWords, value)
	case formStore:
		return statusOf(storeWords, value)
	case formAttribute:
		f, ok := ParseField(value)
		return byte(f), ok
	}
	for i, w := range words {
		if strings.EqualFold(w, value) {
			return byte(i) | 0x80, true
		}
	}
	return 0, false
}

func statusOf(table map[Status]string, value string) (byte, bool) {
	for s, w := range table {
		if strings.EqualFold(w, value) {
			return byte(s), true
		}
	}
	return 0, false
}

func cutCount(value string) (count uint64, rest string, ok bool) {
	digits, rest, ok := strings.Cut(value, " ")
	if !ok {
		return 0, "", false
	}
	count, err := strconv.ParseUint(digits, 10, 64)
	return count, rest, err == nil
}

func parseDate(value string) (uint64, error) {
	if n, err := strconv.ParseUint(value, 10, 64); err == nil {
		return n, nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil || t.Unix() < 0 {
		return 0, fmt.Errorf("%q is no date in RFC 3339 from 1970 on, nor seconds since then", value)
	}
	return uint64(t.Unix()), nil
}

func appendWhenText(dst []byte, value string) ([]byte, error) {
	if digits, ok := strings.CutSuffix(value, "s"); ok {
		n, err := strconv.ParseUint(digits, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no number of seconds", value)
		}
		return appendWhen(dst, tokenRelative, n), nil
	}
	n, err := parseDate(value)
	return appendWhen(dst, tokenAbsolute, n), err
}

// appendWhen writes the number as a Long-integer even where a short one would
// do: handsets read nothing else there.
func appendWhen(dst []byte, token byte, n uint64) []byte {
	inner := wsp.AppendLong([]byte{token}, n)
	return append(wsp.AppendValueLength(dst, len(inner)), inner...)
}

func appendSentText(dst []byte, of form, value string) ([]byte, error) {
	count, rest, ok := cutCount(value)
	if !ok {
		return nil, fmt.Errorf("%q does not start with a count and a space", value)
	}
	inner := wsp.AppendInteger(nil, count)
	if of == formSentDate {
		n, err := parseDate(rest)
		if err != nil {
			return nil, err
		}
		inner = wsp.AppendLong(inner, n)
	} else {
		inner = appendEncodedRaw(inner, rest)
	}
	return append(wsp.AppendValueLength(dst, len(inner)), inner...), nil
}

func appendTokenText(dst []byte, of form, words []string, value string) ([]byte, error) {
	word, rest, _ := strings.Cut(value, " ")
	c, ok := parseOctet(formOctet, words, word)
	if !ok || int(c&0x7F) >= len(words) {
		return nil, fmt.Errorf("%q does not start with one of %s", value, strings.Join(words, ", "))
	}
	inner := []byte{c}
	if of == formTotals {
		n, err := strconv.ParseUint(rest, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q has no number behind %s", value, word)
		}
		inner = wsp.AppendInteger(inner, n)
	} else {
		inner = appendEncodedRaw(inner, rest)
	}
	return append(wsp.AppendValueLength(dst, len(inner)), inner...), nil
}

func appendDescriptorText(dst []byte, value string) ([]byte, error) {
	ref, rest, _ := strings.Cut(value, ";")
	c, err := wsp.ParseContentType("x;" + rest)
	if err != nil {
		return nil, err
	}
	inner := wsp.AppendText(nil, strings.TrimRight(ref, " "))
	for _, p := range c.Params {
		if p.Name == "type" {
			inner = wsp.Media(p.Value).Append(append(inner, 0x82))
		} else {
			inner = wsp.AppendText(wsp.AppendText(inner, p.Name), p.Value)
		}
	}
	return append(wsp.AppendValueLength(dst, len(inner)), inner...), nil
}
