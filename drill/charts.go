package drill

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"time"
)

// latency is a point for each message: when it was begun, and how long its client waited, on a logarithmic scale.
func (r *Result) latency() template.HTML {
	c := r.newChart("Time to the answer", plotHeight)
	_, _, most := r.latencies()
	low, high := math.Log10(0.5), math.Log10(max(float64(most.Milliseconds()), 100)*1.3)
	y := func(d time.Duration) float64 {
		v := math.Log10(max(float64(d.Microseconds())/1000, 0.5))
		return plotTop + plotHeight*(1-(v-low)/(high-low))
	}
	for _, d := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second, 100 * time.Second} {
		if at := y(d); at > plotTop {
			fmt.Fprintf(c, `<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/><text class="tick" x="%d" y="%.1f" text-anchor="end">%s</text>`,
				chartLeft, at, chartWidth-chartRight, at, chartLeft-6, at+4, d)
		}
	}
	kinds := map[string][]*Message{}
	for i := range r.Sent {
		m := &r.Sent[i]
		kind := "fine"
		if !m.Accepted() {
			kind = "failed"
		} else if len(m.Tries) > 1 {
			kind = "again"
		}
		kinds[kind] = append(kinds[kind], m)
	}
	for _, kind := range []string{"fine", "again", "failed"} { // what went wrong lies on top
		all := kinds[kind]
		every := 1 + len(all)/maxPoints
		for i := 0; i < len(all); i += every {
			fmt.Fprintf(c, `<circle class="%s" cx="%.1f" cy="%.1f" r="%s"/>`, kind, c.x(all[i].Begun()), y(all[i].Took()), map[bool]string{true: "1.8", false: "3"}[kind == "fine"])
		}
	}
	return c.end()
}

// bucket is how much time a bar stands for.
func (r *Result) bucket() time.Duration { return max(r.Took/80, 100*time.Millisecond) }

func (r *Result) buckets(layers int) ([][]float64, func(at time.Duration, layer int)) {
	each := r.bucket()
	all := make([][]float64, int(r.Took/each)+1)
	for i := range all {
		all[i] = make([]float64, layers)
	}
	return all, func(at time.Duration, layer int) {
		if i := int(at / each); at >= 0 && i < len(all) {
			all[i][layer]++
		}
	}
}

// outcomes counts tries by how they ended, at the time when they ended.
func (r *Result) outcomes() template.HTML {
	c := r.newChart("Tries by outcome", plotHeight)
	buckets, add := r.buckets(3)
	layer := map[Outcome]int{Accepted: 0, Transient: 1, Permanent: 2, Broken: 2}
	for i := range r.Sent {
		for _, t := range r.Sent[i].Tries {
			add(t.At+t.Took, layer[t.Outcome])
		}
	}
	c.bars(buckets, []string{"good", "later", "bad"})
	return c.end()
}

// served counts what each MMSC stored.
func (r *Result) served() template.HTML {
	c := r.newChart("Who served", plotHeight)
	names := r.mmscs()
	if len(names) == 0 {
		return c.end()
	}
	buckets, add := r.buckets(len(names))
	for _, x := range r.Copies {
		add(x.At, slices.Index(names, x.MMSC))
	}
	var classes []string
	for i := range names {
		classes = append(classes, fmt.Sprintf("c%d", i%colourCount))
	}
	c.bars(buckets, classes)
	return c.end()
}

// states shows each MMSC as the routers see it, and each router as long as it answers.
func (r *Result) states() template.HTML {
	strips := map[string][]strip{}
	var mmscs, routers []string
	for i, l := range r.routers {
		to := r.Took
		if i+1 < len(r.routers) {
			to = r.routers[i+1].at
		}
		type votes struct{ up, all int }
		count := map[string]votes{}
		for _, x := range l.all {
			if !slices.Contains(routers, x.Router) {
				routers = append(routers, x.Router)
			}
			if x.Err != nil {
				strips[x.Router] = append(strips[x.Router], strip{l.at, to, "bad", "silent"})
				continue
			}
			strips[x.Router] = append(strips[x.Router], strip{l.at, to, "good", "answers"})
			for _, m := range x.MMSCs {
				if !slices.Contains(mmscs, m.Name) {
					mmscs = append(mmscs, m.Name)
				}
				v := count[m.Name]
				v.all++
				if m.Up {
					v.up++
				}
				count[m.Name] = v
			}
		}
		for name, v := range count {
			s := strip{l.at, to, "good", "up"}
			switch {
			case v.up == 0:
				s.class, s.text = "bad", "down"
			case v.up < v.all:
				s.class, s.text = "later", fmt.Sprintf("up for %d of %d routers", v.up, v.all)
			}
			strips[name] = append(strips[name], s)
		}
	}
	slices.Sort(mmscs)
	slices.Sort(routers)
	return r.rows("MMSCs and routers", append(mmscs, routers...), strips)
}

// answers shows which addresses DNS named, asked past every cache.
func (r *Result) answers() template.HTML {
	strips := map[string][]strip{}
	var addresses []string
	for _, a := range r.Answers {
		for _, x := range a.Addresses {
			if !slices.Contains(addresses, x) {
				addresses = append(addresses, x)
			}
		}
	}
	slices.SortFunc(addresses, compareAddresses)
	var names []string
	for _, a := range addresses {
		names = append(names, r.owner(a))
	}
	// one round of questions has one strip
	for i := 0; i < len(r.Answers); {
		k := i
		for k < len(r.Answers) && r.Answers[k].At < r.Answers[i].At+lookEvery/2 {
			k++
		}
		to := r.Took
		if k < len(r.Answers) {
			to = r.Answers[k].At
		}
		r.round(r.Answers[i:k], to, addresses, strips)
		i = k
	}
	if len(strips["no answer"]) > 0 {
		names = append(names, "no answer")
	}
	return r.rows("DNS answers", names, strips)
}

func (r *Result) round(round []Answer, to time.Duration, addresses []string, strips map[string][]strip) {
	from, silent, until := round[0].At, 0, to
	for _, a := range round {
		if a.Err != "" {
			silent++
			until = max(until, a.At+a.Took) // it was waited for
		}
	}
	said := len(round) - silent
	for _, x := range addresses {
		n := 0
		for _, a := range round {
			if slices.Contains(a.Addresses, x) {
				n++
			}
		}
		s := strip{from, to, "good", "named"}
		switch {
		case n == 0:
			continue
		case n < said:
			s.class, s.text = "later", fmt.Sprintf("named by %d of %d servers", n, said)
		}
		strips[r.owner(x)] = append(strips[r.owner(x)], s)
	}
	if silent > 0 {
		strips["no answer"] = append(strips["no answer"], strip{from, until, "bad", "a server is silent"})
	}
}

// owner names the router that an address is of, or the address.
func (r *Result) owner(address string) string {
	if name := r.Entry.Routers[address]; name != "" {
		return name
	}
	return address
}
