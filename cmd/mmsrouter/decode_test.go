package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/mmsjson"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
)

func TestDecodeAndEncode(t *testing.T) {
	l := letter{from: testSender, to: []string{"+46701740606"}, texts: []string{"one", "two"}}
	pdu, err := l.compose()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, doc, again := filepath.Join(dir, "a.mms"), filepath.Join(dir, "a.json"), filepath.Join(dir, "b.mms")
	if err := os.WriteFile(file, pdu, 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := cli("decode", "--json", "--parts", filepath.Join(dir, "parts"), file)
	if code != exitFine {
		t.Fatal(errOut)
	}
	var d mmsjson.Document
	if err := json.Unmarshal([]byte(out), &d); err != nil || d.Type != "m-send-req" || len(d.Parts) != 3 || d.Parts[1].File == "" {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(doc, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut = cli("encode", doc, "-o", again); code != exitFine {
		t.Fatal(errOut)
	}
	if b, err := os.ReadFile(again); err != nil || string(b) != string(pdu) {
		t.Errorf("encode gave other octets: %v", err)
	}
	if code, out, _ = cli("decode", file); code != exitFine || !strings.Contains(out, "part 3: text/plain; charset=utf-8; name=text-2.txt, 3 octets") {
		t.Errorf("%s", out)
	}
}

func TestDecodeFindsThePDU(t *testing.T) {
	pdu := mms.Notification{TransactionID: "T1", ContentLocation: "http://mms.example.net/m/1", Size: 1000}.Append(nil)
	long := mms.Notification{TransactionID: "T1", Subject: strings.Repeat("long ", 25), ContentLocation: "http://mms.example.net/m/1", Size: 1000}.Append(nil)
	push := wappush.AppendMMS(nil, 7, pdu)
	segments, err := wappush.Segmentation{Reference: 9}.Segment(wappush.AppendMMS(nil, 7, long))
	if err != nil || len(segments) != 2 {
		t.Fatal(len(segments), err)
	}
	tpdu := func(ud []byte) string {
		head := []byte{0x00, 0x44, 0x05, 0xA1, 0x21, 0x43, 0xF5, 0x00, 0x04, 0x62, 0x11, 0x22, 0x02, 0x53, 0x31, 0x00, byte(len(ud))}
		return "tpdu: " + hex.EncodeToString(append(head, ud...)) + "\n"
	}
	tests := []struct {
		name, content string
		code          int
		says          string
	}{
		{"the PDU itself", string(pdu), exitFine, "m-notification-ind"},
		{"a push", string(push), exitFine, "m-notification-ind"},
		{"a push in hex", "# a comment\npush: " + hex.EncodeToString(push) + "\n", exitFine, "m-notification-ind"},
		{"SMS in hex, out of order", tpdu(segments[1]) + tpdu(segments[0]), exitFine, "m-notification-ind"},
		{"SMS with a segment missing", tpdu(segments[1]), exitFailed, "segments are missing"},
		{"an SMS that is cut", tpdu(segments[0])[:40] + "\n", exitFailed, "is cut"},
		{"broken hex", "push: 0g\n", exitFailed, "line push"},
		{"a push that is cut", string(push[:3]), exitFailed, "WSP push"},
		{"nothing", "", exitFailed, "mmsrouter: "},
		{"text", "Dear all,\n", exitFailed, "octet 0"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			code, out, errOut := cli("decode", write(t, "x", tc.content))
			if code != tc.code || !strings.Contains(out+errOut, tc.says) || code == exitFailed && strings.Count(errOut, "\n") != 1 {
				t.Errorf("exit %d, want %d and %q\n%s%s", code, tc.code, tc.says, out, errOut)
			}
		})
	}
}

func FuzzUnwrap(f *testing.F) {
	f.Add([]byte("push: 000603BEAF84\n"))
	f.Add([]byte("tpdu: 0044\n"))
	f.Add([]byte{0x00, 0x06, 0x01, 0xbe})
	f.Fuzz(func(t *testing.T, b []byte) {
		if pdu, err := unwrap(b); err == nil {
			_, _ = mms.Decode(pdu) // only that it ends
		}
	})
}
