package services_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mmsrouter/mmsrouter/test/services/provider"
)

// post gives a late answer at a reply URL, as the operator's reverse proxy would pass it on.
func (w *world) post(replyURL string, a provider.Answer, header ...string) int {
	w.t.Helper()
	path, ok := strings.CutPrefix(replyURL, "http://mms.example.net")
	if !ok || !strings.HasPrefix(path, "/reply/") {
		w.t.Fatalf("reply URL %q", replyURL)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, "http://"+w.MM1+path, strings.NewReader(string(a.Body)))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Host = "mms.example.net"
	for k, v := range a.Header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", a.Type)
	resp, err := client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = resp.Body.Close() // only the status counts
	return resp.StatusCode
}

// TestLateAnswer: the provider says 202 and answers later by the turn's own URL, once; the session goes on with what it said then.
func TestLateAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	later := func(provider.Ask) provider.Answer { return provider.Answer{Status: http.StatusAccepted} }
	for i, format := range []string{"xml", "json", "http"} {
		t.Run(format, func(t *testing.T) {
			code := fmt.Sprint(7000 + i)
			p := provider.Start(t, provider.Options{Do: later})
			w.enter(fmt.Sprintf(`{name: late-%s, match: {codes: ["%s"]}, provider: {url: "%s", format: %[1]s}}`, format, code, p.URL))
			w.users.say(t, alice, code, "think")
			first := p.Await(1, "for a turn", provider.Turn)
			w.users.say(t, alice, code, "again") // the second turn does not wait for the first one's late answer
			second := p.Await(2, "for a turn", provider.Turn)
			if first.ReplyURL == second.ReplyURL || first.Session != second.Session || second.Turn != 2 {
				t.Errorf("turns at %s and %s", first.ReplyURL, second.ReplyURL)
			}
			garbage := provider.Garbage("application/x-nothing")
			if format == "http" {
				garbage.Body = nil // of other octets the platform makes what it can
			}
			if n := w.post(first.ReplyURL, garbage); n != http.StatusBadRequest {
				t.Errorf("garbage: %d", n)
			}
			forged := first.ReplyURL[:len(first.ReplyURL)-1] + string('0'+('1'-first.ReplyURL[len(first.ReplyURL)-1])&1)
			if n := w.post(forged, provider.Reply{Text: "forged"}.In(format)); n != http.StatusNotFound {
				t.Errorf("a URL with another seal: %d", n)
			}
			answer := provider.Reply{Text: "thought about it", State: "s"}.In(format)
			if n := w.post(second.ReplyURL, answer); n != http.StatusAccepted {
				t.Errorf("late answer: %d", n)
			}
			if r := w.users.reply(t, alice, code, 1); r.text != "thought about it" {
				t.Errorf("reply %q", r.text)
			}
			if n := w.post(second.ReplyURL, answer); n != http.StatusGone {
				t.Errorf("the same URL again: %d", n)
			}
			w.users.say(t, alice, code, "third")
			if a := p.Await(3, "for a turn", provider.Turn); a.State != "s" || a.Turn != 3 {
				t.Errorf("turn %d with state %q", a.Turn, a.State)
			}
			if n := w.users.countFrom(alice, code); n != 1 {
				t.Errorf("%d replies, want one", n)
			}
		})
	}
}

// TestLateAnswerThatNeverComes: the user gets the fall-back text when the time for a late answer is over, and what comes after that is refused.
func TestLateAnswerThatNeverComes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := provider.Start(t, provider.Options{Do: func(provider.Ask) provider.Answer { return provider.Answer{Status: http.StatusAccepted} }})
	w.enter(fmt.Sprintf(`{name: late, match: {codes: ["7000"]}, provider: {url: "%s", late: 1s}, reply: {fallback: "sorry"}}`, p.URL))
	w.users.say(t, alice, "7000", "think")
	if r := w.users.reply(t, alice, "7000", 1); r.text != "sorry" {
		t.Errorf("reply %q", r.text)
	}
	if n := w.post(p.Asks()[0].ReplyURL, provider.Reply{Text: "too late"}.JSON()); n != http.StatusGone {
		t.Errorf("after its time: %d", n)
	}
}

// TestLateAnswerOnce: whoever brings answers at the same time, before the provider has said 202 or together with an answer of its own, one
// of them reaches the user.
func TestLateAnswerOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	crowd := func(replyURL string) (kept int) {
		var all sync.WaitGroup
		var taken atomic.Int32
		for i := range 8 {
			all.Go(func() {
				switch n := w.post(replyURL, provider.Reply{Text: fmt.Sprint("late ", i)}.JSON()); n {
				case http.StatusAccepted:
					taken.Add(1)
				case http.StatusGone:
				default:
					t.Errorf("late answer: %d", n)
				}
			})
		}
		all.Wait()
		return int(taken.Load())
	}
	for i, c := range []struct {
		name string
		do   func(a provider.Ask) provider.Answer
		kept []int // how many may be kept
	}{
		{"before the 202", func(a provider.Ask) provider.Answer { return provider.Answer{Status: http.StatusAccepted} }, []int{1}},
		{"beside an answer", func(a provider.Ask) provider.Answer { return provider.Reply{Text: "at once"}.JSON() }, []int{0, 1}},
		{"before a failure", func(a provider.Ask) provider.Answer { return provider.Answer{Status: http.StatusNotFound} }, []int{0, 1}},
	} {
		code := fmt.Sprint(7000 + i)
		kept := make(chan int, 1)
		p := provider.Start(t, provider.Options{Do: func(a provider.Ask) provider.Answer {
			select {
			case kept <- crowd(a.ReplyURL):
			default:
			}
			return c.do(a)
		}})
		w.enter(fmt.Sprintf(`{name: s%d, match: {codes: ["%s"]}, provider: {url: "%s"}, reply: {fallback: "sorry"}}`, i, code, p.URL))
		w.users.say(t, alice, code, "think")
		if n := <-kept; !slices.Contains(c.kept, n) {
			t.Errorf("%s: %d late answers kept", c.name, n)
		} else if r := w.users.reply(t, alice, code, 1); n == 1 && !strings.HasPrefix(r.text, "late ") && r.text != "at once" {
			t.Errorf("%s: an answer was kept, and the user reads %q", c.name, r.text)
		}
		w.users.say(t, bob, code, "the end") // whatever else would come to alice is on its way by then
		w.users.reply(t, bob, code, 1)
		<-kept // his late answers are all through, too: the first may have been the reply
		if n := w.users.countFrom(alice, code); n != 1 {
			t.Errorf("%s: %d replies", c.name, n)
		}
	}
}
