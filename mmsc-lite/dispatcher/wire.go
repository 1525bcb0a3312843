package dispatcher

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// FormatVersion is the version of requests and answers in each format (docs/service-v1.xsd, docs/service-v1.json).
const FormatVersion = 1

// namespace of the XML format.
const namespace = "urn:mmsrouter:service:1"

// Call is a request to a provider as it stands in XML and JSON.
type Call struct {
	XMLName    xml.Name    `xml:"urn:mmsrouter:service:1 service-request" json:"-"`
	Version    int         `xml:"version,attr" json:"version"`
	Kind       string      `xml:"kind,attr" json:"kind"` // turn, ended or report
	ID         string      `xml:"id,attr" json:"id"`     // the idempotency key
	Service    string      `xml:"service" json:"service"`
	Code       string      `xml:"code" json:"code"`
	Sender     string      `xml:"sender" json:"sender"`
	Message    string      `xml:"message,omitempty" json:"message,omitempty"`
	Recipients []string    `xml:"recipient,omitempty" json:"recipients,omitempty"` // the message's others
	Subject    string      `xml:"subject,omitempty" json:"subject,omitempty"`
	Received   time.Time   `xml:"received" json:"received"`
	Session    *CallState  `xml:"session,omitempty" json:"session,omitempty"`
	Device     *CallDevice `xml:"device,omitempty" json:"device,omitempty"`
	ReplyURL   string      `xml:"reply-url,omitempty" json:"reply_url,omitempty"`
	Ended      string      `xml:"ended,omitempty" json:"ended,omitempty"` // stop, provider, timeout or turns
	Report     *CallReport `xml:"report,omitempty" json:"report,omitempty"`
	Parts      []WirePart  `xml:"part" json:"parts,omitempty"`
}

// CallState is the session of a Call.
type CallState struct {
	ID    string `xml:"id,attr" json:"id"`
	Turn  int    `xml:"turn,attr" json:"turn"` // 1 begins
	State []byte `xml:"-" json:"state,omitempty"`
	Text  string `xml:"state,omitempty" json:"-"` // State in base64
}

// CallDevice is what is known of the handset.
type CallDevice struct {
	Profile   string `xml:"profile,attr,omitempty" json:"profile,omitempty"`
	UserAgent string `xml:"user-agent,attr,omitempty" json:"user_agent,omitempty"`
}

// CallReport is what became of an answer.
type CallReport struct {
	Kind      string `xml:"kind,attr" json:"kind"` // delivery or read
	Message   string `xml:"message,attr" json:"message"`
	Recipient string `xml:"recipient,attr" json:"recipient"`
	Status    string `xml:"status,attr" json:"status"`
}

// WirePart is a part in XML and JSON.
type WirePart struct {
	Type     string `xml:"type,attr" json:"type"`
	Name     string `xml:"name,attr,omitempty" json:"name,omitempty"`
	ID       string `xml:"id,attr,omitempty" json:"id,omitempty"`
	URL      string `xml:"url,attr,omitempty" json:"url,omitempty"`
	Optional bool   `xml:"optional,attr,omitempty" json:"optional,omitempty"`
	Encoding string `xml:"encoding,attr,omitempty" json:"encoding,omitempty"` // text or base64; empty: base64
	Data     string `xml:",chardata" json:"data,omitempty"`
}

// Response is an answer of a provider as it stands in XML and JSON.
type Response struct {
	XMLName    xml.Name   `xml:"urn:mmsrouter:service:1 service-reply" json:"-"`
	Version    int        `xml:"version,attr" json:"version"`
	End        bool       `xml:"end,attr,omitempty" json:"end,omitempty"`
	Delay      int        `xml:"delay,attr,omitempty" json:"delay,omitempty"` // seconds
	Recipients string     `xml:"recipients,attr,omitempty" json:"recipients,omitempty"`
	Price      string     `xml:"price,attr,omitempty" json:"price,omitempty"`
	Subject    string     `xml:"subject,omitempty" json:"subject,omitempty"`
	State      string     `xml:"state,omitempty" json:"state,omitempty"` // base64
	SMIL       string     `xml:"smil,omitempty" json:"smil,omitempty"`
	Text       string     `xml:"text,omitempty" json:"text,omitempty"` // a part of text/plain, the first
	Pages      []WirePage `xml:"page" json:"pages,omitempty"`
	Parts      []WirePart `xml:"part" json:"parts,omitempty"`
}

