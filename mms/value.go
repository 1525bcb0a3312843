package mms

import (
	"fmt"
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
