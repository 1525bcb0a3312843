package platform_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
)

// small keeps what one input can cost low, so that many are tried.
func small(o *platform.Options) {
	o.Config.Input.Pixels, o.Config.Input.Size = 1<<16, 1<<20
}

// compose holds what is true whatever the input: an *Error, or messages that can
// be read again and are of the class.
func compose(t *testing.T, p *platform.Platform, r platform.Request) {
	t.Helper()
	res, err := p.Compose(context.Background(), r)
	var e *platform.Error
	switch {
	case errors.As(err, &e):
		if e.Kind == platform.Interrupted {
			t.Errorf("an input took longer than the whole time: %v", err)
		}
	case err != nil || len(res.Messages) == 0 || len(res.Messages) > 3:
		t.Fatal(res, err)
	default:
		for _, m := range res.Messages {
			look(t, r, m, res.Notes)
		}
	}
}

// Any octets under any type and name.
func FuzzContent(f *testing.F) {
	for _, s := range []struct {
		kind, name string
		data       []byte
	}{
		{"text/plain; charset=utf-16", "a.txt", []byte("\xff\xfea\x00")}, {"text/html", "a.html", []byte("<p>a<b>c")}, {"image/jpeg", "", turned(asJPEG(f, flat(200, 100), 50), 6)},
		{"", "a.gif", animation(f, 10, 10, 2)}, {"image/vnd.wap.wbmp", "", []byte{0, 0, 8, 1, 0xAA}}, {"", "x.png", asPNG(f, flat(9, 9))}, {"", "", []byte("II*\x00\x08\x00\x00\x00")},
		{"", "", []byte("RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00")}, {"audio/amr", "", amr(2)}, {"application/zip", "", zipped(f, file{"a.txt", []byte("x")})},
		{"multipart/mixed; boundary=b", "", mail("\r\nx", "Content-Type: text/html\r\n\r\n<i>y")}, {"application/vnd.wap.multipart.mixed", "", []byte{1, 1, 1, 0x83, 'x'}},
		{"application/vnd.wap.mms-message", "", []byte{0x8C, 0x80, 0x98, '1', 0, 0x8D, 0x92, 0x89, 1, 0x81, 0x84, 0xA3, 1, 1, 1, 0x83, 'x'}},
		{"application/vnd.oma.drm.message", "", []byte("x")}, {"text/x-vcard", "", []byte("BEGIN:VCARD")}, {"text/uri-list", "", []byte("http://127.0.0.1/")},
	} {
		f.Add(s.kind, s.name, s.data)
	}
	p := newPlatform(f, small)
	f.Fuzz(func(t *testing.T, kind, name string, data []byte) {
		for _, class := range []string{"image-basic", "content-basic"} {
			compose(t, p, request(class, platform.Item{Type: kind, Name: name, Data: data}))
		}
	})
}

func FuzzZip(f *testing.F) {
	f.Add(zipped(f, file{"a.txt", []byte("x")}, file{"b/c.smil", []byte(`<smil><body><par><text src="a.txt"/></par></body></smil>`)}))
	f.Add(zipped(f, file{"z.zip", zipped(f, file{"a.gif", animation(f, 5, 5, 2)})}))
	p := newPlatform(f, small)
	f.Fuzz(func(t *testing.T, data []byte) {
		compose(t, p, request("image-basic", platform.Item{Type: "application/zip", Data: data}))
	})
}

func FuzzSMIL(f *testing.F) {
	f.Add([]byte(`<smil><head><layout><root-layout width="160px" height="200"/><region id="Text" left="0"/></layout></head><body><par dur="2s"><text src="a.txt" region="Text" alt="x"/></par></body></smil>`))
	f.Add([]byte(`<!DOCTYPE smil [<!ENTITY a "b">]><SMIL><PAR DUR=1:02><IMG SRC=cid:i></PAR>`))
	p := newPlatform(f, small)
	picture := animation(f, 5, 5, 2)
	f.Fuzz(func(t *testing.T, smil []byte) {
		r := request("image-basic", platform.Item{Name: "a.txt", Type: "text/plain", Data: []byte("x")}, platform.Item{Name: "i.gif", ID: "i", Data: picture})
		r.Content.SMIL = smil
		compose(t, p, r)
	})
}

func FuzzHTML(f *testing.F) {
	f.Add(`<html><head><title>T</title><style>x</style></head><body><p>a<br>b<ul><li><a href="http://x/">c</a></ul><pre> d  e</pre><img alt="f">`)
	f.Add(strings.Repeat("<div><svg>", 200))
	f.Fuzz(func(t *testing.T, page string) {
		text, title := platform.HTMLText(page)
		if utf8.ValidString(page) && (!utf8.ValidString(text) || !utf8.ValidString(title)) {
			t.Error("not UTF-8")
		}
		if len(text) > 8*len(page)+16 || utf8.RuneCountInString(title) > 200 {
			t.Errorf("%d octets of HTML became %d of text", len(page), len(text))
		}
	})
}
