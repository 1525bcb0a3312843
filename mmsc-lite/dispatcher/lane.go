package dispatcher

import (
	"reflect"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
)

// lane is what one node has for one service: its workers and its breaker. It outlives changes of the catalogue that do
// not touch the provider.
//
// The breaker is closed while fewer than Failures calls in a row have failed; then it is open for Pause; then one call
// tries, and closes it or opens it again.
type lane struct {
	entry  *entry // nil: the service is gone, or it is ours (notices for codes that nobody has)
	caller Caller
	bad    error // why there is no caller

	busy   int
	failed int // in a row
	until  time.Time
	trying bool

	looked time.Time // for jobs that need no provider, while the breaker is open; Run's alone
}

// ourConcurrency is how many notices are sent at the same time.
const ourConcurrency = 8

// lane gives the lane of a service as the catalogue has it now.
func (d *Dispatcher) lane(name string) *lane {
	e := d.cat.table().names[name]
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[name]
	if l != nil && l.entry == e {
		return l
	}
	if l != nil && e != nil && l.entry != nil && l.bad == nil && reflect.DeepEqual(l.entry.Provider, e.Provider) {
		l.entry = e
		return l
	}
	next := &lane{entry: e}
	if l != nil {
		next.busy = l.busy
		if c, ok := l.caller.(*outgoing.Client); ok {
			c.Release()
		}
		if !l.until.IsZero() {
			d.met.open.Dec()
		}
	}
	if e != nil {
		next.caller, next.bad = d.caller(&e.Service)
	}
	d.lanes[name] = next
	return next
}

// take says how many jobs may be begun, and whether only such as need no provider; wait is when the breaker opens.
func (d *Dispatcher) take(l *lane, now time.Time) (n int, stale bool, wait time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	limit := ourConcurrency
	if l.entry != nil {
		limit = l.entry.Provider.Concurrency
	}
	if n = limit - l.busy; n <= 0 {
		return 0, false, time.Time{}
	}
	switch {
	case l.until.IsZero():
		return n, false, time.Time{}
	case now.Before(l.until):
		return n, true, l.until
	case l.trying:
		return n, true, time.Time{}
	}
	return 1, false, time.Time{}
}

// began counts a job in and gives it what it is done with. Behind an open breaker whose pause is over it is the one that
// tries.
func (d *Dispatcher) began(l *lane, j *job, stale bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	j.entry, j.caller, j.bad, j.stale = l.entry, l.caller, l.bad, stale
	l.busy++
	if !l.until.IsZero() && !stale {
		l.trying, j.probe = true, true
	}
}

// ended counts it out.
func (d *Dispatcher) ended(l *lane, j *job) {
	d.mu.Lock()
	d.lanes[j.Service].busy--
	if j.probe {
		l.trying = false
	}
	d.mu.Unlock()
	d.poke()
}

// called notes how a call ended.
func (d *Dispatcher) called(l *lane, ok bool, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lanes[l.entry.Name] != l {
		return // its provider was changed meanwhile
	}
	if ok {
		if !l.until.IsZero() {
			d.met.open.Dec()
			d.log.Info("provider answers again", "service", l.entry.Name)
		}
		l.failed, l.until = 0, time.Time{}
		return
	}
	if l.failed++; l.failed < l.entry.Provider.Breaker.Failures {
		return
	}
	if l.until.IsZero() {
		d.met.open.Inc()
		d.log.Warn("provider fails; it is left alone for a while", "service", l.entry.Name, "failures", l.failed, "pause", l.entry.Provider.Breaker.Pause)
	}
	l.until = now.Add(l.entry.Provider.Breaker.Pause)
}
