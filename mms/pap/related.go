package pap

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"sort"
	"strings"
)

// Entity is a part of a request: headers and octets.
type Entity struct {
	Header textproto.MIMEHeader // Content-Type among them; never Content-Transfer-Encoding
	Body   []byte
}

// Type gives the Content-Type as it stood.
func (e *Entity) Type() string { return e.Header.Get("Content-Type") }

// Request is what travels in one HTTP body (WAP-247-PAP 8).
type Request struct {
	Control      []byte  // the PAP document
	Content      *Entity // what is pushed; nil in requests without content
	Capabilities *Entity // UAProf; nil: none
}

// maxFields bounds the header fields of a part.
const maxFields = 64

// ReadRequest takes the body of an HTTP request or answer apart: a
// multipart/related of up to three parts, or the bare document. The caller has
// bounded the body. What a Content-Transfer-Encoding did is undone; everything
// else of the content is untouched and aliases body or is a copy. Errors are *Error.
func ReadRequest(contentType string, body []byte) (*Request, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, &Error{Code: BadRequest, Text: "Content-Type can't be read", Fragment: fragment(contentType)}
	}
	switch kind {
	case "application/xml", "text/xml":
		return &Request{Control: body}, nil
	case "multipart/related":
	default:
		return nil, &Error{Code: BadRequest, Text: "Content-Type is neither multipart/related nor application/xml", Fragment: fragment(contentType)}
	}
	boundary := params["boundary"]
	if boundary == "" || len(boundary) > 70 {
		return nil, bad("multipart/related without a boundary of 1 to 70 characters")
	}
	parts, err := readParts(multipart.NewReader(bytes.NewReader(body), boundary))
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 {
		return nil, bad("multipart/related without parts: is the boundary right?")
	}
	if t := partType(parts[0]); t != "application/xml" && t != "text/xml" {
		return nil, &Error{Code: BadRequest, Text: "the first part is not application/xml", Fragment: fragment(parts[0].Type())}
	}
	q := &Request{Control: parts[0].Body}
	if len(parts) > 1 {
		q.Content = parts[1]
	}
	if len(parts) > 2 {
		q.Capabilities = parts[2]
	}
	return q, nil
}

func partType(e *Entity) string {
	t, _, err := mime.ParseMediaType(e.Type())
	if err != nil {
		return ""
	}
	return t
}

func readParts(r *multipart.Reader) ([]*Entity, error) {
	var parts []*Entity
	for {
		p, err := r.NextRawPart()
		if err == io.EOF { // bare: the closing boundary has been read; wrapped: the body is cut
			return parts, nil
		}
		if err != nil {
			return nil, bad("multipart/related is cut or its boundary is wrong: %s", fragment(err.Error()))
		}
		if len(parts) == 3 {
			return nil, bad("more than three parts")
		}
		if len(p.Header) > maxFields {
			return nil, bad("a part has %d header fields, %d are allowed", len(p.Header), maxFields)
		}
		data, err := io.ReadAll(p)
		if err != nil {
			return nil, bad("part %d is cut: the closing boundary is missing", len(parts)+1)
		}
		e := &Entity{Header: p.Header, Body: data}
		if err := e.undo(); err != nil {
			return nil, err
		}
		parts = append(parts, e)
	}
}

// undo takes the transfer encoding off.
func (e *Entity) undo() error {
	coding := e.Header.Get("Content-Transfer-Encoding")
	e.Header.Del("Content-Transfer-Encoding")
	var r io.Reader = bytes.NewReader(e.Body)
	switch strings.ToLower(strings.TrimSpace(coding)) {
	case "", "7bit", "8bit", "binary":
		return nil
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	default:
		return &Error{Code: BadRequest, Text: "a Content-Transfer-Encoding that is not known", Fragment: fragment(coding)}
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return &Error{Code: BadRequest, Text: "a part is not in its Content-Transfer-Encoding", Fragment: fragment(coding)}
	}
	e.Body = data
	return nil
}

// Encode gives the body and its Content-Type. Without content it is the bare document.
func (q *Request) Encode() (contentType string, body []byte) {
	if q.Content == nil && q.Capabilities == nil {
		return "application/xml", q.Control
	}
	boundary := q.boundary()
	var b bytes.Buffer
	part := func(e *Entity) {
		fmt.Fprintf(&b, "--%s\r\n", boundary)
		names := make([]string, 0, len(e.Header))
		for name := range e.Header {
			names = append(names, name)
		}
		sort.Strings(names) // Content-Type before X-Wap-…
		for _, name := range names {
			for _, v := range e.Header[name] {
				fmt.Fprintf(&b, "%s: %s\r\n", name, oneLine.Replace(v))
			}
		}
		b.WriteString("\r\n")
		b.Write(e.Body)
		b.WriteString("\r\n")
	}
	part(&Entity{Header: textproto.MIMEHeader{"Content-Type": {"application/xml; charset=UTF-8"}}, Body: q.Control})
	if q.Content != nil {
		part(q.Content)
	}
	if q.Capabilities != nil {
		part(q.Capabilities)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return fmt.Sprintf(`multipart/related; boundary=%s; type="application/xml"`, boundary), b.Bytes()
}

var oneLine = strings.NewReplacer("\r", "", "\n", " ")

// boundary finds one that no part holds. It depends on nothing but the parts.
func (q *Request) boundary() string {
	h := fnv.New64a()
	all := [][]byte{q.Control}
	for _, e := range []*Entity{q.Content, q.Capabilities} {
		if e != nil {
			all = append(all, e.Body)
		}
	}
	for _, b := range all {
		h.Write(b)
	}
	for {
		name := fmt.Sprintf("pap-%016x", h.Sum64())
		free := true
		for _, b := range all {
			free = free && !bytes.Contains(b, []byte(name))
		}
		if free {
			return name
		}
		h.Write([]byte{0})
	}
}
