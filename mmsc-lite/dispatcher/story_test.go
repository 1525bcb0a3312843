package dispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/dispatcher"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// inside is a provider in the same process, for stories whose clock is under control: it is away, or answers.
type inside struct {
	handler http.Handler

	mu    sync.Mutex
	away  bool
	calls int
	keys  map[string]int
}

func (i *inside) Do(ctx context.Context, r outgoing.Request) (*outgoing.Answer, error) {
	i.mu.Lock()
	i.calls++
	i.keys[r.Header.Get("Idempotency-Key")]++
	away := i.away
	i.mu.Unlock()
	if away {
		return nil, &outgoing.Error{Kind: outgoing.Unreachable, Host: "provider", Err: errors.New("refused")}
	}
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(r.Method, r.URL, strings.NewReader(string(r.Body))).WithContext(ctx)
	req.Header = r.Header
	i.handler.ServeHTTP(rec, req)
	return &outgoing.Answer{Status: rec.Code, Header: rec.Header(), Body: rec.Body.Bytes()}, nil
}

func (i *inside) goes(away bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.away = away
}

func (i *inside) counted() (calls int, keys int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.calls, len(i.keys)
}

func TestProviderDownForAnHour(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p := newPhone()
		prov := &inside{handler: echo(t, "json", make(chan ask, 10)), away: true, keys: map[string]int{}}
		n := start(t, p, setup{dir: dir, callers: func(*dispatcher.Service) dispatcher.Caller { return prov }})
		enter(t, n, `
- {name: patient, match: {codes: ["7000"]}, provider: {url: "http://provider.example.net/", retry: {first: 1s, max: 1m, for: 2h}, breaker: {failures: 5, pause: 1m}}, session: {idle: 3h}}
- {name: hasty, match: {codes: ["7001"]}, provider: {url: "http://provider.example.net/", retry: {first: 1s, max: 1m, for: 10m}, breaker: {failures: 5, pause: 1m}}, session: {idle: 3h}, reply: {fallback: sorry}}`)
		began := time.Now()
		say(t, n, "7000", "a")
		say(t, n, "7001", "b")
		if r := <-p.got; textOf(r) != "sorry" || r.From != "7001" {
			t.Errorf("first reply %q from %s", textOf(r), r.From)
		}
		if took := time.Since(began); took < 10*time.Minute || took > 12*time.Minute {
			t.Errorf("the fall-back came after %s, want about 10m", took)
		}
		time.Sleep(time.Hour - time.Since(began))
		if calls, keys := prov.counted(); calls > 100 || keys != 2 {
			t.Errorf("a provider that was down for an hour was asked %d times with %d keys", calls, keys)
		}
		prov.goes(false)
		if r := <-p.got; textOf(r) != "1//a" || time.Since(began) > time.Hour+3*time.Minute {
			t.Errorf("reply %q after %s", textOf(r), time.Since(began))
		}
		dead, err := n.DeadLetters(t.Context(), "hasty", 10)
		if err != nil || len(dead) != 1 || !strings.Contains(dead[0].Error, "refused") && !strings.Contains(dead[0].Error, "in time") {
			t.Fatalf("dead letters %+v, %v", dead, err)
		}
		if count, err := n.Replay(t.Context(), "hasty", dead[0].ID); count != 1 || err != nil {
			t.Fatalf("replayed %d, %v", count, err)
		}
		if r := <-p.got; textOf(r) != "1//b" {
			t.Errorf("replayed reply %q", textOf(r))
		}
		n.stop()
	})
}

func TestSessionTimesOut(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p, asks := newPhone(), make(chan ask, 10)
		prov := &inside{handler: echo(t, "json", asks), keys: map[string]int{}}
		n := start(t, p, setup{dir: dir, callers: func(*dispatcher.Service) dispatcher.Caller { return prov }})
		enter(t, n, `{name: echo, match: {codes: ["7000"]}, provider: {url: "http://provider.example.net/"}, session: {idle: 10m, expiry_text: "time is over", turns_text: "that was the last", max_turns: 2}}`)
		say(t, n, "7000", "a")
		<-p.got
		time.Sleep(9 * time.Minute)
		say(t, n, "7000", "b")
		if r := <-p.got; textOf(r) != "2/x/b" {
			t.Errorf("within the time: %q", textOf(r))
		}
		if a := <-asks; a.Ended != "turns" {
			t.Errorf("after the last turn: %+v", a)
		}
		if r := <-p.got; textOf(r) != "that was the last" {
			t.Errorf("after the last turn the user gets %q", textOf(r))
		}
		say(t, n, "7000", "c")
		if r := <-p.got; textOf(r) != "1//c" {
			t.Errorf("a new session: %q", textOf(r))
		}
		began := time.Now()
		if r := <-p.got; textOf(r) != "time is over" || time.Since(began) < 10*time.Minute-time.Second || time.Since(began) > 11*time.Minute {
			t.Errorf("%q after %s", textOf(r), time.Since(began))
		}
		if a := <-asks; a.Ended != "timeout" || a.State != "x" {
			t.Errorf("the provider was told %+v", a)
		}
		n.stop()
	})
}

