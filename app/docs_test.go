package app_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mmsrouter/mmsrouter/app"
	"github.com/mmsrouter/mmsrouter/app/strict"
	"github.com/mmsrouter/mmsrouter/dnsserver"
	"github.com/mmsrouter/mmsrouter/healthcheck"
	"github.com/mmsrouter/mmsrouter/router"
)

var update = flag.Bool("update", false, "write docs/configuration.md and configs/mmsrouter.yaml anew")

const module = "github.com/mmsrouter/mmsrouter"

// sample is the configuration that configs/mmsrouter.yaml shows: every list has an element, so that every key
// of an element stands there.
func sample() app.Config {
	c := app.DefaultConfig()
	one := 1
	c.Node.Name = "r1"
	c.DNS.Zones = []dnsserver.ZoneConfig{{Name: "mms.example.net", TTL: 30 * time.Second, Addresses: []string{"127.0.0.1"}}}
	c.MM1.URL = "http://mms.example.net:8080/"
	c.MM1.Ambiguous = map[string]string{"m-forward-req": "fail"}
	c.MMSCs = []app.MMSCConfig{
		{Name: "mmsc-a", URL: "http://127.0.0.1:9001/", Weight: &one, Probe: healthcheck.ProbeConfig{Type: healthcheck.HTTP, Path: "/"}},
		{Name: "mmsc-b", URL: "http://127.0.0.1:9002/", Weight: &one, Probe: healthcheck.ProbeConfig{Type: healthcheck.MM1}},
	}
	c.Routing.Rules = []router.RuleConfig{{Name: "north", Recipient: []string{"+4670"}, PDU: []string{"m-send-req"}, To: []string{"mmsc-b", "mmsc-a"}}}
	c.Routing.Owners = []router.OwnerConfig{{Path: "^/b/", MMSC: "mmsc-b"}}
	return c
}

func TestConfigurationReferenceIsFresh(t *testing.T) {
	golden(t, "../docs/configuration.md", reference(t))
}

func TestSampleConfigurationIsFresh(t *testing.T) {
	text := sampleFile(t)
	golden(t, "../configs/mmsrouter.yaml", text)
	got, err := app.Parse("configs/mmsrouter.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	want := sample()
	a, err := yaml.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	b, err := yaml.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("the file does not say what it was made of\ngot\n%s\nwant\n%s", a, b)
	}
	doc, err := strict.Decode("configs/mmsrouter.yaml", text, &want)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range paths(reflect.TypeFor[app.Config](), "") {
		at := strings.ReplaceAll(key, "[]", "[0]")
		inComment := strings.Contains(key, "[].") && bytes.Contains(text, []byte("#   "+key[strings.LastIndex(key, ".")+1:]+":"))
		if !doc.Has(at) && !doc.Has(at+"[0]") && !inComment {
			t.Errorf("%s stands nowhere in configs/mmsrouter.yaml", key)
		}
	}
}

func golden(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s does not follow the code; write it anew with: go test ./app -run 'IsFresh' -update", filepath.Base(file))
	}
}

// paths lists every key that can be given, list elements as "key[]".
func paths(t reflect.Type, under string) []string {
	var out []string
	for _, k := range strict.Keys(t) {
		at := strings.TrimPrefix(under+"."+k.Name, ".")
		ft := k.Field.Type
		list := ""
		if elem, many := strict.Many(ft); many {
			ft, list = elem, "[]"
		}
		if strict.Leaf(ft) {
			out = append(out, at)
			continue
		}
		out = append(out, paths(ft, at+list)...)
	}
	return out
}

// comments finds what the source says of each field: package path + "." + type + "." + field.
type comments struct {
	fields map[string]string
	read   map[string]bool
}

func (c *comments) of(t *testing.T, owner reflect.Type, field string) string {
	pkg := owner.PkgPath()
	if !c.read[pkg] {
		c.read[pkg] = true
		files, err := filepath.Glob(filepath.Join("..", strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/"), "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f, "_test.go") {
				c.parse(t, pkg, f)
			}
		}
	}
	return c.fields[pkg+"."+owner.Name()+"."+field]
}

