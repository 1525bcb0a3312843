package handset_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// TestNames: files stand under names that are safe, each its own, close to what the peer said.
func TestNames(t *testing.T) {
	part := func(name, data string) wsp.Part {
		p := wsp.Part{ContentType: wsp.Media("text/plain"), Data: []byte(data)}
		if name != "" {
			p.ContentType = wsp.Media("text/plain", "name", name)
		}
		return p
	}
	base64 := part("note.txt", "SGVsbG8=")
	h, err := wsp.NewHeader("Content-Transfer-Encoding", "base64")
	if err != nil {
		t.Fatal(err)
	}
	base64.Headers = append(base64.Headers, h)
	bad := part("bad.txt", "no base64!")
	bad.Headers = append(bad.Headers, h)
	nested, err := wsp.AppendParts(nil, []wsp.Part{part("inner.txt", "inner")})
	if err != nil {
		t.Fatal(err)
	}
	alternative := wsp.Part{ContentType: wsp.Media(wsp.MultipartAlternative), Data: nested}
	parts := []wsp.Part{part("../../etc/passwd", "1"), part(`C:\autoexec.bat`, "2"), part("a.txt", "3"), part("A.TXT", "4"), part("", "5"), part("...", "6"),
		part("message.mms", "7"), part("å ä\x01ö.txt", "8"), part(strings.Repeat("long", 50)+".jpeg", "9"), part(".hidden", "10"), base64, bad, alternative}
	want := map[string]string{"passwd": "1", "autoexec.bat": "2", "a.txt": "3", "A-2.TXT": "4", "part-5.txt": "5", "part-6.txt": "6", "message-2.mms": "7",
		"_____.txt": "8", strings.Repeat("long", 50)[:75] + ".jpeg": "9", "hidden": "10", "note.txt": "Hello", "bad.txt": "no base64!", "inner.txt": "inner"}
	m := newMMSC(t)
	l := start(t, handset.Options{Dir: t.TempDir()})
	l.Push(bob, m.keep("/m/1", message(t, nil, parts...)))
	got := files(t, l.await(handset.Stored, 1).Folder)
	delete(got, "message.mms")
	delete(got, "message.json")
	for name, data := range want {
		if got[name] != data {
			t.Errorf("%s holds %q, want %q", name, got[name], data)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("there is %q too", name)
	}
}

// TestOneBody: a message that is no multipart.
func TestOneBody(t *testing.T) {
	m := newMMSC(t)
	l := start(t, handset.Options{Dir: t.TempDir()})
	body := mms.Retrieve{TransactionID: "1", ContentType: wsp.Media("text/plain")}.AppendHead(nil)
	l.Push(bob, m.keep("/m/1", append(body, "Hello"...)))
	if got := files(t, l.await(handset.Stored, 1).Folder); got["part-1.txt"] != "Hello" || len(got) != 3 {
		t.Errorf("%q", got)
	}
}

// TestDisk: a message that can't be stored is not acknowledged.
func TestDisk(t *testing.T) {
	m := newMMSC(t)
	dir := filepath.Join(t.TempDir(), "messages")
	l := start(t, handset.Options{Dir: dir, URL: m.URL})
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	push := m.keep("/m/1", message(t, nil, text("x")))
	l.Push(bob, push)
	l.await(handset.Settled, 1)
	if k := l.kinds(); k != "notified failed settled" {
		t.Error(k)
	}
	wantPosts(t, m)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	l.Push(bob, push)
	l.await(handset.Stored, 1)
}

// TestCapturedMessages: what MMSCs really answered is stored part by part.
func TestCapturedMessages(t *testing.T) {
	corpus := os.Getenv("MMSROUTER_CORPUS")
	if corpus == "" {
		t.Skip("MMSROUTER_CORPUS not set: no captured messages here")
	}
	list, err := filepath.Glob(filepath.Join(corpus, "*retrieve*.mms"))
	if err != nil || len(list) == 0 {
		t.Fatalf("no *retrieve*.mms in MMSROUTER_CORPUS: %v", err)
	}
	m := newMMSC(t)
	l := start(t, handset.Options{Dir: t.TempDir(), URL: m.URL})
	for i, name := range list {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		l.Push(bob, m.keep(fmt.Sprintf("/m/%d", i), b))
		l.await(handset.Settled, i+1)
		events := l.All()
		for _, e := range events[len(events)-3:] {
			switch {
			case e.Kind == handset.Failed && !strings.Contains(name, "not-found"):
				t.Errorf("%s: %s", filepath.Base(name), e)
			case e.Kind == handset.Stored:
				if got := files(t, e.Folder); got["message.mms"] != string(b) || len(got) < 2 {
					t.Errorf("%s: %d files", filepath.Base(name), len(got))
				}
			}
		}
	}
	if n := l.Count(handset.Stored) + l.Count(handset.Failed); n != int64(len(list)) {
		t.Errorf("%d of %d messages", n, len(list))
	}
}
