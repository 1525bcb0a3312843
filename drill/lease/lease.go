// Package lease holds what a drill breaks in a running router: faults in the connections to MMSCs, in DNS answers and in
// what routers tell each other.
//
// It owns the one lease that a router gives at a time, and its end. Promises: a lease ends by itself at the time that was
// said when it was given, ten minutes later at the most, whatever has become of the drill; with it every fault ends
// and every drain that it began is lifted. Without --real-traffic, a fault befalls only what bears the lease's own mark and goes
// between the configured test numbers; with it, only what can neither double nor lose a message is taken.
//
// States: none, held (until its time, or its end is asked for).
package lease

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options of New. What is nil can't be asked for.
type Options struct {
	Config Config
	// Targets names the MMSCs, and says which of them pass detection now.
	Targets func() map[string]bool
	// Drain takes an MMSC out of balancing, or this router out of the DNS answers, for a time; lifetime 0 brings it back.
	Drain   func(router bool, name string, lifetime time.Duration) error
	Sever   func(func(peer string) bool) // cuts links to other routers until called with nil
	Node    string                       // this router
	Metrics prometheus.Registerer
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// Request asks for a lease.
type Request struct {
	By          string `json:"by"`
	Scenario    string `json:"scenario"`
	For         string `json:"for"`            // a duration
	Mark        string `json:"mark,omitempty"` // of the messages; empty: the router makes one
	RealTraffic bool   `json:"real_traffic,omitempty"`
}

// Lease is one that is held.
type Lease struct {
	ID          string    `json:"id"`
	Mark        string    `json:"mark"` // begins the transaction id of each message
	By          string    `json:"by"`
	Scenario    string    `json:"scenario"`
	RealTraffic bool      `json:"real_traffic,omitempty"`
	Began       time.Time `json:"began"`
	Until       time.Time `json:"until"`
	Faults      []Fault   `json:"faults"`
}

// Door is what a router tells of drills.
type Door struct {
	Numbers []string `json:"numbers"`
	Max     string   `json:"max"`
	Lab     bool     `json:"lab,omitempty"`
	Lease   *Lease   `json:"lease,omitempty"`
}

// refusal is an error that the caller of the API gets, with its HTTP status.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, a ...any) error {
	return &refusal{status, fmt.Sprintf(format, a...)}
}

// Leases gives leases, one at a time. Safe for use by many goroutines.
type Leases struct {
	o       Options
	conf    atomic.Pointer[Config]
	active  atomic.Pointer[active] // nil: nothing befalls anybody
	befell  map[Kind]prometheus.Counter
	changed chan struct{} // wakes Run

	mu     sync.Mutex // guards the following
	lease  *Lease
	drains []drained
}

// New makes one.
func New(o Options) (*Leases, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &Leases{o: o, changed: make(chan struct{}, 1), befell: map[Kind]prometheus.Counter{}}
	c := o.Config
	l.conf.Store(&c)
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_drill_faults_total",
		Help: "What a drill's faults befell: attempts, DNS answers, words between routers; by kind of fault."}, []string{"kind"})
	for _, k := range Kinds() {
		l.befell[k] = vec.WithLabelValues(string(k))
	}
	held := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mmsrouter_drill_leases_held", Help: "1 while a drill holds a lease, else 0."}, func() float64 {
		if l.Held() != nil {
			return 1
		}
		return 0
	})
	if o.Metrics != nil {
		for _, c := range []prometheus.Collector{vec, held} {
			if err := o.Metrics.Register(c); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// Reload takes new numbers and limits. A lease that is held goes on under those that it was given.
func (l *Leases) Reload(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	l.conf.Store(&c)
	return nil
}

// Held is a copy of the lease that is held; nil: none.
func (l *Leases) Held() *Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held()
}

func (l *Leases) held() *Lease {
	if l.lease == nil || !l.o.Now().Before(l.lease.Until) {
		return nil
	}
	c := *l.lease
	c.Faults = slices.Clone(c.Faults)
	return &c
}

// Door tells what is allowed and what is held.
func (l *Leases) Door() Door {
	c := l.conf.Load()
	return Door{Numbers: slices.Clone(c.Numbers), Max: c.Max.String(), Lab: c.Lab, Lease: l.Held()}
}

var markForm = regexp.MustCompile(`^drill-[A-Z0-9]{10,32}$`)

// IsMark says whether a text has the form of a mark.
func IsMark(s string) bool { return markForm.MatchString(s) }

// Begin gives a lease, without faults as yet. It is refused while one is held.
func (l *Leases) Begin(r Request) (*Lease, error) {
	c := l.conf.Load()
	if len(c.Numbers) == 0 {
		return nil, refuse(403, "no drill may run here: drill.numbers names no test numbers")
	}
	d, err := time.ParseDuration(r.For)
	if err != nil || d < time.Second || d > c.Max {
		return nil, refuse(400, "for: %.40q: want a duration of 1s to %s (drill.max)", r.For, c.Max)
	}
	if r.Mark == "" {
		r.Mark = "drill-" + rand.Text()[:16]
	}
	if !IsMark(r.Mark) {
		return nil, refuse(400, "mark: %.60q: want drill- and 10 to 32 capital letters and digits", r.Mark)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held(); h != nil {
		return nil, refuse(409, "drill %s of %s runs until %s", h.Scenario, h.By, h.Until.UTC().Format(time.RFC3339))
	}
	l.end("its time was over") // one that Run has not come to yet
	now := l.o.Now()
	l.lease = &Lease{ID: rand.Text(), Mark: r.Mark, By: clip(r.By, 64), Scenario: clip(r.Scenario, 64), RealTraffic: r.RealTraffic, Began: now, Until: now.Add(d), Faults: []Fault{}}
	l.o.Log.Warn("a drill begins", "scenario", l.lease.Scenario, "by", l.lease.By, "mark", l.lease.Mark, "until", l.lease.Until, "real_traffic", r.RealTraffic)
	l.wake()
	return l.held(), nil
}

// Set replaces the lease's faults.
func (l *Leases) Set(id string, faults []Fault) (*Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held(); h == nil || h.ID != id {
		return nil, refuse(404, "no such lease is held: its time is over, or another drill runs")
	}
	c := l.conf.Load()
	if len(faults) > maxFaults {
		return nil, refuse(400, "%d faults: want at most %d", len(faults), maxFaults)
	}
	for i := range faults {
		if err := l.allowed(&faults[i], c); err != nil {
			return nil, err
		}
	}
	if l.lease.RealTraffic {
		if err := l.someoneLeft(faults); err != nil {
			return nil, err
		}
	}
	if err := l.drain(faults); err != nil {
		return nil, err
	}
	l.lease.Faults = slices.Clone(faults)
	l.apply(c)
	l.o.Log.Warn("a drill breaks things", "mark", l.lease.Mark, "faults", fmt.Sprint(faults))
	return l.held(), nil
}

// End ends a lease.
func (l *Leases) End(id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held(); h == nil || h.ID != id {
		return refuse(404, "no such lease is held: its time is over, or another drill runs")
	}
	l.end("the drill has ended it")
	return nil
}

// clip keeps foreign words short and on one line.
func clip(s string, n int) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}
