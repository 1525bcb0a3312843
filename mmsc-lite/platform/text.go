package platform

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding/htmlindex"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// decodeText gives a text in UTF-8: by its byte order mark, by the charset that
// is declared, as UTF-8, and if it is none as windows-1252. What is no character
// becomes U+FFFD.
func decodeText(data []byte, declared string) string {
	switch {
	case bytes.HasPrefix(data, []byte{0xEF, 0xBB, 0xBF}):
		return clean(strings.ToValidUTF8(string(data[3:]), "\uFFFD"))
	case bytes.HasPrefix(data, []byte{0xFE, 0xFF}):
		text, _ := wsp.UTF16BE.Decode(data[2:]) // what is no character is marked in the text
		return clean(text)
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE}):
		text, _ := wsp.UTF16LE.Decode(data[2:]) // see above
		return clean(text)
	}
	if c, ok := wsp.ParseCharset(declared); ok && declared != "" && c != wsp.AnyCharset {
		text, _ := c.Decode(data) // see above
		return clean(text)
	}
	if enc, err := htmlindex.Get(declared); err == nil && declared != "" {
		if b, err := enc.NewDecoder().Bytes(data); err == nil {
			return clean(strings.ToValidUTF8(string(b), "\uFFFD"))
		}
	}
	if utf8.Valid(data) {
		return clean(string(data))
	}
	text, _ := wsp.Charset(2252).Decode(data) // windows-1252 has a character for all but five octets
	return clean(text)
}

// decodeHTML gives a page in UTF-8; a page may name its charset itself.
func decodeHTML(data []byte, contentType string) string {
	enc, _, _ := charset.DetermineEncoding(data[:min(len(data), 1024)], contentType)
	if b, err := enc.NewDecoder().Bytes(data); err == nil {
		data = b
	}
	return strings.ToValidUTF8(string(data), "\uFFFD")
}

// clean takes out what no text shows: control characters, marks of order and
// direction overrides, which make a text say something else than it holds.
func clean(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == 0x2028 || r == 0x2029:
			return '\n'
		case unicode.IsControl(r), r == 0xFEFF, r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069:
			return -1
		}
		return r
	}, s)
}

// oneLine makes a text fit for a header: white space becomes one space, and what
// is beyond most characters an ellipsis.
func oneLine(s string, most int) string {
	s = strings.Join(strings.Fields(clean(s)), " ")
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	r := []rune(s)
	end := most - 1
	for end > 0 && unicode.Is(unicode.M, r[end]) {
		end-- // a mark stays with its letter
	}
	return strings.TrimRight(string(r[:end]), " ") + "…"
}

// cutText gives the first part of a text, at most room octets, and the rest. It
// cuts behind a paragraph, else a line, a sentence, a word, a character, as long
// as that does not leave more than half of the room empty.
func cutText(s string, room int) (head, rest string) {
	if len(s) <= room {
		return s, ""
	}
	if room <= 0 {
		return "", s
	}
	end := room
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	for end > 0 {
		if r, _ := utf8.DecodeRuneInString(s[end:]); !unicode.Is(unicode.M, r) && r != 0x200D {
			break
		}
		_, n := utf8.DecodeLastRuneInString(s[:end])
		end -= n
	}
	for _, mark := range []string{"\n\n", "\n", ". ", " "} {
		if i := strings.LastIndex(s[:end], mark); i > room/2 {
			end = i + len(mark)
			break
		}
	}
	return strings.TrimRight(s[:end], " \n"), strings.TrimLeft(s[end:], " \n")
}
