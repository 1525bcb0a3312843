package services_test

import (
	"bytes"
	"fmt"
	"image"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"testing"

	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/interop/mmsd"
	"github.com/mmsrouter/mmsrouter/test/services/provider"
)

// TestMMSD: the user's handset is mmsd-tng. It sends to the code, is notified by SMS, fetches the reply with its picture, and answers it: the next
// turn. It makes an international number of a short code by its own country, so the service has that one as well.
func TestMMSD(t *testing.T) {
	t.Parallel()
	mmsd.Need(t)
	var at address // the router needs the handset's SMSC, the handset the router's address: this stands between them
	gate := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", "router"
		r.Out.Header.Set(msisdn, alice) // the WAP gateway's part
	}, Transport: &http.Transport{DialContext: at.dial, DisableKeepAlives: true}})
	t.Cleanup(gate.Close)
	h, ctx := mmsd.Run(t, mmsd.Options{Number: alice, MMSC: gate.URL + "/"})
	smsc := h.RunSMSC(ctx, t)
	r := appliance.Start(t, appliance.Setup{MM1: []string{"url: " + gate.URL + "/", fmt.Sprintf("identity: {trusted: [\"127.0.0.0/8\"], headers: [%s]}", msisdn)},
		Top: []string{"mmsc:", "  enabled: true", `  services: {enabled: true, codes: ["7", "+467000"]}`, `  outgoing: {allow: ["127.0.0.1"]}`, "push:", "  carriers:",
			fmt.Sprintf("    - {name: sms, type: smpp, smpp: {smscs: [{address: %q, system_id: mmsc, password: pw}], reconnect: 20ms}}", smsc),
			"  routes: [{carriers: [sms]}]"}})
	at.Store(r.MM1)
	p := provider.Start(t, provider.Options{Do: counting(t, "xml")})
	enter(t, r.API, fmt.Sprintf(`{name: quiz, match: {codes: ["7000", "+467000"]}, provider: {url: "%s", format: xml}}`, p.URL))
	for i, text := range []string{"hello", "bye"} {
		if _, err := h.Send(ctx, []string{"7000"}, "Quiz", false, mmsd.File{ID: "text.txt", Type: "text/plain", Data: []byte(text)}); err != nil {
			t.Fatal(err)
		}
		subject := fmt.Sprintf("Tur %d: åäö", i+1)
		m, err := h.Await(ctx, subject, func(m mmsd.Message) bool { return m.Status == "received" && m.Subject == subject })
		if err != nil {
			t.Fatal(err)
		}
		if m.Sender != "+467000" || len(m.Attachments) != 2 {
			t.Errorf("received %+v", m)
		}
		var words string
		pictures := 0
		for _, a := range m.Attachments {
			b, err := a.Data()
			if err != nil {
				t.Fatal(err)
			}
			if img, _, err := image.Decode(bytes.NewReader(b)); err == nil {
				if s := img.Bounds().Size(); s.X > videoRich.width || s.Y > videoRich.height {
					t.Errorf("picture of %s", s)
				}
				pictures++
			} else {
				words = string(b)
			}
		}
		if want := fmt.Sprintf("%d/%d/%s", i+1, i, text); words != want || pictures != 1 {
			t.Errorf("turn %d: %q and %d pictures, want %q and one", i+1, words, pictures, want)
		}
	}
	if a := p.Await(1, "for an end", provider.Ended); a.Ended != "provider" || a.Sender != alice {
		t.Errorf("the end: %+v", a)
	}
}
