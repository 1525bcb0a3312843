package mmsc_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/delivery"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// Push implements delivery.Notifier.
func (f pushFunc) Push(_ context.Context, p *delivery.Push) error { return f(p) }

// direct serves a request as from a remote address, without the door.
func (l *lab) direct(method, path string, body []byte, remote string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, bytes.NewReader(body))
	req.RemoteAddr = remote
	w := httptest.NewRecorder()
	l.Handler().ServeHTTP(w, req)
	return w
}

// upstream is the MMSC that held messages go to.
type upstream struct {
	mu     sync.Mutex
	down   bool
	status mms.Status
	got    []string // transaction ids
	header http.Header
}

func (u *upstream) set(down bool, status mms.Status) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.down, u.status = down, status
}

func (u *upstream) forward(ctx context.Context, h *mmsc.HeldMessage) (*mmsc.ForwardResult, error) {
	var b bytes.Buffer
	if err := h.Write(ctx, &b); err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.down {
		return nil, errors.New("no MMSC passes detection")
	}
	var head mms.Head
	if head.Peek(b.Bytes(), true) != mms.Complete {
		return nil, errors.New("the held PDU is broken")
	}
	u.got, u.header = append(u.got, string(head.TransactionID)), h.Header
	conf := mms.SendConf{TransactionID: head.TransactionID, Version: head.Version, Status: u.status}
	if u.status == mms.StatusOk {
		conf.MessageID = "up-" + string(head.TransactionID)
	}
	return &mmsc.ForwardResult{MMSC: "mmsc-a", PDU: conf.Append(nil)}, nil
}

func (l *lab) hold(transaction string, fields ...any) mmsc.HoldAnswer {
	l.t.Helper()
	a, err := l.Hold(l.t.Context(), mmsc.HoldRequest{Target: "/mms?x=1", Host: "mms.example.net", Header: http.Header{"X-Msisdn": {alice}},
		Body: bytes.NewReader(sendReq(transaction, []byte{0}, fields...)), Who: mmsc.Identity{Address: alice, Asserted: true}})
	if err != nil {
		l.t.Fatal(err)
	}
	return a
}

// held waits until a held message is in a state.
func (l *lab) held(id string, want store.HeldState) store.Held {
	l.t.Helper()
	deadline := time.NewTimer(40 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := l.Held(l.t.Context(), id)
		if err != nil || len(got) != 1 {
			l.t.Fatal(got, err)
		}
		if got[0].State == want {
			return got[0]
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			l.t.Fatalf("%+v", got[0])
		}
	}
}

func TestHold(t *testing.T) {
	up := &upstream{down: true, status: mms.StatusOk}
	l := newLab(t, func(o *mmsc.Options) { o.Forward = up.forward; o.Config.Hold.RetryFirst = 20 * time.Millisecond })
	var ids []string
	for _, transaction := range []string{"1", "2", "3", "4"} {
		a := l.hold(transaction, 0x97, bob)
		if h := l.peek(a.PDU); h.Response != mms.StatusOk || string(h.MessageID) != a.MessageID || string(h.TransactionID) != transaction {
			t.Fatalf("%+v", h)
		}
		ids = append(ids, a.MessageID)
	}
	if a := l.hold("2", 0x97, bob); !a.Duplicate || a.MessageID != ids[1] {
		t.Errorf("held twice: %+v", a)
	}
	up.set(false, mms.StatusOk)
	if err := l.ForwardNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		h := l.held(id, store.HeldForwarded)
		if h.Target != "mmsc-a" || h.UpstreamID != "up-"+string(rune('1'+i)) {
			t.Errorf("%+v", h)
		}
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	if got := strings.Join(up.got, " "); got != "1 2 3 4" {
		t.Errorf("order %q", got)
	}
	if up.header.Get("X-MSISDN") != alice {
		t.Errorf("identity lost: %v", up.header)
	}
	l.quiet()
}

func TestHeldAndRefused(t *testing.T) {
	up := &upstream{status: mms.ErrorPermanentContentNotAccepted}
	l := newLab(t, func(o *mmsc.Options) { o.Forward = up.forward })
	a := l.hold("1", 0x97, bob)
	l.held(a.MessageID, store.HeldRefused)
	p := l.pushed(mms.MNotificationInd)
	if p.To != alice {
		t.Errorf("the notice goes to %s", p.To)
	}
	_, b := l.do("GET", l.location(p), nil)
	if !bytes.Contains(b, []byte("could not be sent")) {
		t.Errorf("notice %q", b)
	}
	if _, err := mms.Decode(b); err != nil {
		t.Errorf("the notice is no PDU: %v", err)
	}
}

