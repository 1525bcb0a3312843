package dispatcher

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/mmsrouter/mmsrouter/mms"
)

// rules is a Match made ready.
type rules struct {
	places   []place
	keywords []string // in the form of words
	pattern  *regexp.Regexp
	media    []string
	senders  []string
	window   *window
	priority int
}

// place is an address, or many.
type place struct {
	kind     placeKind
	from, to string // to of a range alone
}

type placeKind int

// The kinds, the weakest first.
const (
	anywhere placeKind = iota
	within             // a range
	begins
	exact
)

func (k placeKind) String() string { return [...]string{"catch-all", "range", "prefix", "code"}[k] }

// fits says whether an address lies there.
func (p place) fits(addr string) bool {
	switch p.kind {
	case exact:
		return addr == p.from
	case begins:
		return strings.HasPrefix(addr, p.from)
	case within:
		return len(addr) == len(p.from) && addr >= p.from && addr <= p.to && digits(addr)
	}
	return true
}

// length is how much of an address the place determines.
func (p place) length() int {
	if p.kind != within {
		return len(p.from)
	}
	n := 0
	for n < len(p.from) && p.from[n] == p.to[n] {
		n++
	}
	return n
}

// meets says whether an address can lie in two places of the same kind and length.
func (p place) meets(q place) bool {
	if p.kind == within {
		return len(p.from) == len(q.from) && p.from <= q.to && q.from <= p.to
	}
	return p.from == q.from
}

func (p place) String() string {
	switch p.kind {
	case anywhere:
		return "catch-all"
	case within:
		return "range " + p.from + "-" + p.to
	}
	return p.kind.String() + " " + p.from
}

// rank orders services that take the same message: each member decides where those before it are equal.
type rank struct {
	length  int // of the address
	kind    placeKind
	keyword int // 0 none; in the subject its length, in the text 1000 more
	pattern bool
	media   bool
	sender  int
	window  bool
	prio    int
}

// compare gives more than 0 when r goes before q.
func (r rank) compare(q rank) int {
	catch := func(r rank) bool { return r.kind != anywhere }
	whole := func(r rank) bool { return r.kind == exact }
	return cmp.Or(bools(catch(r), catch(q)), bools(whole(r), whole(q)), cmp.Compare(r.length, q.length), cmp.Compare(r.kind, q.kind),
		cmp.Compare(r.keyword, q.keyword), bools(r.pattern, q.pattern), bools(r.media, q.media), cmp.Compare(r.sender, q.sender),
		bools(r.window, q.window), cmp.Compare(r.prio, q.prio))
}

func bools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func compileRules(s *Service) (*rules, error) {
	m := &s.Match
	r := &rules{priority: s.Priority}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf("match."+format, args...)) }
	for key, list := range map[string][]string{"codes": m.Codes, "prefixes": m.Prefixes, "ranges": m.Ranges, "keywords": m.Keywords, "media": m.Media, "senders": m.Senders} {
		if len(list) > maxList {
			fail("%s: %d entries: want at most %d", key, len(list), maxList)
		}
	}
	for _, c := range m.Codes {
		a := address(c)
		if a == "" {
			fail("codes: %q: want a code such as 7000, or an address", c)
		}
		r.places = append(r.places, place{kind: exact, from: a})
	}
	for _, c := range m.Prefixes {
		if c != strings.TrimSpace(c) || c == "" || len(c) > maxWord {
			fail("prefixes: %q: want the beginning of a code", c)
		}
		r.places = append(r.places, place{kind: begins, from: strings.ToLower(c)})
	}
	for _, c := range m.Ranges {
		from, to, ok := strings.Cut(c, "-")
		if !ok || len(from) != len(to) || !digits(from) || !digits(to) || from > to {
			fail("ranges: %q: want two numbers of the same length, such as 7000-7099", c)
			continue
		}
		r.places = append(r.places, place{kind: within, from: from, to: to})
	}
	if m.CatchAll {
		r.places = append(r.places, place{})
	}
	if len(r.places) == 0 {
		fail("codes, prefixes, ranges, catch_all: want one of them")
	}
	for _, k := range m.Keywords {
		w := words(k)
		if w == "" || len(k) > maxWord {
			fail("keywords: %q: want a word or a few", k)
		}
		r.keywords = append(r.keywords, w)
	}
	if m.Pattern != "" {
		var err error
		if len(m.Pattern) > maxPattern {
			fail("pattern: want at most %d characters", maxPattern)
		} else if r.pattern, err = regexp.Compile(m.Pattern); err != nil {
			fail("pattern: %v", err)
		}
	}
	for _, t := range m.Media {
		major, minor, ok := strings.Cut(strings.ToLower(t), "/")
		if !ok || major == "" || minor == "" || major == "*" {
			fail("media: %q: want a type such as image/jpeg or image/*", t)
		}
		r.media = append(r.media, strings.ToLower(t))
	}
	for _, p := range m.Senders {
		if p = strings.ToLower(strings.TrimSpace(p)); p == "" {
			fail("senders: an empty entry: want the beginning of a number or address")
		}
		r.senders = append(r.senders, p)
	}
	var err error
	if r.window, err = compileWindow(m.Window); err != nil {
		fail("window.%v", err)
	}
	return r, errors.Join(errs...)
}

