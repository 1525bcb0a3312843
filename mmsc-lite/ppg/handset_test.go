package ppg_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/handset/smsc"
	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
	lab "github.com/mmsrouter/mmsrouter/test/smsc"
)

// The SMSC in front of phones in software takes what the gateway submits, in each form, and its receipts confirm it.
func TestPhonesInSoftware(t *testing.T) {
	for _, form := range []string{"udh", "sar"} {
		t.Run(form, func(t *testing.T) {
			pushes := make(chan []byte, 1)
			phones := wappush.NewReassembler(0, 0)
			phone, err := smsc.New(smsc.Options{Listen: "127.0.0.1:0", Accounts: map[string]string{"ppg": "secret"}, Receive: func(m *smsc.Message) smsc.Status {
				whole, u, err := phones.Add(m.Source.Digits, m.Destination.Digits, m.UserData, time.Now())
				if err != nil || u.Destination != wappush.PortPush {
					t.Errorf("%x: %v", m.UserData, err)
				}
				if whole != nil {
					pushes <- whole
				}
				return smsc.Ok
			}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
			done := make(chan error, 1)
			go func() { done <- phone.Run(ctx) }()
			t.Cleanup(func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
			cfg := quick(lab.New(t))
			cfg.SMPP.SMSCs = []sms.SMSCConfig{{Address: phone.Addr().String(), SystemID: "ppg", Password: "secret"}}
			cfg.SMPP.Form = form
			g := run(t, ppg.Options{Config: cfg})
			content := mmsContent()
			content.Body = append(bytes.Clone(content.Body), strings.Repeat("x", 200)...)
			m := &pap.PushMessage{PushID: "1", Addresses: []pap.Address{plmn("+447700900456")}, Quality: &pap.QualityOfService{DeliveryMethod: "confirmed"}}
			if r := g.post(t, m, content).(*pap.PushResponse); r.Code != pap.Accepted {
				t.Fatalf("%+v", r)
			}
			select {
			case whole := <-pushes:
				if d, err := wappush.Decode(whole); err != nil || !d.IsMMS() || !bytes.Equal(d.Body, content.Body) {
					t.Errorf("%x: %v", whole, err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("nothing arrived")
			}
			g.wait(t, lab.New(t), "1", "delivered/1000")
		})
	}
}
