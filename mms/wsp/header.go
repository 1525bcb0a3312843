package wsp

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of a header block: the whole of a part's or a push's headers, and how many.
const (
	MaxHeaderBlock = 16 << 10
	maxHeaders     = 256
)

// Header is one header of a part or of a push, as it stands on the wire.
type Header struct {
	Code  byte   // the octet of a well-known field; 0 for a field named by text
	Page  byte   // code page the field stands on; 1 but for what nobody sends
	Wire  []byte // the whole field
	value int    // where the value starts in Wire
}

// Name gives the name of the field; "0xD5" for a number that nobody assigned.
func (h Header) Name() string {
	switch {
	case h.value == len(h.Wire) && h.Code > 0 && h.Code < 0x80:
		return "code-page"
	case h.Page > 1 && h.Code != 0:
		return fmt.Sprintf("0x%02X", h.Code)
	case h.Code != 0:
		return headerName(h.Code)
	}
	text, _ := Text(h.Wire)
	return string(text)
}

// Is says whether h is the well-known field code, or has its name as text.
func (h Header) Is(code byte) bool {
	if h.Code != 0 {
		return h.Code == code && h.Page <= 1 || code == HeaderContentDisposition && h.Code == headerDispositionNew && h.Page <= 1
	}
	text, _ := Text(h.Wire)
	return strings.EqualFold(string(text), headerName(code))
}

// Value gives the octets of the value.
func (h Header) Value() []byte { return h.Wire[h.value:] }

func (h Header) kind() headerKind {
	switch {
	case h.Code == 0:
		return headerText
	case h.Page > 1 || h.Code < 0x80 || int(h.Code&0x7F) >= len(headers):
		return headerOpaque
	}
	return headers[h.Code&0x7F].kind
}

// Text gives the value as text; false if it has no text form or does not fit
// the type of its field.
func (h Header) Text() (string, bool) {
	v := h.Value()
	if len(v) == 0 {
		return "", false
	}
	isText := v[0] > lengthQuote && v[0] < 0x80 || v[0] == 0
	switch h.kind() {
	case headerText:
		if text, n := Text(v); n == len(v) && isText {
			return string(text), true
		}
	case headerQuoted:
		if text, n := Text(v); n == len(v) && isText {
			return unquote(string(text)), true
		}
	case headerInteger:
		if n, m := Integer(v); m == len(v) {
			return strconv.FormatUint(n, 10), true
		}
	case headerDate:
		if n, m := Long(v); m == len(v) {
			return formatDate(n), true
		}
	case headerContentType:
		if c, m, err := ReadContentType(v); err == nil && m == len(v) {
			return c.Mail()
		}
	case headerDisposition:
		return dispositionText(v)
	case headerEncoding:
		return encodingText(v, isText)
	case headerOctets:
		if n, m := ValueLength(v); m > 0 && n == len(v)-m {
			return hex.EncodeToString(v[m:]), true
		}
	case headerAppID:
		return appIDText(v, isText)
	case headerVersion:
		if v[0] >= 0x80 {
			return formatVersion(v[0]), true
		}
	}
	return "", false
}

var dispositions = [...]string{"form-data", "attachment", "inline"}

func dispositionText(v []byte) (string, bool) {
	size, n := ValueLength(v)
	if n <= 0 || size != len(v)-n || size == 0 {
		return "", false
	}
	v = v[n:]
	var word string
	if c := v[0]; c >= 0x80 && int(c&0x7F) < len(dispositions) {
		word, n = dispositions[c&0x7F], 1
	} else if c > lengthQuote && c < 0x80 {
		text, m := Text(v)
		if m <= 0 {
			return "", false
		}
		word, n = string(text), m
	} else {
		return "", false
	}
	list, err := readParams(v[n:])
	if err != nil || checkToken(word) != nil {
		return "", false
	}
	return ContentType{Type: word, Params: list}.Mail()
}

var encodings = [...]string{"gzip", "compress", "deflate"}

