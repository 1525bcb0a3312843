package mmsc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/dispatcher"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// fakeServices has the addresses that begin with 7.
type fakeServices struct {
	mu    sync.Mutex
	check error
	take  error
	took  []dispatcher.Submission
	tried int
	told  []dispatcher.Report
}

func (f *fakeServices) Takes(a string) bool { return strings.HasPrefix(a, "7") }

func (f *fakeServices) Check(_ context.Context, s *dispatcher.Submission) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.check
}

func (f *fakeServices) Accept(_ context.Context, s *dispatcher.Submission) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tried++
	if f.take == nil {
		f.took = append(f.took, *s)
	}
	return f.take
}

func (f *fakeServices) Tell(_ context.Context, r dispatcher.Report) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, r)
	return nil
}

// say sets what Check and Accept answer.
func (f *fakeServices) say(check, take error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.check, f.take = check, take
}

func (f *fakeServices) taken() []dispatcher.Submission {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]dispatcher.Submission{}, f.took...)
}

func withServices(f *fakeServices) func(*mmsc.Options) {
	return func(o *mmsc.Options) {
		o.Services = f
		o.Reaches = func(to string) bool { return !strings.HasPrefix(to, "7") }
	}
}

// aText is the body of a message: one text.
func aText(text string) []byte {
	return append([]byte{1, 4, byte(len(text)), 0x03, 0x83, 0x81, 0xEA}, text...)
}

// submit posts a PDU as alice and gives the M-Send.conf.
func (l *lab) submit(pdu []byte) mms.Head {
	l.t.Helper()
	_, b := l.do("POST", "/", pdu, "X-MSISDN", alice, "User-Agent", "Phone/1.0", "Profile", `"http://phones.example/1.xml"`)
	return l.peek(b)
}

// ends waits until the recipient of the newest message to a service is in a state.
func (l *lab) ends(to string, want store.State) {
	l.t.Helper()
	l.eventually("a message to "+to+" that is "+want.String(), func() bool {
		list, err := l.List(l.t.Context(), store.Filter{Number: to})
		if err != nil {
			l.t.Fatal(err)
		}
		for _, m := range list {
			for _, r := range m.Recipients {
				if r.Address == to && r.State == want {
					return true
				}
			}
		}
		return false
	})
}

// eventually waits for what other goroutines bring about.
func (l *lab) eventually(what string, there func() bool) {
	l.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for !there() {
		select {
		case <-tick.C:
		case <-late:
			l.t.Fatal("there is no " + what)
		}
	}
}

// TestServiceTakesMessage: it is handed over before its sender is answered, with all that a service wants to know, and the other
// recipients get it as ever.
func TestServiceTakesMessage(t *testing.T) {
	f := &fakeServices{}
	l := newLab(t, withServices(f))
	h := l.submit(sendReq("T1", aText("hello"), 0x97, "7000/TYPE=PLMN", 0x97, "+46700000003/TYPE=PLMN", 0x82, "7001", 0x81, "+46700000004", 0x96, "Hi",
		"X-Mmsrouter-Service", "quiz", "x-mmsrouter-hops", "3"))
	if h.Response != mms.StatusOk {
		t.Fatalf("%v", h.Response)
	}
	took := f.taken()
	if len(took) != 2 || took[0].Code != "7000" || took[1].Code != "7001" {
		t.Fatalf("%+v", took)
	}
	s := took[0]
	if s.MessageID != string(h.MessageID) || s.From != alice || s.Subject != "Hi" || fmt.Sprint(s.Others) != "[+46700000003]" || s.Reply || s.Hops != 0 ||
		s.UserAgent != "Phone/1.0" || s.Profile != "http://phones.example/1.xml" || len(s.Parts) != 1 || string(s.Parts[0].Data) != "hello" {
		t.Errorf("%+v", s)
	}
	l.ends("7000", store.Retrieved)
	for range 2 {
		_, b := l.do("GET", l.location(l.pushed(mms.MNotificationInd)), nil)
		if strings.Contains(strings.ToLower(string(b)), "x-mmsrouter") {
			t.Error("a recipient sees marks")
		}
	}
	l.quiet()
}

