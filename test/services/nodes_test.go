package services_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
	"github.com/mmsrouter/mmsrouter/test/services/provider"
)

// TestTwoNodes: two routers on one PostgreSQL; the user's turns go to the one and the other in turn, and the session is one. What is entered at
// one is known at both, and when one ends the other goes on with it.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	db := fmt.Sprintf("database: %q", pgtest.DSN(t))
	a := newWorld(t, setup{name: "a", mmsc: []string{db}})
	b := newWorld(t, setup{name: "b", mmsc: []string{db}, with: a.users})
	p := provider.Start(t, provider.Options{Do: func(k provider.Ask) provider.Answer {
		return provider.Reply{Text: fmt.Sprintf("%d/%s/%s", k.Turn, k.State, k.Text()), State: k.State + "x"}.XML()
	}})
	a.enter(fmt.Sprintf(`{name: quiz, match: {codes: ["7000"]}, provider: {url: "%s", format: xml}}`, p.URL))
	b.Await("service at the other node", func() bool {
		_, list := b.Get("/api/v1/services")
		return strings.Contains(string(list), "quiz")
	})
	turn := 0
	take := func(w *world) {
		t.Helper()
		a.users.at.Store(w.MM1)
		turn++
		text := fmt.Sprint("t", turn)
		a.users.say(t, alice, "7000", text)
		if r, want := a.users.reply(t, alice, "7000", turn), fmt.Sprintf("%d/%s/%s", turn, strings.Repeat("x", turn-1), text); r.text != want {
			t.Errorf("turn %d: %q, want %q", turn, r.text, want)
		}
	}
	for _, w := range []*world{a, b, a, b} {
		take(w)
	}
	// A message that its handset sends again by the other node, for want of an answer, is one turn.
	pdu := sendReq("TWICE", alice, "7000", "t5")
	for _, w := range []*world{a, b} {
		a.users.at.Store(w.MM1)
		if _, err := a.users.SendPDU(t.Context(), alice, pdu); err != nil {
			t.Fatal(err)
		}
	}
	turn++
	if r := a.users.reply(t, alice, "7000", turn); r.text != "5/xxxx/t5" {
		t.Errorf("turn 5: %q", r.text)
	}
	// The one asks, and the provider's late answer comes in at the other.
	slow := provider.Start(t, provider.Options{Do: func(provider.Ask) provider.Answer { return provider.Answer{Status: http.StatusAccepted} }})
	b.enter(fmt.Sprintf(`{name: slow, match: {codes: ["7100"]}, provider: {url: "%s", format: xml}}`, slow.URL))
	a.Await("service at the first node", func() bool {
		_, list := a.Get("/api/v1/services")
		return strings.Contains(string(list), "slow")
	})
	a.users.at.Store(a.MM1)
	a.users.say(t, alice, "7100", "think")
	if n := b.post(slow.Await(1, "for a turn", provider.Turn).ReplyURL, provider.Reply{Text: "thought"}.XML()); n != http.StatusAccepted {
		t.Errorf("late answer at the other node: %d", n)
	}
	if r := a.users.reply(t, alice, "7100", 1); r.text != "thought" {
		t.Errorf("late answer: %q", r.text)
	}
	a.Stop()
	take(b)
	first := p.Asks()[0].Session
	for _, k := range p.Asks() {
		if k.Session != first {
			t.Errorf("turn %d is of another session", k.Turn)
		}
	}
	if n := a.users.countFrom(alice, "7000"); n != turn || p.Repeats() != 0 {
		t.Errorf("%d replies to %d turns; %d keys repeated", n, turn, p.Repeats())
	}
}
