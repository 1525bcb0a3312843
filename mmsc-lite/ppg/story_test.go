package ppg_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/delivery"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
	"github.com/mmsrouter/mmsrouter/test/smsc"
)

// The carrier pap of an MMSC, this gateway, SMPP, SMSC: the notification arrives, and its outcome goes all the way back.
func TestCarrierToGateway(t *testing.T) {
	server := smsc.New(t)
	server.Judge = func(s smsc.Submit) smsc.Answer {
		return smsc.Answer{Receipt: map[bool]string{true: "DELIVRD", false: "UNDELIV"}[s.Number == "46700000001"]}
	}
	server.Start()
	cfg := quick(server)
	cfg.Initiators = []ppg.InitiatorConfig{{Name: "mmsc", User: "mmsc", Password: "secret"}}
	g := run(t, ppg.Options{Config: cfg})
	outcomes := make(chan push.Outcome, 4)
	answering := &lateHandler{}
	told := newHandler(t, answering)
	carriers, err := push.New(push.Options{Host: "mms.example.net", Outcome: func(o push.Outcome) { outcomes <- o }, Config: push.Config{Segments: 2, MaxSegments: 4,
		Carriers: []push.CarrierConfig{{Name: "ppg", Type: "pap", PAP: push.PAPConfig{URL: g.url, User: "mmsc", Password: "secret", DeliveryMethod: "confirmed", NotifyURL: told}}},
		Routes:   []push.RouteConfig{{Carriers: []string{"ppg"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	answering.set(carriers.Results())
	for _, number := range []string{"+46700000001", "+46700000002"} {
		if err := carriers.Push(t.Context(), &delivery.Push{ID: "T" + number[1:], Kind: mms.MNotificationInd, To: number, PDU: pdu, ExpiresAt: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]string{}
	for range 2 {
		select {
		case o := <-outcomes:
			got[o.To] = o.ID + " " + o.State.String()
		case <-time.After(20 * time.Second):
			t.Fatalf("only %v", got)
		}
	}
	if got["+46700000001"] != "T46700000001 delivered" || got["+46700000002"] != "T46700000002 undeliverable" {
		t.Errorf("%v", got)
	}
}

// An independent reader finds the gateway's link sound, and the notifications that it carries.
func TestOracle(t *testing.T) {
	program := os.Getenv("MMSROUTER_ORACLE")
	if program == "" {
		t.Skip("MMSROUTER_ORACLE not set: no independent reader looks at the gateway's SMPP link")
	}
	server := smsc.New(t)
	server.Start()
	cfg := quick(server)
	cfg.SMPP.Source = "7777"
	g := run(t, ppg.Options{Config: cfg})
	g.push(t, &pap.PushMessage{PushID: "1", Addresses: []pap.Address{plmn("+447700900456"), plmn("+447700900457")}}, pap.Accepted)
	g.wait(t, server, "1", "delivered/1000 delivered/1000")
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	server.Wait(t, "unbound", func() bool { return server.Counts().Unbinds == 1 })
	file := filepath.Join(t.TempDir(), "link.pcap")
	port, err := server.WriteCapture(file)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "--pcap", file, "--port", fmt.Sprint(port)).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var doc struct {
		Verdict  string
		Messages []struct{ Type string }
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Verdict != "ok" || len(doc.Messages) != 2 || doc.Messages[0].Type != "m-notification-ind" {
		t.Errorf("%s", out)
	}
}

// Two SMSCs, and the one in use dies in the middle of it: all arrive.
func TestSMSCDies(t *testing.T) {
	a, b := smsc.New(t), smsc.New(t)
	a.Judge = func(s smsc.Submit) smsc.Answer { return smsc.Answer{Die: s.Seq == 100} }
	a.Start()
	b.Start()
	cfg := quick(a)
	cfg.SMPP.SMSCs = append(cfg.SMPP.SMSCs, sms.SMSCConfig{Name: "second", Address: b.Address(), SystemID: "ppg"})
	g := run(t, ppg.Options{Config: cfg})
	var list []pap.Address
	for i := range 300 {
		list = append(list, plmn(fmt.Sprintf("+4477009%05d", i)))
	}
	b.Wait(t, "both are bound", func() bool { return a.Counts().Sessions == 1 && b.Counts().Sessions == 1 })
	g.push(t, &pap.PushMessage{PushID: "1", Addresses: list}, pap.Accepted)
	g.wait(t, a, "1", strings.TrimSpace(strings.Repeat("delivered/1000 ", len(list))))
	seen := a.Messages()
	twice := 0
	for number, m := range b.Messages() {
		if len(seen[number]) > 0 {
			twice++
		}
		seen[number] = append(seen[number], m...)
	}
	if len(seen) != len(list) || twice > cfg.SMPP.Window {
		t.Errorf("%d phones got theirs, %d of them twice", len(seen), twice)
	}
}

// A gateway that still has work ahead ends in bounded time.
func TestEndsWithWorkAhead(t *testing.T) {
	gone := smsc.New(t)
	gone.Close()
	g := run(t, ppg.Options{Config: quick(gone)})
	g.push(t, &pap.PushMessage{PushID: "1", Addresses: []pap.Address{plmn("+4477")}}, pap.Accepted)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- g.stop() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Fatal("the gateway does not end")
	}
}
