package delivery_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/delivery"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// states counts the recipients of messages by state.
func states(t *testing.T, dir string, sent []store.Submitted) map[store.State]int {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: dir, Node: "check"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	count := map[store.State]int{}
	for _, m := range sent {
		for _, ref := range m.Recipients {
			r, _, err := s.Recipient(t.Context(), ref.ID, 0, "")
			if err != nil {
				t.Fatal(err)
			}
			count[r.State]++
		}
	}
	return count
}

// TestNotedWhenStopped stops right behind the last push: what a carrier has taken is noted all the same.
func TestNotedWhenStopped(t *testing.T) {
	c, dir := newCarrier(), pgtest.TempDir(t)
	n := start(t, "", dir, c, func(c *delivery.Config) { c.Workers = 8 })
	const messages, recipients = 10, 100
	all := addresses(messages * recipients)
	var sent []store.Submitted
	for i := range messages {
		sent = append(sent, n.submit(t, time.Hour, all[i*recipients:(i+1)*recipients]...))
	}
	c.wait(t, len(all))
	n.stop()
	for _, a := range all {
		if c.got[a] != 1 {
			t.Errorf("%s notified %d times", a, c.got[a])
		}
	}
	if got := states(t, dir, sent); got[store.Notified] != len(all) {
		t.Errorf("states: %v", got)
	}
}

// slow takes its time for each push.
type slow struct {
	*carrier
	pause time.Duration
}

// Push implements delivery.Notifier.
func (s slow) Push(ctx context.Context, p *delivery.Push) error {
	select {
	case <-time.After(s.pause):
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.carrier.Push(ctx, p)
}

// TestSlowCarrier has one worker, and work for longer than a lease lasts: nobody may be notified twice because a piece had waited.
func TestSlowCarrier(t *testing.T) {
	t.Parallel()
	c := newCarrier()
	n := start(t, "", pgtest.TempDir(t), slow{c, 200 * time.Millisecond}, func(c *delivery.Config) {
		c.Workers, c.Timeout, c.Lease = 1, 2*time.Second, 4*time.Second
	})
	n.submit(t, time.Hour, addresses(25)...)
	c.wait(t, 25)
	n.stop()
	for _, a := range addresses(25) {
		if c.got[a] != 1 {
			t.Errorf("%s notified %d times", a, c.got[a])
		}
	}
}

// busy refuses the first push and says when to come again.
type busy struct {
	*carrier
	after time.Duration
	mu    sync.Mutex
	times []time.Time
}

type laterError struct{ after time.Duration }

func (e laterError) Error() string             { return "busy" }
func (e laterError) RetryAfter() time.Duration { return e.after }

// Push implements delivery.Notifier.
func (b *busy) Push(ctx context.Context, p *delivery.Push) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.times = append(b.times, time.Now()); len(b.times) == 1 {
		return errors.Join(errors.New("no"), laterError{b.after})
	}
	return b.carrier.Push(ctx, p)
}

// TestCarrierSaysWhen compares the pause with what the carrier asked for, and with a schedule that would be far longer or shorter.
func TestCarrierSaysWhen(t *testing.T) {
	for _, c := range []struct {
		name                      string
		after, first, least, most time.Duration
	}{
		{"sooner than the schedule", 100 * time.Millisecond, time.Minute, 0, 0}, // the schedule's first pause is the least
		{"later than the schedule", 400 * time.Millisecond, 10 * time.Millisecond, 400 * time.Millisecond, 20 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &busy{carrier: newCarrier(), after: c.after}
			n := start(t, "", pgtest.TempDir(t), b, func(d *delivery.Config) { d.RetryFirst, d.RetryMax = c.first, time.Hour })
			got := n.submit(t, time.Hour, "+46700000001")
			if c.most == 0 {
				for { // noted, and not due before the schedule's first pause is over
					next, ok, err := n.NextDue(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					r, _, err := n.Recipient(t.Context(), got.Recipients[0].ID, 0, "")
					if err != nil {
						t.Fatal(err)
					}
					if r.Attempts == 0 {
						continue
					}
					if !ok || time.Until(next) < c.first/2 {
						t.Errorf("due again in %s", time.Until(next))
					}
					return
				}
			}
			b.wait(t, 1)
			n.stop()
			if pause := b.times[1].Sub(b.times[0]); pause < c.least || pause > c.most {
				t.Errorf("tried again after %s", pause)
			}
		})
	}
}

// TestGivenBackWhenStopped stops delivery while a worker is busy: what it had claimed ahead is due at once, for another process of the node.
func TestGivenBackWhenStopped(t *testing.T) {
	s, err := store.Open(t.Context(), store.Options{Dir: pgtest.TempDir(t), Node: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	c := newCarrier()
	busy, release := make(chan struct{}, 10), make(chan struct{})
	cfg := delivery.DefaultConfig()
	cfg.Workers = 2
	d, err := delivery.New(delivery.Options{Config: cfg, Store: s, Composer: plain{}, Log: slog.New(slog.DiscardHandler), Notifier: notifier(func(ctx context.Context, p *delivery.Push) error {
		busy <- struct{}{}
		<-release
		return c.Push(ctx, p)
	})})
	if err != nil {
		t.Fatal(err)
	}
	keep, stopKeep := context.WithCancel(context.Background())
	work, stopWork := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- s.Run(keep) }()
	worked := make(chan error, 1)
	go func() { worked <- d.Run(work) }()
	const all = 20
	(&node{s, nil}).submit(t, time.Hour, addresses(all)...)
	for range cfg.Workers {
		<-busy
	}
	stopWork()
	close(release)
	if err := <-worked; err != nil {
		t.Error(err)
	}
	due, err := s.Claim(t.Context(), 100, time.Minute)
	if err != nil || len(due) != all-cfg.Workers {
		t.Errorf("%d of %d are due, %v", len(due), all-cfg.Workers, err)
	}
	stopKeep()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

type notifier func(ctx context.Context, p *delivery.Push) error

// Push implements delivery.Notifier.
func (n notifier) Push(ctx context.Context, p *delivery.Push) error { return n(ctx, p) }
