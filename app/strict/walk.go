package strict

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

var (
	unmarshaler     = reflect.TypeFor[yaml.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	duration        = reflect.TypeFor[time.Duration]()
)

func typeOf(v any) reflect.Type { return reflect.TypeOf(v).Elem() }

// Key is one key of a struct.
type Key struct {
	Name  string
	Field reflect.StructField
}

// Keys lists the keys of a struct type in the order of its fields; inlined structs count as their own
// fields.
func Keys(t reflect.Type) []Key {
	var keys []Key
	for f := range t.Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case !f.IsExported() || name == "-":
		case slices.Contains(strings.Split(opts, ","), "inline"):
			keys = append(keys, Keys(f.Type)...)
		case name == "":
			keys = append(keys, Key{strings.ToLower(f.Name), f})
		default:
			keys = append(keys, Key{name, f})
		}
	}
	return keys
}

// Leaf tells whether a type is written as one value rather than as keys of its own.
func Leaf(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(unmarshaler) || p.Implements(textUnmarshaler) || t.Kind() != reflect.Struct
}

// Many tells whether a type is a list whose elements have keys of their own, and gives the element's type.
func Many(t reflect.Type) (elem reflect.Type, many bool) {
	if t.Kind() != reflect.Slice || reflect.PointerTo(t).Implements(unmarshaler) || Leaf(t.Elem()) {
		return nil, false
	}
	return t.Elem(), true
}

type walker struct {
	doc    *Document
	found  Mistakes
	budget int // nodes that may still be looked at: aliases can make few lines into many
}

func (w *walker) mistake(n *yaml.Node, key, format string, a ...any) {
	w.found = append(w.found, Mistake{w.doc.File, n.Line, key, fmt.Sprintf(format, a...)})
}

// value checks node n against type t; key is its path.
func (w *walker) value(n *yaml.Node, t reflect.Type, key string) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if w.budget--; w.budget < 0 {
		if w.budget == -1 {
			w.mistake(n, key, "more than %d values, aliases followed", maxNodes)
		}
		return
	}
	if empty(n) {
		return
	}
	switch p := reflect.PointerTo(t); {
	case p.Implements(unmarshaler) || p.Implements(textUnmarshaler):
		w.leaf(n, t, key)
	case t.Kind() == reflect.Struct:
		w.structure(n, t, key)
	case t.Kind() == reflect.Map:
		w.mapping(n, t, key)
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Array:
		if n.Kind != yaml.SequenceNode {
			w.mistake(n, key, "want a list, such as [a, b] or a line each with “- ”")
			return
		}
		for i, c := range n.Content {
			at := fmt.Sprintf("%s[%d]", key, i)
			w.doc.lines[at] = c.Line
			w.value(c, t.Elem(), at)
		}
	default:
		w.leaf(n, t, key)
	}
}

// structure checks a mapping against the fields of a struct and takes the pairs without a value out.
func (w *walker) structure(n *yaml.Node, t reflect.Type, key string) {
	keys := Keys(t)
	if n.Kind != yaml.MappingNode {
		w.mistake(n, key, "want keys of its own: %s", list(keys))
		return
	}
	seen := map[string]int{}
	kept := n.Content[:0:0]
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Tag == "!!merge" {
			w.merge(v, t, key)
			kept = append(kept, k, v)
			continue
		}
		at := strings.TrimPrefix(key+"."+k.Value, ".")
		j := slices.IndexFunc(keys, func(x Key) bool { return x.Name == k.Value })
		switch {
		case k.Kind != yaml.ScalarNode || j < 0:
			w.mistake(k, at, "unknown key%s; known here: %s", nearest(k.Value, keys), list(keys))
			continue
		case seen[k.Value] > 0:
			w.mistake(k, at, "stands here a second time; the first is in line %d", seen[k.Value])
			continue
		}
		seen[k.Value] = k.Line
		if empty(v) {
			continue
		}
		kept = append(kept, k, v)
		w.doc.lines[at] = k.Line
		w.value(v, keys[j].Field.Type, at)
	}
	n.Content = kept
}

