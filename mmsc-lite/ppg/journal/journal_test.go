package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mms/smpp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg/journal"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// engines runs a test over both.
func engines(t *testing.T, f func(t *testing.T, opt journal.Options)) {
	t.Run("SQLite", func(t *testing.T) { f(t, journal.Options{Dir: t.TempDir()}) })
	t.Run("PostgreSQL", func(t *testing.T) { f(t, journal.Options{Database: pgtest.DSN(t)}) })
}

// open starts a journal; stop ends it in good order.
func open(t *testing.T, opt journal.Options) (j *journal.Journal, stop func()) {
	t.Helper()
	j, err := journal.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- j.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return j, stop
}

func push(id string, numbers ...string) *journal.Push {
	p := &journal.Push{Initiator: "pi", PushID: id, Version: pap.Version20, AcceptedAt: time.Now().Truncate(time.Millisecond).UTC(), DeliverBefore: time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC(),
		NotifyTo: "http://pi/", Remote: "192.0.2.1", Quality: "{}", Priority: 2, Content: []byte{0, 6, 0xFF}}
	for _, n := range numbers {
		p.Addresses = append(p.Addresses, journal.Address{Text: "WAPPUSH=" + n + "/TYPE=PLMN", Kind: pap.PLMN, Value: n})
	}
	return p
}