// WirePage is what is shown at the same time.
type WirePage struct {
	Duration int        `xml:"duration,attr,omitempty" json:"duration,omitempty"` // seconds
	Text     string     `xml:"text,omitempty" json:"text,omitempty"`
	Parts    []WirePart `xml:"part" json:"parts,omitempty"`
}

// Bounds of an answer.
const (
	maxPrice = 64
	maxState = 64 << 10
	maxDepth = 8
	maxParts = 200
)

// errGarbage is wrapped by errors of answers that can't be read.
var errGarbage = errors.New("the answer can't be used")

func garbage(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errGarbage, fmt.Errorf(format, args...))
}

// wireParts gives parts in the form of XML and JSON; texts stay readable.
func wireParts(parts []Part) []WirePart {
	var out []WirePart
	for _, p := range parts {
		w := WirePart{Type: p.Type, Name: p.Name, ID: p.ID}
		if mediaOf(p.Type) == "text/plain" && plain(p.Data) {
			w.Encoding, w.Data = "text", string(p.Data)
		} else {
			w.Encoding, w.Data = "base64", base64.StdEncoding.EncodeToString(p.Data)
		}
		out = append(out, w)
	}
	return out
}

// plain says whether octets can stand in an XML document as they are.
func plain(b []byte) bool {
	return utf8.Valid(b) && !bytes.ContainsFunc(b, func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\t' || r == 0xFFFE || r == 0xFFFF || r == utf8.RuneError
	})
}

// decodeXML reads an answer in XML: no document type, no instructions, bounded depth.
func decodeXML(body []byte) (*Response, error) {
	dec := xml.NewDecoder(bytes.NewReader(body))
	depth := 0
	for {
		tok, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, garbage("xml: %w", err)
		}
		switch tok := tok.(type) {
		case xml.Directive:
			return nil, garbage("xml: a document type is not allowed")
		case xml.ProcInst:
			if tok.Target != "xml" {
				return nil, garbage("xml: an instruction is not allowed")
			}
		case xml.StartElement:
			if depth++; depth > maxDepth {
				return nil, garbage("xml: elements are nested deeper than %d", maxDepth)
			}
		case xml.EndElement:
			depth--
		}
	}
	r := &Response{}
	if err := xml.Unmarshal(body, r); err != nil {
		return nil, garbage("xml: %w", err)
	}
	return r, nil
}

