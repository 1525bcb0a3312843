package dispatcher

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
)

// call makes the request of a job.
func (j *job) call(replyURL string) *Call {
	ev := &j.Event
	c := &Call{Version: FormatVersion, Kind: j.Kind, ID: j.ID, Service: j.Service, Code: ev.Code, Sender: j.User, Message: ev.Message, Recipients: ev.Others,
		Subject: ev.Subject, Received: ev.Received.UTC(), ReplyURL: replyURL, Ended: ev.Why, Parts: wireParts(ev.Parts)}
	if j.Session != "" {
		c.Session = &CallState{ID: j.Session, Turn: j.Turn, State: ev.State, Text: base64.StdEncoding.EncodeToString(ev.State)}
	}
	if ev.Profile != "" || ev.UserAgent != "" {
		c.Device = &CallDevice{ev.Profile, ev.UserAgent}
	}
	if j.Kind == kindReport {
		c.Report = &CallReport{Kind: ev.ReportKind, Message: ev.Message, Recipient: ev.Recipient, Status: ev.Status}
	}
	return c
}

// request makes the HTTP request of a call.
func (p *Provider) request(c *Call, parts []Part, now time.Time) (outgoing.Request, error) {
	r := outgoing.Request{Method: p.Method, URL: fill(p.URL, c), Header: http.Header{}, MaxBody: int64(p.MaxAnswer)}
	var err error
	switch {
	case p.Format == "xml":
		r.Header.Set("Content-Type", "application/xml; charset=utf-8")
		if r.Body, err = xml.Marshal(clean(c)); err == nil {
			r.Body = append([]byte(xml.Header), r.Body...)
		}
	case p.Format == "json":
		r.Header.Set("Content-Type", "application/json")
		r.Body, err = json.Marshal(c)
	case p.Method == http.MethodGet:
		sep := "?"
		if strings.Contains(r.URL, "?") {
			sep = "&"
		}
		q := url.Values{}
		for _, f := range c.fields() {
			q.Add(f[0], f[1])
		}
		if t := firstText(parts); t != "" {
			q.Set("text", t)
		}
		r.URL += sep + q.Encode()
	case p.Raw:
		raw(c, parts, &r)
	default:
		err = form(c, parts, &r)
	}
	if err != nil {
		return r, fmt.Errorf("make the request: %w", err)
	}
	for k, v := range p.Headers {
		r.Header.Set(k, v)
	}
	r.Header.Set("Idempotency-Key", c.ID)
	r.Header.Set(headerPrefix+"Service-Version", strconv.Itoa(FormatVersion))
	if p.Token != "" {
		r.Header.Set("Authorization", "Bearer "+p.Token)
	}
	if p.Secret != "" {
		r.Header.Set(headerPrefix+"Signature", Sign(p.Secret, r.Method, r.URL, r.Body, now))
	}
	return r, nil
}

