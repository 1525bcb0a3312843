package router_test

import (
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/router"
)

var twoUp = []row{{name: "a", url: "http://mmsc-a.example:9001/"}, {name: "b", url: "http://mmsc-b.example:9002/"}}

// TestKind holds which request may go where.
func TestKind(t *testing.T) {
	kinds := map[mms.Type]router.Kind{
		mms.MSendReq:        router.Any,
		mms.MForwardReq:     router.Search,
		mms.MMboxStoreReq:   router.Search,
		mms.MMboxViewReq:    router.Search,
		mms.MMboxUploadReq:  router.Search,
		mms.MMboxDeleteReq:  router.Search,
		mms.MDeleteReq:      router.Search,
		mms.MCancelReq:      router.Search,
		mms.MNotifyRespInd:  router.All,
		mms.MAcknowledgeInd: router.All,
		mms.MReadRecInd:     router.All,
		mms.MCancelConf:     router.All,
	}
	s := snapshot(t, router.Config{}, twoUp...)
	for _, p := range append(mms.Types(), 0, 0xFF) {
		want, listed := kinds[p]
		if !listed {
			want = router.Any // what no handset posts is a body like any other
		}
		var d router.Decision
		router.Decide(&d, s, &router.Request{PDU: p}, router.Load{})
		if d.Kind != want || len(d.Order) != 2 || d.Key != "" {
			t.Errorf("%s (%#x): kind %s order %v key %q, want %s and both", p, byte(p), d.Kind, d.Order, d.Key, want)
		}
		router.Decide(&d, s, &router.Request{Get: true, PDU: p}, router.Load{})
		if d.Kind != router.Search || len(d.Order) != 2 {
			t.Errorf("a retrieval is %s over %v, want search over both", d.Kind, d.Order)
		}
		router.Decide(&d, s, &router.Request{PDU: p, Learned: "b"}, router.Load{})
		if owned := want != router.Any; owned != (d.Kind == router.Owned) || owned && named(s, d.Order) != "b" {
			t.Errorf("%s with a learned owner: kind %s order %s", p, d.Kind, named(s, d.Order))
		}
	}
	for k, want := range map[router.Kind]string{router.Any: "any", router.Owned: "owner", router.Search: "search", router.All: "all"} {
		if k.String() != want {
			t.Errorf("kind %d is called %s, want %s", k, k, want)
		}
	}
}

