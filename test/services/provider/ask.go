package provider

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Ask is a request to a provider, whatever its format.
type Ask struct {
	Format string // xml, json, form, raw or query
	Method string
	Path   string // with the query
	Header http.Header
	Peer   string // common name of the client's certificate

	Kind, ID, Service, Code, Sender, Message, Subject, ReplyURL, Ended string
	Session, State                                                     string
	Turn                                                               int
	Recipients                                                         []string
	Profile, UserAgent                                                 string
	Report                                                             Report
	Parts                                                              []Part
}

// Report is what became of an answer.
type Report struct{ Kind, Message, Recipient, Status string }

// Part is one of the user's.
type Part struct {
	Type, Name, ID string
	Data           []byte
}

// Text is the first text of the user.
func (a Ask) Text() string {
	for _, p := range a.Parts {
		if strings.HasPrefix(p.Type, "text/plain") {
			return string(p.Data)
		}
	}
	return ""
}

// read reads a request of any format.
func read(r *http.Request, body []byte) (Ask, error) {
	a := Ask{Method: r.Method, Path: r.URL.RequestURI(), Header: r.Header}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		a.Peer = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && r.Header.Get("Content-Type") != "" {
		return a, err
	}
	switch {
	case r.Method == http.MethodGet:
		a.Format = "query"
		return a, a.fields(r.URL.Query(), r.URL.Query().Get("text"))
	case media == "application/xml":
		a.Format = "xml"
		return a, a.xml(body)
	case media == "application/json":
		a.Format = "json"
		return a, a.json(body)
	case media == "multipart/form-data":
		a.Format = "form"
		return a, a.form(body, params["boundary"])
	}
	a.Format = "raw"
	return a, a.raw(r, media, body)
}

type xmlAsk struct {
	XMLName    xml.Name `xml:"urn:mmsrouter:service:1 service-request"`
	Version    string   `xml:"version,attr"`
	Kind       string   `xml:"kind,attr"`
	ID         string   `xml:"id,attr"`
	Service    string   `xml:"service"`
	Code       string   `xml:"code"`
	Sender     string   `xml:"sender"`
	Message    string   `xml:"message"`
	Recipients []string `xml:"recipient"`
	Subject    string   `xml:"subject"`
	Session    struct {
		ID    string `xml:"id,attr"`
		Turn  int    `xml:"turn,attr"`
		State string `xml:"state"`
	} `xml:"session"`
	Device struct {
		Profile   string `xml:"profile,attr"`
		UserAgent string `xml:"user-agent,attr"`
	} `xml:"device"`
	ReplyURL string `xml:"reply-url"`
	Ended    string `xml:"ended"`
	Report   struct {
		Kind      string `xml:"kind,attr"`
		Message   string `xml:"message,attr"`
		Recipient string `xml:"recipient,attr"`
		Status    string `xml:"status,attr"`
	} `xml:"report"`
	Parts []struct {
		Type     string `xml:"type,attr"`
		Name     string `xml:"name,attr"`
		ID       string `xml:"id,attr"`
		Encoding string `xml:"encoding,attr"`
		Data     string `xml:",chardata"`
	} `xml:"part"`
}

func (a *Ask) xml(body []byte) error {
	var x xmlAsk
	if err := xml.Unmarshal(body, &x); err != nil {
		return err
	}
	if x.Version != "1" {
		return fmt.Errorf("version %q", x.Version)
	}
	state, err := base64.StdEncoding.DecodeString(x.Session.State)
	if err != nil {
		return err
	}
	a.Kind, a.ID, a.Service, a.Code, a.Sender, a.Message, a.Subject = x.Kind, x.ID, x.Service, x.Code, x.Sender, x.Message, x.Subject
	a.ReplyURL, a.Ended, a.Session, a.State, a.Turn, a.Recipients = x.ReplyURL, x.Ended, x.Session.ID, string(state), x.Session.Turn, x.Recipients
	a.Profile, a.UserAgent, a.Report = x.Device.Profile, x.Device.UserAgent, Report(x.Report)
	for _, p := range x.Parts {
		if err := a.part(p.Type, p.Name, p.ID, p.Encoding, p.Data); err != nil {
			return err
		}
	}
	return nil
}

func (a *Ask) part(media, name, id, encoding, data string) error {
	p := Part{Type: media, Name: name, ID: id, Data: []byte(data)}
	if encoding != "text" {
		var err error
		if p.Data, err = base64.StdEncoding.DecodeString(data); err != nil {
			return fmt.Errorf("part %s: %w", name, err)
		}
	}
	a.Parts = append(a.Parts, p)
	return nil
}

