package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxSearch bounds the octets that are parsed again to find the line of a mistake in the syntax.
const maxSearch = 16 << 20

// misread makes the mistake of a file that is no YAML. yaml names the line where the construct around the mistake began, or none; what
// helps a writer is the line behind the last that makes sense.
func (d *Document) misread(data []byte, err error) Mistake {
	m := d.syntax(err)
	lines := strings.SplitAfter(string(data), "\n")
	n, ok := firstBad(data, lines)
	if !ok {
		return m
	}
	said := m.Text
	m.Line, m.Text = diagnose(lines, n)
	m.Text += " (" + strings.TrimPrefix(said, "yaml: ") + ")"
	return m
}

// firstBad gives the index of the line behind the longest run of whole lines that parses.
func firstBad(data []byte, lines []string) (int, bool) {
	budget := maxSearch
	r := &lineReader{lines: lines}
	if parses(r) {
		return 0, false
	}
	size := 0 // of the lines that yaml had seen when it gave up: what comes after them can't be the mistake
	for _, l := range lines[:r.next] {
		size += len(l)
	}
	for n := r.next; n > 0; n-- {
		size -= len(lines[n-1])
		if budget -= size; budget < 0 {
			return 0, false
		}
		if parses(bytes.NewReader(data[:size])) {
			return n - 1, true
		}
	}
	return 0, false
}

func parses(r io.Reader) bool {
	dec := yaml.NewDecoder(r)
	for {
		var n yaml.Node
		switch err := dec.Decode(&n); {
		case errors.Is(err, io.EOF):
			return true
		case err != nil:
			return false
		}
	}
}

// lineReader hands out a line a time and so shows how far its reader came.
type lineReader struct {
	lines []string
	next  int
	rest  string
}

// Read implements io.Reader.
func (r *lineReader) Read(p []byte) (int, error) {
	for r.rest == "" {
		if r.next == len(r.lines) {
			return 0, io.EOF
		}
		r.rest = r.lines[r.next]
		r.next++
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// diagnose says in words what is most likely wrong at line i (from 0), and in which line (from 1) that is.
func diagnose(lines []string, i int) (int, string) {
	line := strings.TrimRight(lines[i], "\r\n")
	if lead := line[:len(line)-len(strings.TrimLeft(line, " \t"))]; strings.Contains(lead, "\t") {
		return i + 1, "a tab stands in front of the line: want spaces"
	}
	if at, text := unclosed(lines, i); text != "" {
		return at + 1, text
	}
	const noColon = `": " is missing: a line is a key, a colon, a space and a value`
	if before := above(lines, i); before >= 0 && indent(lines[before]) == indent(line) && bare(lines[before]) && strings.Contains(line, ":") {
		return before + 1, noColon
	}
	if text := misplaced(lines[:i], line); text != "" {
		return i + 1, text
	}
	if bare(line) {
		return i + 1, noColon
	}
	_, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
	switch value = strings.TrimSpace(value); {
	case value == "":
	case strings.ContainsRune("@`%&*!|>", rune(value[0])):
		return i + 1, fmt.Sprintf("a value that begins with %q needs quotes", value[:1])
	case strings.Contains(value, ": "), strings.HasSuffix(value, ":"):
		return i + 1, `a second ": " stands in one value: put the value in quotes, or the second key in a line of its own`
	case strings.HasPrefix(value, "- "):
		return i + 1, `a list begins in the line of its key: want "- " in a line of its own`
	}
	return i + 1, "what stands here does not go on from the lines above"
}

// misplaced compares the indentation of a line with those above that are still open.
func misplaced(before []string, line string) string {
	var open []int // columns at which keys or list entries stand
	last := ""
	for _, l := range before {
		if blank(l) {
			continue
		}
		col := indent(l)
		for len(open) > 0 && open[len(open)-1] > col {
			open = open[:len(open)-1]
		}
		rest := strings.TrimLeft(l, " ")
		for strings.HasPrefix(rest, "- ") {
			open = append(open, col)
			inner := strings.TrimLeft(rest[2:], " ")
			col, rest = col+len(rest)-len(inner), inner
		}
		open, last = append(open, col), strings.TrimSpace(l)
	}
	if last == "" || slices.Contains(open, indent(line)) || strings.HasSuffix(last, ":") && indent(line) > open[len(open)-1] {
		return ""
	}
	slices.Sort(open)
	var cols []string
	for _, c := range slices.Compact(open) {
		cols = append(cols, fmt.Sprint(c))
	}
	return fmt.Sprintf("indented by %d, which differs from its neighbours: the lines above that it may go on from have %s", indent(line), strings.Join(cols, ", "))
}

// unclosed follows brackets and quotes from line i on; text is "" when all that begins there is closed.
func unclosed(lines []string, i int) (at int, text string) {
	type bracket struct {
		c    byte
		line int
	}
	var open []bracket
	for n := i; n < len(lines); n++ {
		begin := true // a value may begin here
		for l, j := strings.TrimRight(lines[n], "\r\n"), 0; j < len(l); j++ {
			c := l[j]
			switch {
			case c == '#' && (j == 0 || l[j-1] == ' '):
				j = len(l)
			case (c == '"' || c == '\'') && begin:
				end := closing(l, j)
				if end < 0 {
					return n, fmt.Sprintf("a quote (%c) is opened here and not closed", c)
				}
				j, begin = end, false
			case (c == '[' || c == '{') && (begin || len(open) > 0):
				open, begin = append(open, bracket{c, n}), true
			case (c == ']' || c == '}') && len(open) > 0:
				top := open[len(open)-1]
				if c != top.c+2 { // in ASCII, ] and } stand two behind their partners
					return top.line, fmt.Sprintf(`"%c" is opened here, but "%c" in line %d stands where "%c" should`, top.c, c, n+1, top.c+2)
				}
				open, begin = open[:len(open)-1], false
			case c == ' ':
			default:
				begin = (c == ':' || c == '-' || c == '?') && (j+1 == len(l) || l[j+1] == ' ') || c == ',' && len(open) > 0
			}
		}
		if len(open) == 0 {
			return 0, ""
		}
	}
	return open[0].line, fmt.Sprintf(`"%c" is opened here and not closed by "%c"`, open[0].c, open[0].c+2)
}

// closing gives the index of the quote that ends the one at l[j]; -1: none in this line.
func closing(l string, j int) int {
	for q, k := l[j], j+1; k < len(l); k++ {
		switch {
		case l[k] == '\\' && q == '"':
			k++
		case l[k] == q && q == '\'' && k+1 < len(l) && l[k+1] == q:
			k++ // '' is a quote within
		case l[k] == q:
			return k
		}
	}
	return -1
}

func indent(l string) int { return len(l) - len(strings.TrimLeft(l, " ")) }

func blank(l string) bool {
	l = strings.TrimSpace(l)
	return l == "" || l[0] == '#'
}

// above gives the nearest line above i that says something; -1: none.
func above(lines []string, i int) int {
	for i--; i >= 0 && blank(lines[i]); i-- {
	}
	return i
}

// bare tells whether a line is neither a key nor an entry of a list.
func bare(l string) bool {
	l = strings.TrimSpace(l)
	return !strings.Contains(l, ": ") && !strings.HasSuffix(l, ":") && !strings.HasPrefix(l, "- ") && l != "-" && l != "---"
}
