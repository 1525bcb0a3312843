package push_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mms/smpp"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/delivery"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/udp"
	"github.com/mmsrouter/mmsrouter/test/smsc"
)

var _ delivery.Notifier = (*push.Pusher)(nil)

func notification(subject, url string) []byte {
	return mms.Notification{TransactionID: "T1001", From: "+447700900123/TYPE=PLMN", Subject: subject, Size: 24348, Expiry: mms.When{After: 48 * time.Hour}, ContentLocation: url}.Append(nil)
}

func parcel(to string) *delivery.Push {
	return &delivery.Push{ID: "T1001", Kind: mms.MNotificationInd, To: to, PDU: notification("Holiday", "http://mmsc.example.net/m/1"), Message: "m1@mmsc.example.net",
		Location: "http://mmsc.example.net/m/1", ExpiresAt: time.Now().Add(time.Hour)}
}

// run starts a pusher and ends it with the test.
func run(t *testing.T, opt push.Options) *push.Pusher {
	t.Helper()
	opt.Metrics = prometheus.NewRegistry()
	if opt.Config.Segments == 0 {
		opt.Config.Segments, opt.Config.MaxSegments = 2, 4
	}
	p, err := push.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

func smpps(name string, s *smsc.SMSC) push.CarrierConfig {
	return push.CarrierConfig{Name: name, Type: "smpp", SMPP: sms.Config{SMSCs: []sms.SMSCConfig{{Address: s.Address(), SystemID: "x"}},
		Wait: 3 * time.Second, Timeout: time.Second, Reconnect: 10 * time.Millisecond, ReconnectMax: 50 * time.Millisecond, Receipts: "final"}}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// handler is an HTTP server that keeps bodies and answers as it is told.
type handler struct {
	*httptest.Server
	mu     sync.Mutex
	bodies [][]byte
	heads  []http.Header
}

func serve(t *testing.T, answer func(n int, w http.ResponseWriter, body []byte)) *handler {
	h := &handler{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		h.bodies, h.heads = append(h.bodies, body), append(h.heads, r.Header)
		n := len(h.bodies)
		h.mu.Unlock()
		answer(n, w, body)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *handler) got() ([][]byte, []http.Header) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bodies, h.heads
}

func TestRoutes(t *testing.T) {
	answering := func(status int) string {
		return serve(t, func(_ int, w http.ResponseWriter, _ []byte) { w.WriteHeader(status) }).URL
	}
	hook := func(name string, status int) push.CarrierConfig {
		return push.CarrierConfig{Name: name, Type: "http", HTTP: push.HTTPConfig{URL: answering(status)}}
	}
	cfg := push.Config{
		Carriers: []push.CarrierConfig{hook("good", 202), hook("busy", 503), hook("no", 404), {Name: "udp", Type: "udp", UDP: udp.Config{Hosts: map[string]string{"+4611": "127.0.0.1:9"}}}},
		Routes: []push.RouteConfig{{Prefix: "+46", Carriers: []string{"good"}}, {Prefix: "+4670", Carriers: []string{"busy", "good"}}, {Prefix: "+4671", Carriers: []string{"no", "busy"}},
			{Prefix: "+4672", Carriers: []string{"no", "no"}}, {Prefix: "+4673"}, {Prefix: "+4674", Carriers: []string{"udp"}}, {Prefix: "+4675", Carriers: []string{"busy"}}, {Carriers: []string{"good"}}},
	}
	p := run(t, push.Options{Config: cfg})
	for _, tc := range []struct {
		name, to string
		final    bool
		err      string // part of it
		reaches  bool
	}{
		{"by country", "+46812345", false, "", true},
		{"the longest prefix, then fall back", "+46701234567", false, "", true},
		{"refused by one, busy the other", "+46711234567", false, "no: hook: HTTP status 404; busy: hook: HTTP status 503", true},
		{"refused by all", "+46721234567", true, "no: hook: HTTP status 404", true},
		{"a route to nowhere", "+46731234567", true, "no carrier for", false},
		{"a carrier that does not know the number", "+46741234567", true, "no carrier for", false},
		{"busy", "+46751234567", false, "busy: hook: HTTP status 503", true},
		{"the rest of the world", "+12025550123", false, "", true},
		{"with TYPE", "+46812345/TYPE=PLMN", false, "", true},
		{"IP address", "127.0.0.1/type=ipv4", false, "", true},
		{"e-mail", "a@example.net", true, "neither a number nor an IP address", false},
		{"nothing", "", true, "neither a number nor an IP address", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := p.Push(within(t), parcel(tc.to))
			if (err == nil) != (tc.err == "") || err != nil && (!strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "\n")) {
				t.Fatalf("%v", err)
			}
			if errors.Is(err, delivery.ErrNoRoute) != tc.final {
				t.Errorf("final %v: %v", !tc.final, err)
			}
			var again *push.RetryError
			if err != nil && errors.As(err, &again) == tc.final {
				t.Errorf("%T", err)
			}
			if p.Reaches(tc.to) != tc.reaches {
				t.Errorf("reaches %v", !tc.reaches)
			}
		})
	}
}

