package test_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/handsets"
)

// pushed is a push as the hook carrier posts it.
type pushed struct {
	PDU      string `json:"pdu"`
	To       string `json:"to"`
	Location string `json:"location"`
	Octets   []byte `json:"octets"`
}

// mm1World is a router with the embedded MMSC, and what it pushes.
type mm1World struct {
	t      *testing.T
	r      *appliance.Router
	pushes chan pushed
}

func newMM1World(t *testing.T) *mm1World {
	t.Helper()
	w := &mm1World{t: t, pushes: make(chan pushed, 64)}
	hook := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		var p pushed
		if err := json.NewDecoder(http.MaxBytesReader(rw, q.Body, 1<<20)).Decode(&p); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		w.pushes <- p
	}))
	t.Cleanup(hook.Close)
	w.r = appliance.Start(t, appliance.Setup{Top: []string{"mmsc: {enabled: true, mmbox: {enabled: true}}",
		"push: {carriers: [{name: hook, type: http, http: {url: '" + hook.URL + "/'}}], routes: [{carriers: [hook]}]}"}})
	return w
}

// await gives the next push of a kind to a number; pushes of other kinds meanwhile are passed over.
func (w *mm1World) await(kind mms.Type, to string) (pushed, mms.Head) {
	w.t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for {
		select {
		case p := <-w.pushes:
			if p.PDU == kind.String() && p.To == to {
				var h mms.Head
				h.Peek(p.Octets, true)
				return p, h
			}
		case <-limit.C:
			w.t.Fatalf("no %s for %s within 20 s", kind, to)
		}
	}
}

// as posts a PDU (or fetches, without one) as a subscriber whom the network names.
func (w *mm1World) as(who, path string, pdu []byte) (int, []byte, mms.Head) {
	w.t.Helper()
	h := handsets.New(handsets.Options{Addr: w.r.MM1, Path: path, Header: [][2]string{{"X-MSISDN", who}}, Timeout: 20 * time.Second})
	defer h.Close()
	method := "POST"
	if pdu == nil {
		method = "GET"
	}
	a, err := h.Do(context.Background(), method, path, pdu, handsets.Fast)
	if err != nil {
		w.t.Fatal(err)
	}
	var head mms.Head
	head.Peek(a.Body, true)
	return a.Status, a.Body, head
}

func pathOf(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return location
	}
	return u.RequestURI()
}

const (
	flowAlice = "+46701740601"
	flowBob   = "+46701740602"
	flowCarol = "+46701740603"
)

// octets joins field octets and texts; a text ends in 00.
func octets(fields ...any) (b []byte) {
	for _, f := range fields {
		switch v := f.(type) {
		case int:
			b = append(b, byte(v))
		case string:
			b = append(append(b, v...), 0)
		}
	}
	return b
}

