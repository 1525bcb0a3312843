package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mmsrouter/mmsrouter/drill"
	"github.com/mmsrouter/mmsrouter/drill/fake"
	"github.com/mmsrouter/mmsrouter/drill/lease"
)

// Do implements drill.World.
func (l *Lab) Do(ctx context.Context, s drill.Step) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.mmsc(s.Target); m != nil {
		switch s.Do {
		case drill.Kill:
			return m.kill()
		case drill.Restart:
			return m.start()
		case drill.Freeze:
			return m.signal(syscall.SIGSTOP)
		case drill.Thaw:
			return m.signal(syscall.SIGCONT)
		case drill.Heal:
			return m.behave(fake.Behaviour{})
		case drill.Refuse, drill.Slow, drill.Cut, drill.CutAnswer, drill.BlackHole:
			return m.behave(fake.Behaviour{Kind: string(s.Do), After: int64(s.After), Delay: s.Delay})
		case drill.Drain, drill.Undrain:
			return l.say(ctx, false, s.Target, s.Do == drill.Drain)
		}
	}
	if r := l.router(s.Target); r != nil {
		return l.toRouter(ctx, r, s)
	}
	return fmt.Errorf("the lab can't %s", s)
}

func (l *Lab) toRouter(ctx context.Context, r *router, s drill.Step) error {
	switch s.Do {
	case drill.Kill:
		return r.kill()
	case drill.Restart:
		if err := l.giveBack(ctx, r); err != nil {
			return err
		}
		return r.start(ctx)
	case drill.Freeze:
		return r.signal(syscall.SIGSTOP)
	case drill.Thaw:
		return r.signal(syscall.SIGCONT)
	case drill.Partition:
		return r.console.Break(ctx, l.mark, lease.Fault{Kind: lease.Partition})
	case drill.Unshare:
		return r.console.Break(ctx, l.mark, lease.Fault{Kind: lease.Unshare})
	case drill.Heal:
		return r.console.Break(ctx, l.mark)
	case drill.Withdraw, drill.Restore:
		return l.say(ctx, true, r.name, s.Do == drill.Withdraw)
	case drill.Retire:
		return r.console.Retire(ctx)
	case drill.Takeover:
		return l.takeOver(ctx, r, l.router(s.To))
	case drill.Upgrade:
		return r.upgrade(ctx)
	}
	return fmt.Errorf("the lab can't %s", s)
}

// say tells the first router that answers to drain something, or no longer.
func (l *Lab) say(ctx context.Context, ofRouter bool, name string, on bool) error {
	err := errors.New("no router lives")
	for _, r := range l.routers {
		if !r.alive() {
			continue
		}
		if err = r.console.Drain(ctx, ofRouter, name, on); err == nil {
			return nil
		}
	}
	return err
}

// Calm implements drill.World: all that lives is well again.
func (l *Lab) Calm(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, m := range l.mmscs {
		if m.alive() {
			errs = append(errs, m.signal(syscall.SIGCONT), m.behave(fake.Behaviour{}))
		}
	}
	for _, r := range l.routers {
		if r.alive() {
			errs = append(errs, r.signal(syscall.SIGCONT))
		}
	}
	return errors.Join(errs...)
}

// lookTime is how long a router may take to say what it sees.
const lookTime = 400 * time.Millisecond

// Look implements drill.World.
func (l *Lab) Look(ctx context.Context) []drill.Look {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	out := make([]drill.Look, len(l.routers))
	var wg sync.WaitGroup
	for i, r := range l.routers {
		wg.Go(func() {
			var err error
			if out[i], err = r.console.Look(ctx); err != nil {
				out[i].Err = err
			}
			out[i].Router = r.name
		})
	}
	wg.Wait()
	return out
}

// Copies implements drill.World: it reads the MMSCs' own ledgers.
func (l *Lab) Copies(_ context.Context, began time.Time, _ []drill.Message) ([]drill.Copy, error) {
	var all []drill.Copy
	for _, m := range l.mmscs {
		entries, err := fake.ReadLedger(m.ledger)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			all = append(all, drill.Copy{Transaction: e.Transaction, MMSC: m.name, Size: e.Size, Sum: e.Sum, At: e.At.Sub(began)})
		}
	}
	slices.SortFunc(all, func(a, b drill.Copy) int { return int(a.At - b.At) })
	return all, nil
}
