package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// opener makes a store on a fresh database; reopen makes another on the same one.
type opener func(t *testing.T, tune store.Tuning) (s *store.Store, reopen func() *store.Store)

func openSQLite(t *testing.T, tune store.Tuning) (*store.Store, func() *store.Store) {
	dir := pgtest.TempDir(t)
	reopen := func() *store.Store {
		t.Helper()
		s, err := store.Open(t.Context(), store.Options{Dir: dir, Node: "r1", Tuning: tune})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return reopen(), reopen
}

// running starts Run and gives the function that ends it.
func running(t *testing.T, s *store.Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func message(t *testing.T, s *store.Store, head, body []byte, to ...string) *store.Message {
	t.Helper()
	u := s.Upload(10 << 20)
	t.Cleanup(func() { u.Close() })
	if _, err := u.ReadFrom(bytes.NewReader(append(append([]byte{}, head...), body...))); err != nil {
		t.Fatal(err)
	}
	m := &store.Message{Origin: store.FromMM1, Sender: "+46700000001", TransactionID: "t1", Version: 0x92, Class: "personal", Priority: 1,
		DeliverAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour), Head: []byte{0x96, 'h', 'i', 0}, Upload: u, BodyAt: int64(len(head)),
		ContentType: []byte{0xA3}, Subscriber: "+46700000001"}
	for _, a := range to {
		m.Recipients = append(m.Recipients, store.Recipient{Kind: store.To, Address: a})
	}
	return m
}

func TestSQLite(t *testing.T) { conformance(t, openSQLite) }

// TestSegments is the same with every content in a segment, and a segment for a few of them.
func TestSegments(t *testing.T) {
	conformance(t, func(t *testing.T, tune store.Tuning) (*store.Store, func() *store.Store) {
		tune.Inline, tune.Segment = 1, 128<<10
		return openSQLite(t, tune)
	})
}

// conformance is what every engine has to do.
func conformance(t *testing.T, open opener) {
	for _, c := range []struct {
		name string
		test func(*testing.T, opener)
	}{
		{"a message comes out as it went in, at any size", testRoundTrip},
		{"the same submission again gets the first id", testDedupe},
		{"many writers at once", testConcurrent},
		{"what was stored is there after a restart", testRestart},
		{"another secret finds nothing", testSecret},
		{"uploads beyond the memory budget go to a file", testBudget},
		{"writes after the end are refused", testClosed},
		{"due work is claimed once", testClaim},
		{"leases run out and are given back", testLeases},
		{"one final state, one report", testFinal},
		{"many want to finish a recipient, one does", testOneFinal},
		{"one read report", testRead},
		{"CDRs are claimed, confirmed and found again", testRecords},
		{"a forwarded message shares its content", testForward},
		{"what is old is purged, what is used stays", testPurge},
		{"lists, requeue, cancel", testListing},
		{"held PDUs keep the order of their sender", testHeld},
		{"MMBox", testBox},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open) })
	}
}

