// Package live is a world for drills that runs already: routers and the MMSCs behind them.
//
// It owns nothing but a lease of each router, which the router itself holds and ends (drill/lease). Whatever the drill breaks
// is broken inside the routers, for the drill's own messages alone unless real traffic was asked for; the MMSCs are
// never touched. What the MMSCs have is not known here: what the router remembers of each message stands in for it, and a
// copy whose answer got lost counts as possible.
package live

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/drill"
	"github.com/mmsrouter/mmsrouter/drill/lease"
	"github.com/mmsrouter/mmsrouter/mms"
)

// Console is the operator's door of the router.
type Console interface {
	Look(ctx context.Context) (drill.Look, error)
	Lend(ctx context.Context) (lease.Door, error)
	Begin(ctx context.Context, r lease.Request) (lease.Lease, error)
	Break(ctx context.Context, id string, faults []lease.Fault) error
	End(ctx context.Context, id string) error
	// Fate gives the attempts of a transaction, in order; empty if nothing is remembered.
	Fate(ctx context.Context, transaction string) ([]Attempt, error)
}

// Attempt is what became of a message at one MMSC.
type Attempt struct {
	MMSC      string
	Accepted  bool // it said Ok
	Ambiguous bool // its answer got lost
}

// Options of New.
type Options struct {
	Scenario    drill.Scenario
	Consoles    []Console   // of every router of the cluster
	Entry       drill.Entry // where clients get in; mark and numbers are the router's to say
	RealTraffic bool
	By          string
	Names       map[string]string // the scenario's mmsc-1 is which MMSC here; empty: they are taken in their order
}

// margin is what a drill may take beyond its messages, until its lease ends by itself.
const margin = 15 * time.Second

// Live is a running system under a drill.
type Live struct {
	o      Options
	leases []lease.Lease // by router; those that were given
	entry  drill.Entry
	names  map[string]string

	mu     sync.Mutex
	faults map[string][]lease.Fault // by the scenario's target
}

// New takes a lease of each router. It is refused where no test numbers are configured, while another drill runs, and for a
// scenario that breaks what may not be broken here.
func New(ctx context.Context, o Options) (*Live, error) {
	s := &o.Scenario
	switch {
	case s.LabOnly():
		return nil, fmt.Errorf("drill %s does what only a lab survives: mmsrouter drill lab %s", s.Name, s.Name)
	case o.RealTraffic && !s.RealTraffic():
		return nil, fmt.Errorf("drill %s could double or lose real messages: with real traffic a drill may only refuse, drain and withdraw", s.Name)
	}
	l := &Live{o: o, faults: map[string][]lease.Fault{}}
	if err := l.match(ctx); err != nil {
		return nil, err
	}
	length := s.Length + s.Traffic.Patience*time.Duration(s.Traffic.Tries) + margin
	var numbers []string
	for i, c := range o.Consoles {
		door, err := c.Lend(ctx)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			numbers = door.Numbers
		}
		numbers = slices.DeleteFunc(numbers, func(n string) bool { return !slices.Contains(door.Numbers, n) })
		if most, err := time.ParseDuration(door.Max); err == nil {
			length = min(length, most)
		}
	}
	if len(numbers) == 0 {
		return nil, errors.New("no drill may run there: drill.numbers names no test numbers, or routers have none in common")
	}
	for _, n := range numbers {
		if n == "" || n[0] != '+' || mms.Number(n) != n {
			return nil, fmt.Errorf("the router gives %.40q for a test number", n)
		}
	}
	r := lease.Request{By: o.By, Scenario: s.Name, For: length.String(), RealTraffic: o.RealTraffic}
	for _, c := range o.Consoles {
		given, err := c.Begin(ctx, r)
		if err != nil {
			return nil, errors.Join(err, l.Close(context.WithoutCancel(ctx)))
		}
		l.leases = append(l.leases, given)
		if !lease.IsMark(given.Mark) || r.Mark != "" && given.Mark != r.Mark || given.ID == "" {
			return nil, errors.Join(fmt.Errorf("the router gives a lease that can't be used: mark %.60q", given.Mark), l.Close(context.WithoutCancel(ctx)))
		}
		r.Mark = given.Mark
	}
	l.entry = o.Entry
	l.entry.Mark, l.entry.Numbers, l.entry.Blind = r.Mark, numbers, true
	return l, nil
}

