package wsp_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

func header(t testing.TB, name, value string) wsp.Header {
	t.Helper()
	h, err := wsp.NewHeader(name, value)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestMultipartPart(t *testing.T) {
	p := wsp.Part{ContentType: wsp.Media("text/plain", "name", "text0.txt", "charset", "utf-8"), Data: []byte("Grüße"),
		Headers: []wsp.Header{header(t, "Content-ID", "<text0>"), header(t, "Content-Location", "text0.txt")}}
	b, err := wsp.AppendParts(nil, []wsp.Part{p})
	if err != nil {
		t.Fatal(err)
	}
	if want := unhex(t, "01 24 07 0E 83 85 'text0.txt' 00 81 EA C0 '\"<text0>' 00 8E 'text0.txt' 00 4772C3BCC39F65"); !bytes.Equal(b, want) {
		t.Fatalf("\n got %x\nwant %x", b, want)
	}
	parts, err := wsp.ReadParts(b, 100)
	if err != nil || len(parts) != 1 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	got := &parts[0]
	if got.HeaderSize != 36 || got.Size != 7 || got.Offset != 139 || string(got.Data) != "Grüße" {
		t.Errorf("%+v", got)
	}
	if got.ContentID() != "text0" || got.ContentLocation() != "text0.txt" || got.FileName() != "text0.txt" || got.TransferEncoding() != "" {
		t.Errorf("%q %q %q", got.ContentID(), got.ContentLocation(), got.FileName())
	}
}

func TestFileName(t *testing.T) {
	for _, tc := range []struct {
		name string
		part wsp.Part
		want string
	}{
		{"name parameter first", wsp.Part{ContentType: wsp.Media("a/b", "name", "1"), Headers: []wsp.Header{header(t, "Content-Disposition", "inline; filename=2")}}, "1"},
		{"then the disposition", wsp.Part{ContentType: wsp.Media("a/b"), Headers: []wsp.Header{header(t, "Content-Location", "3"), header(t, "Content-Disposition", "inline; filename=2")}}, "2"},
		{"then the location", wsp.Part{ContentType: wsp.Media("a/b"), Headers: []wsp.Header{header(t, "Content-Location", "3")}}, "3"},
		{"nothing", wsp.Part{ContentType: wsp.Media("a/b")}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.part.FileName(); got != tc.want {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestUndoTransferEncoding(t *testing.T) {
	for _, tc := range []struct {
		encoding, data, want string
		ok                   bool
	}{
		{"base64", "R3LDvMOfZQ==\n", "Grüße", true}, {"quoted-printable", "Gr=C3=BC=C3=9Fe", "Grüße", true}, {"7bit", "abc", "abc", true}, {"", "abc", "abc", true},
		{"x-uuencode", "abc", "abc", false},
	} {
		r, ok := wsp.Undo(tc.encoding, strings.NewReader(tc.data))
		got, err := io.ReadAll(r)
		if ok != tc.ok || err != nil || string(got) != tc.want {
			t.Errorf("%s: %q %v %v", tc.encoding, got, ok, err)
		}
	}
	p := wsp.Part{Headers: []wsp.Header{header(t, "Content-Transfer-Encoding", "BASE64")}}
	if p.TransferEncoding() != "base64" {
		t.Error(p.TransferEncoding())
	}
}

// What Writer writes Reader reads, and ReadParts and ReadPartsAt too; the heads
// may be larger than one window.
func TestStreams(t *testing.T) {
	var out bytes.Buffer
	bodies := []string{"", "one", strings.Repeat("two", 30000)}
	w, err := wsp.NewWriter(&out, len(bodies))
	if err != nil {
		t.Fatal(err)
	}
	long := header(t, "Content-Location", strings.Repeat("x", 5000))
	for i, body := range bodies {
		c := wsp.Media("text/plain", "name", fmt.Sprint(i))
		if err := w.Part(c, []wsp.Header{long}, iotest.HalfReader(strings.NewReader(body)), int64(len(body))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	whole := out.Bytes()
	table, err := wsp.ReadParts(whole, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := bytes.NewReader(append([]byte("head"), whole...))
	placed, err := wsp.ReadPartsAt(file, 4, int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	r := wsp.NewReader(iotest.OneByteReader(bytes.NewReader(whole)))
	for i, body := range bodies {
		p, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != body || p.Offset != table[i].Offset || p.FileName() != fmt.Sprint(i) || len(p.ContentLocation()) != 5000 {
			t.Fatalf("part %d: %d octets at %d, %v", i, len(got), p.Offset, err)
		}
		got, err = io.ReadAll(placed[i].Open(file))
		if err != nil || string(got) != body || placed[i].Offset != table[i].Offset+4 {
			t.Fatalf("part %d in a file: %d octets at %d, %v", i, len(got), placed[i].Offset, err)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("behind the end: %v", err)
	}
	skipping := wsp.NewReader(bytes.NewReader(whole))
	n := 0
	for ; ; n++ {
		if _, err := skipping.Next(); err != nil {
			break
		}
	}
	if n != len(bodies) {
		t.Errorf("skipping over data finds %d parts", n)
	}
	for cut := range len(whole) - 1 {
		if cut > 40 && cut < len(whole)-40 {
			continue
		}
		if err := drain(bytes.NewReader(whole[:cut])); err == nil {
			t.Errorf("cut at %d is not noticed", cut)
		}
	}
}

// drain reads a structure to its end.
func drain(in io.Reader) error {
	r := wsp.NewReader(in)
	for {
		if _, err := r.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			return err
		}
	}
}

func TestReaderFaults(t *testing.T) {
	for _, tc := range []struct{ name, octets, want string }{
		{"nothing", "", "octet 0, count of parts: no number of parts in 0 octets"},
		{"too many", "8200", "octet 0, count of parts: 256 parts, 255 are allowed"},
		{"none of them there", "01", "octet 1, part 1: 1 parts are announced, none is there"},
		{"head cut", "01 05 05 83", "octet 1, part 1: its head runs past the end, 3 octets left"},
		{"large headers", "01 8100 01 01", "octet 1, part 1: its head runs past the end, 4 octets left"},
		{"headers beyond the bound", "01 828000 01 83", "octet 1, part 1: headers of 32768 octets, 16384 are allowed"},
		{"data cut", "01 01 05 83 'abc'", "unexpected EOF"},
		{"length is no uintvar", "01 FFFFFFFFFF 01", "octet 1, part 1: the length of its headers is no uintvar"},
		{"data length is no uintvar", "01 01 FFFFFFFFFF 01", "octet 1, part 1: the length of its data is no uintvar"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := drain(bytes.NewReader(unhex(t, tc.octets))); err == nil || err.Error() != tc.want {
				t.Errorf("%v", err)
			}
		})
	}
	if err := drain(io.MultiReader(bytes.NewReader(unhex(t, "01 01 05 83 'a'")), iotest.ErrReader(io.ErrClosedPipe))); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a stream that fails: %v", err)
	}
	if err := drain(bytes.NewReader(unhex(t, "02 01 01 83 'a'"))); err != nil {
		t.Errorf("one whole part of two: %v", err)
	}
}

func TestWriterFaults(t *testing.T) {
	if _, err := wsp.NewWriter(io.Discard, 256); err == nil {
		t.Error("256 parts")
	}
	w, err := wsp.NewWriter(io.Discard, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil {
		t.Error("a part is missing")
	}
	if err := w.Part(wsp.Media("a/b"), nil, strings.NewReader("ab"), 3); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short data: %v", err)
	}
	if err := w.Part(wsp.Media("a/b"), nil, strings.NewReader(""), 0); err == nil {
		t.Error("one part too many")
	}
	w, err = wsp.NewWriter(io.Discard, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Part(wsp.Media("a/b"), nil, strings.NewReader("abcd"), 3); err == nil {
		t.Error("long data")
	}
	if err := w.Part(wsp.Media("a/b"), nil, strings.NewReader(""), 1<<32); err == nil {
		t.Error("a part of 4 GiB")
	}
	if err := w.Part(wsp.Media("a/b"), []wsp.Header{header(t, "X", strings.Repeat("x", 20000))}, strings.NewReader(""), 0); err == nil {
		t.Error("headers of 20000 octets")
	}
}

// Depth and number are bounded whatever is nested in what.
func TestNesting(t *testing.T) {
	inner := []byte("\x01\x01\x01\x83a")
	for range 10 {
		b, err := wsp.AppendParts(nil, []wsp.Part{{ContentType: wsp.Media(wsp.MultipartMixed), Data: inner}})
		if err != nil {
			t.Fatal(err)
		}
		inner = b
	}
	parts, err := wsp.ReadParts(inner, 0)
	if err != nil {
		t.Fatal(err)
	}
	depth := 0
	for ; len(parts) > 0; parts = parts[0].Parts {
		depth++
	}
	if depth != wsp.MaxDepth {
		t.Errorf("%d deep", depth)
	}
	var many []wsp.Part
	for range 16 {
		many = append(many, wsp.Part{ContentType: wsp.Media("a/b")})
	}
	body, err := wsp.AppendParts(nil, many)
	if err != nil {
		t.Fatal(err)
	}
	for i := range many {
		many[i] = wsp.Part{ContentType: wsp.Media(wsp.MultipartMixed), Data: body}
	}
	if body, err = wsp.AppendParts(nil, many); err != nil {
		t.Fatal(err)
	}
	if parts, err = wsp.ReadParts(body, 0); err == nil {
		t.Errorf("%d parts with 16 in each are more than %d", len(parts), wsp.MaxParts)
	}
}

func FuzzReadContentType(f *testing.F) {
	f.Add(unhex(f, "1B B3 89 'application/smil' 00 8A '<AAAA>' 00"))
	f.Add(unhex(f, "1E 'text/plain' 00 'charset' 00 'iso-8859-1' 00"))
	f.Add(unhex(f, "13 83 80 0B 82 92 96 85 93 04 6553F100 90 00 88 81 87 8E"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, n, err := wsp.ReadContentType(b)
		if err != nil {
			return
		}
		if n <= 0 || n > len(b) || !bytes.Equal(c.Append(nil), b[:n]) {
			t.Fatalf("%d octets of %d", n, len(b))
		}
		text, ok := c.Mail()
		if !ok {
			return
		}
		back, err := wsp.ParseContentType(text)
		if err != nil {
			t.Fatal(err)
		}
		again, m, err := wsp.ReadContentType(back.Append(nil))
		if err != nil || m != len(back.Append(nil)) {
			t.Fatalf("%q is built as %x: %v", text, back.Append(nil), err)
		}
		if once, _ := again.Mail(); strings.Count(once, ";") != strings.Count(text, ";") {
			t.Fatalf("%q becomes %q", text, once)
		}
	})
}

func FuzzReadHeaders(f *testing.F) {
	f.Add(unhex(f, "C0 '\"<text0>' 00 8E 'text0.txt' 00 AE 0F 81 86 'IMG_6807.jpg' 00"))
	f.Add(unhex(f, "C5 06 82 98 'x.y' 00 D5 03 010203 8C 99 7F 02 8D 85 01 8D 85 0000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := wsp.ReadHeaders(b)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("more than one line: %q", err)
			}
			return
		}
		for _, h := range list {
			text, ok := h.Text()
			if !ok {
				continue
			}
			built, err := wsp.NewHeader(h.Name(), text)
			if err != nil {
				continue // an application header with a name that nobody should write
			}
			if back, ok := built.Text(); h.Code != 0 && (!ok || strings.TrimSpace(back) == "" != (strings.TrimSpace(text) == "")) {
				t.Fatalf("%s %q (%x) becomes %q (%x)", h.Name(), text, h.Wire, back, built.Wire)
			}
		}
	})
}

func FuzzReadParts(f *testing.F) {
	f.Add(unhex(f, "01 01 05 A6 01 01 01 83 'a'"))
	f.Add(unhex(f, "02 03 01 83 0000 'a' 04 01 83 8E 'xy' 'b'"))
	f.Fuzz(func(t *testing.T, b []byte) {
		parts, err := wsp.ReadParts(b, 0)
		placed, placedErr := wsp.ReadPartsAt(bytes.NewReader(b), 0, int64(len(b)))
		if (err == nil) != (placedErr == nil) || len(parts) != len(placed) {
			t.Fatalf("in memory %v, in a file %v", err, placedErr)
		}
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("more than one line: %q", err)
			}
			return
		}
		if err := drain(bytes.NewReader(b)); err != nil {
			t.Fatalf("in memory it is sound, off a stream: %v", err)
		}
		again, err := wsp.AppendParts(nil, parts)
		if err != nil {
			t.Fatal(err)
		}
		back, err := wsp.ReadParts(again, 0)
		if err != nil || len(back) != len(parts) {
			t.Fatalf("%x is written as %x: %v", b, again, err)
		}
		for i := range back {
			if !bytes.Equal(back[i].Data, parts[i].Data) || len(back[i].Headers) != len(parts[i].Headers) {
				t.Fatalf("part %d differs", i)
			}
		}
	})
}

func FuzzCharset(f *testing.F) {
	for mib, text := range map[uint32]string{106: "C3A9", 1012: "2B4A6A6F2D", 37: "0E47510F", 1015: "FFFE4100", 2025: "D6D0", 39: "1B2442467C"} {
		f.Add(mib, unhex(f, text))
	}
	f.Fuzz(func(t *testing.T, mib uint32, b []byte) {
		c := wsp.Charset(mib)
		text, exact := c.Decode(b)
		if !utf8.ValidString(text) {
			t.Fatalf("%v of %x gives %q", c, b, text)
		}
		if back, ok := wsp.ParseCharset(c.String()); !ok || back != c {
			t.Fatalf("%v is read as %v", c, back)
		}
		if octets, ok := c.Encode(text); ok && exact {
			if again, _ := c.Decode(octets); again != text && !strings.ContainsRune(text, '\uFEFF') {
				t.Fatalf("%v: %q becomes %q", c, text, again)
			}
		}
	})
}
