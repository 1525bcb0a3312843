package mmsjson

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// PDU makes the PDU of a document, see Unmarshal. A value builds its header. If
// the hex beside it says the same value its octets are taken, so that a document
// that nobody changed gives the octets it was made of. Type and Version put in
// the headers that are missing.
func (d *Document) PDU(dir string) (*mms.PDU, error) {
	p, err := d.head()
	if err != nil {
		return nil, err
	}
	if d.ContentType == nil {
		if len(d.Parts) > 0 || d.Body != nil {
			return nil, fmt.Errorf("content_type: is missing, though there is a body")
		}
		return redecode(p)
	}
	c, err := d.ContentType.build("content_type")
	if err != nil {
		return nil, err
	}
	p.ContentType = &c
	switch {
	case d.Parts != nil && d.Body != nil:
		return nil, fmt.Errorf("body: stands beside parts, only one of them is allowed")
	case d.Body != nil:
		if p.Body, err = d.Body.read("body", dir); err != nil {
			return nil, err
		}
	case d.Parts != nil:
		if p.Body, err = buildParts("parts", d.Parts, dir, 1); err != nil {
			return nil, err
		}
	}
	return redecode(p)
}

// redecode gives the PDU as a reader of its octets sees it, and what such a
// reader would refuse.
func redecode(p *mms.PDU) (*mms.PDU, error) {
	out, err := mms.Decode(p.Encode())
	if err != nil {
		return nil, fmt.Errorf("the result is no PDU: %w", err)
	}
	return out, nil
}

// head builds the headers.
func (d *Document) head() (*mms.PDU, error) {
	p := &mms.PDU{}
	if d.Type != "" && d.Type != "unknown" {
		t, err := mms.ParseType(d.Type)
		if err != nil {
			return nil, fmt.Errorf("type: %w", err)
		}
		p.Type = t
	}
	for i, h := range d.Headers {
		built, err := h.build(p.Type)
		if err != nil {
			return nil, fmt.Errorf("headers[%d]: %w", i, err)
		}
		if built.Field == mms.FieldContentType && (p.Type == 0 || p.Type.HasBody()) {
			return nil, fmt.Errorf("headers[%d]: the Content-Type belongs into content_type", i)
		}
		p.Add(built)
	}
	if err := d.complete(p); err != nil {
		return nil, err
	}
	return p, nil
}

// complete puts the type first and the version behind the transaction id, where
// the headers do not have them.
func (d *Document) complete(p *mms.PDU) error {
	if h, ok := p.Get(mms.FieldMessageType); ok {
		if p.Type != 0 && h.Octet() != byte(p.Type) {
			return fmt.Errorf("type: is %s, though the header X-Mms-Message-Type is %02x", p.Type, h.Octet())
		}
	} else {
		if p.Type == 0 {
			return fmt.Errorf("type: is missing")
		}
		h, err := mms.ParseHeader(p.Type, mms.FieldMessageType.String(), d.Type)
		if err != nil {
			return err
		}
		p.Headers = slices.Insert(p.Headers, 0, h)
	}
	if d.Version == "" || p.Has(mms.FieldMMSVersion) {
		return nil
	}
	h, err := mms.ParseHeader(p.Type, mms.FieldMMSVersion.String(), d.Version)
	if err != nil {
		return fmt.Errorf("version: %w", err)
	}
	at := 1
	if len(p.Headers) > 1 && p.Headers[1].Field == mms.FieldTransactionID {
		at = 2
	}
	p.Headers = slices.Insert(p.Headers, at, h)
	return nil
}

func (h Header) build(t mms.Type) (mms.Header, error) {
	wire, err := h.octets()
	if err != nil {
		return mms.Header{}, err
	}
	if wire != nil {
		raw, err := mms.RawHeader(t, wire)
		if h.Value == nil {
			return raw, err
		}
		if text, ok := raw.Text(); err == nil && ok && clean(text) == *h.Value && clean(raw.Name()) == h.Name {
			return raw, nil
		}
	}
	return mms.ParseHeader(t, h.Name, *h.Value)
}

