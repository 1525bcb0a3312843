package measure

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Table collects samples by row and column and prints the median with minimum and maximum. The first
// row is the one that the others are compared with, if Ratio is set.
type Table struct {
	Title string
	Unit  string
	Ratio string // name of the row whose median is the divisor; "" prints no ratios

	rows, cols []string
	cells      map[[2]string]*cell
}

type cell struct {
	samples []float64
	text    string
}

// NewTable makes one with its columns in this order; rows appear as they come.
func NewTable(title, unit, ratio string, cols ...string) *Table {
	return &Table{Title: title, Unit: unit, Ratio: ratio, cols: cols, cells: map[[2]string]*cell{}}
}

func (t *Table) cell(row, col string) *cell {
	if !slices.Contains(t.rows, row) {
		t.rows = append(t.rows, row)
	}
	if !slices.Contains(t.cols, col) {
		t.cols = append(t.cols, col)
	}
	c := t.cells[[2]string{row, col}]
	if c == nil {
		c = &cell{}
		t.cells[[2]string{row, col}] = c
	}
	return c
}

// Add adds a sample.
func (t *Table) Add(row, col string, v float64) {
	c := t.cell(row, col)
	c.samples = append(c.samples, v)
}

// Note puts words into a cell instead of figures ("failed: …").
func (t *Table) Note(row, col, text string) { t.cell(row, col).text = text }

// Median gives the middle of a cell's samples, NaN without any.
func (t *Table) Median(row, col string) float64 {
	c := t.cells[[2]string{row, col}]
	if c == nil {
		return math.NaN()
	}
	return Median(c.samples)
}

// Median is the middle value, the mean of the two middle ones for an even count, NaN for none.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// Figure prints three significant digits without an exponent.
func Figure(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case v == math.Trunc(v) && a < 1e6:
		return fmt.Sprintf("%.0f", v)
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func (t *Table) text(row, col string) string {
	c := t.cells[[2]string{row, col}]
	switch {
	case c == nil:
		return "-"
	case len(c.samples) == 0:
		return c.text
	}
	m := Median(c.samples)
	s := Figure(m)
	if lo, hi := slices.Min(c.samples), slices.Max(c.samples); lo != hi {
		s += fmt.Sprintf(" (%s–%s)", Figure(lo), Figure(hi))
	}
	if base := t.Median(t.Ratio, col); t.Ratio != "" && row != t.Ratio && base > 0 {
		s += fmt.Sprintf(" ×%.2f", m/base)
	}
	if c.text != "" {
		s += " " + c.text
	}
	return s
}

// Print writes the table as Markdown.
func (t *Table) Print(w io.Writer) {
	grid := [][]string{append([]string{""}, t.cols...)}
	for _, r := range t.rows {
		line := []string{r}
		for _, c := range t.cols {
			line = append(line, t.text(r, c))
		}
		grid = append(grid, line)
	}
	width := make([]int, len(grid[0]))
	for _, line := range grid {
		for i, s := range line {
			width[i] = max(width[i], utf8.RuneCountInString(s))
		}
	}
	fmt.Fprintf(w, "\n%s", t.Title)
	if t.Unit != "" {
		fmt.Fprintf(w, " [%s]", t.Unit)
	}
	if t.Ratio != "" {
		fmt.Fprintf(w, "; median (min–max), × = of %s", t.Ratio)
	}
	fmt.Fprint(w, "\n\n")
	for n, line := range grid {
		for i, s := range line {
			fmt.Fprintf(w, "| %s%s ", s, strings.Repeat(" ", width[i]-utf8.RuneCountInString(s)))
		}
		fmt.Fprintln(w, "|")
		if n == 0 {
			for _, k := range width {
				fmt.Fprintf(w, "|%s", strings.Repeat("-", k+2))
			}
			fmt.Fprintln(w, "|")
		}
	}
}