// match gives the scenario's MMSCs their names here, and looks whether all routers are there.
func (l *Live) match(ctx context.Context) error {
	if len(l.o.Consoles) == 0 {
		return errors.New("a drill needs a router")
	}
	look, err := l.o.Consoles[0].Look(ctx)
	if err != nil {
		return err
	}
	if look.Members != len(l.o.Consoles) {
		return fmt.Errorf("the cluster has %d routers, and a drill breaks all of them or none: name the admin address of each", look.Members)
	}
	for _, s := range l.o.Scenario.Steps {
		if n, of := strings.CutPrefix(s.Target, "router-"); of {
			if i, err := strconv.Atoi(n); err != nil || i > len(l.o.Consoles) {
				return fmt.Errorf("the drill is about %s, and there are not that many", s.Target)
			}
		}
	}
	l.names = maps.Clone(l.o.Names)
	if l.names == nil {
		l.names = map[string]string{}
	}
	taken := slices.Collect(maps.Values(l.names))
	for n := 1; n <= l.o.Scenario.Lab.MMSCs; n++ {
		key := fmt.Sprintf("mmsc-%d", n)
		if l.names[key] != "" || !slices.ContainsFunc(l.o.Scenario.Steps, func(s drill.Step) bool { return s.Target == key }) {
			continue
		}
		i := slices.IndexFunc(look.MMSCs, func(m drill.Seen) bool { return m.Up && !slices.Contains(taken, m.Name) })
		if i < 0 {
			return fmt.Errorf("the drill breaks %s, and there are not that many MMSCs up", key)
		}
		l.names[key] = look.MMSCs[i].Name
		taken = append(taken, look.MMSCs[i].Name)
	}
	return nil
}

// Close ends the leases.
func (l *Live) Close(ctx context.Context) error {
	var errs []error
	for i, held := range l.leases {
		if err := l.o.Consoles[i].End(ctx, held.ID); err != nil {
			errs = append(errs, fmt.Errorf("end the drill's lease (it ends by itself at %s): %w", held.Until.Format(time.TimeOnly), err))
		}
	}
	l.leases = nil
	return errors.Join(errs...)
}

// Entry implements drill.World.
func (l *Live) Entry() drill.Entry { return l.entry }

// Target implements drill.World.
func (l *Live) Target(name string) string {
	if n := l.names[name]; n != "" {
		return n
	}
	return name
}

// Do implements drill.World.
func (l *Live) Do(ctx context.Context, s drill.Step) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.faults[s.Target]
	isDrain := func(f lease.Fault) bool { return f.Kind == lease.Drain || f.Kind == lease.Withdraw }
	switch s.Do {
	case drill.Refuse, drill.Slow, drill.Cut, drill.CutAnswer, drill.BlackHole:
		f := lease.Fault{Kind: lease.Kind(s.Do), MMSC: l.Target(s.Target), After: int64(s.After)}
		if s.Do == drill.Slow {
			f.Delay = s.Delay.String()
		}
		l.faults[s.Target] = append(slices.DeleteFunc(slices.Clone(before), func(f lease.Fault) bool { return !isDrain(f) }), f)
	case drill.Heal:
		l.faults[s.Target] = slices.DeleteFunc(slices.Clone(before), func(f lease.Fault) bool { return !isDrain(f) })
	case drill.Drain:
		l.faults[s.Target] = append(slices.Clone(before), lease.Fault{Kind: lease.Drain, MMSC: l.Target(s.Target)})
	case drill.Withdraw:
		l.faults[s.Target] = []lease.Fault{{Kind: lease.Withdraw}}
	case drill.Unshare:
		l.faults[s.Target] = append(slices.Clone(before), lease.Fault{Kind: lease.Unshare})
	case drill.Undrain, drill.Restore:
		l.faults[s.Target] = slices.DeleteFunc(slices.Clone(before), isDrain)
	default:
		return fmt.Errorf("%s can't be done to a running system", s.Do)
	}
	if err := l.set(ctx); err != nil {
		l.faults[s.Target] = before
		return err
	}
	return nil
}

// set tells each router its faults: those of MMSCs are the same for all; the lock is held.
func (l *Live) set(ctx context.Context) error {
	var errs []error
	for i, held := range l.leases {
		all := []lease.Fault{}
		for _, key := range slices.Sorted(maps.Keys(l.faults)) {
			if strings.HasPrefix(key, "mmsc-") || key == fmt.Sprintf("router-%d", i+1) {
				all = append(all, l.faults[key]...)
			}
		}
		errs = append(errs, l.o.Consoles[i].Break(ctx, held.ID, all))
	}
	return errors.Join(errs...)
}

// Calm implements drill.World. A lease whose time is over has ended its faults itself.
func (l *Live) Calm(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.faults)
	return l.set(ctx)
}

// Look implements drill.World.
func (l *Live) Look(ctx context.Context) []drill.Look {
	all := make([]drill.Look, len(l.o.Consoles))
	var wg sync.WaitGroup
	for i, c := range l.o.Consoles {
		wg.Go(func() {
			var err error
			all[i], err = c.Look(ctx)
			all[i].Err = err
		})
	}
	wg.Wait()
	return all
}
