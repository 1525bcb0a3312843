package healthcheck

import "time"

// Observe takes the outcome of one attempt of live traffic at the target: ok, or why it failed. It may be
// called from many goroutines. A good attempt costs a map look-up and one load unless failures came right
// before; a failed one counts before Observe returns, so that the next decision sees it. Which outcomes
// are failures of the MMSC is the caller's to say.
func (c *Checker) Observe(name string, ok bool, why string) {
	t := (*c.byName.Load())[name]
	if t == nil {
		return // a reload has removed it while the attempt was under way
	}
	if ok {
		if t.suspect.Load() {
			c.mu.Lock()
			t.state.attemptPassed()
			t.suspect.Store(false)
			c.mu.Unlock()
		}
		return
	}
	p, now := t.plan.Load(), time.Now()
	why = words(why)
	was, e, _ := c.take(t, p, now, func() event {
		c.met.failures.WithLabelValues(name).Inc()
		return t.state.attemptFailed(p.policy, now, why, func() bool { return c.mayEject(name) })
	})
	if e == suspected || e == ejected && was.failed == 0 {
		t.probeSoon() // later failures of the row find it asked for
	}
	c.tell(t, e, was, why, "", now)
}

// mayEject says whether live traffic may eject one more MMSC: the share of those it has ejected stays
// within the cap, and another one that balancing uses is left. The caller holds mu, so no verdict changes
// meanwhile.
func (c *Checker) mayEject(name string) bool {
	var all, out, left int
	for _, m := range c.board.Load().MMSCs {
		if m.Spare {
			continue
		}
		all++
		if m.Ejected {
			out++
		}
		if m.Name != name && m.Qualifies() {
			left++
		}
	}
	return left > 0 && (out+1)*100 <= c.maxEjected*all
}
