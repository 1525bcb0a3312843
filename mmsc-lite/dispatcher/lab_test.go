package dispatcher_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/dispatcher"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const user = "+46701234567"

// phone is where replies arrive.
type phone struct {
	got chan platform.Request

	mu   sync.Mutex
	n    int
	fail error // what Send answers
}

func newPhone() *phone { return &phone{got: make(chan platform.Request, 1000)} }

func (p *phone) Send(_ context.Context, r platform.Request) ([]platform.Sent, []platform.Note, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		return nil, nil, p.fail
	}
	p.n++
	p.got <- r
	return []platform.Sent{{MessageID: fmt.Sprintf("reply-%d", p.n), TransactionID: r.TransactionID}}, nil, nil
}

func (p *phone) breaks(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = err
}

// next waits for a reply.
func (p *phone) next(t *testing.T) platform.Request {
	t.Helper()
	select {
	case r := <-p.got:
		return r
	case <-time.After(30 * time.Second):
		t.Fatal("no reply")
		return platform.Request{}
	}
}

func textOf(r platform.Request) string {
	var out []string
	for _, it := range r.Content.Items {
		out = append(out, string(it.Data))
	}
	for _, p := range r.Content.Pages {
		for _, it := range p.Items {
			out = append(out, string(it.Data))
		}
	}
	return strings.Join(out, "|")
}

// node is a running dispatcher.
type node struct {
	*dispatcher.Dispatcher
	stop func()
}

type setup struct {
	dir, dsn, replyURL string
	config             func(*dispatcher.Config)
	callers            func(*dispatcher.Service) dispatcher.Caller
}

func start(t *testing.T, p dispatcher.Sender, s setup) *node {
	t.Helper()
	gc := outgoing.DefaultConfig()
	gc.Allow = []string{"127.0.0.1"}
	guard, err := outgoing.New(outgoing.Options{Config: gc})
	if err != nil {
		t.Fatal(err)
	}
	c := dispatcher.DefaultConfig()
	c.ReplyURL = s.replyURL
	if s.config != nil {
		s.config(&c)
	}
	if s.dir == "" {
		s.dir = t.TempDir()
	}
	d, err := dispatcher.New(dispatcher.Options{Config: c, DataDir: s.dir, Database: s.dsn, Guard: guard, Sender: p, Callers: s.callers})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	var once sync.Once
	n := &node{d, func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			guard.Close()
		})
	}}
	t.Cleanup(n.stop)
	return n
}

func enter(t *testing.T, n *node, text string) {
	t.Helper()
	list, err := dispatcher.ParseServices(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Put(t.Context(), list...); err != nil {
		t.Fatal(err)
	}
}

var count struct {
	sync.Mutex
	n int
}

// message makes a message of the user with a text.
func message(code, text string) *dispatcher.Submission {
	count.Lock()
	defer count.Unlock()
	count.n++
	return &dispatcher.Submission{MessageID: fmt.Sprintf("m%d@mms.example.net", count.n), From: user, Code: code, Subject: "s", UserAgent: "phone/1",
		Parts: []dispatcher.Part{{Type: "text/plain; charset=utf-8", Name: "text.txt", Data: []byte(text)}}}
}

func say(t *testing.T, n *node, code, text string) {
	t.Helper()
	if err := n.Accept(t.Context(), message(code, text)); err != nil {
		t.Fatal(err)
	}
}

// ask is what a provider of these tests was asked, of whatever format.
type ask struct {
	Kind, ID, Code, Sender, Session, Text, ReplyURL, Ended, Status string
	Turn                                                           string
	State                                                          string
}

func readAsk(t *testing.T, r *http.Request) ask {
	t.Helper()
	if r.Header.Get("Idempotency-Key") == "" {
		t.Error("no idempotency key")
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	var c dispatcher.Call
	switch media {
	case "application/xml":
		if err := xml.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Errorf("request in XML: %v", err)
		}
	case "application/json":
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Errorf("request in JSON: %v", err)
		}
	default:
		if err := r.ParseMultipartForm(1 << 20); err != nil && !errors.Is(err, http.ErrNotMultipart) {
			t.Errorf("request as a form: %v", err)
		}
		state, err := base64.StdEncoding.DecodeString(r.FormValue("state"))
		if err != nil {
			t.Errorf("state: %v", err)
		}
		a := ask{Kind: r.FormValue("kind"), ID: r.FormValue("id"), Code: r.FormValue("code"), Sender: r.FormValue("sender"), Session: r.FormValue("session"),
			Turn: r.FormValue("turn"), State: string(state), ReplyURL: r.FormValue("reply_url"), Ended: r.FormValue("ended"), Text: r.FormValue("text"), Status: r.FormValue("status")}
		if r.MultipartForm != nil {
			for _, f := range r.MultipartForm.File["part"] {
				one, err := f.Open()
				if err != nil {
					t.Error(err)
					continue
				}
				b, err := io.ReadAll(one)
				if err != nil {
					t.Error(err)
				}
				a.Text = string(b)
			}
		}
		return a
	}
	a := ask{Kind: c.Kind, ID: c.ID, Code: c.Code, Sender: c.Sender, ReplyURL: c.ReplyURL, Ended: c.Ended}
	if c.Session != nil {
		state, err := base64.StdEncoding.DecodeString(c.Session.Text)
		if err != nil {
			t.Error(err)
		}
		a.Session, a.Turn, a.State = c.Session.ID, fmt.Sprint(c.Session.Turn), string(state)+string(c.Session.State)
	}
	if c.Report != nil {
		a.Status = c.Report.Kind + " " + c.Report.Status + " " + c.Report.Message
	}
	for _, p := range c.Parts {
		a.Text += p.Data
	}
	return a
}

// tell answers in a service's format.
func tell(w http.ResponseWriter, format, text, state string, end bool) {
	coded := base64.StdEncoding.EncodeToString([]byte(state))
	switch format {
	case "xml":
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprintf(w, `<?xml version="1.0"?><service-reply xmlns="urn:mmsrouter:service:1" version="1" end="%v" price="SEK1.50"><subject>re</subject><state>%s</state>
			<page duration="5"><text>%s</text></page></service-reply>`, end, coded, text)
	case "json":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"version":1,"end":%v,"price":"SEK1.50","subject":"re","state":%q,"text":%q}`, end, coded, text)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Mmsrouter-State", coded)
		w.Header().Set("X-Mmsrouter-Subject", "re")
		w.Header().Set("X-Mmsrouter-Price", "SEK1.50")
		if end {
			w.Header().Set("X-Mmsrouter-End", "yes")
		}
		fmt.Fprint(w, text)
	}
}

// echo is a provider that counts in its state and ends at "bye". asks gets what is no turn.
func echo(t *testing.T, format string, asks chan<- ask) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a := readAsk(t, r)
		if a.Kind != "turn" {
			asks <- a
			return
		}
		tell(w, format, fmt.Sprintf("%s/%s/%s", a.Turn, a.State, a.Text), a.State+"x", a.Text == "bye")
	}
}

func wait(t *testing.T, asks <-chan ask) ask {
	t.Helper()
	select {
	case a := <-asks:
		return a
	case <-time.After(30 * time.Second):
		t.Fatal("the provider was not told")
		return ask{}
	}
}
