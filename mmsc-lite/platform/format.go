package platform

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"io"
	"time"
)

// jpegFacts are what the headers of a JPEG tell beyond its dimensions.
type jpegFacts struct {
	baseline    bool // sequential Huffman, 8 bits, one or three components
	orientation int  // EXIF 0x0112, 1 to 8
	scans       int
}

// maxScans bounds the passes over a progressive JPEG: a few octets are enough for
// a scan that costs a walk over the whole picture.
const maxScans = 100

// scanJPEG walks over the segments before the first scan (ITU-T T.81 B.2).
func scanJPEG(b []byte) jpegFacts {
	f := jpegFacts{orientation: 1, scans: bytes.Count(b, []byte{0xFF, 0xDA})} // within a scan, 00 or a restart follows FF
	for i := 2; i+4 <= len(b) && b[i] == 0xFF; {
		marker := b[i+1]
		if marker == 0xFF { // fill octet
			i++
			continue
		}
		n := int(binary.BigEndian.Uint16(b[i+2:]))
		if marker == 0xDA || n < 2 || i+2+n > len(b) {
			return f
		}
		switch segment := b[i+4 : i+2+n]; {
		case (marker == 0xC0 || marker == 0xC1) && len(segment) > 5:
			f.baseline = segment[0] == 8 && (segment[5] == 1 || segment[5] == 3)
		case marker == 0xE1 && bytes.HasPrefix(segment, []byte("Exif\x00\x00")):
			f.orientation = exifOrientation(segment[6:])
		}
		i += 2 + n
	}
	return f
}

// exifOrientation reads the orientation out of the first directory (TIFF 6.0).
func exifOrientation(b []byte) int {
	if len(b) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.BigEndian
	if string(b[:2]) == "II" {
		order = binary.LittleEndian
	}
	at := int64(order.Uint32(b[4:]))
	if at+2 > int64(len(b)) {
		return 1
	}
	for n, e := int(order.Uint16(b[at:])), b[at+2:]; n > 0 && len(e) >= 12; n, e = n-1, e[12:] {
		if order.Uint16(e) != 0x0112 {
			continue
		}
		if v := int(order.Uint16(e[8:])); v >= 1 && v <= 8 {
			return v
		}
	}
	return 1
}

// scanGIF counts the pictures of a GIF without decoding them and says whether
// its blocks are in order and each picture is within the screen (GIF89a).
func scanGIF(b []byte, width, height int) (frames int, ok bool) {
	if len(b) < 13 {
		return 0, false
	}
	i := 13
	if b[10]&0x80 != 0 {
		i += 3 << (b[10]&7 + 1)
	}
	for i < len(b) {
		switch b[i] {
		case 0x3B:
			return frames, frames > 0
		case 0x21:
			i += 2
		case 0x2C:
			if i+11 > len(b) {
				return frames, false
			}
			le := binary.LittleEndian.Uint16
			if int(le(b[i+1:]))+int(le(b[i+5:])) > width || int(le(b[i+3:]))+int(le(b[i+7:])) > height {
				return frames, false
			}
			frames++
			flags := b[i+9]
			i += 11 // the descriptor and the code size
			if flags&0x80 != 0 {
				i += 3 << (flags&7 + 1)
			}
		default:
			return frames, false
		}
		for { // sub-blocks
			if i >= len(b) {
				return frames, false
			}
			n := int(b[i])
			i += 1 + n
			if n == 0 {
				break
			}
		}
	}
	return frames, false
}

// wbmpHead reads the head of a WBMP of type 0 (WAP-237-WAEMT 6): how many octets
// it has and the dimensions.
func wbmpHead(r io.Reader) (w, h int, err error) {
	var b [1]byte
	next := func() int {
		if err == nil {
			_, err = io.ReadFull(r, b[:])
		}
		return int(b[0])
	}
	if kind := next(); err == nil && kind != 0 {
		return 0, 0, errPicture
	}
	for next()&0x80 != 0 && err == nil { // fixed header, extension octets
	}
	number := func() (v int) {
		for range 3 { // 21 bits: far beyond what is decoded
			c := next()
			if v = v<<7 | c&0x7F; c&0x80 == 0 {
				return v
			}
		}
		err = errPicture
		return 0
	}
	w, h = number(), number()
	return w, h, err
}

func wbmpConfig(r io.Reader) (image.Config, error) {
	w, h, err := wbmpHead(r)
	return image.Config{ColorModel: color.GrayModel, Width: w, Height: h}, err
}

func wbmpDecode(r io.Reader) (image.Image, error) {
	w, h, err := wbmpHead(r)
	if err != nil {
		return nil, err
	}
	img := image.NewGray(image.Rect(0, 0, w, h))
	row := make([]byte, (w+7)/8)
	for y := range h {
		if _, err := io.ReadFull(r, row); err != nil {
			return nil, err
		}
		for x := range w {
			if row[x/8]&(0x80>>(x%8)) != 0 {
				img.Pix[y*img.Stride+x] = 0xFF
			}
		}
	}
	return img, nil
}

// amrSizes are the octets behind the head of a frame, by its type (RFC 4867 5.3).
var amrSizes = [16]int{12, 13, 15, 17, 19, 20, 26, 31, 5}

// amrDuration gives how long an AMR-NB sound plays, 0 if it is none.
func amrDuration(b []byte) time.Duration {
	b, ok := bytes.CutPrefix(b, []byte("#!AMR\n"))
	if !ok {
		return 0
	}
	var frames time.Duration
	for len(b) > 0 {
		n := 1 + amrSizes[b[0]>>3&0xF]
		if n > len(b) {
			break
		}
		b = b[n:]
		frames++
	}
	return frames * 20 * time.Millisecond
}
