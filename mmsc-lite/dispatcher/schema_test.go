package dispatcher_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/dispatcher"
)

// tags gives the names that a type's fields have in a format.
func tags(v any, format string) []string {
	var out []string
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		name, _, _ := strings.Cut(f.Tag.Get(format), ",")
		if f.Name != "XMLName" && name != "" && name != "-" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// TestSchemas holds the published schemas to the types that are read and written.
func TestSchemas(t *testing.T) {
	b, err := os.ReadFile("../../docs/service-v1.json")
	if err != nil {
		t.Fatal(err)
	}
	type object struct {
		Properties map[string]struct {
			Properties map[string]any
			Items      struct{ Properties map[string]any }
		}
	}
	var doc struct {
		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	keys := func(m map[string]any) []string {
		var out []string
		for k := range m {
			out = append(out, k)
		}
		slices.Sort(out)
		return out
	}
	top := func(name string) []string {
		var out []string
		for k := range doc.Defs[name].Properties {
			out = append(out, k)
		}
		slices.Sort(out)
		return out
	}
	for _, tc := range []struct {
		name string
		got  []string
		v    any
	}{
		{"request", top("request"), dispatcher.Call{}},
		{"reply", top("reply"), dispatcher.Response{}},
		{"part", top("part"), dispatcher.WirePart{}},
		{"session", keys(doc.Defs["request"].Properties["session"].Properties), dispatcher.CallState{}},
		{"device", keys(doc.Defs["request"].Properties["device"].Properties), dispatcher.CallDevice{}},
		{"report", keys(doc.Defs["request"].Properties["report"].Properties), dispatcher.CallReport{}},
		{"page", keys(doc.Defs["reply"].Properties["pages"].Items.Properties), dispatcher.WirePage{}},
	} {
		if want := tags(tc.v, "json"); !slices.Equal(tc.got, want) {
			t.Errorf("the JSON schema's %s has %v, the code %v", tc.name, tc.got, want)
		}
	}
	declared := xsdNames(t, "../../docs/service-v1.xsd")
	for _, v := range []any{dispatcher.Call{}, dispatcher.Response{}, dispatcher.WirePart{}, dispatcher.CallState{}, dispatcher.CallDevice{}, dispatcher.CallReport{}, dispatcher.WirePage{}} {
		for _, name := range tags(v, "xml") {
			if !declared[name] {
				t.Errorf("the XSD does not declare %s of %T", name, v)
			}
		}
	}
}

// xsdNames gives the names of the elements and attributes that a schema declares.
func xsdNames(t *testing.T, file string) map[string]bool {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() // only read
	out := map[string]bool{}
	dec := xml.NewDecoder(f)
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		if e, ok := tok.(xml.StartElement); ok && (e.Name.Local == "element" || e.Name.Local == "attribute") {
			for _, a := range e.Attr {
				if a.Name.Local == "name" {
					out[a.Value] = true
				}
			}
		}
	}
}

// TestDocumentedEntry enters the example of the documentation.
func TestDocumentedEntry(t *testing.T) {
	b, err := os.ReadFile("../../docs/services.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "```yaml\n")
	entry, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("the documentation has no example")
	}
	n := start(t, newPhone(), setup{})
	enter(t, n, entry)
	got, err := n.Service("quiz")
	if err != nil || got.Provider.Retry != dispatcher.DefaultService().Provider.Retry {
		t.Errorf("%+v, %v", got, err)
	}
}
