package mmsc_test

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/delivery"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

const (
	alice = "+46700000001"
	bob   = "+46700000002"
	carol = "+46700000003"
)

// sent submits a message from alice and gives its Message-ID.
func (l *lab) sent(fields ...any) string {
	l.t.Helper()
	code, b := l.do("POST", "/", sendReq("T", []byte{0}, fields...), "X-MSISDN", alice)
	h := l.peek(b)
	if code != 200 || h.Response != mms.StatusOk {
		l.t.Fatalf("%d %v", code, h.Response)
	}
	return string(h.MessageID)
}

// says posts an indication and wants it confirmed.
func (l *lab) says(who string, pdu []byte) {
	l.t.Helper()
	var header []string
	if who != "" {
		header = []string{"X-MSISDN", who}
	}
	if code, b := l.do("POST", "/", pdu, header...); code != 200 || len(b) != 0 {
		l.t.Fatalf("indication answered %d %q", code, b)
	}
}

func notifyResp(transaction []byte, status int, more ...any) []byte {
	return append(pdu(0x8C, 0x83, 0x98, string(transaction), 0x8D, 0x92, 0x95, status), pdu(more...)...)
}

func acknowledge(transaction []byte) []byte {
	return pdu(0x8C, 0x85, 0x98, string(transaction), 0x8D, 0x92)
}

// states gives the states of a message's recipients.
func (l *lab) states(id string) string {
	l.t.Helper()
	m, _, err := l.Show(l.t.Context(), id)
	if err != nil {
		l.t.Fatal(err)
	}
	var s []string
	for _, r := range m.Recipients {
		s = append(s, r.State.String())
	}
	return strings.Join(s, " ")
}

// await polls until a message's recipients are in the states wanted.
func (l *lab) await(id, want string) {
	l.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for got := ""; ; {
		if got = l.states(id); got == want {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			l.t.Fatalf("states %q, want %q", got, want)
		}
	}
}

func TestFlows(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(l *lab, n mms.Head) // n: the notification
		state  string
		report mms.MessageStatus // 0: none
	}{
		{"immediate retrieval", func(l *lab, n mms.Head) {
			l.do("GET", strings.TrimPrefix(string(n.ContentLocation), "http://mms.example.net"), nil)
			l.says(bob, notifyResp(n.TransactionID, 0x81))
		}, "retrieved", mms.Retrieved},
		{"deferred, then fetched and acknowledged", func(l *lab, n mms.Head) {
			l.says(bob, notifyResp(n.TransactionID, 0x83))
			_, b := l.do("GET", strings.TrimPrefix(string(n.ContentLocation), "http://mms.example.net"), nil)
			l.says(bob, acknowledge(l.peek(b).TransactionID))
		}, "retrieved", mms.Retrieved},
		{"all of them, twice, without an identity", func(l *lab, n mms.Head) {
			for range 2 {
				l.says("", notifyResp(n.TransactionID, 0x83))
				l.do("GET", strings.TrimPrefix(string(n.ContentLocation), "http://mms.example.net"), nil)
				l.says("", notifyResp(n.TransactionID, 0x81))
				l.says("", acknowledge(n.TransactionID))
			}
		}, "retrieved", mms.Retrieved},
		{"rejected", func(l *lab, n mms.Head) { l.says(bob, notifyResp(n.TransactionID, 0x82)) }, "rejected", mms.Rejected},
		{"unrecognised", func(l *lab, n mms.Head) { l.says(bob, notifyResp(n.TransactionID, 0x84)) }, "unreachable", mms.Unreachable},
		{"report not allowed", func(l *lab, n mms.Head) { l.says(bob, notifyResp(n.TransactionID, 0x81, 0x91, 0x81)) }, "retrieved", 0},
		{"deferred only", func(l *lab, n mms.Head) { l.says(bob, notifyResp(n.TransactionID, 0x83)) }, "deferred", 0},
		{"fetched only", func(l *lab, n mms.Head) {
			l.do("GET", strings.TrimPrefix(string(n.ContentLocation), "http://mms.example.net"), nil)
		}, "fetched", 0},
		{"answered by somebody else", func(l *lab, n mms.Head) { l.says(carol, notifyResp(n.TransactionID, 0x82)) }, "notified", 0},
		{"a guessed transaction", func(l *lab, n mms.Head) {
			id := bytes.Clone(n.TransactionID)
			id[26] ^= 1
			l.says("", notifyResp(id, 0x82))
			l.says("", notifyResp([]byte("T"), 0x82))
		}, "notified", 0},
		{"deleted unfetched", func(l *lab, n mms.Head) {
			_, b := l.do("POST", "/", pdu(0x8C, 0x94, 0x98, "D", 0x8D, 0x93, 0x83, string(n.ContentLocation)), "X-MSISDN", bob)
			if h := l.peek(b); h.Type != mms.MDeleteConf || h.Response != mms.StatusOk {
				l.t.Errorf("%v %v", h.Type, h.Response)
			}
		}, "rejected", mms.Rejected},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, nil)
			id := l.sent(0x97, bob+"/TYPE=PLMN", 0x96, "Hi", 0x86, 0x80)
			p := l.pushed(mms.MNotificationInd)
			n := l.peek(p.PDU)
			if p.To != bob || string(n.From) != alice+"/TYPE=PLMN" || p.Message != id || n.MessageSize == 0 {
				t.Fatalf("notification %+v of %+v", n, p)
			}
			l.await(id, "notified")
			c.answer(l, n)
			l.await(id, c.state)
			if c.report == 0 {
				l.quiet()
				return
			}
			r := l.peek(l.pushed(mms.MDeliveryInd).PDU)
			if string(r.MessageID) != id || r.Message != c.report || string(r.To[0]) != bob+"/TYPE=PLMN" {
				t.Errorf("report %+v", r)
			}
		})
	}
}