func (w *walker) merge(v *yaml.Node, t reflect.Type, key string) {
	if v.Kind == yaml.SequenceNode {
		for _, c := range v.Content {
			w.value(c, t, key)
		}
		return
	}
	w.value(v, t, key)
}

func (w *walker) mapping(n *yaml.Node, t reflect.Type, key string) {
	if n.Kind != yaml.MappingNode {
		w.mistake(n, key, "want names with values, such as {a: b}")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		at := strings.TrimPrefix(key+"."+k.Value, ".")
		if seen[k.Value] > 0 {
			w.mistake(k, at, "stands here a second time; the first is in line %d", seen[k.Value])
			continue
		}
		seen[k.Value] = k.Line
		w.doc.lines[at] = k.Line
		w.value(v, t.Elem(), at)
	}
}

// leaf tries the value on a fresh variable of the type.
func (w *walker) leaf(n *yaml.Node, t reflect.Type, key string) {
	want := wanted(t)
	if t == duration {
		// a bare number would be taken for nanoseconds
		if d, err := time.ParseDuration(n.Value); n.Kind != yaml.ScalarNode || err != nil || d < 0 {
			w.mistake(n, key, "%s: want %s", shown(n), want)
		}
		return
	}
	if t.Kind() == reflect.Bool && n.Value != "true" && n.Value != "false" {
		w.mistake(n, key, "%s: want %s", shown(n), want) // yaml would also take y, yes, on
		return
	}
	if strings.HasPrefix(want, whole) && (n.ShortTag() != "!!int" || octal(n.Value)) {
		w.mistake(n, key, "%s: want %s", shown(n), want) // yaml would cut 0.5 down to 0, and take 010 for 8
		return
	}
	if err := n.Decode(reflect.New(t).Interface()); err != nil {
		if want != "" {
			w.mistake(n, key, "%s: want %s", shown(n), want)
			return
		}
		m := w.doc.syntax(err)
		if te, ok := err.(*yaml.TypeError); ok && len(te.Errors) > 0 {
			m = w.doc.syntax(fmt.Errorf("%s", te.Errors[0]))
		}
		w.mistake(n, key, "%s", m.Text)
	}
}

// whole begins what an integer kind wants.
const whole = "a whole number"

// octal says whether a number begins with a zero that makes it one of base 8.
func octal(text string) bool {
	text = strings.TrimLeft(text, "+-")
	return len(text) > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9'
}

// wanted words what a plain kind allows; "" leaves the word to the type's own error.
func wanted(t reflect.Type) string {
	p := reflect.PointerTo(t)
	if t != duration && (p.Implements(unmarshaler) || p.Implements(textUnmarshaler)) {
		return ""
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32:
		return whole
	case reflect.Int64:
		if t == duration {
			return "a duration such as 500ms, 30s or 5m"
		}
		return whole
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return whole + ", not below 0"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return ""
}

func empty(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func shown(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys stand here"
	case yaml.SequenceNode:
		return "a list stands here"
	}
	if len(n.Value) > 60 {
		return fmt.Sprintf("%q…", n.Value[:60])
	}
	return fmt.Sprintf("%q", n.Value)
}

func list(keys []Key) string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.Name
	}
	return strings.Join(names, ", ")
}

// nearest proposes the known key that a writer most likely meant.
func nearest(name string, keys []Key) string {
	best, at := len(name)/3+2, ""
	for _, k := range keys {
		if d := distance(strings.ToLower(strings.ReplaceAll(name, "-", "_")), k.Name); d < best {
			best, at = d, k.Name
		}
	}
	if at == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", at)
}

// distance is Levenshtein's.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := prev
			if a[i] != b[j] {
				cost = 1 + min(prev, row[j], row[j+1])
			}
			prev, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
