package router

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Balance names how the first MMSC of an order is chosen among equals.
type Balance string

// The ways to balance. All but round-robin respect weights; all respect slow start.
const (
	Weighted         Balance = "weighted"          // in turn, by weight; equal weights make it plain round-robin
	RoundRobin       Balance = "round-robin"       // in turn, weights ignored
	LeastOutstanding Balance = "least-outstanding" // fewest requests in flight per weight
	BySender         Balance = "by-sender"         // the same sender, the same MMSC (rendezvous hash)
)

// LocalName is the reserved name of the embedded MMSC in rules and status.
const LocalName = "local"

// Config is the `routing` section of the configuration.
type Config struct {
	Balance Balance       `yaml:"balance"` // weighted (default) | round-robin | least-outstanding | by-sender
	Rules   []RuleConfig  `yaml:"rules"`   // first match decides which MMSCs may take a request
	Owners  []OwnerConfig `yaml:"owners"`  // which MMSC holds the message that a URL names
}

// RuleConfig restricts matching requests to some MMSCs. Conditions that are absent match everything;
// those present must all match.
type RuleConfig struct {
	Name      string   `yaml:"name"`      // shown by explain
	Sender    []string `yaml:"sender"`    // E.164 prefixes such as +46
	Recipient []string `yaml:"recipient"` // E.164 prefixes, or beginnings of service codes such as 70; one recipient that matches is enough
	PDU       []string `yaml:"pdu"`       // such as m-send-req; get for a retrieval
	Path      string   `yaml:"path"`      // regular expression on the path
	To        []string `yaml:"to"`        // names of MMSCs; local is the embedded one
	Balance   Balance  `yaml:"balance"`   // instead of routing.balance
}

// OwnerConfig yields the MMSC that holds a message from the parts of a URL: of the request's own, or of
// the Content-Location inside a PDU. Host is matched without the port.
type OwnerConfig struct {
	Host  string `yaml:"host"`  // regular expressions, anchored by the writer
	Path  string `yaml:"path"`  //
	Query string `yaml:"query"` //
	MMSC  string `yaml:"mmsc"`  // the owner; empty: a named group (?P<mmsc>…) of one of the three yields it
}

// Validate checks what can be checked without knowing the MMSCs.
func (c *Config) Validate() error { _, err := Compile(*c, nil); return err }

type rule struct {
	name              string
	sender, recipient []string
	pdu               map[string]bool
	path              *regexp.Regexp
	to                []string
	balance           Balance
}

type ownerRule struct {
	host, path, query *regexp.Regexp
	mmsc              string
}

// Table is the compiled Config: immutable, part of each Snapshot.
type Table struct {
	balance Balance
	rules   []rule
	owners  []ownerRule
}

var emptyTable = &Table{balance: Weighted}

