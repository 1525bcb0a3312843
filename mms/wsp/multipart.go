package wsp

import (
	"fmt"
	"io"
	"strings"
)

// Bounds of a multipart body.
const (
	MaxParts = 255 // in all, nested ones included
	MaxDepth = 4   // multipart within multipart
)

// PartError says where a multipart body can't be read.
type PartError struct {
	Offset int64 // octets from where the caller started to count
	Part   int   // which part, from 1; 0 for the count of parts
	Err    error
}

// Error gives one line.
func (e *PartError) Error() string {
	if e.Part == 0 {
		return fmt.Sprintf("octet %d, count of parts: %v", e.Offset, e.Err)
	}
	return fmt.Sprintf("octet %d, part %d: %v", e.Offset, e.Part, e.Err)
}

// Unwrap gives the reason.
func (e *PartError) Unwrap() error { return e.Err }

// Part is one entry of a multipart body (WAP-230-WSP 8.5.2).
type Part struct {
	ContentType ContentType
	Headers     []Header // without the Content-Type
	HeaderSize  int      // HeadersLen as it was announced
	Offset      int64    // where the data starts, counted from where the caller said
	Size        int64    // DataLen
	Data        []byte   // nil when the body is not in memory
	Parts       []Part   // of a part that is itself a multipart and can be read
}

// Open gives a reader of the data, out of Data or out of the source that Offset
// counts in.
func (p *Part) Open(source io.ReaderAt) *io.SectionReader {
	if p.Data != nil || source == nil {
		return io.NewSectionReader(readerAt(p.Data), 0, int64(len(p.Data)))
	}
	return io.NewSectionReader(source, p.Offset, p.Size)
}

// ContentID gives the Content-ID without its angle brackets, "" if there is none.
func (p *Part) ContentID() string {
	return strings.TrimSuffix(strings.TrimPrefix(p.header(HeaderContentID), "<"), ">")
}

// ContentLocation gives the Content-Location, "" if there is none.
func (p *Part) ContentLocation() string { return p.header(HeaderContentLocation) }

// FileName gives the name of the part as a file: the name parameter, then the
// file name of the disposition, then the Content-Location (the order of OMA).
// It comes from the peer: who writes a file has to make it safe.
func (p *Part) FileName() string {
	if name := p.ContentType.Param("name"); name != "" {
		return name
	}
	if name := p.ContentType.Param("filename"); name != "" {
		return name
	}
	_, rest, _ := strings.Cut(p.header(HeaderContentDisposition), ";")
	if list, err := parseParams(rest); err == nil {
		if name := (ContentType{Params: list}).Param("filename"); name != "" {
			return name
		}
	}
	return p.ContentLocation()
}

// TransferEncoding gives the Content-Transfer-Encoding in small letters, "" if
// there is none. MMS has no use for it, yet some gateways leave it standing over
// data in base64 or quoted-printable.
func (p *Part) TransferEncoding() string {
	for _, h := range p.Headers {
		if strings.EqualFold(h.Name(), "Content-Transfer-Encoding") {
			text, _ := h.Text()
			return strings.ToLower(strings.TrimSpace(text))
		}
	}
	return ""
}

func (p *Part) header(code byte) string {
	if h, ok := Find(p.Headers, code); ok {
		if text, ok := h.Text(); ok {
			return text
		}
	}
	return ""
}

