package drill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Promise is one line of the verdict.
type Promise struct {
	Name string // failed, lost, …
	Want string
	Got  string
	Kept bool
	Note string // where, which; may be empty
}

// Result is what came of a drill.
type Result struct {
	Scenario Scenario
	Entry    Entry
	Began    time.Time
	Took     time.Duration
	Sent     []Message // by their beginning
	Copies   []Copy
	Balance  Balance
	Done     []Done
	Findings []Finding
	Answers  []Answer
	Retries  float64 // that the routers counted behind ambiguous results
	Promises []Promise
	routers  []look
}

// Kept says whether every promise held.
func (r *Result) Kept() bool {
	return !slices.ContainsFunc(r.Promises, func(p Promise) bool { return !p.Kept })
}

// result draws the balance and judges it.
func (r *run) result(copies []Copy, took time.Duration) *Result {
	slices.SortFunc(r.sent, func(a, b Message) int { return cmp.Compare(a.Begun(), b.Begun()) })
	slices.SortStableFunc(r.dns, func(a, b Answer) int { return cmp.Compare(a.At, b.At) })
	res := &Result{Scenario: *r.s, Entry: r.entry, Began: r.began, Took: took, Sent: r.sent, Copies: copies, Balance: Account(r.sent, copies), Done: r.done,
		Findings: r.findings(), Answers: r.dns, Retries: r.retries(), routers: r.looks}
	res.judge()
	return res
}

// retries sums what each process of a router counted last.
func (r *run) retries() float64 {
	type process struct {
		router  string
		started int64
	}
	last, base := map[process]float64{}, map[process]float64{}
	for _, l := range r.looks {
		for _, x := range l.all {
			if x.Err == nil {
				p := process{x.Router, x.Started.UnixNano()}
				if _, seen := base[p]; !seen && x.Started.Before(r.began) {
					base[p] = x.Ambiguous // what was there before the drill
				}
				last[p] = x.Ambiguous
			}
		}
	}
	sum := 0.0
	for p, n := range last {
		sum += n - base[p]
	}
	return sum
}

func (r *Result) judge() {
	e, b := &r.Scenario.Expect, &r.Balance
	add := func(name string, kept bool, want, got, note string) {
		r.Promises = append(r.Promises, Promise{name, want, got, kept, note})
	}
	atMost := func(name string, n, most int, note string) {
		want := "0"
		if most > 0 {
			want = fmt.Sprintf("at most %d", most)
		}
		add(name, n <= most, want, fmt.Sprint(n), note)
	}
	add("traffic", b.Messages > 0, "some", fmt.Sprintf("%d messages", b.Messages), "")
	atMost("failed", b.Failed, e.Failed, r.whyFailed())
	if e.Broken >= 0 {
		atMost("broken tries", b.Broken, e.Broken, r.whyBroken())
	}
	if e.Silent >= 0 {
		silent := slices.DeleteFunc(slices.Clone(r.Answers), func(a Answer) bool { return a.Err == "" })
		note := fmt.Sprintf("of %d queries", len(r.Answers))
		if len(silent) > 0 {
			note += ": " + silent[0].Router + ": " + silent[0].Err
		}
		atMost("unanswered queries", len(silent), e.Silent, note)
	}
	atMost("lost", len(b.Lost), 0, some(b.Lost))
	note := some(b.Damaged)
	if b.Foreign > 0 {
		note = strings.TrimSpace(fmt.Sprintf("%s %d copies of what nobody sent", note, b.Foreign))
	}
	atMost("damaged", len(b.Damaged)+b.Foreign, 0, note)
	atMost("doubled", b.Copies, e.Doubled, b.Where())
	if r.counted() {
		add("doubled only where counted", float64(b.Copies) <= r.Retries, fmt.Sprintf("at most %.0f, the routers' ambiguous retries", r.Retries), fmt.Sprint(b.Copies), "")
	}
	r.judgeFindings(e)
	if e.Disturbed > 0 {
		d, note := r.disturbed()
		add("disturbed", d <= e.Disturbed, "at most "+e.Disturbed.String(), short(d), note)
	}
	if e.Slowest > 0 {
		var worst time.Duration
		note := ""
		for i := range r.Sent {
			if t := r.Sent[i].Took(); t > worst {
				worst, note = t, r.Sent[i].Transaction
			}
		}
		add("slowest message", worst <= e.Slowest, "at most "+e.Slowest.String(), short(worst), note)
	}
}