func TestHook(t *testing.T) {
	h := serve(t, func(n int, w http.ResponseWriter, _ []byte) {
		switch n {
		case 1:
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(503)
		case 2:
			http.Redirect(w, httptest.NewRequest("POST", "/", nil), "http://127.0.0.1:1/elsewhere", http.StatusTemporaryRedirect)
		}
	})
	p := run(t, push.Options{Config: push.Config{Carriers: []push.CarrierConfig{{Name: "hook", Type: "http", HTTP: push.HTTPConfig{URL: h.URL + "/x", Token: "t0k"}}}, Routes: []push.RouteConfig{{Carriers: []string{"hook"}}}}})
	var again *push.RetryError
	if err := p.Push(within(t), parcel("+46701234567")); !errors.As(err, &again) || again.After != 7*time.Second {
		t.Errorf("%v", err)
	}
	if err := p.Push(within(t), parcel("+46701234567")); !errors.As(err, &again) || !strings.Contains(err.Error(), "307") {
		t.Errorf("%v", err)
	}
	if err := p.Push(within(t), parcel("+46701234567")); err != nil {
		t.Fatal(err)
	}
	bodies, heads := h.got()
	if len(bodies) != 3 || heads[2].Get("Authorization") != "Bearer t0k" {
		t.Fatalf("%d requests, %v", len(bodies), heads)
	}
	var got push.Posted
	if err := json.Unmarshal(bodies[2], &got); err != nil {
		t.Fatal(err)
	}
	want := parcel("")
	if got.ID != want.ID || got.To != "+46701234567" || got.PDU != "m-notification-ind" || !bytes.Equal(got.Octets, want.PDU) || got.Location != want.Location || len(got.SMS) != 1 {
		t.Errorf("%+v", got)
	}
	ud, err := hex.DecodeString(got.SMS[0])
	if err != nil || !bytes.HasSuffix(ud, got.Push) || !bytes.HasSuffix(got.Push, want.PDU) {
		t.Errorf("%x, %v", ud, err)
	}
}

func response(id string, code pap.Code) []byte {
	return (&pap.Document{Message: &pap.PushResponse{PushID: id, Code: code}}).Encode()
}

