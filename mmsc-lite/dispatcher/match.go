package dispatcher

import (
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Part is a piece of a message, or of an answer.
type Part struct {
	Type     string // media type with its parameters
	Name     string // file name
	ID       string // Content-ID
	Data     []byte
	URL      string // of an answer: where to fetch it, Data is empty then
	Optional bool   // of an answer: may be left out
}

// Submission is a message that a user sent to a service's address.
type Submission struct {
	MessageID string    // the MMSC's; two with the same id and code are the same
	From      string    // normalised; a message of nobody is refused
	Code      string    // the recipient that a service may have
	Others    []string  // the other recipients, but for hidden ones
	Subject   string    //
	Class     string    // "auto" counts as Reply
	Reply     bool      // a service made it
	Hops      int       // services it has gone through
	Profile   string    // URL of the handset's UAProf
	UserAgent string    //
	Received  time.Time //
	Parts     []Part    // without the presentation
}

// text gives the first text of a message.
func (s *Submission) text() string {
	for i := range s.Parts {
		if p := &s.Parts[i]; mediaOf(p.Type) == "text/plain" && utf8.Valid(p.Data) {
			return string(p.Data[:min(len(p.Data), 4<<10)])
		}
	}
	return ""
}

// mediaOf gives a media type without its parameters.
func mediaOf(t string) string {
	m, _, err := mime.ParseMediaType(t)
	if err != nil {
		m, _, _ = strings.Cut(t, ";")
	}
	return strings.ToLower(strings.TrimSpace(m))
}

// facts are what rules look at, made once for all services.
type facts struct {
	*Submission
	code    string
	written string // text as it stands
	text    string // in the form of words
	subject string
	media   []string
}

func factsOf(s *Submission) *facts {
	f := &facts{Submission: s, code: address(s.Code), written: s.text()}
	f.text, f.subject = words(f.written), words(s.Subject)
	for i := range s.Parts {
		f.media = append(f.media, mediaOf(s.Parts[i].Type))
	}
	return f
}

// Candidate is what became of one service when a message was matched.
type Candidate struct {
	Service string `json:"service"`
	Fits    bool   `json:"fits"`
	Why     string `json:"why"`
	rank    rank
}

// Decision says which service takes a message, and why.
type Decision struct {
	Service    string      `json:"service"` // empty: none
	Why        string      `json:"why"`
	Stop       bool        `json:"stop,omitempty"`    // it is a stop word
	Session    string      `json:"session,omitempty"` // that goes on
	Candidates []Candidate `json:"candidates,omitempty"`
}

// match says whether a message fits, with what rank, and why or why not.
func (r *rules) match(f *facts) (c Candidate) {
	best := -1
	for i, p := range r.places {
		if p.fits(f.code) && (best < 0 || (rank{kind: p.kind, length: p.length()}).compare(rank{kind: r.places[best].kind, length: r.places[best].length()}) > 0) {
			best = i
		}
	}
	no := func(format string, args ...any) Candidate { c.Why = fmt.Sprintf(format, args...); return c }
	if best < 0 {
		return no("the address is not its")
	}
	why := []string{r.places[best].String()}
	c.rank = rank{kind: r.places[best].kind, length: r.places[best].length(), prio: r.priority}
	if len(r.keywords) > 0 {
		word, where := r.keyword(f)
		if word == "" {
			return no("%s, but no keyword", why[0])
		}
		c.rank.keyword = len(word)
		if where == "text" {
			c.rank.keyword += 1000
		}
		why = append(why, fmt.Sprintf("keyword %q in the %s", word, where))
	}
	if r.pattern != nil {
		if !r.pattern.MatchString(f.written) && !r.pattern.MatchString(f.Subject) {
			return no("%s, but not the pattern", why[0])
		}
		c.rank.pattern = true
		why = append(why, "pattern")
	}
	if len(r.media) > 0 {
		i := slices.IndexFunc(f.media, func(m string) bool {
			return slices.ContainsFunc(r.media, func(rule string) bool { return mediaFits(rule, m) })
		})
		if i < 0 {
			return no("%s, but no part of its types", why[0])
		}
		c.rank.media = true
		why = append(why, "media type "+f.media[i])
	}
	if len(r.senders) > 0 {
		for _, p := range r.senders {
			if strings.HasPrefix(strings.ToLower(f.From), p) {
				c.rank.sender = max(c.rank.sender, len(p))
			}
		}
		if c.rank.sender == 0 {
			return no("%s, but not this sender", why[0])
		}
		why = append(why, "sender")
	}
	if r.window != nil {
		if !r.window.open(f.Received) {
			return no("%s, but not at this time", why[0])
		}
		c.rank.window = true
		why = append(why, "time")
	}
	c.Fits, c.Why = true, strings.Join(why, ", ")
	return c
}

// keyword finds the longest keyword that text, or else subject, begins with.
func (r *rules) keyword(f *facts) (word, where string) {
	for _, place := range []struct{ name, text string }{{"text", f.text}, {"subject", f.subject}} {
		for _, k := range r.keywords {
			if len(k) > len(word) && starts(place.text, k) {
				word, where = k, place.name
			}
		}
		if word != "" {
			return word, where
		}
	}
	return "", ""
}

// entry is a service with its rules.
type entry struct {
	Service
	rules *rules
	stops []string
}

// table is the catalogue as it stands: immutable, sorted by name.
type table struct {
	revision int64
	entries  []*entry
	names    map[string]*entry
}

// compile makes a table of entries that were checked when they were entered. One that can't be used any more, after an
// upgrade for instance, is left out and told.
func compile(revision int64, list []Service) (*table, error) {
	t := &table{revision: revision, names: make(map[string]*entry, len(list))}
	var bad error
	for i := range list {
		e := &entry{Service: list[i]}
		var err error
		if e.rules, err = compileRules(&e.Service); err != nil {
			bad = fmt.Errorf("service %s: %w", e.Name, err)
			continue
		}
		for _, w := range e.Session.StopWords {
			e.stops = append(e.stops, words(w))
		}
		t.entries = append(t.entries, e)
		t.names[e.Name] = e
	}
	slices.SortFunc(t.entries, func(a, b *entry) int { return strings.Compare(a.Name, b.Name) })
	return t, bad
}

// takes says whether an address belongs to a service.
func (t *table) takes(code string) bool {
	code = address(code)
	return code != "" && slices.ContainsFunc(t.entries, func(e *entry) bool {
		return !e.Disabled && slices.ContainsFunc(e.rules.places, func(p place) bool { return p.kind != anywhere && p.fits(code) })
	})
}

// stop says whether a message is a stop word of the service.
func (e *entry) stop(f *facts) bool {
	said := f.text
	if said == "" {
		said = f.subject
	}
	return slices.Contains(e.stops, said)
}

// decide finds the service of a message. open are the services with which the sender has a session at this code, the
// latest first. A session goes on unless the message begins with a keyword of another service there.
func (t *table) decide(f *facts, open []*session, all bool) Decision {
	var d Decision
	var best *Candidate
	for _, e := range t.entries {
		c := Candidate{Why: "it is disabled"}
		if !e.Disabled {
			c = e.rules.match(f)
		}
		c.Service = e.Name
		if c.Fits && (best == nil || c.rank.compare(best.rank) > 0) {
			best = &c
		}
		if all {
			d.Candidates = append(d.Candidates, c)
		}
	}
	for _, s := range open {
		e := t.names[s.Service]
		if e == nil || e.Disabled {
			continue
		}
		stop := e.stop(f)
		if !stop && best != nil && best.Service != s.Service && best.rank.keyword > 0 {
			continue
		}
		d.Service, d.Session, d.Stop = s.Service, s.ID, stop
		d.Why = fmt.Sprintf("the sender's session, turn %d", s.Turn+1)
		if stop {
			d.Why = "a stop word in the sender's session"
		}
		return d
	}
	if best != nil {
		d.Service, d.Why = best.Service, best.Why
		d.Stop = t.names[best.Service].stop(f)
		return d
	}
	// A stop word for a service that is known by keyword alone, after its session has ended, still deserves its answer.
	for _, e := range t.entries {
		if !e.Disabled && e.stop(f) && slices.ContainsFunc(e.rules.places, func(p place) bool { return p.kind != anywhere && p.fits(f.code) }) {
			d.Service, d.Stop, d.Why = e.Name, true, "a stop word without a session"
			return d
		}
	}
	d.Why = "no service takes it"
	return d
}
