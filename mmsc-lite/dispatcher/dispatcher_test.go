package dispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/dispatcher"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

func TestSessions(t *testing.T) {
	for _, tc := range []struct{ name, format, more string }{
		{"xml", "xml", ""},
		{"json", "json", ""},
		{"multipart", "http", ""},
		{"GET", "http", ", method: GET"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			asks := make(chan ask, 10)
			srv := httptest.NewServer(echo(t, tc.format, asks))
			defer srv.Close()
			p := newPhone()
			n := start(t, p, setup{})
			enter(t, n, fmt.Sprintf(`{name: echo, match: {codes: ["7000"]}, provider: {url: "%s/turn?x={turn}", format: %s%s, reports: true}, session: {stop_words: [stopp]}}`, srv.URL, tc.format, tc.more))
			for i, text := range []string{"hej på dig", "två", "bye"} {
				say(t, n, "7000", text)
				r := p.next(t)
				if want := fmt.Sprintf("%d/%s/%s", i+1, strings.Repeat("x", i), text); textOf(r) != want {
					t.Fatalf("reply %q, want %q", textOf(r), want)
				}
				subject := r.Content.Subject
				if r.From != "7000" || r.To[0] != user || subject != "re" || !r.DeliveryReport {
					t.Errorf("from %s to %v subject %q", r.From, r.To, subject)
				}
				var marks []string
				for _, h := range r.Extra {
					marks = append(marks, string(h.Wire))
				}
				for _, want := range []string{"X-Mmsrouter-Service\x00echo", "X-Mmsrouter-Hops\x001", "X-Mmsrouter-Price\x00SEK1.50"} {
					if !strings.Contains(strings.Join(marks, " "), want) {
						t.Errorf("marks %q, want %q", marks, want)
					}
				}
			}
			if a := wait(t, asks); a.Kind != "ended" || a.Ended != "provider" || a.State != "xxx" {
				t.Errorf("the end that the provider asked for: %+v", a)
			}
			say(t, n, "7000", "again")
			if got := textOf(p.next(t)); got != "1//again" {
				t.Errorf("a new session: %q", got)
			}
			say(t, n, "7000", "Stopp")
			if got := textOf(p.next(t)); got != "You have left the service." {
				t.Errorf("stop word: %q", got)
			}
			if a := wait(t, asks); a.Ended != "stop" {
				t.Errorf("the end by a stop word: %+v", a)
			}
			if err := n.Tell(t.Context(), dispatcher.Report{Kind: "delivery", MessageID: "reply-1", Recipient: user, Status: "retrieved", At: time.Now()}); err != nil {
				t.Fatal(err)
			}
			if a := wait(t, asks); a.Kind != "report" || !strings.Contains(a.Status, "retrieved") {
				t.Errorf("report: %+v", a)
			}
		})
	}
}

func TestSignature(t *testing.T) {
	var mu sync.Mutex
	var sig, want, auth, tenant string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		sig, auth, tenant = r.Header.Get("X-Mmsrouter-Signature"), r.Header.Get("Authorization"), r.Header.Get("X-Tenant")
		at, _, _ := strings.Cut(strings.TrimPrefix(sig, "t="), ",")
		var unix int64
		if _, err := fmt.Sscan(at, &unix); err != nil {
			t.Error(err)
		}
		want = dispatcher.Sign("key", r.Method, "http://x"+r.RequestURI, body, time.Unix(unix, 0))
		tell(w, "json", "ok", "", false)
	}))
	defer srv.Close()
	p := newPhone()
	n := start(t, p, setup{})
	enter(t, n, fmt.Sprintf(`{name: echo, match: {codes: ["7000"]}, provider: {url: "%s/{code}/{text}?s={sender}", secret: key, token: tok, headers: {X-Tenant: a}}}`, srv.URL))
	say(t, n, "7000", "../a b?")
	p.next(t)
	mu.Lock()
	defer mu.Unlock()
	if sig == "" || sig != want || auth != "Bearer tok" || tenant != "a" {
		t.Errorf("signature %q, want %q; %q %q", sig, want, auth, tenant)
	}
}

