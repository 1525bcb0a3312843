// Package strict reads a YAML file into a struct and takes no half measures: every unknown or repeated
// key and every value of a wrong kind is a mistake with its file, line, key and what is allowed there, and
// all of them are told in one go. Keys that stand there without a value count as left out.
//
// It owns the way from octets to a filled struct and from a key back to its line, so that what a
// Validate method finds later can be shown at its place too.
package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// MaxFile bounds a configuration file, in octets; maxNodes what aliases may make of it.
const (
	MaxFile  = 4 << 20
	maxNodes = 200_000
)

// Mistake is one thing that is wrong with a file.
type Mistake struct {
	File string
	Line int    // 0: no line can be named
	Key  string // path such as mm1.listen, mmscs[1].url; "" for the file as a whole
	Text string // what is allowed
}

// Error is "file:line: key: text".
func (m Mistake) Error() string {
	var b strings.Builder
	b.WriteString(m.File)
	if m.Line > 0 {
		fmt.Fprintf(&b, ":%d", m.Line)
	}
	if m.Key != "" {
		b.WriteString(": " + m.Key)
	}
	return b.String() + ": " + m.Text
}

// Mistakes is all that is wrong with a file, in the order of its lines.
type Mistakes []Mistake

// Error has one line a mistake.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i := range m {
		lines[i] = m[i].Error()
	}
	return strings.Join(lines, "\n")
}

func (m Mistakes) sorted() Mistakes {
	slices.SortStableFunc(m, func(a, b Mistake) int { return a.Line - b.Line })
	return slices.Compact(m)
}

// Document knows where each key of a file stands.
type Document struct {
	File  string
	lines map[string]int
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// Decode reads data over what out (a pointer to a struct) already holds: keys that are absent keep their
// value. The error is of type Mistakes; out is then in an undefined state.
func Decode(file string, data []byte, out any) (*Document, error) {
	d := &Document{File: file, lines: map[string]int{}}
	if len(data) > MaxFile {
		return d, Mistakes{{File: file, Text: fmt.Sprintf("larger than %d octets", MaxFile)}}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var root yaml.Node
	switch err := dec.Decode(&root); {
	case errors.Is(err, io.EOF):
		return d, nil
	case err != nil:
		return d, Mistakes{d.misread(data, err)}
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		if err != nil {
			return d, Mistakes{d.misread(data, err)}
		}
		return d, Mistakes{{File: file, Line: second.Line, Text: "a second document begins; want one"}}
	}
	top := root.Content[0]
	w := walker{doc: d, budget: maxNodes}
	w.value(top, typeOf(out), "")
	if len(w.found) > 0 {
		return d, w.found.sorted()
	}
	if empty(top) {
		return d, nil
	}
	if err := top.Decode(out); err != nil {
		var te *yaml.TypeError
		if !errors.As(err, &te) {
			return d, Mistakes{d.syntax(err)}
		}
		var all Mistakes
		for _, e := range te.Errors {
			all = append(all, d.syntax(errors.New(e)))
		}
		return d, all.sorted()
	}
	return d, nil
}

// syntax turns yaml's own wording into a Mistake.
func (d *Document) syntax(err error) Mistake {
	m := Mistake{File: d.File, Text: err.Error()}
	if loc := yamlLine.FindStringSubmatch(m.Text); loc != nil {
		m.Text = m.Text[len(loc[0]):]
		m.Line, _ = strconv.Atoi(loc[1]) // no number: line 0, which means none
	}
	return m
}

var keyPath = regexp.MustCompile(`^[a-z0-9_]+(?:\[\d+\])?(?:\.[A-Za-z0-9_-]+(?:\[\d+\])?)*`)

// Place gives what a Validate method returned as Mistakes: each error whose text begins with a key is
// shown at the line of that key, or of the nearest one above it that stands in the file.
func (d *Document) Place(err error) Mistakes {
	var all Mistakes
	for _, e := range flatten(err) {
		text := e.Error()
		m := Mistake{File: d.File, Text: text}
		key := keyPath.FindString(text)
		switch rest := text[len(key):]; {
		case key == "":
		case strings.HasPrefix(rest, ": "):
			m.Key, m.Text, m.Line = key, strings.TrimPrefix(rest, ": "), d.Line(key)
		case strings.HasPrefix(rest, " ("): // the key and in words which one it is
			m.Line = d.Line(key)
		}
		all = append(all, m)
	}
	return all.sorted()
}

// Line is where a key stands; if it does not, where the nearest key above it stands; else 0.
func (d *Document) Line(key string) int {
	for key != "" {
		if n, ok := d.lines[key]; ok {
			return n
		}
		cut := strings.LastIndexAny(key, ".[")
		if cut < 0 {
			return 0
		}
		key = key[:cut]
	}
	return 0
}

// Has tells whether a key stands in the file with a value.
func (d *Document) Has(key string) bool { _, ok := d.lines[key]; return ok }

// flatten takes joined errors apart.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range j.Unwrap() {
			all = append(all, flatten(e)...)
		}
		return all
	}
	return []error{err}
}
