package services_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/phone"
	"github.com/mmsrouter/mmsrouter/test/program"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // stories that run in parallel mostly wait
		panic(err)
	}
	code := pgtest.Main(m)
	if err := program.Remove(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// The users. Those of +46 are notified by SMS, those of +1 by UDP.
const (
	alice, bob = "+46701740605", "+15551740606"
	carol      = "+46701740607"
	msisdn     = "X-MSISDN"
	patience   = 30 * time.Second
)

// world is an operator: a whole router with its embedded MMSC, and its users' phones.
type world struct {
	*appliance.Router
	t     *testing.T
	setup setup
	users *phones
}

// setup is what a story changes.
type setup struct {
	dir      string
	name     string
	mmsc     []string // lines of the mmsc section
	delivery string   // further keys of mmsc.delivery, as in ", lease: 2s"
	services []string // lines of mmsc.services
	platform []string // lines of mmsc.platform
	phones   func(*handset.Options)
	with     *phones // of another router
}

// config gives the sections of a router whose users are reached by these phones.
func (s setup) config(p *phones) []string {
	top := []string{"mmsc:", "  enabled: true", "  delivery: {retry_first: 50ms, retry_max: 200ms, renotify: [5s], fetched_grace: 1s, jitter: 0" + s.delivery + "}"}
	for _, l := range s.mmsc {
		top = append(top, "  "+l)
	}
	top = append(top, "  services:", "    enabled: true", `    codes: ["7"]`, "    reply_url: http://mms.example.net/reply")
	for _, l := range s.services {
		top = append(top, "    "+l)
	}
	top = append(top, `  outgoing: {allow: ["127.0.0.1"]}`)
	if s.platform != nil {
		top = append(top, "  platform:")
		for _, l := range s.platform {
			top = append(top, "    "+l)
		}
	}
	return append(top, "push:", "  carriers:",
		fmt.Sprintf("    - {name: sms, type: smpp, smpp: {smscs: [{address: %q, system_id: mmsc, password: pw}], reconnect: 20ms}}", p.SMPPAddr()),
		fmt.Sprintf("    - {name: udp, type: udp, udp: {hosts: {%q: %q}}}", bob, p.UDPAddr(1)),
		"  routes:", `    - {prefix: "+46", carriers: [sms]}`, `    - {prefix: "+1", carriers: [udp]}`)
}

// mm1 gives the lines of the mm1 section.
func (s setup) mm1() []string {
	return []string{"url: http://mms.example.net/", fmt.Sprintf("identity: {trusted: [\"127.0.0.0/8\"], headers: [%s]}", msisdn)}
}

// newWorld starts one.
func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	w := &world{t: t, setup: s, users: s.with}
	if w.users == nil {
		w.users = newPhones(t, s.phones)
	}
	w.start()
	return w
}

func (w *world) start() {
	w.t.Helper()
	w.Router = appliance.Start(w.t, appliance.Setup{Dir: w.setup.dir, Name: w.setup.name, MM1: w.setup.mm1(), Top: w.setup.config(w.users)})
	w.users.at.Store(w.MM1)
}

// enter enters services into the catalogue by the admin API.
func (w *world) enter(services ...string) {
	w.t.Helper()
	enter(w.t, w.API, services...)
}

func enter(t *testing.T, api string, services ...string) {
	t.Helper()
	if status, body := call(t, http.MethodPut, api+"/api/v1/services", "application/yaml", "- "+strings.Join(services, "\n- ")+"\n"); status != http.StatusOK {
		t.Fatalf("services not entered: %d %s", status, body)
	}
}

var client = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

// call makes an HTTP request.
func call(t *testing.T, method, url, media, body string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b
}

// dead lists the dead letters of a service.
func (w *world) dead(service string) (list []struct{ ID, Kind, User, Error string }) {
	w.t.Helper()
	status, body := w.Get("/api/v1/services/-/dead?service=" + service)
	if err := json.Unmarshal(body, &list); err != nil || status != http.StatusOK {
		w.t.Fatalf("dead letters: %d %s: %v", status, body, err)
	}
	return list
}

