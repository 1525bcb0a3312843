package mmsc_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

func TestCDRs(t *testing.T) {
	dir := pgtest.TempDir(t)
	finish := func(n int) {
		l := newLab(t, func(o *mmsc.Options) { o.DataDir = dir; o.Config.CDR.Format = []string{"json", "csv"} })
		for range n {
			id := l.sent(0x97, bob, 0x85, []byte{1, byte(time.Now().UnixNano())})
			l.says("", notifyResp(l.peek(l.pushed(mms.MNotificationInd).PDU).TransactionID, 0x81))
			l.await(id, "retrieved")
		}
		exported(t, dir, ".jsonl", bob)
		exported(t, dir, ".csv", bob)
		l.stop()
	}
	finish(1)
	// A crash while the next record was being written leaves a torn line.
	files, err := filepath.Glob(filepath.Join(dir, "cdr", "cdr-*"))
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(`{"node":"r1","rec`); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	l := newLab(t, func(o *mmsc.Options) { o.DataDir = dir; o.Config.CDR.Format = []string{"json", "csv"} })
	id := l.sent(0x97, carol)
	l.says("", notifyResp(l.peek(l.pushed(mms.MNotificationInd).PDU).TransactionID, 0x82))
	l.await(id, "rejected")
	exported(t, dir, ".jsonl", carol)
	exported(t, dir, ".csv", carol)
	l.stop()
	seen := map[string]int{}
	lines := 0
	deadline := time.Now().Add(10 * time.Second)
	for lines < 2 && time.Now().Before(deadline) {
		lines, seen = 0, map[string]int{}
		names, err := filepath.Glob(filepath.Join(dir, "cdr", "*.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
				var c store.CDR
				if line == "" {
					continue
				}
				if err := json.Unmarshal([]byte(line), &c); err != nil {
					t.Fatalf("%v in %q", err, line)
				}
				seen[c.Recipient+" "+c.State]++
				lines++
			}
		}
		if lines < 2 { // what the first run could not write before its end, the next one does
			newLab(t, func(o *mmsc.Options) { o.DataDir = dir; o.Config.CDR.Format = []string{"json", "csv"} }).stop()
		}
	}
	if lines != 2 || seen[bob+" retrieved"] != 1 || seen[carol+" rejected"] != 1 {
		t.Errorf("%d lines: %v", lines, seen)
	}
	names, err := filepath.Glob(filepath.Join(dir, "cdr", "*.csv"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := csv.NewReader(bytes.NewReader(b)).ReadAll(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// exported waits until the CDRs of a format tell of somebody, and gives them.
func exported(t *testing.T, dir, extension, who string) (text []byte) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-tick.C {
		names, err := filepath.Glob(filepath.Join(dir, "cdr", "*"+extension))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if text, err = os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte(who)) {
				return text
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no record of %s in %v", who, names)
		}
	}
}

// TestCDRsAreALineEach lets a handset put line ends where it chooses the text: a record that spans lines could not be found again after a
// crash, and would be written twice.
func TestCDRsAreALineEach(t *testing.T) {
	dir := pgtest.TempDir(t)
	l := newLab(t, func(o *mmsc.Options) { o.DataDir = dir; o.Config.CDR.Format = []string{"csv"} })
	_, b := l.do("POST", "/", sendReq("T\n,,5,\r\n", []byte{0}, 0x97, bob, 0x8A, "odd\nclass"), "X-MSISDN", alice)
	l.says("", notifyResp(l.peek(l.pushed(mms.MNotificationInd).PDU).TransactionID, 0x81))
	l.await(string(l.peek(b).MessageID), "retrieved")
	text := exported(t, dir, ".csv", bob)
	l.stop()
	if lines := bytes.Count(text, []byte("\n")); lines != 2 {
		t.Errorf("a head and a record in %d lines: %q", lines, text)
	}
}
