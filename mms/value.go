package mms

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// InsertAddress is how the text form says the insert-address token of From.
const InsertAddress = "<insert address>"

// lastDate is the end of the year 9999, behind which RFC 3339 has no form.
const lastDate = 253402300799

// Text gives the value as text: words for octets ("Yes", "Personal",
// "Error-permanent-failure"), dates in RFC 3339, relative times in seconds
// ("172800s"), numbers in decimal, texts decoded out of their charset, counted
// values with their count in front ("0 +4670…/TYPE=PLMN"). An octet without a
// word is "0x9F". False if the value does not have the form of its field.
func (h Header) Text() (string, bool) {
	v := h.Value()
	if len(v) == 0 {
		return "", false
	}
	if h.Field == 0 {
		return plainText(v)
	}
	if !h.Field.Known() {
		return "", false
	}
	if h.counted && v[0] < 0x20 && v[0] != 0 {
		count, rest, ok := splitCount(v)
		if !ok {
			return "", false
		}
		text, ok := valueText(h.Field, rest)
		return strconv.FormatUint(count, 10) + " " + text, ok
	}
	text, ok := valueText(h.Field, v)
	if _, _, like := cutCount(text); h.counted && (like || !isASCII(text)) {
		return "", false // would be read back as one with a count
	}
	return text, ok
}

func valueText(f Field, v []byte) (string, bool) {
	d := fields[f&0x7F]
	switch d.form {
	case formText:
		return plainText(v)
	case formEncoded:
		e, err := readEncoded(v)
		return e.String(), err == nil && v[0] < 0x80
	case formFrom:
		return fromText(v)
	case formDate:
		n, m := wsp.Integer(v)
		return dateText(n), m == len(v)
	case formWhen:
		return whenText(v)
	case formInteger, formShort:
		n, m := wsp.Integer(v)
		return strconv.FormatUint(n, 10), m == len(v)
	case formClass:
		if v[0] < 0x80 {
			text, ok := plainText(v)
			return text, ok && !strings.HasPrefix(text, "0x") // that is how octets are told
		}
	case formSentBy, formSentDate:
		return sentText(d.form, v)
	case formFlags, formTotals:
		return tokenText(d.form, d.words, v)
	case formDescriptor:
		return descriptorText(v)
	case formContentType:
		c, m, err := wsp.ReadContentType(v)
		text, ok := c.Mail()
		return text, ok && err == nil && m == len(v)
	}
	if len(v) != 1 || v[0] < 0x80 {
		return "", false
	}
	return octetText(d.form, d.words, v[0]), true
}

// octetText gives the word of an octet, "0x9F" if it has none.
func octetText(of form, words []string, c byte) string {
	word := ""
	switch of {
	case formType:
		if t := Type(c); t.Known() {
			word = t.String()
		}
	case formVersion:
		word = Version(c).String()
	case formResponse:
		word = responseWords[Status(c)]
	case formRetrieve:
		word = retrieveWords[Status(c)]
	case formStore:
		word = storeWords[Status(c)]
	case formAttribute:
		if f := Field(c); f.Known() {
			word = f.String()
		}
	default:
		if i := int(c & 0x7F); i < len(words) {
			word = words[i]
		}
	}
	if word == "" {
		return fmt.Sprintf("0x%02X", c)
	}
	return word
}

func plainText(v []byte) (string, bool) {
	if v[0] >= 0x80 || v[0] > 0 && v[0] < 0x20 {
		return "", false
	}
	text, n := wsp.Text(v)
	return string(text), n == len(v)
}

// lengthed gives what stands behind a value length that covers all of v.
func lengthed(v []byte) ([]byte, bool) {
	size, n := wsp.ValueLength(v)
	if n <= 0 || size == 0 || size != len(v)-n {
		return nil, false
	}
	return v[n:], true
}

func fromText(v []byte) (string, bool) {
	inner, ok := lengthed(v)
	if !ok {
		return "", false
	}
	switch {
	case inner[0] == tokenInsertAddress && len(inner) == 1:
		return InsertAddress, true
	case inner[0] == tokenAddressPresent && len(inner) > 1:
		e, err := readEncoded(inner[1:])
		return e.String(), err == nil && e.String() != InsertAddress
	}
	return "", false
}

func dateText(n uint64) string {
	if n > lastDate {
		return strconv.FormatUint(n, 10)
	}
	return time.Unix(int64(n), 0).UTC().Format(time.RFC3339)
}

