package handset_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
)

// notification is one that a phone takes.
func notification(change func(*mms.Notification)) []byte {
	n := mms.Notification{TransactionID: "t1", Expiry: mms.When{After: time.Hour}, ContentLocation: "http://192.0.2.1/m/1"}
	if change != nil {
		change(&n)
	}
	return n.Append(nil)
}

func TestPushes(t *testing.T) {
	mmsPush := func(pdu []byte) []byte { return wappush.AppendMMS(nil, 1, pdu) }
	good := notification(nil)
	cases := []struct {
		name string
		push []byte
		kind handset.Kind
		says string
	}{
		{"as it should be", mmsPush(good), handset.Notified, "t1"},
		{"no application id", append([]byte("\x01\x06\x01\xBE"), good...), handset.Notified, "t1"},
		{"type in words, headers nobody knows", append([]byte("\x01\x06\x2Aapplication/vnd.wap.mms-message\x00X-Lab\x00y\x00\xD5\x81"), good...), handset.Notified, "t1"},
		{"a location with a space in front", mmsPush(notification(func(n *mms.Notification) { n.ContentLocation = " http://192.0.2.1/m/1" })), handset.Notified, "http://192.0.2.1/m/1"},
		{"application wml.ua", append([]byte("\x01\x06\x03\xBE\xAF\x82"), good...), handset.Ignored, `"x-wap-application:wml.ua"`},
		{"an application in words", append([]byte("\x01\x06\x0A\xBE\xAFx-lab:a\x00"), good...), handset.Ignored, "x-lab:a"},
		{"service indication", []byte("\x01\x06\x01\xAE\x02\x05\x6A\x00"), handset.Ignored, "application/vnd.wap.sic"},
		{"nothing", nil, handset.Malformed, "push of 0 octets"},
		{"a reply", append([]byte("\x01\x04\x03\xBE\xAF\x84"), good...), handset.Malformed, "PDU type 04"},
		{"headers longer than the push", []byte("\x01\x06\x7F\xBE\xAF\x84"), handset.Malformed, "127 octets are announced"},
		{"no PDU", mmsPush([]byte("hello")), handset.Malformed, "X-Mms-Message-Type"},
		{"an M-Send.conf", mmsPush(mms.SendConf{TransactionID: []byte("1"), Status: mms.StatusOk}.Append(nil)), handset.Malformed, "a m-send-conf is nothing to push"},
		{"no transaction id", mmsPush([]byte("\x8C\x82\x8D\x92\x83http://192.0.2.1/\x00")), handset.Malformed, "without a transaction id"},
		{"no location", mmsPush([]byte("\x8C\x82\x981\x00\x8D\x92")), handset.Malformed, "without a Content-Location"},
		{"a location to a file", mmsPush(notification(func(n *mms.Notification) { n.ContentLocation = "file:///etc/passwd" })), handset.Malformed, "is not http://HOST"},
		{"a location without a host", mmsPush(notification(func(n *mms.Notification) { n.ContentLocation = "http:///m/1" })), handset.Malformed, "is not http://HOST"},
		{"MMS 2.0", mmsPush(notification(func(n *mms.Notification) { n.Version = 0xA0 })), handset.Malformed, "of MMS 2.0"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			m := newMMSC(t)
			l := start(t, handset.Options{SMPP: "127.0.0.1:0", Mode: handset.Reject, URL: m.URL})
			bind(t, l).push(bob, tc.push)
			if e := l.await(tc.kind, 1); !strings.Contains(e.String(), tc.says) || e.Number != bob {
				t.Errorf("%s, want %s", e, tc.says)
			}
			if tc.name == "MMS 2.0" { // the one that the phone can answer
				l.await(handset.Indicated, 1)
				wantPosts(t, m, "m-notifyresp-ind t1 Unrecognised")
			} else if tc.kind == handset.Notified {
				l.await(handset.Settled, 1)
			} else if k := l.kinds(); k != tc.kind.String() {
				t.Errorf("events: %s", k)
			}
		})
	}
}