func TestGateway(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		code   pap.Code // 0: an answer that is no PAP
		err    string
		final  bool
	}{
		{"accepted", 202, pap.Accepted, "", false},
		{"ok with 200", 200, pap.OK, "", false},
		{"forbidden", 202, pap.Forbidden, "ppg: gateway: 2001 Forbidden", true},
		{"address", 202, pap.AddressNotFound, "ppg: gateway: 2003 Address not found", true},
		{"not implemented", 202, pap.NotImplemented, "ppg: gateway: 3001 Not implemented", true},
		{"duplicate that was none", 202, pap.DuplicatePushID, "ppg: gateway: 2007 Duplicate push ID", true},
		{"internal error", 202, pap.InternalError, "ppg: gateway: 3000 Internal server error", false},
		{"service", 202, pap.ServiceUnavailable, "ppg: gateway: 4001 Service unavailable", false},
		{"not our user", 401, 0, "ppg: gateway: HTTP status 401", false},
		{"broken", 500, 0, "ppg: gateway: HTTP status 500", false},
		{"HTML", 200, 0, "ppg: gateway's answer: ", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := serve(t, func(_ int, w http.ResponseWriter, _ []byte) {
				if tc.code == 0 {
					w.WriteHeader(tc.status)
					io.WriteString(w, "<html>hello</html>")
					return
				}
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(tc.status)
				w.Write(response("x", tc.code))
			})
			p := run(t, push.Options{Host: "mms.example.net", Config: push.Config{
				Carriers: []push.CarrierConfig{{Name: "ppg", Type: "pap", PAP: push.PAPConfig{URL: h.URL + "/wappush", User: "foo", Password: "bar", Host: "ppg.example.net", NotifyURL: "http://127.0.0.1/results"}}},
				Routes:   []push.RouteConfig{{Carriers: []string{"ppg"}}}}})
			err := p.Push(within(t), parcel("+46701234567"))
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) || errors.Is(err, delivery.ErrNoRoute) != tc.final {
				t.Fatalf("%v", err)
			}
			bodies, heads := h.got()
			q, err := pap.ReadRequest(heads[0].Get("Content-Type"), bodies[0])
			if err != nil {
				t.Fatal(err)
			}
			d, err := pap.Decode(q.Control, pap.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			m := d.Message.(*pap.PushMessage)
			if m.Addresses[0].Value != "WAPPUSH=+46701234567/TYPE=PLMN@ppg.example.net" || !strings.HasPrefix(m.PushID, "T1001-") || !strings.HasSuffix(m.PushID, "@mms.example.net") ||
				m.DeliverBefore.IsZero() || m.Quality.Bearer != "SMS" || m.Quality.DeliveryMethod != "unconfirmed" || m.NotifyTo != "http://127.0.0.1/results" {
				t.Errorf("%+v", m)
			}
			if q.Content.Type() != "application/vnd.wap.mms-message" || q.Content.Header.Get("X-Wap-Application-Id") != "x-wap-application:mms.ua" || !bytes.Equal(q.Content.Body, parcel("").PDU) {
				t.Errorf("%+v", q.Content)
			}
			if user, password, _ := (&http.Request{Header: heads[0]}).BasicAuth(); user != "foo" || password != "bar" {
				t.Errorf("%v", heads[0])
			}
		})
	}
}

// The gateway took a push and its answer was lost: the next attempt has the same push-id, and 2007 is a yes. A notification
// that is pushed again later has another one.
func TestGatewayAnswerLost(t *testing.T) {
	var ids []string
	h := serve(t, func(n int, w http.ResponseWriter, body []byte) {
		q, err := pap.ReadRequest("multipart/related; boundary="+strings.TrimPrefix(strings.SplitN(string(body), "\r\n", 2)[0], "--"), body)
		if err != nil {
			t.Error(err)
			return
		}
		d, err := pap.Decode(q.Control, pap.Limits{})
		if err != nil {
			t.Error(err)
			return
		}
		ids = append(ids, d.Message.(*pap.PushMessage).PushID)
		switch n {
		case 1:
			c, _, _ := w.(http.Hijacker).Hijack()
			c.Close()
		case 2:
			w.Write(response(ids[1], pap.DuplicatePushID))
		default:
			w.Write(response(ids[n-1], pap.Accepted))
		}
	})
	p := run(t, push.Options{Config: push.Config{Carriers: []push.CarrierConfig{{Name: "ppg", Type: "pap", PAP: push.PAPConfig{URL: h.URL}}}, Routes: []push.RouteConfig{{Carriers: []string{"ppg"}}}}})
	if err := p.Push(within(t), parcel("+46701234567")); err == nil || errors.Is(err, delivery.ErrNoRoute) {
		t.Fatalf("%v", err)
	}
	for range 2 {
		if err := p.Push(within(t), parcel("+46701234567")); err != nil {
			t.Fatal(err)
		}
	}
	h.got()
	if len(ids) != 3 || ids[0] != ids[1] || ids[1] == ids[2] {
		t.Errorf("%q", ids)
	}
}

