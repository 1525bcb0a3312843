package pap_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/textproto"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/pap"
)

var at = time.Date(2026, 11, 24, 15, 0, 0, 0, time.UTC)

const number = "WAPPUSH=+447700900456/TYPE=PLMN@ppg.example.net"

func TestRoundTrip(t *testing.T) {
	one, two := pap.Address{Value: number}, pap.Address{Value: `WAPPUSH=a%22b/TYPE=USER@ppg"<&>`}
	quality := &pap.QualityOfService{Priority: "high", DeliveryMethod: "unconfirmed", Network: "GSM", NetworkRequired: true, Bearer: "SMS", BearerRequired: true}
	for _, m := range []pap.Message{
		&pap.PushMessage{PushID: "1@pi", Addresses: []pap.Address{one}},
		&pap.PushMessage{PushID: "2@pi", DeliverBefore: at, DeliverAfter: at.Add(-time.Hour), SourceReference: "mmsc", ProgressNotes: true, NotifyTo: "http://pi.example.net/pap?a=1&b=2",
			ReplaceID: "1@pi", ReplaceMethod: "pending-only", Addresses: []pap.Address{one, two}, Quality: quality},
		&pap.PushResponse{PushID: "1@pi", SenderAddress: "http://ppg/", SenderName: "ppg", ReplyTime: at, Notes: []pap.ProgressNote{{Stage: "received", Note: "n", Time: at}}, Code: pap.Accepted, Description: "fine"},
		&pap.CancelMessage{PushID: "1@pi"},
		&pap.CancelMessage{PushID: "1@pi", Addresses: []pap.Address{one}},
		&pap.CancelResponse{PushID: "1@pi", Results: []pap.CancelResult{{Code: pap.OK, Description: "OK"}, {Code: pap.CancellationNotPossible, Description: "sent", Addresses: []pap.Address{one}}}},
		&pap.ResultNotification{PushID: "1@pi", SenderAddress: "http://ppg/", SenderName: "ppg", ReceivedTime: at, EventTime: at.Add(time.Second), State: pap.Delivered, Code: pap.OK, Description: "OK", Address: one, Quality: quality},
		&pap.ResultNotificationResponse{PushID: "1@pi", Code: pap.OK, Description: "OK", Address: one},
		&pap.StatusQuery{PushID: "1@pi", Addresses: []pap.Address{one, two}},
		&pap.StatusQueryResponse{PushID: "1@pi", Results: []pap.StatusResult{{EventTime: at, State: pap.Pending, Code: pap.Accepted, Description: "waits", Addresses: []pap.Address{one}, Quality: quality}}},
		&pap.CapabilityQuery{QueryID: "q1", AppID: "x-wap-application:mms.ua", Address: one},
		&pap.CapabilityResponse{QueryID: "q1", Code: pap.CapabilitiesNotAvailable, Description: "none", Address: one},
		&pap.BadMessage{Code: pap.BadRequest, Description: "no", Fragment: "<pap>"},
	} {
		for _, v := range []pap.Version{pap.Version10, pap.Version20, pap.Version21} {
			d := &pap.Document{Version: v, Product: "mmsrouter & co", Message: m}
			t.Run(m.Element()+" "+string(v), func(t *testing.T) {
				b := d.Encode()
				got, err := pap.Decode(b, pap.Limits{})
				if err != nil {
					t.Fatalf("%v in %s", err, b)
				}
				if !reflect.DeepEqual(got, d) {
					t.Errorf("%s\ngives %+v", b, got.Message)
				}
			})
		}
	}
}

