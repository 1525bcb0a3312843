// Package mmsjson turns PDUs into JSON that people and scripts can read and
// write, and back. Every header stands in its order with its name, its value as
// text and its octets in hex; what has no text form has its octets alone. So
// nothing of a PDU is lost on the way, but the bodies of parts, which stand in
// files of a folder or in the document as base64.
//
// Files are read and written only where the caller names a folder. The package
// has no state; a document that can't be made a PDU is refused with an error
// that names the entry.
package mmsjson

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// Document is a PDU in JSON.
type Document struct {
	Type        string       `json:"type"`
	Version     string       `json:"version,omitempty"`
	Headers     []Header     `json:"headers"`
	ContentType *ContentType `json:"content_type,omitempty"`
	Parts       []Part       `json:"parts,omitzero"` // of a multipart body
	Body        *Body        `json:"body,omitempty"` // of any other
}

// Header is a header of a PDU or of a part. Hex is the whole field.
type Header struct {
	Name  string  `json:"name"`
	Value *string `json:"value,omitempty"`
	Hex   string  `json:"hex,omitempty"`
}

// ContentType is a media type with its parameters. Hex is the value without the
// name of its field.
type ContentType struct {
	Value  string      `json:"value"`
	Params [][2]string `json:"params,omitempty"`
	Hex    string      `json:"hex,omitempty"`
}

// Part is an entry of a multipart body. Parts of a part that is a multipart
// itself are shown without bodies; the outer one has them.
type Part struct {
	ContentType ContentType `json:"content_type"`
	Headers     []Header    `json:"headers"`
	Body
	Parts []Part `json:"parts,omitempty"`
}

// Body is the data of a part or of a PDU. Size and SHA256 describe; File or Data
// (base64) hold it.
type Body struct {
	Size   int64   `json:"size"`
	SHA256 string  `json:"sha256,omitempty"`
	File   string  `json:"file,omitempty"`
	Data   *[]byte `json:"data,omitempty"`
}

// MaxBody bounds what Unmarshal reads of one file.
const MaxBody = 256 << 20

// Marshal gives the document of a PDU whose body is in memory, indented. With a
// partsDir the bodies of the parts are written there, under names of our own
// that end in the extension of the part's name, and File says where.
func Marshal(p *mms.PDU, partsDir string) ([]byte, error) {
	doc, err := Describe(p, partsDir)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Describe is Marshal without the last step.
func Describe(p *mms.PDU, partsDir string) (*Document, error) {
	doc := &Document{Type: p.Type.String(), Version: p.Version().String(), Headers: []Header{}}
	for _, h := range p.Headers {
		text, ok := h.Text()
		doc.Headers = append(doc.Headers, header(h.Name(), text, ok, h.Wire))
	}
	if p.ContentType == nil {
		return doc, nil
	}
	c := contentType(*p.ContentType)
	doc.ContentType = &c
	w, err := newFolder(partsDir)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if p.Parts == nil {
		if len(p.Body) == 0 {
			return doc, nil
		}
		b, err := w.body("body"+extension(p.ContentType.Type, ""), p.Body)
		doc.Body = &b
		return doc, err
	}
	doc.Parts, err = w.parts(p.Parts, true)
	return doc, err
}

func header(name, text string, ok bool, wire []byte) Header {
	h := Header{Name: clean(name), Hex: hex.EncodeToString(wire)}
	if ok {
		text = clean(text)
		h.Value = &text
	}
	return h
}

func contentType(c wsp.ContentType) ContentType {
	out := ContentType{Value: clean(c.Type), Hex: hex.EncodeToString(c.Append(nil))}
	for _, p := range c.Params {
		out.Params = append(out.Params, [2]string{clean(p.Name), clean(p.Value)})
	}
	return out
}

// clean makes a text that JSON can hold; octets that are no UTF-8 stand in the hex.
func clean(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// folder writes bodies; a nil root writes none.
type folder struct {
	dir  string
	root *os.Root
}

func newFolder(dir string) (*folder, error) {
	if dir == "" {
		return &folder{}, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of parts: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of parts: %w", err)
	}
	return &folder{dir, root}, nil
}

func (w *folder) close() {
	if w.root != nil {
		w.root.Close() // opened for its name only; there is nothing to lose
	}
}

func (w *folder) parts(list []wsp.Part, write bool) ([]Part, error) {
	out := make([]Part, 0, len(list))
	for i := range list {
		p := &list[i]
		part := Part{ContentType: contentType(p.ContentType), Headers: []Header{}}
		for _, h := range p.Headers {
			text, ok := h.Text()
			part.Headers = append(part.Headers, header(h.Name(), text, ok, h.Wire))
		}
		to := w
		if !write {
			to = &folder{}
		}
		var err error
		if part.Body, err = to.body(fmt.Sprintf("part%d%s", i+1, extension(p.ContentType.Type, p.FileName())), p.Data); err != nil {
			return nil, err
		}
		if len(p.Parts) > 0 {
			if part.Parts, err = w.parts(p.Parts, false); err != nil {
				return nil, err
			}
		}
		out = append(out, part)
	}
	return out, nil
}

func (w *folder) body(name string, data []byte) (Body, error) {
	sum := sha256.Sum256(data)
	b := Body{Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
	if w.root == nil {
		return b, nil
	}
	if err := w.root.WriteFile(name, data, 0o644); err != nil {
		return b, fmt.Errorf("write a part: %w", err)
	}
	b.File = filepath.Join(w.dir, name)
	return b, nil
}

var extensions = map[string]string{
	"application/smil": ".smil", "text/plain": ".txt", "text/html": ".html", "text/x-vcard": ".vcf", "text/x-vcalendar": ".vcs",
	"image/jpeg": ".jpg", "image/gif": ".gif", "image/png": ".png", "image/vnd.wap.wbmp": ".wbmp", "image/bmp": ".bmp",
	"audio/amr": ".amr", "audio/mpeg": ".mp3", "audio/midi": ".mid", "audio/mid": ".mid", "audio/x-mid": ".mid", "audio/mp4": ".m4a",
	"video/3gpp": ".3gp", "video/mp4": ".mp4", "application/vnd.wap.mms-message": ".mms",
}

// extension takes the extension of a peer's file name if it is short and plain,
// else that of the type.
func extension(mediaType, name string) string {
	ext := path.Ext(name)
	if len(ext) > 1 && len(ext) <= 6 && strings.Trim(strings.ToLower(ext[1:]), "abcdefghijklmnopqrstuvwxyz0123456789") == "" {
		return strings.ToLower(ext)
	}
	return extensions[strings.ToLower(mediaType)]
}

// Unmarshal makes the PDU of a document. Files are taken from below dir unless
// their names are absolute; with dir empty from the working directory.
func Unmarshal(b []byte, dir string) (*mms.PDU, error) {
	var doc Document
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("read the document: something stands behind its end")
	}
	return doc.PDU(dir)
}