// Compile turns the configuration into a Table. names are the MMSCs that rules may name (nil: not
// checked). The error joins every mistake found, each with its key.
func Compile(c Config, names []string) (*Table, error) {
	t := &Table{balance: Weighted}
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	known := map[string]bool{}
	for _, n := range names {
		known[n] = true
	}
	target := func(key, name string) {
		if names != nil && !known[name] {
			bad("%s: no MMSC is named %q; there are: %s", key, name, strings.Join(names, ", "))
		}
	}
	expr := func(key, s string) *regexp.Regexp {
		if s == "" {
			return nil
		}
		re, err := regexp.Compile(s)
		if err != nil {
			bad("%s: %v", key, err)
		}
		return re
	}
	if c.Balance != "" {
		t.balance = c.Balance
	}
	checkBalance(bad, "routing.balance", t.balance)
	for i, r := range c.Rules {
		key := fmt.Sprintf("routing.rules[%d]", i)
		if r.Name == "" {
			r.Name = fmt.Sprintf("rule %d", i+1)
		}
		if len(r.To) == 0 {
			bad("%s.to: name at least one MMSC", key)
		}
		for _, n := range r.To {
			target(key+".to", n)
		}
		if r.Balance == "" {
			r.Balance = t.balance
		}
		checkBalance(bad, key+".balance", r.Balance)
		checkPrefixes(bad, key+".sender", r.Sender)
		checkRecipients(bad, key+".recipient", r.Recipient)
		out := rule{name: r.Name, sender: r.Sender, recipient: r.Recipient, path: expr(key+".path", r.Path), to: r.To, balance: r.Balance}
		if len(r.PDU) > 0 {
			out.pdu = map[string]bool{}
			for _, p := range r.PDU {
				if !validPDU(p) {
					bad("%s.pdu: %q is not a PDU: want a name such as m-send-req, or get, or unknown", key, p)
				}
				out.pdu[p] = true
			}
		}
		t.rules = append(t.rules, out)
	}
	for i, o := range c.Owners {
		key, before := fmt.Sprintf("routing.owners[%d]", i), len(errs)
		r := ownerRule{host: expr(key+".host", o.Host), path: expr(key+".path", o.Path), query: expr(key+".query", o.Query), mmsc: o.MMSC}
		group := false
		for _, re := range []*regexp.Regexp{r.host, r.path, r.query} {
			group = group || re != nil && re.SubexpIndex("mmsc") > 0
		}
		switch {
		case o.Host == "" && o.Path == "" && o.Query == "":
			bad("%s: give at least one of host, path, query", key)
		case o.MMSC == "" && !group && len(errs) == before:
			bad("%s: name the MMSC by `mmsc`, or by a group (?P<mmsc>…) in host, path or query", key)
		case o.MMSC != "":
			target(key+".mmsc", o.MMSC)
		}
		t.owners = append(t.owners, r)
	}
	return t, errors.Join(errs...)
}

func checkBalance(bad func(string, ...any), key string, b Balance) {
	switch b {
	case Weighted, RoundRobin, LeastOutstanding, BySender:
	default:
		bad("%s: %q: want weighted, round-robin, least-outstanding or by-sender", key, b)
	}
}

func checkPrefixes(bad func(string, ...any), key string, prefixes []string) {
	for _, p := range prefixes {
		if len(p) < 2 || p[0] != '+' || strings.Trim(p[1:], "0123456789") != "" {
			bad("%s: %q: want an E.164 prefix such as +46", key, p)
		}
	}
}

// checkRecipients takes codes too: numbers as subscribers write them that no plan knows. A leading zero is a national number's,
// which arrives in other forms as well.
func checkRecipients(bad func(string, ...any), key string, prefixes []string) {
	for _, p := range prefixes {
		if p != "" && p[0] >= '1' && p[0] <= '9' && strings.Trim(p, "0123456789") == "" {
			continue
		}
		checkPrefixes(func(_ string, args ...any) {
			bad("%s: %q: want an E.164 prefix such as +46, or the beginning of a service code such as 70", args...)
		}, key, []string{p})
	}
}

// owner applies the owner rules to a URL's parts: the first that yields the name of an MMSC of the snapshot decides;
// -1 if none does. A group may catch a word that is no MMSC's name: the rules behind are asked then.
func (t *Table) owner(s *Snapshot, host, path, query string) int {
	for i := range t.owners {
		o := &t.owners[i]
		name, ok := o.mmsc, true
		for _, m := range [...]struct {
			re *regexp.Regexp
			s  string
		}{{o.host, host}, {o.path, path}, {o.query, query}} {
			if m.re == nil {
				continue
			}
			sub := m.re.FindStringSubmatch(m.s)
			if sub == nil {
				ok = false
				break
			}
			if g := m.re.SubexpIndex("mmsc"); g > 0 && name == "" {
				name = sub[g]
			}
		}
		if ok && name != "" {
			if at := s.Index(name); at >= 0 {
				return at
			}
		}
	}
	return -1
}