func TestResults(t *testing.T) {
	var id string
	h := serve(t, func(_ int, w http.ResponseWriter, body []byte) {
		i := bytes.Index(body, []byte(`push-id="`))
		id = string(body[i+9 : i+9+bytes.IndexByte(body[i+9:], '"')])
		w.Write(response(id, pap.Accepted))
	})
	got := make(chan push.Outcome, 1)
	p := run(t, push.Options{Outcome: func(o push.Outcome) { got <- o }, Config: push.Config{
		Carriers: []push.CarrierConfig{{Name: "ppg", Type: "pap", PAP: push.PAPConfig{URL: h.URL, NotifyURL: "http://127.0.0.1/results"}}}, Routes: []push.RouteConfig{{Carriers: []string{"ppg"}}}}})
	if err := p.Push(within(t), parcel("+46701234567")); err != nil {
		t.Fatal(err)
	}
	h.got()
	post := func(body string) (int, pap.Message) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/results", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/xml")
		p.Results().ServeHTTP(w, r)
		d, err := pap.Decode(w.Body.Bytes(), pap.Limits{})
		if err != nil {
			return w.Code, nil
		}
		return w.Code, d.Message
	}
	result := func(id string) string {
		return string((&pap.Document{Message: &pap.ResultNotification{PushID: id, State: pap.Undeliverable, Code: 4000, Address: pap.Address{Value: "WAPPUSH=+46701234567/TYPE=PLMN@x"}}}).Encode())
	}
	if status, m := post(result(id)); status != 202 || m.(*pap.ResultNotificationResponse).Code != pap.OK {
		t.Errorf("%d %+v", status, m)
	}
	if o := <-got; o.ID != "T1001" || o.State != smpp.Undeliverable || o.Carrier != "ppg" || o.Error != "4000" {
		t.Errorf("%+v", o)
	}
	if _, m := post(result("other")); m.(*pap.ResultNotificationResponse).Code != pap.PushIDNotFound {
		t.Errorf("%+v", m)
	}
	if _, m := post("<pap>"); m.(*pap.BadMessage).Code != pap.BadRequest {
		t.Errorf("%+v", m)
	}
	w := httptest.NewRecorder()
	if p.Results().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil)); w.Code != 405 {
		t.Errorf("GET: %d", w.Code)
	}
}

func TestSMSAndReceipts(t *testing.T) {
	server := smsc.New(t)
	server.Judge = func(s smsc.Submit) smsc.Answer {
		return smsc.Answer{ID: fmt.Sprintf("%08X", 0xABC0+s.Seq), Receipt: "UNDELIV", ReceiptID: fmt.Sprint(0xABC0 + s.Seq)}
	}
	server.Start()
	got := make(chan push.Outcome, 10)
	p := run(t, push.Options{Outcome: func(o push.Outcome) { got <- o }, Config: push.Config{Carriers: []push.CarrierConfig{smpps("sms", server)}, Routes: []push.RouteConfig{{Carriers: []string{"sms"}}}}})
	for range 5 {
		if err := p.Push(within(t), parcel("+46701234567")); err != nil {
			t.Fatal(err)
		}
		if o := <-got; o.ID != "T1001" || o.To != "+46701234567" || o.State != smpp.Undeliverable || o.Carrier != "sms" || o.Error != "000" {
			t.Errorf("%+v", o)
		}
	}
	pushes := server.Messages()["46701234567"]
	if len(pushes) != 5 {
		t.Fatalf("%d messages", len(pushes))
	}
	d, err := wappush.Decode(pushes[0])
	if err != nil || !d.IsMMS() || d.ApplicationID() != wappush.MMSApplication || !bytes.Equal(d.Body, parcel("").PDU) {
		t.Errorf("%+v, %v", d, err)
	}
}

