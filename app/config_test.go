package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/app"
	"github.com/mmsrouter/mmsrouter/router"
)

func TestShippedConfigurationsLoad(t *testing.T) {
	files, err := filepath.Glob("../configs/*.yaml")
	lab, err2 := filepath.Glob("../configs/lab/*.yaml")
	if err != nil || err2 != nil || len(files) < 3 || len(lab) < 3 {
		t.Fatalf("found %v %v, %v %v", files, lab, err, err2)
	}
	for _, f := range append(files, lab...) {
		t.Run(filepath.Base(f), func(t *testing.T) {
			if _, err := app.Load(f); err != nil {
				t.Error(err)
			}
		})
	}
}

// Each bad file begins with "# want " and what is to be said of it, behind its own name.
func TestBadConfigurations(t *testing.T) {
	files, err := filepath.Glob("../configs/bad/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(b), "\n")
			want, ok := strings.CutPrefix(first, "# want ")
			if !ok {
				t.Fatalf("the first line is %q", first)
			}
			_, err = app.Load(f)
			if err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.HasPrefix(err.Error(), f+want) {
				t.Errorf("got  %v\nwant %s%s", err, f, want)
			}
		})
	}
}

func TestEmbeddedDefaultIsTheContract(t *testing.T) {
	c, err := app.Load("")
	if err != nil {
		t.Fatal(err)
	}
	if c.DNS.Listen[0] != "127.0.0.1:1053" || c.MM1.Listen[0] != "127.0.0.1:8080" || c.Admin.Listen != "127.0.0.1:8090" ||
		c.DNS.Zones[0].Name != "mms.example.net" || c.Node.Data != "./data" || !c.MMSC.Enabled || len(c.MMSCs) != 0 {
		t.Errorf("%+v", c)
	}
	if w := c.Warnings(); len(w) != 0 {
		t.Errorf("the default warns of itself: %q", w)
	}
}

