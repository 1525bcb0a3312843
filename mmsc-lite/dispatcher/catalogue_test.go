package dispatcher

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
)

func testGuard(t *testing.T) *outgoing.Guard {
	t.Helper()
	c := outgoing.DefaultConfig()
	c.Allow = []string{"127.0.0.1"}
	g, err := outgoing.New(outgoing.Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func testCatalogue(t *testing.T, db *tables) *catalogue {
	t.Helper()
	guard := testGuard(t)
	c, err := newCatalogue(t.Context(), db, func(u string) error { _, err := guard.Check(u); return err }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testDatabase(t *testing.T, dir, dsn string) *tables {
	t.Helper()
	db, err := openTables(t.Context(), dir, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func parse(t *testing.T, text string) []Service {
	t.Helper()
	list, err := ParseServices(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

const provider = `, provider: {url: "http://quiz.example.net/turn"}}`

func TestMatching(t *testing.T) {
	const services = `services:
- {name: exact, match: {codes: ["7000"]}` + provider + `
- {name: word, match: {codes: ["7000"], keywords: [cat, "big cat"]}` + provider + `
- {name: prefix, match: {prefixes: ["70"]}` + provider + `
- {name: longer, match: {prefixes: ["700"]}` + provider + `
- {name: range, match: {ranges: ["7100-7199"]}` + provider + `
- {name: pictures, match: {ranges: ["7100-7199"], media: [image/*]}` + provider + `
- {name: pattern, match: {ranges: ["7100-7199"], pattern: '^[0-9]{4}$'}` + provider + `
- {name: night, match: {codes: ["7200"], window: {from: "22:00", to: "06:00"}}` + provider + `
- {name: swedes, match: {codes: ["7200"], senders: ["+46"]}` + provider + `
- {name: urgent, priority: 5, match: {codes: ["7300"]}` + provider + `
- {name: usual, match: {codes: ["7300"]}` + provider + `
- {name: rest, match: {catch_all: true}` + provider
	c := testCatalogue(t, testDatabase(t, t.TempDir(), ""))
	if err := c.write(t.Context(), add, parse(t, services)...); err != nil {
		t.Fatal(err)
	}
	noon, night := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC), time.Date(2026, 5, 4, 23, 30, 0, 0, time.UTC)
	for _, tc := range []struct {
		name, code, text, subject, from, media string
		at                                     time.Time
		want                                   string
	}{
		{name: "whole code", code: "7000", want: "exact"},
		{name: "code with a type", code: "7000/TYPE=PLMN", want: "exact"},
		{name: "keyword", code: "7000", text: "Cat, please!", want: "word"},
		{name: "keyword of two words", code: "7000", text: "BIG  cat", want: "word"},
		{name: "keyword in the subject", code: "7000", subject: "cat", want: "word"},
		{name: "a word that only begins like it", code: "7000", text: "category", want: "exact"},
		{name: "longest prefix", code: "7001", want: "longer"},
		{name: "shorter prefix", code: "7055", want: "prefix"},
		{name: "range", code: "7150", text: "hello", want: "range"},
		{name: "outside the range", code: "71500", want: "rest"},
		{name: "type of a part", code: "7150", media: "image/jpeg", want: "pictures"},
		{name: "pattern before type", code: "7150", text: "1234", media: "image/jpeg", want: "pattern"},
		{name: "time", code: "7200", at: night, from: "+4912", want: "night"},
		{name: "sender before time", code: "7200", at: night, from: "+46701234567", want: "swedes"},
		{name: "no time, no sender", code: "7200", from: "+4912", want: "rest"},
		{name: "priority", code: "7300", want: "urgent"},
		{name: "catch-all", code: "nobody@example.net", want: "rest"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &Submission{From: tc.from, Code: tc.code, Subject: tc.subject, Received: tc.at}
			if s.Received.IsZero() {
				s.Received = noon
			}
			if tc.text != "" {
				s.Parts = append(s.Parts, Part{Type: "text/plain; charset=utf-8", Data: []byte(tc.text)})
			}
			if tc.media != "" {
				s.Parts = append(s.Parts, Part{Type: tc.media, Data: []byte("x")})
			}
			d := c.table().decide(factsOf(s), nil, true)
			if d.Service != tc.want {
				t.Errorf("%s takes it (%s), want %s", d.Service, d.Why, tc.want)
			}
			if len(d.Candidates) != 12 {
				t.Errorf("%d candidates explained, want 12", len(d.Candidates))
			}
		})
	}
	for code, want := range map[string]bool{"7000": true, "7199": true, "7200": true, "8000": false, "": false, "+46701234567": false} {
		if got := c.table().takes(code); got != want {
			t.Errorf("takes %q: %v", code, got)
		}
	}
}

func TestSessionBeforeKeyword(t *testing.T) {
	c := testCatalogue(t, testDatabase(t, t.TempDir(), ""))
	if err := c.write(t.Context(), add, parse(t, `
- {name: quiz, match: {codes: ["7000"], keywords: [quiz]}, session: {stop_words: [stop, "СТОП"]}`+provider+`
- {name: news, match: {codes: ["7000"], keywords: [news]}`+provider+`
- {name: other, match: {codes: ["7000"]}`+provider)...); err != nil {
		t.Fatal(err)
	}
	open := []*session{{ID: "s-1", Service: "quiz", Turn: 3}}
	for _, tc := range []struct {
		name, text string
		open       []*session
		want       string
		stop       bool
	}{
		{"an answer goes on", "B", open, "quiz", false},
		{"another's keyword changes", "news today", open, "news", false},
		{"its own keyword goes on", "quiz", open, "quiz", false},
		{"a stop word", " Stop! ", open, "quiz", true},
		{"a stop word in another script", "стоп", open, "quiz", true},
		{"a sentence is no stop word", "stop that", open, "quiz", false},
		{"no session", "B", nil, "other", false},
		{"a session of a service that is gone", "B", []*session{{ID: "s-2", Service: "gone"}}, "other", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := c.table().decide(factsOf(&Submission{Code: "7000", Parts: []Part{{Type: "text/plain", Data: []byte(tc.text)}}}), tc.open, false)
			if d.Service != tc.want || d.Stop != tc.stop {
				t.Errorf("%+v; want %s, stop %v", d, tc.want, tc.stop)
			}
		})
	}
}

func TestEntriesThatCannotWork(t *testing.T) {
	c := testCatalogue(t, testDatabase(t, t.TempDir(), ""))
	if err := c.write(t.Context(), add, parse(t, `
- {name: first, match: {codes: ["7000"], keywords: [cat]}`+provider+`
- {name: wide, match: {ranges: ["8000-8999"]}`+provider+`
- {name: hours, match: {codes: ["9000"], window: {from: "08:00", to: "12:00"}}`+provider)...); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, entry, want string }{
		{"no name", `{match: {codes: ["1"]}` + provider, "name:"},
		{"no address", `{name: a` + provider, "match.codes, prefixes"},
		{"file URL", `{name: a, match: {codes: ["1"]}, provider: {url: "file:///etc/passwd"}}`, "provider.url"},
		{"password in the URL", `{name: a, match: {codes: ["1"]}, provider: {url: "http://u:p@example.net/"}}`, "provider.url"},
		{"host out of a message", `{name: a, match: {codes: ["1"]}, provider: {url: "http://{text}/"}}`, "provider.url"},
		{"unknown placeholder", `{name: a, match: {codes: ["1"]}, provider: {url: "http://example.net/{who}"}}`, "{who}"},
		{"unknown format", `{name: a, match: {codes: ["1"]}, provider: {url: "http://example.net/", format: soap}}`, "provider.format"},
		{"GET with XML", `{name: a, match: {codes: ["1"]}, provider: {url: "http://example.net/", format: xml, method: GET}}`, "provider.method"},
		{"broken pattern", `{name: a, match: {codes: ["1"], pattern: "("}` + provider, "match.pattern"},
		{"range backwards", `{name: a, match: {ranges: ["7099-7000"]}` + provider, "match.ranges"},
		{"hour that is none", `{name: a, match: {codes: ["1"], window: {from: "25:00"}}` + provider, "window.from"},
		{"missing certificate", `{name: a, match: {codes: ["1"]}, provider: {url: "http://example.net/", tls: {ca: /nowhere/ca.pem}}}`, "provider.tls.ca"},
		{"time-out of nothing", `{name: a, match: {codes: ["1"]}, provider: {url: "http://example.net/", timeout: 0s}}`, "provider.timeout"},
		{"no fall-back", `{name: a, match: {codes: ["1"]}, reply: {fallback: " "}` + provider, "reply.fallback"},
		{"loop without bound", `{name: a, match: {codes: ["1"]}, loop: {allow: true}` + provider, "loop.max_hops"},
		{"the same code and keyword", `{name: a, match: {codes: ["7000"], keywords: [dog, Cat]}` + provider, "service first takes the same messages"},
		{"ranges that meet", `{name: a, match: {ranges: ["8500-8599", "8000-8999"]}` + provider, "service wide takes the same messages"},
		{"hours that meet", `{name: a, match: {codes: ["9000"], window: {from: "11:59", to: "13:00"}}` + provider, "service hours takes the same messages"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := c.write(t.Context(), put, parse(t, tc.entry)...)
			var bad *InvalidError
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v; want a refusal that names %q", err, tc.want)
			}
		})
	}
	for _, entry := range []string{
		`{name: b, match: {codes: ["7000"], keywords: [dog]}` + provider,
		`{name: b, priority: 1, match: {codes: ["7000"], keywords: [cat]}` + provider,
		`{name: b, disabled: true, match: {codes: ["7000"], keywords: [cat]}` + provider,
		`{name: b, match: {codes: ["9000"], window: {from: "12:00", to: "13:00"}}` + provider,
	} {
		if err := c.write(t.Context(), put, parse(t, entry)...); err != nil {
			t.Error(err)
		}
	}
	if _, err := ParseServices(strings.NewReader(`{name: a, matches: {}}`)); err == nil || !strings.Contains(err.Error(), "matches") {
		t.Errorf("an unknown key: %v", err)
	}
}

func TestCatalogueChanges(t *testing.T) {
	dir := t.TempDir()
	db := testDatabase(t, dir, "")
	one, other := testCatalogue(t, db), testCatalogue(t, testDatabase(t, dir, ""))
	ctx := context.Background()
	entry := parse(t, `{name: quiz, match: {codes: ["7000"]}, provider: {url: "http://quiz.example.net/", secret: s3cret, token: t0ken}}`)[0]
	if err := one.write(ctx, edit, entry); !errors.Is(err, ErrNoService) {
		t.Errorf("edit what is not there: %v", err)
	}
	if err := one.write(ctx, add, entry); err != nil {
		t.Fatal(err)
	}
	if err := one.write(ctx, add, entry); !errors.Is(err, ErrExists) {
		t.Errorf("add what is there: %v", err)
	}
	if err := other.refresh(ctx); err != nil {
		t.Fatal(err)
	}
	seen, err := other.table().find("quiz")
	if err != nil {
		t.Fatal(err)
	}
	text, err := YAML([]Service{seen.Shown()})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "s3cret") || strings.Contains(string(text), "t0ken") {
		t.Errorf("secrets are shown:\n%s", text)
	}
	back := parse(t, string(text))[0]
	back.Priority = 3
	if err := other.write(ctx, edit, back); err != nil {
		t.Fatal(err)
	}
	if err := one.refresh(ctx); err != nil {
		t.Fatal(err)
	}
	got, err := one.table().find("quiz")
	if err != nil || got.Priority != 3 || got.Provider.Secret != "s3cret" || got.Provider.Token != "t0ken" {
		t.Errorf("%+v, %v", got, err)
	}
	if err := one.remove(ctx, "quiz"); err != nil {
		t.Fatal(err)
	}
	if err := one.remove(ctx, "quiz"); !errors.Is(err, ErrNoService) {
		t.Errorf("remove it twice: %v", err)
	}
}

func FuzzParseServices(f *testing.F) {
	f.Add(`{name: quiz, match: {codes: ["7000"]}` + provider)
	f.Add(`services: [{name: a, match: {ranges: ["7-8"], window: {from: "08:00"}}}]`)
	f.Add("- {name: a}\n- {name: b}")
	f.Add("&a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseServices(strings.NewReader(text))
		if err != nil {
			return
		}
		for i := range list {
			if list[i].Validate() != nil {
				continue
			}
			if _, err := compile(1, list[i:i+1]); err != nil {
				t.Errorf("valid and not usable: %v", err)
			}
		}
	})
}
