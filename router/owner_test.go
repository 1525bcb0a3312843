package router_test

import (
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/router"
)

// TestOwner holds the keys that name the MMSC of a message, and their order.
func TestOwner(t *testing.T) {
	rules := router.Config{Owners: []router.OwnerConfig{
		{Host: `^retrieve-b\.example$`, MMSC: "b"},
		{Path: `^/m/(?P<mmsc>[a-z]+)/`},
		{Path: `^/both/`, Query: `(?:^|&)at=(?P<mmsc>[a-z]+)(?:&|$)`},
		{Path: `^/m/`, MMSC: "c"},
		{Host: `^(?P<mmsc>[a-z]+)\.mmsc\.example$`},
	}}
	abc := []row{
		{name: "a", url: "http://mmsc-a.example:9001/"},
		{name: "b", url: "https://[2001:db8::b]:9002/mms"},
		{name: "c", url: "http://user@mmsc-c.example/"},
		{name: "d", url: "http://shared.example:1/"},
		{name: "e", url: "http://shared.example:2/"},
		{name: router.LocalName, local: true},
	}
	get := func(host, path, query string) router.Request {
		return router.Request{Get: true, Host: host, Path: path, Query: query}
	}
	inside := func(location, id string) router.Request {
		return router.Request{PDU: mms.MNotifyRespInd, Host: "mms.example.net", Path: "/", Location: location, MessageID: id}
	}
	for _, c := range []struct {
		name  string
		req   router.Request
		owner string // "" for a search
		key   string
	}{
		{"rule on the host", get("retrieve-b.example", "/x", ""), "b", "url"},
		{"rule on the host does not match in part", get("retrieve-b.example.org", "/x", ""), "", ""},
		{"group in the path", get("mms.example.net", "/m/a/123", ""), "a", "url"},
		{"a group that yields no MMSC leaves it to the rules behind", get("mms.example.net", "/m/nobody/123", ""), "c", "url"},
		{"group in the query, all parts must match", get("mms.example.net", "/both/1", "x=1&at=d&y=2"), "d", "url"},
		{"path of two parts without its query", get("mms.example.net", "/both/1", "x=1"), "", ""},
		{"query of two parts without its path", get("mms.example.net", "/other/1", "at=d"), "", ""},
		{"group in the host", get("e.mmsc.example", "/1", ""), "e", "url"},
		{"a group may name the embedded one", get("local.mmsc.example", "/1", ""), "local", "url"},
		{"nothing known", get("mms.example.net", "/1", ""), "", ""},
		{"an MMSC's host in the request is not a key", get("mmsc-a.example", "/1", ""), "", ""},
		{"rule on the Content-Location", inside("http://retrieve-b.example/x", ""), "b", "content-location"},
		{"group in the Content-Location's path", inside("http://mms.example.net:8080/m/a/1?q", ""), "a", "content-location"},
		{"group in the Content-Location's query", inside("http://mms.example.net/both/?at=a", ""), "a", "content-location"},
		{"a fragment is no part of the query", inside("http://mms.example.net/both/?x=1#&at=a", ""), "", ""},
		{"host of the Content-Location is an MMSC's", inside("http://MMSC-A.example/1", ""), "a", "content-location"},
		{"its port does not matter", inside("http://mmsc-a.example:80/1", ""), "a", "content-location"},
		{"IPv6 literal", inside("http://[2001:DB8::b]/1", ""), "b", "content-location"},
		{"user information is no host", inside("http://mmsc-a.example@elsewhere.example/1", ""), "", ""},
		{"user information of the MMSC's URL neither", inside("http://mmsc-c.example/1", ""), "c", "content-location"},
		{"an address sign in the path is none", inside("http://elsewhere.example/@mmsc-a.example", ""), "", ""},
		{"a host that two MMSCs share names neither", inside("http://shared.example/1", ""), "", ""},
		{"a relative Content-Location names none", inside("/1", ""), "", ""},
		{"an odd Content-Location names none", inside("://:@[", ""), "", ""},
		{"host of the Message-ID", inside("", "<abc@mmsc-a.example>"), "a", "message-id"},
		{"Message-ID without brackets", inside("", "abc@MMSC-a.example"), "a", "message-id"},
		{"the last address sign counts", inside("", "abc@mmsc-c.example@mmsc-a.example"), "a", "message-id"},
		{"rule on the Message-ID's host", inside("", "<abc@retrieve-b.example>"), "b", "message-id"},
		{"group on the Message-ID's host", inside("", "<abc@d.mmsc.example>"), "d", "message-id"},
		{"Message-ID without a host", inside("", "<abc>"), "", ""},
		{"Message-ID with an empty host", inside("", "abc@"), "", ""},
		{"learned", router.Request{Get: true, Learned: "d"}, "d", "learned"},
		{"learned, but gone meanwhile", router.Request{Get: true, Learned: "gone"}, "", ""},
		{"the URL goes before all", router.Request{PDU: mms.MAcknowledgeInd, Path: "/m/a/", Location: "http://b.mmsc.example/",
			MessageID: "1@c.mmsc.example", Learned: "d"}, "a", "url"},
		{"then the Content-Location", router.Request{PDU: mms.MAcknowledgeInd, Location: "http://b.mmsc.example/",
			MessageID: "1@c.mmsc.example", Learned: "d"}, "b", "content-location"},
		{"then the Message-ID", router.Request{PDU: mms.MAcknowledgeInd, MessageID: "1@c.mmsc.example", Learned: "d"}, "c", "message-id"},
		{"then what was learned", router.Request{PDU: mms.MAcknowledgeInd, MessageID: "1@elsewhere.example", Learned: "d"}, "d", "learned"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := snapshot(t, rules, abc...)
			d := router.Decision{Explain: true}
			router.Decide(&d, s, &c.req, router.Load{})
			if c.owner == "" {
				if d.Kind == router.Owned || d.Key != "" || len(d.Order) != len(abc) || !contains(d.Why, "no key names the MMSC that holds the message") {
					t.Fatalf("kind %s key %q order %s why %q, want a search", d.Kind, d.Key, named(s, d.Order), d.Why)
				}
				return
			}
			if d.Kind != router.Owned || d.Key != c.key || named(s, d.Order) != c.owner || len(d.Missing) != 0 {
				t.Fatalf("kind %s key %q order %q missing %q, want %s by %s", d.Kind, d.Key, named(s, d.Order), named(s, d.Missing), c.owner, c.key)
			}
			if want := c.owner + " holds the message (by " + c.key + ")"; !contains(d.Why, want) {
				t.Fatalf("explain %q lacks %q", d.Why, want)
			}
		})
	}
}

