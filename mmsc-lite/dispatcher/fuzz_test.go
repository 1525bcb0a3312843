package dispatcher

import (
	"net/http"
	"testing"
)

// FuzzDecode reads answers of providers: whatever they are, an error or an Answer that keeps the bounds.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"version":1,"text":"x","pages":[{"duration":5,"text":"y","parts":[{"type":"image/png","data":"AAAA"}]}]}`,
		`<service-reply xmlns="urn:mmsrouter:service:1" version="1" end="true"><text>x</text><part type="image/png" url="http://example.net/"/></service-reply>`,
		`<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`, "plain"} {
		for _, format := range []string{"json", "xml", "http"} {
			f.Add(format, s)
		}
	}
	types := map[string]string{"json": "application/json", "xml": "application/xml", "http": "text/plain"}
	f.Fuzz(func(t *testing.T, format, body string) {
		a, err := decode(format, http.Header{"Content-Type": {types[format]}}, []byte(body))
		if err != nil {
			return
		}
		parts := len(a.Parts)
		for _, p := range a.Pages {
			parts += len(p.Parts)
		}
		if parts == 0 || parts > maxParts || a.Delay < 0 {
			t.Errorf("%d parts, delay %s", parts, a.Delay)
		}
	})
}

// FuzzText lets users write what they like: a URL made of it stays on the provider's host, and words stay words.
func FuzzText(f *testing.F) {
	f.Add("../../x?y#z")
	f.Add("\x00\xff@example.org/")
	f.Add("..")
	guard := "http://provider.example.net/a/{text}?q={text}"
	f.Fuzz(func(t *testing.T, text string) {
		if w := words(text); words(w) != w {
			t.Errorf("words of %q: %q", text, w)
		}
		p := Provider{URL: guard, Format: "xml", Method: "POST"}
		parts := []Part{{Type: "text/plain", Data: []byte(text)}}
		j := &job{Kind: kindTurn, Event: Event{Parts: parts, Subject: text}}
		req, err := p.request(j.call(""), parts, j.Event.Received)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequest(req.Method, req.URL, nil)
		if err != nil || r.URL.Host != "provider.example.net" {
			t.Errorf("%s: %v", req.URL, err)
		}
	})
}