func (c *comments) parse(t *testing.T, pkg, file string) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		gd, ok := n.(*ast.GenDecl)
		if !ok || gd.Tok != token.TYPE || len(gd.Specs) != 1 {
			return true
		}
		ts := gd.Specs[0].(*ast.TypeSpec)
		st, ok := ts.Type.(*ast.StructType)
		if !ok {
			return true
		}
		c.fields[pkg+"."+ts.Name.Name+"."] = strings.Join(strings.Fields(gd.Doc.Text()), " ")
		for _, fd := range st.Fields.List {
			text := strings.TrimSpace(fd.Doc.Text())
			if text == "" {
				text = strings.TrimSpace(fd.Comment.Text())
			}
			for _, name := range fd.Names {
				c.fields[pkg+"."+ts.Name.Name+"."+name.Name] = strings.Join(strings.Fields(text), " ")
			}
		}
		return true
	})
}

func newComments() *comments { return &comments{map[string]string{}, map[string]bool{}} }

// worded takes Go's habit of beginning with the field's name off a comment where it reads well without.
func worded(text, field string) string {
	rest, ok := strings.CutPrefix(text, field+" ")
	if !ok {
		return text
	}
	verb, after, _ := strings.Cut(rest, " ")
	switch {
	case verb == "is" || verb == "are":
		return after
	case strings.HasSuffix(verb, "s"):
		return rest
	}
	return text
}

// unsaid words the keys whose meaning the code tells by their names or in a comment that several share.
var unsaid = map[string]string{
	"dns.tcp.max_connections":      "open connections in all",
	"dns.rate_limit.ipv4_prefix":   "length of an IPv4 client network's prefix",
	"dns.rate_limit.ipv6_prefix":   "length of an IPv6 client network's prefix",
	"dns.zones":                    "the zones; none: no DNS is served",
	"dns.zones.name":               "of the zone",
	"dns.zones.ns":                 "names of the name servers; none: ns1.<zone>, with the zone's own addresses",
	"dns.zones.ns_ttl":             "TTL of the NS records; 0s: 1h",
	"dns.zones.mname":              "first name server of the SOA record; empty: the first of ns",
	"dns.zones.rname":              "responsible mailbox of the SOA record; empty: hostmaster.<zone>",
	"dns.zones.refresh":            "SOA: how often secondaries look for a change; 0s: 1h",
	"dns.zones.retry":              "SOA: when they try again; 0s: 10m",
	"dns.zones.expire":             "SOA: when they stop answering; 0s: 168h",
	"dns.zones.ttl":                "of the addresses and of records that don't say their own; 0s: 30s",
	"dns.zones.negative_ttl":       "how long “there is no such name” may be remembered; 0s: ttl",
	"mm1.access_log":               "one JSON line a message",
	"mm1.fate":                     "the index behind `mmsrouter fate`",
	"mm1.fate.entries":             "how many messages are remembered",
	"mm1.fence.entries":            "how many answers are remembered",
	"mm1.limits.header_fields":     "fields of a head",
	"mm1.owners":                   "which MMSC holds a message, learned from its answers",
	"mm1.owners.entries":           "how many messages are remembered",
	"mm1.owners.keep":              "how long",
	"mm1.tls.cert":                 "PEM file of the certificate and those above it",
	"mm1.tls.key":                  "PEM file of its key",
	"mmsc.enabled":                 "run the embedded MMSC",
	"mmsc.rate.messages":           "submissions of one sender that are taken within per; 0: no limit",
	"mmsc.rate.per":                "the time that messages are counted in",
	"mmsc.subscribers.list":        "the subscribers; none: everybody may send",
	"mmsc.subscribers.list.number": "of the subscriber, E.164",
	"mmsc.peers.name":              "of the operator",
	"mmsc.mmbox.enabled":           "keep message boxes (M-Mbox-*)",
	"detection.passive.enabled":    "let live traffic eject",
	"routing.owners.host":          "regular expression on the host, anchored by the writer",
	"routing.owners.path":          "regular expression on the path",
	"routing.owners.query":         "regular expression on the query",
}

