package services_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
)

// noise is a picture that hardly packs.
func noise(width, height int) image.Image {
	img, random := image.NewRGBA(image.Rect(0, 0, width, height)), rand.New(rand.NewPCG(1, 2))
	for i := range img.Pix {
		img.Pix[i] = uint8(random.Uint32())
		if i%4 == 3 {
			img.Pix[i] = 255
		}
	}
	return img
}

// shade is a picture that packs well.
func shade(width, height int) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			img.SetRGBA(x, y, color.RGBA{uint8(x * 255 / width), uint8(y * 255 / height), 99, 255})
		}
	}
	return img
}

func asPNG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asJPEG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// animation is a GIF of n pictures.
func animation(t testing.TB, width, height, n int) []byte {
	t.Helper()
	g := &gif.GIF{}
	for i := range n {
		p := image.NewPaletted(image.Rect(0, 0, width, height), color.Palette{color.White, color.Black})
		for x := range width {
			p.SetColorIndex(x, i%height, 1)
		}
		g.Image, g.Delay = append(g.Image, p), append(g.Delay, 20)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// box is a content class: octets of the whole message, pixels of its pictures.
type box struct{ size, width, height int }

var videoRich, imageBasic = box{300 << 10, 640, 480}, box{30 << 10, 160, 120}

// fits decodes the pictures of a message and says how many frames each has; it fails where one is beyond the box.
func (b box) fits(t testing.TB, r reply) (frames []int) {
	t.Helper()
	if len(r.pdu) > b.size {
		t.Errorf("the message has %d octets, more than %d", len(r.pdu), b.size)
	}
	for i := range r.Message.Parts {
		p := &r.Message.Parts[i]
		media := p.ContentType.Type
		if !strings.HasPrefix(media, "image/") {
			continue
		}
		n := 1
		img, format, err := image.Decode(bytes.NewReader(p.Data))
		if err == nil && format == "gif" {
			var g *gif.GIF
			if g, err = gif.DecodeAll(bytes.NewReader(p.Data)); err == nil {
				n = len(g.Image)
			}
		}
		if err != nil {
			t.Errorf("%s %s: %v", media, p.FileName(), err)
			continue
		}
		if s := img.Bounds().Size(); media != "image/"+format || max(s.X, s.Y) > max(b.width, b.height) || min(s.X, s.Y) > min(b.width, b.height) {
			t.Errorf("%s %s: %s of %d by %d, beyond %d by %d", media, p.FileName(), format, s.X, s.Y, b.width, b.height)
		}
		frames = append(frames, n)
	}
	return frames
}

// sound has the independent reader look at replies as the handsets fetched them.
func sound(t *testing.T, replies ...reply) {
	t.Helper()
	program := os.Getenv("MMSROUTER_ORACLE")
	if program == "" {
		t.Skip("MMSROUTER_ORACLE not set: no independent reader looks at the replies")
	}
	dir, parts := t.TempDir(), map[string]int{}
	var files []string
	for i, r := range replies {
		file := filepath.Join(dir, fmt.Sprintf("%d.mms", i))
		if err := os.WriteFile(file, r.pdu, 0o600); err != nil {
			t.Fatal(err)
		}
		files, parts[filepath.Base(file)] = append(files, file), len(r.Message.Parts)
	}
	out, err := exec.Command(program, files...).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	for range files {
		var doc struct {
			Input, Verdict string
			Messages       []struct {
				Type  string
				Parts []any
			}
		}
		if err := dec.Decode(&doc); err != nil {
			t.Fatalf("answer of the reader: %v; %v", err, exit)
		}
		if doc.Verdict != "ok" || len(doc.Messages) != 1 || doc.Messages[0].Type != mms.MRetrieveConf.String() || len(doc.Messages[0].Parts) != parts[doc.Input] {
			t.Errorf("%s: %s, %+v; want %d parts", doc.Input, doc.Verdict, doc.Messages, parts[doc.Input])
		}
	}
}