// The example of the contract, as it stands there.
func TestContractExampleLoads(t *testing.T) {
	c, err := app.Parse("contract.yaml", []byte(`
node: {name: r1, data: ./data}
dns:
  listen: ["127.0.0.1:1053"]
  zones:
    - name: mms.example.net
      ttl: 30s
      addresses: ["127.0.0.1"]
mm1:
  listen: ["127.0.0.1:8080"]
  max_message: 5MiB
  when_all_down: refuse
mmscs:
  - {name: mmsc-a, url: "http://127.0.0.1:9001/", weight: 1, probe: {type: http, path: /, interval: 1s, timeout: 500ms, rise: 2, fall: 2}}
  - {name: mmsc-b, url: "http://127.0.0.1:9002/"}
mmsc: {enabled: false}
cluster: {listen: "127.0.0.1:7946", join: [], key: ""}
admin: {listen: "127.0.0.1:8090", token: ""}
log: {level: info, format: json}
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.MM1.MaxMessage != 5<<20 || c.DNS.Zones[0].TTL != 30*time.Second || c.MMSCs[0].Probe.Path != "/" || c.Routing.Balance != router.Weighted {
		t.Errorf("%+v", c)
	}
}

func TestWarnings(t *testing.T) {
	const base = `
node: {name: r1}
dns: {zones: [{name: mms.example.net, addresses: [192.0.2.1]}]}
mm1: {listen: ["0.0.0.0:80"]}
detection: {probe: {type: mm1}}
mmscs: [{name: a, url: "http://127.0.0.1:9001/"}, {name: b, url: "http://127.0.0.1:9002/"}]
`
	tests := []struct{ name, from, to, want string }{
		{"nothing", "", "", ""},
		{"a port that no handset knows", `["0.0.0.0:80"]`, `["0.0.0.0:8080"]`, "mm1.listen: 0.0.0.0:8080: nothing listens on port 80"},
		{"the URL's port", `["0.0.0.0:80"]`, `["0.0.0.0:80"], url: "http://mms.example.net:8080/"`, "nothing listens on port 8080"},
		{"a foreign URL", `["0.0.0.0:80"]`, `["0.0.0.0:80"], url: "http://mmsc.example.org/"`, "mm1.url: mmsc.example.org is none of dns.zones"},
		{"a deadline beyond patience", `["0.0.0.0:80"]`, `["0.0.0.0:80"], deadline: 60s`, "mm1.deadline: 1m0s: handsets give up"},
		{"an answer that uses the deadline up", `["0.0.0.0:80"]`, `["0.0.0.0:80"], timeouts: {answer: 45s}`, "mm1.timeouts.answer: 45s"},
		{"a fence without identity", `["0.0.0.0:80"]`, `["0.0.0.0:80"], identity: {trusted: []}`, "mm1.identity.trusted: no network is trusted"},
		{"no fence", `["0.0.0.0:80"]`, `["0.0.0.0:80"], fence: {window: 0s}`, "mm1.fence.window: the duplicate fence is off"},
		{"nowhere to fetch", "dns: {zones: [{name: mms.example.net, addresses: [192.0.2.1]}]}", "mmsc: {enabled: true}", "mmsc.url: with neither"},
		{"a long TTL", "addresses: [192.0.2.1]", "ttl: 48h, addresses: [192.0.2.1]", "dns.zones[0].ttl: 48h0m0s"},
		{"no address", "addresses: [192.0.2.1]", "addresses: []", "dns.zones[0].addresses: none"},
		{"tcp probes", "detection: {probe: {type: mm1}}", "", "mmscs[1].probe.type: tcp sees only"},
		{"a short drain", "node: {name: r1}", "node: {name: r1}\ndrain: {max: 5s}", "drain.max: 5s: shorter than mm1.deadline"},
		{"a cluster", "node: {name: r1}", "node: {name: r1}\ncluster: {listen: \"127.0.0.1:7946\"}", ""},
		{"a cluster with a long TTL", "dns: {zones: [{", "cluster: {listen: \"127.0.0.1:7946\"}\ndns: {zones: [{ttl: 2m, ", "drain.max: 1m0s: of it 36s"},
		{"a takeover of others", "node: {name: r1}", "node: {name: r1}\ntakeover: {interface: eth0, routers: [{name: r2, peer: 192.0.2.2, addresses: [192.0.2.12/24]}]}", "takeover.routers: this router, r1"},
		{"a takeover, listening everywhere", "node: {name: r1}", "node: {name: r1, data: /var/lib/mmsrouter}\ntakeover: {interface: eth0, routers: [{name: r1, peer: 192.0.2.2, addresses: [192.0.2.12/24]}]}", ""},
		{"a takeover, listening elsewhere", `mm1: {listen: ["0.0.0.0:80"]}`, `mm1: {listen: ["192.0.2.13:80"]}` + "\ntakeover: {interface: eth0, routers: [{name: r1, peer: 192.0.2.2, addresses: [192.0.2.12/24]}]}",
			"mm1.listen: nothing listens on 192.0.2.12, a service address of r1"},
		{"a takeover without freebind", `mm1: {listen: ["0.0.0.0:80"]}`, `mm1: {listen: ["192.0.2.12:80"]}` + "\ntakeover: {interface: eth0, routers: [{name: r1, peer: 192.0.2.2, addresses: [192.0.2.12/24]}]}",
			"mm1.freebind: without it mm1.listen can't open 192.0.2.12"},
		{"a takeover with freebind", "node: {name: r1}\ndns: {zones: [{name: mms.example.net, addresses: [192.0.2.1]}]}\nmm1: {listen: [\"0.0.0.0:80\"]}",
			"node: {name: r1, data: /var/lib/mmsrouter}\ndns: {zones: [{name: mms.example.net, addresses: [192.0.2.1]}]}\nmm1: {listen: [\"192.0.2.12:80\"], freebind: true}\n" +
				"takeover: {interface: eth0, routers: [{name: r1, peer: 192.0.2.2, addresses: [192.0.2.12/24]}]}", ""},
		{"a takeover with data that keepalived does not find", "node: {name: r1}", "node: {name: r1, data: data}\ntakeover: {interface: eth0, routers: [{name: r1, peer: 192.0.2.2, addresses: [192.0.2.12/24]}]}", "node.data: \"data\": keepalived watches"},
		{"one MMSC", `, {name: b, url: "http://127.0.0.1:9002/"}`, "", "mmscs: there is one only"},
		{"weight 0 without a rule", `9001/"}`, `9001/", weight: 0}, {name: c, url: "http://127.0.0.1:9003/"}`, ""},
		{"a rule whose weights are 0", `mmscs: [{name: a, url: "http://127.0.0.1:9001/"}`,
			`routing: {rules: [{name: abroad, recipient: ["+47"], to: [a]}]}` + "\n" + `mmscs: [{name: c, url: "http://127.0.0.1:9003/"}, {name: a, weight: 0, url: "http://127.0.0.1:9001/"}`,
			`routing.rules[0].to: every weight of a is 0, so new messages that rule "abroad" matches go to nobody`},
		{"a rule for retrievals, to weight 0", `mmscs: [{name: a, url: "http://127.0.0.1:9001/"}`,
			`routing: {rules: [{name: old, pdu: [get], to: [a]}]}` + "\n" + `mmscs: [{name: c, url: "http://127.0.0.1:9003/"}, {name: a, weight: 0, url: "http://127.0.0.1:9001/"}`, ""},
		{"a rule with one weight", `mmscs: [{name: a, url: "http://127.0.0.1:9001/"}`,
			`routing: {rules: [{name: abroad, recipient: ["+47"], to: [a, b]}]}` + "\n" + `mmscs: [{name: a, weight: 0, url: "http://127.0.0.1:9001/"}`, ""},
		{"services without codes", "node: {name: r1}", "node: {name: r1}\nmmsc: {enabled: true, services: {enabled: true}}", "mmsc.services.codes: none"},
		{"services that nothing leads to", "node: {name: r1}", "node: {name: r1}\nmmsc: {enabled: true, services: {enabled: true, codes: [\"70\"]}}", "mmsc.services.enabled: with mmscs configured and no rule to local"},
		{"late answers that go astray", "node: {name: r1}", "node: {name: r1}\nmmsc: {enabled: true, services: {enabled: true, codes: [\"70\"], reply_url: \"http://mms.example.net/s\"}}\n" +
			"routing: {rules: [{name: s, recipient: [\"70\"], to: [local]}]}", "mmsc.services.reply_url: with mmscs configured"},
		{"services with their rules", "node: {name: r1}", "node: {name: r1}\nmmsc: {enabled: true, services: {enabled: true, codes: [\"70\"], reply_url: \"http://mms.example.net/s\"}}\n" +
			"routing: {rules: [{name: s, recipient: [\"70\"], to: [local]}, {name: l, path: \"^/s/\", to: [local]}]}", ""},
		{"an MMSC that is this router's name", `"http://127.0.0.1:9001/"`, `"http://MMS.example.net/x"`, "mmscs[0].url: mms.example.net is the name by which handsets find this router"},
		{"an MMSC that is this router's address", `"http://127.0.0.1:9001/"`, `"http://192.0.2.1/"`, "mmscs[0].url: 192.0.2.1 is an address that dns.zones gives as the router's own"},
		{"an MMSC beside this router", `"http://127.0.0.1:9001/"`, `"http://192.0.2.1:9001/"`, ""},
		{"one MMSC under two names", `"http://127.0.0.1:9002/"`, `"http://127.0.0.1:9001"`, "mmscs[1].url: leads where that of mmscs[0] does"},
		{"no weight", `9001/"}, {name: b, url: "http://127.0.0.1:9002/"}`, `9001/", weight: 0}`, "mmscs: every weight is 0"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			text := base
			if tc.from != "" {
				if text = strings.Replace(base, tc.from, tc.to, 1); text == base {
					t.Fatal("the case changes nothing")
				}
			}
			c, err := app.Parse("w.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(c.Warnings(), "\n")
			if tc.want == "" && all != "" || !strings.Contains(all, tc.want) {
				t.Errorf("got  %s\nwant %s", all, tc.want)
			}
		})
	}
}

func TestPublicURL(t *testing.T) {
	tests := []struct{ name, mm1, want string }{
		{"said", `listen: ["127.0.0.1:0"], url: "http://mmsc.example.org/x"`, "http://mmsc.example.org/x"},
		{"port 80", `listen: ["0.0.0.0:80"]`, "http://mms.example.net/"},
		{"another port", `listen: ["0.0.0.0:8080"]`, "http://mms.example.net:8080/"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c, err := app.Parse("u.yaml", []byte("node: {name: r1}\nmmsc: {enabled: true}\ndns: {zones: [{name: mms.example.net, addresses: [192.0.2.1]}]}\nmm1: {"+tc.mm1+"}\n"))
			if err != nil {
				t.Fatal(err)
			}
			if got := c.PublicURL(); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}