// TestHeldForWhomWeDoNotReach holds what this server could not deliver itself: the MMSC that comes back may, and a refusal for good would
// have lost the message.
func TestHeldForWhomWeDoNotReach(t *testing.T) {
	up := &upstream{status: mms.StatusOk}
	l := newLab(t, func(o *mmsc.Options) {
		o.Forward = up.forward
		o.Reaches = func(string) bool { return false }
		o.Config.Expiry.Default, o.Config.Expiry.Max = time.Hour, time.Hour
		o.Config.MaxRecipients = 1
		o.Config.Addresses.Home, o.Config.Addresses.Foreign = []string{"+99"}, "refuse"
		o.Config.Addresses.BlockRecipients = []string{"+4690"}
	})
	inTwoHours := pdu(0x87, 4, 0x81, 2, 0x1C, 0x20)
	for _, c := range []struct {
		name   string
		fields []any
	}{
		{"a number of another network", []any{0x97, bob}},
		{"an e-mail address", []any{0x97, "bob@example.com"}},
		{"more recipients than we take", []any{0x97, bob, 0x96, carol}},
		{"a delivery time behind what we keep", []any{0x97, bob, inTwoHours}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := l.hold("T "+c.name, c.fields...)
			if h := l.peek(a.PDU); a.MessageID == "" || h.Response != mms.StatusOk {
				t.Fatalf("refused: %v", h.Response)
			}
			l.held(a.MessageID, store.HeldForwarded)
		})
	}
	if a := l.hold("blocked", 0x97, "+46900000"); a.MessageID != "" || l.peek(a.PDU).Response != mms.ErrorPermanentServiceDenied {
		t.Errorf("a blocked recipient: %+v", a)
	}
}

// TestNoticeNamesNoMMSC lets a held message expire: its sender learns that, and nothing of our servers.
func TestNoticeNamesNoMMSC(t *testing.T) {
	l := newLab(t, func(o *mmsc.Options) {
		o.Config.Hold.RetryFirst, o.Config.Hold.RetryMax = 10*time.Millisecond, 10*time.Millisecond
		o.Forward = func(context.Context, *mmsc.HeldMessage) (*mmsc.ForwardResult, error) {
			return nil, errors.New("mmsc-a: dial tcp 10.1.2.3:9001: connect: connection refused")
		}
	})
	a := l.hold("1", 0x97, bob, pdu(0x88, 3, 0x81, 1, 1)) // it expires in a second
	if h := l.held(a.MessageID, store.HeldExpired); !strings.Contains(h.LastError, "10.1.2.3") {
		t.Errorf("the records do not say why: %q", h.LastError)
	}
	_, b := l.do("GET", l.location(l.pushed(mms.MNotificationInd)), nil)
	if !bytes.Contains(b, []byte("could not be sent")) || bytes.Contains(b, []byte("mmsc-a")) || bytes.Contains(b, []byte("10.1.2.3")) {
		t.Errorf("notice %q", b)
	}
}

func TestHeldTransientThenOk(t *testing.T) {
	up := &upstream{status: mms.StatusTransientFailure}
	l := newLab(t, func(o *mmsc.Options) { o.Forward = up.forward; o.Config.Hold.RetryFirst = 10 * time.Millisecond })
	a := l.hold("1", 0x97, bob)
	for { // at least one refusal
		got, err := l.Held(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Attempts > 0 {
			break
		}
	}
	up.set(false, mms.StatusOk)
	if h := l.held(a.MessageID, store.HeldForwarded); h.Attempts < 2 {
		t.Errorf("%+v", h)
	}
}

func TestNotHeld(t *testing.T) {
	l := newLab(t, nil)
	if a := l.hold("1"); a.MessageID != "" || l.peek(a.PDU).Response != mms.ErrorPermanentAddressUnresolved {
		t.Errorf("no recipient: %+v", a)
	}
	for name, body := range map[string][]byte{"garbage": []byte("<html>"), "an indication": acknowledge([]byte("T"))} {
		if _, err := l.Hold(t.Context(), mmsc.HoldRequest{Body: bytes.NewReader(body)}); !errors.Is(err, mmsc.ErrNotHeld) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHeldByADeadNode lets a node die that has claimed a held message; another on the same database forwards it when the lease is over.
func TestHeldByADeadNode(t *testing.T) {
	t.Parallel()
	database := pgtest.DSN(t)
	entered, die := make(chan struct{}, 10), make(chan struct{})
	first := newLab(t, func(o *mmsc.Options) {
		o.Config.Database, o.NodeName = database, "r1"
		o.Config.Hold.Lease, o.Config.Hold.Workers = 10*time.Second, 1 // its one worker hangs: it claims nothing more
		o.Forward = func(context.Context, *mmsc.HeldMessage) (*mmsc.ForwardResult, error) {
			entered <- struct{}{}
			<-die // as dead: it neither answers nor gives its lease back
			return nil, errors.New("dead")
		}
	})
	defer close(die)
	a := first.hold("1", 0x97, bob)
	<-entered
	up := &upstream{status: mms.StatusOk}
	var book logBook
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(book.String())
		}
	})
	second := newLab(t, func(o *mmsc.Options) {
		o.Config.Database, o.NodeName, o.Forward = database, "r2", up.forward
		o.Log = slog.New(slog.NewTextHandler(&book, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	if h := second.held(a.MessageID, store.HeldForwarded); h.UpstreamID != "up-1" {
		t.Errorf("%+v", h)
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	if len(up.got) != 1 {
		t.Errorf("forwarded %d times", len(up.got))
	}
}
