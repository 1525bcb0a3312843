package wappush_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
)

// TestOracle lets an independent reader put a notification in two SMS together.
func TestOracle(t *testing.T) {
	program := os.Getenv("MMSROUTER_ORACLE")
	if program == "" {
		t.Skip("MMSROUTER_ORACLE not set: no independent reader looks at what is built")
	}
	pdu := mms.Notification{TransactionID: "T1001", From: "+447700900123/TYPE=PLMN", Subject: "Holiday picture", Size: 24348,
		Expiry: mms.When{After: 48 * time.Hour}, ContentLocation: "http://mmsc.example.net/m/" + strings.Repeat("x", 60)}.Append(nil)
	for _, tc := range []struct {
		name string
		s    wappush.Segmentation
		n    int
	}{
		{"8 bits", wappush.Segmentation{Reference: 7}, 2},
		{"16 bits", wappush.Segmentation{Reference: 0x1234, WideReference: true}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			segments, err := tc.s.Segment(wappush.AppendMMS(nil, 1, pdu))
			if err != nil || len(segments) != tc.n {
				t.Fatalf("%d segments, %v", len(segments), err)
			}
			args := []string{"--ud"}
			for _, s := range segments {
				args = append(args, hex.EncodeToString(s))
			}
			out, err := exec.Command(program, args...).Output()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var doc struct {
				Verdict  string
				Messages []struct {
					Type    string
					Headers []struct{ Name, Value string }
				}
			}
			if err := json.Unmarshal(out, &doc); err != nil {
				t.Fatal(err)
			}
			if doc.Verdict != "ok" || len(doc.Messages) != 1 || doc.Messages[0].Type != "m-notification-ind" {
				t.Fatalf("%s", out)
			}
			last := doc.Messages[0].Headers[len(doc.Messages[0].Headers)-1]
			if last.Name != "X-Mms-Content-Location" || !strings.HasSuffix(last.Value, "xxx") {
				t.Errorf("%+v", last)
			}
		})
	}
}