// TestOwnerState holds that the owner gets its requests in every state but down, whatever rules and weights say.
func TestOwnerState(t *testing.T) {
	for _, c := range []struct {
		name           string
		owner          row
		order, missing string
		why            string
	}{
		{"up", row{name: "a"}, "a", "", "a holds the message (by learned)"},
		{"draining", row{name: "a", drain: true}, "a", "", "a holds the message (by learned)"},
		{"weight 0", row{name: "a", weight: -1}, "a", "", ""},
		{"a backup tier", row{name: "a", tier: 3}, "a", "", ""},
		{"the embedded spare", row{name: "a", local: true, spare: true}, "a", "", ""},
		{"down", row{name: "a", down: true}, "", "a", "a holds the message (by learned) but is down: connection refused"},
		{"down and draining", row{name: "a", down: true, drain: true}, "", "a", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := snapshot(t, router.Config{Rules: []router.RuleConfig{{To: []string{"b"}}}}, c.owner, row{name: "b"})
			d := router.Decision{Explain: true}
			router.Decide(&d, s, &router.Request{Get: true, Learned: "a"}, router.Load{})
			if d.Kind != router.Owned || named(s, d.Order) != c.order || named(s, d.Missing) != c.missing {
				t.Fatalf("kind %s order %q missing %q", d.Kind, named(s, d.Order), named(s, d.Missing))
			}
			if c.why != "" && !contains(d.Why, c.why) {
				t.Fatalf("explain %q lacks %q", d.Why, c.why)
			}
		})
	}
}

// TestSearch holds who is asked for a message whose MMSC is unknown, and who might hold it but can't be asked.
func TestSearch(t *testing.T) {
	only := func(names ...string) router.Config {
		return router.Config{Rules: []router.RuleConfig{{To: names}}}
	}
	for _, c := range []struct {
		name           string
		cfg            router.Config
		rows           []row
		order, missing string
		why            string
	}{
		{"all up", router.Config{}, []row{{name: "a"}, {name: "b"}}, "a b", "", ""},
		{"one down", router.Config{}, []row{{name: "a", down: true}, {name: "b"}}, "b", "a", "a might hold it but is down: connection refused"},
		{"all down", router.Config{}, []row{{name: "a", down: true}, {name: "b", down: true}}, "", "a b", ""},
		{"a draining one holds its messages still", router.Config{}, []row{{name: "a", drain: true}, {name: "b"}}, "a b", "", ""},
		{"draining and down", router.Config{}, []row{{name: "a", drain: true, down: true}, {name: "b"}}, "b", "a", ""},
		{"weight 0 and tiers don't matter", router.Config{}, []row{{name: "a", weight: -1}, {name: "b", tier: 2}}, "a b", "", ""},
		{"a rule leaves the others out", only("b"), []row{{name: "a", down: true}, {name: "b"}}, "b", "", ""},
		{"but never the embedded one", only("b"), []row{{name: "a"}, {name: "b"}, {name: "local", local: true, spare: true}}, "b local", "", ""},
		{"an embedded spare is asked while it runs", router.Config{}, []row{{name: "a"}, {name: "local", local: true, spare: true}}, "a local", "", ""},
		{"one that does not run holds nothing", router.Config{}, []row{{name: "a"}, {name: "local", local: true, spare: true, down: true}}, "a", "", ""},
		{"the embedded one alone does", router.Config{}, []row{{name: "local", local: true, down: true}}, "", "local", ""},
	} {
		for _, r := range []struct {
			kind router.Kind
			req  router.Request
		}{{router.Search, router.Request{Get: true}}, {router.Search, router.Request{PDU: mms.MForwardReq}}, {router.All, router.Request{PDU: mms.MAcknowledgeInd}}} {
			t.Run(c.name+"/"+r.kind.String()+"/"+r.req.PDU.String(), func(t *testing.T) {
				s := snapshot(t, c.cfg, c.rows...)
				d := router.Decision{Explain: true}
				router.Decide(&d, s, &r.req, router.Load{})
				if d.Kind != r.kind || named(s, d.Order) != c.order || named(s, d.Missing) != c.missing {
					t.Fatalf("kind %s order %q missing %q, want %s %q %q", d.Kind, named(s, d.Order), named(s, d.Missing), r.kind, c.order, c.missing)
				}
				if c.why != "" && !contains(d.Why, c.why) {
					t.Fatalf("explain %q lacks %q", d.Why, c.why)
				}
			})
		}
	}
}
