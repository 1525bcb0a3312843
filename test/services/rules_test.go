package services_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/test/services/provider"
)

// sendReq makes an M-Send.req with a text, and header fields of its own.
func sendReq(transaction, from, to, text string, extra ...string) []byte {
	q := mms.SendReq{TransactionID: transaction, Version: mms.Version12, From: from + "/TYPE=PLMN", To: []string{mms.ParseAddress(to).String()}, ContentType: wsp.Media(wsp.MultipartMixed)}
	for i := 0; i+1 < len(extra); i += 2 {
		h, err := mms.ParseHeader(mms.MSendReq, extra[i], extra[i+1])
		if err != nil {
			panic(err) // the names are this file's
		}
		q.Extra = append(q.Extra, h)
	}
	pdu, err := wsp.AppendParts(q.AppendHead(nil), []wsp.Part{{ContentType: wsp.Media("text/plain", "charset", "utf-8"), Data: []byte(text), Size: int64(len(text))}})
	if err != nil {
		panic(err) // so is the part
	}
	return pdu
}

func echo(format string) func(provider.Ask) provider.Answer {
	return func(a provider.Ask) provider.Answer {
		if a.Kind != "turn" {
			return provider.Answer{Status: 204}
		}
		return provider.Reply{Text: "re " + a.Text()}.In(format)
	}
}

// TestRecipientsAll: the provider answers everybody whom the user has written to, if the service allows it; a provider of a service that does
// not only reaches the user.
func TestRecipientsAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := provider.Start(t, provider.Options{Do: func(a provider.Ask) provider.Answer {
		return provider.Reply{Text: "to all of you", Recipients: "all"}.JSON()
	}})
	w.enter(fmt.Sprintf(`{name: open, match: {codes: ["7000"]}, provider: {url: "%s"}, reply: {recipients: all}}`, p.URL),
		fmt.Sprintf(`{name: closed, match: {codes: ["7001"]}, provider: {url: "%s"}}`, p.URL))
	for _, code := range []string{"7000", "7001"} {
		l := letter(code, "hello all")
		l.To, l.Cc = append(l.To, bob), []string{carol}
		if _, err := w.users.Send(t.Context(), alice, l); err != nil {
			t.Fatal(err)
		}
	}
	from := func(code string) func(a provider.Ask) bool {
		return func(a provider.Ask) bool { return a.Code == code }
	}
	for _, code := range []string{"7000", "7001"} {
		if a := p.Await(1, "for "+code, from(code)); strings.Join(a.Recipients, " ") != bob+" "+carol {
			t.Errorf("others: %q", a.Recipients)
		}
		if r := w.users.reply(t, alice, code, 1); r.text != "to all of you" {
			t.Errorf("%s: %q", code, r.text)
		}
	}
	for _, other := range []string{bob, carol} {
		if r := w.users.reply(t, other, "7000", 1); r.text != "to all of you" {
			t.Errorf("%s: %q", other, r.text)
		}
		w.users.await(t, other, 2, "messages from alice", func(e handset.Event) bool { return e.Kind == handset.Stored && e.From == alice+"/TYPE=PLMN" })
		if n := w.users.count(other); n != 3 {
			t.Errorf("%s has %d messages, want two of alice's and one of the service", other, n)
		}
	}
}

// TestReports: the provider is told that its answer was retrieved and read, or rejected, with the reply's id and the turn it belongs to.
func TestReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{phones: func(o *handset.Options) { o.ReadReport = true }})
	for i, format := range []string{"xml", "json", "http"} {
		code := fmt.Sprint(7000 + i)
		p := provider.Start(t, provider.Options{Secret: "s", Do: echo(format)})
		w.enter(fmt.Sprintf(`{name: s%s, match: {codes: ["%[1]s"]}, provider: {url: "%s", format: %s, reports: true, secret: s}}`, code, p.URL, format))
		w.users.say(t, alice, code, "x")
		r := w.users.reply(t, alice, code, 1)
		for _, want := range []provider.Report{{Kind: "delivery", Message: r.MessageID, Recipient: alice, Status: "retrieved"}, {Kind: "read", Message: r.MessageID, Recipient: alice, Status: "read"}} {
			a := p.Await(1, "of "+want.Kind, func(a provider.Ask) bool { return provider.Reported(a) && a.Report.Kind == want.Kind })
			if a.Report != want || a.Service != "s"+code || a.Session == "" || a.Turn != 1 {
				t.Errorf("%s: %+v, want %+v", format, a, want)
			}
		}
	}
}

