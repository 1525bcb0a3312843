package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// TestPhone: a phone that is pushed to by UDP fetches, stores, acknowledges, says so, and ends after one message.
func TestPhone(t *testing.T) {
	message, err := wsp.AppendParts(mms.Retrieve{TransactionID: "1", From: "+46701740605/TYPE=PLMN", Subject: "Hello", ContentType: wsp.Media(wsp.MultipartMixed)}.AppendHead(nil),
		[]wsp.Part{{ContentType: wsp.Media("text/plain", "name", "hello.txt"), Data: []byte("Hello"), Size: 5}})
	if err != nil {
		t.Fatal(err)
	}
	mmsc := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Write(message)
		}
	}))
	defer mmsc.Close()
	dir := t.TempDir()
	out, in := io.Pipe()
	done := make(chan int, 1)
	go func() {
		code := run([]string{"phone", "--number", "+46701740606", "--dir", dir, "--smpp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--url", mmsc.URL, "--until", "1"}, nil, in, in)
		in.Close()
		done <- code
	}()
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("nothing is said")
	}
	greeting := regexp.MustCompile(`^\+46701740606; SMS by SMPP at 127\.0\.0\.1:\d+; pushes by UDP at (127\.0\.0\.1:\d+); MMSC http://`).FindStringSubmatch(lines.Text())
	if greeting == nil {
		t.Fatalf("it says %q", lines.Text())
	}
	c, err := net.Dial("udp", greeting[1])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	push := wappush.AppendMMS(nil, 1, mms.Notification{TransactionID: "t1", From: "+46701740605", Size: uint64(len(message)), Expiry: mms.When{After: time.Hour},
		ContentLocation: mmsc.URL + "/m/1"}.Append(nil))
	if _, err := c.Write(push); err != nil {
		t.Fatal(err)
	}
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
	}
	all := strings.Join(said, "\n")
	if code := <-done; code != exitFine {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"+46701740606 notified m-notification-ind from +46701740605", `stored m-retrieve-conf from +46701740605/TYPE=PLMN "Hello"`,
		"indicated m-notifyresp-ind Retrieved", "notified 1, stored 1, indicated 1"} {
		if !strings.Contains(all, want) {
			t.Errorf("it did not say %q:\n%s", want, all)
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "46701740606", "*", "hello.txt"))
	if err != nil || len(found) != 1 {
		t.Fatalf("hello.txt: %v, %v", found, err)
	}
	if b, err := os.ReadFile(found[0]); string(b) != "Hello" || err != nil {
		t.Errorf("it holds %q, %v", b, err)
	}
}

func TestPhoneUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		says string
		code int
	}{
		"no number":         {nil, "give a number with --number", exitUsage},
		"a mode":            {[]string{"--number", "+46701", "--mode", "never"}, "allowed are immediate, deferred, reject", exitUsage},
		"nothing to hear":   {[]string{"--number", "+46701", "--smpp", "", "--udp", ""}, "neither --smpp nor --udp", exitUsage},
		"a count of many":   {[]string{"--number", "+46701,+46702", "--count", "2"}, "with one --number", exitUsage},
		"a count of a word": {[]string{"--number", "bob", "--count", "2"}, "has to be digits", exitUsage},
		"a word":            {[]string{"--number", "bob", "--smpp", "", "--udp", "127.0.0.1:0"}, `"bob" is no number`, exitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			var said strings.Builder
			if code := run(append([]string{"phone"}, tc.args...), nil, &said, &said); code != tc.code || !strings.Contains(said.String(), tc.says) {
				t.Errorf("exit code %d, %q; want %d, %q", code, said.String(), tc.code, tc.says)
			}
		})
	}
}

func TestCountUp(t *testing.T) {
	got, err := countUp([]string{"+46709"}, 3)
	if err != nil || strings.Join(got, " ") != "+46709 +46710 +46711" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err = countUp([]string{"0070"}, 2); err != nil || strings.Join(got, " ") != "+0070 +0071" {
		t.Errorf("%v, %v", got, err)
	}
}

// TestPhoneEnds holds that --until waits for what is under way, not only for the last message to be stored.
func TestPhoneEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		n      int64
		events string // s: stored, S: settled; the digit is the transaction
		want   int    // the event that ends it, from 1; 0: none
	}{
		{"never", 0, "s1 S1 s2 S2", 0},
		{"one", 1, "s1 S1", 2},
		{"a settled one that was not stored counts for nothing", 1, "S1 s2 S2", 3},
		{"the first is settled when the second is stored already", 2, "s1 s2 S1 S2", 4},
		{"beyond the number", 1, "s1 s2 S2 S1", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, got := last{n: c.n}, 0
			for i, word := range strings.Fields(c.events) {
				kind := handset.Stored
				if word[0] == 'S' {
					kind = handset.Settled
				}
				if l.seen(handset.Event{Kind: kind, Number: "+46701740606", Transaction: word[1:]}) && got == 0 {
					got = i + 1
				}
			}
			if got != c.want {
				t.Errorf("event %d ends it, want %d", got, c.want)
			}
		})
	}
}
