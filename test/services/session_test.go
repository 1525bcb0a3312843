package services_test

import (
	"bytes"
	"fmt"
	"image"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/test/services/provider"
)

// counting answers each turn with what it knows of it, a picture and a state that grows, and ends the session at "bye".
func counting(t *testing.T, format string) func(provider.Ask) provider.Answer {
	picture := asPNG(t, shade(700, 120)) // wider than the class allows
	return func(a provider.Ask) provider.Answer {
		if a.Kind != "turn" {
			return provider.Answer{Status: 204}
		}
		r := provider.Reply{Subject: fmt.Sprintf("Tur %d: åäö", a.Turn), State: a.State + "\x00x", End: a.Text() == "bye"}
		r.Pages = []provider.Page{{Duration: 5, Text: fmt.Sprintf("%d/%d/%s", a.Turn, len(a.State)/2, a.Text()), Parts: []provider.Content{{Type: "image/png", Name: "flag.png", Data: picture}}}}
		return r.In(format)
	}
}

// TestSession: a user begins, and the handset answers each reply itself, which is the next turn, until the provider ends the session; a
// message after that begins a new one. The formats differ and so do the ways by which the handsets are notified; what user and
// provider see does not.
func TestSession(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, number, format, provider, asked string }{
		{"xml, by SMS", alice, "xml", "format: xml", "xml"},
		{"json, by UDP", bob, "json", "format: json", "json"},
		{"multipart, by SMS", alice, "http", "format: http", "form"},
		{"raw, by UDP", bob, "http", "format: http, raw: true", "raw"},
		{"get, by SMS", alice, "http", "format: http, method: GET", "query"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := provider.Start(t, provider.Options{Secret: "s3cret", Token: "t0ken", Do: counting(t, c.format)})
			profile := p.URL + "media/profile.xml" // there is none: the class of the configuration counts
			w := newWorld(t, setup{phones: func(o *handset.Options) {
				o.Replies, o.Header = []string{"två", "tre", "bye"}, append(o.Header, fmt.Sprintf("X-WAP-Profile: %q", profile))
			}})
			w.enter(fmt.Sprintf(`{name: quiz, match: {codes: ["7000"]}, provider: {url: "%sask?of={code}", %s, secret: s3cret, token: t0ken}}`, p.URL, c.provider))
			w.users.say(t, c.number, "7000", "ett")
			said := []string{"ett", "två", "tre", "bye"}
			var replies []reply
			first := p.Await(1, "for a turn", provider.Turn)
			for i, text := range said {
				a := p.Await(i+1, "for a turn", provider.Turn)
				if a.Format != c.asked || a.Turn != i+1 || a.Session != first.Session || a.Session == "" || a.State != strings.Repeat("\x00x", i) ||
					a.Text() != text || a.Sender != c.number || a.Code != "7000" || a.Service != "quiz" || a.Message == "" || !strings.Contains(a.Path, "of=7000") {
					t.Errorf("turn %d: %+v", i+1, a)
				}
				if a.UserAgent != "LabPhone/1.0" || a.Profile != profile {
					t.Errorf("turn %d: device %q %q", i+1, a.UserAgent, a.Profile)
				}
				r := w.users.reply(t, c.number, "7000", i+1)
				if want := fmt.Sprintf("%d/%d/%s", i+1, i, text); r.text != want || r.Subject != fmt.Sprintf("Tur %d: åäö", i+1) {
					t.Errorf("reply %d: %q %q, want %q", i+1, r.Subject, r.text, want)
				}
				if n := videoRich.fits(t, r); len(n) != 1 {
					t.Errorf("reply %d: %d pictures", i+1, len(n))
				}
				if i > 0 && a.Subject != "Re: "+replies[i-1].Subject {
					t.Errorf("turn %d: subject %q", i+1, a.Subject)
				}
				replies = append(replies, r)
			}
			if a := p.Await(1, "for an end", provider.Ended); a.Ended != "provider" || a.Session != first.Session || a.State != strings.Repeat("\x00x", 4) {
				t.Errorf("the end: %+v", a)
			}
			w.users.say(t, c.number, "7000", "igen")
			if a := p.Await(5, "for a turn", provider.Turn); a.Turn != 1 || a.Session == first.Session || a.State != "" {
				t.Errorf("a new session: %+v", a)
			}
			w.users.reply(t, c.number, "7000", 5)
			if p.Refused() != 0 || p.Repeats() != 0 {
				t.Errorf("%d requests without their signature or token, %d repeated", p.Refused(), p.Repeats())
			}
			sound(t, replies...)
		})
	}
}

