package wsp

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"mime/quotedprintable"
)

// Reader reads a multipart body from a stream, one part after another, and holds
// no more than the head of one part in memory. Next goes to the next part, Read
// reads its data.
type Reader struct {
	in     *bufio.Reader
	count  int   // parts announced; -1 before the first Next
	part   int   // parts begun
	left   int64 // octets of the current part that nobody has read
	offset int64 // octets taken from the stream
}

// NewReader reads the structure that starts at the next octet of r.
func NewReader(r io.Reader) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, MaxHeaderBlock+16), count: -1}
}

// Next goes to the next part, over what is left of the current one, and gives
// its head; Offset counts from the start of the structure. After the last part
// it gives io.EOF.
func (r *Reader) Next() (*Part, error) {
	if r.count < 0 {
		if err := r.readCount(); err != nil {
			return nil, err
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, r.fail(err)
	}
	if r.part == r.count {
		return nil, io.EOF
	}
	r.part++
	p, n, err := r.head()
	if err != nil {
		return nil, err
	}
	if _, err := r.in.Discard(n); err != nil {
		return nil, r.fail(err)
	}
	r.offset += int64(n)
	p.Offset, r.left = r.offset, p.Size
	return &p, nil
}

func (r *Reader) readCount() error {
	b, err := r.in.Peek(5)
	if err != nil && err != io.EOF {
		return r.fail(err)
	}
	count, n := Uintvar(b)
	if n <= 0 {
		return r.fail(fmt.Errorf("no number of parts in %d octets", len(b)))
	}
	if count > MaxParts {
		return r.fail(fmt.Errorf("%d parts, %d are allowed", count, MaxParts))
	}
	if _, err := r.in.Discard(n); err != nil {
		return r.fail(err)
	}
	r.count, r.offset = int(count), int64(n)
	return nil
}

// head reads the head of a part, asking the stream for no more than it needs.
func (r *Reader) head() (p Part, n int, err error) {
	for want := 32; ; want = min(2*want, MaxHeaderBlock+16) {
		b, err := r.in.Peek(want)
		if err != nil && err != io.EOF {
			return p, 0, r.fail(err)
		}
		if len(b) == 0 {
			if r.part > 1 { // a count above what is there is accepted
				r.part, r.count = r.part-1, r.part-1
				return p, 0, io.EOF
			}
			return p, 0, r.fail(fmt.Errorf("%d parts are announced, none is there", r.count))
		}
		p, n, headErr := partHead(b)
		if headErr != nil {
			return p, 0, r.fail(headErr)
		}
		if n > 0 {
			// The window is the buffer of the stream: what stays is copied.
			p.own()
			return p, n, nil
		}
		if err == io.EOF || want == MaxHeaderBlock+16 {
			return p, 0, r.fail(fmt.Errorf("its head runs past the end, %d octets left", len(b)))
		}
	}
}

// Read reads the data of the current part and gives io.EOF at its end. A stream
// that ends before is io.ErrUnexpectedEOF.
func (r *Reader) Read(b []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	n, err := r.in.Read(b[:min(int64(len(b)), r.left)])
	r.left -= int64(n)
	r.offset += int64(n)
	if err == io.EOF && r.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err == io.EOF && n > 0 {
		err = nil
	}
	return n, err
}

func (r *Reader) fail(err error) error { return &PartError{r.offset, r.part, err} }

// own replaces what aliases a buffer by copies.
func (p *Part) own() {
	p.ContentType.Raw = bytes.Clone(p.ContentType.Raw)
	for i := range p.Headers {
		p.Headers[i].Wire = bytes.Clone(p.Headers[i].Wire)
	}
}

// Writer writes a multipart body to a stream. The number of parts stands first,
// so it has to be known.
type Writer struct {
	out     io.Writer
	left    int
	scratch []byte
}

// NewWriter writes the number of parts and takes that many parts.
func NewWriter(out io.Writer, parts int) (*Writer, error) {
	if parts < 0 || parts > MaxParts {
		return nil, fmt.Errorf("%d parts, 0 to %d are allowed", parts, MaxParts)
	}
	w := &Writer{out: out, left: parts}
	_, err := out.Write(AppendUintvar(nil, uint32(parts)))
	return w, err
}

// Part writes the head of a part and copies size octets of its data. Data that
// are shorter or longer are an error; the structure is broken then.
func (w *Writer) Part(c ContentType, list []Header, data io.Reader, size int64) error {
	if w.left == 0 {
		return fmt.Errorf("one part more than was announced")
	}
	head, err := AppendPartHead(w.scratch[:0], c, list, size)
	if err != nil {
		return err
	}
	w.scratch, w.left = head, w.left-1
	if _, err := w.out.Write(head); err != nil {
		return err
	}
	n, err := io.Copy(w.out, io.LimitReader(data, size))
	if err != nil {
		return err
	}
	if n < size {
		return fmt.Errorf("part of %d octets has only %d: %w", size, n, io.ErrUnexpectedEOF)
	}
	var more [1]byte
	if k, _ := data.Read(more[:]); k > 0 { // an error here is the reader's end, whatever its kind
		return fmt.Errorf("part has more than its %d octets", size)
	}
	return nil
}

// Close says whether all announced parts were written. It does not close the stream.
func (w *Writer) Close() error {
	if w.left > 0 {
		return fmt.Errorf("%d parts are missing", w.left)
	}
	return nil
}

// AppendPartHead appends what stands before the data of a part: both lengths,
// the Content-Type and the headers.
func AppendPartHead(dst []byte, c ContentType, list []Header, size int64) ([]byte, error) {
	if size < 0 || size > math.MaxUint32 {
		return dst, fmt.Errorf("part of %d octets, 0 to %d are allowed", size, uint32(math.MaxUint32))
	}
	block := c.Append(make([]byte, 0, 128))
	for _, h := range list {
		block = append(block, h.Wire...)
	}
	if len(block) > MaxHeaderBlock {
		return dst, fmt.Errorf("headers of %d octets, %d are allowed", len(block), MaxHeaderBlock)
	}
	dst = AppendUintvar(dst, uint32(len(block)))
	dst = AppendUintvar(dst, uint32(size))
	return append(dst, block...), nil
}

// AppendParts appends the multipart structure of parts whose Data are in memory.
func AppendParts(dst []byte, parts []Part) ([]byte, error) {
	if len(parts) > MaxParts {
		return dst, fmt.Errorf("%d parts, %d are allowed", len(parts), MaxParts)
	}
	dst = AppendUintvar(dst, uint32(len(parts)))
	for i, p := range parts {
		var err error
		if dst, err = AppendPartHead(dst, p.ContentType, p.Headers, int64(len(p.Data))); err != nil {
			return dst, fmt.Errorf("part %d: %w", i+1, err)
		}
		dst = append(dst, p.Data...)
	}
	return dst, nil
}

// Undo gives a reader of data in the clear behind a Content-Transfer-Encoding;
// one that means nothing (7bit, 8bit, binary, "") gives r itself, an unknown one
// false.
func Undo(transferEncoding string, r io.Reader) (io.Reader, bool) {
	switch transferEncoding {
	case "", "7bit", "8bit", "binary":
		return r, true
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, r), true
	case "quoted-printable":
		return quotedprintable.NewReader(r), true
	}
	return r, false
}
