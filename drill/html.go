package drill

import (
	_ "embed"
	"html/template"
	"io"
	"strings"
)

//go:embed report.html
var reportText string

var reportTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"short": short, "inc": func(i int) int { return i + 1 }, "mod": func(i int) int { return i % colourCount },
	"paragraphs": func(s string) []string { return strings.Split(strings.TrimSpace(s), "\n\n") },
}).Parse(reportText))

// page is one drill as the report shows it.
type page struct {
	*Result
	Latency, Outcomes, Served, States, DNS template.HTML
	P50, P99, Most                         string
	MMSCs                                  []string
	Summary                                string
	Doublings                              []Doubling
}

// WriteHTML writes the reports of drills as one HTML page that loads nothing: its charts are SVG inside it.
func WriteHTML(w io.Writer, results []*Result) error {
	pages := make([]page, len(results))
	for i, r := range results {
		p50, p99, most := r.latencies()
		p := page{Result: r, Latency: r.latency(), Outcomes: r.outcomes(), Served: r.served(), States: r.states(), P50: short(p50), P99: short(p99), Most: short(most),
			MMSCs: r.mmscs(), Summary: r.traffic(), Doublings: r.Balance.Doubled[:min(len(r.Balance.Doubled), 20)]}
		if len(r.Answers) > 0 {
			p.DNS = r.answers()
		}
		pages[i] = p
	}
	return reportTemplate.Execute(w, pages)
}
