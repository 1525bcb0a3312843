package push_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/test/smsc"
)

// TestSMPP: the server submits to Bob's SMSC itself; Bob's phone fetches from it, stores and acknowledges; Alice is told.
func TestSMPP(t *testing.T) {
	a := newA(t, "mms.example.net")
	b := newPhone(t, bob, func(o *handset.Options) { o.URL = a.url })
	a.start(t, smpp("bob", b.SMPPAddr().String()))
	id := a.send(t)
	stored(t, b, id)
	if e := b.await(handset.Indicated, 1); e.PDU != mms.MNotifyRespInd || e.Err != nil {
		t.Errorf("acknowledged: %s", e)
	}
	a.reported(t, id, mms.Retrieved)
}

// TestUDP: the notification is a WAP push to the phone's port.
func TestUDP(t *testing.T) {
	a := newA(t, "mms.example.net")
	b := newPhone(t, bob, func(o *handset.Options) { o.URL = a.url })
	a.start(t, fmt.Sprintf("{name: bob, type: udp, udp: {hosts: {%q: %q}}}", bob, b.UDPAddr(0)))
	id := a.send(t)
	stored(t, b, id)
	a.reported(t, id, mms.Retrieved)
}

// TestDirectFromTheSender: Bob has another operator, and his phone fetches from Alice's server directly: nothing but the
// location says where that is, and the phone's answer goes there too.
func TestDirectFromTheSender(t *testing.T) {
	a := newA(t, "mms.example.net")
	b := newPhone(t, bob, func(o *handset.Options) { o.Header = nil })
	a.start(t, smpp("bob", b.SMPPAddr().String()))
	id := a.send(t)
	if e := stored(t, b, id); !strings.HasPrefix(e.Location, a.url) {
		t.Errorf("fetched from %s", e.Location)
	}
	a.reported(t, id, mms.Retrieved)
}

// TestThroughTheOwnServer: Bob's phone asks its own operator's router, naming Alice's server; the embedded MMSC fetches, keeps, serves,
// and passes the answer back, wherever the phone posts it.
func TestThroughTheOwnServer(t *testing.T) {
	for _, c := range []struct {
		name string
		own  bool // the answer goes to the own server, not to the location
	}{{"answer at the location", false}, {"answer to the own server", true}} {
		t.Run(c.name, func(t *testing.T) {
			a := newA(t, "localhost")
			own := newB(t, a)
			b := newPhone(t, bob, func(o *handset.Options) {
				o.Proxy = own.url
				if c.own {
					o.URL = own.url + "/"
				}
			})
			a.start(t, smpp("bob", b.SMPPAddr().String()))
			id := a.send(t)
			e := stored(t, b, id)
			a.reported(t, id, mms.Retrieved)
			own.relayed(t, 1, 1)
			otherWays(t, a, own, e.Location, id)
		})
	}
}

// otherWays names the location that Bob's phone has fetched by /relay, with Alice's server gone, and what nobody may ask for.
func otherWays(t *testing.T, a *operatorA, own *operatorB, location, id string) {
	t.Helper()
	a.road.block(true)
	defer a.road.block(false)
	relay := own.url + "/relay?location="
	code, pdu := get(t, relay+url.QueryEscape(location), bob)
	if m, err := mms.Decode(pdu); code != 200 || err != nil || m.MessageID() != id {
		t.Errorf("by /relay: %d %v", code, err)
	}
	for _, bad := range []string{a.url + "metrics", "http://" + a.MM1 + location[strings.Index(location, "/m/"):], a.API + "/api/v1/status"} {
		if code, b := get(t, relay+url.QueryEscape(bad), bob); code/100 == 2 {
			t.Errorf("%s: %d %q", bad, code, b)
		}
	}
	if n := own.Metric("mmsrouter_mmsc_peer_retrievals_total", `result="unlisted"`); n < 3 {
		t.Errorf("%v requests for unlisted locations counted, want 3", n)
	}
}

// TestRejectedBetweenOperators: Bob's phone refuses the message without fetching it, at the location; Alice is told.
func TestRejectedBetweenOperators(t *testing.T) {
	a := newA(t, "localhost")
	own := newB(t, a)
	b := newPhone(t, bob, func(o *handset.Options) { o.Proxy, o.Mode = own.url, handset.Reject })
	a.start(t, smpp("bob", b.SMPPAddr().String()))
	id := a.send(t)
	a.reported(t, id, mms.Rejected)
	own.relayed(t, 0, 1)
}

// TestReadBetweenOperators: Bob has read it, and Alice is told so, by way of both servers.
func TestReadBetweenOperators(t *testing.T) {
	a := newA(t, "localhost")
	own := newB(t, a)
	b := newPhone(t, bob, func(o *handset.Options) { o.Proxy, o.URL, o.ReadReport = own.url, own.url+"/", true })
	a.start(t, smpp("bob", b.SMPPAddr().String()))
	conf, err := a.alice.Send(t.Context(), alice, handset.Letter{To: []string{bob}, ReadReport: true, Parts: []handset.Part{{Name: "a.txt", Type: "text/plain", Data: []byte("Hi")}}})
	if err != nil {
		t.Fatal(err)
	}
	if e := b.await(handset.Stored, 1); e.MessageID != conf.MessageID() {
		t.Errorf("stored %s", e)
	}
	if e := a.alice.await(handset.ReadReport, 1); e.MessageID != conf.MessageID() || e.From != bob+"/TYPE=PLMN" {
		t.Errorf("read: %s", e)
	}
}