// No SMSC is there: the next carrier takes over.
func TestFallsBackToUDP(t *testing.T) {
	gone := smsc.New(t)
	gone.Close()
	phone, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sms := smpps("sms", gone)
	sms.SMPP.Wait = 10 * time.Millisecond
	p := run(t, push.Options{Config: push.Config{Carriers: []push.CarrierConfig{sms, {Name: "udp", Type: "udp", UDP: udp.Config{To: phone.LocalAddr().String()}}}, Routes: []push.RouteConfig{{Carriers: []string{"sms", "udp"}}}}})
	if err := p.Push(within(t), parcel("+46701234567")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2000)
	n, _, err := phone.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := wappush.Decode(b[:n]); err != nil || !bytes.Equal(d.Body, parcel("").PDU) {
		t.Errorf("%x: %v", b[:n], err)
	}
	phone.Close()
	if err := p.Push(within(t), parcel("+46701234567")); err == nil || errors.Is(err, delivery.ErrNoRoute) || !strings.Contains(err.Error(), "udp: push to") {
		t.Errorf("the phone is gone: %v", err)
	}
}

func TestConfig(t *testing.T) {
	good := func() push.Config { return push.DefaultConfig() }
	for _, tc := range []struct {
		name   string
		change func(*push.Config)
		want   string
	}{
		{"default", func(*push.Config) {}, ""},
		{"nothing at all", func(c *push.Config) { c.Carriers, c.Routes = nil, nil }, ""},
		{"no name", func(c *push.Config) { c.Carriers[0].Name = "" }, `push.carriers[0].name: ""; want 1 to 40 letters, digits, -, _ or .`},
		{"twice the name", func(c *push.Config) { c.Carriers[1].Name = "sms" }, `push.carriers[1].name: "sms" is the name of another one too`},
		{"type", func(c *push.Config) { c.Carriers[0].Type = "pigeon" }, `push.carriers[0].type: "pigeon"; allowed are pap, smpp, udp and http`},
		{"inside smpp", func(c *push.Config) { c.Carriers[0].SMPP.Form = "x" }, `push.carriers[0].smpp.form: "x"; allowed are udh, sar and payload`},
		{"inside udp", func(c *push.Config) { c.Carriers[1].UDP.To = "phone" }, `push.carriers[1].udp.to: "phone" is neither an IP address nor IP:port`},
		{"hook without address", func(c *push.Config) { c.Carriers[0].Type = "http" }, `push.carriers[0].http.url: "" is not http://HOST… or https://HOST…`},
		{"gateway with a password in its address", func(c *push.Config) { c.Carriers[0].Type = "pap"; c.Carriers[0].PAP.URL = "http://a:b@c/" }, `push.carriers[0].pap.url: "http://a:b@c/" is not http://HOST… or https://HOST…`},
		{"version", func(c *push.Config) {
			c.Carriers[0].Type = "pap"
			c.Carriers[0].PAP = push.PAPConfig{URL: "http://x/", Version: "3"}
		}, `push.carriers[0].pap.version: "3"; allowed are 1.0, 2.0 and 2.1`},
		{"prefix", func(c *push.Config) { c.Routes[0].Prefix = "46*" }, `push.routes[0].prefix: "46*"; want the beginning of a number, such as +4670, or nothing`},
		{"twice the prefix", func(c *push.Config) { c.Routes = append(c.Routes, push.RouteConfig{}) }, `push.routes[1].prefix: "" has a route already`},
		{"unknown carrier", func(c *push.Config) { c.Routes[0].Carriers = []string{"x"} }, `push.routes[0].carriers: no carrier is named "x"`},
		{"segments", func(c *push.Config) { c.MaxSegments = 1 }, "push.segments, max_segments: 2 and 1; allowed are 1 to 255, the second not below the first"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := good()
			tc.change(&cfg)
			_, err := push.New(push.Options{Config: cfg, Metrics: prometheus.NewRegistry()})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("%s", got)
			}
		})
	}
}