// TestRejectedReply: a handset that refuses the reply is reported too.
func TestRejectedReply(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{phones: func(o *handset.Options) { o.Mode = handset.Reject }})
	p := provider.Start(t, provider.Options{Do: echo("json")})
	w.enter(fmt.Sprintf(`{name: echo, match: {codes: ["7000"]}, provider: {url: "%s", reports: true}}`, p.URL))
	w.users.say(t, bob, "7000", "x")
	if a := p.Await(1, "of a report", provider.Reported); a.Report.Kind != "delivery" || a.Report.Status != "rejected" || a.Report.Recipient != bob {
		t.Errorf("reported %+v", a.Report)
	}
}

// TestPriceInTheRecord: the price that the provider names stands in the call detail record of the reply, with the service; a handset that names
// a price or a service has neither in its own.
func TestPriceInTheRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := provider.Start(t, provider.Options{Do: func(a provider.Ask) provider.Answer {
		return provider.Reply{Text: "here", Price: "SEK4.50;vat=25"}.XML()
	}})
	w.enter(fmt.Sprintf(`{name: shop, match: {codes: ["7000"]}, provider: {url: "%s", format: xml}}`, p.URL))
	conf, err := w.users.SendPDU(t.Context(), alice, sendReq("T1", alice, "7000", "x", "X-Mmsrouter-Price", "SEK999", "X-Mmsrouter-Service", "bank"))
	if err != nil {
		t.Fatal(err)
	}
	r := w.users.reply(t, alice, "7000", 1)
	type record struct {
		MessageID string `json:"message_id"`
		Sender    string `json:"sender"`
		Recipient string `json:"recipient"`
		State     string `json:"state"`
		Service   string `json:"service"`
		Price     string `json:"price"`
	}
	asked, _, _ := strings.Cut(conf.MessageID(), "@")
	answered, _, _ := strings.Cut(r.MessageID, "@")
	records := map[string]record{}
	w.Await("both records", func() bool {
		files, err := filepath.Glob(filepath.Join(w.Dir, "data", "cdr", "*.json*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for l := range bytes.Lines(b) {
				var x record
				if json.Unmarshal(l, &x) == nil { // the last line may still be written
					records[x.MessageID] = x
				}
			}
		}
		return records[asked].State != "" && records[answered].State != ""
	})
	if x := records[answered]; x.Price != "SEK4.50;vat=25" || x.Service != "shop" || x.Sender != "7000" || x.Recipient != alice || x.State != "retrieved" {
		t.Errorf("record of the reply: %+v", x)
	}
	if x := records[asked]; x.Price != "" || x.Service == "bank" || x.Sender != alice || x.Recipient != "7000" {
		t.Errorf("record of the user's message: %+v", x)
	}
	for _, h := range r.Message.Headers {
		if strings.HasPrefix(strings.ToLower(h.Name()), "x-mmsrouter-") {
			t.Errorf("the handset gets %s", h.Name())
		}
	}
}

// TestMarksOfAHandset: a handset that sets our marks is a user like any other: its message is a turn, and another user gets none of them.
func TestMarksOfAHandset(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := provider.Start(t, provider.Options{Do: echo("json")})
	w.enter(fmt.Sprintf(`{name: echo, match: {codes: ["7000"]}, provider: {url: "%s"}}`, p.URL))
	marks := []string{"X-Mmsrouter-Service", "echo", "X-Mmsrouter-Hops", "5"}
	if _, err := w.users.SendPDU(t.Context(), alice, sendReq("T1", alice, "7000", "x", marks...)); err != nil {
		t.Fatalf("a message with our marks: %v", err)
	}
	if r := w.users.reply(t, alice, "7000", 1); r.text != "re x" {
		t.Errorf("reply %q", r.text)
	}
	if _, err := w.users.SendPDU(t.Context(), alice, sendReq("T2", alice, bob, "y", marks...)); err != nil {
		t.Fatal(err)
	}
	e := w.users.await(t, bob, 1, "messages", func(e handset.Event) bool { return e.Kind == handset.Stored })
	for _, h := range e.Message.Headers {
		if strings.HasPrefix(strings.ToLower(h.Name()), "x-mmsrouter-") {
			t.Errorf("bob gets %s", h.Name())
		}
	}
}

