package platform_test

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/color/palette"
	"os"
	"strings"
	"testing"

	"golang.org/x/image/bmp"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
)

func TestTexts(t *testing.T) {
	p := newPlatform(t, nil)
	for name, tt := range map[string]struct{ kind, data, want string }{
		"utf-8":           {"text/plain", "Grüße", "Grüße"},
		"mark":            {"text/plain", "\xef\xbb\xbfx", "x"},
		"utf-16 by mark":  {"text/plain", "\xff\xfeG\x00\xfc\x00", "Gü"},
		"latin-1":         {"text/plain; charset=ISO-8859-1", "Gr\xfc\xdfe", "Grüße"},
		"undeclared":      {"text/plain", "Gr\xfc\xdfe \x80", "Grüße €"},
		"koi8":            {"text/plain; charset=koi8-r", "\xf0\xd2\xc9\xd7\xc5\xd4", "Привет"},
		"web name":        {"text/plain; charset=x-sjis", "\x83e\x83X\x83g", "テスト"},
		"wrong charset":   {"text/plain; charset=utf-8", "a\xffb", "a\uFFFDb"},
		"lines":           {"text/plain", "a\r\nb\rc\x00\x07", "a\nb\nc"},
		"override":        {"text/plain", "a\u202Eb", "ab"},
		"csv":             {"text/csv", "a,b", "a,b"},
		"html":            {"text/html", "<h1>A</h1><p>one<br>two &amp;amp; three<ul><li>x<li>y</ul><script>no()</script>", "A\n\none\ntwo &amp; three\n\n- x\n- y"},
		"link":            {"text/html", `See <a href="https://e.example/x">here</a> and <a href="http://e.example/">e.example</a>, <a href="javascript:x">no</a>`, "See here (https://e.example/x) and e.example (http://e.example/), no"},
		"picture's text":  {"text/html", `<img alt="A cat" src=x>purrs`, "[A cat] purrs"},
		"pre":             {"text/html", "<pre>a  b\n c</pre>", "a  b\n c"},
		"table":           {"text/html", "<table><tr><td>a<td>b<tr><td>c</table>", "a b\nc"},
		"meta charset":    {"text/html", "<meta charset=iso-8859-2>\xb3", "ł"},
		"never closed":    {"text/html", "<p>a<style>x", "a"},
		"nested hidden":   {"text/html", "a<svg><svg></svg>hidden</svg>b", "ab"},
		"wml":             {"text/vnd.wap.wml", "<wml><card><p>Hi</p></card></wml>", "Hi"},
		"type is missing": {"", "plain", "plain"},
	} {
		t.Run(name, func(t *testing.T) {
			m := one(t, p, request("text", platform.Item{Type: tt.kind, Data: []byte(tt.data), Name: "t.txt"}))
			if got := string(m.part(t, "t.txt").Data); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestKindsOfPictures(t *testing.T) {
	var bitmap bytes.Buffer
	if err := bmp.Encode(&bitmap, flat(40, 30)); err != nil {
		t.Fatal(err)
	}
	webp, err := base64.StdEncoding.DecodeString("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==") // one pixel
	if err != nil {
		t.Fatal(err)
	}
	bits := append([]byte{0, 0, 0x82, 0x2C, 0x81, 0x48}, make([]byte, 38*200)...) // 300 by 200, black
	for name, data := range map[string][]byte{"a.bmp": bitmap.Bytes(), "a.webp": webp, "a.wbmp": bits} {
		m := one(t, newPlatform(t, nil), request("image-basic", platform.Item{Name: name, Data: data, Type: map[string]string{"a.wbmp": "image/vnd.wap.wbmp"}[name]}))
		if !m.noted(platform.Converted) || m.part(t, "a.jpg").ContentType.Type != "image/jpeg" {
			t.Errorf("%s: %s, %v", name, m.names(), m.notes)
		}
	}
	drawing := image.NewPaletted(image.Rect(0, 0, 120, 90), palette.Plan9)
	for i := range drawing.Pix {
		drawing.Pix[i] = byte(i / 7 % 5)
	}
	m := one(t, newPlatform(t, nil), request("image-basic", platform.Item{Name: "d.png", Data: asPNG(t, drawing)}))
	if m.part(t, "d.gif").ContentType.Type != "image/gif" {
		t.Errorf("a drawing became %s", m.names())
	}
}

func TestTypesThatAreWrong(t *testing.T) {
	p := newPlatform(t, nil)
	for name, tt := range map[string]struct {
		kind string
		data []byte
		want string
	}{
		"sound as text": {"text/plain", amr(3), "audio/amr:n.amr"}, "picture as text": {"text/plain", animation(t, 9, 9, 2), "image/gif:n.gif"},
		"picture as sound": {"audio/amr", animation(t, 9, 9, 2), "image/gif:n.gif"}, "old name": {"audio/x-amr", []byte("raw"), "audio/amr:n.amr"},
		"no type at all": {"rubbish", []byte("text"), "text/plain:n.txt"}, "video unknown": {"application/octet-stream", []byte("\x00\x00\x00\x18ftyp3gp5...."), "video/3gpp:n.3gp"},
	} {
		m := one(t, p, request("video-rich", platform.Item{Name: "n", Type: tt.kind, Data: tt.data}))
		if !strings.Contains(m.names(), tt.want) {
			t.Errorf("%s: %s", name, m.names())
		}
	}
}

// The file is a gradient of 64 by 48 pixels, ours, made with cjpeg -progressive.
func TestProgressiveBecomesBaseline(t *testing.T) {
	data, err := os.ReadFile("testdata/progressive.jpg")
	if err != nil {
		t.Fatal(err)
	}
	scan := data[bytes.LastIndex(data, []byte{0xFF, 0xDA}) : len(data)-2]
	again := append(bytes.Clone(data[:len(data)-2]), bytes.Repeat(scan, 200)...)
	if err := refused(t, newPlatform(t, nil), request("image-basic", platform.Item{Data: append(again, 0xFF, 0xD9)}), platform.Unusable); !strings.Contains(err.Error(), "scans") {
		t.Errorf("many scans: %v", err)
	}
	m := one(t, newPlatform(t, nil), request("image-basic", platform.Item{Name: "p.jpg", Data: data}))
	got := m.part(t, "p.jpg").Data
	if !m.noted(platform.Converted) || bytes.Contains(got, []byte{0xFF, 0xC2}) || !bytes.Contains(got, []byte{0xFF, 0xC0, 0, 17, 8, 0, 48, 0, 64, 3}) {
		t.Errorf("no baseline JPEG of three components: %v", m.notes)
	}
	if r, _, b, _ := decoded(t, got).At(32, 2).RGBA(); r < 0xB000 || b > 0x5000 {
		t.Errorf("the top is not red: %x %x", r, b)
	}
	if m := one(t, newPlatform(t, nil), request("content-basic", platform.Item{Name: "p.jpg", Data: data})); !bytes.Equal(m.part(t, "p.jpg").Data, data) {
		t.Error("touched in a class that takes all")
	}
}
