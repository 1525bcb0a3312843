package router_test

import (
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/router"
)

// TestCompileErrors has each mistake and the message that it gives.
func TestCompileErrors(t *testing.T) {
	rule := func(r router.RuleConfig) router.Config {
		return router.Config{Rules: []router.RuleConfig{{To: []string{"a"}}, r}}
	}
	owner := func(o router.OwnerConfig) router.Config { return router.Config{Owners: []router.OwnerConfig{o}} }
	to := []string{"a"}
	for _, c := range []struct {
		name string
		cfg  router.Config
		want string
	}{
		{"balance", router.Config{Balance: "random"}, `routing.balance: "random": want weighted, round-robin, least-outstanding or by-sender`},
		{"rule's balance", rule(router.RuleConfig{To: to, Balance: "Weighted"}), `routing.rules[1].balance: "Weighted": want weighted, round-robin, least-outstanding or by-sender`},
		{"rule to nobody", rule(router.RuleConfig{}), `routing.rules[1].to: name at least one MMSC`},
		{"rule to a stranger", rule(router.RuleConfig{To: []string{"a", "x"}}), `routing.rules[1].to: no MMSC is named "x"; there are: a, b`},
		{"sender without plus", rule(router.RuleConfig{To: to, Sender: []string{"46"}}), `routing.rules[1].sender: "46": want an E.164 prefix such as +46`},
		{"sender with a letter", rule(router.RuleConfig{To: to, Sender: []string{"+46a"}}), `routing.rules[1].sender: "+46a": want an E.164 prefix such as +46`},
		{"sender of a plus", rule(router.RuleConfig{To: to, Sender: []string{"+"}}), `routing.rules[1].sender: "+": want an E.164 prefix such as +46`},
		{"empty sender", rule(router.RuleConfig{To: to, Sender: []string{""}}), `routing.rules[1].sender: "": want an E.164 prefix such as +46`},
		{"recipient", rule(router.RuleConfig{To: to, Recipient: []string{"+46", "0046"}}), `routing.rules[1].recipient: "0046": want an E.164 prefix such as +46, or the beginning of a service code such as 70`},
		{"PDU", rule(router.RuleConfig{To: to, PDU: []string{"m-send"}}), `routing.rules[1].pdu: "m-send" is not a PDU: want a name such as m-send-req, or get, or unknown`},
		{"path", rule(router.RuleConfig{To: to, Path: "("}), "routing.rules[1].path: error parsing regexp: missing closing ): `(`"},
		{"owner of nothing", owner(router.OwnerConfig{MMSC: "a"}), `routing.owners[0]: give at least one of host, path, query`},
		{"owner without a name", owner(router.OwnerConfig{Path: "^/(x)"}), "routing.owners[0]: name the MMSC by `mmsc`, or by a group (?P<mmsc>…) in host, path or query"},
		{"owner with another group", owner(router.OwnerConfig{Path: "^/(?P<MMSC>x)"}), "routing.owners[0]: name the MMSC by `mmsc`, or by a group (?P<mmsc>…) in host, path or query"},
		{"owner is a stranger", owner(router.OwnerConfig{Path: "^/", MMSC: "x"}), `routing.owners[0].mmsc: no MMSC is named "x"; there are: a, b`},
		{"owner's host", owner(router.OwnerConfig{Host: "[", MMSC: "a"}), "routing.owners[0].host: error parsing regexp: missing closing ]: `[`"},
		{"owner's path, whose group can't be seen", owner(router.OwnerConfig{Path: "(?P<mmsc>["}), "routing.owners[0].path: error parsing regexp: missing closing ]: `[`"},
		{"owner's query", owner(router.OwnerConfig{Query: "*", MMSC: "a"}), "routing.owners[0].query: error parsing regexp: missing argument to repetition operator: `*`"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := router.Compile(c.cfg, []string{"a", "b"})
			if err == nil || err.Error() != c.want {
				t.Fatalf("got  %v\nwant %s", err, c.want)
			}
		})
	}
	t.Run("every mistake at once", func(t *testing.T) {
		_, err := router.Compile(router.Config{Balance: "x", Rules: []router.RuleConfig{{Path: "("}}, Owners: []router.OwnerConfig{{}}}, nil)
		if err == nil {
			t.Fatal("no error")
		}
		for _, want := range []string{"routing.balance", "routing.rules[0].to", "routing.rules[0].path", "routing.owners[0]"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q lacks %s", err, want)
			}
		}
	})
}

func TestCompile(t *testing.T) {
	good := router.Config{
		Balance: router.LeastOutstanding,
		Rules: []router.RuleConfig{
			{Name: "x", Sender: []string{"+4"}, Recipient: []string{"+46", "+4915112345678"}, PDU: []string{"get", "unknown", "m-send-req"}, Path: "^/", To: []string{"a", "local"}, Balance: router.RoundRobin},
			{To: []string{"a"}},
		},
		Owners: []router.OwnerConfig{{Host: "x", MMSC: "a"}, {Query: "at=(?P<mmsc>.+)"}},
	}
	if _, err := router.Compile(good, []string{"a", "local"}); err != nil {
		t.Fatalf("Compile: %v", err)
	}
	if err := good.Validate(); err != nil {
		t.Fatalf("Validate: %v", err)
	}
	if err := (&router.Config{}).Validate(); err != nil {
		t.Fatalf("an empty section: %v", err)
	}
	stranger := router.Config{Rules: []router.RuleConfig{{To: []string{"x"}}}}
	if err := stranger.Validate(); err != nil {
		t.Fatalf("Validate can't know the MMSCs, but said %v", err)
	}
	if _, err := router.Compile(stranger, []string{}); err == nil {
		t.Fatal("a rule names an MMSC where there are none, and nobody minds")
	}
	if good.Rules[1].Name != "" || good.Rules[1].Balance != "" {
		t.Fatal("Compile writes into the configuration")
	}
}
