package platform_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/color/palette"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
)

func newPlatform(t testing.TB, change func(*platform.Options)) *platform.Platform {
	t.Helper()
	o := platform.Options{Config: platform.DefaultConfig(), Metrics: prometheus.NewRegistry()}
	if change != nil {
		change(&o)
	}
	p, err := platform.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// request asks for a message of loose items in a class.
func request(class string, items ...platform.Item) platform.Request {
	return platform.Request{From: "1234", To: []string{"+46701234567"}, Content: platform.Content{Items: items},
		Limits: platform.Limits{Class: class}, TransactionID: "t1"}
}

// made is a message as a handset would see it.
type made struct {
	pdu   *mms.PDU
	octet int
	notes []platform.Note
	smil  string
}

func (m *made) part(t testing.TB, name string) *wsp.Part {
	t.Helper()
	for i := range m.pdu.Parts {
		if m.pdu.Parts[i].FileName() == name {
			return &m.pdu.Parts[i]
		}
	}
	t.Fatalf("no part %s among %s", name, m.names())
	return nil
}

func (m *made) names() string {
	var out []string
	for i := range m.pdu.Parts {
		out = append(out, m.pdu.Parts[i].ContentType.Type+":"+m.pdu.Parts[i].FileName())
	}
	return strings.Join(out, " ")
}

func (m *made) noted(s platform.Step) bool {
	for _, n := range m.notes {
		if n.Step == s {
			return true
		}
	}
	return false
}

// all composes, encodes and decodes again, and holds what is true of every
// message: it is within the size, its pictures are within the dimensions, every
// reference of its SMIL leads to a part.
func all(t testing.TB, p *platform.Platform, r platform.Request) []*made {
	t.Helper()
	res, err := p.Compose(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	var out []*made
	for _, msg := range res.Messages {
		out = append(out, look(t, r, msg, res.Notes))
	}
	return out
}

func look(t testing.TB, r platform.Request, msg *platform.Message, notes []platform.Note) *made {
	t.Helper()
	pdu, err := msg.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := msg.Size(); err != nil || n != int64(len(pdu)) {
		t.Errorf("Size says %d, %v; encoded are %d", n, err, len(pdu))
	}
	d, err := mms.Decode(pdu)
	if err == nil {
		err = d.Check()
	}
	if err != nil {
		t.Fatalf("the message can't be read: %v", err)
	}
	name := r.Limits.Class
	if name == "" {
		name = platform.DefaultConfig().Class
	}
	class, ok := platform.DefaultConfig().Classes[name]
	if !ok {
		t.Fatalf("class %q", name)
	}
	if int64(len(pdu)) > int64(class.Size) || r.Limits.Size > 0 && int64(len(pdu)) > r.Limits.Size {
		t.Errorf("%d octets in class %s", len(pdu), name)
	}
	m := &made{pdu: d, octet: len(pdu), notes: notes}
	names := make(map[string]bool)
	for i := range d.Parts {
		part := &d.Parts[i]
		if names[part.ContentLocation()] || part.ContentLocation() == "" {
			t.Errorf("name %q twice or empty", part.ContentLocation())
		}
		names[part.ContentLocation()] = true
		if part.ContentType.Is("application/smil") {
			m.smil = string(part.Data)
		}
		if class.MaxWidth > 0 && strings.HasPrefix(part.ContentType.Type, "image/") && !part.ContentType.Is("image/vnd.wap.wbmp") {
			cfg, form, err := image.DecodeConfig(bytes.NewReader(part.Data))
			if err != nil || cfg.Width > class.MaxWidth || cfg.Height > class.MaxHeight || "image/"+form != part.ContentType.Type {
				t.Errorf("%s: %s of %d by %d, %v, in class %s", part.FileName(), form, cfg.Width, cfg.Height, err, name)
			}
		}
	}
	for _, ref := range strings.Split(m.smil, `src="`)[1:] {
		if src, _, _ := strings.Cut(ref, `"`); !names[src] {
			t.Errorf("the SMIL refers to %q, which is none of %v", src, names)
		}
	}
	return m
}

func one(t testing.TB, p *platform.Platform, r platform.Request) *made {
	t.Helper()
	list := all(t, p, r)
	if len(list) != 1 {
		t.Fatalf("%d messages, want one; %v", len(list), list[0].notes)
	}
	return list[0]
}

func refused(t testing.TB, p *platform.Platform, r platform.Request, kind platform.Kind) *platform.Error {
	t.Helper()
	_, err := p.Compose(context.Background(), r)
	var e *platform.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("%v: want kind %d", err, kind)
	}
	return e
}

// noise is a picture that packs badly.
func noise(w, h int) *image.RGBA {
	r := rand.New(rand.NewPCG(uint64(w), uint64(h)))
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range img.Pix {
		img.Pix[i] = byte(r.Uint32())
		if i%4 == 3 {
			img.Pix[i] = 0xFF
		}
	}
	return img
}

// flat is a picture of two halves, left red and right blue.
func flat(w, h int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.RGBA{255, 0, 0, 255}
			if x >= w/2 {
				c = color.RGBA{0, 0, 255, 255}
			}
			img.SetRGBA(x, y, c)
		}
	}
	return img
}

func asJPEG(t testing.TB, img image.Image, quality int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asPNG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func animation(t testing.TB, w, h, frames int) []byte {
	t.Helper()
	g := &gif.GIF{}
	for i := range frames {
		m := image.NewPaletted(image.Rect(0, 0, w, h), palette.WebSafe)
		r := rand.New(rand.NewPCG(1, uint64(i)))
		for j := range m.Pix {
			m.Pix[j] = byte(r.IntN(200))
		}
		g.Image, g.Delay = append(g.Image, m), append(g.Delay, 10)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// turned puts an EXIF orientation into a JPEG.
func turned(jpg []byte, orientation uint16) []byte {
	e := []byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01")
	e = binary.BigEndian.AppendUint16(e, orientation)
	e = append(e, 0, 0, 0, 0, 0, 0)
	out := append([]byte{0xFF, 0xD8, 0xFF, 0xE1}, binary.BigEndian.AppendUint16(nil, uint16(len(e)+2))...)
	return append(append(out, e...), jpg[2:]...)
}

// amr is a sound of n frames of 20 ms.
func amr(n int) []byte {
	return append([]byte("#!AMR\n"), bytes.Repeat(append([]byte{0x3C}, make([]byte, 31)...), n)...)
}

func text(s string) platform.Item {
	return platform.Item{Type: "text/plain; charset=utf-8", Data: []byte(s)}
}
