package lease

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
)

// Kind is a kind of fault.
type Kind string

// The kinds.
const (
	Refuse    Kind = "refuse"     // a connection to the MMSC is refused
	BlackHole Kind = "blackhole"  // no connection comes about, and nothing says so
	Slow      Kind = "slow"       // the MMSC's answer is kept back for Delay
	Cut       Kind = "cut"        // the connection breaks after After octets of the request, its head included
	CutAnswer Kind = "cut_answer" // the MMSC has the message; its answer breaks after After octets
	Withdraw  Kind = "withdraw"   // DNS does not name this router
	Drain     Kind = "drain"      // the MMSC gets no new messages; real traffic only
	Unshare   Kind = "unshare"    // routers do not hear each other about the drill's messages
	Partition Kind = "partition"  // routers do not hear each other at all; lab only
)

// Kinds lists them.
func Kinds() []Kind {
	return []Kind{Refuse, BlackHole, Slow, Cut, CutAnswer, Withdraw, Drain, Unshare, Partition}
}

// maxFaults bounds what one lease may break at a time.
const maxFaults = 32

// Fault is one thing that is broken.
type Fault struct {
	Kind  Kind   `json:"kind"`
	MMSC  string `json:"mmsc,omitempty"`
	After int64  `json:"after,omitempty"` // octets
	Delay string `json:"delay,omitempty"` // a duration
	delay time.Duration
}

// String is the fault in words.
func (f Fault) String() string {
	text := string(f.Kind)
	if f.MMSC != "" {
		text += " " + f.MMSC
	}
	if f.Kind == Cut || f.Kind == CutAnswer {
		text += fmt.Sprintf(" after %d", f.After)
	}
	return strings.TrimSpace(text + " " + f.Delay)
}

// allowed checks a fault by itself, against the lease's scope and the configuration.
func (l *Leases) allowed(f *Fault, c *Config) error {
	if !slices.Contains(Kinds(), f.Kind) {
		return refuse(400, "kind %.40q: want one of %v", f.Kind, Kinds())
	}
	switch f.Kind {
	case Withdraw, Unshare, Partition:
		if f.MMSC != "" {
			return refuse(400, "%s is about this router: want no mmsc", f.Kind)
		}
	default:
		if _, ok := l.o.Targets()[f.MMSC]; !ok {
			return refuse(404, "no MMSC is named %.100q", f.MMSC)
		}
	}
	if cuts := f.Kind == Cut || f.Kind == CutAnswer; f.After < 0 || !cuts && f.After != 0 {
		return refuse(400, "%s: after: want octets, for cut and cut_answer alone", f.Kind)
	}
	if f.Kind == Slow {
		d, err := time.ParseDuration(f.Delay)
		if err != nil || d < time.Millisecond || d > time.Minute {
			return refuse(400, "slow: delay: %.40q: want 1ms to 1m", f.Delay)
		}
		f.delay = d
	} else if f.Delay != "" {
		return refuse(400, "%s: delay: has a meaning for slow alone", f.Kind)
	}
	real := f.Kind == Refuse || f.Kind == Drain || f.Kind == Withdraw
	switch {
	case f.Kind == Partition && !c.Lab:
		return refuse(403, "partition cuts everybody's traffic off from the other routers: want drill.lab")
	case (f.Kind == Partition || f.Kind == Unshare) && l.o.Sever == nil:
		return refuse(400, "%s: this router is alone", f.Kind)
	case l.lease.RealTraffic && !real:
		return refuse(403, "%s could double or lose real messages: to real traffic a drill may only refuse, drain and withdraw", f.Kind)
	case !l.lease.RealTraffic && f.Kind == Drain:
		return refuse(403, "a drain is about real traffic: the drill must be told to (--real-traffic)")
	}
	return nil
}

// someoneLeft refuses faults that would leave real traffic without an MMSC.
func (l *Leases) someoneLeft(faults []Fault) error {
	out := map[string]bool{}
	for _, f := range faults {
		if f.Kind == Refuse || f.Kind == Drain {
			out[f.MMSC] = true
		}
	}
	if len(out) == 0 {
		return nil
	}
	for name, up := range l.o.Targets() {
		if up && !out[name] {
			return nil
		}
	}
	return refuse(409, "no other MMSC passes detection: real traffic would have nowhere to go")
}

// active is what is in force, made ready for those who look at every message.
type active struct {
	mark      string
	numbers   map[string]bool
	real      bool
	until     time.Time
	faults    map[string]Fault // by MMSC
	withdraw  bool
	unshare   bool
	partition bool
}

// apply puts the lease's faults in force; the lock is held.
func (l *Leases) apply(c *Config) {
	before := l.active.Load()
	var a *active
	if l.lease != nil && len(l.lease.Faults) > 0 {
		a = &active{mark: l.lease.Mark, numbers: map[string]bool{}, real: l.lease.RealTraffic, until: l.lease.Until, faults: map[string]Fault{}}
		for _, n := range c.Numbers {
			a.numbers[n] = true
		}
		for _, f := range l.lease.Faults {
			switch f.Kind {
			case Withdraw:
				a.withdraw = true
			case Unshare:
				a.unshare = true
			case Partition:
				a.partition = true
			case Drain: // the operators' words carry it
			default:
				a.faults[f.MMSC] = f
			}
		}
	}
	l.active.Store(a)
	if was, is := before != nil && before.partition, a != nil && a.partition; was != is {
		if is {
			l.befell[Partition].Inc()
			l.o.Sever(func(string) bool { return true })
		} else {
			l.o.Sever(nil)
		}
	}
}

// now gives what is in force; nil: nothing. It costs one atomic load while no drill runs.
func (l *Leases) now() *active {
	a := l.active.Load()
	if a == nil || !l.o.Now().Before(a.until) {
		return nil
	}
	return a
}

// Message is a message as it is about to be sent to an MMSC.
type Message struct {
	PDU         mms.Type
	Transaction []byte
	Sender      string   // in international form; "" unknown
	Recipients  []string // likewise
	All         bool     // there are no others
}

// own says whether a message is the drill's own: it bears the mark, and goes from test numbers to test numbers alone.
func (a *active) own(m *Message) bool {
	if m.PDU != mms.MSendReq || !strings.HasPrefix(string(m.Transaction), a.mark+".") || !m.All || len(m.Recipients) == 0 || !a.numbers[m.Sender] {
		return false
	}
	return !slices.ContainsFunc(m.Recipients, func(r string) bool { return !a.numbers[r] })
}

// Active says whether anything may befall anybody: cheap enough to ask for each attempt.
func (l *Leases) Active() bool { return l.active.Load() != nil }

// befalls gives the fault that an attempt to send m to an MMSC meets.
func (l *Leases) befalls(mmsc string, m *Message) (Fault, bool) {
	a := l.now()
	if a == nil {
		return Fault{}, false
	}
	f, ok := a.faults[mmsc]
	if !ok {
		return f, false
	}
	// a submission has other MMSCs to go to; what belongs to one MMSC has not, and is left alone
	if a.real && f.Kind == Refuse && m.PDU == mms.MSendReq || a.own(m) {
		l.befell[f.Kind].Inc()
		return f, true
	}
	return f, false
}

// LeaveOut says whether the answer to a query that bears a mark shall not name this router.
func (l *Leases) LeaveOut(mark string) bool {
	a := l.now()
	if a == nil || !a.withdraw || a.real || mark != a.mark {
		return false
	}
	l.befell[Withdraw].Inc()
	return true
}