func TestProvidersThatMisbehave(t *testing.T) {
	bomb := `<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><service-reply xmlns="urn:mmsrouter:service:1" version="1"><text>&b;</text></service-reply>`
	for _, tc := range []struct {
		name, format string
		do           http.HandlerFunc
		more         string
	}{
		{name: "garbage", format: "json", do: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"version":1,`)
		}},
		{name: "another format", format: "json", do: func(w http.ResponseWriter, _ *http.Request) { tell(w, "xml", "x", "", false) }},
		{name: "nothing to send", format: "json", do: func(w http.ResponseWriter, _ *http.Request) { tell(w, "json", "", "", false) }},
		{name: "no content", format: "http", do: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }},
		{name: "too much", format: "http", more: ", max_answer: 1KiB", do: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, strings.Repeat("x", 5000))
		}},
		{name: "too slowly", format: "json", more: ", timeout: 50ms, retry: {first: 10ms, max: 10ms, for: 100ms}", do: func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // so that the server sees the client go
			<-r.Context().Done()
		}},
		{name: "a redirect to a private address", format: "http", more: ", method: GET", do: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://10.0.0.1/secret", http.StatusFound)
		}},
		{name: "XML bomb", format: "xml", do: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/xml")
			fmt.Fprint(w, bomb)
		}},
		{name: "deep XML", format: "xml", do: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/xml")
			fmt.Fprint(w, strings.Repeat("<a>", 10000))
		}},
		{name: "errors", format: "json", more: ", retry: {first: 10ms, max: 10ms, for: 50ms}", do: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
		}},
		{name: "refusal", format: "json", do: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := httptest.NewServer(tc.do)
			defer srv.Close()
			p := newPhone()
			n := start(t, p, setup{})
			enter(t, n, fmt.Sprintf(`{name: bad, match: {codes: ["7000"]}, provider: {url: "%s/", format: %s%s}, reply: {fallback: sorry}}`, srv.URL, tc.format, tc.more))
			say(t, n, "7000", "x")
			if got := textOf(p.next(t)); got != "sorry" {
				t.Errorf("the user got %q", got)
			}
			n.stop()
		})
	}
}

// callerFunc is a provider made of a function.
type callerFunc func(context.Context, outgoing.Request) (*outgoing.Answer, error)

func (f callerFunc) Do(ctx context.Context, r outgoing.Request) (*outgoing.Answer, error) {
	return f(ctx, r)
}

// TestErrorThatIsNoText lets the words of an error hold what PostgreSQL takes for no text: the outcome is noted all the same, and the user
// need not wait for the lease.
func TestErrorThatIsNoText(t *testing.T) {
	p := newPhone()
	n := start(t, p, setup{dsn: pgtest.DSN(t), config: func(c *dispatcher.Config) { c.Lease = 2 * time.Minute },
		callers: func(*dispatcher.Service) dispatcher.Caller {
			return callerFunc(func(context.Context, outgoing.Request) (*outgoing.Answer, error) {
				return nil, errors.New("what a provider said: \x00 \xE4\xFF")
			})
		}})
	enter(t, n, `{name: bad, match: {codes: ["7000"]}, provider: {url: "http://127.0.0.1/", format: json, retry: {for: 0s}}, reply: {fallback: sorry}}`)
	say(t, n, "7000", "x")
	if got := textOf(p.next(t)); got != "sorry" {
		t.Errorf("the user got %q", got)
	}
}

func TestLateAnswer(t *testing.T) {
	asks := make(chan ask, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asks <- readAsk(t, r)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer srv.Close()
	p := newPhone()
	var late http.Handler
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { late.ServeHTTP(w, r) }))
	defer door.Close()
	n := start(t, p, setup{replyURL: door.URL + "/reply"})
	late = n.Late()
	enter(t, n, fmt.Sprintf(`{name: slow, match: {codes: ["7000"]}, provider: {url: "%s/"}}`, srv.URL))
	say(t, n, "7000", "x")
	a := wait(t, asks)
	post := func(url, body string) int {
		t.Helper()
		resp, err := http.Post(url, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for _, step := range []struct {
		name, url, body string
		want            int
	}{
		{"another's token", a.ReplyURL[:len(a.ReplyURL)-1] + "!", `{"version":1,"text":"x"}`, 404},
		{"garbage", a.ReplyURL, `{`, 400},
		{"the answer", a.ReplyURL, `{"version":1,"text":"at last"}`, 202},
		{"once more", a.ReplyURL, `{"version":1,"text":"again"}`, 410},
	} {
		if got := post(step.url, step.body); got != step.want {
			t.Errorf("%s: %d, want %d", step.name, got, step.want)
		}
	}
	if got := textOf(p.next(t)); got != "at last" {
		t.Errorf("the user got %q", got)
	}
}

func TestAcceptance(t *testing.T) {
	p := newPhone()
	asks := make(chan ask, 10)
	srv := httptest.NewServer(echo(t, "json", asks))
	defer srv.Close()
	n := start(t, p, setup{config: func(c *dispatcher.Config) { c.Codes = []string{"9"} }})
	enter(t, n, fmt.Sprintf(`
- {name: shy, match: {codes: ["7000"]}, provider: {url: "%[1]s/"}}
- {name: open, match: {codes: ["7001"]}, loop: {allow: true, max_hops: 2}, provider: {url: "%[1]s/"}}`, srv.URL))
	for code, want := range map[string]bool{"7000": true, "9123": true, "8000": false} {
		if n.Takes(code) != want {
			t.Errorf("takes %s: %v", code, !want)
		}
	}
	for _, tc := range []struct {
		name string
		make func(*dispatcher.Submission)
		want mms.Reason
		ok   bool
	}{
		{"unknown code", func(s *dispatcher.Submission) { s.Code = "9123" }, mms.AddressUnresolved, false},
		{"nobody's", func(s *dispatcher.Submission) { s.From = "" }, mms.ServiceDenied, false},
		{"a service's reply", func(s *dispatcher.Submission) { s.Reply, s.Hops = true, 1 }, mms.ServiceDenied, false},
		{"automatic", func(s *dispatcher.Submission) { s.Class = "auto" }, mms.ServiceDenied, false},
		{"a service's reply where it may", func(s *dispatcher.Submission) { s.Code, s.Reply, s.Hops = "7001", true, 2 }, 0, true},
		{"one hop too many", func(s *dispatcher.Submission) { s.Code, s.Reply, s.Hops = "7001", true, 3 }, mms.ServiceDenied, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := message("7000", tc.name)
			tc.make(s)
			err := n.Accept(t.Context(), s)
			var no *dispatcher.Refusal
			switch {
			case tc.ok && err != nil, !tc.ok && !errors.As(err, &no), !tc.ok && no.Reason != tc.want:
				t.Errorf("%v", err)
			case tc.ok:
				p.next(t)
			}
		})
	}
	s := message("7000", "once")
	for range 3 {
		if err := n.Accept(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	p.next(t)
	say(t, n, "7000", "twice")
	if got := textOf(p.next(t)); got != "2/x/twice" {
		t.Errorf("a message that came three times was more than a turn: %q", got)
	}
	p.breaks(errors.New("the store is away"))
	say(t, n, "7000", "three")
	p.breaks(nil)
	if got := textOf(p.next(t)); got != "3/xx/three" {
		t.Errorf("after the platform could not submit: %q", got)
	}
}

func TestUnknownCodeGetsAText(t *testing.T) {
	p := newPhone()
	n := start(t, p, setup{config: func(c *dispatcher.Config) { c.Codes, c.Unknown.Text = []string{"9"}, "no such service" }})
	say(t, n, "9123", "hello")
	if r := p.next(t); textOf(r) != "no such service" || r.From != "9123" {
		t.Errorf("%s from %s", textOf(r), r.From)
	}
}
