package provider

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"
)

// Answer is what goes back over HTTP.
type Answer struct {
	Status int // 0: 200
	Header http.Header
	Type   string
	Body   []byte
	Do     http.HandlerFunc // instead of all that
}

func (a *Answer) write(w http.ResponseWriter, r *http.Request) {
	if a.Do != nil {
		a.Do(w, r)
		return
	}
	for k, v := range a.Header {
		w.Header()[k] = v
	}
	if a.Type != "" {
		w.Header().Set("Content-Type", a.Type)
	}
	if a.Status != 0 {
		w.WriteHeader(a.Status)
	}
	_, _ = w.Write(a.Body) // the router asks again if this did not reach it
}

// Reply is an answer in words that every format knows.
type Reply struct {
	Subject, Text, State, SMIL string
	Recipients, Price          string
	Delay                      int // seconds
	End                        bool
	Pages                      []Page
	Parts                      []Content
}

// Page is what is shown at the same time.
type Page struct {
	Duration int // seconds
	Text     string
	Parts    []Content
}

// Content is a piece of it, given or named by URL.
type Content struct {
	Type, Name, ID, URL string
	Optional            bool
	Data                []byte
}

// In gives the reply in a service's format: xml, json or http.
func (r Reply) In(format string) Answer {
	switch format {
	case "xml":
		return r.XML()
	case "json":
		return r.JSON()
	}
	return r.HTTP()
}

type xmlPart struct {
	Type     string `xml:"type,attr"`
	Name     string `xml:"name,attr,omitempty"`
	ID       string `xml:"id,attr,omitempty"`
	URL      string `xml:"url,attr,omitempty"`
	Optional bool   `xml:"optional,attr,omitempty"`
	Data     string `xml:",chardata"`
}

type xmlPage struct {
	Duration int       `xml:"duration,attr,omitempty"`
	Text     string    `xml:"text,omitempty"`
	Parts    []xmlPart `xml:"part"`
}

func xmlParts(list []Content) (out []xmlPart) {
	for _, c := range list {
		out = append(out, xmlPart{c.Type, c.Name, c.ID, c.URL, c.Optional, base64.StdEncoding.EncodeToString(c.Data)})
	}
	return out
}

// XML gives the reply by service-v1.xsd.
func (r Reply) XML() Answer {
	x := struct {
		XMLName    xml.Name  `xml:"urn:mmsrouter:service:1 service-reply"`
		Version    int       `xml:"version,attr"`
		End        bool      `xml:"end,attr,omitempty"`
		Delay      int       `xml:"delay,attr,omitempty"`
		Recipients string    `xml:"recipients,attr,omitempty"`
		Price      string    `xml:"price,attr,omitempty"`
		Subject    string    `xml:"subject,omitempty"`
		State      string    `xml:"state,omitempty"`
		SMIL       string    `xml:"smil,omitempty"`
		Text       string    `xml:"text,omitempty"`
		Pages      []xmlPage `xml:"page"`
		Parts      []xmlPart `xml:"part"`
	}{Version: 1, End: r.End, Delay: r.Delay, Recipients: r.Recipients, Price: r.Price, Subject: r.Subject,
		State: base64.StdEncoding.EncodeToString([]byte(r.State)), SMIL: r.SMIL, Text: r.Text, Parts: xmlParts(r.Parts)}
	for _, p := range r.Pages {
		x.Pages = append(x.Pages, xmlPage{p.Duration, p.Text, xmlParts(p.Parts)})
	}
	body, err := xml.Marshal(x)
	if err != nil {
		return Answer{Status: http.StatusTeapot, Body: []byte(err.Error())}
	}
	return Answer{Type: "application/xml; charset=utf-8", Body: append([]byte(xml.Header), body...)}
}

type jsonPart struct {
	Type     string `json:"type"`
	Name     string `json:"name,omitempty"`
	ID       string `json:"id,omitempty"`
	URL      string `json:"url,omitempty"`
	Optional bool   `json:"optional,omitempty"`
	Data     string `json:"data,omitempty"`
}

