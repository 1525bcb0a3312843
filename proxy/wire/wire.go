// Package wire is the HTTP/1.1 and HTTP/1.0 message syntax of the MM1 proxy: heads, chunked framing and
// the connection they travel on (RFC 9110, RFC 9112).
//
// It owns no buffers: a parsed head aliases the octets it was parsed from, and is valid for as long as they
// are. It is strict where leniency lets two readers disagree on where a message ends (request smuggling):
// bare LF, obs-fold, white space before a colon, NUL and other controls, repeated or signed
// Content-Length, Content-Length together with Transfer-Encoding, any coding but chunked. What it
// refuses, it refuses with the status to answer and a reason in words; it never guesses.
package wire

import (
	"errors"
	"strconv"
)

// Error is a refusal: the peer sent something that this package does not take.
type Error struct {
	Status int    // the HTTP status to answer a client with
	Reason string // what is wrong, in words; never quotes the peer
}

func (e *Error) Error() string { return "HTTP " + strconv.Itoa(e.Status) + ": " + e.Reason }

func bad(reason string) error { return &Error{Status: 400, Reason: reason} }

// ErrPartial says that the head goes on beyond the octets given.
var ErrPartial = errors.New("head is not complete")

// Field is one header field. Both slices alias the parsed octets; optional white space is cut off.
type Field struct{ Name, Value []byte }

// Head is what requests and responses share.
type Head struct {
	Fields []Field
	Minor  int   // 0 or 1 of HTTP/1.x
	Length int64 // Content-Length; -1 if absent
	// Chunked says that the body is framed by chunks.
	Chunked bool
	// KeepAlive is what the peer wants: the default of its version, or what Connection says.
	KeepAlive bool
	// Size is the number of octets of the head, the empty line included.
	Size int

	connection bool // a Connection field names more than close and keep-alive
	hosts      int
	close      bool
	keep       bool
}

// Get gives the first field of that name (ASCII case does not matter); nil if there is none.
func (h *Head) Get(name string) []byte {
	for i := range h.Fields {
		if EqualFold(h.Fields[i].Name, name) {
			return h.Fields[i].Value
		}
	}
	return nil
}

// Request is the head of a request.
type Request struct {
	Head
	Method, Target []byte
	Host           []byte // the Host field; an absolute-form target goes before it (RFC 9112 section 3.2.2)
	Continue       bool   // Expect: 100-continue
}

// Response is the head of a response.
type Response struct {
	Head
	Status int
}

// EqualFold compares with ASCII case folding.
func EqualFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(s) {
		if lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

// sameFold is EqualFold for two slices: a string of a long name would be an allocation per token.
func sameFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Classes of octets, one table look-up each.
const (
	isToken  = 1 << iota // tchar of RFC 9110 section 5.6.2
	isValue              // field-vchar, SP, HTAB: what a field value may hold
	isTarget             // what a request target may hold: visible ASCII
)

var class = func() (t [256]uint8) {
	for c := 0x21; c < 0x7f; c++ {
		t[c] |= isTarget | isValue
	}
	for c := 0x80; c < 0x100; c++ {
		t[c] |= isValue // obs-text
	}
	t[' '] |= isValue
	t['\t'] |= isValue
	for c := '0'; c <= '9'; c++ {
		t[c] |= isToken
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= isToken
		t[c-'a'+'A'] |= isToken
	}
	for _, c := range []byte("!#$%&'*+-.^_`|~") {
		t[c] |= isToken
	}
	return t
}()

func all(b []byte, mask uint8) bool {
	for _, c := range b {
		if class[c]&mask == 0 {
			return false
		}
	}
	return true
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
