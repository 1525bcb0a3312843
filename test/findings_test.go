package test_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

func TestSmugglingTrailers(t *testing.T) {
	var cases []smuggle
	for _, x := range [][2]string{{"without colon", "nonsense"}, {"space in its name", "X A: b"}, {"folded", "X: a\r\n b"}} {
		cases = append(cases, smuggle{name: "trailer: " + x[0], text: chunks("5\r\nhello\r\n0\r\n" + x[1] + "\r\n\r\n"), body: true})
	}
	tellSmuggles(t, cases)
}

// A client may end its side of the connection right behind its request: what it sent is whole.
func TestHalfCloseBehindARequest(t *testing.T) {
	body := string(pdu.SendReq("half", 3000))
	for _, c := range []struct{ name, text string }{
		{"Content-Length", post(fmt.Sprintf("Content-Length: %d", len(body)), body)},
		{"chunked", post(chunked, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body))},
		{"retrieval", "GET /nothing HTTP/1.1\r\nHost: mms.example.net\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mmsc := fake(t, "mmsc-a")
			r := appliance.Start(t, appliance.Setup{MMSCs: []appliance.MMSC{{Name: "mmsc-a", URL: mmsc.URL()}}})
			stream, err := raw(r.MM1, []byte(c.text), 5*time.Second, true)
			if got := statuses(stream); err != nil || len(got) != 1 || got[0] != 200 && c.name != "retrieval" {
				t.Errorf("answers %v, %v", got, err)
			}
			if n := mmsc.Counts().Wholes; n != 1 {
				t.Errorf("%d requests at the MMSC, want 1", n)
			}
		})
	}
}
