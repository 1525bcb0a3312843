package kannel_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/delivery"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push"
	"github.com/mmsrouter/mmsrouter/test/interop/kannel"
	"github.com/mmsrouter/mmsrouter/test/smsc"
)

// The push initiator's name and password.
const (
	pushUser     = "mmsc"
	pushPassword = "secret"
)

func pusher(t *testing.T, url, password string) *push.Pusher {
	t.Helper()
	p, err := push.New(push.Options{Host: "mms.example.net", Config: push.Config{Segments: 2, MaxSegments: 4,
		Carriers: []push.CarrierConfig{{Name: "kannel", Type: "pap", PAP: push.PAPConfig{URL: url, User: pushUser, Password: password}}},
		Routes:   []push.RouteConfig{{Carriers: []string{"kannel"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPushProxyGateway pushes notifications through Kannel by PAP; they arrive at the SMSC as short messages that a handset can read.
func TestPushProxyGateway(t *testing.T) {
	server := smsc.New(t)
	server.Start()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	lab := start(t, kannel.Options{Address: address(t), Push: &kannel.Push{SMSC: server.Address(), User: pushUser, Password: pushPassword}})
	good := pusher(t, lab.PAP, pushPassword)
	for _, tc := range []struct {
		name, number string
		url          string
	}{
		{"one short message", "+447700900001", "http://mmsc.example.net/m/1"},
		{"two", "+447700900002", "http://mmsc.example.net/m/" + strings.Repeat("x", 120)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pdu := mms.Notification{TransactionID: "T1", From: "+447700900123/TYPE=PLMN", Size: 24348, Expiry: mms.When{After: time.Hour}, ContentLocation: tc.url}.Append(nil)
			if err := good.Push(ctx, &delivery.Push{ID: "T1-" + tc.number[1:], Kind: mms.MNotificationInd, To: tc.number, PDU: pdu, ExpiresAt: time.Now().Add(time.Hour)}); err != nil {
				t.Fatal(err)
			}
			var m [][]byte
			server.Wait(t, "it arrives", func() bool { m = server.Messages()[tc.number[1:]]; return len(m) > 0 })
			d, err := wappush.Decode(m[0])
			if err != nil || !d.IsMMS() || d.ApplicationID() != wappush.MMSApplication || !bytes.Equal(d.Body, pdu) {
				t.Errorf("%x: %v", m[0], err)
			}
		})
	}
	// Kannel answers a wrong password with a PAP document, or with an HTTP status; it must not count as taken.
	err := pusher(t, lab.PAP, "wrong").Push(ctx, &delivery.Push{ID: "T2", Kind: mms.MNotificationInd, To: "+447700900003", PDU: []byte{0x8C, 0x82}, ExpiresAt: time.Now().Add(time.Hour)})
	if err == nil {
		t.Error("a push with the wrong password was taken")
	}
	var again *push.RetryError
	t.Logf("wrong password: %v (final %v, again %v)", err, errors.Is(err, delivery.ErrNoRoute), errors.As(err, &again))
	if n := len(server.Messages()["447700900003"]); n != 0 {
		t.Errorf("%d messages", n)
	}
}