// TestPictureFromTheUser: what the user sends reaches the provider octet for octet, with type and name.
func TestPictureFromTheUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	photo := asJPEG(t, shade(320, 200))
	var entries []string
	providers := map[string]*provider.Provider{}
	for i, c := range []struct{ format, more string }{{"xml", ""}, {"json", ""}, {"http", ""}, {"http", ", raw: true"}} {
		code := fmt.Sprint(7000 + i)
		p := provider.Start(t, provider.Options{Do: func(a provider.Ask) provider.Answer {
			for _, part := range a.Parts {
				if img, _, err := image.Decode(bytes.NewReader(part.Data)); err == nil {
					return provider.Reply{Text: fmt.Sprintf("%v %s", img.Bounds().Size(), a.Text())}.In(c.format)
				}
			}
			return provider.Reply{Text: "no picture"}.In(c.format)
		}})
		providers[code] = p
		entries = append(entries, fmt.Sprintf(`{name: s%s, match: {codes: ["%[1]s"]}, provider: {url: "%s", format: %s%s}}`, code, p.URL, c.format, c.more))
	}
	w.enter(entries...)
	for code, p := range providers {
		l := letter(code, "look: åäö")
		l.Subject, l.Parts = "Bild", append(l.Parts, handset.Part{Name: "photo.jpg", Type: "image/jpeg", Data: photo})
		if _, err := w.users.Send(t.Context(), alice, l); err != nil {
			t.Fatal(err)
		}
		a := p.Await(1, "for a turn", provider.Turn)
		found := false
		for _, part := range a.Parts {
			found = found || strings.HasPrefix(part.Type, "image/jpeg") && bytes.Equal(part.Data, photo) && (part.Name == "photo.jpg" || a.Format == "raw")
		}
		if !found || a.Text() != "look: åäö" || a.Subject != "Bild" {
			t.Errorf("%s: subject %q, text %q, %d parts", a.Format, a.Subject, a.Text(), len(a.Parts))
		}
		if r := w.users.reply(t, alice, code, 1); r.text != "(320,200) look: åäö" {
			t.Errorf("%s: reply %q", a.Format, r.text)
		}
	}
}

// TestForwardToAService: a user forwards what one service has answered to another one, without a detour over the handset; that one takes it as a
// turn of the user's. A code that nobody knows is told to the user.
func TestForwardToAService(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	pictures := provider.Start(t, provider.Options{Do: counting(t, "xml")})
	prints := provider.Start(t, provider.Options{Do: echo("json")})
	w.enter(fmt.Sprintf(`{name: pictures, match: {codes: ["7000"]}, provider: {url: "%s", format: xml}}`, pictures.URL),
		fmt.Sprintf(`{name: prints, match: {codes: ["7001"]}, provider: {url: "%s"}}`, prints.URL))
	w.users.say(t, alice, "7000", "show")
	r := w.users.reply(t, alice, "7000", 1)
	forward := func(to string) *mms.PDU {
		t.Helper()
		pdu := mms.ForwardReq{TransactionID: "F" + to, Version: mms.Version12, From: alice + "/TYPE=PLMN", To: []string{mms.ParseAddress(to).String()}, ContentLocation: r.Location}.Append(nil)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.MM1+"/", bytes.NewReader(pdu))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/vnd.wap.mms-message")
		req.Header.Set(msisdn, alice)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		conf, err := mms.Decode(b)
		if err != nil || conf.Type != mms.MForwardConf {
			t.Fatalf("M-Forward.conf: HTTP %d, %v", resp.StatusCode, err)
		}
		return conf
	}
	if conf := forward("7001"); mms.Status(conf.Octet(mms.FieldResponseStatus)) != mms.StatusOk {
		t.Fatalf("M-Forward.conf: %s", mms.Status(conf.Octet(mms.FieldResponseStatus)))
	}
	a := prints.Await(1, "for a turn", provider.Turn)
	if a.Sender != alice || a.Text() != r.text || len(a.Parts) != 2 || a.Turn != 1 {
		t.Errorf("forwarded: from %s, %q, %d parts", a.Sender, a.Text(), len(a.Parts))
	}
	if got := w.users.reply(t, alice, "7001", 1); got.text != "re "+r.text {
		t.Errorf("reply %q", got.text)
	}
	// A forwarded message is not read before it is accepted, so the user is told by a message.
	if conf := forward("7999"); mms.Status(conf.Octet(mms.FieldResponseStatus)) != mms.StatusOk {
		t.Errorf("M-Forward.conf: %s", mms.Status(conf.Octet(mms.FieldResponseStatus)))
	}
	w.users.await(t, alice, 1, "messages that say so", func(e handset.Event) bool { return e.Kind == handset.Stored && e.Subject == "Message not taken" })
}