type jsonAsk struct {
	Version    int      `json:"version"`
	Kind       string   `json:"kind"`
	ID         string   `json:"id"`
	Service    string   `json:"service"`
	Code       string   `json:"code"`
	Sender     string   `json:"sender"`
	Message    string   `json:"message"`
	Recipients []string `json:"recipients"`
	Subject    string   `json:"subject"`
	Session    struct {
		ID    string `json:"id"`
		Turn  int    `json:"turn"`
		State []byte `json:"state"`
	} `json:"session"`
	Device struct {
		Profile   string `json:"profile"`
		UserAgent string `json:"user_agent"`
	} `json:"device"`
	ReplyURL string `json:"reply_url"`
	Ended    string `json:"ended"`
	Report   Report `json:"report"`
	Parts    []struct {
		Type     string `json:"type"`
		Name     string `json:"name"`
		ID       string `json:"id"`
		Encoding string `json:"encoding"`
		Data     string `json:"data"`
	} `json:"parts"`
}

func (a *Ask) json(body []byte) error {
	var x jsonAsk
	if err := json.Unmarshal(body, &x); err != nil {
		return err
	}
	if x.Version != 1 {
		return fmt.Errorf("version %d", x.Version)
	}
	a.Kind, a.ID, a.Service, a.Code, a.Sender, a.Message, a.Subject = x.Kind, x.ID, x.Service, x.Code, x.Sender, x.Message, x.Subject
	a.ReplyURL, a.Ended, a.Session, a.State, a.Turn, a.Recipients = x.ReplyURL, x.Ended, x.Session.ID, string(x.Session.State), x.Session.Turn, x.Recipients
	a.Profile, a.UserAgent, a.Report = x.Device.Profile, x.Device.UserAgent, x.Report
	for _, p := range x.Parts {
		if err := a.part(p.Type, p.Name, p.ID, p.Encoding, p.Data); err != nil {
			return err
		}
	}
	return nil
}

// fields reads what forms, queries and headers tell.
func (a *Ask) fields(v url.Values, text string) error {
	if v.Get("version") != "1" {
		return fmt.Errorf("version %q", v.Get("version"))
	}
	state, err := base64.StdEncoding.DecodeString(v.Get("state"))
	if err != nil {
		return err
	}
	if s := v.Get("turn"); s != "" {
		if a.Turn, err = strconv.Atoi(s); err != nil {
			return err
		}
	}
	a.Kind, a.ID, a.Service, a.Code, a.Sender, a.Message, a.Subject = v.Get("kind"), v.Get("id"), v.Get("service"), v.Get("code"), v.Get("sender"), v.Get("message"), v.Get("subject")
	a.ReplyURL, a.Ended, a.Session, a.State, a.Recipients = v.Get("reply_url"), v.Get("ended"), v.Get("session"), string(state), v["recipient"]
	a.Profile, a.UserAgent = v.Get("profile"), v.Get("user_agent")
	if a.Kind == "report" {
		a.Report = Report{v.Get("report"), a.Message, v.Get("report_recipient"), v.Get("status")}
	}
	if text != "" {
		a.Parts = append(a.Parts, Part{Type: "text/plain; charset=utf-8", Data: []byte(text)})
	}
	return nil
}

func (a *Ask) form(body []byte, boundary string) error {
	m := multipart.NewReader(strings.NewReader(string(body)), boundary)
	v := url.Values{}
	var parts []Part
	for {
		p, err := m.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		data, err := io.ReadAll(p)
		if err != nil {
			return err
		}
		if p.FormName() == "part" {
			parts = append(parts, Part{Type: p.Header.Get("Content-Type"), Name: p.FileName(), ID: p.Header.Get("Content-Id"), Data: data})
		} else {
			v.Add(p.FormName(), string(data))
		}
	}
	err := a.fields(v, "")
	a.Parts = parts
	return err
}

// raw reads the fields from the header; the body is one part.
func (a *Ask) raw(r *http.Request, media string, body []byte) error {
	var words mime.WordDecoder
	v := url.Values{}
	for name, list := range r.Header {
		key, ours := strings.CutPrefix(name, "X-Mmsrouter-")
		for _, s := range list {
			text, err := words.DecodeHeader(s)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if ours {
				v.Add(strings.ReplaceAll(strings.ToLower(key), "-", "_"), text)
			}
		}
	}
	text := v.Get("text")
	if strings.HasPrefix(media, "text/plain") {
		text = ""
	}
	if err := a.fields(v, text); err != nil {
		return err
	}
	if media != "" {
		a.Parts = append(a.Parts, Part{Type: r.Header.Get("Content-Type"), Data: body})
	}
	return nil
}
