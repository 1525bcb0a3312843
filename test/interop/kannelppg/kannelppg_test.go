package kannelppg_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/delivery"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push"
	"github.com/mmsrouter/mmsrouter/test/interop/kannel"
	"github.com/mmsrouter/mmsrouter/test/interop/kannelppg"
	"github.com/mmsrouter/mmsrouter/test/smsc"
)

// address finds a loopback address on which the WDP ports are free.
func address(t *testing.T) string {
	t.Helper()
	for last := 2; last < 250; last++ {
		ip := net.IPv4(127, 0, 93, byte(last))
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: ip, Port: kannel.PortConnectionless})
		if err != nil {
			continue
		}
		c.Close()
		return ip.String()
	}
	t.Fatal("no loopback address has port 9200 free")
	return ""
}

func pusher(t *testing.T, url, password string) *push.Pusher {
	t.Helper()
	p, err := push.New(push.Options{Host: "mms.example.net", Config: push.Config{Segments: 2, MaxSegments: 4,
		Carriers: []push.CarrierConfig{{Name: "kannel", Type: "pap", PAP: push.PAPConfig{URL: url, User: kannelppg.User, Password: password}}},
		Routes:   []push.RouteConfig{{Carriers: []string{"kannel"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestKannelAsGateway pushes notifications through Kannel by PAP; they arrive at the SMSC as short messages that a handset can read.
func TestKannelAsGateway(t *testing.T) {
	if _, _, err := kannel.Programs(); err != nil {
		t.Skipf("Kannel not installed: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	server := smsc.New(t)
	server.Start()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	lab, err := kannelppg.Start(ctx, kannelppg.Options{Dir: t.TempDir(), Address: address(t), SMSC: server.Address()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(lab.Logs())
		}
	})
	good := pusher(t, lab.URL, kannelppg.Password)
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
	err = pusher(t, lab.URL, "wrong").Push(ctx, &delivery.Push{ID: "T2", Kind: mms.MNotificationInd, To: "+447700900003", PDU: []byte{0x8C, 0x82}, ExpiresAt: time.Now().Add(time.Hour)})
	if err == nil {
		t.Error("a push with the wrong password was taken")
	}
	var again *push.RetryError
	t.Logf("wrong password: %v (final %v, again %v)", err, errors.Is(err, delivery.ErrNoRoute), errors.As(err, &again))
	if n := len(server.Messages()["447700900003"]); n != 0 {
		t.Errorf("%d messages", n)
	}
}