func TestReadReport(t *testing.T) {
	l := newLab(t, nil)
	id := l.sent(0x97, bob, 0x97, carol, 0x90, 0x80)
	l.pushed(mms.MNotificationInd)
	l.pushed(mms.MNotificationInd)
	read := func(from []byte) []byte {
		return append(append(pdu(0x8C, 0x87, 0x8D, 0x92, 0x8B, id, 0x97, alice+"/TYPE=PLMN"), from...), 0x9B, 0x80)
	}
	l.says("", read([]byte{0x89, 1, 0x81})) // nobody knows which of the two
	l.says("+46700000099", read([]byte{0x89, 1, 0x81}))
	l.quiet()
	l.says(carol, read([]byte{0x89, 1, 0x81}))
	l.says(carol, read([]byte{0x89, 1, 0x81}))
	r := l.pushed(mms.MReadOrigInd)
	if h := l.peek(r.PDU); r.To != alice || string(h.From) != carol+"/TYPE=PLMN" || string(h.MessageID) != id {
		t.Errorf("%+v", h)
	}
	l.quiet()
}

func TestForward(t *testing.T) {
	l := newLab(t, nil)
	id := l.sent(0x97, bob, 0x96, "Hi", 0x86, 0x80)
	location := l.location(l.pushed(mms.MNotificationInd))
	l.await(id, "notified")
	forward := func(who, location string) mms.Head {
		_, b := l.do("POST", "/", pdu(0x8C, 0x89, 0x98, "F", 0x8D, 0x92, 0x89, 1, 0x81, 0x97, carol, 0x83, "http://mms.example.net"+location), "X-MSISDN", who)
		return l.peek(b)
	}
	if h := forward(carol, location); h.Response != mms.ErrorPermanentServiceDenied {
		t.Errorf("forwarded by somebody else: %v", h.Response)
	}
	if h := forward(bob, "/m/nothing"); h.Response != mms.ErrorPermanentMessageNotFound {
		t.Errorf("forwarded from nowhere: %v", h.Response)
	}
	h := forward(bob, location)
	if h.Type != mms.MForwardConf || h.Response != mms.StatusOk || h.MessageID == nil {
		t.Fatalf("%+v", h)
	}
	l.await(id, "forwarded")
	var second string
	for range 2 { // the report to alice and the notification of carol, in any order
		switch p := <-l.pushes; p.Kind {
		case mms.MNotificationInd:
			second = l.location(p)
			if p.To != carol || string(l.peek(p.PDU).From) != bob+"/TYPE=PLMN" {
				t.Errorf("%+v", p)
			}
		case mms.MDeliveryInd:
			if h := l.peek(p.PDU); h.Message != mms.Forwarded || p.To != alice {
				t.Errorf("%+v", h)
			}
		}
	}
	_, b := l.do("GET", second, nil)
	p, err := mms.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if hops := p.PreviouslySent(); len(hops) != 1 || hops[0].By != alice+"/TYPE=PLMN" {
		t.Errorf("hops %+v", hops)
	}
	if p.Subject() != "Hi" || strings.Join(p.To(), " ") != carol {
		t.Errorf("subject %q to %q", p.Subject(), p.To())
	}
}

func TestExpiryAndUnreachable(t *testing.T) {
	l := newLab(t, func(o *mmsc.Options) {
		o.Notifier = pushFunc(func(p *delivery.Push) error {
			if p.To == carol {
				return delivery.ErrNoRoute
			}
			return errors.New("the gateway is down")
		})
	})
	id := l.sent(0x97, bob, 0x97, carol, 0x88, 3, 0x81, 1, 1) // one second
	l.await(id, "expired unreachable")
	_, events, err := l.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range events {
		kinds = append(kinds, e.Kind)
	}
	if s := strings.Join(kinds, ", "); !strings.Contains(s, "accepted, ") || !strings.Contains(s, "notification failed") || !strings.Contains(s, "expired") {
		t.Errorf("timeline %s", s)
	}
}

