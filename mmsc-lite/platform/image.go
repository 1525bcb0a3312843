package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/bmp"
	"golang.org/x/image/draw"
	"golang.org/x/image/webp"
)

// codec reads one format.
type codec struct {
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

// codecOf gives the reader of a type. The formats are named here and not found
// in the registry of package image, so that an import elsewhere adds none. TIFF is
// not among them: a file of one-pixel tiles keeps its decoder busy for minutes.
func codecOf(media string) (codec, bool) {
	switch media {
	case jpegType:
		return codec{jpeg.DecodeConfig, jpeg.Decode}, true
	case pngType:
		return codec{png.DecodeConfig, png.Decode}, true
	case gifType:
		return codec{gif.DecodeConfig, gif.Decode}, true // the first picture
	case "image/bmp":
		return codec{bmp.DecodeConfig, bmp.Decode}, true
	case "image/webp":
		return codec{webp.DecodeConfig, webp.Decode}, true
	case wbmpType:
		return codec{wbmpConfig, wbmpDecode}, true
	}
	return codec{}, false
}

// rung is one way to encode a picture smaller than the one before. Quality goes
// first, since a phone shows dimensions better than it shows sharpness.
type rung struct{ quality, percent int }

var ladder = [...]rung{{85, 100}, {75, 100}, {65, 100}, {55, 100}, {45, 100}, {60, 75}, {45, 75}, {55, 50}, {45, 50}, {50, 38}, {45, 25}, {40, 15}}

// picture is an image that can be made smaller.
type picture struct {
	source        []byte
	media         string
	width, height int // as shown
	boxW, boxH    int // what it has to fit in; 0: anything
	orientation   int // of EXIF
	animated      bool
	asIs          bool // the source may go as it is
}

// encoded is a picture on a rung.
type encoded struct {
	data  []byte
	media string
	rung  int
}

var errPicture = errors.New("the picture can't be read")

// openPicture looks at a picture without decoding it. Its dimensions are checked
// before anything of their size is allocated.
func openPicture(data []byte, media string, class Class, boxW, boxH int, in InputConfig) (*picture, error) {
	c, ok := codecOf(media)
	if !ok {
		return nil, fmt.Errorf("%s can't be converted", media)
	}
	var cfg image.Config
	err := guarded(func() (err error) { cfg, err = c.config(bytes.NewReader(data)); return err })
	if err != nil || cfg.Width <= 0 || cfg.Height <= 0 {
		return nil, errPicture
	}
	if cfg.Width > in.Pixels || cfg.Height > in.Pixels || cfg.Width*cfg.Height > in.Pixels {
		return nil, fmt.Errorf("%d by %d pixels are more than %d", cfg.Width, cfg.Height, in.Pixels)
	}
	p := &picture{source: data, media: media, width: cfg.Width, height: cfg.Height, boxW: boxW, boxH: boxH, orientation: 1}
	p.asIs = class.takes(media)
	switch media {
	case jpegType:
		j := scanJPEG(data)
		if j.scans > maxScans {
			return nil, fmt.Errorf("a JPEG of %d scans", j.scans)
		}
		p.orientation = j.orientation
		// Core media is baseline JPEG (OMA-MMS-CONF), and phones do not turn pictures by EXIF.
		p.asIs = p.asIs && (class.free() || j.baseline && j.orientation <= 1)
	case gifType:
		frames, ok := scanGIF(data, cfg.Width, cfg.Height)
		p.animated = frames > 1
		p.asIs = p.asIs && ok && frames <= in.Frames
	}
	if p.orientation > 4 {
		p.width, p.height = p.height, p.width
	}
	p.asIs = p.asIs && (boxW == 0 || p.width <= boxW && p.height <= boxH)
	return p, nil
}

// guarded runs a decoder. Decoders of rarely used formats have been seen to
// panic on hostile input; that is the input's fault and ends there.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errPicture
		}
	}()
	return f()
}

// first gives the picture as it goes out if nothing has to be saved: the source,
// decoded once to know that it is whole, or the top of the ladder.
func (p *picture) first(ctx context.Context, s slots) (encoded, error) {
	if p.asIs {
		if err := s.run(ctx, func() error { _, err := p.decode(); return err }); err != nil {
			return encoded{}, err
		}
		return encoded{p.source, p.media, -1}, nil
	}
	return p.climb(ctx, s, 1<<62)
}

// climb gives the best rung within room octets; if none is, the last.
func (p *picture) climb(ctx context.Context, s slots, room int64) (encoded, error) {
	if p.asIs && int64(len(p.source)) <= room {
		return encoded{p.source, p.media, -1}, nil
	}
	var best encoded
	err := s.run(ctx, func() error {
		img, err := p.decode()
		if err != nil {
			return err
		}
		if paletted, ok := img.(*image.Paletted); ok && p.orientation <= 1 && room > 0 {
			if e, ok := p.keepPalette(paletted, room); ok {
				best = e
				return nil
			}
		}
		base := p.fit(img)
		low, high := 0, len(ladder)-1
		if room <= 0 {
			low = high
		}
		for low < high {
			if err := ctx.Err(); err != nil {
				return err
			}
			mid := (low + high) / 2
			data, err := encodeRung(base, ladder[mid])
			if err != nil {
				return err
			}
			if int64(len(data)) <= room {
				high, best = mid, encoded{data, jpegType, mid}
			} else {
				low = mid + 1
			}
		}
		if best.data == nil || best.rung != low {
			data, err := encodeRung(base, ladder[low])
			best = encoded{data, jpegType, low}
			return err
		}
		return nil
	})
	return best, err
}

