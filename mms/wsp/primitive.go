package wsp

import "bytes"

// Octets with a meaning of their own at the start of a value (WAP-230-WSP 8.4.1.2).
const (
	lengthQuote = 0x1F // a uintvar length follows
	textQuote   = 0x7F // the text that follows begins with an octet >= 80
)

// More and Bad are what a reader answers instead of a count of octets.
const (
	More = 0  // the value goes on behind the end of the slice
	Bad  = -1 // no continuation of the slice can make it a value
)

// Uintvar reads a variable length unsigned integer of at most five octets and
// 32 bits (WAP-230-WSP 8.1.2). Leading 80 octets are accepted, since a composer
// in the field writes them. n is the octets used, or More or Bad.
func Uintvar(b []byte) (v uint32, n int) {
	var wide uint64
	for i, c := range b {
		if i == 5 {
			return 0, Bad
		}
		wide = wide<<7 | uint64(c&0x7F)
		if wide > 0xFFFFFFFF {
			return 0, Bad
		}
		if c < 0x80 {
			return uint32(wide), i + 1
		}
	}
	if len(b) >= 5 {
		return 0, Bad
	}
	return 0, More
}

// ValueLength reads a Value-length (WAP-230-WSP 8.4.2.2): v octets follow behind
// the n octets of the length itself. A first octet above 1F is Bad.
func ValueLength(b []byte) (v, n int) {
	switch {
	case len(b) == 0:
		return 0, More
	case b[0] < lengthQuote:
		return int(b[0]), 1
	case b[0] > lengthQuote:
		return 0, Bad
	}
	u, n := Uintvar(b[1:])
	if n <= 0 {
		return 0, n
	}
	if u > 1<<30 {
		return 0, Bad // no header and no part is a gigabyte; keeps sums inside an int everywhere
	}
	return int(u), n + 1
}

// Skip answers how many octets the value at the start of b has, by the rule of
// its first octet: 00-1E that many octets follow, 1F a uintvar length, 20-7F a
// text up to its zero octet, 80-FF one octet (WAP-230-WSP 8.4.1.2).
func Skip(b []byte) int {
	if len(b) == 0 {
		return More
	}
	switch c := b[0]; {
	case c >= 0x80:
		return 1
	case c > lengthQuote:
		if i := bytes.IndexByte(b, 0); i >= 0 {
			return i + 1
		}
		return More
	}
	v, n := ValueLength(b)
	if n <= 0 {
		return n
	}
	if v > len(b)-n {
		return More
	}
	return v + n
}

// Text reads a Text-string up to its zero octet and takes the quote 7F off. The
// slice aliases b.
func Text(b []byte) (text []byte, n int) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return nil, More
	}
	text = b[:i]
	if len(text) > 0 && text[0] == textQuote {
		text = text[1:]
	}
	return text, i + 1
}

// Long reads a Long-integer of at most eight octets (WAP-230-WSP 8.4.2.1). A
// length of zero is the number 0: a composer in the field writes it so.
func Long(b []byte) (v uint64, n int) {
	if len(b) == 0 {
		return 0, More
	}
	size := int(b[0])
	if size >= lengthQuote {
		return 0, Bad
	}
	if len(b)-1 < size {
		return 0, More
	}
	for _, c := range b[1 : 1+size] {
		if v > 1<<56-1 {
			return 0, Bad
		}
		v = v<<8 | uint64(c)
	}
	return v, 1 + size
}

// Integer reads an Integer-value: a Short-integer or a Long-integer.
func Integer(b []byte) (v uint64, n int) {
	if len(b) > 0 && b[0] >= 0x80 {
		return uint64(b[0] & 0x7F), 1
	}
	return Long(b)
}

// AppendUintvar writes v in as few octets as it takes.
func AppendUintvar(dst []byte, v uint32) []byte {
	for shift := 28; shift > 0; shift -= 7 {
		if v>>shift != 0 {
			for ; shift > 0; shift -= 7 {
				dst = append(dst, byte(v>>shift)|0x80)
			}
			break
		}
	}
	return append(dst, byte(v&0x7F))
}

// AppendValueLength writes the length of a value of n octets.
func AppendValueLength(dst []byte, n int) []byte {
	if n < lengthQuote {
		return append(dst, byte(n))
	}
	return AppendUintvar(append(dst, lengthQuote), uint32(n))
}

// AppendText writes a Text-string, cut at a zero octet, which no text can hold.
// It is quoted when its first octet would be taken for something else.
func AppendText[T ~string | ~[]byte](dst []byte, text T) []byte {
	if len(text) > 0 && (text[0] >= textQuote || text[0] > 0 && text[0] < 0x20) {
		dst = append(dst, textQuote)
	}
	for i := range len(text) {
		if text[i] == 0 {
			break
		}
		dst = append(dst, text[i])
	}
	return append(dst, 0)
}

// AppendQuoted writes a Quoted-string: a quotation mark, the text, a zero octet
// and no closing mark (WAP-230-WSP 8.4.2.1).
func AppendQuoted[T ~string | ~[]byte](dst []byte, text T) []byte {
	dst = append(dst, '"')
	for i := range len(text) {
		if text[i] == 0 {
			break
		}
		dst = append(dst, text[i])
	}
	return append(dst, 0)
}

// AppendLong writes a Long-integer in as few octets as it takes, at least one.
func AppendLong(dst []byte, v uint64) []byte {
	size := 1
	for v>>(8*size) != 0 && size < 8 {
		size++
	}
	dst = append(dst, byte(size))
	for i := size - 1; i >= 0; i-- {
		dst = append(dst, byte(v>>(8*i)))
	}
	return dst
}

// AppendInteger writes an Integer-value: short below 128, long from there.
func AppendInteger(dst []byte, v uint64) []byte {
	if v < 0x80 {
		return append(dst, byte(v)|0x80)
	}
	return AppendLong(dst, v)
}
