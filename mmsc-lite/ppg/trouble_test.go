package ppg_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg"
	"github.com/mmsrouter/mmsrouter/test/smsc"
)

func TestTimes(t *testing.T) {
	t.Run("not before its time", func(t *testing.T) {
		server := smsc.New(t).Start()
		g := run(t, ppg.Options{Config: quick(server)})
		due := time.Now().Add(1200 * time.Millisecond).Truncate(time.Second).Add(time.Second) // PAP knows whole seconds
		g.push(t, &pap.PushMessage{PushID: "1", Addresses: []pap.Address{plmn("+4477")}, DeliverAfter: due}, pap.Accepted)
		g.wait(t, server, "1", "delivered/1000")
		if now := time.Now(); now.Before(due) {
			t.Errorf("sent %s early", due.Sub(now))
		}
	})
	t.Run("not after its time", func(t *testing.T) {
		gone := smsc.New(t)
		gone.Close()
		cfg := quick(gone)
		cfg.SMPP.Wait = 10 * time.Millisecond
		told := newResults(t, 0)
		g := run(t, ppg.Options{Config: cfg})
		g.push(t, &pap.PushMessage{PushID: "1", Addresses: []pap.Address{plmn("+4477")}, DeliverBefore: time.Now().Add(2 * time.Second), NotifyTo: told.URL}, pap.Accepted)
		g.wait(t, gone, "1", "expired/4000")
		gone.Wait(t, "it is told", func() bool { return len(told.list()) == 1 })
		if m := told.list()[0]; m.State != pap.Expired || !strings.Contains(m.Description, "no SMSC is bound") {
			t.Errorf("%+v", m)
		}
	})
}

// The SMSC is away, throttles, and refuses one number for good.
func TestSMSCTroubles(t *testing.T) {
	server := smsc.New(t)
	var mu sync.Mutex
	tries := map[string]int{}
	server.Judge = func(s smsc.Submit) smsc.Answer {
		mu.Lock()
		defer mu.Unlock()
		tries[s.Number]++
		switch {
		case s.Number == "447700900000":
			return smsc.Answer{Status: 0x0B}
		case tries[s.Number] == 1 && s.Seq%3 == 0:
			return smsc.Answer{Status: 0x58}
		case tries[s.Number] == 1 && s.Seq%3 == 1:
			return smsc.Answer{Status: 0x08}
		case tries[s.Number] == 1:
			return smsc.Answer{Silent: true}
		}
		return smsc.Answer{}
	}
	cfg := quick(server)
	cfg.SMPP.Timeout = 200 * time.Millisecond
	g := run(t, ppg.Options{Config: cfg})
	var list []pap.Address
	var want []string
	for i := range 20 {
		list = append(list, plmn(fmt.Sprintf("+4477009000%02d", i)))
		want = append(want, "delivered/1000")
	}
	want[0] = "undeliverable/4000"
	g.push(t, &pap.PushMessage{PushID: "1", Addresses: list}, pap.Accepted)
	server.Start() // it comes late
	g.wait(t, server, "1", strings.Join(want, " "))
}

func TestConfirmed(t *testing.T) {
	server := smsc.New(t)
	server.Judge = func(s smsc.Submit) smsc.Answer {
		a := smsc.Answer{ID: fmt.Sprintf("%X", 0xAB00+s.Seq), ReceiptID: fmt.Sprint(0xAB00 + s.Seq)}
		switch s.Number {
		case "44770001":
			a.Receipt = "DELIVRD"
		case "44770002":
			a.Receipt = "UNDELIV"
		case "44770003":
			a.Receipt = "EXPIRED"
		case "44770004":
			a.Receipt = "ACCEPTD" // says nothing yet
		}
		return a
	}
	server.Start()
	cfg := quick(server)
	cfg.ConfirmWait = 1500 * time.Millisecond
	g := run(t, ppg.Options{Config: cfg})
	m := &pap.PushMessage{PushID: "1", Addresses: []pap.Address{plmn("+44770001"), plmn("+44770002"), plmn("+44770003"), plmn("+44770004"), plmn("+44770005")}, Quality: &pap.QualityOfService{DeliveryMethod: "confirmed"}}
	g.push(t, m, pap.Accepted)
	g.wait(t, server, "1", "delivered/1000 undeliverable/4000 expired/4000 pending/1001 pending/1001")
	g.wait(t, server, "1", "delivered/1000 undeliverable/4000 expired/4000 timeout/4000 timeout/4000")
	// A long one is delivered when all its segments are.
	r := g.post(t, &pap.PushMessage{PushID: "2", Addresses: []pap.Address{plmn("+44770001")}, Quality: m.Quality}, &pap.Entity{Header: textproto.MIMEHeader{"Content-Type": {"text/plain"}}, Body: make([]byte, 300)})
	if r.(*pap.PushResponse).Code != pap.Accepted {
		t.Fatalf("%+v", r)
	}
	g.wait(t, server, "2", "delivered/1000")
}

// Results go to the initiator itself and to nobody else that it names.
func TestResultsLeadNowhereElse(t *testing.T) {
	server := smsc.New(t).Start()
	cfg := quick(server)
	cfg.Results.GiveUp = 200 * time.Millisecond
	g := run(t, ppg.Options{Config: cfg})
	hit := make(chan struct{}, 10)
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skip("127.0.0.2 is not there: ", err)
	}
	other := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hit <- struct{}{} })}
	go other.Serve(l)
	defer other.Close()
	elsewhere := httptest.NewServer(http.RedirectHandler("http://"+l.Addr().String(), http.StatusTemporaryRedirect))
	defer elsewhere.Close()
	g.push(t, &pap.PushMessage{PushID: "1", Addresses: []pap.Address{plmn("+4477")}, NotifyTo: "http://" + l.Addr().String()}, pap.Accepted)
	g.push(t, &pap.PushMessage{PushID: "2", Addresses: []pap.Address{plmn("+4477")}, NotifyTo: elsewhere.URL}, pap.Accepted)
	told := newResults(t, 0)
	g.push(t, &pap.PushMessage{PushID: "3", Addresses: []pap.Address{plmn("+4477")}, NotifyTo: told.URL}, pap.Accepted)
	server.Wait(t, "the third is told", func() bool { return len(told.list()) == 1 })
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-hit:
		t.Error("an initiator has led us elsewhere")
	default:
	}
}

func TestRestart(t *testing.T) {
	server := smsc.New(t)
	dir := t.TempDir()
	g := run(t, ppg.Options{Config: quick(server), DataDir: dir}) // nobody accepts at the SMSC yet
	var list []pap.Address
	for i := range 50 {
		list = append(list, plmn(fmt.Sprintf("+4477009000%02d", i)))
	}
	g.push(t, &pap.PushMessage{PushID: "1", Addresses: list}, pap.Accepted)
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	server.Start()
	g = run(t, ppg.Options{Config: quick(server), DataDir: dir})
	g.push(t, &pap.PushMessage{PushID: "1", Addresses: list[:1]}, pap.DuplicatePushID)
	g.wait(t, server, "1", strings.TrimSpace(strings.Repeat("delivered/1000 ", 50)))
	for number, m := range server.Messages() {
		if len(m) != 1 {
			t.Errorf("%s has %d messages", number, len(m))
		}
	}
	if n := len(server.Messages()); n != 50 {
		t.Errorf("%d phones", n)
	}
}