func TestShortMessages(t *testing.T) {
	push := wappush.AppendMMS(nil, 1, notification(nil))
	header := []byte("\x06\x05\x04\x0B\x84\x23\xF0")
	cases := []struct {
		name, to    string
		esm, coding byte
		ud          []byte
		status      uint32
		kind        handset.Kind
		says        string
	}{
		{"class 1, 8 bits", bob, 0x40, 0xF5, append(header, push...), 0, handset.Notified, ""},
		{"8 bits", bob, 0x40, 0x04, append(header, push...), 0, handset.Notified, ""},
		{"binary", bob, 0x43, 0x02, append(header, push...), 0, handset.Notified, ""},
		{"the number without plus", "46701740606", 0x40, 0xF5, append(header, push...), 0, handset.Notified, ""},
		{"nobody's number", "+46701740607", 0x40, 0xF5, append(header, push...), 0x0B, handset.Ignored, ""},
		{"a text", bob, 0, 0, []byte("hello"), 0, handset.Ignored, "without ports"},
		{"7 bits", bob, 0x40, 0, append(header, push...), 0, handset.Ignored, "coding 00"},
		{"UCS-2", bob, 0x40, 0x08, append(header, push...), 0, handset.Ignored, "coding 08"},
		{"port 2949", bob, 0x40, 0xF5, append([]byte("\x06\x05\x04\x0B\x85\x23\xF1"), push...), 0, handset.Ignored, "port 2949"},
		{"a header that runs over", bob, 0x40, 0xF5, []byte("\x7F\x05\x04"), 0, handset.Malformed, "a header of 127 octets"},
		{"segment 3 of 2", bob, 0x40, 0xF5, []byte("\x0B\x05\x04\x0B\x84\x23\xF0\x00\x03\x01\x02\x03x"), 0, handset.Malformed, "segment 3 of 2"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			l := start(t, handset.Options{SMPP: "127.0.0.1:0", Mode: handset.Reject, URL: newMMSC(t).URL})
			if s := bind(t, l).submit(tc.to, tc.esm, tc.coding, tc.ud); s != tc.status {
				t.Errorf("status %02X, want %02X", s, tc.status)
			}
			if tc.status != 0 {
				if k := l.kinds(); k != "" {
					t.Errorf("events: %s", k)
				}
				return
			}
			if e := l.await(tc.kind, 1); !strings.Contains(e.String(), tc.says) {
				t.Errorf("%s, want %s", e, tc.says)
			}
		})
	}
}

// expected is what an independent reader made of a captured push.
type expected struct {
	Messages []struct {
		Type    string
		Headers []struct{ Name, Value, Hex string }
	}
	Checked struct {
		Verdict string `json:"hand_verdict"`
	}
}

func (e *expected) text(name string) string {
	for _, h := range e.Messages[0].Headers {
		if h.Name == name {
			b, _ := hex.DecodeString(h.Hex)
			return strings.TrimSuffix(string(b[1:]), "\x00")
		}
	}
	return ""
}

// captured gives the user data of a captured push's short messages.
func captured(t *testing.T, name string) (segments [][]byte, push []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		kind, digits, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		octets, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		switch kind {
		case "mms":
			octets = wappush.AppendMMS(nil, 1, octets)
			fallthrough
		case "push":
			push = octets
			if segments, err = (wappush.Segmentation{Reference: 7}).Segment(octets); err != nil {
				t.Fatal(err)
			}
		case "tpdu": // SMS-DELIVER, the SMSC's address first (3GPP TS 23.040 9.2.2.1)
			d := octets[1+octets[0]:]
			segments = append(segments, d[3+(int(d[1])+1)/2+10:])
		}
	}
	if len(segments) == 0 {
		t.Fatal("no push in it")
	}
	return segments, push
}

// TestCaptured: phones receive what networks really sent, by SMPP and by UDP.
func TestCaptured(t *testing.T) {
	corpus := os.Getenv("MMSROUTER_CORPUS")
	if corpus == "" {
		t.Skip("MMSROUTER_CORPUS not set: no captured pushes here")
	}
	list, err := filepath.Glob(filepath.Join(corpus, "*.sms"))
	if err != nil || len(list) == 0 {
		t.Fatalf("no *.sms in MMSROUTER_CORPUS: %v", err)
	}
	for _, name := range list {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".sms"), func(t *testing.T) {
			b, err := os.ReadFile(strings.TrimSuffix(name, ".sms") + ".expected.json")
			var want expected
			if err = errors.Join(err, json.Unmarshal(b, &want)); err != nil {
				t.Fatal(err)
			}
			l := start(t, handset.Options{SMPP: "127.0.0.1:0", UDP: []string{"127.0.0.1:0"}, Mode: handset.Reject, URL: newMMSC(t).URL})
			segments, push := captured(t, name)
			e := bind(t, l)
			for _, ud := range segments {
				if s := e.submit("46701740606", 0x40, 0xF5, ud); s != 0 {
					t.Fatalf("submit_sm: status %02X", s)
				}
			}
			sound := want.Checked.Verdict == "sound"
			first := handset.Malformed
			if sound {
				first = handset.Notified
			}
			got := l.await(first, 1)
			if sound {
				l.await(handset.Settled, 1)
				location := strings.TrimSpace(want.text("X-Mms-Content-Location"))
				if got.Transaction != want.text("X-Mms-Transaction-ID") || got.Location != location || location == "" {
					t.Errorf("%s; want transaction %q at %q", got, want.text("X-Mms-Transaction-ID"), location)
				}
			}
			if push == nil {
				return
			}
			c, err := net.Dial("udp", l.UDPAddr(0).String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write(push); err != nil {
				t.Fatal(err)
			}
			if sound {
				l.await(handset.Duplicate, 1)
			} else {
				l.await(handset.Malformed, 2)
			}
		})
	}
}