// phones are the users' handsets and what happened to them.
type phones struct {
	*phone.Phones
	at address

	mu   sync.Mutex
	pdus map[string][]byte // by Message-ID: what was fetched, octet for octet
}

// address is where the router is just now.
type address struct {
	mu sync.Mutex
	at string
}

// Store says where it is.
func (a *address) Store(at string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = at
}

func (a *address) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	a.mu.Lock()
	at := a.at
	a.mu.Unlock()
	var d net.Dialer
	return d.DialContext(ctx, network, at)
}

// newPhones starts handsets with an SMSC of their own in front and ports for pushes by UDP. Whatever host they ask for, they reach the router.
func newPhones(t *testing.T, change func(*handset.Options)) *phones {
	t.Helper()
	p := &phones{pdus: map[string][]byte{}}
	o := handset.Options{Numbers: []string{alice, bob, carol}, Dir: t.TempDir(), SMPP: "127.0.0.1:0", UDP: []string{"127.0.0.1:0", "127.0.0.1:0"}, URL: "http://mms.example.net/",
		Header: []string{msisdn + ": ##LINE1##"}, UserAgent: "LabPhone/1.0",
		Retry:     handset.Retry{Timeout: patience, Attempts: 3, Pause: 20 * time.Millisecond, Schedule: []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, time.Second, 5 * time.Second}},
		Transport: &recorder{Transport: http.Transport{DisableCompression: true, IdleConnTimeout: 5 * time.Second, DialContext: p.at.dial}, phones: p}}
	if change != nil {
		change(&o)
	}
	p.Phones = phone.Start(t, o)
	return p
}

// recorder keeps what is fetched.
type recorder struct {
	http.Transport
	phones *phones
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.Transport.RoundTrip(req)
	if err != nil || req.Method != http.MethodGet || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // it was read whole, or its error is the one to tell
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	if m, err := mms.Decode(b); err == nil {
		r.phones.mu.Lock()
		r.phones.pdus[m.MessageID()] = b
		r.phones.mu.Unlock()
	}
	return resp, nil
}

// await waits for the n-th event of a phone that fits.
func (p *phones) await(t *testing.T, number string, n int, what string, fits func(handset.Event) bool) handset.Event {
	t.Helper()
	return p.Await(t, n, what+" of "+number, func(e handset.Event) bool { return e.Number == number && fits(e) })
}

// reply is what a user got from a service.
type reply struct {
	handset.Event
	pdu  []byte
	text string // of all its texts
}

// reply waits for the n-th message that a user's phone has stored from a code.
func (p *phones) reply(t *testing.T, number, code string, n int) reply {
	t.Helper()
	e := p.await(t, number, n, "messages from "+code, func(e handset.Event) bool { return e.Kind == handset.Stored && e.From == code+"/TYPE=PLMN" })
	r := reply{Event: e}
	p.mu.Lock()
	r.pdu = p.pdus[e.MessageID]
	p.mu.Unlock()
	var texts []string
	for i := range e.Message.Parts {
		if part := &e.Message.Parts[i]; part.ContentType.Is("text/plain") {
			texts = append(texts, string(part.Data))
		}
	}
	r.text = strings.Join(texts, "|")
	return r
}

// count is how many messages a phone has stored.
func (p *phones) count(number string) (n int) {
	for _, e := range p.All() {
		if e.Number == number && e.Kind == handset.Stored {
			n++
		}
	}
	return n
}

// say sends a text to a code.
func (p *phones) say(t *testing.T, number, code, text string) *mms.PDU {
	t.Helper()
	conf, err := p.Send(t.Context(), number, letter(code, text))
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

func letter(code, text string) handset.Letter {
	return handset.Letter{To: []string{code}, Parts: []handset.Part{{Name: "text.txt", Type: "text/plain", Data: []byte(text)}}}
}

// countFrom is how many messages a phone has stored from a code.
func (p *phones) countFrom(number, code string) (n int) {
	for _, e := range p.All() {
		if e.Number == number && e.Kind == handset.Stored && e.From == code+"/TYPE=PLMN" {
			n++
		}
	}
	return n
}
