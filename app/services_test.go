package app_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/dispatcher"
)

const (
	anna     = "+46701740605"
	patience = 30 * time.Second
)

// user is a phone and what happened to it.
type user struct {
	*handset.Phones
	t      *testing.T
	number string
	mm1    atomic.Pointer[string] // where the router is
	stored chan handset.Event
	more   string // of the configuration
	mmsc   string // more of the section mmsc
	mu     sync.Mutex
	events []handset.Event
}

func newUser(t *testing.T, number string) *user {
	t.Helper()
	return newUserWith(t, number, nil)
}

func newUserWith(t *testing.T, number string, change func(*handset.Options)) *user {
	t.Helper()
	u := &user{t: t, number: number, stored: make(chan handset.Event, 100)}
	dial := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, *u.mm1.Load())
	}}
	o := handset.Options{Numbers: []string{number}, Dir: t.TempDir(), UDP: []string{"127.0.0.1:0"}, URL: "http://mms.example.net/",
		Transport: dial, UserAgent: "Phone/1.0",
		Retry: handset.Retry{Timeout: patience, Attempts: 3, Pause: 20 * time.Millisecond, Schedule: []time.Duration{100 * time.Millisecond, time.Second}},
		Observe: func(e handset.Event) {
			u.mu.Lock()
			u.events = append(u.events, e)
			u.mu.Unlock()
			if e.Kind == handset.Stored {
				u.stored <- e
			}
		}}
	if change != nil {
		change(&o)
	}
	var err error
	if u.Phones, err = handset.New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		dial.CloseIdleConnections()
		if t.Failed() {
			for _, e := range u.events {
				t.Log(e)
			}
		}
	})
	return u
}

// start starts a router whose embedded MMSC serves the user; services are further lines of mmsc.services.
func (u *user) start(services ...string) *appliance {
	u.t.Helper()
	top := []string{"mmsc:", "  enabled: true", "  delivery: {retry_first: 50ms, retry_max: 200ms, jitter: 0}", u.mmsc, "  services:", "    enabled: true", `    codes: ["70"]`}
	for _, l := range services {
		top = append(top, "    "+l)
	}
	top = append(top, `  outgoing: {allow: ["127.0.0.1"]}`, fmt.Sprintf("push: {carriers: [{name: udp, type: udp, udp: {hosts: {%q: %q}}}], routes: [{prefix: \"+46\", carriers: [udp]}]}", u.number, u.UDPAddr(0)))
	a := start(u.t, strings.Join(top, "\n")+"\n"+u.more)
	u.mm1.Store(&a.Listening()["mm1.listen"][0])
	return a
}

// say sends a text to a code.
func (u *user) say(code, text string) (*mms.PDU, error) {
	return u.Send(u.t.Context(), u.number, handset.Letter{To: []string{code}, Parts: []handset.Part{{Name: "a.txt", Type: "text/plain", Data: []byte(text)}}})
}

// hears waits for the next message and gives its texts and its pictures.
func (u *user) hears() (e handset.Event, text string, pictures []image.Config) {
	u.t.Helper()
	select {
	case e = <-u.stored:
	case <-time.After(patience):
		u.t.Fatal("no message has come")
	}
	for i := range e.Message.Parts {
		p := &e.Message.Parts[i]
		switch {
		case p.ContentType.Is("text/plain"):
			text += string(p.Data)
		case strings.HasPrefix(p.ContentType.String(), "image/"):
			c, _, err := image.DecodeConfig(bytes.NewReader(p.Data))
			if err != nil {
				u.t.Fatal(err)
			}
			pictures = append(pictures, c)
		}
	}
	return e, text, pictures
}

// enter puts a service into the catalogue by the admin API.
func enter(t *testing.T, r *appliance, entry string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.Listening()["admin.listen"][0]+"/api/v1/services", strings.NewReader(entry))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s %v", resp.Status, b, err)
	}
}