// readerAt is a slice as an io.ReaderAt.
type readerAt []byte

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(r)) {
		return 0, io.EOF
	}
	n := copy(p, r[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// source gives windows of a body: slices of memory, or what a ReaderAt holds.
type source struct {
	memory []byte
	r      io.ReaderAt
}

// window gives up to n octets from off.
func (s source) window(off int64, n int) ([]byte, error) {
	if s.r == nil {
		return s.memory[off:min(int64(len(s.memory)), off+int64(n))], nil
	}
	b := make([]byte, n)
	got, err := s.r.ReadAt(b, off)
	if got < n && err != nil && err != io.EOF {
		return nil, err
	}
	return b[:got], nil
}

// ReadParts reads the table of parts of a multipart body in memory. Offsets count
// from the start of b plus base; Data alias b.
func ReadParts(b []byte, base int64) ([]Part, error) {
	budget := MaxParts
	return source{memory: b}.parts(0, int64(len(b)), base, 1, &budget)
}

// ReadPartsAt reads the table of parts of the size octets at off of r, without
// their data. Offsets count in r.
func ReadPartsAt(r io.ReaderAt, off, size int64) ([]Part, error) {
	budget := MaxParts
	return source{r: r}.parts(off, off+size, 0, 1, &budget)
}

// parts reads the structure between off and end. A count above what is there is
// accepted if a part is whole, one below ignores the tail.
func (s source) parts(off, end, base int64, depth int, budget *int) ([]Part, error) {
	head, err := s.window(off, int(min(6, end-off)))
	if err != nil {
		return nil, &PartError{off + base, 0, err}
	}
	count, n := Uintvar(head)
	if n <= 0 {
		return nil, &PartError{off + base, 0, fmt.Errorf("no number of parts in %d octets", len(head))}
	}
	if int64(count) > int64(*budget) {
		return nil, &PartError{off + base, 0, fmt.Errorf("%d parts, %d are allowed", count, MaxParts)}
	}
	off += int64(n)
	out := make([]Part, 0, min(count, 8)) // not nil, even if it stays empty
	for i := 1; i <= int(count); i++ {
		if off == end {
			if len(out) > 0 {
				break
			}
			return nil, &PartError{off + base, 0, fmt.Errorf("%d parts are announced, none is there", count)}
		}
		if *budget--; *budget < 0 {
			return nil, &PartError{off + base, i, fmt.Errorf("more than %d parts with the nested ones", MaxParts)}
		}
		p, err := s.part(off, end)
		if err != nil {
			return nil, &PartError{off + base, i, err}
		}
		s.nest(&p, base, depth, budget)
		off = p.Offset + p.Size
		p.Offset += base
		out = append(out, p)
	}
	return out, nil
}

// nest reads the parts of a part that is a multipart itself; one that can't be
// read stays opaque.
func (s source) nest(p *Part, base int64, depth int, budget *int) {
	if depth == MaxDepth || p.Size == 0 || !p.ContentType.Multipart() && !p.ContentType.maybeMultipart() {
		return
	}
	left := *budget
	inner, err := s.parts(p.Offset, p.Offset+p.Size, base, depth+1, &left)
	if err == nil {
		p.Parts, *budget = inner, left
	}
}

// part reads the head of the part at off and places its data.
func (s source) part(off, end int64) (Part, error) {
	small := 512 // holds most heads; a larger one is read again whole
	window, err := s.window(off, int(min(int64(small), end-off)))
	if err != nil {
		return Part{}, err
	}
	p, n, err := partHead(window)
	if err == nil && n == More && int64(len(window)) < end-off {
		if window, err = s.window(off, int(min(MaxHeaderBlock+10, end-off))); err != nil {
			return Part{}, err
		}
		p, n, err = partHead(window)
	}
	if err != nil {
		return Part{}, err
	}
	if n == More {
		return Part{}, fmt.Errorf("its head runs past the end, %d octets left", end-off)
	}
	p.Offset = off + int64(n)
	if p.Size > end-p.Offset {
		return Part{}, fmt.Errorf("%d octets of data are announced, %d are there", p.Size, end-p.Offset)
	}
	if s.r == nil {
		p.Data = s.memory[p.Offset : p.Offset+p.Size : p.Offset+p.Size]
	}
	return p, nil
}

// partHead reads both lengths, the Content-Type and the headers at the start of
// b; n is More if b does not hold them whole.
func partHead(b []byte) (p Part, n int, err error) {
	headerSize, m := Uintvar(b)
	if m == Bad {
		return p, 0, fmt.Errorf("the length of its headers is no uintvar")
	}
	if m == More {
		return p, More, nil
	}
	size, k := Uintvar(b[m:])
	if k == Bad {
		return p, 0, fmt.Errorf("the length of its data is no uintvar")
	}
	if headerSize > MaxHeaderBlock {
		return p, 0, fmt.Errorf("headers of %d octets, %d are allowed", headerSize, MaxHeaderBlock)
	}
	n = m + k + int(headerSize)
	if k == More || n > len(b) {
		return p, More, nil
	}
	block := b[m+k : n]
	if len(block) == 0 {
		return p, 0, fmt.Errorf("it has no content type")
	}
	contentType, used, err := ReadContentType(block)
	if err != nil {
		return p, 0, err
	}
	list, err := ReadHeaders(block[used:])
	if err != nil {
		return p, 0, err
	}
	return Part{ContentType: contentType, Headers: list, HeaderSize: int(headerSize), Size: int64(size)}, n, nil
}