func TestLateAnswerThatNeverComes(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p := newPhone()
		prov := &inside{handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }), keys: map[string]int{}}
		n := start(t, p, setup{dir: dir, replyURL: "http://mms.example.net/reply", callers: func(*dispatcher.Service) dispatcher.Caller { return prov }})
		enter(t, n, `{name: slow, match: {codes: ["7000"]}, provider: {url: "http://provider.example.net/", late: 20m}, reply: {fallback: sorry}}`)
		began := time.Now()
		say(t, n, "7000", "a")
		if r := <-p.got; textOf(r) != "sorry" || time.Since(began) < 20*time.Minute || time.Since(began) > 21*time.Minute {
			t.Errorf("%q after %s", textOf(r), time.Since(began))
		}
		n.stop()
	})
}

func TestSessionWaitsForALateAnswer(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p, asks := newPhone(), make(chan ask, 10)
		prov := &inside{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asks <- readAsk(t, r)
			w.WriteHeader(http.StatusAccepted)
		}), keys: map[string]int{}}
		n := start(t, p, setup{dir: dir, replyURL: "http://mms.example.net/reply", callers: func(*dispatcher.Service) dispatcher.Caller { return prov }})
		enter(t, n, `{name: slow, match: {codes: ["7000"]}, provider: {url: "http://provider.example.net/", late: 2h}, session: {idle: 5m}}`)
		for i := range 2 {
			say(t, n, "7000", "a")
			a := <-asks
			if want := fmt.Sprint(i + 1); a.Turn != want || a.State != strings.Repeat("x", i) {
				t.Errorf("turn %s with state %q, want turn %s", a.Turn, a.State, want)
			}
			time.Sleep(time.Hour)
			rec, req := httptest.NewRecorder(), httptest.NewRequest("POST", a.ReplyURL, strings.NewReader(`{"version":1,"text":"at last","state":"eA=="}`))
			req.Header.Set("Content-Type", "application/json")
			if n.Late().ServeHTTP(rec, req); rec.Code != http.StatusAccepted {
				t.Fatalf("late answer: %d %s", rec.Code, rec.Body)
			}
			if r := <-p.got; textOf(r) != "at last" {
				t.Errorf("reply %q", textOf(r))
			}
		}
		if a := <-asks; a.Ended != "timeout" {
			t.Errorf("after the time: %+v", a)
		}
		n.stop()
	})
}

func TestRestartInMidSession(t *testing.T) {
	srv := httptest.NewServer(echo(t, "json", make(chan ask, 10)))
	defer srv.Close()
	dir, p := t.TempDir(), newPhone()
	entry := fmt.Sprintf(`{name: echo, match: {codes: ["7000"]}, provider: {url: "%s/", retry: {first: 10ms, max: 10ms, for: 10m}}}`, srv.URL)
	n := start(t, p, setup{dir: dir})
	enter(t, n, entry)
	say(t, n, "7000", "a")
	p.next(t)
	p.breaks(errors.New("the store is away"))
	say(t, n, "7000", "b")
	n.stop()
	p.breaks(nil)
	n = start(t, p, setup{dir: dir})
	if got := textOf(p.next(t)); got != "2/x/b" {
		t.Errorf("the turn that was under way: %q", got)
	}
	say(t, n, "7000", "c")
	if got := textOf(p.next(t)); got != "3/xx/c" {
		t.Errorf("the turn after the restart: %q", got)
	}
}

