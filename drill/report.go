package drill

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// WriteMarkdown writes the reports of drills, each with its verdict, as Markdown.
func WriteMarkdown(w io.Writer, results []*Result) error {
	var b strings.Builder
	if len(results) > 1 {
		b.WriteString("# Failover drills\n\n| drill | verdict | messages | failed | lost | doubled |\n|---|---|---:|---:|---:|---:|\n")
		for _, r := range results {
			fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d |\n", r.Scenario.Name, r.verdict(), r.Balance.Messages, r.Balance.Failed, len(r.Balance.Lost), r.Balance.Copies)
		}
		b.WriteString("\n")
	}
	for _, r := range results {
		r.markdown(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) verdict() string {
	if r.Kept() {
		return "kept"
	}
	return "**broken**"
}

func (r *Result) markdown(b *strings.Builder) {
	s := &r.Scenario
	fmt.Fprintf(b, "# Drill %s: %s\n\n%s\n\n", s.Name, s.Title, strings.TrimSpace(s.About))
	fmt.Fprintf(b, "Begun %s, took %s. %s\n\n## Verdict: every promise %s\n\n", r.Began.UTC().Format("2006-01-02 15:04:05 UTC"), short(r.Took), r.traffic(), map[bool]string{
		true: "kept", false: "— **no: broken**"}[r.Kept()])
	b.WriteString("| promise | wanted | found | | |\n|---|---|---|---|---|\n")
	for _, p := range r.Promises {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", p.Name, p.Want, p.Got, map[bool]string{true: "kept", false: "**broken**"}[p.Kept], cell(p.Note))
	}
	b.WriteString("\n## What was done\n\n| at | step | in effect after |\n|---:|---|---:|\n")
	for _, d := range r.Done {
		fmt.Fprintf(b, "| %s | %s | %s |\n", short(d.Began), d.Step, short(d.Took))
	}
	if len(r.Findings) > 0 {
		b.WriteString("\n## Detection and recovery\n\n| after | seen | time | last by |\n|---|---|---:|---|\n")
		for _, f := range r.Findings {
			fmt.Fprintf(b, "| %s | %s | %s | %s |\n", f.Step, f.What, f.time(), f.By)
		}
	}
	b.WriteString("\n## Who served\n\n| MMSC | copies |\n|---|---:|\n")
	for _, name := range r.mmscs() {
		fmt.Fprintf(b, "| %s | %d |\n", name, r.Balance.Served[name])
	}
	p50, p99, most := r.latencies()
	fmt.Fprintf(b, "\nTime to the answer, all tries together: half of the messages within %s, 99 %% within %s, the slowest %s.\n", short(p50), short(p99), short(most))
	for _, d := range r.Balance.Doubled[:min(len(r.Balance.Doubled), 20)] {
		fmt.Fprintf(b, "- doubled: %s at %s%s\n", d.Transaction, strings.Join(d.MMSCs, " and "), map[bool]string{true: " (possibly: an answer got lost)"}[d.Unsure])
	}
	b.WriteString("\n")
}

func (r *Result) traffic() string {
	b, t := &r.Balance, &r.Scenario.Traffic
	text := fmt.Sprintf("%d messages in %d tries from %d clients, %d of which never ask DNS again: %d accepted, %d given up.", b.Messages, b.Tries, t.Clients, t.Sticky, b.Accepted, b.Failed)
	if r.Entry.Blind {
		text += " The MMSCs' part of the account is what the routers remember; detection was told nothing, and is not judged."
	}
	if b.Stray > 0 {
		text += fmt.Sprintf(" %d of those given up are stored all the same.", b.Stray)
	}
	return text
}

func (f *Finding) time() string {
	if !f.Found {
		return "never"
	}
	return short(f.Took)
}

// mmscs names those that have copies, sorted.
func (r *Result) mmscs() []string {
	var names []string
	for n := range r.Balance.Served {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// latencies gives the median, the 99th percentile and the slowest of all messages.
func (r *Result) latencies() (p50, p99, most time.Duration) {
	var all []time.Duration
	for i := range r.Sent {
		all = append(all, r.Sent[i].Took())
	}
	if len(all) == 0 {
		return 0, 0, 0
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100], all[len(all)-1]
}

// cell keeps a text inside its cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "\r", " ", "<", "&lt;").Replace(s)
}
