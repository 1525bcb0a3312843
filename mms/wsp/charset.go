package wsp

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// Charset is an IANA MIBenum, the number by which WSP names a charset.
type Charset uint32

// Charsets that the code speaks of.
const (
	AnyCharset Charset = 0 // "*": read as UTF-8, then as Latin-1
	ASCII      Charset = 3
	Latin1     Charset = 4
	UTF8       Charset = 106
	UCS2       Charset = 1000
	UCS4       Charset = 1001
	UTF16BE    Charset = 1013
	UTF16LE    Charset = 1014
	UTF16      Charset = 1015
)

type charset struct {
	mib  Charset
	name string
	enc  encoding.Encoding // nil: read by code of this file
}

var charsets = []charset{
	{AnyCharset, "*", nil}, {ASCII, "us-ascii", nil}, {Latin1, "iso-8859-1", charmap.ISO8859_1}, {5, "iso-8859-2", charmap.ISO8859_2},
	{6, "iso-8859-3", charmap.ISO8859_3}, {7, "iso-8859-4", charmap.ISO8859_4}, {8, "iso-8859-5", charmap.ISO8859_5},
	{9, "iso-8859-6", charmap.ISO8859_6}, {10, "iso-8859-7", charmap.ISO8859_7}, {11, "iso-8859-8", charmap.ISO8859_8},
	{12, "iso-8859-9", charmap.ISO8859_9}, {13, "iso-8859-10", charmap.ISO8859_10}, {17, "shift_jis", japanese.ShiftJIS},
	{18, "euc-jp", japanese.EUCJP}, {36, "ks_c_5601-1987", korean.EUCKR}, {38, "euc-kr", korean.EUCKR},
	{iso2022KR, "iso-2022-kr", nil},
	{39, "iso-2022-jp", japanese.ISO2022JP}, {UTF8, "utf-8", nil}, {109, "iso-8859-13", charmap.ISO8859_13},
	{110, "iso-8859-14", charmap.ISO8859_14}, {111, "iso-8859-15", charmap.ISO8859_15}, {112, "iso-8859-16", charmap.ISO8859_16},
	{113, "gbk", simplifiedchinese.GBK}, {114, "gb18030", simplifiedchinese.GB18030},
	{UCS2, "iso-10646-ucs-2", unicode.UTF16(unicode.BigEndian, unicode.UseBOM)},
	{utf7, "utf-7", nil}, {UCS4, "iso-10646-ucs-4", utf32.UTF32(utf32.BigEndian, utf32.UseBOM)},
	{UTF16BE, "utf-16be", unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)},
	{UTF16LE, "utf-16le", unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)},
	{UTF16, "utf-16", unicode.UTF16(unicode.BigEndian, unicode.UseBOM)},
	{2025, "gb2312", simplifiedchinese.GBK}, {2026, "big5", traditionalchinese.Big5}, {2084, "koi8-r", charmap.KOI8R}, {2088, "koi8-u", charmap.KOI8U},
	{2085, "hz-gb-2312", simplifiedchinese.HZGB2312}, {2250, "windows-1250", charmap.Windows1250}, {2251, "windows-1251", charmap.Windows1251},
	{2252, "windows-1252", charmap.Windows1252}, {2253, "windows-1253", charmap.Windows1253}, {2254, "windows-1254", charmap.Windows1254},
	{2255, "windows-1255", charmap.Windows1255}, {2256, "windows-1256", charmap.Windows1256}, {2257, "windows-1257", charmap.Windows1257},
	{2258, "windows-1258", charmap.Windows1258}, {2259, "tis-620", charmap.Windows874},
}

var charsetByNumber, charsetByName = indexCharsets()

func indexCharsets() (map[Charset]*charset, map[string]Charset) {
	numbers, names := make(map[Charset]*charset), make(map[string]Charset)
	for i := range charsets {
		numbers[charsets[i].mib], names[charsets[i].name] = &charsets[i], charsets[i].mib
	}
	for alias, of := range map[string]Charset{"ascii": ASCII, "latin1": Latin1, "latin-1": Latin1, "utf8": UTF8, "ucs-2": UCS2, "ucs2": UCS2,
		"ucs-4": UCS4, "sjis": 17, "big-5": 2026, "cp1251": 2251, "cp1252": 2252, "iso_8859-1": Latin1, "cp936": 113} {
		names[alias] = of
	}
	return numbers, names
}

// String gives the IANA name in small letters, or "mib-N".
func (c Charset) String() string {
	if known, ok := charsetByNumber[c]; ok {
		return known.name
	}
	return "mib-" + strconv.FormatUint(uint64(c), 10)
}

// ParseCharset finds a charset by its name, without regard to case.
func ParseCharset(name string) (Charset, bool) {
	name = strings.ToLower(strings.TrimSpace(name))
	if c, ok := charsetByName[name]; ok {
		return c, true
	}
	if digits, ok := strings.CutPrefix(name, "mib-"); ok {
		if n, err := strconv.ParseUint(digits, 10, 32); err == nil {
			return Charset(n), true
		}
	}
	return 0, false
}

// Wide says whether a zero octet can be part of a character, so that a text in c
// ends where its length says and not at a zero octet.
func (c Charset) Wide() bool {
	switch c {
	case UCS2, UCS4, UTF16, UTF16BE, UTF16LE:
		return true
	}
	return false
}

// Decode turns octets in c into a string. It never fails: what is no character
// in c becomes U+FFFD and exact is false. An unknown charset is read as Latin-1,
// "*" as UTF-8 and if it is none as Latin-1.
func (c Charset) Decode(b []byte) (text string, exact bool) {
	switch c {
	case UTF8, ASCII: // octets beyond ASCII under us-ascii are UTF-8 in practice
		if utf8.Valid(b) {
			return string(b), true
		}
		return strings.ToValidUTF8(string(b), "\uFFFD"), false
	case AnyCharset:
		if utf8.Valid(b) {
			return string(b), true
		}
		return latin1(b), true
	case utf7:
		return decodeUTF7(b)
	case iso2022KR:
		return decode2022KR(b)
	}
	known, ok := charsetByNumber[c]
	if !ok {
		return latin1(b), false
	}
	out, err := known.enc.NewDecoder().Bytes(b)
	if err != nil {
		return latin1(b), false
	}
	return string(out), !bytes.ContainsRune(out, utf8.RuneError)
}

// Encode turns a string into octets in c; false if c is unknown,
// lacks a character, or is one that nobody should write (UTF-7, ISO-2022-KR).
func (c Charset) Encode(text string) ([]byte, bool) {
	if c == UTF8 || c == AnyCharset {
		return []byte(text), utf8.ValidString(text)
	}
	if c == ASCII {
		return []byte(text), strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
	}
	known, ok := charsetByNumber[c]
	if !ok || known.enc == nil {
		return nil, false
	}
	out, err := known.enc.NewEncoder().Bytes([]byte(text))
	return out, err == nil
}

func latin1(b []byte) string {
	out := make([]rune, len(b))
	for i, c := range b {
		out[i] = rune(c)
	}
	return string(out)
}
