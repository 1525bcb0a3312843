package services_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/test/services/provider"
)

// TestProviderDown: nobody listens at the provider's address. A patient service tries on, ever more rarely, behind its breaker, and when the
// provider is back the user gets the answer, of one turn with one key; a hasty one gives its user the fall-back text, and its
// dead letter can be replayed. A whole hour of this with the clock under control is in the dispatcher's own stories.
func TestProviderDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	do := func(a provider.Ask) provider.Answer { return provider.Reply{Text: "here again: " + a.Text()}.JSON() }
	p := provider.Start(t, provider.Options{Do: do})
	p.Stop()
	w.enter(fmt.Sprintf(`{name: patient, match: {codes: ["7000"]}, provider: {url: "%s", retry: {first: 50ms, max: 400ms, for: 1h}, breaker: {failures: 3, pause: 300ms}}}`, p.URL),
		fmt.Sprintf(`{name: hasty, match: {codes: ["7001"]}, provider: {url: "%s", retry: {first: 50ms, max: 100ms, for: 500ms}, breaker: {failures: 1000, pause: 1m}}, reply: {fallback: "not now"}}`, p.URL))
	w.users.say(t, alice, "7000", "a")
	w.users.say(t, carol, "7000", "c")
	w.users.say(t, alice, "7001", "b")
	if r := w.users.reply(t, alice, "7001", 1); r.text != "not now" {
		t.Errorf("the hasty service's user reads %q", r.text)
	}
	const open, failed = "mmsrouter_dispatcher_open_breakers", "mmsrouter_dispatcher_calls_total"
	w.Await("breaker to open", func() bool { return w.Metric(open) > 0 })
	w.Await("dead letter", func() bool { return len(w.dead("hasty")) == 1 })
	calls := w.Metric(failed, `result="failed"`)
	if n := w.users.countFrom(alice, "7000") + w.users.countFrom(carol, "7000"); n != 0 || calls < 4 || calls > 100 {
		t.Errorf("%d answers while the provider is down, %v calls", n, calls)
	}
	back := provider.Start(t, provider.Options{Addr: p.Addr, Do: do})
	if r := w.users.reply(t, alice, "7000", 1); r.text != "here again: a" {
		t.Errorf("the patient service's user reads %q", r.text)
	}
	w.users.reply(t, carol, "7000", 1)
	w.Await("breaker to close", func() bool { return w.Metric(open) == 0 })
	letter := w.dead("hasty")[0]
	if letter.User != alice || letter.Kind != "turn" || letter.Error == "" {
		t.Errorf("dead letter %+v", letter)
	}
	if status, body := w.Post("/api/v1/services/hasty/replay?id=" + letter.ID); status != 200 || !strings.Contains(string(body), `"replayed":1`) {
		t.Errorf("replay: %d %s", status, body)
	}
	if r := w.users.reply(t, alice, "7001", 2); r.text != "here again: b" {
		t.Errorf("after the replay: %q", r.text)
	}
	if a := back.Await(3, "for a turn", provider.Turn); a.ID != letter.ID {
		t.Errorf("replayed with the key %s, want %s", a.ID, letter.ID)
	}
	if n := w.users.count(alice); n != 3 {
		t.Errorf("alice has %d messages, want 3", n)
	}
}

// TestProviderFailsThenAnswers: what means "later" (such a status, silence, an answer that breaks off) is tried again with the same key, until there
// is an answer.
func TestProviderFailsThenAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	bad := []provider.Answer{provider.Silent(), provider.Cut("application/xml"), provider.Trickle("application/xml", nil)}
	for _, status := range []int{408, 425, 429, 500, 502, 503, 504} {
		bad = append(bad, provider.Answer{Status: status})
	}
	var entries []string
	var providers []*provider.Provider
	for i, b := range bad {
		tries := make(chan struct{}, 2)
		p := provider.Start(t, provider.Options{Do: func(provider.Ask) provider.Answer {
			select {
			case tries <- struct{}{}:
				return b
			default:
				return provider.Reply{Text: fmt.Sprint("after ", i)}.XML()
			}
		}})
		timeout := "20s"
		if i == 0 || i == 2 {
			timeout = "300ms"
		}
		providers = append(providers, p)
		entries = append(entries, fmt.Sprintf(`{name: s%d, match: {codes: ["%d"]}, provider: {url: "%s", format: xml, timeout: %s, retry: {first: 20ms, max: 20ms, for: 1h}, breaker: {failures: 1000}}}`,
			i, 7000+i, p.URL, timeout))
	}
	w.enter(entries...)
	for i := range bad {
		w.users.say(t, alice, fmt.Sprint(7000+i), "x")
	}
	for i := range bad {
		if r := w.users.reply(t, alice, fmt.Sprint(7000+i), 1); r.text != fmt.Sprint("after ", i) {
			t.Errorf("%d: %q", i, r.text)
		}
		// A short time-out may be over before the well answer, too, where the machine is busy.
		if p := providers[i]; len(p.Asks()) < 3 || p.Repeats() != len(p.Asks())-1 || i > 2 && len(p.Asks()) != 3 {
			t.Errorf("%d: asked %d times, %d with the same key", i, len(p.Asks()), p.Repeats())
		}
	}
}

// TestSlowProvider: one provider does not answer while users write to it again and again; the users of another service get their answers
// as ever, and at last the slow one's too; a user's turns reach the provider in their order.
func TestSlowProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	gate := make(chan struct{})
	slow := provider.Start(t, provider.Options{Do: func(a provider.Ask) provider.Answer {
		<-gate
		return provider.Reply{Text: fmt.Sprintf("%d %s", a.Turn, a.Text())}.JSON()
	}})
	fast := provider.Start(t, provider.Options{Do: echo("json")})
	w.enter(fmt.Sprintf(`{name: slow, match: {codes: ["7000"]}, provider: {url: "%s", concurrency: 2, timeout: 5m}}`, slow.URL),
		fmt.Sprintf(`{name: fast, match: {codes: ["7001"]}, provider: {url: "%s"}}`, fast.URL))
	users := []string{alice, bob, carol}
	for i := range 4 {
		for _, u := range users {
			w.users.say(t, u, "7000", fmt.Sprint("m", i+1))
		}
	}
	slow.Await(2, "for a turn", provider.Turn)
	for i := range 4 {
		for _, u := range users {
			w.users.say(t, u, "7001", fmt.Sprint("n", i+1))
			if r := w.users.reply(t, u, "7001", i+1); r.text != fmt.Sprint("re n", i+1) {
				t.Errorf("%s: %q", u, r.text)
			}
		}
	}
	if n := len(slow.Asks()); n != 2 {
		t.Errorf("the slow provider was asked %d times at once, want 2", n)
	}
	close(gate)
	for _, u := range users {
		var got []string
		for i := range 4 {
			got = append(got, w.users.reply(t, u, "7000", i+1).text)
		}
		slices.Sort(got) // the handset fetches several at the same time
		if want := []string{"1 m1", "2 m2", "3 m3", "4 m4"}; !slices.Equal(got, want) {
			t.Errorf("%s: %q", u, got)
		}
		turns := 0
		for _, a := range slow.Asks() {
			if a.Sender != u {
				continue
			}
			if turns++; a.Turn != turns {
				t.Errorf("%s: the provider was asked for turn %d, want %d", u, a.Turn, turns)
			}
		}
	}
}
