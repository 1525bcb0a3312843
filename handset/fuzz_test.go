package handset_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// FuzzPush: whatever is pushed, the phone says one thing of it and asks nobody but http and https.
func FuzzPush(f *testing.F) {
	f.Add(wappush.AppendMMS(nil, 1, notification(nil)))
	f.Add(wappush.AppendMMS(nil, 1, mms.DeliveryReport{MessageID: "1", To: alice, Status: mms.Expired}.Append(nil)))
	f.Add([]byte("\x01\x06\x03\xBE\xAF\x84\x8C\x96\x98c1\x00\x8D\x93\xBEid7\x00"))
	f.Add([]byte("\x01\x06\x01\xAE\x02\x05\x6A\x00"))
	f.Fuzz(func(t *testing.T, push []byte) {
		var events []handset.Event
		p, err := handset.New(handset.Options{Numbers: []string{bob}, Observe: func(e handset.Event) { events = append(events, e) }})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := p.Push(bob, push); err != nil {
				t.Fatal(err)
			}
		}
		if len(events) != 2 || events[0].Kind == handset.Notified && events[1].Kind != handset.Duplicate {
			t.Fatalf("events %v", events)
		}
		if e := events[0]; e.Kind == handset.Notified && !strings.HasPrefix(strings.ToLower(e.Location), "http") || strings.ContainsAny(e.String(), "\n\r\x1b") {
			t.Errorf("%s", e)
		}
	})
}

// FuzzMessage: whatever an MMSC answers, nothing is written outside the message's folder, and what is stored is whole.
func FuzzMessage(f *testing.F) {
	f.Add(message(f, nil, text("x"), wsp.Part{ContentType: wsp.Media("image/gif", "name", "../../a.gif"), Data: []byte("GIF")}))
	f.Add(mms.Retrieve{TransactionID: "1", ContentType: wsp.Media("text/plain")}.AppendHead(nil))
	f.Add([]byte("\x8C\x84\x8D\x92\x84\xA3\x01\x05\x02\x83\x85a/b\x00xx"))
	f.Fuzz(func(t *testing.T, body []byte) {
		top := t.TempDir()
		dir := filepath.Join(top, "a", "b")
		l := start(t, handset.Options{Dir: dir, Transport: always(body)})
		l.Push(bob, wappush.AppendMMS(nil, 1, notification(nil)))
		l.await(handset.Settled, 1)
		inside := filepath.Join(dir, "46701740606") + string(filepath.Separator)
		err := filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !strings.HasPrefix(path, inside) {
				t.Errorf("%s was written", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		for _, e := range l.All() {
			if e.Kind == handset.Stored && files(t, e.Folder)["message.mms"] == "" {
				t.Error("a message without its PDU")
			}
		}
	})
}

// always is an MMSC with one answer.
func always(body []byte) http.RoundTripper { return &constant{body} }

type constant struct{ body []byte }

func (c *constant) RoundTrip(r *http.Request) (*http.Response, error) { return answer(200, c.body)(r) }
