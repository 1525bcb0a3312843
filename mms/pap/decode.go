package pap

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// Limits bound what Decode takes; a zero takes its default.
type Limits struct {
	Octets    int // of the document; 1 MiB
	Addresses int // in it; 10,000
	Value     int // octets of an attribute; 2048
}

func (l Limits) fill() Limits {
	if l.Octets <= 0 {
		l.Octets = 1 << 20
	}
	if l.Addresses <= 0 {
		l.Addresses = 10_000
	}
	if l.Value <= 0 {
		l.Value = 2048
	}
	return l
}

const (
	maxDepth = 4
	maxAttrs = 32
)

// node is an element as it stood.
type node struct {
	name     string
	attrs    map[string]string
	children []*node
}

// Decode reads a document. Elements that PAP does not have are refused,
// attributes that it does not have are ignored. Errors are *Error.
func Decode(b []byte, limits Limits) (*Document, error) {
	limits = limits.fill()
	if len(b) > limits.Octets {
		return nil, bad("the document has %d octets, %d are allowed", len(b), limits.Octets)
	}
	d := &Document{Version: Version20}
	p := &parser{limits: limits, doc: d}
	root, err := p.tree(b)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			return nil, e
		}
		return nil, bad("not well-formed: %s", fragment(strings.TrimPrefix(err.Error(), "XML syntax error ")))
	}
	if root.name != "pap" {
		return nil, &Error{Code: BadRequest, Text: "the document's element is not pap", Fragment: fragment(root.name)}
	}
	d.Product = root.attrs["product-name"]
	if len(root.children) != 1 {
		return nil, bad("pap holds %d messages, not one", len(root.children))
	}
	r := &reader{}
	d.Message = r.message(root.children[0])
	if r.err != nil {
		return nil, r.err
	}
	return d, nil
}

type parser struct {
	limits    Limits
	doc       *Document
	root      *node
	open      []*node
	addresses int
	nodes     int
}

func (p *parser) tree(b []byte) (*node, error) {
	x := xml.NewDecoder(bytes.NewReader(b))
	x.Strict, x.Entity = true, nil
	x.CharsetReader = charset
	for {
		t, err := x.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := p.token(t); err != nil {
			return nil, err
		}
	}
	switch {
	case len(p.open) > 0:
		return nil, bad("not well-formed: %s is not closed", p.open[len(p.open)-1].name)
	case p.root == nil:
		return nil, bad("there is no document")
	}
	return p.root, nil
}

func (p *parser) token(t xml.Token) error {
	switch t := t.(type) {
	case xml.StartElement:
		return p.start(t)
	case xml.EndElement:
		if len(p.open) == 0 || p.open[len(p.open)-1].name != t.Name.Local || t.Name.Space != "" {
			return bad("not well-formed: </%s> closes nothing", fragment(t.Name.Local))
		}
		p.open = p.open[:len(p.open)-1]
	case xml.CharData:
		if len(bytes.TrimSpace(bytes.TrimPrefix(t, []byte("\xEF\xBB\xBF")))) > 0 {
			return &Error{Code: BadRequest, Text: "text where PAP has none", Fragment: fragment(string(t[:min(len(t), 200)]))}
		}
	case xml.Directive:
		return p.directive(string(t))
	}
	return nil
}

func (p *parser) start(t xml.StartElement) error {
	switch {
	case t.Name.Space != "":
		return &Error{Code: BadRequest, Text: "an element with a prefix", Fragment: fragment(t.Name.Space + ":" + t.Name.Local)}
	case len(p.open) == 0 && p.root != nil:
		return bad("not well-formed: a second element after the document's")
	case len(p.open) >= maxDepth:
		return bad("elements stand deeper than %d", maxDepth)
	case len(t.Attr) > maxAttrs:
		return bad("%s has %d attributes, %d are allowed", fragment(t.Name.Local), len(t.Attr), maxAttrs)
	}
	n := &node{name: t.Name.Local, attrs: make(map[string]string, len(t.Attr))}
	if n.name == "address" {
		if p.addresses++; p.addresses > p.limits.Addresses {
			return &Error{Code: ManyAddressesNotSupported, Text: "more than " + strconv.Itoa(p.limits.Addresses) + " addresses"}
		}
	} else if p.nodes++; p.nodes > p.limits.Addresses+1000 {
		return bad("too many elements")
	}
	for _, a := range t.Attr {
		if len(a.Value) > p.limits.Value {
			return bad("%s of %s has %d octets, %d are allowed", fragment(a.Name.Local), fragment(n.name), len(a.Value), p.limits.Value)
		}
		if a.Name.Space != "" {
			continue // xmlns:… and the like: nothing of PAP
		}
		if _, twice := n.attrs[a.Name.Local]; twice {
			return bad("not well-formed: %s stands twice in %s", fragment(a.Name.Local), fragment(n.name))
		}
		n.attrs[a.Name.Local] = a.Value
	}
	if len(p.open) == 0 {
		p.root = n
	} else {
		up := p.open[len(p.open)-1]
		up.children = append(up.children, n)
	}
	p.open = append(p.open, n)
	return nil
}

// directive reads the DOCTYPE. What it declares is refused, and nothing is fetched.
func (p *parser) directive(s string) error {
	if strings.Contains(strings.ToUpper(s), "<!") || strings.Contains(s, "%") {
		return bad("the DOCTYPE declares something; entities are not taken")
	}
	words := strings.Fields(s)
	if len(words) < 2 || words[0] != "DOCTYPE" || words[1] != "pap" {
		return &Error{Code: BadRequest, Text: "the DOCTYPE is not that of PAP", Fragment: fragment(s)}
	}
	switch {
	case p.root != nil:
		return bad("not well-formed: a DOCTYPE behind the first element")
	case strings.Contains(s, "PAP 1.0//") || strings.Contains(s, "DTD PAP//"):
		p.doc.Version = Version10
	case strings.Contains(s, "PAP 2.0//"):
		p.doc.Version = Version20
	case strings.Contains(s, "PAP 2.1//"):
		p.doc.Version = Version21
	case len(words) > 2:
		return &Error{Code: VersionNotSupported, Text: "a DOCTYPE that is none of PAP 1.0, 2.0, 2.1", Fragment: fragment(s)}
	}
	return nil
}

func charset(name string, in io.Reader) (io.Reader, error) {
	c, ok := wsp.ParseCharset(name)
	if !ok || c.Wide() {
		return nil, bad("the charset %s is not known", fragment(name))
	}
	raw, err := io.ReadAll(in) // from memory, bounded by Limits.Octets
	if err != nil {
		return nil, err
	}
	text, _ := c.Decode(raw)
	return strings.NewReader(text), nil
}