func accept(t *testing.T, j *journal.Journal, p *journal.Push) {
	t.Helper()
	if err := j.Accept(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func claim(t *testing.T, j *journal.Journal, n, want int) []journal.Delivery {
	t.Helper()
	got, err := j.Claim(t.Context(), n, time.Minute)
	if err != nil || len(got) != want {
		t.Fatalf("%d claimed, want %d: %v", len(got), want, err)
	}
	return got
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLife(t *testing.T) {
	engines(t, func(t *testing.T, opt journal.Options) {
		j, _ := open(t, opt)
		p := push("1", "+4601", "+4602", "+4603")
		accept(t, j, p)
		if err := j.Accept(t.Context(), push("1", "+4609")); !errors.Is(err, journal.ErrDuplicate) {
			t.Errorf("%v", err)
		}
		other := push("1", "+4609")
		other.Initiator = "another"
		accept(t, j, other)
		d := claim(t, j, 3, 3)
		if d[0].Push.PushID != "1" || !bytes.Equal(d[0].Push.Content, p.Content) || d[0].Push.AcceptedAt != p.AcceptedAt || d[0].Push.DeliverBefore != p.DeliverBefore || d[0].Push.Priority != 2 || d[0].State != journal.Pending {
			t.Errorf("%+v", d[0])
		}
		claim(t, j, 10, 1) // the other initiator's
		check(t, j.Finish(t.Context(), &d[0], journal.Delivered, pap.OK, "fine"))
		check(t, j.Retry(t.Context(), &d[1], time.Now().Add(time.Hour), pap.Accepted, "later"))
		check(t, j.Finish(t.Context(), &d[2], journal.Undeliverable, pap.ServiceFailure, "no"))
		check(t, j.Finish(t.Context(), &d[2], journal.Delivered, pap.OK, "the lease is gone: no effect"))
		all, err := j.Status(t.Context(), "pi", "1")
		check(t, err)
		got := ""
		for _, x := range all {
			got += fmt.Sprintf("%s %d %s %d; ", x.State.PAP(), x.Code, x.Detail, x.Attempts)
		}
		if got != "delivered 1000 fine 1; pending 1001 later 1; undeliverable 4000 no 1; " {
			t.Errorf("%s", got)
		}
		if _, err := j.Status(t.Context(), "another", "2"); !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("%v", err)
		}
		told, err := j.ClaimResults(t.Context(), 10, time.Minute)
		if err != nil || len(told) != 2 || told[0].State != journal.Delivered || told[0].Push.NotifyTo != "http://pi/" {
			t.Fatalf("%+v, %v", told, err)
		}
		check(t, j.Told(t.Context(), &told[0], time.Time{}))
		check(t, j.Told(t.Context(), &told[1], time.Now().Add(-time.Second)))
		if told, err = j.ClaimResults(t.Context(), 10, time.Minute); err != nil || len(told) != 1 || told[0].Attempts != 1 {
			t.Fatalf("%+v, %v", told, err)
		}
		next, ok, err := j.NextDue(t.Context())
		if err != nil || !ok || time.Until(next) > time.Minute {
			t.Errorf("%v %v %v", next, ok, err)
		}
		if n, err := j.Count(t.Context()); err != nil || n != 2 {
			t.Errorf("%d have work ahead, %v", n, err)
		}
	})
}

func TestCancelling(t *testing.T) {
	engines(t, func(t *testing.T, opt journal.Options) {
		j, _ := open(t, opt)
		accept(t, j, push("1", "+4601", "+4602", "+4603"))
		claim(t, j, 1, 1)
		all, done, err := j.Cancel(t.Context(), "pi", "1", func(a journal.Address) bool { return a.Value != "+4602" })
		if err != nil || len(all) != 2 || done[0] || !done[1] {
			t.Fatalf("%+v %v %v", all, done, err)
		}
		if got := claim(t, j, 10, 1); got[0].Address.Value != "+4602" {
			t.Errorf("%+v", got)
		}
		if _, _, err := j.Cancel(t.Context(), "pi", "2", func(journal.Address) bool { return true }); !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("%v", err)
		}
	})
}

func TestReceipts(t *testing.T) {
	engines(t, func(t *testing.T, opt journal.Options) {
		j, _ := open(t, opt)
		accept(t, j, push("1", "+4601", "+4602"))
		d := claim(t, j, 2, 2)
		check(t, j.Await(t.Context(), &d[0], "smsc", []string{"1A2B", "1A2C"}, time.Now().Add(time.Hour)))
		check(t, j.Await(t.Context(), &d[1], "smsc", []string{"77"}, time.Now().Add(time.Hour)))
		for _, tc := range []struct {
			name, smsc, id string
			state          smpp.State
			found          bool
			states         string
		}{
			{"another SMSC's", "other", "6699", smpp.Delivered, false, "pending pending"},
			{"on its way", "smsc", "6699", smpp.Enroute, false, "pending pending"},
			{"one segment of two, in decimal", "smsc", "6699", smpp.Delivered, true, "pending pending"},
			{"the other one", "smsc", "1a2c", smpp.Delivered, true, "delivered pending"},
			{"again", "smsc", "1a2c", smpp.Delivered, false, "delivered pending"},
			{"undeliverable", "smsc", "0077", smpp.Undeliverable, true, "delivered undeliverable"},
		} {
			t.Run(tc.name, func(t *testing.T) {
				found, err := j.Receipt(t.Context(), tc.smsc, tc.id, tc.state, "so says the SMSC")
				all, serr := j.Status(t.Context(), "pi", "1")
				if err != nil || serr != nil || found != tc.found {
					t.Fatalf("%v %v %v", found, err, serr)
				}
				if got := string(all[0].State.PAP()) + " " + string(all[1].State.PAP()); got != tc.states {
					t.Errorf("%s", got)
				}
			})
		}
		if told, err := j.ClaimResults(t.Context(), 10, time.Minute); err != nil || len(told) != 2 {
			t.Errorf("%d results, %v", len(told), err)
		}
	})
}

// What an SMSC says may be no text. It is noted all the same, also by an engine that takes none but valid text.
func TestReceiptThatIsNoText(t *testing.T) {
	engines(t, func(t *testing.T, opt journal.Options) {
		j, _ := open(t, opt)
		accept(t, j, push("1", "+4601", "+4602"))
		d := claim(t, j, 2, 2)
		check(t, j.Await(t.Context(), &d[0], "smsc", []string{"\xE4\xFF1"}, time.Now().Add(time.Hour)))
		if found, err := j.Receipt(t.Context(), "smsc", "\xE4\xFF1", smpp.Undeliverable, "error \xE9\x00"); err != nil || !found {
			t.Errorf("%v %v", found, err)
		}
		check(t, j.Finish(t.Context(), &d[1], journal.Undeliverable, pap.ServiceFailure, strings.Repeat("x", 199)+"é"))
		all, err := j.Status(t.Context(), "pi", "1")
		check(t, err)
		if all[0].State != journal.Undeliverable || all[1].State != journal.Undeliverable {
			t.Errorf("%v %v", all[0].State, all[1].State)
		}
	})
}

// A machine that lost its power may have left anything in the file of what was sent: the next process starts, and heeds what can be read.
func TestNotesOfALostMachine(t *testing.T) {
	opt := journal.Options{Dir: t.TempDir()}
	j, stop := open(t, opt)
	accept(t, j, push("1", "+4601"))
	d := claim(t, j, 1, 1)
	if _, err := j.Note(&d[0], "smsc", nil, time.Time{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(opt.Dir, "ppg.sent.0")
	line, err := os.ReadFile(file)
	check(t, err)
	stop() // which gives the lease back, so that it is due again
	zeros := make([]byte, 100<<10)
	check(t, os.WriteFile(file, append(append(append([]byte(`{"inst`), zeros...), '\n'), append(zeros, line...)...), 0o600))
	j, _ = open(t, opt)
	claim(t, j, 10, 1)
}

// What a process held is free again: at once when it ended well, and after the lease when it did not.
func TestLeases(t *testing.T) {
	engines(t, func(t *testing.T, opt journal.Options) {
		j, stop := open(t, opt)
		accept(t, j, push("1", "+4601"))
		claim(t, j, 1, 1)
		claim(t, j, 1, 0)
		stop()
		if err := j.Accept(t.Context(), push("2", "+4601")); !errors.Is(err, journal.ErrClosed) {
			t.Errorf("%v", err)
		}
		j, _ = open(t, opt)
		d := claim(t, j, 1, 1)
		check(t, j.Retry(t.Context(), &d[0], time.Now(), pap.Accepted, ""))
		if got, err := j.Claim(t.Context(), 1, -time.Second); err != nil || len(got) != 1 { // a lease that has run out
			t.Fatal(got, err)
		}
		second, _ := open(t, opt)
		mine := claim(t, second, 1, 1)
		check(t, j.Finish(t.Context(), &d[0], journal.Undeliverable, pap.ServiceFailure, "too late"))
		check(t, second.Finish(t.Context(), &mine[0], journal.Delivered, pap.OK, ""))
		if all, err := second.Status(t.Context(), "pi", "1"); err != nil || all[0].State != journal.Delivered {
			t.Errorf("%+v, %v", all, err)
		}
	})
}

// Several at once: each push once, each delivery to one of two nodes.
func TestTogether(t *testing.T) {
	engines(t, func(t *testing.T, opt journal.Options) {
		a, _ := open(t, opt)
		b, _ := open(t, opt)
		var wg sync.WaitGroup
		var mu sync.Mutex
		accepted, duplicates := 0, 0
		for i := range 100 {
			wg.Go(func() {
				j := []*journal.Journal{a, b}[i%2]
				err := j.Accept(context.Background(), push(fmt.Sprint(i/2), fmt.Sprintf("+46%03d", i/2)))
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, journal.ErrDuplicate) {
					duplicates++
				} else if err == nil {
					accepted++
				} else {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if accepted != 50 || duplicates != 50 {
			t.Errorf("%d accepted, %d duplicates", accepted, duplicates)
		}
		seen := map[string]int{}
		for i := range 20 {
			wg.Go(func() {
				j := []*journal.Journal{a, b}[i%2]
				for {
					got, err := j.Claim(context.Background(), 7, time.Minute)
					if err != nil {
						t.Error(err)
					}
					if len(got) == 0 {
						return
					}
					for k := range got {
						mu.Lock()
						seen[got[k].Address.Value]++
						mu.Unlock()
						if err := j.Finish(context.Background(), &got[k], journal.Delivered, pap.OK, ""); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		for value, n := range seen {
			if n != 1 {
				t.Errorf("%s was claimed %d times", value, n)
			}
		}
		if n, err := a.Count(t.Context()); err != nil || n != 0 || len(seen) != 50 {
			t.Errorf("%d left, %d seen, %v", n, len(seen), err)
		}
	})
}

func TestSweep(t *testing.T) {
	engines(t, func(t *testing.T, opt journal.Options) {
		j, _ := open(t, opt)
		done := push("done", "+4601")
		done.NotifyTo = ""
		open := push("open", "+4602")
		accept(t, j, done)
		d := claim(t, j, 1, 1)
		check(t, j.Finish(t.Context(), &d[0], journal.Delivered, pap.OK, ""))
		accept(t, j, open)
		for _, want := range []int{1, 0} {
			if n, err := j.Sweep(t.Context(), time.Now().Add(time.Minute)); err != nil || n != want {
				t.Errorf("%d swept, want %d: %v", n, want, err)
			}
		}
		if _, err := j.Status(t.Context(), "pi", "done"); !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("%v", err)
		}
		if _, err := j.Status(t.Context(), "pi", "open"); err != nil {
			t.Error(err)
		}
	})
}
