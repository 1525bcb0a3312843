package strict_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mmsrouter/mmsrouter/app/strict"
)

type level string

func (l *level) UnmarshalText(b []byte) error {
	if string(b) != "low" && string(b) != "high" {
		return fmt.Errorf("%q: want low or high", b)
	}
	*l = level(b)
	return nil
}

type pair struct{ A, B int }

func (p *pair) UnmarshalYAML(n *yaml.Node) error {
	_, err := fmt.Sscanf(n.Value, "%d/%d", &p.A, &p.B)
	return err
}

type inner struct {
	Timeout time.Duration `yaml:"timeout"`
	Retry   bool          `yaml:"retry"`
}

type outer struct {
	Listen []string       `yaml:"listen"`
	Count  int            `yaml:"count"`
	Level  level          `yaml:"level"`
	Pair   pair           `yaml:"pair"`
	Inner  inner          `yaml:"inner"`
	Many   []inner        `yaml:"many"`
	Names  map[string]int `yaml:"names"`
	Ptr    *inner         `yaml:"ptr"`
	Hidden string         `yaml:"-"`
	inner  int
}

func defaults() outer {
	return outer{Listen: []string{"a"}, Count: 7, Level: "low", Inner: inner{Timeout: time.Second}}
}

func TestGoodFiles(t *testing.T) {
	tests := []struct {
		name, text string
		want       func(*outer)
	}{
		{"empty", "", func(*outer) {}},
		{"only a comment", "# nothing\n", func(*outer) {}},
		{"one key keeps its siblings' defaults", "inner: {retry: true}", func(o *outer) { o.Inner.Retry = true }},
		{"keys without a value are left out", "listen:\ninner:\n  timeout:\ncount:\n", func(*outer) {}},
		{"every kind", "listen: [x, y]\ncount: 0x10\nlevel: high\npair: 3/4\nmany: [{timeout: 5m}]\nnames: {z: 1}\nptr: {retry: true}\n",
			func(o *outer) {
				o.Listen, o.Count, o.Level, o.Pair = []string{"x", "y"}, 16, "high", pair{3, 4}
				o.Many, o.Names, o.Ptr = []inner{{Timeout: 5 * time.Minute}}, map[string]int{"z": 1}, &inner{Retry: true}
			}},
		{"anchors and merges", "many:\n - &m {timeout: 2s}\n - {<<: *m, retry: true}\n",
			func(o *outer) { o.Many = []inner{{Timeout: 2 * time.Second}, {2 * time.Second, true}} }},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, want := defaults(), defaults()
			tc.want(&want)
			if _, err := strict.Decode("f.yaml", []byte(tc.text), &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown key", "count: 1\nlisten_on: [a]", `f.yaml:2: listen_on: unknown key, did you mean "listen"?; known here: listen, count,`},
		{"unknown key within", "inner:\n  time-out: 5s", `f.yaml:2: inner.time-out: unknown key, did you mean "timeout"?; known here: timeout, retry`},
		{"unknown key in a list", "many:\n- {retry: true}\n- {x: 1}", `f.yaml:3: many[1].x: unknown key; known here: timeout, retry`},
		{"hidden field", "hidden: x", "f.yaml:1: hidden: unknown key"},
		{"twice", "count: 1\ncount: 2", "f.yaml:2: count: stands here a second time; the first is in line 1"},
		{"bare number for a duration", "inner: {timeout: 5}", `f.yaml:1: inner.timeout: "5": want a duration such as 500ms, 30s or 5m`},
		{"negative duration", "inner: {timeout: -5s}", `f.yaml:1: inner.timeout: "-5s": want a duration`},
		{"word for a number", "count: many", `f.yaml:1: count: "many": want a whole number`},
		{"a fraction for a whole number", "count: 0.5", `f.yaml:1: count: "0.5": want a whole number`},
		{"an exponent", "count: 1e3", `f.yaml:1: count: "1e3": want a whole number`},
		{"base 8 by a zero in front", "names: {a: 010}", `f.yaml:1: names.a: "010": want a whole number`},
		{"word for a flag", "inner: {retry: maybe}", `f.yaml:1: inner.retry: "maybe": want true or false`},
		{"scalar for a list", "listen: a", "f.yaml:1: listen: want a list"},
		{"list for a scalar", "count: [1]", "f.yaml:1: count: a list stands here: want a whole number"},
		{"scalar for keys", "inner: 5", "f.yaml:1: inner: want keys of its own: timeout, retry"},
		{"a type's own word", "level: middle", `f.yaml:1: level: "middle": want low or high`},
		{"scalar for a map", "names: 5", "f.yaml:1: names: want names with values"},
		{"syntax", "count: 1\n\tlevel: low", "f.yaml:2: a tab stands in front of the line"},
		{"two documents", "count: 1\n---\ncount: 2", "a second document begins"},
		{"a list as the file", "- a", "f.yaml:1: want keys of its own"},
		{"alias bomb", bomb(), "values, aliases followed"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			o := defaults()
			_, err := strict.Decode("f.yaml", []byte(tc.text), &o)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

// bomb is a file whose aliases stand for millions of values.
func bomb() string {
	var m strings.Builder
	m.WriteString("many:\n - &i0 {retry: true}\n")
	m.WriteString(" - &i1 {<<: [" + strings.TrimSuffix(strings.Repeat("*i0,", 100), ",") + "]}\n")
	for i := 2; i < 6; i++ {
		fmt.Fprintf(&m, " - &i%d {<<: [%s]}\n", i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*i%d,", i-1), 100), ","))
	}
	return m.String()
}

func TestEveryMistakeInOneGo(t *testing.T) {
	o := defaults()
	_, err := strict.Decode("f.yaml", []byte("cuont: 1\ninner: {timeout: x, retry: y}\nlevel: z\n"), &o)
	var all strict.Mistakes
	if !errors.As(err, &all) || len(all) != 4 {
		t.Fatalf("%d mistakes: %v", len(all), err)
	}
	for i, line := range []int{1, 2, 2, 3} {
		if all[i].Line != line {
			t.Errorf("mistake %d in line %d, want %d: %v", i, all[i].Line, line, all[i])
		}
	}
}

func TestPlace(t *testing.T) {
	o := defaults()
	d, err := strict.Decode("f.yaml", []byte("count: 3\nmany:\n  - timeout: 1s\n  - retry: true\n    timeout: 3s\n"), &o)
	if err != nil {
		t.Fatal(err)
	}
	got := d.Place(errors.Join(
		errors.New("many[1].timeout: 3s: want less"),
		errors.Join(errors.New("count: 3: want 1"), fmt.Errorf("many[0].retry: %w", errors.New("wanted"))),
		errors.New("inner.timeout: absent from the file"),
		errors.New("something else"), errors.New("many[1] (the second): want less")))
	want := "f.yaml: inner.timeout: absent from the file\nf.yaml: something else\nf.yaml:1: count: 3: want 1\n" +
		"f.yaml:3: many[0].retry: wanted\nf.yaml:4: many[1] (the second): want less\nf.yaml:5: many[1].timeout: 3s: want less"
	if got.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", got.Error(), want)
	}
	if d.Place(nil) != nil {
		t.Error("no error has a place")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("count: 1\ninner: {timeout: 5s}\n")
	f.Add("many:\n - &m {timeout: 2s}\n - {<<: *m, retry: true}\n")
	f.Add("? [a]: b\n")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, s string) {
		o := defaults()
		if _, err := strict.Decode("f", []byte(s), &o); err != nil && err.Error() == "" {
			t.Error("a mistake without a word")
		}
	})
}
