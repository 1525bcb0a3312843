package mms

import (
	"fmt"
	"strings"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// Header is one field of a PDU as it stands on the wire. It keeps the octets, so
// that what is not understood survives; values are read when they are asked for.
type Header struct {
	Field   Field  // 0: an application header, named by text
	Wire    []byte // the whole field
	value   int    // where the value starts in Wire
	counted bool   // the value starts with a count (M-Mbox-Delete.conf, M-Delete.conf)
}

// Name gives the name of OMA-MMS-ENC, the text of an application header, or
// "0xC5" for a number that nobody assigned.
func (h Header) Name() string {
	if h.Field != 0 {
		return h.Field.String()
	}
	text, _ := wsp.Text(h.Wire)
	return string(text)
}

// Value gives the octets of the value.
func (h Header) Value() []byte { return h.Wire[h.value:] }

// Octet gives the value of a field of one octet, 0 if it is none.
func (h Header) Octet() byte {
	if v := h.Value(); len(v) == 1 && v[0] >= 0x80 {
		return v[0]
	}
	return 0
}

// counts says whether the PDU t has f in the form with a count (OMA-MMS-ENC 6.8.8).
func counts(t Type, f Field) bool {
	if t != MMboxDeleteConf && t != MDeleteConf {
		return false
	}
	return f == FieldContentLocation || f == FieldResponseStatus || f == FieldResponseText
}

// RawHeader takes the octets of one whole field of a PDU of type t.
func RawHeader(t Type, wire []byte) (Header, error) {
	h, n, err := readHeader(t, wire)
	if err != nil {
		return Header{}, err
	}
	if n != len(wire) {
		return Header{}, fmt.Errorf("%s: %d octets behind the field", oneLine(h.Name()), len(wire)-n)
	}
	return h, nil
}

// readHeader reads the field at the start of b and answers how long it is.
func readHeader(t Type, b []byte) (Header, int, error) {
	if len(b) == 0 {
		return Header{}, 0, fmt.Errorf("no octets")
	}
	h := Header{Field: Field(b[0]), value: 1}
	if c := b[0]; c < 0x80 {
		if c < 0x20 || c == 0x7F {
			return Header{}, 0, fmt.Errorf("octet %02x where the name of a header belongs", c)
		}
		_, n := wsp.Text(b)
		if n <= 0 {
			return Header{}, 0, fmt.Errorf("the name of an application header does not end")
		}
		h.Field, h.value = 0, n
	}
	v := b[h.value:]
	n := wsp.Skip(v)
	if n <= 0 {
		h.Wire = b
		return h, 0, fmt.Errorf("%s: %s", oneLine(h.Name()), overrun(v, n))
	}
	n += h.value
	h.Wire, h.counted = b[:n:n], counts(t, h.Field)
	return h, n, nil
}

// overrun says why the value at the start of v is not whole.
func overrun(v []byte, n int) string {
	switch {
	case len(v) == 0:
		return "its value is missing"
	case n == wsp.Bad:
		return "a length of more than five octets"
	case v[0] > 0x1F:
		return "a text that does not end"
	}
	size, m := wsp.ValueLength(v)
	if m <= 0 {
		return "a length that does not end"
	}
	return fmt.Sprintf("a value of %d octets runs past the end, %d are left", size, len(v)-m)
}

// oneLine makes what a peer sent fit for an error of one line.
func oneLine(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7F }) >= 0 {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// field makes a header of a field and the octets of its value.
func field(f Field, value ...byte) Header {
	return Header{Field: f, Wire: append([]byte{byte(f)}, value...), value: 1}
}

// ParseHeader makes a header of a PDU of type t from a name and a value in the
// form that Text gives. A name that OMA-MMS-ENC does not have becomes an
// application header.
func ParseHeader(t Type, name, value string) (Header, error) {
	f, ok := ParseField(name)
	if !ok {
		if name == "" {
			return Header{}, fmt.Errorf("a header without a name")
		}
		for _, c := range []byte(name) {
			if c < ' ' || c >= 0x7F {
				return Header{}, fmt.Errorf("header name %q: only printable ASCII is allowed", name)
			}
		}
		wire := wsp.AppendText(nil, name)
		return Header{Wire: wsp.AppendText(wire, value), value: len(wire)}, nil
	}
	h := Header{Field: f, value: 1, counted: counts(t, f)}
	v, err := appendValue(nil, f, h.counted, value)
	if err != nil {
		return Header{}, fmt.Errorf("%s: %w", f, err)
	}
	h.Wire = append([]byte{byte(f)}, v...)
	return h, nil
}