func TestAnyOrder(t *testing.T) {
	send := router.Request{PDU: mms.MSendReq, Sender: "+46701234567", Recipients: []string{"+4915112345678"}, Path: "/mms"}
	rule := func(r router.RuleConfig) router.Config { return router.Config{Rules: []router.RuleConfig{r}} }
	for _, c := range []struct {
		name string
		cfg  router.Config
		rows []row
		req  router.Request
		turn uint64
		want string
		rule string
		why  string // a line of explain
	}{
		{"turn 0", router.Config{}, twoUp, send, 0, "a b", "", "m-send-req may go to any MMSC that passes detection"},
		{"turn 1", router.Config{}, twoUp, send, 1, "b a", "", "tier 0: b first by weighted"},
		{"turn 2", router.Config{}, twoUp, send, 2, "a b", "", ""},
		{"no MMSC", router.Config{}, nil, send, 0, "", "", ""},
		{"all down", router.Config{}, []row{{name: "a", down: true}, {name: "b", down: true}}, send, 0, "", "", "b: down: connection refused"},
		{"down is left out", router.Config{}, []row{{name: "a", down: true}, {name: "b"}}, send, 0, "b", "", "a: down: connection refused"},
		{"draining is left out", router.Config{}, []row{{name: "a", drain: true}, {name: "b"}}, send, 0, "b", "", "a: draining, gets nothing new"},
		{"draining hides down", router.Config{}, []row{{name: "a", drain: true, down: true}, {name: "b"}}, send, 0, "b", "", "a: draining, gets nothing new"},
		{"weight 0 is left out", router.Config{}, []row{{name: "a", weight: -1}, {name: "b"}}, send, 0, "b", "", "a: weight 0, gets nothing new"},
		{"a backup tier stands behind", router.Config{}, []row{{name: "a", tier: 1}, {name: "b"}}, send, 0, "b a", "", "tier 1: a first by weighted"},
		{"tiers with gaps, in order", router.Config{}, []row{{name: "a", tier: 7}, {name: "b", tier: -2}, {name: "c", tier: 3}}, send, 0, "b c a", "", ""},
		{"the backup when the primary is down", router.Config{}, []row{{name: "a", tier: 1}, {name: "b", down: true}}, send, 0, "a", "", ""},
		{"each tier by its own turn", router.Config{}, []row{{name: "a"}, {name: "b"}, {name: "c", tier: 1}, {name: "d", tier: 1}}, send, 1, "b a d c", "", ""},
		{"a spare is never balanced to", router.Config{}, []row{{name: "a", down: true}, {name: router.LocalName, local: true, spare: true}}, send, 0, "", "", ""},
		{"the embedded one alone is", router.Config{}, []row{{name: router.LocalName, local: true}}, send, 0, "local", "", ""},
		{"a rule reaches the spare", rule(router.RuleConfig{Sender: []string{"+46"}, To: []string{"local"}}),
			[]row{{name: "a"}, {name: router.LocalName, local: true, spare: true}}, send, 0, "local", "rule 1", "rule 1 matches: only local"},
		{"rule by sender", rule(router.RuleConfig{Name: "swedes", Sender: []string{"+47", "+46"}, To: []string{"b"}}), twoUp, send, 0, "b", "swedes", "swedes matches: only b"},
		{"rule by sender does not match", rule(router.RuleConfig{Sender: []string{"+47"}, To: []string{"b"}}), twoUp, send, 0, "a b", "", ""},
		{"rule by sender without a sender", rule(router.RuleConfig{Sender: []string{"+46"}, To: []string{"b"}}), twoUp, router.Request{PDU: mms.MSendReq}, 0, "a b", "", ""},
		{"rule by recipient", rule(router.RuleConfig{Recipient: []string{"+49"}, To: []string{"b"}}), twoUp, send, 0, "b", "rule 1", ""},
		{"one recipient of several is enough", rule(router.RuleConfig{Recipient: []string{"+49"}, To: []string{"b"}}), twoUp,
			router.Request{PDU: mms.MSendReq, Recipients: []string{"+4670", "+4915"}}, 0, "b", "rule 1", ""},
		{"rule by recipient does not match", rule(router.RuleConfig{Recipient: []string{"+33"}, To: []string{"b"}}), twoUp, send, 0, "a b", "", ""},
		{"rule by PDU", rule(router.RuleConfig{PDU: []string{"get", "m-send-req"}, To: []string{"b"}}), twoUp, send, 0, "b", "rule 1", ""},
		{"rule by PDU does not match", rule(router.RuleConfig{PDU: []string{"get"}, To: []string{"b"}}), twoUp, send, 0, "a b", "", ""},
		{"rule for what is no PDU", rule(router.RuleConfig{PDU: []string{"unknown"}, To: []string{"b"}}), twoUp, router.Request{}, 0, "b", "rule 1", ""},
		{"rule by path", rule(router.RuleConfig{Path: "^/mms$", To: []string{"b"}}), twoUp, send, 0, "b", "rule 1", ""},
		{"rule by path does not match", rule(router.RuleConfig{Path: "^/vas", To: []string{"b"}}), twoUp, send, 0, "a b", "", ""},
		{"all conditions must match", rule(router.RuleConfig{Sender: []string{"+46"}, Path: "^/vas", To: []string{"b"}}), twoUp, send, 0, "a b", "", ""},
		{"the first rule decides", router.Config{Rules: []router.RuleConfig{{Name: "one", Sender: []string{"+467"}, To: []string{"b"}},
			{Name: "two", Sender: []string{"+46"}, To: []string{"a"}}}}, twoUp, send, 0, "b", "one", ""},
		{"a rule whose MMSCs are down gives nobody else", rule(router.RuleConfig{To: []string{"b"}}),
			[]row{{name: "a"}, {name: "b", down: true}}, send, 0, "", "rule 1", "b: down: connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := snapshot(t, c.cfg, c.rows...)
			d := router.Decision{Explain: true}
			router.Decide(&d, s, &c.req, router.Load{Turn: c.turn})
			if got := named(s, d.Order); got != c.want || d.Rule != c.rule || d.Kind != router.Any || len(d.Missing) != 0 {
				t.Fatalf("order %q rule %q kind %s missing %v, want %q, %q, any, none", got, d.Rule, d.Kind, d.Missing, c.want, c.rule)
			}
			if c.why != "" && !contains(d.Why, c.why) {
				t.Fatalf("explain %q lacks %q", d.Why, c.why)
			}
			quiet := router.Decision{}
			router.Decide(&quiet, s, &c.req, router.Load{Turn: c.turn})
			if len(quiet.Why) != 0 || named(s, quiet.Order) != c.want {
				t.Fatalf("without Explain: %q, order %q", quiet.Why, named(s, quiet.Order))
			}
		})
	}
}

