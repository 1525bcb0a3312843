package ppg_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg"
	"github.com/mmsrouter/mmsrouter/test/smsc"
)

func TestPush(t *testing.T) {
	server := smsc.New(t).Start()
	told := newResults(t, 2)
	phone, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer phone.Close()
	cfg := quick(server)
	cfg.UDP.Port = phone.LocalAddr().(*net.UDPAddr).Port
	g := run(t, ppg.Options{Config: cfg})
	numbers := []pap.Address{plmn("+447700900456"), plmn("+447700900457"), {Value: "wappush=127.0.0.1/type=ipv4@ppg"}, plmn("+44-7700-900456")} // the last one stands there already
	r := g.push(t, &pap.PushMessage{PushID: "1@pi", Addresses: numbers, ProgressNotes: true, NotifyTo: told.URL + "/pap",
		Quality: &pap.QualityOfService{DeliveryMethod: "unconfirmed", Network: "GSM", NetworkRequired: true, Bearer: "Any", BearerRequired: true}}, pap.Accepted)
	if len(r.Notes) != 3 || r.Notes[2].Stage != "accepted" || r.SenderName != "mmsrouter" {
		t.Errorf("%+v", r)
	}
	g.wait(t, server, "1@pi", "delivered/1000 delivered/1000 delivered/1000")
	for _, number := range []string{"447700900456", "447700900457"} {
		m := server.Messages()[number]
		if len(m) != 1 {
			t.Fatalf("%s has %d messages", number, len(m))
		}
		if d, err := wappush.Decode(m[0]); err != nil || !bytes.Equal(d.Body, pdu) || len(m[0]) != len(pdu)+wappush.Overhead {
			t.Errorf("%x: %v", m[0], err)
		}
	}
	b := make([]byte, 2000)
	n, _, err := phone.ReadFrom(b)
	if err != nil || !bytes.HasSuffix(b[:n], pdu) {
		t.Errorf("%x, %v", b[:n], err)
	}
	server.Wait(t, "three results are told, in spite of two refusals", func() bool { return len(told.list()) == 3 })
	for _, m := range told.list() {
		if m.PushID != "1@pi" || m.State != pap.Delivered || m.Code != pap.OK || m.Quality == nil || m.Quality.Bearer != "Any" || m.EventTime.IsZero() {
			t.Errorf("%+v", m)
		}
	}
	if got := g.states(t, "1@pi", plmn("+447700900457"), plmn("+4400")); got != "delivered/1000 unknown/2003" {
		t.Errorf("status %s", got)
	}
	g.push(t, &pap.PushMessage{PushID: "1@pi", Addresses: numbers[:1]}, pap.DuplicatePushID)
	if n := len(server.Submits()); n != 2 {
		t.Errorf("%d submissions", n)
	}
}

