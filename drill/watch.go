package drill

import (
	"context"
	"slices"
	"time"
)

// look is what the routers said at a time.
type look struct {
	at  time.Duration
	all []Look
}

func (r *run) watchRouters(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		r.lookOnce(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *run) lookOnce(ctx context.Context) {
	at := time.Now()
	all := r.w.Look(ctx)
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks = append(r.looks, look{r.since(at), all})
}

// Finding is how long the routers took to see what a step did.
type Finding struct {
	Step  string
	What  string // "mmsc-1 is down"
	Took  time.Duration
	Found bool
	By    string // the slowest router, or who answered last
	Ends  bool   // the step ended a fault: this is recovery, not detection
}

// findings measures detection and recovery for each step that has something to be found.
func (r *run) findings() []Finding {
	var all []Finding
	if r.entry.Blind {
		return nil
	}
	for i, d := range r.done {
		if !d.Do.breaks() && !d.Do.ends() || d.Do == Heal && !r.wasBroken(i) {
			continue
		}
		until := r.s.Length + r.s.Traffic.Patience
		for _, later := range r.done[i+1:] { // what is undone before it is found says nothing more
			if later.Target == d.Target && (later.Do.breaks() || later.Do.ends()) {
				until = later.Began
				break
			}
		}
		kind, _ := targetOf(d.Target)
		f := Finding{Step: d.String(), Ends: d.Do.ends()}
		if kind == "mmsc" {
			r.findMMSC(&f, d, until)
		} else if !r.findRouter(&f, d, until) {
			continue
		}
		all = append(all, f)
	}
	return all
}

// wasBroken says whether heal (step i) ended something that detection could see.
func (r *run) wasBroken(i int) bool {
	for k := i - 1; k >= 0; k-- {
		if d := r.done[k]; d.Target == r.done[i].Target {
			return d.Do == Refuse || d.Do == BlackHole || d.Do == Partition
		}
	}
	return false
}

// findMMSC looks for the time when the last of the living routers saw the MMSC's new state, by the routers' own clocks
// (which are the drill's: or near it).
func (r *run) findMMSC(f *Finding, d Done, until time.Duration) {
	name := r.w.Target(d.Target)
	f.What = name + " is down"
	if f.Ends {
		f.What = name + " is up"
	}
	for _, l := range r.looks {
		if l.at < d.Began || l.at > until {
			continue
		}
		seen, agreed, last := 0, 0, time.Time{}
		by := ""
		for _, router := range l.all {
			if router.Err != nil {
				continue
			}
			for _, m := range router.MMSCs {
				if m.Name != name {
					continue
				}
				seen++
				if m.Up == f.Ends {
					agreed++
					if m.Since.After(last) {
						last, by = m.Since, router.Router
					}
				}
			}
		}
		if seen > 0 && seen == agreed {
			f.Found, f.By = true, by
			f.Took = max(last.Sub(r.began.Add(d.Began)), 0)
			return
		}
	}
}

// findRouter looks for the time when the name servers of all other routers had left the router out, or named it again; false:
// there are none.
func (r *run) findRouter(f *Finding, d Done, until time.Duration) bool {
	address := hostOf(r.w.Target(d.Target))
	f.What = "DNS leaves " + d.Target + " out"
	if f.Ends {
		f.What = "DNS names " + d.Target
	}
	others := map[string]bool{} // that answered at all
	within := func(a Answer) bool { return a.Router != d.Target && a.Err == "" && a.At >= d.Began && a.At <= until }
	for _, a := range r.dns {
		if within(a) {
			others[a.Router] = true
		}
	}
	said := map[string]bool{}
	for _, a := range r.dns {
		if !within(a) {
			continue
		}
		said[a.Router] = slices.Contains(a.Addresses, address) == f.Ends
		f.By = a.Router
		all := len(said) == len(others)
		for _, ok := range said {
			all = all && ok
		}
		if all {
			f.Found, f.Took = true, max(a.At-d.Began, 0)
			break
		}
	}
	return len(others) > 0
}