// get is a request for a subscriber by hand.
func get(t *testing.T, from, number string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, from, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(msisdn, number)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b
}

// TestNobodyReaches: a message to somebody whom no carrier reaches is refused at once, and none is kept.
func TestNobodyReaches(t *testing.T) {
	a := newA(t, "mms.example.net")
	s := smsc.New(t).Start()
	a.start(t, smpp("bob", s.Address()))
	_, err := a.alice.Send(t.Context(), alice, handset.Letter{To: []string{"+447700900123"}, Parts: []handset.Part{{Name: "a.txt", Type: "text/plain", Data: []byte("Hi")}}})
	if err == nil || !strings.Contains(err.Error(), mms.ErrorPermanentAddressUnresolved.String()) {
		t.Errorf("submitted: %v", err)
	}
}

// TestSenderDown: Bob's phone defers, and when it asks Alice's server can't be reached: his own server tries again, then says so
// in an M-Retrieve.conf; the phone comes back later, gets the message and acknowledges.
func TestSenderDown(t *testing.T) {
	a := newA(t, "localhost")
	own := newB(t, a, "timeout: 50ms", "deadline: 100ms")
	b := newPhone(t, bob, func(o *handset.Options) { o.Proxy, o.Mode = own.url, handset.Deferred })
	a.start(t, smpp("bob", b.SMPPAddr().String()))
	id := a.send(t)
	if e := b.await(handset.Indicated, 1); e.Status != mms.Deferred.String() || e.Err != nil {
		t.Errorf("deferred: %s", e)
	}
	a.road.block(true)
	fetched := make(chan error, 1)
	go func() { fetched <- b.Fetch(t.Context(), bob, b.await(handset.Notified, 1).Transaction) }()
	if e := b.await(handset.Retrying, 1); e.Err == nil || !strings.Contains(e.Err.Error(), mms.RetrieveTransientNetworkProblem.RetrieveString()) {
		t.Errorf("the phone was told %v", e.Err)
	}
	a.road.block(false)
	if err := <-fetched; err != nil {
		t.Fatal(err)
	}
	stored(t, b, id)
	if e := b.await(handset.Indicated, 2); e.PDU != mms.MAcknowledgeInd || e.Err != nil {
		t.Errorf("acknowledged: %s", e)
	}
	a.reported(t, id, mms.Retrieved)
}

// TestNeverAcknowledged: a phone fetches and says nothing. It is not notified again, the message stays fetchable, and Alice is told
// that it was retrieved once the grace is over.
func TestNeverAcknowledged(t *testing.T) {
	a := newA(t, "mms.example.net")
	a.grace = 3 * time.Second // three pauses
	s := smsc.New(t).Start()
	a.start(t, smpp("bob", s.Address()))
	id := a.send(t)
	location := notified(t, s, 1)
	fetch := func() {
		t.Helper()
		code, b := get(t, "http://"+a.MM1+location[strings.Index(location, "/m/"):], bob)
		if code != 200 {
			t.Fatalf("GET: %d", code)
		}
		if m, err := mms.Decode(b); err != nil || m.MessageID() != id {
			t.Errorf("fetched %v", err)
		}
	}
	fetch()
	before := len(s.Messages()[bob[1:]])
	a.reported(t, id, mms.Retrieved)
	fetch()
	// One may have been on its way when the message was fetched.
	if n := len(s.Messages()[bob[1:]]); n > before+1 {
		t.Errorf("%d notifications after the retrieval, %d before", n-before, before)
	}
}

// TestNotificationLost: nothing reaches Bob. He is notified again until the message expires, always with the same location and
// transaction id; then Alice is told that it expired.
func TestNotificationLost(t *testing.T) {
	a := newA(t, "mms.example.net")
	s := smsc.New(t).Start()
	a.start(t, smpp("bob", s.Address()))
	pdu, err := wsp.AppendParts(mms.SendReq{TransactionID: "T1", From: alice + "/TYPE=PLMN", To: []string{bob + "/TYPE=PLMN"}, DeliveryReport: mms.Yes,
		Expiry: &mms.When{After: 4 * time.Second}, ContentType: wsp.Media(wsp.MultipartMixed)}.AppendHead(nil),
		[]wsp.Part{{ContentType: wsp.Media("text/plain"), Data: []byte("Hi"), Size: 2}})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := a.alice.SendPDU(t.Context(), alice, pdu)
	if err != nil {
		t.Fatal(err)
	}
	if one, two := notified(t, s, 1), notified(t, s, 2); one != two {
		t.Errorf("notified of %s, then of %s", one, two)
	}
	a.reported(t, conf.MessageID(), mms.Expired)
	n := len(s.Messages()[bob[1:]])
	if n < 2 || n > 5 {
		t.Errorf("notified %d times in 4 s by pauses of 1 s", n)
	}
}

var client = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

// notified waits for the n-th notification that an SMSC was given for Bob, and gives its location.
func notified(t *testing.T, s *smsc.SMSC, n int) string {
	t.Helper()
	s.Wait(t, "a notification", func() bool { return len(s.Messages()[bob[1:]]) >= n })
	p, err := wappush.Decode(s.Messages()[bob[1:]][n-1])
	if err != nil {
		t.Fatal(err)
	}
	m, err := mms.Decode(p.Body)
	if err != nil || m.Type != mms.MNotificationInd {
		t.Fatalf("not a notification: %v", err)
	}
	return m.ContentLocation()
}