func contains(lines []string, want string) bool {
	for _, l := range lines {
		if l == want {
			return true
		}
	}
	return false
}

// TestRuleBalance holds that a rule's own balance goes before the general one, which is what it has without.
func TestRuleBalance(t *testing.T) {
	for _, c := range []struct {
		name          string
		general, rule router.Balance
		want          string
	}{
		{"neither", "", "", "weighted"},
		{"general", router.LeastOutstanding, "", "least-outstanding"},
		{"rule", router.LeastOutstanding, router.BySender, "by-sender"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := snapshot(t, router.Config{Balance: c.general, Rules: []router.RuleConfig{{To: []string{"a", "b"}, Balance: c.rule}}}, twoUp...)
			d := router.Decision{Explain: true}
			router.Decide(&d, s, &router.Request{PDU: mms.MSendReq, Sender: "+46701234567"}, router.Load{})
			if last := d.Why[len(d.Why)-1]; !strings.HasSuffix(last, " first by "+c.want) {
				t.Fatalf("explain ends with %q, want by %s", last, c.want)
			}
		})
	}
}

// TestReuse holds that nothing of an earlier decision is left in a later one.
func TestReuse(t *testing.T) {
	s := snapshot(t, router.Config{Rules: []router.RuleConfig{{PDU: []string{"m-send-req"}, To: []string{"a"}}}},
		row{name: "a"}, row{name: "b", down: true}, row{name: "c"})
	requests := []router.Request{
		{PDU: mms.MSendReq}, {Get: true}, {Get: true, Learned: "b"}, {PDU: mms.MNotifyRespInd, Learned: "c"}, {PDU: mms.MMboxViewReq}, {},
	}
	reused := router.Decision{Explain: true}
	for i := range 4 * len(requests) * len(requests) {
		r := &requests[(i*7+i/len(requests))%len(requests)]
		fresh := router.Decision{Explain: true}
		router.Decide(&fresh, s, r, router.Load{Turn: uint64(i)})
		router.Decide(&reused, s, r, router.Load{Turn: uint64(i)})
		if fresh.Kind != reused.Kind || fresh.Key != reused.Key || fresh.Rule != reused.Rule || named(s, fresh.Order) != named(s, reused.Order) ||
			named(s, fresh.Missing) != named(s, reused.Missing) || strings.Join(fresh.Why, "|") != strings.Join(reused.Why, "|") {
			t.Fatalf("request %+v: fresh %+v, reused %+v", r, fresh, reused)
		}
	}
}