type jsonPage struct {
	Duration int        `json:"duration,omitempty"`
	Text     string     `json:"text,omitempty"`
	Parts    []jsonPart `json:"parts,omitempty"`
}

func jsonParts(list []Content) (out []jsonPart) {
	for _, p := range xmlParts(list) {
		out = append(out, jsonPart(p))
	}
	return out
}

// JSON gives the reply by service-v1.json.
func (r Reply) JSON() Answer {
	x := struct {
		Version    int        `json:"version"`
		End        bool       `json:"end,omitempty"`
		Delay      int        `json:"delay,omitempty"`
		Recipients string     `json:"recipients,omitempty"`
		Price      string     `json:"price,omitempty"`
		Subject    string     `json:"subject,omitempty"`
		State      []byte     `json:"state,omitempty"`
		SMIL       string     `json:"smil,omitempty"`
		Text       string     `json:"text,omitempty"`
		Pages      []jsonPage `json:"pages,omitempty"`
		Parts      []jsonPart `json:"parts,omitempty"`
	}{Version: 1, End: r.End, Delay: r.Delay, Recipients: r.Recipients, Price: r.Price, Subject: r.Subject, State: []byte(r.State), SMIL: r.SMIL,
		Text: r.Text, Parts: jsonParts(r.Parts)}
	for _, p := range r.Pages {
		x.Pages = append(x.Pages, jsonPage{p.Duration, p.Text, jsonParts(p.Parts)})
	}
	body, err := json.Marshal(x)
	if err != nil {
		return Answer{Status: http.StatusTeapot, Body: []byte(err.Error())}
	}
	return Answer{Type: "application/json", Body: body}
}

// HTTP gives the reply as a multipart/mixed of all texts and parts, in their order, beside header fields. Content by URL is
// a text/uri-list.
func (r Reply) HTTP() Answer {
	a := Answer{Header: http.Header{}}
	set := func(name, value string) {
		if value != "" {
			a.Header.Set("X-Mmsrouter-"+name, value)
		}
	}
	set("Subject", mime.QEncoding.Encode("utf-8", r.Subject))
	set("State", base64.StdEncoding.EncodeToString([]byte(r.State)))
	set("Recipients", r.Recipients)
	set("Price", r.Price)
	if r.Delay > 0 {
		set("Delay", strconv.Itoa(r.Delay))
	}
	if r.End {
		set("End", "yes")
	}
	all := Page{Text: r.Text, Parts: r.Parts}
	var list []Content
	for _, p := range append([]Page{all}, r.Pages...) {
		if p.Text != "" {
			list = append(list, Content{Type: "text/plain; charset=utf-8", Data: []byte(p.Text)})
		}
		list = append(list, p.Parts...)
	}
	if r.SMIL != "" {
		list = append(list, Content{Type: "application/smil", Data: []byte(r.SMIL)})
	}
	a.Type, a.Body = Multipart("mixed", list...)
	return a
}

// Multipart makes a multipart of MIME.
func Multipart(subtype string, list ...Content) (media string, body []byte) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, c := range list {
		h := textproto.MIMEHeader{"Content-Type": {c.Type}}
		if c.Name != "" {
			h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", c.Name))
		}
		if c.ID != "" {
			h.Set("Content-Id", "<"+c.ID+">")
		}
		if c.Optional {
			h.Set("X-Mmsrouter-Optional", "yes")
		}
		if c.URL != "" {
			h.Set("Content-Type", "text/uri-list")
			c.Data = []byte(c.URL + "\r\n")
		}
		part, err := w.CreatePart(h)
		if err == nil {
			_, err = part.Write(c.Data)
		}
		if err != nil {
			panic(err) // a buffer takes everything
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return "multipart/" + subtype + "; boundary=" + w.Boundary(), b.Bytes()
}