// equalRank says whether a message can fit both with the same rank, and gives where. Patterns and hours are taken to meet
// whenever both services have them: it can't be known what users will write.
func (r *rules) equalRank(q *rules) (string, bool) {
	if r.priority != q.priority || (r.pattern == nil) != (q.pattern == nil) || (r.window == nil) != (q.window == nil) ||
		r.window != nil && !r.window.meets(q.window) || (r.media == nil) != (q.media == nil) || r.media != nil && !mediaMeet(r.media, q.media) {
		return "", false
	}
	shared := func(a, b []string) bool {
		return len(a) == 0 && len(b) == 0 || slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
	}
	if !shared(r.keywords, q.keywords) || !shared(r.senders, q.senders) {
		return "", false
	}
	for _, a := range r.places {
		for _, b := range q.places {
			if a.kind == b.kind && a.length() == b.length() && a.meets(b) {
				return a.String(), true
			}
		}
	}
	return "", false
}

func mediaMeet(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if mediaFits(x, y) || mediaFits(y, x) {
				return true
			}
		}
	}
	return false
}

// mediaFits says whether a type is what a rule wants.
func mediaFits(rule, media string) bool {
	if major, ok := strings.CutSuffix(rule, "/*"); ok {
		return strings.HasPrefix(media, major+"/")
	}
	return rule == media
}

// window is a Window made ready.
type window struct {
	days     [7]bool
	from, to int // minutes of the day
	zone     *time.Location
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func compileWindow(w *Window) (*window, error) {
	if w == nil {
		return nil, nil
	}
	out := &window{to: 24 * 60}
	for _, d := range w.Days {
		i := slices.Index(dayNames, strings.ToLower(d))
		if i < 0 {
			return nil, fmt.Errorf("days: %q: want mon, tue, wed, thu, fri, sat or sun", d)
		}
		out.days[i] = true
	}
	if len(w.Days) == 0 {
		out.days = [7]bool{true, true, true, true, true, true, true}
	}
	for key, v := range map[string]struct {
		text string
		to   *int
	}{"from": {w.From, &out.from}, "to": {w.To, &out.to}} {
		if v.text == "" {
			continue
		}
		t, err := time.Parse("15:04", v.text)
		if err != nil {
			return nil, fmt.Errorf("%s: %q: want a time such as 08:00", key, v.text)
		}
		*v.to = t.Hour()*60 + t.Minute()
	}
	if out.from == out.to {
		return nil, errors.New("from, to: want two different times")
	}
	var err error
	if out.zone, err = time.LoadLocation(w.Zone); err != nil {
		return nil, fmt.Errorf("zone: %q: want a name such as Europe/Stockholm", w.Zone)
	}
	return out, nil
}

// open says whether t lies in the window; the hours after midnight belong to the day before.
func (w *window) open(t time.Time) bool {
	t = t.In(w.zone)
	at := t.Hour()*60 + t.Minute()
	if w.from < w.to {
		return w.days[t.Weekday()] && at >= w.from && at < w.to
	}
	if at >= w.from {
		return w.days[t.Weekday()]
	}
	return at < w.to && w.days[(t.Weekday()+6)%7]
}

// meets says whether two windows can be open at once, by trying the minutes of a week. Different zones always can.
func (w *window) meets(v *window) bool {
	if w.zone.String() != v.zone.String() {
		return true
	}
	monday := time.Date(2024, 1, 1, 0, 0, 0, 0, w.zone)
	for m := range 7 * 24 * 60 {
		if t := monday.Add(time.Duration(m) * time.Minute); w.open(t) && v.open(t) {
			return true
		}
	}
	return false
}

// words gives a text in the form in which it is compared: its words in small letters with one space between.
func words(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && r != '-' && r != '#' && r != '+'
	}), " ")
}

// starts says whether a text in that form begins with a keyword.
func starts(text, keyword string) bool {
	rest, ok := strings.CutPrefix(text, keyword)
	return ok && (rest == "" || rest[0] == ' ')
}

// address gives an address in the form in which it is compared, "" if it is none.
func address(s string) string {
	s = strings.TrimSpace(s)
	if n := mms.Number(s); n != "" {
		return n
	}
	if s == "" || len(s) > 256 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7F }) {
		return ""
	}
	return strings.ToLower(s)
}

func digits(s string) bool { return s != "" && len(s) <= 32 && strings.Trim(s, "0123456789") == "" }
