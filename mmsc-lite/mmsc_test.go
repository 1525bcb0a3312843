package mmsc_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/delivery"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// lab is an MMSC that runs, with a client on its door and a carrier that keeps what it is given.
type lab struct {
	*mmsc.MMSC
	t      *testing.T
	client *http.Client
	pushes chan *delivery.Push
	stop   func()
}

// Push implements delivery.Notifier.
func (l *lab) Push(_ context.Context, p *delivery.Push) error {
	l.pushes <- p
	return nil
}

// pushed waits for the next push, which must be of a kind.
func (l *lab) pushed(kind mms.Type) *delivery.Push {
	l.t.Helper()
	select {
	case p := <-l.pushes:
		if p.Kind != kind {
			l.t.Fatalf("pushed %v, want %v", p.Kind, kind)
		}
		return p
	case <-time.After(20 * time.Second):
		l.t.Fatalf("no %v was pushed", kind)
	}
	return nil
}

// location gives the path that a notification names.
func (l *lab) location(p *delivery.Push) string {
	l.t.Helper()
	h := l.peek(p.PDU)
	path, ok := strings.CutPrefix(string(h.ContentLocation), "http://mms.example.net")
	if !ok || h.Type != mms.MNotificationInd {
		l.t.Fatalf("not a notification: %+v", h)
	}
	return path
}

// quiet fails the test if anything has been pushed.
func (l *lab) quiet() {
	l.t.Helper()
	select {
	case p := <-l.pushes:
		l.t.Errorf("pushed %v to %s", p.Kind, p.To)
	default:
	}
}