// TestEveryMM1Flow goes through the front door of a whole router: submission, notification, retrieval, acknowledgement and
// delivery report, read report, forward without download, MMBox, deletion.
func TestEveryMM1Flow(t *testing.T) {
	w := newMM1World(t)
	send := func(id, text string) {
		t.Helper()
		body := append(octets(0x8C, 0x80, 0x98, id, 0x8D, 0x92, 0x89, 1, 0x81, 0x97, flowBob+"/TYPE=PLMN", 0x86, 0x80, 0x90, 0x80, 0x84, 0x83), text...)
		if code, _, h := w.as(flowAlice, "/", body); code != 200 || h.Type != mms.MSendConf || h.Response != mms.StatusOk {
			t.Fatalf("HTTP %d, %+v", code, h)
		}
	}

	// immediate retrieval with both reports
	send("F1", "immediate")
	note, n := w.await(mms.MNotificationInd, flowBob)
	code, body, got := w.as(flowBob, pathOf(note.Location), nil)
	if code != 200 || got.Type != mms.MRetrieveConf || !strings.Contains(string(body), "immediate") {
		t.Fatalf("HTTP %d, %+v", code, got)
	}
	if code, _, _ := w.as(flowCarol, pathOf(note.Location), nil); code != 403 {
		t.Errorf("somebody else's retrieval: HTTP %d", code)
	}
	if code, _, _ := w.as(flowBob, "/", octets(0x8C, 0x83, 0x98, string(n.TransactionID), 0x8D, 0x92, 0x95, 0x81)); code/100 != 2 {
		t.Errorf("M-NotifyResp.ind: HTTP %d", code)
	}
	if _, h := w.await(mms.MDeliveryInd, flowAlice); h.Message != mms.Retrieved {
		t.Errorf("delivery report %v", h.Message)
	}
	if code, _, _ := w.as(flowBob, "/", octets(0x8C, 0x87, 0x8D, 0x92, 0x8B, string(got.MessageID), 0x97, flowAlice+"/TYPE=PLMN", 0x89, 1, 0x81, 0x9B, 0x80)); code/100 != 2 {
		t.Errorf("M-Read-Rec.ind: HTTP %d", code)
	}
	w.await(mms.MReadOrigInd, flowAlice)

	// deferred retrieval, acknowledged
	send("F2", "deferred")
	note, n = w.await(mms.MNotificationInd, flowBob)
	w.as(flowBob, "/", octets(0x8C, 0x83, 0x98, string(n.TransactionID), 0x8D, 0x92, 0x95, 0x83))
	_, _, got = w.as(flowBob, pathOf(note.Location), nil)
	w.as(flowBob, "/", octets(0x8C, 0x85, 0x98, string(got.TransactionID), 0x8D, 0x92))
	if _, h := w.await(mms.MDeliveryInd, flowAlice); h.Message != mms.Retrieved {
		t.Errorf("delivery report %v", h.Message)
	}

	// rejected
	send("F3", "rejected")
	_, n = w.await(mms.MNotificationInd, flowBob)
	w.as(flowBob, "/", octets(0x8C, 0x83, 0x98, string(n.TransactionID), 0x8D, 0x92, 0x95, 0x82))
	if _, h := w.await(mms.MDeliveryInd, flowAlice); h.Message != mms.Rejected {
		t.Errorf("delivery report %v", h.Message)
	}

	// forwarded without download
	send("F4", "forward me")
	note, _ = w.await(mms.MNotificationInd, flowBob)
	if _, _, h := w.as(flowBob, "/", octets(0x8C, 0x89, 0x98, "FW", 0x8D, 0x92, 0x89, 1, 0x81, 0x97, flowCarol+"/TYPE=PLMN", 0x83, note.Location)); h.Type != mms.MForwardConf || h.Response != mms.StatusOk {
		t.Fatalf("M-Forward: %+v", h)
	}
	second, _ := w.await(mms.MNotificationInd, flowCarol)
	if code, body, _ := w.as(flowCarol, pathOf(second.Location), nil); code != 200 || !strings.Contains(string(body), "forward me") {
		t.Errorf("the forwarded message: HTTP %d", code)
	}

	// MMBox: store, view, delete
	send("F5", "keep me")
	note, _ = w.await(mms.MNotificationInd, flowBob)
	_, _, h := w.as(flowBob, "/", octets(0x8C, 0x8B, 0x98, "ST", 0x8D, 0x92, 0x83, note.Location))
	if h.Type != mms.MMboxStoreConf || h.Store != mms.StatusOk {
		t.Fatalf("M-Mbox-Store: %+v", h)
	}
	kept := string(h.ContentLocation)
	_, body, _ = w.as(flowBob, "/", octets(0x8C, 0x8D, 0x98, "VW", 0x8D, 0x92))
	if p, err := mms.Decode(body); err != nil || p.Type != mms.MMboxViewConf || len(p.Parts) != 1 {
		t.Fatalf("M-Mbox-View: %+v, %v", p, err)
	}
	if _, _, h := w.as(flowBob, "/", octets(0x8C, 0x91, 0x98, "DL", 0x8D, 0x92, 0x83, kept)); h.Type != mms.MMboxDeleteConf || h.Response != mms.StatusOk {
		t.Errorf("M-Mbox-Delete: %+v", h)
	}

	// deleted before it was fetched
	send("F6", "delete me")
	note, _ = w.await(mms.MNotificationInd, flowBob)
	if _, _, h := w.as(flowBob, "/", octets(0x8C, 0x94, 0x98, "DR", 0x8D, 0x92, 0x83, note.Location)); h.Type != mms.MDeleteConf || h.Response != mms.StatusOk {
		t.Errorf("M-Delete: %+v", h)
	}
	if code, _, h := w.as(flowBob, pathOf(note.Location), nil); code == 200 && h.Retrieve == 0x80 {
		t.Errorf("a deleted message is served: HTTP %d %+v", code, h)
	}
}