// Sign gives the signature of a request: "t=UNIX,v1=HEX", an HMAC-SHA-256 over time, method, path with query, and body, with
// a line feed behind each of the first three.
func Sign(secret, method, rawURL string, body []byte, now time.Time) string {
	at := strconv.FormatInt(now.Unix(), 10)
	path := ""
	if u, err := url.Parse(rawURL); err == nil {
		path = u.RequestURI()
	}
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s\n%s\n%s\n", at, method, path) // a hash takes everything
	mac.Write(body)
	return "t=" + at + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// clean replaces what may not stand in an XML document. Data of parts is base64 or has been looked at.
func clean(c *Call) *Call {
	k := *c
	ok := func(s string) string {
		if plain([]byte(s)) {
			return s
		}
		return strings.Map(func(r rune) rune {
			if r < ' ' && r != '\n' && r != '\t' || r == 0xFFFE || r == 0xFFFF {
				return '\uFFFD'
			}
			return r
		}, strings.ToValidUTF8(s, "\uFFFD"))
	}
	k.Subject, k.Code, k.Sender, k.Message = ok(c.Subject), ok(c.Code), ok(c.Sender), ok(c.Message)
	return &k
}

// fields are what forms, queries and headers tell.
func (c *Call) fields() [][2]string {
	out := [][2]string{{"version", strconv.Itoa(c.Version)}, {"kind", c.Kind}, {"id", c.ID}, {"service", c.Service}, {"code", c.Code}, {"sender", c.Sender},
		{"received", c.Received.Format(time.RFC3339Nano)}}
	add := func(k, v string) {
		if v != "" {
			out = append(out, [2]string{k, v})
		}
	}
	add("message", c.Message)
	for _, r := range c.Recipients {
		add("recipient", r)
	}
	add("subject", c.Subject)
	if s := c.Session; s != nil {
		add("session", s.ID)
		add("turn", strconv.Itoa(s.Turn))
		add("state", s.Text)
	}
	if d := c.Device; d != nil {
		add("profile", d.Profile)
		add("user_agent", d.UserAgent)
	}
	add("reply_url", c.ReplyURL)
	add("ended", c.Ended)
	if r := c.Report; r != nil {
		add("report", r.Kind)
		add("report_recipient", r.Recipient)
		add("status", r.Status)
	}
	return out
}

// form makes a multipart/form-data: the fields, and each part as a file called part.
func form(c *Call, parts []Part, r *outgoing.Request) error {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range c.fields() {
		if err := w.WriteField(f[0], f[1]); err != nil {
			return err
		}
	}
	for i, p := range parts {
		name := p.Name
		if name == "" {
			name = "part" + strconv.Itoa(i+1)
		}
		h := textproto.MIMEHeader{"Content-Type": {oneLine(p.Type)}, "Content-Disposition": {mime.FormatMediaType("form-data", map[string]string{"name": "part", "filename": oneLine(name)})}}
		if p.ID != "" {
			h.Set("Content-Id", oneLine(p.ID))
		}
		one, err := w.CreatePart(h)
		if err != nil {
			return err
		}
		if _, err := one.Write(p.Data); err != nil {
			return err
		}
	}
	r.Header.Set("Content-Type", w.FormDataContentType())
	err := w.Close()
	r.Body = b.Bytes()
	return err
}

// raw sends one part as the body, the first that is no text if there is one, and the fields as headers.
func raw(c *Call, parts []Part, r *outgoing.Request) {
	for _, f := range c.fields() {
		r.Header.Add(headerPrefix+strings.ReplaceAll(f[0], "_", "-"), mime.QEncoding.Encode("utf-8", oneLine(f[1])))
	}
	r.Body = []byte{}
	if len(parts) == 0 {
		return
	}
	best := &parts[0]
	for i := range parts {
		if !strings.HasPrefix(mediaOf(parts[i].Type), "text/") {
			best = &parts[i]
			break
		}
	}
	r.Header.Set("Content-Type", oneLine(best.Type))
	r.Body = best.Data
	if t := firstText(parts); t != "" {
		r.Header.Set(headerPrefix+"Text", mime.QEncoding.Encode("utf-8", oneLine(t)))
	}
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return ' '
		}
		return r
	}, s)
}

// maxParam bounds a text in a URL, a query or a header.
const maxParam = 1000

func firstText(parts []Part) string {
	t := (&Submission{Parts: parts}).text()
	return strings.ToValidUTF8(t[:min(len(t), maxParam)], "")
}

// fill puts the values of a call into the template of a URL, escaped for where they stand.
func fill(template string, c *Call) string {
	session, turn := "", ""
	if c.Session != nil {
		session, turn = c.Session.ID, strconv.Itoa(c.Session.Turn)
	}
	text := ""
	for i := range c.Parts {
		if c.Parts[i].Encoding == "text" {
			text = strings.ToValidUTF8(c.Parts[i].Data[:min(len(c.Parts[i].Data), maxParam)], "")
			break
		}
	}
	values := map[string]string{"code": c.Code, "sender": c.Sender, "session": session, "turn": turn, "message": c.Message, "service": c.Service, "text": text}
	path, query, asked := strings.Cut(template, "?")
	out := placeholders.ReplaceAllStringFunc(path, func(m string) string {
		v := values[m[1:len(m)-1]]
		if strings.Trim(v, ".") == "" {
			return strings.Repeat("%2E", len(v)) // a segment of dots would climb
		}
		return url.PathEscape(v)
	})
	if asked {
		out += "?" + placeholders.ReplaceAllStringFunc(query, func(m string) string { return url.QueryEscape(values[m[1:len(m)-1]]) })
	}
	return out
}
