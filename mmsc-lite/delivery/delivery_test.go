package delivery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/delivery"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// carrier takes pushes and counts them by recipient.
type carrier struct {
	mu    sync.Mutex
	got   map[string]int
	total int
	fail  int // refuse so many first
	seen  chan struct{}
}

func newCarrier() *carrier {
	return &carrier{got: map[string]int{}, seen: make(chan struct{}, 10_000)}
}

// Push implements delivery.Notifier.
func (c *carrier) Push(_ context.Context, p *delivery.Push) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.seen <- struct{}{} }()
	c.total++
	if c.total <= c.fail {
		return errors.New("no")
	}
	c.got[p.To]++
	return nil
}

func (c *carrier) wait(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		select {
		case <-c.seen:
		case <-time.After(20 * time.Second):
			t.Fatalf("%d pushes of %d", i, n)
		}
	}
}

// plain makes pushes without PDUs.
type plain struct{}

// Notification implements delivery.Composer.
func (plain) Notification(d *store.Due) *delivery.Push {
	return &delivery.Push{Kind: mms.MNotificationInd, To: d.Address}
}

// Report implements delivery.Composer.
func (plain) Report(r *store.Report) *delivery.Push {
	return &delivery.Push{Kind: mms.MDeliveryInd, To: r.Address}
}

// node is a store with a delivery on it.
type node struct {
	*store.Store
	stop func()
}

func start(t *testing.T, database, dir string, n delivery.Notifier, change func(*delivery.Config)) *node {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: dir, Database: database, Node: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := delivery.DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	d, err := delivery.New(delivery.Options{Config: cfg, Store: s, Notifier: n, Composer: plain{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	work, stopWork := context.WithCancel(context.Background())
	keep, stopKeep := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- s.Run(keep) }()
	worked := make(chan error, 1)
	go func() { worked <- d.Run(work) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			stopWork()
			err := <-worked
			stopKeep()
			if err := errors.Join(err, <-ended); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return &node{s, stop}
}

func (n *node) submit(t *testing.T, expires time.Duration, to ...string) store.Submitted {
	t.Helper()
	u := n.Upload(1000)
	defer u.Close()
	if _, err := u.ReadFrom(bytes.NewReader([]byte("body"))); err != nil {
		t.Fatal(err)
	}
	m := &store.Message{Origin: store.FromMM1, Sender: "+1", ExpiresAt: time.Now().Add(expires), Upload: u}
	for _, a := range to {
		m.Recipients = append(m.Recipients, store.Recipient{Kind: store.To, Address: a, Due: time.Now()})
	}
	got, err := n.Submit(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (n *node) await(t *testing.T, ref store.Ref, want store.State) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		r, _, err := n.Recipient(t.Context(), ref.ID, 0, "")
		if err != nil {
			t.Fatal(err)
		}
		if r.State == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("state %v, want %v", r.State, want)
		}
	}
}

func addresses(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("+4670%07d", i))
	}
	return all
}

func TestEachOnce(t *testing.T) {
	c := newCarrier()
	n := start(t, "", pgtest.TempDir(t), c, func(c *delivery.Config) { c.Workers = 3 })
	n.submit(t, time.Hour, addresses(50)...)
	c.wait(t, 50)
	n.stop()
	for _, a := range addresses(50) {
		if c.got[a] != 1 {
			t.Errorf("%s notified %d times", a, c.got[a])
		}
	}
}

func TestTwoNodes(t *testing.T) {
	dsn := pgtest.DSN(t)
	c := newCarrier()
	a, b := start(t, dsn, pgtest.TempDir(t), c, nil), start(t, dsn, pgtest.TempDir(t), c, nil)
	const each = 40
	for i, addr := range addresses(2 * each) {
		[]*node{a, b}[i%2].submit(t, time.Hour, addr)
	}
	c.wait(t, 2*each)
	a.stop()
	b.stop()
	for _, addr := range addresses(2 * each) {
		if c.got[addr] != 1 {
			t.Errorf("%s notified %d times", addr, c.got[addr])
		}
	}
}

func TestRetryAndExpiry(t *testing.T) {
	c := newCarrier()
	c.fail = 3
	n := start(t, "", pgtest.TempDir(t), c, func(c *delivery.Config) { c.RetryFirst, c.RetryMax = 10*time.Millisecond, 40*time.Millisecond })
	got := n.submit(t, 2*time.Second, "+46700000001")
	c.wait(t, 4)
	n.await(t, got.Recipients[0], store.Notified)
	n.await(t, got.Recipients[0], store.Expired)
}

func TestFetchedBecomesRetrieved(t *testing.T) {
	c := newCarrier()
	n := start(t, "", pgtest.TempDir(t), c, nil)
	got := n.submit(t, time.Hour, "+46700000001")
	c.wait(t, 1)
	if err := n.Fetched(t.Context(), got.Recipients[0].ID, time.Now().Add(50*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n.await(t, got.Recipients[0], store.Retrieved)
	if c.total != 1 {
		t.Errorf("%d notifications", c.total)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(*delivery.Config)
	}{
		{"default", "", func(*delivery.Config) {}},
		{"no workers", "mmsc.delivery.workers", func(c *delivery.Config) { c.Workers = 0 }},
		{"short lease", "mmsc.delivery.lease", func(c *delivery.Config) { c.Lease = c.Timeout }},
		{"no pauses", "mmsc.delivery.renotify", func(c *delivery.Config) { c.Renotify = nil }},
		{"a pause too short", "mmsc.delivery.renotify", func(c *delivery.Config) { c.Renotify = []time.Duration{time.Millisecond} }},
		{"ceiling below the floor", "mmsc.delivery.retry_first", func(c *delivery.Config) { c.RetryMax = 1 }},
		{"jitter", "mmsc.delivery.jitter", func(c *delivery.Config) { c.Jitter = 1 }},
	} {
		cfg := delivery.DefaultConfig()
		c.change(&cfg)
		err := cfg.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