// TestTurnsOverXML: a user writes to a code, the provider is asked over XML, the answer with its picture is on the phone; the
// phone answers it, which is the next turn of the same session; the provider ends it.
func TestTurnsOverXML(t *testing.T) {
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 2000, 1000))); err != nil {
		t.Fatal(err)
	}
	calls := make(chan dispatcher.Call, 10)
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c dispatcher.Call
		if err := xml.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Error(err)
		}
		calls <- c
		a := dispatcher.Response{Version: dispatcher.FormatVersion, Subject: "Quiz", State: base64.StdEncoding.EncodeToString([]byte("asked")), Price: "1.50",
			Pages: []dispatcher.WirePage{{Text: "What is this?", Parts: []dispatcher.WirePart{{Type: "image/png", Name: "q.png", Data: base64.StdEncoding.EncodeToString(picture.Bytes())}}}}}
		if c.Session.Turn == 2 {
			a = dispatcher.Response{Version: dispatcher.FormatVersion, Text: "Right!", End: true}
		}
		b, err := xml.Marshal(a)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/xml")
		_, _ = w.Write(b) // the router says in the log what did not reach it
	}))
	t.Cleanup(provider.Close)
	phones := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><MmsMaxMessageSize>102400</MmsMaxMessageSize>
			<MmsMaxImageResolution>320x240</MmsMaxImageResolution></rdf:RDF>`)
	}))
	t.Cleanup(phones.Close)
	u := newUserWith(t, anna, func(o *handset.Options) { o.Header = []string{"x-wap-profile: \"" + phones.URL + "/1.xml\""} })
	r := u.start()
	enter(t, r, fmt.Sprintf("{name: quiz, match: {codes: [\"7000\"]}, provider: {url: %q, format: xml}}", provider.URL))

	if _, err := u.say("7000", "hello"); err != nil {
		t.Fatal(err)
	}
	e, text, pictures := u.hears()
	if text != "What is this?" || e.Subject != "Quiz" || e.From != "7000/TYPE=PLMN" || len(pictures) != 1 {
		t.Errorf("first answer: %q, %v, %s", text, pictures, e)
	} else if p := pictures[0]; p.Width != 320 || p.Height != 160 {
		t.Errorf("the picture is %d by %d, want it within the phone's 320 by 240", p.Width, p.Height)
	}
	for i := range e.Message.Headers {
		if name := e.Message.Headers[i].Name(); strings.HasPrefix(strings.ToLower(name), "x-mmsrouter-") {
			t.Errorf("the phone sees %s", name)
		}
	}
	if _, err := u.say(strings.TrimSuffix(e.From, "/TYPE=PLMN"), "a flag"); err != nil {
		t.Fatal(err)
	}
	if _, text, _ = u.hears(); text != "Right!" {
		t.Errorf("second answer: %q", text)
	}
	one, two := <-calls, <-calls
	switch {
	case one.Sender != anna || one.Code != "7000" || one.Session.Turn != 1 || one.Session.Text != "" || len(one.Parts) != 1 || one.Parts[0].Data != "hello":
		t.Errorf("first call: %+v", one)
	case one.Device == nil || one.Device.UserAgent != "Phone/1.0" || one.Device.Profile != phones.URL+"/1.xml":
		t.Errorf("device: %+v", one.Device)
	case two.Session.ID != one.Session.ID || two.Session.Turn != 2 || two.Session.Text != base64.StdEncoding.EncodeToString([]byte("asked")) || two.Parts[0].Data != "a flag":
		t.Errorf("second call: %+v", two)
	}
	if ended := <-calls; ended.Kind != "ended" || ended.Ended != "provider" || ended.Session.ID != one.Session.ID {
		t.Errorf("third call: %+v", ended)
	}
}

// TestUnknownCode: a code that is services' and that nobody has gets the configured answer, at once or as a message.
func TestUnknownCode(t *testing.T) {
	t.Run("status", func(t *testing.T) {
		u := newUser(t, anna)
		u.start(`unknown: {status: service_denied}`)
		if conf, err := u.say("7099", "hello"); err == nil || conf == nil || conf.Octet(mms.FieldResponseStatus) != byte(mms.ErrorPermanentServiceDenied) {
			t.Errorf("%v %v, want a refusal", conf, err)
		}
	})
	t.Run("text", func(t *testing.T) {
		u := newUser(t, anna)
		u.start(`unknown: {text: "There is nothing here."}`)
		if _, err := u.say("7099", "hello"); err != nil {
			t.Fatal(err)
		}
		if e, text, _ := u.hears(); text != "There is nothing here." || e.From != "7099/TYPE=PLMN" {
			t.Errorf("%q from %s", text, e.From)
		}
	})
}

// TestLateAnswer: a provider says 202 and answers later, by the reply URL at the MM1 door, once.
func TestLateAnswer(t *testing.T) {
	asked := make(chan string, 10)
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.FormValue("reply_url")
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(provider.Close)
	u := newUser(t, anna)
	a := u.start("reply_url: http://mms.example.net/services")
	enter(t, a, fmt.Sprintf("{name: slow, match: {codes: [\"7000\"]}, provider: {url: %q, format: http}}", provider.URL))
	if _, err := u.say("7000", "hello"); err != nil {
		t.Fatal(err)
	}
	reply := <-asked
	if !strings.HasPrefix(reply, "http://mms.example.net/services/t-") {
		t.Fatalf("reply URL %q", reply)
	}
	late := func(url string) int {
		t.Helper()
		url = strings.Replace(url, "mms.example.net", *u.mm1.Load(), 1)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("Here it is."))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "mms.example.net"
		req.Header.Set("Content-Type", "text/plain")
		req.Header.Set("X-Mmsrouter-Subject", "At last")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, step := range []struct {
		name, url string
		want      int
	}{{"a forged token", reply[:len(reply)-1] + "x", http.StatusNotFound}, {"the answer", reply, http.StatusAccepted}, {"once more", reply, http.StatusGone}} {
		if got := late(step.url); got != step.want {
			t.Errorf("%s: %d, want %d", step.name, got, step.want)
		}
	}
	if e, text, _ := u.hears(); text != "Here it is." || e.Subject != "At last" {
		t.Errorf("%q, %s", text, e)
	}
}

// TestReportsToProviders: what becomes of a reply is told to its provider, and stands with service and price in the CDR.
func TestReportsToProviders(t *testing.T) {
	calls := make(chan dispatcher.Call, 10)
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c dispatcher.Call
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Error(err)
		}
		calls <- c
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"version": 1, "text": "Good morning.", "price": "SEK2.00"}`)
	}))
	t.Cleanup(provider.Close)
	u := newUserWith(t, anna, func(o *handset.Options) { o.ReadReport = true })
	a := u.start()
	enter(t, a, fmt.Sprintf("{name: weather, match: {codes: [\"7000\"]}, provider: {url: %q, reports: true}}", provider.URL))
	if _, err := u.say("7000", "hello"); err != nil {
		t.Fatal(err)
	}
	e, text, _ := u.hears()
	if text != "Good morning." {
		t.Errorf("%q\n%s", text, a.log)
	}
	seen := map[string]string{}
	for range 3 {
		select {
		case c := <-calls:
			if c.Kind == "report" {
				seen[c.Report.Kind] = c.Report.Status
				if c.Report.Message != e.MessageID || c.Report.Recipient != anna || c.Session.Turn != 1 {
					t.Errorf("%+v", c.Report)
				}
			}
		case <-time.After(patience):
			t.Fatalf("reports %v", seen)
		}
	}
	if seen["delivery"] != "retrieved" || seen["read"] != "read" {
		t.Errorf("reports %v", seen)
	}
	waitFor(t, func() error {
		files, err := filepath.Glob(filepath.Join(a.Config().Node.Data, "cdr", "*.jsonl"))
		if err != nil {
			return err
		}
		for _, f := range files {
			if b, err := os.ReadFile(f); err != nil || bytes.Contains(b, []byte(`"service":"weather","price":"SEK2.00"`)) {
				return err
			}
		}
		return errors.New("no CDR with service and price")
	})
}

