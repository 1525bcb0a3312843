package drill

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
	"time"
)

// The measures of a chart, in SVG units.
const (
	chartWidth  = 960
	chartLeft   = 112
	chartRight  = 14
	plotWidth   = chartWidth - chartLeft - chartRight
	plotTop     = 22
	axisHeight  = 26
	plotHeight  = 170
	rowHeight   = 22
	maxPoints   = 6000 // of a scatter: more can't be told apart
	colourCount = 8    // of MMSCs, in the style sheet
)

// chart draws one SVG over the drill's time.
type chart struct {
	strings.Builder
	r      *Result
	length time.Duration
	height int // of the plot
}

func (r *Result) newChart(title string, height int) *chart {
	c := &chart{r: r, length: max(r.Took, time.Second), height: height}
	fmt.Fprintf(c, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, chartWidth, plotTop+height+axisHeight, html.EscapeString(title))
	return c
}

func (c *chart) x(at time.Duration) float64 {
	return chartLeft + plotWidth*min(max(at.Seconds(), 0)/c.length.Seconds(), 1)
}

// end draws what all charts share, the axis of time and the steps, and gives the picture.
func (c *chart) end() template.HTML {
	bottom := plotTop + c.height
	fmt.Fprintf(c, `<line class="axis" x1="%d" y1="%d" x2="%d" y2="%d"/>`, chartLeft, bottom, chartWidth-chartRight, bottom)
	every := niceStep(c.length.Seconds() / 10)
	for s := 0.0; s <= c.length.Seconds(); s += every {
		x := c.x(time.Duration(s * float64(time.Second)))
		fmt.Fprintf(c, `<line class="axis" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text class="tick" x="%.1f" y="%d" text-anchor="middle">%gs</text>`, x, bottom, x, bottom+4, x, bottom+17, s)
	}
	last := -100.0
	for i, d := range c.r.Done {
		x := c.x(d.Began)
		label := x
		if label < last+16 {
			label = last + 16 // steps that are close share no label
		}
		last = label
		fmt.Fprintf(c, `<g class="step"><title>%d: %s at %s</title><line x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><circle cx="%.1f" cy="10" r="8"/><text x="%.1f" y="13.5" text-anchor="middle">%d</text></g>`,
			i+1, html.EscapeString(d.String()), short(d.Began), x, plotTop-4, x, bottom, label, label, i+1)
	}
	c.WriteString("</svg>")
	return template.HTML(c.String()) // every text in it has been escaped
}

// niceStep rounds up to 1, 2 or 5 times a power of ten.
func niceStep(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(max(v, 1e-3))))
	for _, n := range []float64{1, 2, 5} {
		if n*p >= v {
			return n * p
		}
	}
	return 10 * p
}

// bars draws stacked bars over time; layer i of each bucket has the class classes[i].
func (c *chart) bars(buckets [][]float64, classes []string) {
	most := 1.0
	for _, b := range buckets {
		sum := 0.0
		for _, v := range b {
			sum += v
		}
		most = max(most, sum)
	}
	every := niceStep(most / 4)
	for v := every; v <= most; v += every {
		at := float64(plotTop+c.height) - float64(c.height)*v/most
		fmt.Fprintf(c, `<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/><text class="tick" x="%d" y="%.1f" text-anchor="end">%g</text>`,
			chartLeft, at, chartWidth-chartRight, at, chartLeft-6, at+4, v)
	}
	width := float64(plotWidth) / float64(len(buckets))
	for i, b := range buckets {
		base := float64(plotTop + c.height)
		for k, v := range b {
			if v == 0 {
				continue
			}
			h := float64(c.height) * v / most
			base -= h
			fmt.Fprintf(c, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, classes[k], float64(chartLeft)+float64(i)*width, base, max(width-1, 0.5), h)
		}
	}
}

// strip is a stretch of a row.
type strip struct {
	from, to time.Duration
	class    string
	text     string
}

// rows draws named rows of strips.
func (r *Result) rows(title string, names []string, strips map[string][]strip) template.HTML {
	c := r.newChart(title, max(len(names), 1)*rowHeight)
	for i, name := range names {
		y := plotTop + i*rowHeight
		fmt.Fprintf(c, `<text class="name" x="%d" y="%d" text-anchor="end">%s</text>`, chartLeft-6, y+15, html.EscapeString(name))
		for _, s := range merge(strips[name]) {
			fmt.Fprintf(c, `<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d"><title>%s: %s, %s to %s</title></rect>`, s.class, c.x(s.from), y+3, max(c.x(s.to)-c.x(s.from), 0.5), rowHeight-6,
				html.EscapeString(name), html.EscapeString(s.text), short(s.from), short(s.to))
		}
	}
	return c.end()
}

// merge joins strips that say the same and between which no time has passed.
func merge(all []strip) []strip {
	var out []strip
	for _, s := range all {
		if n := len(out); n > 0 && out[n-1].text == s.text && out[n-1].class == s.class && s.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, s.to)
			continue
		}
		out = append(out, s)
	}
	return out
}
