package ppg_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
	"github.com/mmsrouter/mmsrouter/test/smsc"
)

// gateway is a gateway that runs.
type gateway struct {
	*ppg.PPG
	url  string
	stop func() error
}

// quick is a configuration with short times.
func quick(server *smsc.SMSC) ppg.Config {
	c := ppg.DefaultConfig()
	c.Listen = "127.0.0.1:0"
	c.RetryFirst, c.RetryMax = 20*time.Millisecond, 100*time.Millisecond
	c.Results.RetryFirst, c.Results.RetryMax, c.Results.Timeout = 20*time.Millisecond, 100*time.Millisecond, 2*time.Second
	c.SMPP.SMSCs = []sms.SMSCConfig{{Name: "smsc", Address: server.Address(), SystemID: "ppg"}}
	c.SMPP.Timeout, c.SMPP.Wait, c.SMPP.Reconnect, c.SMPP.ReconnectMax = time.Second, time.Second, 10*time.Millisecond, 50*time.Millisecond
	return c
}

func run(t *testing.T, opt ppg.Options) *gateway {
	t.Helper()
	if opt.DataDir == "" {
		opt.DataDir = t.TempDir()
	}
	opt.Metrics = prometheus.NewRegistry()
	p, err := ppg.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	var once sync.Once
	var ended error
	stop := func() error {
		once.Do(func() { cancel(); ended = <-done })
		return ended
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return &gateway{p, "http://" + p.Addr().String() + "/pap", stop}
}

var pdu = mms.Notification{TransactionID: "T1001", From: "+447700900123/TYPE=PLMN", Size: 24348, Expiry: mms.When{After: 48 * time.Hour}, ContentLocation: "http://mmsc.example.net/m/1"}.Append(nil)

func mmsContent() *pap.Entity {
	return &pap.Entity{Header: textproto.MIMEHeader{"Content-Type": {"application/vnd.wap.mms-message"}, "X-Wap-Application-Id": {"x-wap-application:mms.ua"}}, Body: pdu}
}

func plmn(number string) pap.Address {
	return pap.Address{Value: "WAPPUSH=" + number + "/TYPE=PLMN@ppg.example.net"}
}

// post posts a request and gives the answer.
func (g *gateway) post(t testing.TB, m pap.Message, content *pap.Entity, change ...func(*http.Request)) pap.Message {
	t.Helper()
	q := pap.Request{Control: (&pap.Document{Message: m}).Encode(), Content: content}
	kind, body := q.Encode()
	status, answer := g.raw(t, kind, body, change...)
	if status != http.StatusAccepted || answer == nil {
		t.Fatalf("HTTP status %d", status)
	}
	return answer.Message
}

func (g *gateway) raw(t testing.TB, contentType string, body []byte, change ...func(*http.Request)) (int, *pap.Document) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, g.url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	for _, f := range change {
		f(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	q, err := pap.ReadRequest(resp.Header.Get("Content-Type"), b)
	if err != nil {
		return resp.StatusCode, nil
	}
	d, err := pap.Decode(q.Control, pap.Limits{})
	if err != nil {
		return resp.StatusCode, nil
	}
	return resp.StatusCode, d
}

// push posts a push-message and checks the code.
func (g *gateway) push(t testing.TB, m *pap.PushMessage, code pap.Code) *pap.PushResponse {
	t.Helper()
	r, ok := g.post(t, m, mmsContent()).(*pap.PushResponse)
	if !ok || r.Code != code || r.PushID != m.PushID {
		t.Fatalf("%+v, want code %d", r, code)
	}
	return r
}

// states gives the state of each address, in order.
func (g *gateway) states(t testing.TB, id string, list ...pap.Address) string {
	t.Helper()
	r, ok := g.post(t, &pap.StatusQuery{PushID: id, Addresses: list}, nil).(*pap.StatusQueryResponse)
	if !ok {
		t.Fatalf("no statusquery-response")
	}
	var out []string
	for _, s := range r.Results {
		out = append(out, fmt.Sprintf("%s/%d", s.State, s.Code))
	}
	return strings.Join(out, " ")
}

func (g *gateway) wait(t testing.TB, server *smsc.SMSC, id, want string) {
	t.Helper()
	last := ""
	if err := server.Until(t.Context(), 20*time.Second, func() bool { last = g.states(t, id); return last == want }); err != nil {
		t.Fatalf("%s is %s, want %s", id, last, want)
	}
}

// results is an initiator's address for result notifications.
type results struct {
	*httptest.Server
	mu     sync.Mutex
	got    []*pap.ResultNotification
	refuse int // answers 503 so often
}

func newResults(t *testing.T, refuse int) *results {
	r := &results{refuse: refuse}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		d, derr := pap.Decode(body, pap.Limits{})
		if err := errors.Join(err, derr); err != nil {
			t.Error(err)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.refuse > 0 {
			r.refuse--
			w.WriteHeader(503)
			return
		}
		m := d.Message.(*pap.ResultNotification)
		r.got = append(r.got, m)
		w.WriteHeader(202)
		w.Write((&pap.Document{Message: &pap.ResultNotificationResponse{PushID: m.PushID, Code: pap.OK, Address: m.Address}}).Encode())
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *results) list() []*pap.ResultNotification {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*pap.ResultNotification(nil), r.got...)
}
