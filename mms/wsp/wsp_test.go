package wsp_test

import (
	"bytes"
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// unhex reads hex with spaces; a piece in quotes is text.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for i, piece := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = append(out, piece...)
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(piece, " ", ""))
		if err != nil {
			t.Fatalf("hex %q: %v", piece, err)
		}
		out = append(out, b...)
	}
	return out
}

func TestUintvar(t *testing.T) {
	for _, tc := range []struct {
		name, octets string
		v            uint32
		n            int
	}{
		{"zero", "00", 0, 1}, {"127", "7F", 127, 1}, {"128", "8100", 128, 2}, {"16383", "FF7F", 16383, 2}, {"16384", "818000", 16384, 3},
		{"127, not minimal", "807F", 127, 2}, {"the largest", "8FFFFFFF7F", math.MaxUint32, 5}, {"beyond 32 bits", "908080 8000", 0, wsp.Bad},
		{"six octets", "8080808080 00", 0, wsp.Bad}, {"cut", "81", 0, wsp.More}, {"nothing", "", 0, wsp.More}, {"cut behind five", "8080808080", 0, wsp.Bad},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if v, n := wsp.Uintvar(unhex(t, tc.octets)); v != tc.v || n != tc.n {
				t.Errorf("%d in %d octets", v, n)
			}
		})
	}
	for _, v := range []uint32{0, 1, 127, 128, 16383, 16384, 1<<21 - 1, 1 << 21, 1<<28 - 1, 1 << 28, math.MaxUint32} {
		b := wsp.AppendUintvar(nil, v)
		if got, n := wsp.Uintvar(b); got != v || n != len(b) || len(b) > 1 && b[0] == 0x80 {
			t.Errorf("%d becomes %x", v, b)
		}
	}
}

func TestValueLength(t *testing.T) {
	for n, want := range map[int]string{0: "00", 30: "1E", 31: "1F1F", 33: "1F21", 200: "1F8148"} {
		b := wsp.AppendValueLength(nil, n)
		if got, m := wsp.ValueLength(b); !bytes.Equal(b, unhex(t, want)) || got != n || m != len(b) {
			t.Errorf("%d: %x, read as %d", n, b, got)
		}
	}
	for name, tc := range map[string]struct {
		octets string
		n      int
	}{"a text": {"20", wsp.Bad}, "open": {"1F81", wsp.More}, "a gigabyte": {"1F8FFFFFFF7F", wsp.Bad}, "nothing": {"", wsp.More}} {
		if _, n := wsp.ValueLength(unhex(t, tc.octets)); n != tc.n {
			t.Errorf("%s: %d", name, n)
		}
	}
}

func TestIntegers(t *testing.T) {
	for v, want := range map[uint64]string{0: "80", 127: "FF", 128: "0180", 1000: "0203E8", math.MaxUint64: "08FFFFFFFFFFFFFFFF"} {
		b := wsp.AppendInteger(nil, v)
		if got, n := wsp.Integer(b); !bytes.Equal(b, unhex(t, want)) || got != v || n != len(b) {
			t.Errorf("%d: %x, read as %d", v, b, got)
		}
	}
	for name, tc := range map[string]struct {
		octets string
		v      uint64
		n      int
	}{
		"zero octets": {"00", 0, 1}, "leading zeros": {"0400000501", 1281, 5}, "nine octets with a leading zero": {"09 00 0000000000000001", 1, 10},
		"nine octets": {"09 01 0000000000000001", 0, wsp.Bad}, "a length of 31": {"1F01", 0, wsp.Bad}, "cut": {"0201", 0, wsp.More},
	} {
		if v, n := wsp.Long(unhex(t, tc.octets)); v != tc.v || n != tc.n {
			t.Errorf("%s: %d in %d octets", name, v, n)
		}
	}
}

func TestTexts(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"plain", "abc", "'abc' 00"}, {"empty", "", "00"}, {"beyond ASCII", "é", "7F C3A9 00"}, {"a delete first", "\x7Fa", "7F 7F 'a' 00"},
		{"a control first", "\x05a", "7F 05 'a' 00"}, {"a zero octet ends it", "a\x00b", "'a' 00"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := wsp.AppendText(nil, tc.text)
			if !bytes.Equal(b, unhex(t, tc.want)) {
				t.Errorf("%x", b)
			}
			text, n := wsp.Text(b)
			if cut, _, _ := strings.Cut(tc.text, "\x00"); string(text) != cut || n != len(b) {
				t.Errorf("read as %q", text)
			}
		})
	}
}