func newLab(t *testing.T, change func(*mmsc.Options)) *lab {
	t.Helper()
	l := &lab{t: t, pushes: make(chan *delivery.Push, 10_000)}
	opt := mmsc.Options{Config: mmsc.DefaultConfig(), DataDir: pgtest.TempDir(t), NodeName: "r1", URL: "http://mms.example.net", Notifier: l}
	if change != nil {
		change(&opt)
	}
	m, err := mmsc.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	l.MMSC = m
	l.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return m.Dial(ctx) }}}
	var once sync.Once
	l.stop = func() {
		once.Do(func() {
			l.client.CloseIdleConnections()
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

// pdu puts a PDU together out of fields and text.
func pdu(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case string:
			b = append(append(b, p...), 0)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func sendReq(transaction string, body []byte, fields ...any) []byte {
	b := pdu(0x8C, 0x80, 0x98, transaction, 0x8D, 0x92, 0x89, 1, 0x81)
	b = append(b, pdu(fields...)...)
	return append(append(b, 0x84, 0xA3), body...)
}

// do sends a request over the door and gives status and body.
func (l *lab) do(method, path string, body []byte, header ...string) (int, []byte) {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), method, "http://mms.example.net"+path, bytes.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := l.client.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return res.StatusCode, b
}

func (l *lab) peek(b []byte) mms.Head {
	l.t.Helper()
	var h mms.Head
	if st := h.Peek(b, true); st != mms.Complete {
		l.t.Fatalf("answer is no whole PDU: %v: %q", st, b)
	}
	return h
}

func TestSendAndRetrieve(t *testing.T) {
	for _, size := range []int{0, 1, 30_000, 1 << 20} {
		t.Run(fmt.Sprint(size, " octets"), func(t *testing.T) {
			l := newLab(t, nil)
			body := bytes.Repeat([]byte{1, 2, 3}, size/3+1)[:size]
			code, b := l.do("POST", "/any/path?x=1", sendReq("T1", body, 0x97, "+46700000002/TYPE=PLMN", 0x82, "+46-70 000.00.03", 0x81, "hidden@example.net", 0x96, "Hello"),
				"X-MSISDN", "+46 70 000 00 01")
			h := l.peek(b)
			if code != 200 || h.Type != mms.MSendConf || h.Response != mms.StatusOk || string(h.TransactionID) != "T1" || !strings.HasSuffix(string(h.MessageID), "@mms.example.net") {
				t.Fatalf("%d %+v", code, h)
			}
			for range 3 {
				code, b := l.do("GET", l.location(l.pushed(mms.MNotificationInd)), nil)
				g := l.peek(b)
				if code != 200 || g.Type != mms.MRetrieveConf || string(g.MessageID) != string(h.MessageID) || string(g.From) != "+46700000001/TYPE=PLMN" || g.Recipients != 2 {
					t.Fatalf("%d %+v", code, g)
				}
				if !bytes.Equal(b[g.Size:], body) {
					t.Error("the body differs")
				}
				if bytes.Contains(b, []byte("hidden@example.net")) {
					t.Error("a recipient sees the Bcc")
				}
			}
		})
	}
}

func TestSinglePartIsWrapped(t *testing.T) {
	l := newLab(t, nil)
	req := append(pdu(0x8C, 0x80, 0x98, "T", 0x8D, 0x92, 0x89, 1, 0x81, 0x97, "+46700000002", 0x84, 3, 0x83, 0x81, 0xEA), "Hello"...)
	l.do("POST", "/", req)
	_, b := l.do("GET", l.location(l.pushed(mms.MNotificationInd)), nil)
	p, err := mms.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if !p.ContentType.Multipart() || len(p.Parts) != 1 || string(p.Parts[0].Data) != "Hello" || !p.Parts[0].ContentType.Is("text/plain") {
		t.Errorf("%v %+v", p.ContentType, p.Parts)
	}
}

func TestRefusals(t *testing.T) {
	l := newLab(t, func(o *mmsc.Options) { o.Config.MaxMessage = 100_000; o.Config.MaxRecipients = 2 })
	to := []any{0x97, "+46700000002/TYPE=PLMN"}
	long := make([]byte, 100_001)
	for _, c := range []struct {
		name   string
		pdu    []byte
		code   int
		status mms.Status // 0: no PDU answers
	}{
		{"no recipient", sendReq("T", nil), 200, mms.ErrorPermanentAddressUnresolved},
		{"too many recipients", sendReq("T", nil, 0x97, "1", 0x97, "2", 0x97, "3"), 200, mms.ErrorPermanentServiceDenied},
		{"expired already", sendReq("T", nil, append(to, 0x88, 3, 0x80, 1, 1)...), 200, mms.StatusPermanentFailure},
		{"too large", sendReq("T", long, to...), 200, mms.ErrorPermanentContentNotAccepted},
		{"cut in a header", pdu(0x8C, 0x80, 0x98, "T", 0x8D, 0x92, 0x97, []byte("+4670")), 200, mms.ErrorPermanentFormatCorrupt},
		{"no content type", pdu(0x8C, 0x80, 0x98, "T", 0x8D, 0x92, 0x97, "+4670"), 200, mms.ErrorPermanentFormatCorrupt},
		{"unknown type", pdu(0x8C, 0xB0, 0x98, "T", 0x8D, 0x92), 200, mms.ErrorUnsupportedMessage},
		{"a version that does not exist yet", pdu(0x8C, 0x80, 0x98, "T", 0x8D, 0xA0, 0x97, "+4670", 0x84, 0xA3), 200, mms.ErrorUnsupportedMessage},
		{"no transaction id", pdu(0x8C, 0x80, 0x8D, 0x92, 0x97, "+4670", 0x84, 0xA3), 400, 0},
		{"empty", nil, 400, 0},
		{"not a PDU", []byte("<html>"), 400, 0},
		{"not a PDU, and large", long, 413, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, b := l.do("POST", "/", c.pdu)
			if code != c.code {
				t.Fatalf("status %d: %q", code, b)
			}
			if c.status == 0 {
				return
			}
			if h := l.peek(b); h.Response != c.status || h.MessageID != nil || string(h.TransactionID) != "T" {
				t.Errorf("%v %+v", h.Response, h)
			}
		})
	}
	if all, err := l.List(t.Context(), store.Filter{}); err != nil || len(all) != 0 {
		t.Errorf("%d messages stored, %v", len(all), err)
	}
	l.quiet()
}

func TestRetrieveRefusals(t *testing.T) {
	l := newLab(t, func(o *mmsc.Options) { o.Config.Identity.Headers = []string{"X-MSISDN"} })
	l.do("POST", "/", sendReq("T", []byte("x"), 0x97, "+46700000002"))
	path := l.location(l.pushed(mms.MNotificationInd))
	for _, c := range []struct {
		name, method, path, identity string
		code                         int
	}{
		{"no such path", "GET", "/", "", 404},
		{"no such message", "GET", "/m/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "", 404},
		{"not a reference", "GET", "/m/../../etc/passwd", "", 404},
		{"somebody else", "GET", path, "+46700000009", 403},
		{"the recipient", "GET", path, "+46700000002", 200},
		{"head", "HEAD", path, "", 200},
		{"another method", "PUT", path, "", 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			var header []string
			if c.identity != "" {
				header = []string{"X-MSISDN", c.identity}
			}
			if code, _ := l.do(c.method, c.path, nil, header...); code != c.code {
				t.Errorf("status %d, want %d", code, c.code)
			}
		})
	}
}

func TestRepeatedSubmission(t *testing.T) {
	l := newLab(t, nil)
	p := sendReq("T", []byte("x"), 0x97, "+46700000002")
	_, a := l.do("POST", "/", p, "X-MSISDN", "+46700000001")
	_, b := l.do("POST", "/", p, "X-MSISDN", "+46700000001")
	if !bytes.Equal(a, b) {
		t.Errorf("answers differ:\n%q\n%q", a, b)
	}
	if all, err := l.List(t.Context(), store.Filter{}); err != nil || len(all) != 1 {
		t.Errorf("%d messages stored, %v", len(all), err)
	}
}

func TestIdentityOfStrangers(t *testing.T) {
	l := newLab(t, nil)
	req := httptest.NewRequest("POST", "/", bytes.NewReader(sendReq("T", []byte("x"), 0x97, "+46700000002")))
	req.RemoteAddr = "192.0.2.7:1234"
	req.Header.Set("X-MSISDN", "+46700000001")
	w := httptest.NewRecorder()
	l.Handler().ServeHTTP(w, req)
	if h := l.peek(w.Body.Bytes()); h.Response != mms.StatusOk {
		t.Fatalf("%+v", h)
	}
	_, b := l.do("GET", l.location(l.pushed(mms.MNotificationInd)), nil)
	if h := l.peek(b); h.From != nil {
		t.Errorf("identity taken from a stranger: From %q", h.From)
	}
}

func TestAfterTheEnd(t *testing.T) {
	l := newLab(t, nil)
	l.stop()
	if _, err := l.Dial(t.Context()); err == nil {
		t.Error("Dial works after Run has ended")
	}
	req := httptest.NewRequest("POST", "/", bytes.NewReader(sendReq("T", []byte("x"), 0x97, "+46700000002")))
	w := httptest.NewRecorder()
	l.Handler().ServeHTTP(w, req)
	if h := l.peek(w.Body.Bytes()); mms.ResponseClass(h.Response) != mms.Transient {
		t.Errorf("answered %v", h.Response)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := l.Healthy(ctx); err == nil {
		t.Error("healthy after the end")
	}
}