// judgeFindings judges the slowest detection and the slowest recovery; what was never found breaks the promise.
func (r *Result) judgeFindings(e *Expect) {
	for _, x := range []struct {
		name string
		most time.Duration
		ends bool
	}{{"detection", e.Detection, false}, {"recovery", e.Recovery, true}} {
		if x.most == 0 || r.Entry.Blind {
			continue
		}
		p := Promise{Name: x.name, Want: "within " + x.most.String(), Got: "nothing to find", Kept: false}
		var worst time.Duration = -1
		for _, f := range r.Findings {
			switch {
			case f.Ends != x.ends:
			case !f.Found:
				p.Got, p.Note = "never", f.What+" after "+f.Step
				worst = 1 << 62
			case f.Took > worst:
				worst = f.Took
				p.Got, p.Note = short(f.Took), f.What+" after "+f.Step
			}
		}
		p.Kept = worst >= 0 && worst <= x.most
		r.Promises = append(r.Promises, p)
	}
}

// counted says whether extra copies must all be found in the routers' counters: they may not be where a client itself
// posted again, or a router died with its counter.
func (r *Result) counted() bool {
	for _, d := range r.Done {
		kind, _ := targetOf(d.Target)
		if kind == "router" && (d.Do == Kill || d.Do == Retire || d.Do == Upgrade) {
			return false
		}
	}
	for i := range r.Sent {
		if len(r.Sent[i].Tries) > 1 {
			return false
		}
	}
	return true
}

// slow is when a try counts as disturbed.
const slow = time.Second

// disturbed is the longest time from a fault to the last try, begun before the next fault, that broke or was slow; and
// how many there were.
func (r *Result) disturbed() (time.Duration, string) {
	var worst time.Duration
	n := 0
	for i, d := range r.Done {
		if !d.Do.breaks() && d.Do != Slow && d.Do != Cut && d.Do != CutAnswer && d.Do != Upgrade {
			continue
		}
		until := time.Duration(1 << 62)
		for _, next := range r.Done[i+1:] {
			if next.Do.breaks() {
				until = next.Began
				break
			}
		}
		for k := range r.Sent {
			for _, t := range r.Sent[k].Tries {
				end := t.At + t.Took
				if end < d.Began || t.At >= until || t.Outcome == Accepted && t.Took-r.Scenario.Traffic.Slow < slow {
					continue
				}
				n++
				worst = max(worst, min(end, until)-d.Began)
			}
		}
	}
	return worst, fmt.Sprintf("%d tries broke or took longer than %s", n, slow)
}

func (r *Result) whyFailed() string {
	return why(r.Sent, func(m *Message) []Try {
		if m.Accepted() {
			return nil
		}
		return m.Tries[len(m.Tries)-1:]
	})
}

func (r *Result) whyBroken() string {
	return why(r.Sent, func(m *Message) []Try {
		return slices.DeleteFunc(slices.Clone(m.Tries), func(t Try) bool { return t.Outcome != Broken })
	})
}

// why counts the reasons of tries, the most frequent first, three at most.
func why(sent []Message, pick func(*Message) []Try) string {
	n := map[string]int{}
	for i := range sent {
		for _, t := range pick(&sent[i]) {
			n[string(t.Outcome)+": "+t.Why]++
		}
	}
	var keys []string
	for k := range n {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(cmp.Compare(n[b], n[a]), cmp.Compare(a, b)) })
	var parts []string
	for _, k := range keys[:min(len(keys), 3)] {
		parts = append(parts, fmt.Sprintf("%d × %s", n[k], k))
	}
	return strings.Join(parts, "; ")
}

// some names the first of a list.
func some(list []string) string {
	if len(list) > 3 {
		return strings.Join(list[:3], ", ") + " …"
	}
	return strings.Join(list, ", ")
}

// short is a time as people read it.
func short(d time.Duration) string {
	if d >= time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}
