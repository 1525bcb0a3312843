package mmsc_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
	"github.com/prometheus/client_golang/prometheus"
)

type mmscOptions = mmsc.Options

// TestDiskFull fills a real disk, a small one of its own.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=6m"); err != nil {
		t.Skipf("no small disk to fill: mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var book logBook
	reg := prometheus.NewRegistry()
	l := newLab(t, func(o *mmsc.Options) {
		o.DataDir, o.Metrics, o.Log = filepath.Join(disk, "data"), reg, slog.New(slog.NewTextHandler(&book, nil))
		o.Config.UploadMemory = 1 << 20
	})
	led := newLedger(func(int) int { return 100_000 })
	submit := func() mms.Status {
		transaction, pdu := led.take()
		_, b := l.do("POST", "/", pdu, "X-MSISDN", alice)
		h := l.peek(b)
		if h.Response == mms.StatusOk {
			if err := led.answered(transaction, &h); err != nil {
				t.Error(err)
			}
		}
		return h.Response
	}
	full := 0
	for i := 0; full < 5; i++ {
		if st := submit(); mms.ResponseClass(st) == mms.Transient {
			full++
		} else if st != mms.StatusOk || i > 200 {
			t.Fatalf("submission %d: %v", i, st)
		}
	}
	if err := l.Healthy(t.Context()); err == nil {
		t.Error("healthy on a full disk")
	}
	if s := book.String(); strings.Count(s, "disk full") != 1 {
		t.Errorf("log: %s", s)
	}
	if n := counter(t, reg, "mmsrouter_mmsc_store_failures_total", "full"); n < 5 {
		t.Errorf("failures counted: %v", n)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); submit() != mms.StatusOk; {
		if time.Now().After(end) {
			t.Fatal("no recovery after there is space again")
		}
	}
	if err := l.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(book.String(), "takes writes again") {
		t.Error("the recovery is not in the log")
	}
	for id, transaction := range led.acked {
		if fault := whole(t.Context(), l.MMSC, id, transaction, led.sizes); fault != "" {
			t.Error(fault)
		}
	}
	if all, err := l.List(t.Context(), store.Filter{Limit: 1000}); err != nil || len(all) != len(led.acked) {
		t.Errorf("%d messages in the store, %d acknowledged, %v", len(all), len(led.acked), err)
	}
}

// TestDatabaseGone takes the database server away.
func TestDatabaseGone(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Own(t)
	database, err := cluster.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, func(o *mmsc.Options) { o.Config.Database = database })
	l.sent(0x97, bob)
	path := l.location(l.pushed(mms.MNotificationInd))
	if err := cluster.Kill(); err != nil {
		t.Fatal(err)
	}
	refused, accepted := 0, 1
	for i := 0; refused < 3; i++ {
		code, b := l.do("POST", "/", sendReq(fmt.Sprint(i), []byte{0}, 0x97, carol), "X-MSISDN", alice)
		h := l.peek(b)
		switch {
		case code == 200 && mms.ResponseClass(h.Response) == mms.Transient:
			refused++
		case h.Response != mms.StatusOk || i > 1000:
			t.Fatalf("%d %v", code, h.Response)
		default: // the server's children outlive it for a moment, one longer than the other, and commit
			refused = 0
			accepted++
		}
	}
	code := 0
	for i := 0; i < 1000 && code != 503; i++ { // a reader's connection may outlive the server for a moment too
		code, _ = l.do("GET", path, nil)
	}
	if code != 503 {
		t.Errorf("GET answered %d", code)
	}
	if code, _ := l.do("POST", "/", acknowledge([]byte(strings.Repeat("A", 27))), "X-MSISDN", bob); code != 503 {
		t.Errorf("acknowledgement answered %d", code)
	}
	if err := l.Healthy(t.Context()); err == nil {
		t.Error("healthy without a database")
	}
	if err := cluster.Up(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; {
		if l.Healthy(t.Context()) == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no recovery after the server is back")
		}
	}
	// What a child took after another had gone counts as much as anything: it was told Ok. Of what was refused some may be there.
	if all, err := l.List(t.Context(), store.Filter{Limit: 1000}); err != nil || len(all) < accepted {
		t.Errorf("%d messages in the store, %d accepted, %v", len(all), accepted, err)
	}
	l.sent(0x97, bob)
	if code, _ := l.do("GET", path, nil); code != 200 {
		t.Errorf("GET answered %d", code)
	}
}

// TestDatabaseGoneBehindAForward takes the database away just when an MMSC has taken a held message: it must not get it again because that
// could not be noted at once.
func TestDatabaseGoneBehindAForward(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Own(t)
	database, err := cluster.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var l *lab
	var book logBook
	ready, calls := make(chan struct{}), make(chan int, 100)
	up := &upstream{status: mms.StatusOk}
	l = newLab(t, func(o *mmsc.Options) {
		o.Config.Database, o.Config.Hold.Lease = database, 20*time.Second
		o.Log = slog.New(slog.NewTextHandler(&book, nil))
		n := 0
		o.Forward = func(ctx context.Context, h *mmsc.HeldMessage) (*mmsc.ForwardResult, error) {
			got, err := up.forward(ctx, h)
			if n++; n == 1 {
				<-ready
				if err := cluster.Kill(); err != nil {
					t.Error(err)
				}
				for l.Healthy(ctx) == nil { // its children outlive it for a moment
				}
			}
			calls <- n
			return got, err
		}
	})
	a := l.hold("1", 0x97, bob)
	close(ready)
	<-calls
	for end := time.Now().Add(20 * time.Second); !strings.Contains(book.String(), "not noted"); {
		if time.Now().After(end) {
			t.Fatalf("the outcome was noted without a database: %s", book.String())
		}
	}
	if err := cluster.Up(); err != nil {
		t.Fatal(err)
	}
	if h := l.held(a.MessageID, store.HeldForwarded); h.Attempts != 1 || len(calls) != 0 {
		t.Errorf("forwarded once more: %d attempts, %d calls", h.Attempts, 1+len(calls))
	}
}

// counter reads a counter whose only label has a value.
func counter(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if l := m.GetLabel(); f.GetName() == name && len(l) == 1 && l[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// logBook collects what is logged.
type logBook struct {
	mu sync.Mutex
	b  strings.Builder
}

// Write implements io.Writer.
func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String gives all of it.
func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