// TestLoopGuard: services that write to each other's codes, and a handset that pretends to be one.
func TestLoopGuard(t *testing.T) {
	var asked atomic.Int32
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"version": 1, "text": "Hello.", "recipients": "all"}`)
	}))
	t.Cleanup(provider.Close)
	u := newUser(t, anna)
	a := u.start()
	enter(t, a, fmt.Sprintf("{name: echo, match: {codes: [\"7000\"]}, provider: {url: %q}, reply: {recipients: all}}", provider.URL))
	enter(t, a, fmt.Sprintf("{name: other, match: {codes: [\"7001\"]}, provider: {url: %q}, reply: {from: \"7000\", recipients: all}}", provider.URL))

	// A mark that a handset writes does not count, for better or worse: its message is a turn like any other.
	req := mms.SendReq{TransactionID: "marked", From: anna + "/TYPE=PLMN", To: []string{"7000/TYPE=PLMN", "7001/TYPE=PLMN"}}
	mark, err := mms.ParseHeader(mms.MSendReq, dispatcher.MarkService, "echo")
	if err != nil {
		t.Fatal(err)
	}
	req.Extra = append(req.Extra, mark)
	pdu, err := mms.Message(req.AppendHead(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.SendPDU(t.Context(), anna, pdu); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, text, _ := u.hears(); text != "Hello." {
			t.Errorf("%q", text)
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("providers were asked %d times, want 2: answers to all must not go to services", n)
	}
	if got := a.list(t); len(got) != 3 {
		t.Errorf("%d messages, want the question and two answers: %+v", len(got), got)
	}
}

func (a *appliance) list(t *testing.T) []admin.Message {
	t.Helper()
	list, err := a.api.Messages(t.Context(), admin.MessageFilter{})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestServicesReload: SIGHUP imports the catalogue again and takes over what may be reached; a faulty file changes nothing.
func TestServicesReload(t *testing.T) {
	u := newUser(t, anna)
	file := filepath.Join(t.TempDir(), "services.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	entry := "services: [{name: a, match: {codes: [\"7000\"]}, provider: {url: \"http://provider.example/%s\"}}]"
	write(fmt.Sprintf(entry, "1"))
	a := u.start(fmt.Sprintf("import: [%q]", file))
	url := func() string {
		t.Helper()
		var list []dispatcher.Summary
		if err := a.api.Do(t.Context(), http.MethodGet, "/api/v1/services", "", nil, &list); err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		return list[0].URL
	}
	write(fmt.Sprintf(entry, "2"))
	if err := a.Reload(); err != nil || url() != "http://provider.example/2" {
		t.Errorf("%v %s", err, url())
	}
	write("services: [{name: a}]")
	if err := a.Reload(); err == nil || !strings.Contains(err.Error(), "mmsc.services.import") || url() != "http://provider.example/2" {
		t.Errorf("%v %s", err, url())
	}
	write(fmt.Sprintf(entry, "3"))
	text, err := os.ReadFile(a.file)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, strings.Replace(string(text), "codes: [\"70\"]", "codes: [\"80\"]", 1))
	if err := a.Reload(); err != nil || url() != "http://provider.example/3" {
		t.Errorf("%v %s", err, url())
	}
	for code, want := range map[string]bool{"7001": false, "8001": true} { // whether services answer for it
		_, err := u.say(code, "hello")
		if err == nil || strings.Contains(err.Error(), "no service takes this message") != want {
			t.Errorf("%s: %v", code, err)
		}
	}
}

// TestServicesBesideMMSCs: a router in front of MMSCs sends what is for services to its embedded MMSC by a rule; handsets fetch the
// answers through the same front door.
func TestServicesBesideMMSCs(t *testing.T) {
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "Hello "+r.FormValue("sender"))
	}))
	t.Cleanup(provider.Close)
	m := newMMSC(t)
	u := newUser(t, anna)
	u.more = mmscs("", m) + `routing:
  rules: [{name: services, recipient: ["70"], pdu: [m-send-req], to: [local]}]
  owners: [{path: "^/services/", mmsc: local}]
`
	u.mmsc = "  url: http://mms.example.net/services"
	a := u.start()
	enter(t, a, fmt.Sprintf("{name: hello, match: {codes: [\"7000\"]}, provider: {url: %q, format: http}}", provider.URL))
	if _, err := u.say("7000", "hello"); err != nil {
		t.Fatal(err)
	}
	if e, text, _ := u.hears(); text != "Hello "+anna || e.From != "7000/TYPE=PLMN" {
		t.Errorf("%q from %s", text, e.From)
	}
	if _, err := u.say("+46701740606", "hello"); err != nil || m.count() == 0 || len(a.list(t)) != 2 {
		t.Errorf("%v: the embedded MMSC has %d messages, want question and answer alone", err, len(a.list(t)))
	}
}