func TestCharsets(t *testing.T) {
	for _, tc := range []struct {
		name  string
		mib   wsp.Charset
		text  string
		bytes string
	}{
		{"utf-8", 106, "é", "C3A9"}, {"iso-8859-1", 4, "é", "E9"}, {"iso-8859-15", 111, "€", "A4"}, {"shift_jis", 17, "日", "93FA"}, {"euc-jp", 18, "日", "C6FC"},
		{"euc-kr", 38, "한", "C7D1"}, {"gbk", 113, "中", "D6D0"}, {"gb2312", 2025, "中", "D6D0"}, {"big5", 2026, "中", "A4A4"}, {"koi8-r", 2084, "П", "F0"},
		{"windows-1251", 2251, "П", "CF"}, {"utf-16be", 1013, "é", "00E9"}, {"utf-16le", 1014, "é", "E900"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, ok := wsp.ParseCharset(strings.ToUpper(tc.name)); !ok || got != tc.mib || tc.mib.String() != tc.name {
				t.Errorf("name %q is %d", tc.mib, got)
			}
			if got, exact := tc.mib.Decode(unhex(t, tc.bytes)); got != tc.text || !exact {
				t.Errorf("decoded %q", got)
			}
			if got, ok := tc.mib.Encode(tc.text); !ok || !bytes.Equal(got, unhex(t, tc.bytes)) {
				t.Errorf("encoded %x", got)
			}
		})
	}
	for _, tc := range []struct {
		name  string
		mib   wsp.Charset
		bytes string
		want  string
		exact bool
	}{
		{"cut UTF-8", 106, "'a' D0", "a\uFFFD", false}, {"any, UTF-8", 0, "C3A9", "é", true}, {"any, Latin-1", 0, "E9", "é", true},
		{"unknown", 9999, "E9", "é", false}, {"UCS-2 without a mark", 1000, "00E9", "é", true}, {"UCS-2 little endian by its mark", 1000, "FFFEE900", "é", true},
		{"UTF-7", 1012, "'Hi Mom +Jjo--+-+-!+ZeVnLIqe-'", "Hi Mom ☺-++!日本語", true}, {"UTF-7 cut", 1012, "'a+Jj'", "a", false},
		{"ISO-2022-KR", 37, "1B242943 0E 4751 3139 0F 'x'", "한국x", true}, {"ISO-2022-KR cut", 37, "0E 47", "\uFFFD", false},
		{"ISO-2022-JP", 39, "1B2442 467C 1B2842 'x'", "日x", true}, {"UCS-4", 1001, "000000E9", "é", true},
		{"ASCII that is UTF-8", 3, "C3A9", "é", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, exact := tc.mib.Decode(unhex(t, tc.bytes)); got != tc.want || exact != tc.exact {
				t.Errorf("%q %v", got, exact)
			}
		})
	}
	if c, ok := wsp.ParseCharset("mib-9999"); !ok || c != 9999 || c.String() != "mib-9999" {
		t.Errorf("%v %v", c, ok)
	}
	if _, ok := wsp.ParseCharset("x-nobody"); ok {
		t.Error("unknown names have no number")
	}
}