func TestOperator(t *testing.T) {
	l := newLab(t, nil)
	id := l.sent(0x97, bob)
	l.pushed(mms.MNotificationInd)
	l.await(id, "notified")
	if n, err := l.Requeue(t.Context(), id); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	l.pushed(mms.MNotificationInd)
	l.await(id, "notified")
	if n, err := l.Cancel(t.Context(), id); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	l.await(id, "cancelled")
	p := l.pushed(mms.MCancelReq)
	if h := l.peek(p.PDU); p.To != bob || string(h.CancelID) != id {
		t.Errorf("%+v", h)
	}
	if _, err := l.Cancel(t.Context(), "nobody@mms.example.net"); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}

func TestPolicy(t *testing.T) {
	zero := 0
	l := newLab(t, func(o *mmsc.Options) {
		c := &o.Config
		c.Addresses.Region, c.Addresses.Home, c.Addresses.Foreign = "SE", []string{"+46"}, "refuse"
		c.Addresses.BlockRecipients, c.Addresses.BlockSenders = []string{"+46900", "spam@example.net"}, []string{"+4670666"}
		c.Rate = mmsc.RateConfig{Messages: 2, Per: time.Hour}
		c.Subscribers.List = []mmsc.Subscriber{{Number: "0700000007", Barred: true}, {Number: "0700000008", Credit: &zero}}
	})
	for _, c := range []struct {
		name, from string
		to         string
		status     mms.Status
	}{
		{"national number", "0700000001", "070-000 00 02", mms.StatusOk},
		{"short code", "0700000011", "72404", mms.StatusOk},
		{"e-mail", "0700000012", "Bob <BOB@example.net>", mms.StatusOk},
		{"foreign", "0700000012", "+4915112345678", mms.ErrorPermanentAddressUnresolved},
		{"blocked recipient", "0700000013", "0900123456", mms.ErrorPermanentServiceDenied},
		{"blocked e-mail", "0700000013", "spam@example.net", mms.ErrorPermanentServiceDenied},
		{"blocked sender", "0706661234", bob, mms.ErrorPermanentServiceDenied},
		{"barred", "+46700000007", bob, mms.ErrorPermanentServiceDenied},
		{"no credit", "+46700000008", bob, mms.ErrorPermanentServiceDenied},
		{"second of two", "+46700000001", bob, mms.StatusOk},
		{"third", "+46700000001", bob, mms.StatusTransientFailure},
	} {
		_, b := l.do("POST", "/", sendReq(c.name, []byte{0}, 0x97, c.to), "X-MSISDN", c.from)
		if h := l.peek(b); h.Response != c.status {
			t.Errorf("%s: %v, want %v", c.name, h.Response, c.status)
		}
	}
	got := map[string]bool{}
	for range 4 {
		got[l.pushed(mms.MNotificationInd).To] = true
	}
	for _, want := range []string{bob, "72404", "bob@example.net"} {
		if !got[want] {
			t.Errorf("%s not notified: %v", want, got)
		}
	}
}

func TestPeerFetchesForItsOwn(t *testing.T) {
	l := newLab(t, func(o *mmsc.Options) {
		o.Config.Retrieve.RequireIdentity = true
		o.Config.Peers = []mmsc.PeerConfig{{Name: "b", Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Prefixes: []string{"+47"}}}
	})
	l.sent(0x97, "+4790000000")
	theirs := l.location(l.pushed(mms.MNotificationInd))
	l.sent(0x97, bob)
	ours := l.location(l.pushed(mms.MNotificationInd))
	for _, c := range []struct {
		name, path, remote string
		code               int
	}{
		{"its own number", theirs, "192.0.2.9:1", 200},
		{"our number", ours, "192.0.2.9:1", 403},
		{"a stranger", ours, "198.51.100.1:1", 403},
	} {
		if code := l.direct("GET", c.path, nil, c.remote).Code; code != c.code {
			t.Errorf("%s: %d, want %d", c.name, code, c.code)
		}
	}
}

// pushFunc is a carrier made of a function.
type pushFunc func(*delivery.Push) error

// A recipient that no carrier has a way to is refused when the message is submitted, never accepted and parked.
func TestUnreachableRecipientIsRefused(t *testing.T) {
	l := newLab(t, func(o *mmsc.Options) { o.Reaches = func(to string) bool { return to == "+46701740606" } })
	for _, c := range []struct {
		name string
		to   []string
		want mms.Status
	}{
		{"reachable", []string{"+46701740606/TYPE=PLMN"}, mms.StatusOk},
		{"unreachable", []string{"+46701740607/TYPE=PLMN"}, 0xE3},
		{"one of two", []string{"+46701740606/TYPE=PLMN", "4711"}, 0xE3},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := mms.SendReq{TransactionID: strings.ReplaceAll(c.name, " ", "-"), Version: 0x92, From: "+46701740605/TYPE=PLMN", To: c.to, ContentType: wsp.Media("text/plain")}
			code, body := l.do("POST", "/", append(q.AppendHead(nil), "hello"...))
			if got := l.peek(body); code != 200 || got.Response != c.want {
				t.Fatalf("HTTP %d, status %s, want %s", code, got.Response, c.want)
			}
		})
	}
}