func (h Header) buildPart() (wsp.Header, error) {
	wire, err := h.octets()
	if err != nil {
		return wsp.Header{}, err
	}
	if wire != nil {
		raw, err := wsp.RawHeader(wire)
		if h.Value == nil {
			return raw, err
		}
		if err == nil {
			if text, ok := raw.Text(); ok && clean(text) == *h.Value && clean(raw.Name()) == h.Name {
				return raw, nil
			}
		}
	}
	return wsp.NewHeader(h.Name, *h.Value)
}

// octets gives the hex as octets, nil if there is none.
func (h Header) octets() ([]byte, error) {
	if h.Hex == "" {
		if h.Value == nil {
			return nil, fmt.Errorf("%q has neither value nor hex", h.Name)
		}
		return nil, nil
	}
	wire, err := hex.DecodeString(h.Hex)
	if err != nil {
		return nil, fmt.Errorf("%q: hex: %w", h.Name, err)
	}
	return wire, nil
}

func (c ContentType) build(where string) (wsp.ContentType, error) {
	if c.Hex != "" {
		raw, err := hex.DecodeString(c.Hex)
		if err != nil {
			return wsp.ContentType{}, fmt.Errorf("%s: hex: %w", where, err)
		}
		got, n, err := wsp.ReadContentType(raw)
		if err == nil && n == len(raw) && (c.Value == "" || c.same(got)) {
			return got, nil
		}
		if c.Value == "" {
			return wsp.ContentType{}, fmt.Errorf("%s: hex is no content type", where)
		}
	}
	out, err := wsp.ParseContentType(c.Value)
	if err != nil {
		return out, fmt.Errorf("%s: %w", where, err)
	}
	for _, p := range c.Params {
		if p[0] == "" || strings.ContainsRune(p[0], 0) {
			return out, fmt.Errorf("%s: a parameter without a name", where)
		}
		out.Params = append(out.Params, wsp.Param{Name: p[0], Value: p[1]})
	}
	return out, nil
}

func (c ContentType) same(got wsp.ContentType) bool {
	shown := contentType(got)
	return shown.Value == c.Value && slices.Equal(shown.Params, c.Params)
}

func buildParts(where string, list []Part, dir string, depth int) ([]byte, error) {
	if depth > wsp.MaxDepth {
		return nil, fmt.Errorf("%s: more than %d multiparts within each other", where, wsp.MaxDepth)
	}
	parts := make([]wsp.Part, 0, len(list))
	for i, p := range list {
		here := fmt.Sprintf("%s[%d]", where, i)
		c, err := p.ContentType.build(here + ".content_type")
		if err != nil {
			return nil, err
		}
		part := wsp.Part{ContentType: c}
		for j, h := range p.Headers {
			built, err := h.buildPart()
			if err != nil {
				return nil, fmt.Errorf("%s.headers[%d]: %w", here, j, err)
			}
			part.Headers = append(part.Headers, built)
		}
		if p.File == "" && p.Data == nil && len(p.Parts) > 0 {
			part.Data, err = buildParts(here+".parts", p.Parts, dir, depth+1)
		} else {
			part.Data, err = p.Body.read(here, dir)
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	body, err := wsp.AppendParts(nil, parts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return body, nil
}

// read gives the data. An empty body needs neither file nor data.
func (b Body) read(where, dir string) ([]byte, error) {
	switch {
	case b.File != "" && b.Data != nil:
		return nil, fmt.Errorf("%s: has a file and data, only one of them is allowed", where)
	case b.Data != nil:
		return *b.Data, nil
	case b.File == "" && b.Size == 0:
		return []byte{}, nil
	case b.File == "":
		return nil, fmt.Errorf("%s: has neither file nor data for its %d octets", where, b.Size)
	}
	name := b.File
	if dir != "" && !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxBody+1))
	if err != nil {
		return nil, fmt.Errorf("%s: read %s: %w", where, name, err)
	}
	if len(data) > MaxBody {
		return nil, fmt.Errorf("%s: %s is larger than %d octets", where, name, MaxBody)
	}
	return data, nil
}