// TestServiceTakesLater: a failure of the dispatcher, and a restart, delay a message that was accepted; they don't lose it.
func TestServiceTakesLater(t *testing.T) {
	t.Parallel()
	f := &fakeServices{}
	f.say(nil, errors.New("the database is away"))
	var dir string
	l := newLab(t, func(o *mmsc.Options) { withServices(f)(o); dir = o.DataDir })
	h := l.submit(sendReq("T1", aText("hello"), 0x97, "7000/TYPE=PLMN"))
	if h.Response != mms.StatusOk || len(f.taken()) != 0 {
		t.Fatalf("%v, taken %v", h.Response, f.taken())
	}
	l.stop()
	f.say(nil, nil)
	l = newLab(t, func(o *mmsc.Options) { withServices(f)(o); o.DataDir = dir })
	l.ends("7000", store.Retrieved)
	if took := f.taken(); len(took) != 1 || took[0].MessageID != string(h.MessageID) || string(took[0].Parts[0].Data) != "hello" || took[0].UserAgent != "Phone/1.0" {
		t.Errorf("%+v", took)
	}
}

// TestServiceTakesTooLate: a message that nobody could hand over until it expired ends with an answer all the same.
func TestServiceTakesTooLate(t *testing.T) {
	t.Parallel()
	f := &fakeServices{}
	f.say(nil, errors.New("the database is away"))
	l := newLab(t, func(o *mmsc.Options) { withServices(f)(o); o.Config.Delivery.RetryFirst = 100 * time.Millisecond })
	if h := l.submit(sendReq("T1", aText("hello"), 0x97, "7000/TYPE=PLMN", 0x88, []byte{3, 0x81, 1, 11})); h.Response != mms.StatusOk { // expires in 11 s
		t.Fatal(h.Response)
	}
	l.ends("7000", store.Expired)
	p := l.pushed(mms.MNotificationInd)
	if _, b := l.do("GET", l.location(p), nil); p.To != alice || !strings.Contains(string(b), "7000 was not taken: it could not be handed over in time") {
		t.Errorf("to %s: %q", p.To, b)
	}
}

// TestServiceRefuses: a no before the message is accepted is the M-Send.conf's; one that comes after that is told in a message.
func TestServiceRefuses(t *testing.T) {
	f := &fakeServices{}
	l := newLab(t, withServices(f))
	no := &dispatcher.Refusal{Reason: mms.AddressUnresolved, Text: "no service takes this message"}
	first := sendReq("T1", aText("hello"), 0x97, "7000/TYPE=PLMN")
	accepted := l.submit(first)

	f.say(no, nil)
	if h := l.submit(sendReq("T2", aText("hello"), 0x97, "7000/TYPE=PLMN")); h.Response != mms.ErrorPermanentAddressUnresolved {
		t.Errorf("refused: %v", h.Response)
	}
	if h := l.submit(first); h.Response != mms.StatusOk || string(h.MessageID) != string(accepted.MessageID) {
		t.Errorf("what was accepted before: %v %s", h.Response, h.MessageID)
	}
	f.say(errors.New("the database is away"), nil)
	if h := l.submit(sendReq("T3", aText("hello"), 0x97, "7000/TYPE=PLMN")); mms.ResponseClass(h.Response) != mms.Transient {
		t.Errorf("a failure: %v", h.Response)
	}
	if n := len(f.taken()); n != 1 {
		t.Errorf("%d turns, want 1", n)
	}
	l.quiet()

	f.say(nil, no)
	if h := l.submit(sendReq("T4", aText("hello"), 0x97, "7000/TYPE=PLMN")); h.Response != mms.StatusOk {
		t.Fatal(h.Response)
	}
	l.ends("7000", store.Rejected)
	p := l.pushed(mms.MNotificationInd)
	if _, b := l.do("GET", l.location(p), nil); p.To != alice || !strings.Contains(string(b), "7000 was not taken: no service takes this message") {
		t.Errorf("to %s: %q", p.To, b)
	}
}