// meaning is what a key's comment says; a key without one is a mistake.
func (c *comments) meaning(t *testing.T, owner reflect.Type, k strict.Key, at string) string {
	t.Helper()
	said := worded(c.of(t, owner, k.Field.Name), k.Field.Name)
	if s := unsaid[strings.ReplaceAll(at, "[]", "")]; s != "" {
		said = s
	}
	if said == "" && k.Field.Type.Kind() == reflect.Struct {
		ft := k.Field.Type
		said = worded(c.of(t, ft, ""), ft.Name())
	}
	if said == "" {
		t.Errorf("%s has no comment: give the field %s of %s one", at, k.Field.Name, owner)
	}
	return said
}

func reference(t *testing.T) []byte {
	var b bytes.Buffer
	b.WriteString("# Configuration\n\nEvery key, its default and what it means, made from the code by `go test ./app -run IsFresh -update`. The same keys stand, each\n" +
		"with its comment, in [configs/mmsrouter.yaml](../configs/mmsrouter.yaml).\n\n" +
		"A file is YAML. Unknown and repeated keys and values of a wrong kind are errors; all of them are told in one go, with file, line,\n" +
		"key and what is allowed (`mmsrouter check -c FILE`). A key without a value counts as left out. Durations are written as `500ms`, `30s`, `5m`,\n" +
		"sizes as `64KiB`, `5MiB`, networks as `192.0.2.0/24`. `[]` stands for each entry of a list.\n\n" +
		"SIGHUP reads the file again. What a running router can't take over (`node`, `dns.listen`, `mmsc` but for its `services`, `platform` and\n" +
		"`outgoing`, `push`, `ppg`, `cluster`, `takeover`, `admin.listen`, `log.format`, `upgrade.timeout`, and whether there is a zone,\n" +
		"a listed operator or the services at all) is refused with its line; the sizes of fence, owner table, fate index and replay memory, and the place of\n" +
		"the access log, stay as they were until a restart.\n")
	c := newComments()
	def := reflect.ValueOf(app.DefaultConfig())
	for i, k := range strict.Keys(def.Type()) {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n| key | default | meaning |\n|---|---|---|\n", k.Name, upper(c.of(t, def.Type(), k.Field.Name)))
		v := def.Field(i)
		if v.Kind() == reflect.Slice {
			rows(t, &b, c, reflect.Zero(v.Type().Elem()), k.Name+"[]")
		} else {
			rows(t, &b, c, v, k.Name)
		}
	}
	return b.Bytes()
}

func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func rows(t *testing.T, b *bytes.Buffer, c *comments, v reflect.Value, under string) {
	for _, k := range strict.Keys(v.Type()) {
		at, f := under+"."+k.Name, v.FieldByIndex(k.Field.Index)
		said := c.meaning(t, v.Type(), k, at)
		elem, many := strict.Many(f.Type())
		switch {
		case many:
			fmt.Fprintf(b, "| `%s` | | %s |\n", at, cell(said))
			rows(t, b, c, reflect.Zero(elem), at+"[]")
		case !strict.Leaf(f.Type()):
			fmt.Fprintf(b, "| `%s` | | %s |\n", at, cell(said))
			rows(t, b, c, f, at)
		default:
			fmt.Fprintf(b, "| `%s` | %s | %s |\n", at, defaultCell(t, f), cell(said))
		}
	}
}

