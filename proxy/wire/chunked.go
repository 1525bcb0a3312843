package wire

// Chunked takes the framing off a chunked body as it arrives (RFC 9112 section 7.1). It works in place:
// Decode moves the data octets to the front of the buffer. The zero value is ready.
//
// It is strict: sizes are 1 to 15 hexadecimal digits, lines end in CRLF, extensions and trailers are
// bounded, read and dropped.
type Chunked struct {
	state  chunkState
	left   int64 // data octets of the current chunk still to come
	digits int
	extra  int  // octets of extensions and trailers so far, all chunks together
	line   int  // octets of the current trailer line
	colon  bool // its name has ended
	Done   bool
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExt
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer
	chunkTrailerLF
)

// maxChunkExtra bounds what a body may spend on extensions and trailers.
const maxChunkExtra = 8 << 10

// Decode reads b, moves the data octets to its front and says how many they are (data) and how many
// octets of b were used. It stops behind the end of the body (Done).
func (c *Chunked) Decode(b []byte) (data, used int, err error) {
	for used < len(b) && !c.Done {
		if c.state == chunkData {
			n := int(min(c.left, int64(len(b)-used)))
			copy(b[data:], b[used:used+n])
			data, used, c.left = data+n, used+n, c.left-int64(n)
			if c.left == 0 {
				c.state = chunkDataCR
			}
			continue
		}
		if err := c.step(b[used]); err != nil {
			return data, used, err
		}
		used++
	}
	return data, used, nil
}

func (c *Chunked) step(o byte) error {
	switch c.state {
	case chunkSize:
		if d, ok := hex(o); ok {
			if c.digits++; c.digits > 15 {
				return bad("chunk size is too long")
			}
			c.left = c.left<<4 | int64(d)
			return nil
		}
		switch {
		case c.digits == 0:
			return bad("chunk without a size")
		case o == '\r':
			c.state = chunkSizeLF
		case o == ';':
			c.state = chunkExt
		default:
			return bad("malformed chunk size")
		}
	case chunkExt:
		if o == '\r' {
			c.state = chunkSizeLF
			return nil
		}
		if class[o]&isValue == 0 {
			return bad("malformed chunk extension")
		}
		return c.spend()
	case chunkSizeLF:
		if o != '\n' {
			return bad("chunk size line without LF")
		}
		c.digits = 0
		c.state = chunkData
		if c.left == 0 {
			c.state, c.line = chunkTrailer, 0
		}
	case chunkDataCR:
		if o != '\r' {
			return bad("chunk is longer than its size")
		}
		c.state = chunkDataLF
	case chunkDataLF:
		if o != '\n' {
			return bad("chunk data without CRLF")
		}
		c.state = chunkSize
	case chunkTrailer:
		switch {
		case o == '\r' && (c.line == 0 || c.colon):
			c.state = chunkTrailerLF
			return nil
		case o == ':' && c.line > 0 && !c.colon:
			c.colon = true
		case c.colon && class[o]&isValue == 0, !c.colon && class[o]&isToken == 0:
			return bad("malformed trailer") // a folded line and one without a colon end here too
		}
		c.line++
		return c.spend()
	case chunkTrailerLF:
		if o != '\n' {
			return bad("trailer line without LF")
		}
		c.Done = c.line == 0
		c.state, c.line, c.colon = chunkTrailer, 0, false
	}
	return nil
}

func (c *Chunked) spend() error {
	if c.extra++; c.extra > maxChunkExtra {
		return bad("chunk extensions or trailers are too long")
	}
	return nil
}

func hex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// AppendChunkSize appends the size line of a chunk of n octets.
func AppendChunkSize(b []byte, n int) []byte {
	const digits = "0123456789abcdef"
	var t [16]byte
	i := len(t)
	for {
		i--
		t[i] = digits[n&15]
		if n >>= 4; n == 0 {
			break
		}
	}
	b = append(b, t[i:]...)
	return append(b, '\r', '\n')
}
