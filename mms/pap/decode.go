package pap

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

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

// reader makes messages of nodes; the first fault stays.
type reader struct{ err *Error }

func (r *reader) fail(e *Error) {
	if r.err == nil {
		r.err = e
	}
}

func (r *reader) required(n *node, name string) string {
	v := n.attrs[name]
	if strings.TrimSpace(v) == "" {
		r.fail(bad("%s has no %s", n.name, name))
	}
	return v
}

func (r *reader) time(n *node, name string) time.Time {
	v := n.attrs[name]
	if v == "" {
		return time.Time{}
	}
	t, err := time.Parse(timeForm, v)
	if err != nil || t.Year() < 1970 {
		r.fail(&Error{Code: BadRequest, Text: name + " is not a time such as 2026-11-24T15:00:00Z", Fragment: fragment(v)})
	}
	return t
}

func (r *reader) code(n *node) Code {
	v := r.required(n, "code")
	c, err := strconv.Atoi(v)
	if err != nil || c < 1000 || c > 5999 {
		r.fail(&Error{Code: BadRequest, Text: "code is not a number of 1000 to 5999", Fragment: fragment(v)})
	}
	return Code(c)
}

func (r *reader) flag(n *node, name string) bool {
	return r.word(n, name, "false", "true", "false") == "true"
}

// word reads an attribute that is one of a list; def if it is absent.
func (r *reader) word(n *node, name, def string, allowed ...string) string {
	v, ok := n.attrs[name]
	if !ok || v == "" {
		return def
	}
	for _, a := range allowed {
		if v == a {
			return v
		}
	}
	r.fail(&Error{Code: BadRequest, Text: name + " is none of " + strings.Join(allowed, ", "), Fragment: fragment(v)})
	return def
}

func (r *reader) state(n *node) State {
	s := State(r.required(n, "message-state"))
	if !s.Known() {
		r.fail(&Error{Code: BadRequest, Text: "message-state is none of PAP's", Fragment: fragment(string(s))})
	}
	return s
}

// each walks children of the names allowed.
func (r *reader) each(n *node, take map[string]func(*node)) {
	for _, c := range n.children {
		f, ok := take[c.name]
		if !ok {
			r.fail(&Error{Code: BadRequest, Text: n.name + " holds an element that PAP does not have there", Fragment: fragment(c.name)})
			return
		}
		f(c)
	}
}

func (r *reader) address(n *node) Address {
	r.each(n, nil)
	return Address{Value: r.required(n, "address-value")}
}

// content reads addresses and a quality of service.
func (r *reader) content(n *node, also map[string]func(*node)) (list []Address, q *QualityOfService) {
	take := map[string]func(*node){
		"address": func(c *node) { list = append(list, r.address(c)) },
		"quality-of-service": func(c *node) {
			if q != nil {
				r.fail(bad("%s has two quality-of-service", n.name))
			}
			q = r.quality(c)
		},
	}
	for name, f := range also {
		if f == nil {
			delete(take, name)
			continue
		}
		take[name] = f
	}
	r.each(n, take)
	return list, q
}

func (r *reader) quality(n *node) *QualityOfService {
	r.each(n, nil)
	return &QualityOfService{
		Priority:       r.word(n, "priority", "", "high", "medium", "low"),
		DeliveryMethod: r.word(n, "delivery-method", "", "confirmed", "preferconfirmed", "unconfirmed", "notspecified"),
		Network:        n.attrs["network"], NetworkRequired: r.flag(n, "network-required"),
		Bearer: n.attrs["bearer"], BearerRequired: r.flag(n, "bearer-required"),
	}
}

// one takes the single address that some messages have.
func (r *reader) one(n *node, list []Address) Address {
	if len(list) != 1 {
		r.fail(bad("%s has %d addresses, not one", n.name, len(list)))
		return Address{}
	}
	return list[0]
}