// Any content passes untouched, with its headers in the forms of WSP.
func TestContents(t *testing.T) {
	server := smsc.New(t).Start()
	g := run(t, ppg.Options{Config: quick(server)})
	for i, tc := range []struct {
		name    string
		content *pap.Entity
		head    string // of the WSP push behind TID and type
	}{
		{"MMS without application", &pap.Entity{Header: textproto.MIMEHeader{"Content-Type": {"application/vnd.wap.mms-message"}}, Body: pdu}, "\x03\xBE\xAF\x84"},
		{"service indication", &pap.Entity{Header: textproto.MIMEHeader{"Content-Type": {"text/vnd.wap.si"}, "X-Wap-Application-Id": {"x-wap-application:wml.ua"}}, Body: []byte("<si/>")}, ""},
		{"any type, any octets", &pap.Entity{Header: textproto.MIMEHeader{"Content-Type": {"application/x-own; v=1"}}, Body: []byte("\x00\xFF\r\n--\x80")}, ""},
		{"an application of its own", &pap.Entity{Header: textproto.MIMEHeader{"Content-Type": {"text/plain"}, "X-Wap-Application-Id": {"own.example"}, "X-Wap-Initiator-Uri": {"http://pi/"}}, Body: []byte("x")}, ""},
		{"no body", &pap.Entity{Header: textproto.MIMEHeader{"Content-Type": {"text/plain"}}}, ""},
		{"long", &pap.Entity{Header: textproto.MIMEHeader{"Content-Type": {"text/plain"}}, Body: bytes.Repeat([]byte("0123456789"), 90)}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			number := fmt.Sprintf("44770090000%d", i)
			id := fmt.Sprintf("c%d@pi", i)
			if r := g.post(t, &pap.PushMessage{PushID: id, Addresses: []pap.Address{plmn("+" + number)}}, tc.content).(*pap.PushResponse); r.Code != pap.Accepted {
				t.Fatalf("%+v", r)
			}
			g.wait(t, server, id, "delivered/1000")
			m := server.Messages()[number]
			if len(m) != 1 {
				t.Fatalf("%d messages", len(m))
			}
			d, err := wappush.Decode(m[0])
			if err != nil || !bytes.Equal(d.Body, tc.content.Body) {
				t.Fatalf("%x, %v", m[0], err)
			}
			if want := tc.content.Header.Get("X-Wap-Application-Id"); want != "" && d.ApplicationID() != want {
				t.Errorf("application %q", d.ApplicationID())
			}
			if tc.head != "" && string(m[0][2:2+len(tc.head)]) != tc.head {
				t.Errorf("%x", m[0])
			}
			kind, _, _ := strings.Cut(tc.content.Type(), ";")
			if !d.ContentType.Is(kind) {
				t.Errorf("type %s", d.ContentType)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	server := smsc.New(t).Start()
	g := run(t, ppg.Options{Config: quick(server)})
	base := func() *pap.PushMessage {
		return &pap.PushMessage{PushID: "r@pi", Addresses: []pap.Address{plmn("+447700900456")}}
	}
	for _, tc := range []struct {
		name    string
		change  func(*pap.PushMessage)
		content *pap.Entity
		code    pap.Code
		text    string
	}{
		{"address", func(m *pap.PushMessage) { m.Addresses[0].Value = "+447700900456" }, mmsContent(), pap.AddressError, "address: does not begin with WAPPUSH=: +447700900456"},
		{"one wrong address of two", func(m *pap.PushMessage) { m.Addresses = append(m.Addresses, plmn("x")) }, mmsContent(), pap.AddressError, "address: not a number of 3 to 20 digits: WAPPUSH=x/TYPE=PLMN@ppg.example.net"},
		{"user", func(m *pap.PushMessage) { m.Addresses[0].Value = "WAPPUSH=john/TYPE=USER@x" }, mmsContent(), pap.AddressNotFound, "there is no directory of users here: WAPPUSH=john/TYPE=USER@x"},
		{"many hosts", func(m *pap.PushMessage) { m.Addresses[0].Value = "WAPPUSH=224.0.0.1/TYPE=IPv4@x" }, mmsContent(), pap.AddressError, "not the address of one handset: WAPPUSH=224.0.0.1/TYPE=IPv4@x"},
		{"too late", func(m *pap.PushMessage) { m.DeliverBefore = time.Now().Add(-time.Minute) }, mmsContent(), pap.BadRequest, "deliver-before-timestamp has passed"},
		{"before after", func(m *pap.PushMessage) {
			m.DeliverBefore, m.DeliverAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		}, mmsContent(), pap.BadRequest, "deliver-before-timestamp is not behind deliver-after-timestamp"},
		{"far away", func(m *pap.PushMessage) { m.DeliverAfter = time.Now().Add(1000 * time.Hour) }, mmsContent(), pap.NotPossible, "deliver-after-timestamp is further away than 168h0m0s (ppg.max_expiry)"},
		{"replacement", func(m *pap.PushMessage) { m.ReplaceID = "old@pi" }, mmsContent(), pap.ReplacementNotSupported, "cancel old@pi and push anew"},
		{"network", func(m *pap.PushMessage) {
			m.Quality = &pap.QualityOfService{Network: "PHS", NetworkRequired: true}
		}, mmsContent(), pap.NetworkNotAvailable, "network: PHS"},
		{"bearer", func(m *pap.PushMessage) { m.Quality = &pap.QualityOfService{Bearer: "USSD", BearerRequired: true} }, mmsContent(), pap.BearerNotAvailable, "bearer: USSD"},
		{"confirmed to an IP address", func(m *pap.PushMessage) {
			m.Addresses[0].Value = "WAPPUSH=127.0.0.1/TYPE=IPv4@x"
			m.Quality = &pap.QualityOfService{DeliveryMethod: "confirmed"}
		}, mmsContent(), pap.DeliveryMethodNotPossible, "nothing confirms a push here but the receipts of SMSCs"},
		{"results to nowhere", func(m *pap.PushMessage) { m.NotifyTo = "file:///etc/passwd" }, mmsContent(), pap.BadRequest, `ppg-notify-requested-to: "file:///etc/passwd" is not http://HOST… or https://HOST…`},
		{"no content", func(*pap.PushMessage) {}, nil, pap.BadRequest, "there is no content to push"},
		{"type of the content", func(*pap.PushMessage) {}, &pap.Entity{Header: textproto.MIMEHeader{"Content-Type": {";"}}, Body: pdu}, pap.BadRequest, "…"},
		{"too long for short messages", func(*pap.PushMessage) {}, &pap.Entity{Header: textproto.MIMEHeader{"Content-Type": {"text/plain"}}, Body: make([]byte, 2000)}, pap.TransformationFailure, "the push takes 16 short messages, 10 are allowed: WAPPUSH=+447700900456/TYPE=PLMN@ppg.example.net"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := base()
			tc.change(m)
			r := g.post(t, m, tc.content).(*pap.PushResponse)
			if r.Code != tc.code || r.Description != tc.text && tc.text != "…" {
				t.Errorf("%d %s", r.Code, r.Description)
			}
		})
	}
	const head = "--b\r\nContent-Type: application/xml\r\n\r\n"
	for _, tc := range []struct {
		name, kind, body string
		status           int
		code             pap.Code
	}{
		{"no XML", "application/xml", "hello", 202, pap.BadRequest},
		{"cut", "application/xml", "<pap><push-message", 202, pap.BadRequest},
		{"a bomb", "application/xml", `<!DOCTYPE pap [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]><pap><cancel-message push-id="&b;"/></pap>`, 202, pap.BadRequest},
		{"wrong boundary", "multipart/related; boundary=x", head + "<pap/>\r\n--b--", 202, pap.BadRequest},
		{"JSON", "application/json", "{}", 202, pap.BadRequest},
		{"an answer", "application/xml", string((&pap.Document{Message: &pap.PushResponse{PushID: "1", Code: 1000}}).Encode()), 202, pap.BadRequest},
		{"too many addresses", "application/xml", "<pap><push-message push-id='1'>" + strings.Repeat("<address address-value='x'/>", 1001) + "</push-message></pap>", 202, pap.ManyAddressesNotSupported},
		{"capabilities to match", "multipart/related; boundary=b", head + "<pap><push-message push-id='q'><address address-value='WAPPUSH=+4670/TYPE=PLMN'/></push-message></pap>\r\n--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b\r\nContent-Type: application/xml\r\n\r\n<rdf/>\r\n--b--", 202, pap.MatchingNotSupported},
		{"too large", "application/xml", strings.Repeat(" ", 1<<20) + "<pap/>", 413, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, d := g.raw(t, tc.kind, []byte(tc.body))
			if status != tc.status {
				t.Fatalf("HTTP status %d", status)
			}
			if tc.status != 202 {
				return
			}
			switch m := d.Message.(type) {
			case *pap.BadMessage:
				if m.Code != tc.code || m.Description == "" {
					t.Errorf("%+v", m)
				}
			case *pap.PushResponse:
				if m.Code != tc.code {
					t.Errorf("%+v", m)
				}
			default:
				t.Errorf("%T", m)
			}
		})
	}
	if resp, err := http.Get(g.url); err != nil || resp.StatusCode != 405 {
		t.Errorf("GET: %v, %v", resp, err)
	}
	if n := len(server.Submits()); n != 0 {
		t.Errorf("%d submissions", n)
	}
}

func TestCancel(t *testing.T) {
	server := smsc.New(t).Start()
	told := newResults(t, 0)
	g := run(t, ppg.Options{Config: quick(server)})
	a, b, c := plmn("+447700900001"), plmn("+447700900002"), plmn("+447700900003")
	g.push(t, &pap.PushMessage{PushID: "later@pi", Addresses: []pap.Address{a, b}, DeliverAfter: time.Now().Add(time.Hour), NotifyTo: told.URL}, pap.Accepted)
	g.push(t, &pap.PushMessage{PushID: "now@pi", Addresses: []pap.Address{c}}, pap.Accepted)
	g.wait(t, server, "now@pi", "delivered/1000")
	cancel := func(id string, list ...pap.Address) string {
		t.Helper()
		r, ok := g.post(t, &pap.CancelMessage{PushID: id, Addresses: list}, nil).(*pap.CancelResponse)
		if !ok {
			t.Fatal("no cancel-response")
		}
		var out []string
		for _, x := range r.Results {
			out = append(out, fmt.Sprintf("%d/%d", x.Code, len(x.Addresses)))
		}
		return strings.Join(out, " ")
	}
	for _, tc := range []struct {
		name, id, want string
		list           []pap.Address
	}{
		{"one of two, and one that is not there", "later@pi", "1000/1 2003/1", []pap.Address{a, c}},
		{"all", "later@pi", "1000/1 1000/1", nil},
		{"what has been sent", "now@pi", "2008/1", nil},
		{"unknown", "other@pi", "2004/0", nil},
		{"a bad address", "later@pi", "2002/0", []pap.Address{{Value: "x"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := cancel(tc.id, tc.list...); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
	if got := g.states(t, "later@pi"); got != "cancelled/1000 cancelled/1000" {
		t.Errorf("%s", got)
	}
	if got := g.states(t, "other@pi"); got != "unknown/2004" {
		t.Errorf("%s", got)
	}
	server.Wait(t, "both cancellations are told", func() bool { return len(told.list()) == 2 })
	if m := told.list()[0]; m.State != pap.Cancelled {
		t.Errorf("%+v", m)
	}
	if n := len(server.Submits()); n != 1 {
		t.Errorf("%d submissions", n)
	}
}

func TestInitiators(t *testing.T) {
	server := smsc.New(t).Start()
	dir := t.TempDir()
	file := filepath.Join(dir, "phone.rdf")
	if err := os.WriteFile(file, []byte("<rdf/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := quick(server)
	cfg.Initiators = []ppg.InitiatorConfig{
		{Name: "far", Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		{Name: "a", User: "foo", Password: "bar", Allow: []string{"+44", "127.0.0.0/8"}, Deny: []string{"+4499"}},
		{Name: "b", User: "b", Password: "b", Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	}
	cfg.Capabilities = []ppg.CapabilityConfig{{Prefix: "+44", File: file}}
	cfg.Path = "/pap"
	g := run(t, ppg.Options{Config: cfg})
	as := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	nobody := func(*http.Request) {}
	for _, tc := range []struct {
		name   string
		who    func(*http.Request)
		number string
		status int
		code   pap.Code
	}{
		{"nobody", nobody, "+4411", 401, 0},
		{"wrong password", as("foo", "baz"), "+4411", 401, 0},
		{"somebody else's password", as("foo", "b"), "+4411", 401, 0},
		{"allowed", as("foo", "bar"), "+4411", 202, pap.Accepted},
		{"not allowed", as("foo", "bar"), "+4611", 202, pap.Forbidden},
		{"denied", as("foo", "bar"), "+449911", 202, pap.Forbidden},
		{"everything allowed", as("b", "b"), "+4611", 202, pap.Accepted},
		{"another path", func(r *http.Request) { r.SetBasicAuth("b", "b"); r.URL.Path = "/other" }, "+4611", 404, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := pap.Request{Control: (&pap.Document{Message: &pap.PushMessage{PushID: "same@pi", Addresses: []pap.Address{plmn(tc.number)}}}).Encode(), Content: mmsContent()}
			kind, body := q.Encode()
			status, d := g.raw(t, kind, body, tc.who)
			if status != tc.status {
				t.Fatalf("HTTP status %d", status)
			}
			if tc.code != 0 && d.Message.(*pap.PushResponse).Code != tc.code {
				t.Errorf("%+v", d.Message)
			}
		})
	}
	if r := g.post(t, &pap.StatusQuery{PushID: "same@pi"}, nil, as("b", "b")).(*pap.StatusQueryResponse); len(r.Results) != 1 || r.Results[0].Addresses[0] != plmn("+4611") {
		t.Errorf("b sees %+v", r)
	}
	if r := g.post(t, &pap.CapabilityQuery{QueryID: "q", Address: plmn("+4611")}, nil, as("b", "b")).(*pap.CapabilityResponse); r.Code != pap.CapabilitiesNotAvailable {
		t.Errorf("%+v", r)
	}
	if r := g.post(t, &pap.CapabilityQuery{QueryID: "q", Address: plmn("+4411")}, nil, as("b", "b")).(*pap.CapabilityResponse); r.Code != pap.OK || r.QueryID != "q" {
		t.Errorf("%+v", r)
	}
}