// TestLoop: a provider that answers everybody does not reach another service that the user has written to as well, and a machine's
// answer, of class Auto, is a turn only where the service allows it.
func TestLoop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	all := func(a provider.Ask) provider.Answer {
		return provider.Reply{Text: a.Text() + "+", Recipients: "all"}.JSON()
	}
	first, second := provider.Start(t, provider.Options{Do: all}), provider.Start(t, provider.Options{Do: all})
	w.enter(fmt.Sprintf(`{name: first, match: {codes: ["7000"]}, provider: {url: "%s"}, reply: {recipients: all}}`, first.URL),
		fmt.Sprintf(`{name: second, match: {codes: ["7001"]}, provider: {url: "%s"}, reply: {recipients: all}, loop: {allow: true, max_hops: 3}}`, second.URL))
	l := letter("7000", "x")
	l.To, l.Cc = append(l.To, "7001"), []string{carol}
	if _, err := w.users.Send(t.Context(), alice, l); err != nil {
		t.Fatal(err)
	}
	for _, number := range []string{alice, carol} {
		for _, code := range []string{"7000", "7001"} {
			if r := w.users.reply(t, number, code, 1); r.text != "x+" {
				t.Errorf("%s reads %q from %s", number, r.text, code)
			}
		}
	}
	auto := func(code string) (mms.Status, error) {
		q := mms.SendReq{TransactionID: "A" + code, From: alice + "/TYPE=PLMN", To: []string{mms.ParseAddress(code).String()}, Class: "Auto", ContentType: wsp.Media("text/plain")}
		conf, err := w.users.SendPDU(t.Context(), alice, append(q.AppendHead(nil), "I am away"...))
		if conf == nil {
			t.Fatal(err)
		}
		return mms.Status(conf.Octet(mms.FieldResponseStatus)), err
	}
	if status, err := auto("7000"); err == nil || status != mms.ErrorPermanentServiceDenied {
		t.Errorf("a machine's answer: %s, want %s", status, mms.ErrorPermanentServiceDenied)
	}
	if _, err := auto("7001"); err != nil {
		t.Errorf("a machine's answer where it is allowed: %v", err)
	}
	if r := w.users.reply(t, alice, "7001", 2); r.text != "I am away+" {
		t.Errorf("its reply: %q", r.text)
	}
	if n, k := len(first.Asks()), len(second.Asks()); n != 1 || k != 2 {
		t.Errorf("the providers were asked %d and %d times, want 1 and 2", n, k)
	}
}

// TestUnknownCode: a message to a code that no service takes is answered, by the M-Send.conf or by a text, never with silence; and a keyword that
// nobody knows likewise.
func TestUnknownCode(t *testing.T) {
	t.Parallel()
	t.Run("text", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setup{services: []string{`unknown: {text: "Nobody here knows that. Try 7000."}`}})
		p := provider.Start(t, provider.Options{Do: echo("json")})
		w.enter(fmt.Sprintf(`{name: echo, match: {codes: ["7000"], keywords: [echo]}, provider: {url: "%s"}}`, p.URL))
		for _, code := range []string{"7999", "7000"} {
			w.users.say(t, alice, code, "what is this")
			if r := w.users.reply(t, alice, code, 1); r.text != "Nobody here knows that. Try 7000." {
				t.Errorf("%s: %q", code, r.text)
			}
		}
		w.users.say(t, alice, "7000", "echo this")
		if r := w.users.reply(t, alice, "7000", 2); r.text != "re echo this" {
			t.Errorf("%q", r.text)
		}
		if n := len(p.Asks()); n != 1 {
			t.Errorf("the provider was asked %d times", n)
		}
	})
	for status, want := range map[string]mms.Status{"address_unresolved": mms.ErrorPermanentAddressUnresolved, "service_denied": mms.ErrorPermanentServiceDenied} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{services: []string{"unknown: {status: " + status + "}"}})
			conf, err := w.users.Send(t.Context(), alice, letter("7999", "what is this"))
			if err == nil || conf == nil || mms.Status(conf.Octet(mms.FieldResponseStatus)) != want {
				t.Errorf("M-Send.conf: %v, want %s", err, want)
			}
		})
	}
}