func body(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

func fetch(t *testing.T, s *store.Store, ref store.Ref) ([]byte, *store.Fetchable) {
	t.Helper()
	f, err := s.Lookup(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := f.WriteBody(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), f
}

func testRoundTrip(t *testing.T, open opener) {
	s, _ := open(t, store.Tuning{})
	running(t, s)
	for _, n := range []int{0, 1, 100, 65535, 65536, 65537, 300_000, 5 << 20} {
		want := body(n)
		m := message(t, s, []byte("head"), want, "+46700000002", "user@example.net")
		got, err := s.Submit(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Recipients) != 2 || got.Duplicate {
			t.Fatalf("%d octets: %+v", n, got)
		}
		for i, ref := range got.Recipients {
			b, f := fetch(t, s, ref)
			if !bytes.Equal(b, want) || f.Size != int64(n) {
				t.Errorf("%d octets: body differs (%d octets came back)", n, len(b))
			}
			if f.Address != m.Recipients[i].Address || f.Sender != m.Sender || !bytes.Equal(f.Head, m.Head) || f.Message != got.Message || f.State != store.Queued {
				t.Errorf("%d octets: envelope differs: %+v", n, f)
			}
		}
	}
}

func testDedupe(t *testing.T, open opener) {
	s, _ := open(t, store.Tuning{})
	running(t, s)
	submit := func(change func(*store.Message)) store.Submitted {
		m := message(t, s, []byte("head"), body(1000), "+46700000002")
		m.Dedupe = true
		change(m)
		got, err := s.Submit(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := submit(func(*store.Message) {})
	again := submit(func(*store.Message) {})
	if !again.Duplicate || again.Message != first.Message {
		t.Errorf("first %v, again %+v", first.Message, again)
	}
	for name, change := range map[string]func(*store.Message){
		"another transaction": func(m *store.Message) { m.TransactionID = "t2" },
		"another subscriber":  func(m *store.Message) { m.Subscriber = "+46700000009" },
		"another body":        func(m *store.Message) { m.Upload = message(t, s, []byte("head"), body(1001)).Upload },
		"nobody known":        func(m *store.Message) { m.Subscriber = "" },
	} {
		if got := submit(change); got.Duplicate || got.Message == first.Message {
			t.Errorf("%s: taken for the first", name)
		}
	}
}

func testConcurrent(t *testing.T, open opener) {
	s, _ := open(t, store.Tuning{})
	running(t, s)
	const writers, each = 16, 10
	var mu sync.Mutex
	seen := map[store.ID]bool{}
	var wg sync.WaitGroup
	for w := range writers {
		for i := range each {
			m := message(t, s, nil, body(2000+w), "+46700000002")
			m.TransactionID = fmt.Sprint(w, "-", i/2) // each one twice
			m.Dedupe = true
			wg.Go(func() {
				got, err := s.Submit(context.Background(), m)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				seen[got.Message.ID] = true
				mu.Unlock()
			})
		}
	}
	wg.Wait()
	if want := writers * each / 2; len(seen) != want {
		t.Errorf("%d messages of %d", len(seen), want)
	}
}

func testRestart(t *testing.T, open opener) {
	s, reopen := open(t, store.Tuning{})
	stop := running(t, s)
	got, err := s.Submit(t.Context(), message(t, s, nil, body(70_000), "+46700000002"))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	s = reopen()
	running(t, s)
	if b, _ := fetch(t, s, got.Recipients[0]); !bytes.Equal(b, body(70_000)) {
		t.Error("the body differs after a restart")
	}
	next, err := s.Submit(t.Context(), message(t, s, nil, body(10), "+46700000002"))
	if err != nil {
		t.Fatal(err)
	}
	if next.Message.ID <= got.Message.ID {
		t.Errorf("ids do not grow over a restart: %d after %d", next.Message.ID, got.Message.ID)
	}
}

func testSecret(t *testing.T, open opener) {
	s, _ := open(t, store.Tuning{})
	running(t, s)
	got, err := s.Submit(t.Context(), message(t, s, nil, body(10), "+46700000002"))
	if err != nil {
		t.Fatal(err)
	}
	ref := got.Recipients[0]
	for name, change := range map[string]func(){
		"a bit of the secret": func() { ref.Secret[15] ^= 1 },
		"the message's ref":   func() { ref = got.Message },
		"no such id":          func() { ref.ID++ },
	} {
		ref = got.Recipients[0]
		change()
		if _, err := s.Lookup(t.Context(), ref); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testBudget(t *testing.T, open opener) {
	s, _ := open(t, store.Tuning{Memory: 128 << 10})
	running(t, s)
	for _, n := range []int{100_000, 128 << 10, 128<<10 + 1, 700_000} {
		m := message(t, s, []byte("head"), body(n), "+46700000002")
		got, err := s.Submit(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := fetch(t, s, got.Recipients[0]); !bytes.Equal(b, body(n)) {
			t.Errorf("%d octets differ", n)
		}
		if err := m.Upload.Close(); err != nil {
			t.Error(err)
		}
	}
}

func testClosed(t *testing.T, open opener) {
	s, _ := open(t, store.Tuning{})
	stop := running(t, s)
	m := message(t, s, nil, body(10), "+46700000002")
	stop()
	var down *store.Unavailable
	if _, err := s.Submit(t.Context(), m); !errors.As(err, &down) {
		t.Errorf("Submit after the end: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close after Run: %v", err)
	}
}