// What other makers write.
func TestForeign(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		version    pap.Version
		id         string
	}{
		{"no DOCTYPE", `<?xml version="1.0"?><pap><cancel-message push-id="1"/></pap>`, "2.0", "1"},
		{"2.1 of a phone maker", `<?xml version="1.0"?><!DOCTYPE pap PUBLIC "-//WAPFORUM//DTD PAP 2.1//EN" "http://www.openmobilealliance.org/tech/DTD/pap_2.1.dtd"><pap><cancel-message push-id="1"></cancel-message></pap>`, "2.1", "1"},
		{"2.1 of OMA", `<!DOCTYPE pap PUBLIC "-//OMA//DTD PAP 2.1//EN" "x"><pap><cancel-message push-id="1"/></pap>`, "2.1", "1"},
		{"the oldest public id", `<!DOCTYPE pap PUBLIC "-//WAPFORUM//DTD PAP//EN" "x"><pap><cancel-message push-id="1"/></pap>`, "1.0", "1"},
		{"versions inside the DOCTYPE", `<!DOCTYPE pap PUBLIC "-//WAPFORUM//DTD PAP 2.0//EN" "x" [<?wap-pap-ver supported-versions="2.0,1.*"?>]><pap><cancel-message push-id="1"/></pap>`, "2.0", "1"},
		{"comments and lines", "\xEF\xBB\xBF<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<!-- push -->\r\n<pap>\r\n <cancel-message push-id='1'>\n </cancel-message>\n</pap>\n", "2.0", "1"},
		{"Latin-1", "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><pap><cancel-message push-id=\"\xE5\"/></pap>", "2.0", "å"},
		{"an attribute that PAP does not have", `<pap xmlns:x="y" x:z="1" colour="red"><cancel-message push-id="1" shape="round"/></pap>`, "2.0", "1"},
		{"character references", `<pap><cancel-message push-id="&#49;&amp;&quot;"/></pap>`, "2.0", `1&"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, err := pap.Decode([]byte(tc.text), pap.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			m, ok := d.Message.(*pap.CancelMessage)
			if !ok || m.PushID != tc.id || d.Version != tc.version {
				t.Errorf("%+v of version %s", d.Message, d.Version)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	push := func(attrs, inside string) string {
		return `<pap><push-message ` + attrs + `>` + inside + `</push-message></pap>`
	}
	address := `<address address-value="` + number + `"/>`
	for _, tc := range []struct {
		name, text string
		want       string // the error; "…" at its end stands for more
	}{
		{"nothing", "", "2000: there is no document"},
		{"text", "hello", "2000: text where PAP has none"},
		{"cut", `<pap><push-message push-id="1"`, "2000: not well-formed: …"},
		{"not closed", `<pap><cancel-message push-id="1"/>`, "2000: not well-formed: pap is not closed"},
		{"crossed", `<pap><push-message push-id="1"></pap></push-message>`, "2000: not well-formed: </pap> closes nothing"},
		{"two documents", `<pap><cancel-message push-id="1"/></pap><pap/>`, "2000: not well-formed: a second element after the document's"},
		{"another document", `<html/>`, "2000: the document's element is not pap"},
		{"no message", `<pap/>`, "2000: pap holds 0 messages, not one"},
		{"two messages", `<pap><cancel-message push-id="1"/><cancel-message push-id="2"/></pap>`, "2000: pap holds 2 messages, not one"},
		{"unknown message", `<pap><pull-message push-id="1"/></pap>`, "2000: pap holds an element that PAP does not have there"},
		{"unknown element", push(`push-id="1"`, address+`<colour/>`), "2000: push-message holds an element that PAP does not have there"},
		{"element with a prefix", `<x:pap xmlns:x="y"/>`, "2000: an element with a prefix"},
		{"no push-id", push(``, address), "2000: push-message has no push-id"},
		{"no address", push(`push-id="1"`, ``), "2000: push-message has no address"},
		{"bad time", push(`push-id="1" deliver-before-timestamp="tomorrow"`, address), "2000: deliver-before-timestamp is not a time such as 2026-11-24T15:00:00Z"},
		{"bad flag", push(`push-id="1" progress-notes-requested="yes"`, address), "2000: progress-notes-requested is none of true, false"},
		{"bad priority", push(`push-id="1"`, address+`<quality-of-service priority="urgent"/>`), "2000: priority is none of high, medium, low"},
		{"twice the quality", push(`push-id="1"`, address+`<quality-of-service/><quality-of-service/>`), "2000: push-message has two quality-of-service"},
		{"attribute twice", push(`push-id="1" push-id="2"`, address), "2000: not well-formed: push-id stands twice in push-message"},
		{"too many addresses", push(`push-id="1"`, strings.Repeat(address, 11)), "3005: more than 10 addresses"},
		{"too deep", `<pap><a><b><c><d/></c></b></a></pap>`, "2000: elements stand deeper than 4"},
		{"long value", push(`push-id="`+strings.Repeat("x", 3000)+`"`, address), "2000: push-id of push-message has 3000 octets, 2048 are allowed"},
		{"too long", `<pap><!--` + strings.Repeat("x", 70<<10) + `--></pap>`, "2000: the document has 71698 octets, 65536 are allowed"},
		{"an entity bomb", `<!DOCTYPE pap [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><pap><cancel-message push-id="&b;"/></pap>`, "2000: the DOCTYPE declares something; entities are not taken"},
		{"an external entity", `<!DOCTYPE pap [<!ENTITY a SYSTEM "file:///etc/passwd">]><pap><cancel-message push-id="&a;"/></pap>`, "2000: the DOCTYPE declares something; entities are not taken"},
		{"an entity that nobody declared", `<pap><cancel-message push-id="&a;"/></pap>`, "2000: not well-formed: …"},
		{"another DOCTYPE", `<!DOCTYPE html><pap/>`, "2000: the DOCTYPE is not that of PAP"},
		{"a version to come", `<!DOCTYPE pap PUBLIC "-//WAPFORUM//DTD PAP 9.0//EN" "x"><pap/>`, "3002: a DOCTYPE that is none of PAP 1.0, 2.0, 2.1"},
		{"a charset that nobody knows", `<?xml version="1.0" encoding="klingon"?><pap/>`, "2000: …"},
		{"not UTF-8", "<pap><cancel-message push-id=\"\xFF\"/></pap>", "2000: not well-formed: …"},
		{"code without number", `<pap><badmessage-response code="bad"/></pap>`, "2000: code is not a number of 1000 to 5999"},
		{"a state that nobody knows", `<pap><resultnotification-message push-id="1" message-state="lost" code="1000">` + address + `</resultnotification-message></pap>`, "2000: message-state is none of PAP's"},
		{"two addresses in a result", `<pap><resultnotification-message push-id="1" message-state="delivered" code="1000">` + address + address + `</resultnotification-message></pap>`, "2000: resultnotification-message has 2 addresses, not one"},
		{"an answer without result", `<pap><push-response push-id="1"/></pap>`, "2000: push-response has 0 response-result, not one"},
		{"quality in a cancel", `<pap><cancel-message push-id="1"><quality-of-service/></cancel-message></pap>`, "2000: cancel-message holds an element that PAP does not have there"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, err := pap.Decode([]byte(tc.text), pap.Limits{Octets: 64 << 10, Addresses: 10})
			var e *pap.Error
			if !errors.As(err, &e) {
				t.Fatalf("%+v, %v", d, err)
			}
			if want, open := strings.CutSuffix(tc.want, "…"); err.Error() != want && !(open && strings.HasPrefix(err.Error(), want)) {
				t.Errorf("%v\nwant %s", err, tc.want)
			}
			if strings.ContainsAny(err.Error(), "\r\n") || len([]rune(e.Fragment)) > 80 {
				t.Errorf("%q %q", err, e.Fragment)
			}
		})
	}
}

func TestAddress(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"number", number, "PLMN +447700900456 ppg.example.net"},
		{"other case", "wappush=+447700900456/type=plmn@PPG", "PLMN +447700900456 PPG"},
		{"without gateway", "WAPPUSH=+447700900456/TYPE=PLMN", "PLMN +447700900456 "},
		{"separators", "WAPPUSH=+44-7700.900456/TYPE=PLMN@x", "PLMN +447700900456 x"},
		{"short code", "WAPPUSH=7777/TYPE=PLMN@x", "PLMN 7777 x"},
		{"IPv4", "WAPPUSH=192.0.2.7/TYPE=IPV4@x", "IPv4 192.0.2.7 x"},
		{"IPv6", "WAPPUSH=2001:DB8:0:0:0:0:0:1/TYPE=IPv6@x", "IPv6 2001:db8::1 x"},
		{"user", "WAPPUSH=j%2Fdoe%40home/TYPE=USER@x", "USER j/doe@home x"},
		{"no prefix", "+447700900456/TYPE=PLMN@x", "2002: address: does not begin with WAPPUSH="},
		{"no type", "WAPPUSH=+447700900456@x", "2002: address: has no /TYPE="},
		{"a semicolon", "WAPPUSH=+447700900456;/TYPE=PLMN@x", "2002: address: not a number of 3 to 20 digits"},
		{"nothing in front", "WAPPUSH=/TYPE=PLMN@x", "2002: address: nothing stands before /TYPE="},
		{"letters", "WAPPUSH=hello/TYPE=PLMN@x", "2002: address: not a number of 3 to 20 digits"},
		{"too many digits", "WAPPUSH=+123456789012345678901/TYPE=PLMN@x", "2002: address: not a number of 3 to 20 digits"},
		{"type that nobody knows", "WAPPUSH=1234/TYPE=MAC@x", "2002: address: a TYPE that is none of PLMN, IPv4, IPv6, USER"},
		{"IPv4 that is none", "WAPPUSH=192.0.2.777/TYPE=IPv4@x", "2002: address: not an address of its TYPE"},
		{"IPv6 as IPv4", "WAPPUSH=::1/TYPE=IPv4@x", "2002: address: not an address of its TYPE"},
		{"IPv6 with a zone", "WAPPUSH=fe80::1%eth0/TYPE=IPv6@x", "2002: address: not an address of its TYPE"},
		{"a bad escape", "WAPPUSH=a%zz/TYPE=USER@x", "2002: address: a % that escapes nothing"},
		{"too long", "WAPPUSH=" + strings.Repeat("1", 300), "2002: address: longer than 256 characters"},
		{"nothing", "", "2002: address: does not begin with WAPPUSH="},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, err := pap.ParseAddress(tc.in)
			got := fmt.Sprintf("%s %s %s", a.Kind, a.Value, a.Host)
			if err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Fatalf("%s\nwant %s", got, tc.want)
			}
			if err == nil {
				if again, err := pap.ParseAddress(a.String()); err != nil || again != a {
					t.Errorf("%s becomes %+v, %v", a, again, err)
				}
			}
		})
	}
}

func TestRelated(t *testing.T) {
	control := (&pap.Document{Message: &pap.CancelMessage{PushID: "1"}}).Encode()
	content := func(body string) *pap.Entity {
		return &pap.Entity{Header: textproto.MIMEHeader{"Content-Type": {"application/vnd.wap.mms-message"}, "X-Wap-Application-Id": {"x-wap-application:mms.ua"}}, Body: []byte(body)}
	}
	for _, q := range []*pap.Request{
		{Control: control},
		{Control: control, Content: content("\x8c\x82\x00\r\n--pap\r\n\xff")},
		{Control: control, Content: content("")},
		{Control: control, Content: content("x"), Capabilities: &pap.Entity{Header: textproto.MIMEHeader{"Content-Type": {"application/xml"}}, Body: []byte("<rdf/>")}},
	} {
		kind, body := q.Encode()
		got, err := pap.ReadRequest(kind, body)
		if err != nil {
			t.Fatalf("%v\n%s", err, body)
		}
		if !bytes.Equal(got.Control, control) || !same(got.Content, q.Content) || !same(got.Capabilities, q.Capabilities) {
			t.Errorf("%s\n%s", kind, body)
		}
	}
	const head = "--b\r\nContent-Type: application/xml\r\n\r\n<pap/>\r\n"
	for _, tc := range []struct{ name, kind, body, want string }{
		{"bare", "text/xml; charset=utf-8", "<pap/>", ""},
		{"lines before the first boundary", `multipart/related; boundary=b`, "preamble\r\n" + head + "--b--", ""},
		{"boundary in quotes", `multipart/related; boundary="b"; type="application/xml"`, head + "--b--\r\n", ""},
		{"lines without CR", `multipart/related; boundary=b`, "--b\nContent-Type: application/xml\n\n<pap/>\n--b--\n", ""},
		{"base64", `multipart/related; boundary=b`, head + "--b\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs\r\nbG8=\r\n--b--", "hello"},
		{"quoted-printable", `multipart/related; boundary=b`, head + "--b\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nh=65llo\r\n--b--", "hello"},
		{"binary", `multipart/related; boundary=b`, head + "--b\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: binary\r\n\r\nh=65llo\r\n--b--", "h=65llo"},
		{"no type", "", "<pap/>", "2000: Content-Type can't be read"},
		{"another type", "text/plain", "<pap/>", "2000: Content-Type is neither multipart/related nor application/xml"},
		{"no boundary", "multipart/related", head, "2000: multipart/related without a boundary of 1 to 70 characters"},
		{"wrong boundary", "multipart/related; boundary=c", head + "--b--", "2000: multipart/related is cut or its boundary is wrong: …"},
		{"cut", "multipart/related; boundary=b", "--b\r\nContent-Type: application/xml\r\n\r\n<pa", "2000: part 1 is cut: the closing boundary is missing"},
		{"not closed", "multipart/related; boundary=b", head, "2000: part 1 is cut: the closing boundary is missing"},
		{"content first", "multipart/related; boundary=b", "--b\r\nContent-Type: a/b\r\n\r\nx\r\n" + head + "--b--", "2000: the first part is not application/xml"},
		{"four parts", "multipart/related; boundary=b", head + head + head + head + "--b--", "2000: more than three parts"},
		{"not base64", "multipart/related; boundary=b", head + "--b\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!\r\n--b--", "2000: a part is not in its Content-Transfer-Encoding"},
		{"unknown coding", "multipart/related; boundary=b", head + "--b\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: zip\r\n\r\nx\r\n--b--", "2000: a Content-Transfer-Encoding that is not known"},
		{"empty", "multipart/related; boundary=b", "--b--\r\n", "2000: multipart/related without parts: is the boundary right?"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q, err := pap.ReadRequest(tc.kind, []byte(tc.body))
			got := ""
			if err != nil {
				got = err.Error()
			} else if string(q.Control) != "<pap/>" {
				t.Fatalf("control %q", q.Control)
			} else if q.Content != nil {
				got = string(q.Content.Body)
			}
			if want, open := strings.CutSuffix(tc.want, "…"); got != want && !(open && strings.HasPrefix(got, want)) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func same(a, b *pap.Entity) bool {
	if a == nil || b == nil {
		return a == b
	}
	return bytes.Equal(a.Body, b.Body) && reflect.DeepEqual(a.Header, b.Header)
}

func TestCodes(t *testing.T) {
	for _, tc := range []struct {
		c              pap.Code
		success, again bool
	}{{pap.OK, true, false}, {pap.Accepted, true, false}, {pap.DuplicatePushID, false, false}, {pap.InternalError, false, true}, {pap.ServiceUnavailable, false, true},
		{4999, false, true}, {pap.BearerNotAvailable, false, true}, {pap.NotImplemented, false, false}, {5028, false, false}} {
		if tc.c.Success() != tc.success || tc.c.Again() != tc.again || tc.c.String() == "Unknown" {
			t.Errorf("%d: %v %v %s", tc.c, tc.c.Success(), tc.c.Again(), tc.c)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`<?xml version="1.0"?><!DOCTYPE pap PUBLIC "-//WAPFORUM//DTD PAP 2.0//EN" "x"><pap><push-message push-id="1"><address address-value="` + number + `"/><quality-of-service bearer="SMS"/></push-message></pap>`))
	f.Add((&pap.Document{Message: &pap.StatusQueryResponse{PushID: "1", Results: []pap.StatusResult{{State: pap.Pending, Code: pap.Accepted}}}}).Encode())
	f.Add([]byte(`<!DOCTYPE pap [<!ENTITY a "b">]><pap/>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := pap.Decode(b, pap.Limits{})
		if err != nil {
			var e *pap.Error
			if !errors.As(err, &e) || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("%q", err)
			}
			return
		}
		out := d.Encode()
		again, err := pap.Decode(out, pap.Limits{Octets: 8 << 20, Value: 1 << 20})
		if err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		if !bytes.Equal(again.Encode(), out) {
			t.Fatalf("%s\nbecomes %s", out, again.Encode())
		}
	})
}

func FuzzReadRequest(f *testing.F) {
	f.Add("multipart/related; boundary=b", []byte("--b\r\nContent-Type: application/xml\r\n\r\n<pap/>\r\n--b\r\nContent-Type: a/b\r\n\r\nx\r\n--b--"))
	f.Add("application/xml", []byte("<pap/>"))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		q, err := pap.ReadRequest(kind, body)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("%q", err)
			}
			return
		}
		kind, out := q.Encode()
		again, err := pap.ReadRequest(kind, out)
		if err != nil || !bytes.Equal(again.Control, q.Control) || q.Content != nil && !bytes.Equal(again.Content.Body, q.Content.Body) {
			t.Fatalf("%v: %s", err, out)
		}
	})
}

func FuzzAddress(f *testing.F) {
	f.Add(number)
	f.Add("WAPPUSH=j%2Fdoe/TYPE=USER@x")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := pap.ParseAddress(s)
		if err != nil {
			return
		}
		if again, err := pap.ParseAddress(a.String()); len(a.String()) <= 256 && (err != nil || again != a) {
			t.Fatalf("%+v becomes %q, %+v, %v", a, a.String(), again, err)
		}
	})
}
