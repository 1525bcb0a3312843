package wsp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// mediaTypes are the well-known media types by their numbers (WAP-230-WSP table
// 40 and the WINA registry).
var mediaTypes = [...]string{
	0x00: "*/*", 0x01: "text/*", 0x02: "text/html", 0x03: "text/plain", 0x04: "text/x-hdml", 0x05: "text/x-ttml", 0x06: "text/x-vCalendar",
	0x07: "text/x-vCard", 0x08: "text/vnd.wap.wml", 0x09: "text/vnd.wap.wmlscript", 0x0A: "text/vnd.wap.wta-event", 0x0B: "multipart/*",
	0x0C: "multipart/mixed", 0x0D: "multipart/form-data", 0x0E: "multipart/byteranges", 0x0F: "multipart/alternative", 0x10: "application/*",
	0x11: "application/java-vm", 0x12: "application/x-www-form-urlencoded", 0x13: "application/x-hdmlc", 0x14: "application/vnd.wap.wmlc",
	0x15: "application/vnd.wap.wmlscriptc", 0x16: "application/vnd.wap.wta-eventc", 0x17: "application/vnd.wap.uaprof",
	0x18: "application/vnd.wap.wtls-ca-certificate", 0x19: "application/vnd.wap.wtls-user-certificate", 0x1A: "application/x-x509-ca-cert",
	0x1B: "application/x-x509-user-cert", 0x1C: "image/*", 0x1D: "image/gif", 0x1E: "image/jpeg", 0x1F: "image/tiff", 0x20: "image/png",
	0x21: "image/vnd.wap.wbmp", 0x22: "application/vnd.wap.multipart.*", 0x23: "application/vnd.wap.multipart.mixed",
	0x24: "application/vnd.wap.multipart.form-data", 0x25: "application/vnd.wap.multipart.byteranges",
	0x26: "application/vnd.wap.multipart.alternative", 0x27: "application/xml", 0x28: "text/xml", 0x29: "application/vnd.wap.wbxml",
	0x2A: "application/x-x968-cross-cert", 0x2B: "application/x-x968-ca-cert", 0x2C: "application/x-x968-user-cert", 0x2D: "text/vnd.wap.si",
	0x2E: "application/vnd.wap.sic", 0x2F: "text/vnd.wap.sl", 0x30: "application/vnd.wap.slc", 0x31: "text/vnd.wap.co",
	0x32: "application/vnd.wap.coc", 0x33: "application/vnd.wap.multipart.related", 0x34: "application/vnd.wap.sia",
	0x35: "text/vnd.wap.connectivity-xml", 0x36: "application/vnd.wap.connectivity-wbxml", 0x37: "application/pkcs7-mime",
	0x38: "application/vnd.wap.hashed-certificate", 0x39: "application/vnd.wap.signed-certificate", 0x3A: "application/vnd.wap.cert-response",
	0x3B: "application/xhtml+xml", 0x3C: "application/wml+xml", 0x3D: "text/css", 0x3E: "application/vnd.wap.mms-message",
	0x3F: "application/vnd.wap.rollover-certificate", 0x40: "application/vnd.wap.locc+wbxml", 0x41: "application/vnd.wap.loc+xml",
	0x42: "application/vnd.syncml.dm+wbxml", 0x43: "application/vnd.syncml.dm+xml", 0x44: "application/vnd.syncml.notification",
	0x45: "application/vnd.wap.xhtml+xml", 0x46: "application/vnd.wv.csp.cir", 0x47: "application/vnd.oma.dd+xml",
	0x48: "application/vnd.oma.drm.message", 0x49: "application/vnd.oma.drm.content", 0x4A: "application/vnd.oma.drm.rights+xml",
	0x4B: "application/vnd.oma.drm.rights+wbxml", 0x4C: "application/vnd.wv.csp+xml", 0x4D: "application/vnd.wv.csp+wbxml",
	0x4E: "application/vnd.syncml.ds.notification", 0x4F: "audio/*", 0x50: "video/*", 0x51: "application/vnd.oma.dd2+xml",
	0x52: "application/mikey", 0x53: "application/vnd.oma.dcd", 0x54: "application/vnd.oma.dcdc", 0x55: "text/x-vMessage",
	0x56: "application/vnd.omads-email+wbxml", 0x57: "text/x-vBookmark", 0x58: "application/vnd.syncml.dm.notification",
	0x5A: "application/octet-stream",
}

// highestEmitted is the last number that is written: tables of handsets end here.
const highestEmitted = 0x52

// Media types the code speaks of.
const (
	MultipartMixed       = "application/vnd.wap.multipart.mixed"
	MultipartRelated     = "application/vnd.wap.multipart.related"
	MultipartAlternative = "application/vnd.wap.multipart.alternative"
	MMSMessage           = "application/vnd.wap.mms-message"
	SMIL                 = "application/smil"
)

var mediaNumbers = indexMedia()

func indexMedia() map[string]byte {
	numbers := make(map[string]byte, len(mediaTypes))
	for n, name := range mediaTypes {
		if name != "" && n <= highestEmitted {
			numbers[strings.ToLower(name)] = byte(n)
		}
	}
	return numbers
}

// MediaName gives the type with the number n; "unknown/0x1ff" for one that nobody assigned.
func MediaName(n uint64) string {
	if n < uint64(len(mediaTypes)) && mediaTypes[n] != "" {
		return mediaTypes[n]
	}
	return "unknown/0x" + strconv.FormatUint(n, 16)
}