func TestContentType(t *testing.T) {
	for _, tc := range []struct{ name, octets, want, built string }{
		{"a number", "83", "text/plain", "83"},
		{"text", "'application/smil' 00", "application/smil", "'application/smil' 00"},
		{"text of a number", "'text/plain' 00", "text/plain", "83"},
		{"charset", "03 83 81 EA", "text/plain; charset=utf-8", "03 83 81 EA"},
		{"charset of two octets", "05 83 81 02 03F7", "text/plain; charset=utf-16", "05 83 81 02 03F7"},
		{"charset as text", "08 83 81 'UTF-8' 00", "text/plain; charset=utf-8", "03 83 81 EA"},
		{"name", "0F 9E 85 'IMG_6807.jpg' 00", "image/jpeg; name=IMG_6807.jpg", "0F 9E 85 'IMG_6807.jpg' 00"},
		{"name of version 1.4", "0F 9E 97 'IMG_6807.jpg' 00", "image/jpeg; name=IMG_6807.jpg", "0F 9E 85 'IMG_6807.jpg' 00"},
		{"quoted name", "0B 9E 97 '\"a b.jpg' 00", `image/jpeg; name="a b.jpg"`, "0A 9E 85 'a b.jpg' 00"},
		{"quoted with a closing mark", "09 9E 97 '\"a b\"' 00 00", `image/jpeg; name="a b"`, "06 9E 85 'a b' 00"},
		{"related", "1B B3 89 'application/smil' 00 8A '<AAAA>' 00", "application/vnd.wap.multipart.related; type=application/smil; start=<AAAA>",
			"1B B3 89 'application/smil' 00 8A '<AAAA>' 00"},
		{"type as a number", "03 B3 89 83", "application/vnd.wap.multipart.related; type=text/plain", "03 B3 89 83"},
		{"long length", "1F21 B3 8A '<btmms.smil>' 00 89 'application/smil' 00", "application/vnd.wap.multipart.related; start=<btmms.smil>; type=application/smil",
			"1F21 B3 8A '<btmms.smil>' 00 89 'application/smil' 00"},
		{"untyped", "1E 'text/plain' 00 'charset' 00 'iso-8859-1' 00", "text/plain; charset=iso-8859-1", "03 83 81 84"},
		{"untyped number", "0B 'a/b' 00 'x' 00 85 00000000", "a/b; x=5", "08 'a/b' 00 'x' 00 '5' 00"},
		{"unknown parameter", "06 83 BF 'ab' 00 00", "text/plain; 0xbf=ab", "05 83 BF 'ab' 00"},
		{"q, level, size, dates", "13 83 80 0B 82 92 96 85 93 04 6553F100 90 00 88 81 87 8E", "text/plain; q=0.1; level=1.2; size=5; creation-date=2023-11-14T22:13:20Z; secure=\"\"; padding=1; differences=Content-Location", ""},
		{"a long media number", "04 02 0201 00", "unknown/0x201", "03 02 0201"},
		{"a number nobody has", "FF", "unknown/0x7f", "FF"},
		{"mail's own form", "'text/plain; charset=\"utf-8\"' 00", "text/plain; charset=utf-8", "03 83 81 EA"},
		{"a name without terminator", "05 9E 85 'abc'", "image/jpeg; name=abc", "06 9E 85 'abc' 00"},
		{"a name beyond ASCII", "08 9E 85 7F D0 9F 'a' 00 00", "image/jpeg; name=Пa", "07 9E 85 7F D09F 'a' 00"},
		{"a number above what handsets know", "DA", "application/octet-stream", "'application/octet-stream' 00"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := unhex(t, tc.octets)
			c, n, err := wsp.ReadContentType(append(b, "tail"...))
			if err != nil {
				t.Fatal(err)
			}
			if n != len(b) || c.String() != tc.want {
				t.Errorf("%d octets, %s", n, c)
			}
			if !bytes.Equal(c.Append(nil), b) {
				t.Errorf("append gives %x", c.Append(nil))
			}
			back, err := wsp.ParseContentType(c.String())
			if err != nil {
				t.Fatal(err)
			}
			built := back.Append(nil)
			if tc.built != "" && !bytes.Equal(built, unhex(t, tc.built)) {
				t.Errorf("built %x", built)
			}
			if again, _, err := wsp.ReadContentType(built); err != nil || again.String() != tc.want {
				t.Errorf("built and read: %s, %v", again, err)
			}
		})
	}
	for _, tc := range []struct{ name, octets, want string }{
		{"nothing", "", "content type runs past the end, 0 octets left"},
		{"empty", "00", "content type is empty"},
		{"cut", "05 83", "content type runs past the end, 2 octets left"},
		{"length of six octets", "1F 808080808000", "content type has a length of more than five octets"},
		{"parameter without value", "02 83 81", "parameter 1: charset: its value is missing"},
		{"zero octet within", "05 83 00 81 EA 00", "parameter 1: a zero octet where a name belongs"},
		{"charset of nine octets", "0C 83 81 09 010000000000000001", "parameter 1: charset: its value runs past the end or is no number"},
		{"charset beyond 32 bits", "08 83 81 05 0100000000", "parameter 1: charset: charset 4294967296 is no MIBenum"},
		{"media number cut", "01 05", "media type number runs past its content type"},
		{"too many parameters", "1F8141" + strings.Repeat("8881", 96) + "81", "more than 64 parameters"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if c, _, err := wsp.ReadContentType(unhex(t, tc.octets)); err == nil || err.Error() != tc.want {
				t.Errorf("%v, %v", c, err)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	for _, tc := range []struct{ name, octets, header, text string }{
		{"content id", "C0 '\"<text0>' 00", "Content-ID", "<text0>"},
		{"content location", "8E 'text0.txt' 00", "Content-Location", "text0.txt"},
		{"disposition", "AE 0F 81 86 'IMG_6807.jpg' 00", "Content-Disposition", "attachment; filename=IMG_6807.jpg"},
		{"disposition of one's own", "AE 06 'own' 00 81EA", "Content-Disposition", "own; charset=utf-8"},
		{"content length", "8D E9", "Content-Length", "105"},
		{"encoding", "8B 80", "Content-Encoding", "gzip"},
		{"date", "92 04 6553F100", "Date", "2023-11-14T22:13:20Z"},
		{"md5", "8F 10 000102030405060708090A0B0C0D0E0F", "Content-MD5", "000102030405060708090a0b0c0d0e0f"},
		{"application id", "AF 84", "X-Wap-Application-Id", "x-wap-application:mms.ua"},
		{"application id as text", "AF 'own' 00", "X-Wap-Application-Id", "own"},
		{"push flag", "B4 87", "Push-Flag", "7"},
		{"version", "C3 94", "Encoding-Version", "1.4"},
		{"application header", "'Content-Transfer-Encoding' 00 'base64' 00", "Content-Transfer-Encoding", "base64"},
		{"content type", "91 03 83 81 EA", "Content-Type", "text/plain; charset=utf-8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := unhex(t, tc.octets)
			list, err := wsp.ReadHeaders(b)
			if err != nil || len(list) != 1 {
				t.Fatalf("%d headers, %v", len(list), err)
			}
			text, ok := list[0].Text()
			if list[0].Name() != tc.header || text != tc.text || !ok || !bytes.Equal(list[0].Wire, b) {
				t.Errorf("%s %q %v", list[0].Name(), text, ok)
			}
			built, err := wsp.NewHeader(tc.header, tc.text)
			if err != nil || !bytes.Equal(built.Wire, b) {
				t.Errorf("built %x, %v", built.Wire, err)
			}
		})
	}
	list, err := wsp.ReadHeaders(unhex(t, "C5 06 82 98 'x.y' 00 D5 03 010203 8C 99 7F 02 8D 85 01 8D 85 0000"))
	if err != nil || len(list) != 7 {
		t.Fatalf("%d headers, %v", len(list), err)
	}
	if text, _ := list[0].Text(); text != "inline; filename=x.y" || !list[0].Is(wsp.HeaderContentDisposition) {
		t.Errorf("the new disposition is %q", text)
	}
	for i, want := range []string{"Content-Disposition", "0xD5", "Content-Language", "code-page", "0x8D", "code-page", "Content-Length"} {
		if list[i].Name() != want {
			t.Errorf("header %d is %s, want %s", i, list[i].Name(), want)
		}
		if _, ok := list[i].Text(); i > 0 && i < 6 && ok {
			t.Errorf("header %d has a text", i)
		}
	}
	for _, tc := range []struct{ name, octets, want string }{
		{"a name that does not end", "'abc'", "octet 0 of the headers: a name that does not end"},
		{"zero octet within", "8D 85 00 8D 85", "octet 2 of the headers: a zero octet where a name belongs"},
		{"value missing", "8D", "octet 0 of the headers: Content-Length: its value runs past the end, 0 octets left"},
		{"shift without page", "7F", "octet 0 of the headers: a code page shift without its page"},
		{"too many", strings.Repeat("8D85", 300), "more than 256 headers"},
		{"too long", strings.Repeat("8D85", 9000), "headers of 18000 octets, 16384 are allowed"},
	} {
		if _, err := wsp.ReadHeaders(unhex(t, tc.octets)); err == nil || err.Error() != tc.want {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	for name, value := range map[string]string{"": "x", "a b": "x", "Content-Length": "x", "Date": "x", "Content-MD5": "x", "Encoding-Version": "x", "Accept-Charset": "x", "Content-Disposition": ""} {
		if h, err := wsp.NewHeader(name, value); err == nil {
			t.Errorf("%q: %q gives %x", name, value, h.Wire)
		}
	}
}
