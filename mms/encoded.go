package mms

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// Encoded is an Encoded-string-value: a text, with its charset or without one
// (OMA-MMS-ENC 7.3, Encoded-string-value).
type Encoded struct {
	Charset    wsp.Charset
	HasCharset bool
	Octets     []byte // in Charset, without quote and terminator
}

// String decodes the octets. What is no character becomes U+FFFD.
func (e Encoded) String() string {
	text, _ := e.Text()
	return text
}

// Text decodes the octets; exact is false where some were no character. Without
// a charset they are read as UTF-8 and if they are none as Latin-1.
func (e Encoded) Text() (text string, exact bool) {
	if !e.HasCharset {
		return wsp.AnyCharset.Decode(e.Octets)
	}
	return e.Charset.Decode(e.Octets)
}

// readEncoded reads an Encoded-string-value that fills value exactly.
func readEncoded(value []byte) (Encoded, error) {
	if len(value) == 0 {
		return Encoded{}, fmt.Errorf("no text")
	}
	switch {
	case value[0] >= 0x80:
		// An unquoted text is not allowed here; seen where From's text lacks its quote.
		return Encoded{Octets: untilZero(value)}, nil
	case value[0] > 0x1F:
		return Encoded{Octets: untilZero(bytes.TrimPrefix(value, []byte{0x7F}))}, nil
	}
	size, n := wsp.ValueLength(value)
	if n <= 0 || size > len(value)-n {
		return Encoded{}, fmt.Errorf("value length runs past the end")
	}
	value = value[n : n+size]
	if len(value) == 0 {
		return Encoded{}, nil
	}
	e := Encoded{HasCharset: true}
	if value[0] > 0x1F && value[0] < 0x80 { // the name of a charset instead of its number
		name, m := wsp.Text(value)
		if m <= 0 {
			return Encoded{}, fmt.Errorf("charset name does not end")
		}
		e.Charset, e.HasCharset = wsp.ParseCharset(string(name))
		value = value[m:]
	} else {
		mib, m := wsp.Integer(value)
		if m <= 0 || mib > 1<<32-1 {
			return Encoded{}, fmt.Errorf("charset is no number of 32 bits")
		}
		e.Charset = wsp.Charset(mib)
		value = value[m:]
	}
	value = bytes.TrimPrefix(value, []byte{0x7F})
	if !e.Charset.Wide() {
		e.Octets = untilZero(value)
		return e, nil
	}
	if len(value)%2 == 1 && value[len(value)-1] == 0 { // the terminator of one octet, behind units of two
		value = value[:len(value)-1]
	} else if n := len(value); n >= 2 && value[n-1] == 0 && value[n-2] == 0 {
		value = value[:n-2]
	}
	e.Octets = value
	return e, nil
}

func untilZero(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

// AppendEncoded appends an Encoded-string-value: plain for ASCII, UTF-8 with its
// charset for anything else; no other charset is understood by all handsets.
// Control characters become spaces.
func AppendEncoded(dst []byte, text string) []byte { return appendEncodedRaw(dst, printable(text)) }

func appendEncodedRaw(dst []byte, text string) []byte {
	if isASCII(text) {
		return wsp.AppendText(dst, text)
	}
	inner := wsp.AppendText([]byte{charsetUTF8}, text)
	return append(wsp.AppendValueLength(dst, len(inner)), inner...)
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// charsetUTF8 is MIBenum 106 as a Short-integer.
const charsetUTF8 = 0xEA
