package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// queued stores a message that asks for reports, with work due now for each recipient.
func queued(t *testing.T, s *store.Store, to ...string) store.Submitted {
	t.Helper()
	m := message(t, s, nil, body(100), to...)
	m.DeliveryReport, m.ReadReport = true, true
	for i := range m.Recipients {
		m.Recipients[i].Due = time.Now().Add(-time.Second)
	}
	got, err := s.Submit(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func claim(t *testing.T, s *store.Store, limit int, lease time.Duration) []store.Due {
	t.Helper()
	got, err := s.Claim(t.Context(), limit, lease)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func stateOf(t *testing.T, s *store.Store, ref store.Ref) store.State {
	t.Helper()
	r, _, err := s.Recipient(t.Context(), ref.ID, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	return r.State
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testClaim(t *testing.T, open opener) {
	s, _ := open(t, store.Tuning{})
	running(t, s)
	for range 5 {
		queued(t, s, "+46700000002")
	}
	first := claim(t, s, 3, time.Hour)
	second := claim(t, s, 10, time.Hour)
	if len(first) != 3 || len(second) != 2 || len(claim(t, s, 10, time.Hour)) != 0 {
		t.Fatalf("claimed %d, then %d", len(first), len(second))
	}
	d := first[0]
	if d.Address != "+46700000002" || d.State != store.Queued || !d.DeliveryReport || d.Sender != "+46700000001" {
		t.Errorf("%+v", d)
	}
	must(t, s.Attempted(t.Context(), &d, time.Now().Add(time.Hour), ""))
	if got := stateOf(t, s, d.Recipient); got != store.Notified {
		t.Errorf("state %v", got)
	}
	if err := s.Attempted(t.Context(), &d, time.Now(), ""); !errors.Is(err, store.ErrStale) {
		t.Errorf("a claim ended twice: %v", err)
	}
	d = first[1]
	must(t, s.Attempted(t.Context(), &d, time.Now().Add(-time.Second), "no gateway"))
	if got := claim(t, s, 10, time.Hour); len(got) != 1 || got[0].Attempts != 1 || got[0].State != store.Queued {
		t.Errorf("after a failed attempt: %+v", got)
	}
	next, ok, err := s.NextDue(t.Context())
	if err != nil || !ok || time.Until(next) < 50*time.Minute {
		t.Errorf("next due %v %v %v", next, ok, err)
	}
}

func testLeases(t *testing.T, open opener) {
	s, reopen := open(t, store.Tuning{})
	stop := running(t, s)
	queued(t, s, "+46700000002")
	if got := claim(t, s, 1, -time.Minute); len(got) != 1 {
		t.Fatal("not claimed")
	}
	if got := claim(t, s, 1, time.Hour); len(got) != 1 {
		t.Fatal("a lease that ran out keeps others away")
	}
	stop() // gives it back
	s = reopen()
	running(t, s)
	if got := claim(t, s, 1, time.Hour); len(got) != 1 {
		t.Error("a process that ended in good order keeps its lease")
	}
}

func testFinal(t *testing.T, open opener) {
	s, _ := open(t, store.Tuning{})
	running(t, s)
	for _, c := range []struct {
		name   string
		do     func(ref store.Ref) error
		state  store.State
		report byte // 0: none
	}{
		{"retrieved", func(r store.Ref) error { return s.Finish(t.Context(), r.ID, store.Outcome{State: store.Retrieved}) }, store.Retrieved, 0x81},
		{"rejected after deferred", func(r store.Ref) error {
			must(t, s.Defer(t.Context(), r.ID, time.Now().Add(time.Hour), true))
			return s.Finish(t.Context(), r.ID, store.Outcome{State: store.Rejected})
		}, store.Rejected, 0x82},
		{"expired after fetched", func(r store.Ref) error {
			must(t, s.Fetched(t.Context(), r.ID, time.Now().Add(time.Hour)))
			must(t, s.Fetched(t.Context(), r.ID, time.Now().Add(time.Hour)))
			must(t, s.Defer(t.Context(), r.ID, time.Now().Add(time.Hour), true)) // overtaken
			if got := stateOf(t, s, r); got != store.Fetched {
				t.Errorf("a late Deferred made it %v", got)
			}
			return s.Finish(t.Context(), r.ID, store.Outcome{State: store.Expired})
		}, store.Expired, 0x80},
		{"no report allowed", func(r store.Ref) error {
			return s.Finish(t.Context(), r.ID, store.Outcome{State: store.Retrieved, SuppressReport: true})
		}, store.Retrieved, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := queued(t, s, "+46700000002")
			must(t, c.do(got.Recipients[0]))
			for _, again := range []store.State{store.Retrieved, store.Expired} {
				if err := s.Finish(t.Context(), got.Recipients[0].ID, store.Outcome{State: again}); !errors.Is(err, store.ErrFinal) {
					t.Errorf("finished twice: %v", err)
				}
			}
			if st := stateOf(t, s, got.Recipients[0]); st != c.state {
				t.Errorf("state %v, want %v", st, c.state)
			}
			reports, err := s.ClaimReports(t.Context(), 10, time.Hour)
			must(t, err)
			switch {
			case c.report == 0 && len(reports) != 0:
				t.Errorf("reports %+v", reports)
			case c.report != 0 && (len(reports) != 1 || reports[0].Status != c.report || reports[0].Message != got.Message || reports[0].About != "+46700000002" || reports[0].Address != "+46700000001"):
				t.Errorf("reports %+v", reports)
			}
			for i := range reports {
				must(t, s.EndReport(t.Context(), &reports[i], time.Time{}, ""))
			}
			if got := claim(t, s, 10, time.Hour); len(got) != 0 {
				t.Errorf("work on a final recipient: %+v", got)
			}
		})
	}
}

func testOneFinal(t *testing.T, open opener) {
	s, reopen := open(t, store.Tuning{})
	running(t, s)
	stores := []*store.Store{s}
	if s.Engine() == "postgres" { // two nodes on one database
		other := reopen()
		running(t, other)
		stores = append(stores, other)
	}
	got := queued(t, s, "+46700000002", "+46700000003")
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			err := stores[i%len(stores)].Finish(context.Background(), got.Recipients[i/2%2].ID, store.Outcome{State: store.Retrieved + store.State(i%5)})
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, store.ErrFinal) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 2 {
		t.Errorf("%d of 2 recipients finished", won.Load())
	}
	reports, err := s.ClaimReports(t.Context(), 10, time.Hour)
	must(t, err)
	records, err := s.ClaimRecords(t.Context(), 10, true)
	must(t, err)
	if len(reports) != 2 || len(records) != 2 {
		t.Errorf("%d reports, %d CDRs", len(reports), len(records))
	}
}

func testRead(t *testing.T, open opener) {
	s, _ := open(t, store.Tuning{})
	running(t, s)
	got := queued(t, s, "+46700000002")
	must(t, s.Read(t.Context(), got.Recipients[0].ID, 0x80))
	if err := s.Read(t.Context(), got.Recipients[0].ID, 0x81); !errors.Is(err, store.ErrFinal) {
		t.Errorf("read twice: %v", err)
	}
	reports, err := s.ClaimReports(t.Context(), 10, time.Hour)
	must(t, err)
	if len(reports) != 1 || reports[0].Kind != store.ReadReport || reports[0].Status != 0x80 {
		t.Errorf("%+v", reports)
	}
	must(t, s.EndReport(t.Context(), &reports[0], time.Now().Add(-time.Second), "later"))
	if reports, err = s.ClaimReports(t.Context(), 10, time.Hour); err != nil || len(reports) != 1 || reports[0].Attempts != 1 {
		t.Errorf("after a failed attempt: %+v %v", reports, err)
	}
}

func testRecords(t *testing.T, open opener) {
	s, reopen := open(t, store.Tuning{})
	stop := running(t, s)
	got := queued(t, s, "+46700000002", "+46700000003")
	for _, r := range got.Recipients {
		must(t, s.Finish(t.Context(), r.ID, store.Outcome{State: store.Retrieved}))
	}
	first, err := s.ClaimRecords(t.Context(), 1, true)
	must(t, err)
	if len(first) != 1 {
		t.Fatalf("claimed %d", len(first))
	}
	var cdr store.CDR
	must(t, json.Unmarshal([]byte(first[0].JSON), &cdr))
	if cdr.Recipient != "+46700000002" || cdr.State != "retrieved" || cdr.MessageID != got.Message.String() || cdr.Final.IsZero() {
		t.Errorf("%+v", cdr)
	}
	stop() // before it is confirmed
	s = reopen()
	running(t, s)
	doubt, err := s.ClaimRecords(t.Context(), 10, false)
	must(t, err)
	if len(doubt) != 1 || doubt[0] != first[0] {
		t.Errorf("in doubt: %+v", doubt)
	}
	must(t, s.RecordsWritten(t.Context(), doubt))
	rest, err := s.ClaimRecords(t.Context(), 10, true)
	must(t, err)
	if len(rest) != 1 || rest[0].Recipient == first[0].Recipient {
		t.Errorf("rest: %+v", rest)
	}
}

func testForward(t *testing.T, open opener) {
	s, _ := open(t, store.Tuning{})
	running(t, s)
	got := queued(t, s, "+46700000002")
	m := message(t, s, nil, nil, "+46700000005")
	m.Upload, m.Origin, m.Parent, m.Forwarder = nil, store.FromForward, got.Message.ID, got.Recipients[0].ID
	onward, err := s.Submit(t.Context(), m)
	must(t, err)
	if st := stateOf(t, s, got.Recipients[0]); st != store.Forwarded {
		t.Errorf("forwarder is %v", st)
	}
	if b, _ := fetch(t, s, onward.Recipients[0]); !bytes.Equal(b, body(100)) {
		t.Error("the forwarded content differs")
	}
	m.Parent, m.Forwarder = 12345, 0
	if _, err := s.Submit(t.Context(), m); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("forward of nothing: %v", err)
	}
}

func testPurge(t *testing.T, open opener) {
	s, _ := open(t, store.Tuning{KeepContent: time.Millisecond, KeepMessages: time.Millisecond, DedupeWindow: time.Millisecond})
	running(t, s)
	got := queued(t, s, "+46700000002")
	kept := queued(t, s, "+46700000003")
	m := message(t, s, nil, nil, "+46700000005")
	m.Upload, m.Parent, m.Forwarder = nil, got.Message.ID, got.Recipients[0].ID
	onward, err := s.Submit(t.Context(), m)
	must(t, err)
	records, err := s.ClaimRecords(t.Context(), 10, true)
	must(t, err)
	sweepUntil := func(what string, done func() bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !done(); {
			if time.Now().After(end) {
				t.Fatal(what)
			}
			s.Sweep(t.Context())
		}
	}
	gone := func(ref store.Ref) func() bool {
		return func() bool { _, err := s.Lookup(t.Context(), ref); return errors.Is(err, store.ErrNotFound) }
	}
	sweepUntil("the content stays", gone(got.Recipients[0]))
	if b, _ := fetch(t, s, onward.Recipients[0]); !bytes.Equal(b, body(100)) {
		t.Error("a content that is still used was purged")
	}
	if _, events, err := s.Show(t.Context(), got.Message.ID); err != nil || len(events) < 2 {
		t.Errorf("the timeline did not outlive its content: %v %v", events, err)
	}
	must(t, s.RecordsWritten(t.Context(), records))
	sweepUntil("the rows stay", func() bool {
		_, _, err := s.Show(t.Context(), got.Message.ID)
		return errors.Is(err, store.ErrNotFound)
	})
	if _, err := s.Lookup(t.Context(), kept.Recipients[0]); err != nil {
		t.Errorf("an open message was purged: %v", err)
	}
}

func testListing(t *testing.T, open opener) {
	s, _ := open(t, store.Tuning{})
	running(t, s)
	a, b := queued(t, s, "+46700000002", "+46700000003"), queued(t, s, "+46700000003")
	must(t, s.Finish(t.Context(), b.Recipients[0].ID, store.Outcome{State: store.Rejected}))
	for _, c := range []struct {
		name   string
		filter store.Filter
		want   []store.Ref
	}{
		{"all, newest first", store.Filter{}, []store.Ref{b.Message, a.Message}},
		{"limit", store.Filter{Limit: 1}, []store.Ref{b.Message}},
		{"recipient", store.Filter{Number: "+46700000002"}, []store.Ref{a.Message}},
		{"sender", store.Filter{Number: "+46700000001"}, []store.Ref{b.Message, a.Message}},
		{"state", store.Filter{State: store.Rejected}, []store.Ref{b.Message}},
		{"future", store.Filter{After: time.Now().Add(time.Hour)}, nil},
		{"past", store.Filter{Before: time.Now().Add(-time.Hour)}, nil},
		{"nobody", store.Filter{Number: "+1"}, nil},
	} {
		got, err := s.List(t.Context(), c.filter)
		must(t, err)
		var refs []store.Ref
		for _, m := range got {
			refs = append(refs, m.Message)
		}
		if fmt.Sprint(refs) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", c.name, refs, c.want)
		}
	}
	if n, err := s.Requeue(t.Context(), b.Message.ID); n != 0 || err != nil {
		t.Errorf("requeued a final recipient: %d %v", n, err)
	}
	if n, err := s.Requeue(t.Context(), a.Message.ID); n != 2 || err != nil {
		t.Errorf("requeue: %d %v", n, err)
	}
	for _, d := range claim(t, s, 1, time.Hour) {
		must(t, s.Attempted(t.Context(), &d, time.Now().Add(time.Hour), ""))
	}
	if n, err := s.Cancel(t.Context(), a.Message.ID); n != 2 || err != nil {
		t.Errorf("cancel: %d %v", n, err)
	}
	reports, err := s.ClaimReports(t.Context(), 10, time.Hour)
	must(t, err)
	kinds := map[store.ReportKind]int{}
	for _, r := range reports {
		kinds[r.Kind]++
	}
	if kinds[store.DeliveryReport] != 3 || kinds[store.CancelRequest] != 1 {
		t.Errorf("reports %v", kinds)
	}
}

func testHeld(t *testing.T, open opener) {
	s, _ := open(t, store.Tuning{})
	running(t, s)
	hold := func(who, transaction string, n int) (store.Ref, bool) {
		t.Helper()
		m := message(t, s, nil, body(n))
		ref, dup, err := s.Hold(t.Context(), &store.Holdable{Subscriber: who, TransactionID: transaction, PDU: 0x80, Request: `{"a":1}`,
			ExpiresAt: time.Now().Add(time.Hour), Upload: m.Upload})
		must(t, err)
		return ref, dup
	}
	a1, _ := hold("a", "1", 100_000)
	a2, _ := hold("a", "2", 10)
	b1, _ := hold("b", "1", 10)
	n1, _ := hold("", "1", 10)
	n2, _ := hold("", "1", 10)
	if again, dup := hold("a", "1", 100_000); !dup || again != a1 {
		t.Errorf("held twice")
	}
	first, err := s.ClaimHeld(t.Context(), 10, time.Hour)
	must(t, err)
	var refs []store.Ref
	for _, h := range first {
		refs = append(refs, h.Ref)
	}
	if fmt.Sprint(refs) != fmt.Sprint([]store.Ref{a1, b1, n1, n2}) {
		t.Fatalf("claimed %v, want %v (a's second waits for its first)", refs, []store.Ref{a1, b1, n1, n2})
	}
	var out bytes.Buffer
	must(t, first[0].Write(t.Context(), &out))
	if !bytes.Equal(out.Bytes(), body(100_000)) || first[0].Request != `{"a":1}` {
		t.Error("the held PDU differs")
	}
	must(t, s.EndHeld(t.Context(), &first[0], store.HeldOutcome{State: store.HeldForwarded, Target: "mmsc-a", UpstreamID: "m1@a", Status: 0x80}))
	must(t, s.EndHeld(t.Context(), &first[1], store.HeldOutcome{State: store.Holding, Next: time.Now().Add(time.Hour), Why: "refused"}))
	if err := s.EndHeld(t.Context(), &first[1], store.HeldOutcome{State: store.HeldForwarded}); !errors.Is(err, store.ErrStale) {
		t.Errorf("a claim ended twice: %v", err)
	}
	second, err := s.ClaimHeld(t.Context(), 10, time.Hour)
	must(t, err)
	if len(second) != 1 || second[0].Ref != a2 {
		t.Errorf("then %+v", second)
	}
	for _, text := range []string{"m1@a", a1.String()} {
		got, err := s.FindHeld(t.Context(), text)
		must(t, err)
		if len(got) != 1 || got[0].Target != "mmsc-a" || got[0].State != store.HeldForwarded || got[0].Status != 0x80 {
			t.Errorf("find %q: %+v", text, got)
		}
	}
	if n, err := s.CountHeld(t.Context()); n != 4 || err != nil {
		t.Errorf("%d wait, %v", n, err)
	}
}

func testBox(t *testing.T, open opener) {
	s, _ := open(t, store.Tuning{})
	running(t, s)
	got := queued(t, s, "+46700000002")
	_, f := fetch(t, s, got.Recipients[0])
	put := func(b *store.Boxing) (store.Ref, error) {
		b.Owner, b.MaxMessages, b.MaxOctets, b.MMState = "+46700000002", 2, 1000, 0x82
		return s.PutBox(t.Context(), b)
	}
	one, err := put(&store.Boxing{From: f, Flags: []string{"red"}, Head: f.Head})
	must(t, err)
	m := message(t, s, []byte("head"), body(500))
	if _, err := put(&store.Boxing{Upload: message(t, s, nil, body(2000)).Upload}); !errors.Is(err, store.ErrFull) {
		t.Errorf("too many octets: %v", err)
	}
	two, err := put(&store.Boxing{Upload: m.Upload, BodyAt: 4, ContentType: []byte{0xA3}})
	must(t, err)
	if _, err := put(&store.Boxing{From: f}); !errors.Is(err, store.ErrFull) {
		t.Errorf("too many messages: %v", err)
	}
	must(t, s.ChangeBox(t.Context(), one.ID, 0x83, []string{"blue"}))
	all, err := s.Box(t.Context(), "+46700000002")
	must(t, err)
	if len(all) != 2 || all[0].Ref != one || all[1].Ref != two || all[0].MMState != 0x83 || fmt.Sprint(all[0].Flags) != "[blue]" || all[0].Message != got.Message {
		t.Fatalf("%+v", all)
	}
	for i, n := range []int{100, 500} {
		var b bytes.Buffer
		must(t, all[i].Write(t.Context(), &b))
		if !bytes.Equal(b.Bytes(), body(n)) {
			t.Errorf("content %d differs", i)
		}
	}
	wrong := one
	wrong.Secret[0] ^= 1
	if _, err := s.LookupBox(t.Context(), wrong); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another secret: %v", err)
	}
	must(t, s.DropBox(t.Context(), &all[0]))
	if _, err := s.LookupBox(t.Context(), one); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
	if b, _ := fetch(t, s, got.Recipients[0]); !bytes.Equal(b, body(100)) {
		t.Error("deleting from the box took the message's content")
	}
}
