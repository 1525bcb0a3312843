package dispatcher

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Bounds of an entry.
const (
	maxList    = 200 // codes, keywords and the like of one service
	maxWord    = 100 // characters of one of them
	maxPattern = 1000
	maxText    = 2000 // octets of a text for users
)

var serviceName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// placeholders of a URL.
var placeholders = regexp.MustCompile(`\{([^{}]*)\}`)

var knownPlaceholders = []string{"code", "sender", "session", "turn", "message", "service", "text"}

// Validate says what can't work, all of it. What needs the guard or other services is checked by the catalogue.
func (s *Service) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !serviceName.MatchString(s.Name) {
		fail("name: %q: want 1 to 40 small letters, digits and '-'", s.Name)
	}
	if s.Priority < -1000 || s.Priority > 1000 {
		fail("priority: %d: want -1000 to 1000", s.Priority)
	}
	if _, err := compileRules(s); err != nil {
		errs = append(errs, err)
	}
	s.Provider.validate(fail)
	between := func(key string, v, low, high time.Duration) {
		if v < low || v > high {
			fail("%s: %s: want %s to %s", key, v, low, high)
		}
	}
	between("session.idle", s.Session.Idle, time.Second, 90*24*time.Hour)
	if s.Session.MaxTurns < 0 {
		fail("session.max_turns: %d: want 0 (any number) or more", s.Session.MaxTurns)
	}
	if len(s.Session.StopWords) > maxList {
		fail("session.stop_words: %d: want at most %d", len(s.Session.StopWords), maxList)
	}
	for _, w := range s.Session.StopWords {
		if words(w) == "" || len(w) > maxWord {
			fail("session.stop_words: %q: want a word", w)
		}
	}
	for key, text := range map[string]string{"session.stop_text": s.Session.StopText, "reply.fallback": s.Reply.Fallback} {
		if strings.TrimSpace(text) == "" || len(text) > maxText {
			fail("%s: want a text of at most %d octets: a user always gets an answer", key, maxText)
		}
	}
	for key, text := range map[string]string{"expiry_text": s.Session.ExpiryText, "turns_text": s.Session.TurnsText, "end_text": s.Session.EndText} {
		if len(text) > maxText {
			fail("session.%s: want at most %d octets", key, maxText)
		}
	}
	if s.Reply.Recipients != "sender" && s.Reply.Recipients != "all" {
		fail("reply.recipients: %q: want sender or all", s.Reply.Recipients)
	}
	if c := s.Reply.Class; c != "" && !slices.Contains([]string{"personal", "advertisement", "informational", "auto"}, c) {
		fail("reply.class: %q: want personal, advertisement, informational or auto", c)
	}
	if s.Reply.From != "" && address(s.Reply.From) == "" {
		fail("reply.from: %q: want an address that a phone can answer", s.Reply.From)
	}
	between("reply.max_delay", s.Reply.MaxDelay, 0, 30*24*time.Hour)
	if s.Loop.Allow && (s.Loop.MaxHops < 1 || s.Loop.MaxHops > 10) || !s.Loop.Allow && s.Loop.MaxHops != 0 {
		fail("loop.max_hops: %d: want 1 to 10 with loop.allow, else nothing", s.Loop.MaxHops)
	}
	return errors.Join(errs...)
}

func (p *Provider) validate(fail func(string, ...any)) {
	for _, m := range placeholders.FindAllStringSubmatch(p.URL, -1) {
		if !slices.Contains(knownPlaceholders, m[1]) {
			fail("provider.url: {%s}: want one of {%s}", m[1], strings.Join(knownPlaceholders, "}, {"))
		}
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(p.URL, "https://"), "http://")
	if host, _, _ := strings.Cut(rest, "/"); rest == p.URL || host == "" || strings.ContainsAny(host, "{}@?#") {
		fail("provider.url: want http:// or https:// and a host; what is filled in stands behind the host")
	}
	if !slices.Contains([]string{"http", "xml", "json"}, p.Format) {
		fail("provider.format: %q: want http, xml or json", p.Format)
	}
	if p.Method != http.MethodPost && (p.Method != http.MethodGet || p.Format != "http") {
		fail("provider.method: %q: want POST, or GET with format http", p.Method)
	}
	if p.Raw && (p.Format != "http" || p.Method != http.MethodPost) {
		fail("provider.raw: want format http and method POST")
	}
	between := func(key string, v, low, high time.Duration) {
		if v < low || v > high {
			fail("provider.%s: %s: want %s to %s", key, v, low, high)
		}
	}
	between("timeout", p.Timeout, 10*time.Millisecond, 5*time.Minute)
	between("late", p.Late, time.Second, 7*24*time.Hour)
	between("retry.first", p.Retry.First, 10*time.Millisecond, time.Hour)
	between("retry.max", p.Retry.Max, p.Retry.First, 24*time.Hour)
	between("retry.for", p.Retry.For, 0, 7*24*time.Hour)
	between("breaker.pause", p.Breaker.Pause, 10*time.Millisecond, time.Hour)
	if p.Breaker.Failures < 1 || p.Breaker.Failures > 1000 {
		fail("provider.breaker.failures: %d: want 1 to 1000", p.Breaker.Failures)
	}
	if p.Concurrency < 1 || p.Concurrency > 1000 {
		fail("provider.concurrency: %d: want 1 to 1000", p.Concurrency)
	}
	if p.MaxAnswer < 1<<10 || p.MaxAnswer > 100<<20 {
		fail("provider.max_answer: %s: want 1KiB to 100MiB", p.MaxAnswer)
	}
	if (p.TLS.Cert == "") != (p.TLS.Key == "") {
		fail("provider.tls.cert, key: want both or none")
	}
	if len(p.Headers) > 50 {
		fail("provider.headers: %d: want at most 50", len(p.Headers))
	}
	for k, v := range p.Headers {
		if !httpguts.ValidHeaderFieldName(k) || !httpguts.ValidHeaderFieldValue(v) {
			fail("provider.headers: %q: want a name and a value that a header may have", k)
		}
	}
	if !httpguts.ValidHeaderFieldValue(p.Token) {
		fail("provider.token: want characters that a header may have")
	}
}