func whenText(v []byte) (string, bool) {
	relative, n, ok := readWhen(v)
	if relative {
		return strconv.FormatUint(n, 10) + "s", ok
	}
	return dateText(n), ok
}

func readWhen(v []byte) (relative bool, n uint64, ok bool) {
	inner, ok := lengthed(v)
	if !ok || inner[0] != tokenAbsolute && inner[0] != tokenRelative {
		return false, 0, false
	}
	n, m := wsp.Integer(inner[1:])
	return inner[0] == tokenRelative, n, m > 0 && m == len(inner)-1
}

// splitCount takes value length and count off a counted value.
func splitCount(v []byte) (count uint64, rest []byte, ok bool) {
	inner, ok := lengthed(v)
	if !ok {
		return 0, nil, false
	}
	count, m := wsp.Integer(inner)
	if m <= 0 || m == len(inner) {
		return 0, nil, false
	}
	return count, inner[m:], true
}

func sentText(of form, v []byte) (string, bool) {
	count, rest, ok := splitCount(v)
	if !ok {
		return "", false
	}
	text := strconv.FormatUint(count, 10) + " "
	if of == formSentDate {
		n, m := wsp.Integer(rest)
		return text + dateText(n), m == len(rest)
	}
	e, err := readEncoded(rest)
	return text + e.String(), err == nil
}

func tokenText(of form, words []string, v []byte) (string, bool) {
	inner, ok := lengthed(v)
	if !ok || len(inner) < 2 || inner[0] < 0x80 || int(inner[0]&0x7F) >= len(words) {
		return "", false
	}
	text := words[inner[0]&0x7F] + " "
	if of == formTotals {
		n, m := wsp.Integer(inner[1:])
		return text + strconv.FormatUint(n, 10), m == len(inner)-1
	}
	e, err := readEncoded(inner[1:])
	return text + e.String(), err == nil
}

// descriptorText reads a content reference and parameters, of which only Type
// has a number of its own (OMA-MMS-ENC 7.3.18).
func descriptorText(v []byte) (string, bool) {
	inner, ok := lengthed(v)
	if !ok {
		return "", false
	}
	ref, n := wsp.Text(inner)
	if n <= 0 || strings.ContainsAny(string(ref), ";\"\\") {
		return "", false
	}
	c := wsp.ContentType{Type: string(ref)}
	for inner = inner[n:]; len(inner) > 0; {
		p := wsp.Param{Name: "type"}
		if inner[0] == 0x82 {
			inner = inner[1:]
		} else if name, m := wsp.Text(inner); m > 1 && inner[0] < 0x80 && strings.IndexFunc(string(name), notToken) < 0 {
			p.Name, inner = strings.ToLower(string(name)), inner[m:]
		} else {
			return "", false
		}
		if len(inner) == 0 {
			return "", false
		}
		if inner[0] >= 0x80 {
			p.Value, inner = wsp.MediaName(uint64(inner[0]&0x7F)), inner[1:]
		} else {
			text, m := wsp.Text(inner)
			if m <= 0 || inner[0] > 0 && inner[0] < 0x20 {
				return "", false
			}
			p.Value, inner = string(text), inner[m:]
		}
		c.Params = append(c.Params, p)
	}
	return c.Mail()
}

func notToken(r rune) bool { return r <= ' ' || r >= 0x7F || r == ';' || r == '=' }

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

// When is a time that a PDU gives as a date or as seconds from its reception
// (X-Mms-Expiry, X-Mms-Delivery-Time, X-Mms-Reply-Charging-Deadline).
type When struct {
	At    time.Time     // zero: relative
	After time.Duration // from the reception of the PDU
}

// From gives the point in time, counted from the reception of the PDU.
func (w When) From(reception time.Time) time.Time {
	if w.At.IsZero() {
		return reception.Add(w.After)
	}
	return w.At
}

func (w When) append(dst []byte, f Field) []byte {
	dst = append(dst, byte(f))
	if w.At.IsZero() {
		return appendWhen(dst, tokenRelative, uint64(max(0, w.After/time.Second)))
	}
	return appendWhen(dst, tokenAbsolute, seconds(w.At))
}

// When reads the value of a field that is a date or a number of seconds; dates
// and spans too large for their types are cut to the largest.
func (h Header) When() (When, bool) {
	relative, n, ok := readWhen(h.Value())
	if !ok {
		return When{}, false
	}
	if relative {
		return When{After: time.Duration(min(n, math.MaxInt64/uint64(time.Second))) * time.Second}, true
	}
	return When{At: time.Unix(int64(min(n, lastDate)), 0).UTC()}, true
}
