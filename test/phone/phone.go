// Package phone runs handsets in software for a test and keeps what happens to them.
package phone

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/handset"
)

// Phones are handsets that run until a test ends. All that happened to them is shown when it fails.
type Phones struct {
	*handset.Phones

	mu     sync.Mutex
	events []handset.Event
	more   chan struct{} // closed by the next event
}

// Start runs them. Observe is taken.
func Start(t testing.TB, o handset.Options) *Phones {
	t.Helper()
	p := &Phones{more: make(chan struct{})}
	o.Observe = func(e handset.Event) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.events = append(p.events, e)
		close(p.more)
		p.more = make(chan struct{})
	}
	var err error
	if p.Phones, err = handset.New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("phones %v: %v", o.Numbers, err)
		}
		if t.Failed() {
			for _, e := range p.All() {
				t.Log(e.Number, e)
			}
		}
	})
	return p
}

// All gives what has happened so far.
func (p *Phones) All() []handset.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}

// patience is how long an event is waited for.
const patience = 30 * time.Second

// Await waits for the n-th event that fits.
func (p *Phones) Await(t testing.TB, n int, what string, fits func(handset.Event) bool) handset.Event {
	t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		p.mu.Lock()
		events, more := p.events, p.more
		p.mu.Unlock()
		seen := 0
		for _, e := range events {
			if fits(e) {
				if seen++; seen == n {
					return e
				}
			}
		}
		select {
		case <-more:
		case <-end.C:
			t.Fatalf("%d %s, want %d", seen, what, n)
		}
	}
}

// AwaitKind waits for the n-th event of a kind.
func (p *Phones) AwaitKind(t testing.TB, k handset.Kind, n int) handset.Event {
	t.Helper()
	return p.Await(t, n, "events "+k.String(), func(e handset.Event) bool { return e.Kind == k })
}
