package router

import (
	"fmt"
	"strings"

	"github.com/mmsrouter/mmsrouter/mms"
)

// Kind says what an order means.
type Kind uint8

// The kinds of decision (design: owner routing).
const (
	// Any: each MMSC of the order may take it; the next one is tried when one fails.
	Any Kind = iota
	// Owned: one MMSC holds the message; the order has it alone, or is empty while it is down.
	Owned
	// Search: some MMSC holds the message, nobody knows which: ask in turn. "Not found" may be said only if
	// Missing is empty and all have said so.
	Search
	// All: an indication whose owner is unknown goes to every MMSC of the order.
	All
)

// String names the kind for explain.
func (k Kind) String() string { return [...]string{"any", "owner", "search", "all"}[k] }

// Request is what the decision may look at. Strings may alias a buffer: Decide keeps none of them.
type Request struct {
	Get        bool     // a retrieval (GET or HEAD); PDU is then ignored
	PDU        mms.Type // 0 for a body that is not a readable PDU
	Host       string   // without port
	Path       string
	Query      string
	Subscriber string   // identity, if one is known
	Sender     string   // E.164 with +, else ""
	Recipients []string // numbers as they stand, those that were read
	Location   string   // X-Mms-Content-Location inside the PDU
	MessageID  string   // Message-ID inside the PDU
	Learned    string   // the MMSC that earlier traffic taught for this key, else ""
}

// Load is what balancing may look at; both grow without harm.
type Load struct {
	Turn        uint64          // counts decisions
	Outstanding func(i int) int // requests in flight at MMSC i; nil: none
}

// Decision is the answer. The caller may reuse it: Decide overwrites everything and keeps the capacity.
type Decision struct {
	Kind    Kind
	Order   []int    // indexes into Snapshot.MMSCs, the first to be tried first
	Missing []int    // MMSCs that might hold the message but do not pass detection
	Rule    string   // the rule that restricted the candidates, "" if none
	Key     string   // what named the owner: "url", "content-location", "message-id", "learned"
	Why     []string // one line each, only if Explain is set
	Explain bool     // in: collect Why
	scratch []int
}

// say adds a line to Why. Callers ask for Explain first: the arguments alone would cost an allocation each.
func (d *Decision) say(format string, a ...any) {
	d.Why = append(d.Why, fmt.Sprintf(format, a...))
}

// ownedPDU tells which posted PDUs belong to the MMSC that holds the message.
func ownedPDU(t mms.Type) bool {
	switch t {
	case mms.MSendReq, 0:
		return false
	}
	_, hasConf := t.Conf()
	return hasConf || t.Indication()
}

// Decide computes the order for one request. It is pure: the same arguments give the same answer.
func Decide(d *Decision, s *Snapshot, r *Request, l Load) {
	*d = Decision{Order: d.Order[:0], Missing: d.Missing[:0], Why: d.Why[:0], Explain: d.Explain, scratch: d.scratch[:0]}
	ru := s.Table.match(r)
	balance := s.Table.balance
	if ru != nil {
		d.Rule, balance = ru.name, ru.balance
		if d.Explain {
			d.say("%s matches: only %s", ru.name, strings.Join(ru.to, ", "))
		}
	}
	allowed := func(i int) bool {
		m := &s.MMSCs[i]
		if ru == nil {
			return !m.Spare
		}
		for _, n := range ru.to {
			if n == m.Name {
				return true
			}
		}
		return false
	}
	if !r.Get && !ownedPDU(r.PDU) {
		d.Kind = Any
		if d.Explain {
			d.say("%s may go to any MMSC that passes detection", r.PDU)
		}
		anyOrder(d, s, r, l, balance, allowed)
		return
	}
	if i, key := ownerOf(s, r); i >= 0 {
		atOwner(d, s, i, key)
		return
	}
	d.Kind = Search
	if !r.Get && r.PDU.Indication() {
		d.Kind = All
	}
	if d.Explain {
		d.say("no key names the MMSC that holds the message")
	}
	searchOrder(d, s, r, allowed)
}

