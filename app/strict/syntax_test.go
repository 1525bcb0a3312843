package strict_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/app/strict"
)

const whole = `node: {name: r1}
dns:
  zones:
    - name: mms.example.net
      addresses: ["192.0.2.10"]   # the router's own
      ttl: 30s
mm1:
  listen: ["0.0.0.0:80"]
  url: http://mms.example.net/
mmscs:
  - {name: mmsc-a, url: "http://192.0.2.21:8080/", probe: {type: mm1}}
  - name: mmsc-b
    url: "http://192.0.2.22:8080/"
    probe: {type: mm1}
    weight: 1
mmsc:
  hold: {expiry: 1h}
`

func TestSyntax(t *testing.T) {
	tests := []struct {
		name, from, to string // from "": to is the file
		line           int
		says           string
	}{
		{"one too deep", "  url: http", "   url: http", 9, "indented by 3, which differs from its neighbours: the lines above that it may go on from have 0, 2"},
		{"one too deep in a list", "    url: \"", "     url: \"", 13, "indented by 5, which differs from its neighbours: the lines above that it may go on from have 0, 2, 4"},
		{"too little", "  url: http", " url: http", 9, "indented by 1, which differs"},
		{"too little in a list", "    probe: {type: mm1}\n", "   probe: {type: mm1}\n", 14, "indented by 3, which differs"},
		{"the wrong bracket", `["192.0.2.10"]`, `["192.0.2.10"}`, 5, `"[" is opened here, but "}" in line 5 stands where "]" should`},
		{"an open list", `["192.0.2.10"]`, `["192.0.2.10"`, 5, `"[" is opened here and not closed by "]"`},
		{"an open mapping", "    probe: {type: mm1}\n", "    probe: {type: mm1\n", 14, `"{" is opened here and not closed by "}"`},
		{"open within an entry", "probe: {type: mm1}}\n", "probe: {type: mm1}\n", 11, `"{" is opened here and not closed`},
		{"open in the last line", "{expiry: 1h}", "{expiry: 1h", 17, `"{" is opened here and not closed`},
		{"one of several lines", `["192.0.2.10"]`, "[\n  {a: b},\n  {c: d\n  ]", 7, `"{" is opened here, but "]" in line 8 stands where "}" should`},
		{"an open quote", `["192.0.2.10"]`, `["192.0.2.10]`, 5, `a quote (") is opened here and not closed`},
		{"an open quote of a value", `url: "http://192.0.2.22:8080/"`, `url: "http://192.0.2.22:8080/`, 13, `a quote (") is opened here and not closed`},
		{"an open single quote", `name: mms.example.net`, `name: 'mms.example.net`, 4, `a quote (') is opened here and not closed`},
		{"no colon", "  listen: [", "  listen [", 8, `": " is missing`},
		{"no colon in a list", "    probe: {type: mm1}\n", "    probe\n", 14, `": " is missing`},
		{"no space", "    weight: 1", "    weight:1\n    x: y", 15, `": " is missing`},
		{"a tab", "  url: http", "\turl: http", 9, "a tab stands in front of the line: want spaces"},
		{"spaces and a tab", "  url: http", " \turl: http", 9, "a tab stands in front of the line: want spaces"},
		{"two in one value", "ttl: 30s", "ttl: 30s: 5", 6, `a second ": " stands in one value`},
		{"an apostrophe is no quote", "ttl: 30s", "ttl: it's: 5", 6, `a second ": " stands in one value`},
		{"a sign of yaml's", "ttl: 30s", "ttl: @30s", 6, `a value that begins with "@" needs quotes`},
		{"a list in its key's line", "ttl: 30s", "ttl: - 30s", 6, "a list begins in the line of its key"},
		{"three lines", "", "mm1:\n   a: b\n  c: d", 3, "indented by 2, which differs from its neighbours"},
		{"one line", "", "a: b: c", 1, `a second ": " stands in one value`},
		{"braces", "", "{{{{ : \n - x", 1, `"{" is opened here and not closed`},
		{"an unknown alias", "", "a: b\nc: *x\n", 2, `a value that begins with "*" needs quotes (unknown anchor 'x' referenced)`},
		{"a control character", "", "a: b\nc: \x01\n", 2, "control characters are not allowed"},
		{"in a second document", "", "a: b\n---\na: b: c", 3, `a second ": " stands in one value`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			text := tc.to
			if tc.from != "" {
				if text = strings.Replace(whole, tc.from, tc.to, 1); text == whole {
					t.Fatal("the case changes nothing")
				}
			}
			var out map[string]any
			_, err := strict.Decode("f.yaml", []byte(text), &out)
			want := fmt.Sprintf("f.yaml:%d: ", tc.line)
			if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got  %v\nwant %s%s", err, want, tc.says)
			}
		})
	}
}

// The line is looked for in bounded time, however large the file.
func TestSyntaxOfLargeFiles(t *testing.T) {
	const entries = 10_000
	many := strings.Repeat("  - {name: a, url: x}\n", entries)
	for _, tc := range []struct {
		name, text string
		line       int // 0: any
	}{
		{"at the end", "a:\n" + many + "   b: c\n", 2 + entries},
		{"an open quote at the beginning", "q: \"\na:\n" + many, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			began := time.Now()
			var out map[string]any
			_, err := strict.Decode("f.yaml", []byte(tc.text), &out)
			var all strict.Mistakes
			if !errors.As(err, &all) || len(all) != 1 || tc.line != 0 && all[0].Line != tc.line {
				t.Errorf("%v, want line %d", err, tc.line)
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("took %s", took)
			}
		})
	}
}
