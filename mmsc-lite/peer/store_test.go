package peer_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/peer"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

func TestSQLite(t *testing.T) {
	dir := pgtest.TempDir(t)
	conformance(t, func() peer.Store { return open(t, dir, "") })
}

func TestPostgres(t *testing.T) {
	dsn := pgtest.DSN(t)
	conformance(t, func() peer.Store { return open(t, "", dsn) })
}

func open(t *testing.T, dir, dsn string) peer.Store {
	t.Helper()
	st, err := peer.Open(t.Context(), dir, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

func msg(location, subscriber, tid string, life time.Duration) *peer.Message {
	return &peer.Message{Key: peer.KeyOf(location, subscriber), Operator: "b", Location: location, Subscriber: subscriber, TransactionID: tid,
		MessageID: "id-" + tid, ExpiresAt: time.Now().Add(life).Truncate(time.Millisecond)}
}

// conformance is what every Store does; open opens the same one again, as another process would.
func conformance(t *testing.T, open func() peer.Store) {
	one, two := open(), open()
	t.Run("message", func(t *testing.T) { messages(t, one, two) })
	t.Run("match", func(t *testing.T) { match(t, one) })
	t.Run("indication", func(t *testing.T) { indications(t, one, two) })
	t.Run("purge", func(t *testing.T) { purge(t, one) })
}

func messages(t *testing.T, one, two peer.Store) {
	ctx := t.Context()
	m := msg("http://b/1", bob, "t1", time.Hour)
	if _, err := one.Find(ctx, m.Key); !errors.Is(err, peer.ErrNotFound) {
		t.Fatal(err)
	}
	pdu := bytes.Repeat([]byte("0123456789"), 20_000)
	m.Size = int64(len(pdu))
	var wg sync.WaitGroup
	for i, st := range []peer.Store{one, two, one, two} { // the first one wins, no other fails
		wg.Go(func() {
			if err := st.Keep(ctx, m, pdu); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	wg.Wait()
	got, err := two.Find(ctx, m.Key)
	if err != nil || fmt.Sprint(*got) != fmt.Sprint(*m) {
		t.Fatalf("%v: %+v\nwant %+v", err, got, m)
	}
	var b bytes.Buffer
	if err := two.Write(ctx, got, &b); err != nil || !bytes.Equal(b.Bytes(), pdu) {
		t.Errorf("%v, %d octets", err, b.Len())
	}
	old := msg("http://b/old", bob, "t0", -time.Second)
	for range 2 {
		old.Size = 3
		if err := one.Keep(ctx, old, []byte("old")); err != nil {
			t.Error(err)
		}
	}
	if _, err := one.Find(ctx, old.Key); !errors.Is(err, peer.ErrNotFound) {
		t.Errorf("an expired one: %v", err)
	}
	old.ExpiresAt, old.Size = time.Now().Add(time.Hour), 5
	if err := one.Keep(ctx, old, []byte("young")); err != nil {
		t.Error(err)
	}
	if got, err := one.Find(ctx, old.Key); err != nil || got.Size != 5 {
		t.Errorf("in the place of an expired one: %v", err)
	}
}

func match(t *testing.T, st peer.Store) {
	ctx := t.Context()
	began := time.Now().Add(-time.Second)
	a, b, anyone := msg("http://b/a", alice, "tx", time.Hour), msg("http://b/b", "+1", "tx", time.Hour), msg("http://b/c", "", "ty", time.Hour)
	for _, m := range []*peer.Message{a, b, anyone} {
		if err := st.Keep(ctx, m, []byte("pdu")); err != nil {
			t.Fatal(err)
		}
	}
	want := func(name string, q peer.Query, want *peer.Message) {
		t.Helper()
		got, err := st.Match(ctx, q)
		switch {
		case want == nil && !errors.Is(err, peer.ErrNotFound):
			t.Errorf("%s: %v %+v", name, err, got)
		case want != nil && (err != nil || got.Key != want.Key):
			t.Errorf("%s: %v %+v", name, err, got)
		}
	}
	want("transaction of one", peer.Query{TransactionID: "tx", Subscriber: alice}, a)
	want("transaction of the other", peer.Query{TransactionID: "tx", Subscriber: "+1"}, b)
	want("of neither", peer.Query{TransactionID: "tx", Subscriber: "+2"}, nil)
	want("fetched for nobody known", peer.Query{TransactionID: "ty", Subscriber: "+2"}, anyone)
	want("Message-ID", peer.Query{MessageID: "id-tx", Subscriber: "+1"}, b)
	want("of whom nobody knows, several", peer.Query{TransactionID: "tx"}, nil)
	want("of whom nobody knows, one", peer.Query{TransactionID: "ty"}, anyone)
	odd := msg("http://b/odd", bob, "t\xE4\xFFx", time.Hour) // no text, but octets that a peer may choose
	if err := st.Keep(ctx, odd, []byte("pdu")); err != nil {
		t.Fatal(err)
	}
	want("a transaction id that is no text", peer.Query{TransactionID: odd.TransactionID, Subscriber: bob}, odd)
	want("a Message-ID that is none", peer.Query{MessageID: odd.MessageID, Subscriber: bob}, odd)
	want("unknown, and no text", peer.Query{TransactionID: "\xFF", Subscriber: bob}, nil)
	want("unknown", peer.Query{TransactionID: "tz", Subscriber: alice}, nil)
	want("not served", peer.Query{ServedSince: began, Subscriber: alice}, nil)
	if err := st.Served(ctx, a.Key); err != nil {
		t.Fatal(err)
	}
	want("served", peer.Query{ServedSince: began, Subscriber: alice}, a)
	want("served long ago", peer.Query{ServedSince: time.Now().Add(time.Hour), Subscriber: alice}, nil)
	more := msg("http://b/more", alice, "tw", time.Hour)
	if err := errors.Join(st.Keep(ctx, more, []byte("pdu")), st.Served(ctx, more.Key)); err != nil {
		t.Fatal(err)
	}
	want("two served", peer.Query{ServedSince: began, Subscriber: alice}, nil)
	i := &peer.Indication{Location: "http://b/gone", PDU: []byte("x"), ExpiresAt: time.Now().Add(time.Hour)}
	if err := st.Queue(ctx, more, i, 100); err != nil {
		t.Fatal(err)
	}
	want("one of them answered", peer.Query{ServedSince: began, Subscriber: alice}, a)
	if due, _, err := st.Due(ctx, time.Now().Add(time.Hour), 9); err != nil || len(due) != 1 || st.Settle(ctx, due[0], time.Time{}) != nil {
		t.Errorf("%v %v", err, due)
	}
}

func indications(t *testing.T, one, two peer.Store) {
	ctx := t.Context()
	expires := time.Now().Add(time.Hour)
	for n := range 10 {
		i := &peer.Indication{Location: fmt.Sprint("http://b/", n), PDU: []byte("pdu"), ExpiresAt: expires}
		for range 2 {
			if err := one.Queue(ctx, nil, i, 10); err != nil && n < 9 {
				t.Fatal(n, err)
			}
		}
	}
	if err := one.Queue(ctx, nil, &peer.Indication{Location: "http://b/x", PDU: []byte("pdu"), ExpiresAt: expires}, 10); !errors.Is(err, peer.ErrFull) {
		t.Errorf("beyond the limit: %v", err)
	}
	var mu sync.Mutex
	taken := map[string]int{}
	var wg sync.WaitGroup
	for _, st := range []peer.Store{one, two, one, two} {
		wg.Go(func() {
			for {
				due, _, err := st.Due(ctx, time.Now().Add(time.Minute), 2)
				if err != nil {
					t.Error(err)
				}
				if len(due) == 0 {
					return
				}
				mu.Lock()
				for _, i := range due {
					taken[i.Location]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(taken) != 10 {
		t.Errorf("leased %v", taken)
	}
	for at, n := range taken {
		if n != 1 {
			t.Errorf("%s was leased %d times", at, n)
		}
	}
	again := time.Now().Add(-time.Millisecond)
	if err := one.Settle(ctx, &peer.Indication{Location: "http://b/3", PDU: []byte("pdu")}, again); err != nil {
		t.Fatal(err)
	}
	due, next, err := two.Due(ctx, time.Now().Add(time.Minute), 9)
	if err != nil || len(due) != 1 || due[0].Location != "http://b/3" || string(due[0].PDU) != "pdu" || due[0].Attempts != 1 || due[0].ExpiresAt.UnixMilli() != expires.UnixMilli() ||
		time.Until(next) < 30*time.Second {
		t.Errorf("%v %+v, next %s", err, due, next)
	}
	for at := range taken {
		if err := one.Settle(ctx, &peer.Indication{Location: at, PDU: []byte("pdu")}, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.Queue(ctx, nil, &peer.Indication{Location: "http://b/3", PDU: []byte("pdu"), ExpiresAt: expires}, 10); err != nil {
		t.Fatal(err)
	}
	if due, next, err := one.Due(ctx, time.Now().Add(time.Minute), 9); err != nil || len(due) != 0 || !next.IsZero() {
		t.Errorf("one that was done: %v %v %s", err, due, next)
	}
}

func purge(t *testing.T, st peer.Store) {
	ctx := t.Context()
	old, young := msg("http://b/p1", bob, "p1", -time.Second), msg("http://b/p2", bob, "p2", time.Hour)
	old.Size, young.Size = 3, 3
	if err := errors.Join(st.Keep(ctx, old, []byte("old")), st.Keep(ctx, young, []byte("yng"))); err != nil {
		t.Fatal(err)
	}
	late := &peer.Indication{Location: "http://b/late", PDU: []byte("pdu"), ExpiresAt: time.Now().Add(-time.Second)}
	if err := errors.Join(st.Queue(ctx, nil, late, 10), st.Purge(ctx)); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := st.Write(ctx, old, &b); err == nil {
		t.Errorf("an expired one's octets are there: %q", b.String())
	}
	b.Reset()
	if err := st.Write(ctx, young, &b); err != nil || b.String() != "yng" {
		t.Errorf("%v %q", err, b.String())
	}
	due, _, err := st.Due(ctx, time.Now().Add(time.Minute), 9)
	if err != nil || len(due) != 1 {
		t.Errorf("an expired one that nobody has settled: %v %v", err, due)
	}
}