func defaultCell(t *testing.T, v reflect.Value) string {
	if v.IsZero() {
		return ""
	}
	return "`" + cell(flow(t, v)) + "`"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// flow writes a value as YAML on one line.
func flow(t *testing.T, v reflect.Value) string {
	if d, ok := v.Interface().(time.Duration); ok {
		return short(d)
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	if v.IsZero() && v.Kind() == reflect.Slice {
		return "[]"
	}
	if v.IsZero() && v.Kind() == reflect.Map {
		return "{}"
	}
	var n yaml.Node
	if err := n.Encode(v.Interface()); err != nil {
		t.Fatal(err)
	}
	n.Style |= yaml.FlowStyle
	for _, c := range n.Content {
		c.Style |= yaml.FlowStyle
	}
	out, err := yaml.Marshal(&n)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

// short is Duration.String without the zeros at its end.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func sampleFile(t *testing.T) []byte {
	var b bytes.Buffer
	b.WriteString("# Every key of mmsrouter with its meaning and, outside the examples, its default. Leave out what is fine as it is: a working\n" +
		"# file can be as short as configs/two-mmscs.yaml. Check it with: mmsrouter check -c FILE\n" +
		"# This file is made from the code (go test ./app -run IsFresh -update).\n")
	c := newComments()
	v := reflect.ValueOf(sample())
	for i, k := range strict.Keys(v.Type()) {
		b.WriteString("\n")
		comment(&b, "", upper(c.of(t, v.Type(), k.Field.Name))+".")
		b.WriteString(k.Name + ":\n")
		value(t, &b, c, v.Field(i), k.Name, "  ", true)
	}
	return b.Bytes()
}

// value writes the keys of a struct or the elements of a list of structs; told says that each key gets its
// comment.
func value(t *testing.T, b *bytes.Buffer, c *comments, v reflect.Value, under, indent string, told bool) {
	if _, many := strict.Many(v.Type()); many {
		for i := range v.Len() {
			var e bytes.Buffer
			value(t, &e, c, v.Index(i), under+"[]", indent+"  ", told && i == 0)
			b.WriteString(indent + "- " + strings.TrimLeft(e.String(), " "))
		}
		return
	}
	for _, k := range strict.Keys(v.Type()) {
		at, f := under+"."+k.Name, v.FieldByIndex(k.Field.Index)
		if !told && f.IsZero() {
			continue // the first element of the list has it, with its comment
		}
		if told {
			comment(b, indent, strings.ReplaceAll(c.meaning(t, v.Type(), k, at), "[]", ""))
		}
		_, many := strict.Many(f.Type())
		switch {
		case many && f.Len() == 0:
			fmt.Fprintf(b, "%s%s: []\n", indent, k.Name)
			if told {
				asComment(t, b, c, f.Type().Elem(), at, indent)
			}
		case many || !strict.Leaf(f.Type()):
			fmt.Fprintf(b, "%s%s:\n", indent, k.Name)
			value(t, b, c, f, at, indent+"  ", told)
		default:
			fmt.Fprintf(b, "%s%s: %s\n", indent, k.Name, flow(t, f))
		}
	}
}

// asComment shows the keys of a list's entry where the sample has none.
func asComment(t *testing.T, b *bytes.Buffer, c *comments, elem reflect.Type, at, indent string) {
	var e bytes.Buffer
	value(t, &e, c, reflect.Zero(elem), at+"[]", "", true)
	fmt.Fprintf(b, "%s# an entry has:\n", indent)
	for line := range strings.Lines(e.String()) {
		if rest, said := strings.CutPrefix(strings.TrimLeft(line, " "), "# "); said {
			line = strings.Repeat(" ", len(line)-len(strings.TrimLeft(line, " "))) + "(" + strings.TrimSpace(rest) + ")\n"
		}
		b.WriteString(indent + "#   " + line)
	}
}

// comment wraps a text at 120 columns.
func comment(b *bytes.Buffer, indent, text string) {
	line := indent + "#"
	for _, w := range strings.Fields(text) {
		if len(line)+1+len(w) > 120 {
			b.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + w
	}
	if line != indent+"#" {
		b.WriteString(line + "\n")
	}
}