func TestTwoNodesOnOneDatabase(t *testing.T) {
	dsn := pgtest.DSN(t)
	srv := httptest.NewServer(echo(t, "json", make(chan ask, 100)))
	defer srv.Close()
	p := newPhone()
	a := start(t, p, setup{dsn: dsn})
	b := start(t, p, setup{dsn: dsn})
	enter(t, a, fmt.Sprintf(`{name: echo, match: {codes: ["7000"]}, provider: {url: "%s/"}}`, srv.URL))
	late := time.After(20 * time.Second)
	for !b.Takes("7000") { // the other node follows within a second
		select {
		case <-late:
			t.Fatal("the other node does not know the service")
		case <-time.After(20 * time.Millisecond):
		}
	}
	for i, n := range []*node{a, b, a, b} {
		say(t, n, "7000", "hi")
		if got, want := textOf(p.next(t)), fmt.Sprintf("%d/%s/hi", i+1, strings.Repeat("x", i)); got != want {
			t.Errorf("turn %d: %q, want %q", i+1, got, want)
		}
	}
	// Many users at once, each message on both nodes as by a client that repeats it: each is answered once.
	const users = 20
	var wg sync.WaitGroup
	for i := range users {
		s := message("7000", "once")
		s.From = fmt.Sprintf("+4670000%04d", i)
		for _, n := range []*node{a, b} {
			wg.Go(func() {
				c := *s
				if err := n.Accept(t.Context(), &c); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	seen := map[string]int{}
	for range users {
		seen[p.next(t).To[0]]++
	}
	if len(seen) != users {
		t.Errorf("%d users were answered, want %d", len(seen), users)
	}
	a.stop()
	b.stop()
	if len(p.got) != 0 {
		t.Errorf("%d replies too many", len(p.got))
	}
}

func TestSlowServiceDelaysNoOther(t *testing.T) {
	held := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/slow") {
			select {
			case <-held:
			case <-r.Context().Done():
			}
		}
		tell(w, "json", r.URL.Path, "", true)
	}))
	defer srv.Close()
	p := newPhone()
	n := start(t, p, setup{})
	enter(t, n, fmt.Sprintf(`
- {name: slow, match: {codes: ["7000"]}, provider: {url: "%[1]s/slow", concurrency: 2, timeout: 1m}}
- {name: fast, match: {codes: ["7001"]}, provider: {url: "%[1]s/fast"}}`, srv.URL))
	send := func(code string, i int) {
		s := message(code, "x")
		s.From = fmt.Sprintf("+4670000%04d", i)
		if err := n.Accept(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		send("7000", i)
	}
	for i := range 20 {
		send("7001", i)
		if r := p.next(t); r.From != "7001" {
			t.Fatalf("reply from %s while the slow one is held", r.From)
		}
	}
	close(held)
	for range 20 {
		if r := p.next(t); r.From != "7000" {
			t.Fatalf("reply from %s", r.From)
		}
	}
}

// TestLongWorkKeepsItsLease: a provider thinks many times as long as a lease lasts; the node that asks keeps the turn, and another node on
// the same database does not ask as well.
func TestLongWorkKeepsItsLease(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p := newPhone()
		prov := &inside{keys: map[string]int{}, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(15 * time.Second)
			echo(t, "json", nil)(w, r)
		})}
		s := setup{dir: dir, callers: func(*dispatcher.Service) dispatcher.Caller { return prov }, config: func(c *dispatcher.Config) { c.Lease = time.Second }}
		a, b := start(t, p, s), start(t, p, s)
		enter(t, a, `{name: slow, match: {codes: ["7000"]}, provider: {url: "http://provider.example.net/", timeout: 1m}}`)
		say(t, a, "7000", "hi")
		if r := <-p.got; textOf(r) != "1//hi" {
			t.Errorf("reply %q", textOf(r))
		}
		if calls, _ := prov.counted(); calls != 1 {
			t.Errorf("asked %d times", calls)
		}
		a.stop()
		b.stop()
	})
}

// TestPausesAreKept: a turn that failed is tried again after its pause, not later because the user has written more meanwhile and those
// turns wait for it.
func TestPausesAreKept(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p := newPhone()
		prov := &inside{handler: echo(t, "json", nil), away: true, keys: map[string]int{}}
		n := start(t, p, setup{dir: dir, callers: func(*dispatcher.Service) dispatcher.Caller { return prov }})
		enter(t, n, `{name: echo, match: {codes: ["7000"]}, provider: {url: "http://provider.example.net/", retry: {first: 100ms, max: 100ms, for: 1h}, breaker: {failures: 1000}}}`)
		for _, text := range []string{"a", "b", "c"} {
			say(t, n, "7000", text)
		}
		time.Sleep(10 * time.Second)
		if calls, keys := prov.counted(); calls < 80 || calls > 120 || keys != 1 {
			t.Errorf("asked %d times in 10 s with %d keys, want about 100 with one", calls, keys)
		}
		prov.goes(false)
		for i, text := range []string{"a", "b", "c"} {
			if r := <-p.got; textOf(r) != fmt.Sprintf("%d/%s/%s", i+1, strings.Repeat("x", i), text) {
				t.Errorf("reply %q", textOf(r))
			}
		}
		n.stop()
	})
}