// atOwner is the decision for a request whose MMSC is known.
func atOwner(d *Decision, s *Snapshot, i int, key string) {
	d.Kind, d.Key = Owned, key
	m := &s.MMSCs[i]
	if m.Up {
		d.Order = append(d.Order, i)
	} else {
		d.Missing = append(d.Missing, i)
	}
	switch {
	case !d.Explain:
	case m.Up:
		d.say("%s holds the message (by %s)", m.Name, key)
	default:
		d.say("%s holds the message (by %s) but is down: %s", m.Name, key, m.Why)
	}
}

// match finds the first rule for a request.
func (t *Table) match(r *Request) *rule {
	for i := range t.rules {
		ru := &t.rules[i]
		if len(ru.sender) > 0 && !hasPrefix(r.Sender, ru.sender) {
			continue
		}
		if len(ru.recipient) > 0 {
			hit := false
			for _, to := range r.Recipients {
				hit = hit || hasPrefix(to, ru.recipient)
			}
			if !hit {
				continue
			}
		}
		if ru.pdu != nil && !ru.pdu[r.pduName()] || ru.path != nil && !ru.path.MatchString(r.Path) {
			continue
		}
		return ru
	}
	return nil
}

func (r *Request) pduName() string {
	if r.Get {
		return "get"
	}
	return r.PDU.String()
}

func validPDU(name string) bool {
	if name == "get" || name == "unknown" {
		return true
	}
	_, err := mms.ParseType(name)
	return err == nil
}

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// ownerOf goes through the keys in the order of the design; -1 if none names a known MMSC.
func ownerOf(s *Snapshot, r *Request) (int, string) {
	if i := s.Table.owner(s, r.Host, r.Path, r.Query); i >= 0 {
		return i, "url"
	}
	if r.Location != "" {
		host, path, query := splitURL(r.Location)
		if i := s.Table.owner(s, host, path, query); i >= 0 {
			return i, "content-location"
		}
		if i := byHost(s, host); i >= 0 {
			return i, "content-location"
		}
	}
	if at := strings.LastIndexByte(r.MessageID, '@'); at >= 0 {
		host := strings.TrimSuffix(r.MessageID[at+1:], ">")
		if i := s.Table.owner(s, host, "", ""); i >= 0 {
			return i, "message-id"
		}
		if i := byHost(s, host); i >= 0 {
			return i, "message-id"
		}
	}
	if r.Learned != "" {
		if i := s.Index(r.Learned); i >= 0 {
			return i, "learned"
		}
	}
	return -1, ""
}

// byHost finds the one MMSC whose own URL has this host; if several share it, none is named.
func byHost(s *Snapshot, host string) int {
	if host == "" {
		return -1
	}
	found := -1
	for i := range s.MMSCs {
		h, _, _ := splitURL(s.MMSCs[i].URL)
		if !strings.EqualFold(h, host) {
			continue
		}
		if found >= 0 {
			return -1
		}
		found = i
	}
	return found
}

// splitURL cuts a URL into host (without port and brackets), path and query, without judging it.
func splitURL(u string) (host, path, query string) {
	if i := strings.Index(u, "://"); i >= 0 {
		u = u[i+3:]
	}
	host = u
	if i := strings.IndexAny(u, "/?#"); i >= 0 {
		host, path = u[:i], u[i:]
	}
	if i := strings.IndexByte(path, '#'); i >= 0 {
		path = path[:i]
	}
	if i := strings.IndexByte(path, '?'); i >= 0 {
		path, query = path[:i], path[i+1:]
	}
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	if strings.HasPrefix(host, "[") {
		if i := strings.IndexByte(host, ']'); i > 0 {
			host = host[1:i]
		}
	} else if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	return host, path, query
}
