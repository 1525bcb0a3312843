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

type headerKind uint8

const (
	headerOpaque headerKind = iota
	headerText
	headerQuoted      // Quoted-string: Content-ID
	headerInteger     // Integer-value
	headerDate        // Date-value
	headerContentType // section 8.4.2.24
	headerDisposition // Value-length, a token, parameters
	headerEncoding    // a token or its name
	headerOctets      // Value-length and octets: Content-MD5
	headerAppID       // Integer-value or a URI
	headerVersion
)

// headers are the fields of code page 1 by their numbers (WAP-230-WSP table 39).
var headers = [...]struct {
	name string
	kind headerKind
}{
	0x00: {"Accept", headerContentType}, 0x01: {"Accept-Charset", 0}, 0x02: {"Accept-Encoding", headerEncoding}, 0x03: {"Accept-Language", 0}, 0x04: {"Accept-Ranges", 0},
	0x05: {"Age", headerInteger}, 0x06: {"Allow", 0}, 0x07: {"Authorization", 0}, 0x08: {"Cache-Control", 0}, 0x09: {"Connection", 0},
	0x0A: {"Content-Base", headerText}, 0x0B: {"Content-Encoding", headerEncoding}, 0x0C: {"Content-Language", 0},
	0x0D: {"Content-Length", headerInteger}, 0x0E: {"Content-Location", headerText}, 0x0F: {"Content-MD5", headerOctets},
	0x10: {"Content-Range", 0}, 0x11: {"Content-Type", headerContentType}, 0x12: {"Date", headerDate}, 0x13: {"ETag", headerText},
	0x14: {"Expires", headerDate}, 0x15: {"From", headerText}, 0x16: {"Host", headerText}, 0x17: {"If-Modified-Since", headerDate},
	0x18: {"If-Match", headerText}, 0x19: {"If-None-Match", headerText}, 0x1A: {"If-Range", 0}, 0x1B: {"If-Unmodified-Since", headerDate},
	0x1C: {"Location", headerText}, 0x1D: {"Last-Modified", headerDate}, 0x1E: {"Max-Forwards", headerInteger}, 0x1F: {"Pragma", 0},
	0x20: {"Proxy-Authenticate", 0}, 0x21: {"Proxy-Authorization", 0}, 0x22: {"Public", 0}, 0x23: {"Range", 0}, 0x24: {"Referer", headerText},
	0x25: {"Retry-After", 0}, 0x26: {"Server", headerText}, 0x27: {"Transfer-Encoding", 0}, 0x28: {"Upgrade", headerText},
	0x29: {"User-Agent", headerText}, 0x2A: {"Vary", 0}, 0x2B: {"Via", headerText}, 0x2C: {"Warning", 0}, 0x2D: {"WWW-Authenticate", 0},
	0x2E: {"Content-Disposition", headerDisposition}, 0x2F: {"X-Wap-Application-Id", headerAppID}, 0x30: {"X-Wap-Content-URI", headerText},
	0x31: {"X-Wap-Initiator-URI", headerText}, 0x32: {"Accept-Application", 0}, 0x33: {"Bearer-Indication", headerInteger},
	0x34: {"Push-Flag", headerInteger}, 0x35: {"Profile", headerText}, 0x36: {"Profile-Diff", 0}, 0x37: {"Profile-Warning", 0},
	0x38: {"Expect", 0}, 0x39: {"TE", 0}, 0x3A: {"Trailer", 0}, 0x3B: {"Accept-Charset", 0}, 0x3C: {"Accept-Encoding", headerEncoding},
	0x3D: {"Cache-Control", 0}, 0x3E: {"Content-Range", 0}, 0x3F: {"X-Wap-Tod", headerDate}, 0x40: {"Content-ID", headerQuoted},
	0x41: {"Set-Cookie", 0}, 0x42: {"Cookie", 0}, 0x43: {"Encoding-Version", headerVersion}, 0x44: {"Profile-Warning", 0},
	0x45: {"Content-Disposition", headerDisposition}, 0x46: {"X-WAP-Security", 0}, 0x47: {"Cache-Control", 0},
}

// Header octets that this code reads or writes.
const (
	HeaderContentEncoding    = 0x8B
	HeaderContentLength      = 0x8D
	HeaderContentLocation    = 0x8E
	HeaderContentType        = 0x91
	HeaderContentDisposition = 0xAE // the old code: every handset knows it
	HeaderApplicationID      = 0xAF
	HeaderInitiatorURI       = 0xB1
	HeaderPushFlag           = 0xB4
	HeaderContentID          = 0xC0
	headerDispositionNew     = 0xC5
	pageShift                = 0x7F
)

// headerCodes holds, per name in small letters, the octet that is written.
var headerCodes = indexHeaders()

func indexHeaders() map[string]byte {
	codes := make(map[string]byte, len(headers))
	for n := len(headers) - 1; n >= 0; n-- {
		codes[strings.ToLower(headers[n].name)] = byte(n) | 0x80
	}
	return codes
}

// headerName gives the name of a well-known field by number or wire octet.
func headerName(n byte) string {
	if n &= 0x7F; int(n) < len(headers) {
		return headers[n].name
	}
	return fmt.Sprintf("0x%02X", n|0x80)
}

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
