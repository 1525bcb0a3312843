package services_test

import (
	"fmt"
	"testing"

	"github.com/mmsrouter/mmsrouter/test/services/provider"
)

// TestEndings: a session ends by a stop word of any language, by its provider, after its last turn, or when its time is over; each
// end is told to the provider with the session's state, and what comes then begins a new session.
func TestEndings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for i, c := range []struct {
		name, session, last string
		why                 string
		texts               []string // what the user gets, turn by turn
	}{
		{"stop word", `{stop_words: [stop, СТОП, beenden], stop_text: "bye then"}`, "стоп", "stop", []string{"1//hi", "bye then"}},
		{"stop word in other letters", `{stop_words: [stop], stop_text: "bye then"}`, "  STOP! ", "stop", []string{"1//hi", "bye then"}},
		{"provider", `{}`, "bye", "provider", []string{"1//hi", "2/x/bye"}},
		{"last turn", `{max_turns: 2}`, "more", "turns", []string{"1//hi", "2/x/more"}},
		{"time-out with a text", `{idle: 1s, expiry_text: "time is over"}`, "", "timeout", []string{"1//hi", "time is over"}},
		{"time-out without one", `{idle: 1s}`, "", "timeout", []string{"1//hi"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			code := fmt.Sprint(7000 + i)
			p := provider.Start(t, provider.Options{Do: func(a provider.Ask) provider.Answer {
				if a.Kind != "turn" {
					return provider.Answer{Status: 204}
				}
				return provider.Reply{Text: fmt.Sprintf("%d/%s/%s", a.Turn, a.State, a.Text()), State: a.State + "x", End: a.Text() == "bye"}.XML()
			}})
			w.enter(fmt.Sprintf(`{name: s%s, match: {codes: ["%[1]s"]}, provider: {url: "%s", format: xml}, session: %s}`, code, p.URL, c.session))
			w.users.say(t, alice, code, "hi")
			first := p.Await(1, "for a turn", provider.Turn)
			turns := 1
			for k, want := range c.texts {
				if k == 1 && c.last != "" {
					w.users.say(t, alice, code, c.last)
				}
				if r := w.users.reply(t, alice, code, k+1); r.text != want {
					t.Errorf("reply %d: %q, want %q", k+1, r.text, want)
				}
			}
			state := "x"
			if c.why == "provider" || c.why == "turns" {
				turns, state = 2, "xx"
			}
			if a := p.Await(1, "for an end", provider.Ended); a.Ended != c.why || a.Session != first.Session || a.State != state || a.Turn != turns || a.Sender != alice {
				t.Errorf("the end: %+v", a)
			}
			w.users.say(t, alice, code, "anew")
			if a := p.Await(turns+1, "for a turn", provider.Turn); a.Turn != 1 || a.Session == first.Session || a.State != "" {
				t.Errorf("a new session: %+v", a)
			}
			if r := w.users.reply(t, alice, code, len(c.texts)+1); r.text != "1//anew" {
				t.Errorf("its reply: %q", r.text)
			}
		})
	}
}