// TestEntriesAreChecked: what can't work is refused when it is entered, with the reason, and the catalogue stays as it was.
func TestEntriesAreChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.enter(`{name: quiz, match: {codes: ["7000"]}, provider: {url: "http://provider.example.net/"}}`)
	for _, c := range []struct{ name, entry, why string }{
		{"bad URL", `{name: a, match: {codes: ["7001"]}, provider: {url: "provider"}}`, "provider.url"},
		{"a file", `{name: a, match: {codes: ["7001"]}, provider: {url: "file:///etc/passwd"}}`, "provider.url"},
		{"a private address", `{name: a, match: {codes: ["7001"]}, provider: {url: "http://10.0.0.1/"}}`, "10.0.0.1"},
		{"unknown format", `{name: a, match: {codes: ["7001"]}, provider: {url: "http://provider.example.net/", format: soap}}`, "provider.format"},
		{"equal rank", `{name: a, match: {codes: ["7000"]}, provider: {url: "http://provider.example.net/"}}`, "quiz"},
		{"no answer for a user", `{name: a, match: {codes: ["7001"]}, provider: {url: "http://provider.example.net/"}, reply: {fallback: ""}}`, "reply.fallback"},
		{"an unknown key", `{name: a, match: {codes: ["7001"]}, provider: {url: "http://provider.example.net/"}, colour: red}`, "colour"},
	} {
		status, body := call(t, "POST", w.API+"/api/v1/services", "application/yaml", "- "+c.entry+"\n")
		if status != 422 && status != 400 || !strings.Contains(string(body), c.why) {
			t.Errorf("%s: %d %s", c.name, status, body)
		}
	}
	if _, body := w.Get("/api/v1/services"); strings.Count(string(body), `"name"`) != 1 {
		t.Errorf("catalogue: %s", body)
	}
}

// TestDelay: an answer that the provider wants to be delayed reaches the user after that time, and holds up no other turn.
func TestDelay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := provider.Start(t, provider.Options{Do: func(a provider.Ask) provider.Answer {
		r := provider.Reply{Text: "re " + a.Text()}
		if a.Turn == 1 {
			r.Delay = 2
		}
		return r.XML()
	}})
	w.enter(fmt.Sprintf(`{name: later, match: {codes: ["7000"]}, provider: {url: "%s", format: xml}}`, p.URL))
	began := time.Now()
	w.users.say(t, alice, "7000", "first")
	p.Await(1, "for a turn", provider.Turn)
	w.users.say(t, alice, "7000", "second")
	if r := w.users.reply(t, alice, "7000", 1); r.text != "re second" {
		t.Errorf("first came %q", r.text)
	}
	if r := w.users.reply(t, alice, "7000", 2); r.text != "re first" || r.Time.Sub(began) < 2*time.Second {
		t.Errorf("then came %q, after %s", r.text, r.Time.Sub(began))
	}
}

// TestCatalogueChangesUnderWay: a turn whose service is taken out of the catalogue while its provider can't be reached still ends with an answer
// for its user; so does one whose service is changed.
func TestCatalogueChangesUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	gone := provider.Start(t, provider.Options{Do: echo("json")})
	gone.Stop()
	const entry = `{name: %s, match: {codes: ["%s"]}, provider: {url: "%s", retry: {first: 50ms, max: 50ms, for: 1h}}, reply: {fallback: "sorry"}}`
	w.enter(fmt.Sprintf(entry, "removed", "7000", gone.URL), fmt.Sprintf(entry, "moved", "7001", gone.URL))
	w.users.say(t, alice, "7000", "x")
	w.users.say(t, alice, "7001", "x")
	w.Await("calls of both", func() bool { return w.Metric("mmsrouter_dispatcher_calls_total", `result="failed"`) >= 2 })
	if status, body := call(t, "DELETE", w.API+"/api/v1/services/removed", "", ""); status != 200 {
		t.Fatalf("remove: %d %s", status, body)
	}
	here := provider.Start(t, provider.Options{Do: echo("json")})
	w.enter(fmt.Sprintf(entry, "moved", "7001", here.URL))
	w.users.reply(t, alice, "7000", 1)
	if r := w.users.reply(t, alice, "7001", 1); r.text != "re x" {
		t.Errorf("from where the provider is now: %q", r.text)
	}
}