// keepPalette encodes drawings as GIF where that is within the room and no
// larger than what JPEG makes of them.
func (p *picture) keepPalette(img *image.Paletted, room int64) (encoded, bool) {
	b := img.Bounds()
	if p.boxW > 0 && (b.Dx() > p.boxW || b.Dy() > p.boxH) || !opaque(img) {
		return encoded{}, false
	}
	var buf bytes.Buffer
	if err := gif.Encode(&buf, img, nil); err != nil || int64(buf.Len()) > room {
		return encoded{}, false
	}
	jpg, err := encodeRung(p.fit(img), ladder[0])
	if err != nil || len(jpg) < buf.Len() {
		return encoded{}, false
	}
	return encoded{buf.Bytes(), gifType, 0}, true
}

func opaque(img image.Image) bool {
	o, ok := img.(interface{ Opaque() bool })
	return ok && o.Opaque()
}

func (p *picture) decode() (image.Image, error) {
	c, _ := codecOf(p.media) // openPicture has found it
	var img image.Image
	err := guarded(func() (err error) { img, err = c.decode(bytes.NewReader(p.source)); return err })
	if err != nil || img == nil || img.Bounds().Empty() {
		return nil, errPicture
	}
	if b := img.Bounds(); p.media == gifType && (b.Min != image.Point{} || b.Dx() != p.width || b.Dy() != p.height) {
		canvas := image.NewRGBA(image.Rect(0, 0, p.width, p.height)) // the first picture need not fill the screen
		draw.Draw(canvas, b, img, b.Min, draw.Src)
		return canvas, nil
	}
	return img, nil
}

// fit gives the picture upright on white, as large as the box lets it be and not
// larger than it is.
func (p *picture) fit(img image.Image) *image.RGBA {
	w, h := inside(p.width, p.height, p.boxW, p.boxH)
	if p.orientation > 4 {
		return turn(scaled(img, h, w), p.orientation)
	}
	return turn(scaled(img, w, h), p.orientation)
}

// inside gives the largest dimensions of the same shape within the box.
func inside(w, h, boxW, boxH int) (int, int) {
	if boxW == 0 || w <= boxW && h <= boxH {
		return w, h
	}
	if int64(w)*int64(boxH) > int64(h)*int64(boxW) {
		return boxW, max(1, int(int64(h)*int64(boxW)/int64(w)))
	}
	return max(1, int(int64(w)*int64(boxH)/int64(h))), boxH
}

func scaled(img image.Image, w, h int) *image.RGBA {
	dst := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(dst, dst.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	if b := img.Bounds(); b.Dx() == w && b.Dy() == h {
		draw.Draw(dst, dst.Bounds(), img, b.Min, draw.Over)
	} else {
		draw.BiLinear.Scale(dst, dst.Bounds(), img, b, draw.Over, nil)
	}
	return dst
}

// minSide keeps a picture recognisable: below it only quality goes down.
const minSide = 32

func encodeRung(base *image.RGBA, r rung) ([]byte, error) {
	if r.percent < 100 {
		b := base.Bounds()
		percent := r.percent
		if side := max(b.Dx(), b.Dy()); side*percent/100 < minSide {
			percent = min(100, (minSide*100+side-1)/side)
		}
		base = scaled(base, max(1, b.Dx()*percent/100), max(1, b.Dy()*percent/100))
	}
	var buf bytes.Buffer
	err := jpeg.Encode(&buf, base, &jpeg.Options{Quality: r.quality})
	return buf.Bytes(), err
}

// turn undoes an EXIF orientation.
func turn(src *image.RGBA, orientation int) *image.RGBA {
	if orientation <= 1 || orientation > 8 {
		return src
	}
	w, h := src.Bounds().Dx(), src.Bounds().Dy()
	dst := image.NewRGBA(image.Rect(0, 0, w, h))
	if orientation > 4 {
		dst = image.NewRGBA(image.Rect(0, 0, h, w))
	}
	for y := range h {
		for x := range w {
			tx, ty := x, y
			switch orientation {
			case 2:
				tx = w - 1 - x
			case 3:
				tx, ty = w-1-x, h-1-y
			case 4:
				ty = h - 1 - y
			case 5:
				tx, ty = y, x
			case 6:
				tx, ty = h-1-y, x
			case 7:
				tx, ty = h-1-y, w-1-x
			case 8:
				tx, ty = y, w-1-x
			}
			copy(dst.Pix[dst.PixOffset(tx, ty):][:4], src.Pix[src.PixOffset(x, y):][:4])
		}
	}
	return dst
}

// slots bound how many pictures are in memory decoded.
type slots chan struct{}

func (s slots) run(ctx context.Context, f func() error) error {
	select {
	case s <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s }()
	if err := ctx.Err(); err != nil {
		return err
	}
	return f()
}
