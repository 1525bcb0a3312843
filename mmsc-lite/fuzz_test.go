package mmsc_test

import (
	"bytes"
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
)

// FuzzMM1 gives the MM1 door any octets: the answer is a PDU that can be read or an HTTP status that says what is wrong, and
// what was accepted can be fetched as a PDU that can be read.
func FuzzMM1(f *testing.F) {
	location := "http://mms.example.net/m/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for _, seed := range [][]byte{
		nil, []byte("<html>"),
		sendReq("T", []byte{0}, 0x97, bob, 0x82, carol, 0x81, "x@example.net", 0x96, []byte{9, 0xEA}, "Gr\xc3\xbc\xc3\x9fe", 0x88, []byte{3, 0x81, 1, 60}),
		sendReq("T", []byte{0}, 0x97, bob, 0xA2, 0x80, 0xA4, []byte{5, 0x80}, "red", 0x87, []byte{6, 0x80, 4, 0x65, 0x53, 0xF1, 0}),
		sendReq("T", aText("x"), 0x97, "7000/TYPE=PLMN", 0x97, "7001", "X-Mmsrouter-Hops", "9999999999999999999", "X-Mmsrouter-Price", []byte{0x83}),
		sendReq("T", nil, "X-Own", "value", 0x97, "", 0xC5, 0x80),
		notifyResp([]byte(strings.Repeat("A", 27)), 0x83, 0x91, 0x81), acknowledge([]byte("T")),
		pdu(0x8C, 0x87, 0x8D, 0x92, 0x8B, "x@mms.example.net", 0x97, alice, 0x89, []byte{1, 0x81}, 0x9B, 0x80),
		pdu(0x8C, 0x89, 0x98, "F", 0x8D, 0x92, 0x89, []byte{1, 0x81}, 0x97, carol, 0x83, location),
		pdu(0x8C, 0x94, 0x98, "D", 0x8D, 0x93, 0x83, location, 0x83, location),
		pdu(0x8C, 0x8B, 0x98, "S", 0x8D, 0x92, 0x83, location), pdu(0x8C, 0x91, 0x98, "S", 0x8D, 0x92, 0x83, location),
		pdu(0x8C, 0x8D, 0x98, "V", 0x8D, 0x92, 0xA8, 0xAE, 0xAF, 0x81, 0xB3, []byte{1, 200}),
		append(pdu(0x8C, 0x8F, 0x98, "U", 0x8D, 0x92, 0x84, 0xBE, 0x8C, 0x93, 0x84, 0xA3), 0),
		pdu(0x8C, 0x97, 0x98, "C", 0x8D, 0x93, 0xBF, 0x80), pdu(0x8C, 0xFF, 0x98, "?", 0x8D, 0xFF),
	} {
		f.Add(seed, "GET", "/m/AAAA")
	}
	f.Add([]byte{}, "HEAD", "/b/%00")
	cfg := mmsc.DefaultConfig()
	cfg.Mbox.Enabled = true
	cfg.MaxMessage, cfg.UploadMemory = 64<<10, 1<<20
	m, err := mmsc.New(mmsc.Options{Config: cfg, DataDir: f.TempDir(), NodeName: "fuzz", URL: "http://mms.example.net", Services: &fakeServices{}})
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	f.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.Error(err)
		}
	})
	serve := func(method, path string, body []byte) *httptest.ResponseRecorder {
		req := httptest.NewRequest(method, "/", bytes.NewReader(body)).WithContext(mmsc.TrustAll(ctx, nil))
		req.URL.Path = path
		req.Header.Set("X-MSISDN", alice)
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, req)
		return w
	}
	f.Fuzz(func(t *testing.T, body []byte, method, path string) {
		w := serve("POST", path, body)
		var head mms.Head
		switch {
		case w.Code == 200 && w.Body.Len() > 0:
			if head.Peek(w.Body.Bytes(), true) != mms.Complete {
				t.Fatalf("answer is no PDU: %x", w.Body.Bytes())
			}
			if _, err := mms.Decode(w.Body.Bytes()); err != nil {
				t.Fatalf("answer %x: %v", w.Body.Bytes(), err)
			}
		case w.Code >= 500:
			t.Fatalf("status %d", w.Code)
		}
		if head.Type == mms.MSendConf && head.Response == mms.StatusOk {
			fetchAll(t, m, string(head.MessageID), serve)
		}
		if method == "GET" || method == "HEAD" {
			if w := serve(method, path, nil); w.Code >= 500 {
				t.Fatalf("%s %q: status %d", method, path, w.Code)
			}
		}
	})
}

// fetchAll fetches a message for each of its recipients. The body is the sender's: it need not be a good one, the head must be.
func fetchAll(t *testing.T, m *mmsc.MMSC, id string, serve func(method, path string, body []byte) *httptest.ResponseRecorder) {
	msg, _, err := m.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range msg.Recipients {
		w := serve("GET", strings.TrimPrefix(m.Location(r.Ref), "http://mms.example.net"), nil)
		if w.Code == 403 { // alice may fetch what is hers
			continue
		}
		var head mms.Head
		if w.Code != 200 || head.Peek(w.Body.Bytes(), true) != mms.Complete || head.Type != mms.MRetrieveConf || string(head.MessageID) != id {
			t.Fatalf("retrieval %d %x", w.Code, w.Body.Bytes())
		}
	}
}