func encodingText(v []byte, isText bool) (string, bool) {
	if isText {
		text, n := Text(v)
		return string(text), n == len(v)
	}
	if len(v) == 1 && int(v[0]&0x7F) < len(encodings) {
		return encodings[v[0]&0x7F], true
	}
	return "", false
}

// appIDs are the assigned push application ids (WINA).
var appIDs = [...]string{"*", "push.sia", "wml.ua", "wta.ua", "mms.ua", "push.syncml", "loc.ua", "syncml.dm", "drm.ua", "emn.ua", "wv.ua"}

const appIDPrefix = "x-wap-application:"

func appIDText(v []byte, isText bool) (string, bool) {
	if isText {
		text, n := Text(v)
		return string(text), n == len(v)
	}
	n, m := Integer(v)
	if m != len(v) {
		return "", false
	}
	if n < uint64(len(appIDs)) {
		return appIDPrefix + appIDs[n], true
	}
	return strconv.FormatUint(n, 10), true
}

// ReadHeaders reads a block of headers to its end. Shifts to other code pages
// are followed and kept. Zero octets at the end are padding. A text that lacks
// its terminator at the very end gets it. Headers alias b.
func ReadHeaders(b []byte) ([]Header, error) {
	if len(b) > MaxHeaderBlock {
		return nil, fmt.Errorf("headers of %d octets, %d are allowed", len(b), MaxHeaderBlock)
	}
	var out []Header
	page := byte(1)
	for at := 0; at < len(b); {
		if b[at] == 0 && allZero(b[at:]) {
			break
		}
		if len(out) == maxHeaders {
			return nil, fmt.Errorf("more than %d headers", maxHeaders)
		}
		h, err := readHeader(b[at:], &page)
		if err != nil {
			return nil, fmt.Errorf("octet %d of the headers: %w", at, err)
		}
		at += len(h.Wire)
		out = append(out, h)
	}
	return out, nil
}

func readHeader(b []byte, page *byte) (Header, error) {
	c := b[0]
	if c == pageShift || c < 0x20 {
		n := 1
		if c == pageShift {
			if n = 2; len(b) < 2 {
				return Header{}, fmt.Errorf("a code page shift without its page")
			}
			*page = b[1]
		} else if *page = c; c == 0 {
			return Header{}, fmt.Errorf("a zero octet where a name belongs")
		}
		return Header{Code: c, Page: *page, Wire: b[:n:n], value: n}, nil
	}
	h := Header{Code: c, Page: *page, value: 1}
	if c < 0x80 {
		_, n := Text(b)
		if n <= 0 {
			return Header{}, fmt.Errorf("a name that does not end")
		}
		h.Code, h.value = 0, n
	}
	v := b[h.value:]
	n := Skip(v)
	switch {
	case n > 0:
		h.Wire = b[: h.value+n : h.value+n]
	case n == More && len(v) > 0 && v[0] > lengthQuote:
		h.Wire = append(append(make([]byte, 0, len(b)+1), b...), 0) // copied: the zero octet is not ours to write
	case n == Bad:
		return Header{}, fmt.Errorf("%s: a length of more than five octets", h.describe(b))
	default:
		return Header{}, fmt.Errorf("%s: its value runs past the end, %d octets left", h.describe(b), len(v))
	}
	return h, nil
}

func (h Header) describe(b []byte) string {
	h.Wire = b
	return printableName(h.Name())
}

// printableName makes a name that a peer sent fit for an error of one line.
func printableName(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7F }) >= 0 {
		return strconv.Quote(s)
	}
	return s
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// RawHeader takes the octets of one whole header field.
func RawHeader(wire []byte) (Header, error) {
	list, err := ReadHeaders(wire)
	if err != nil {
		return Header{}, err
	}
	if len(list) != 1 || len(list[0].Wire) != len(wire) {
		return Header{}, fmt.Errorf("%d octets are not one header", len(wire))
	}
	return list[0], nil
}

// Find gives the first header with the code, or with its name as text.
func Find(list []Header, code byte) (Header, bool) {
	for _, h := range list {
		if h.Is(code) {
			return h, true
		}
	}
	return Header{}, false
}