func decodeJSON(body []byte) (*Response, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	r := &Response{}
	if err := dec.Decode(r); err != nil {
		return nil, garbage("json: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, garbage("json: something stands behind the answer")
	}
	return r, nil
}

// answer makes an Answer of a Response.
func (r *Response) answer() (*Answer, error) {
	if r.Version != FormatVersion {
		return nil, garbage("version %d: want %d", r.Version, FormatVersion)
	}
	a := &Answer{Subject: r.Subject, SMIL: []byte(r.SMIL), End: r.End, Price: r.Price, Recipients: r.Recipients}
	var err error
	if a.State, err = base64.StdEncoding.DecodeString(strings.TrimSpace(r.State)); err != nil {
		return nil, garbage("state: want base64")
	}
	if a.Delay, err = seconds(r.Delay); err != nil {
		return nil, garbage("delay: %w", err)
	}
	count := 0
	take := func(text string, list []WirePart) ([]Part, error) {
		var out []Part
		if text != "" {
			out = append(out, Part{Type: "text/plain; charset=utf-8", Data: []byte(text)})
		}
		for i := range list {
			p, err := list[i].part()
			if err != nil {
				return nil, garbage("part %d: %w", i+1, err)
			}
			out = append(out, p)
		}
		if count += len(out); count > maxParts {
			return nil, garbage("more than %d parts", maxParts)
		}
		return out, nil
	}
	if a.Parts, err = take(r.Text, r.Parts); err != nil {
		return nil, err
	}
	if len(r.Pages) > maxParts {
		return nil, garbage("more than %d pages", maxParts)
	}
	for _, p := range r.Pages {
		page := Page{}
		if page.Duration, err = seconds(p.Duration); err != nil {
			return nil, garbage("duration: %w", err)
		}
		if page.Parts, err = take(p.Text, p.Parts); err != nil {
			return nil, err
		}
		a.Pages = append(a.Pages, page)
	}
	return a, a.check()
}

func (w *WirePart) part() (Part, error) {
	p := Part{Type: w.Type, Name: w.Name, ID: w.ID, URL: w.URL, Optional: w.Optional}
	if p.URL != "" {
		if strings.TrimSpace(w.Data) != "" {
			return p, errors.New("a URL and data")
		}
		return p, nil
	}
	switch w.Encoding {
	case "text":
		p.Data = []byte(w.Data)
		return p, nil
	case "", "base64":
		clean := strings.Map(func(r rune) rune {
			if r == ' ' || r == '\n' || r == '\r' || r == '\t' {
				return -1
			}
			return r
		}, w.Data)
		var err error
		if p.Data, err = base64.StdEncoding.DecodeString(clean); err != nil {
			return p, errors.New("data is no base64")
		}
		return p, nil
	}
	return p, fmt.Errorf("encoding %q: want text or base64", w.Encoding)
}

func seconds(n int) (time.Duration, error) {
	if n < 0 || n > 365*24*3600 {
		return 0, errors.New("want seconds, 0 to a year of them")
	}
	return time.Duration(n) * time.Second, nil
}

// check says what an answer may not have.
func (a *Answer) check() error {
	switch {
	case a.Recipients != "" && a.Recipients != "sender" && a.Recipients != "all":
		return garbage("recipients: want sender or all")
	case len(a.Price) > maxPrice || strings.ContainsFunc(a.Price, func(r rune) bool { return r <= ' ' || r > '~' }):
		return garbage("price: want at most %d characters of ASCII without spaces", maxPrice)
	case len(a.State) > maxState:
		return garbage("state: more than %d octets", maxState)
	case a.empty():
		return garbage("nothing to send")
	}
	return nil
}

// decode reads a provider's answer in the service's format. What is not XML or JSON goes to the platform as it is: raw
// media, a multipart, a zip, a list of URLs.
func decode(format string, h http.Header, body []byte) (*Answer, error) {
	media := mediaOf(h.Get("Content-Type"))
	switch format {
	case "xml":
		if media != "application/xml" && media != "text/xml" && !strings.HasSuffix(media, "+xml") {
			return nil, garbage("content type %q: want application/xml", media)
		}
		r, err := decodeXML(body)
		if err != nil {
			return nil, err
		}
		return r.answer()
	case "json":
		if media != "application/json" && !strings.HasSuffix(media, "+json") {
			return nil, garbage("content type %q: want application/json", media)
		}
		r, err := decodeJSON(body)
		if err != nil {
			return nil, err
		}
		return r.answer()
	}
	if media == "" || len(body) == 0 {
		return nil, garbage("no content, or no type")
	}
	var words mime.WordDecoder
	subject, err := words.DecodeHeader(h.Get(headerPrefix + "Subject"))
	if err != nil {
		return nil, garbage("subject: %w", err)
	}
	r := Response{Version: FormatVersion, Subject: subject, State: h.Get(headerPrefix + "State"), Price: h.Get(headerPrefix + "Price"),
		Recipients: h.Get(headerPrefix + "Recipients"), End: h.Get(headerPrefix+"End") == "yes"}
	if d := h.Get(headerPrefix + "Delay"); d != "" {
		if r.Delay, err = strconv.Atoi(d); err != nil {
			return nil, garbage("delay: want seconds")
		}
	}
	r.Parts = []WirePart{{Type: h.Get("Content-Type"), Encoding: "text", Data: string(body)}}
	return r.answer()
}

// headerPrefix begins the names of our headers.
const headerPrefix = "X-Mmsrouter-"