// appendMedia writes a type in its shortest form: a number that handsets know, else text.
func appendMedia(dst []byte, name string) []byte {
	if n, ok := mediaNumbers[strings.ToLower(name)]; ok {
		return append(dst, n|0x80)
	}
	if hex, ok := strings.CutPrefix(name, "unknown/0x"); ok {
		if n, err := strconv.ParseUint(hex, 16, 64); err == nil {
			return AppendInteger(dst, n)
		}
	}
	return AppendText(dst, name)
}

// ContentType is a media type with its parameters (WAP-230-WSP 8.4.2.24).
type ContentType struct {
	Type   string // as it stands; compared without regard to case
	Params []Param
	// Raw is the value as it stood on the wire. Append writes it as it is, so
	// one who changes Type or Params sets it to nil.
	Raw []byte
}

// Media makes a ContentType of a type and pairs of parameter names and values.
func Media(name string, params ...string) ContentType {
	c := ContentType{Type: name}
	for i := 0; i+1 < len(params); i += 2 {
		c.Params = append(c.Params, Param{params[i], params[i+1]})
	}
	return c
}

// Param gives the first value of a parameter, "" if there is none.
func (c ContentType) Param(name string) string {
	for _, p := range c.Params {
		if strings.EqualFold(p.Name, name) {
			return p.Value
		}
	}
	return ""
}

// Is says whether the type is name, without regard to case and parameters.
func (c ContentType) Is(name string) bool { return strings.EqualFold(c.Type, name) }

// Multipart says whether the body is a WSP multipart structure.
func (c ContentType) Multipart() bool {
	return hasPrefixFold(c.Type, "application/vnd.wap.multipart.")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// maybeMultipart says whether the body could be one: some encoders name the
// binary structure by the types of mail.
func (c ContentType) maybeMultipart() bool {
	return hasPrefixFold(c.Type, "multipart/") && c.Param("boundary") == ""
}

// String gives the form of mail: type; name=value; name="a value".
func (c ContentType) String() string {
	return c.Type + formatParams(c.Params)
}

// Mail gives the form of mail, and whether it means the same when it is read and
// written to the wire again: names and values that peers invent can hold what
// that form can't say.
func (c ContentType) Mail() (string, bool) {
	s := c.String()
	back, err := ParseContentType(s)
	if err != nil || !back.same(c) {
		return s, false
	}
	again, _, err := ReadContentType(back.Append(nil))
	return s, err == nil && again.same(c)
}

func (c ContentType) same(other ContentType) bool {
	return c.Type == other.Type && slices.Equal(c.Params, other.Params)
}

// ParseContentType reads the form of mail.
func ParseContentType(s string) (ContentType, error) {
	name, rest, _ := strings.Cut(s, ";")
	c := ContentType{Type: strings.TrimSpace(name)}
	if c.Type == "" {
		return c, fmt.Errorf("content type %q has no type", s)
	}
	var err error
	c.Params, err = parseParams(rest)
	return c, err
}

// ReadContentType reads the value at the start of b and answers how many octets
// it has. Params and Raw alias b.
func ReadContentType(b []byte) (ContentType, int, error) {
	n := Skip(b)
	if n == More {
		return ContentType{}, 0, fmt.Errorf("content type runs past the end, %d octets left", len(b))
	}
	if n == Bad {
		return ContentType{}, 0, fmt.Errorf("content type has a length of more than five octets")
	}
	c := ContentType{Raw: b[:n:n]}
	switch first := b[0]; {
	case first >= 0x80:
		c.Type = MediaName(uint64(first & 0x7F))
	case first > lengthQuote:
		text, _ := Text(b)
		return textContentType(text, c.Raw), n, nil
	default:
		size, m := ValueLength(b)
		if size == 0 {
			return ContentType{}, 0, fmt.Errorf("content type is empty")
		}
		if err := c.general(b[m : m+size]); err != nil {
			return ContentType{}, 0, err
		}
	}
	return c, n, nil
}

// general reads the form behind a value length: a media type, then parameters.
func (c *ContentType) general(b []byte) error {
	var at int
	if b[0] >= 0x80 || b[0] < lengthQuote {
		v, n := Integer(b)
		if n <= 0 {
			return fmt.Errorf("media type number runs past its content type")
		}
		c.Type, at = MediaName(v), n
	} else {
		text, n := Text(b)
		if n <= 0 {
			text, n = b, len(b) // no terminator: it ends where its container ends
		}
		c.Type, at = string(text), n
	}
	var err error
	c.Params, err = readParams(b[at:])
	return err
}

// textContentType takes a type that came as text, with parameters in the form of
// mail if a peer wrote them so.
func textContentType(text, raw []byte) ContentType {
	c, err := ParseContentType(string(text))
	if err != nil {
		c = ContentType{Type: string(text)}
	}
	c.Raw = raw
	return c
}

// Append writes the value: Raw if it is there, else the shortest form, which is
// the general one as soon as there is a parameter.
func (c ContentType) Append(dst []byte) []byte {
	if c.Raw != nil {
		return append(dst, c.Raw...)
	}
	if len(c.Params) == 0 {
		media := appendMedia(nil, c.Type)
		if media[0] < lengthQuote { // a long integer needs the general form
			dst = AppendValueLength(dst, len(media))
		}
		return append(dst, media...)
	}
	inner := appendMedia(make([]byte, 0, 64), c.Type)
	for _, p := range c.Params {
		inner = appendParam(inner, p)
	}
	return append(AppendValueLength(dst, len(inner)), inner...)
}