// TestServiceTakesForward: a message that a handset has and forwards to a service, without fetching it.
func TestServiceTakesForward(t *testing.T) {
	f := &fakeServices{}
	l := newLab(t, withServices(f))
	l.submit(sendReq("T1", aText("a picture, say"), 0x97, "+46700000003/TYPE=PLMN", 0x96, "Look"))
	p := l.pushed(mms.MNotificationInd)
	_, b := l.do("POST", "/", pdu(0x8C, 0x89, 0x98, "F1", 0x8D, 0x92, 0x89, 1, 0x81, 0x97, "7000/TYPE=PLMN", 0x83, "http://mms.example.net"+l.location(p)), "X-MSISDN", "+46700000003")
	if h := l.peek(b); h.Response != mms.StatusOk {
		t.Fatal(h.Response)
	}
	l.ends("7000", store.Retrieved)
	if took := f.taken(); len(took) != 1 || took[0].From != "+46700000003" || took[0].Subject != "Look" || string(took[0].Parts[0].Data) != "a picture, say" {
		t.Errorf("%+v", took)
	}
}

// TestReplies: messages of services are submitted in the house: From and marks count, the transaction id alone makes a message,
// what becomes of it is told, and one that goes to a service says what it is.
func TestReplies(t *testing.T) {
	f := &fakeServices{}
	l := newLab(t, func(o *mmsc.Options) {
		withServices(f)(o)
		o.Config.Subscribers.Required = true // a service is no subscriber
	})
	reply := func(transaction, to, text string) (string, error) {
		t.Helper()
		return l.SubmitReply(t.Context(), pdu(0x8C, 0x80, 0x98, transaction, 0x8D, 0x92, 0x89, 16, 0x80, "7000/TYPE=PLMN", 0x97, to, 0x86, 0x80,
			"X-Mmsrouter-Service", "quiz", "X-Mmsrouter-Hops", "1", "X-Mmsrouter-Price", "1.50", 0x84, 0xA3, aText(text)))
	}
	one, err := reply("R1", alice, "A")
	if err != nil {
		t.Fatal(err)
	}
	if two, err := reply("R1", alice, "something else"); err != nil || two != one {
		t.Errorf("the same turn again: %s %v, want %s", two, err, one)
	}
	p := l.pushed(mms.MNotificationInd)
	l.quiet()
	_, b := l.do("GET", l.location(p), nil)
	if h := l.peek(b); string(h.From) != "7000/TYPE=PLMN" || !strings.HasSuffix(string(b), "A") || strings.Contains(string(b), "quiz") {
		t.Errorf("%+v %q", h, b)
	}
	l.do("POST", "/", pdu(0x8C, 0x83, 0x98, []byte(l.peek(p.PDU).TransactionID), 0, 0x8D, 0x92, 0x95, 0x81))
	var told []dispatcher.Report
	l.eventually("report", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		told = append([]dispatcher.Report{}, f.told...)
		return len(told) > 0
	})
	if r := told[0]; len(told) > 1 || r.Kind != "delivery" || r.Status != "retrieved" || r.MessageID != one || r.TransactionID != "R1" || r.Recipient != alice {
		t.Errorf("%+v", told)
	}
	if _, err := reply("R2", "7001", "B"); err != nil {
		t.Fatal(err)
	}
	l.ends("7001", store.Retrieved)
	if took := f.taken(); len(took) != 1 || !took[0].Reply || took[0].Hops != 1 {
		t.Errorf("%+v", took)
	}
	f.say(&dispatcher.Refusal{Reason: mms.ServiceDenied, Text: "a loop"}, nil)
	var no *mmsc.SubmitError
	if _, err := reply("R3", "7001", "C"); !errors.As(err, &no) || no.Status != mms.ErrorPermanentServiceDenied {
		t.Errorf("%v", err)
	}
}
