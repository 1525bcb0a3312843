package mmsjson_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/mmsjson"
)

// maker draws values, always the same for one seed.
type maker struct{ *rand.Rand }

func (m maker) pick(of ...string) string { return of[m.IntN(len(of))] }

func (m maker) text() string {
	runes := []rune(`aZ09 ;,"'\<>@/=%&+-_.~()` + "åßПж中文한😀\u00a0\t\r\n")
	out := make([]rune, m.IntN(40))
	for i := range out {
		out[i] = runes[m.IntN(len(runes))]
	}
	return string(out)
}

func (m maker) number() string { return fmt.Sprint(m.Uint64() >> m.IntN(64)) }

func (m maker) date() string {
	return time.Unix(m.Int64N(253402300800), 0).UTC().Format(time.RFC3339)
}

func (m maker) when() string {
	if m.IntN(2) == 0 {
		return m.date()
	}
	return m.number() + "s"
}

func (m maker) address() string {
	return m.pick("+4670", "112", "07 0-1", m.text()) + m.pick("", "/TYPE=PLMN", "@example.net")
}

// header draws a field of the standard with a fitting value, or one of somebody's own.
func (m maker) header() mmsjson.Header {
	name, value := "", ""
	switch m.IntN(12) {
	case 0:
		name, value = m.pick("To", "Cc", "Bcc", "Subject", "X-Mms-Response-Text", "X-Mms-Status-Text", "X-Mms-Retrieve-Text"), m.text()
	case 1:
		name, value = "From", m.pick(mms.InsertAddress, m.address())
	case 2:
		name, value = m.pick("X-Mms-Content-Location", "Message-ID", "X-Mms-Applic-ID", "X-Mms-Replace-ID", "X-Mms-Reply-Charging-ID"), m.text()
	case 3:
		name, value = m.pick("X-Mms-Expiry", "X-Mms-Delivery-Time", "X-Mms-Reply-Charging-Deadline"), m.when()
	case 4:
		name, value = m.pick("X-Mms-Message-Size", "X-Mms-Reply-Charging-Size", "X-Mms-Start", "X-Mms-Limit", "X-Mms-Message-Count"), m.number()
	case 5:
		name, value = m.pick("X-Mms-Delivery-Report", "X-Mms-Read-Report", "X-Mms-Stored", "X-Mms-DRM-Content"), m.pick("Yes", "No", "0x9F")
	case 6:
		name, value = m.pick("X-Mms-Response-Status", "X-Mms-Retrieve-Status", "X-Mms-Store-Status"), m.pick("Error-transient-failure", "Error-permanent-failure", "0xFE")
	case 7:
		name, value = "X-Mms-Previously-Sent-By", m.number()+" "+m.address()
	case 8:
		name, value = "X-Mms-Previously-Sent-Date", m.number()+" "+m.date()
	case 9:
		name, value = "X-Mms-MM-Flags", m.pick("add ", "remove ", "filter ")+m.text()
	case 10:
		name, value = m.pick("X-Mms-Mbox-Totals", "X-Mms-Mbox-Quotas"), m.pick("message-count ", "size ")+m.number()
	case 11:
		name, value = m.pick("X-Own", "Return Path", "x"), m.text()
	}
	return mmsjson.Header{Name: name, Value: &value}
}

func (m maker) contentType() mmsjson.ContentType {
	c := mmsjson.ContentType{Value: m.pick("text/plain", "image/jpeg", "application/smil", "text/x-vCard", "application/x-own")}
	for range m.IntN(4) {
		plain := strings.TrimLeft(m.text(), `"`) // a mark at the start is the form of the value, not its text
		c.Params = append(c.Params, [][2]string{{"charset", m.pick("utf-8", "utf-16", "big5", "x-own")}, {"name", plain}, {"size", m.number()},
			{"x-own", plain}, {"type", m.pick("text/plain", "application/smil")}, {"creation-date", m.date()}, {"level", "1.2"}}[m.IntN(7)])
	}
	return c
}

func (m maker) document() *mmsjson.Document {
	doc := &mmsjson.Document{Type: mms.MSendReq.String(), Version: m.pick("1.0", "1.2", "1.3")}
	for range m.IntN(12) {
		doc.Headers = append(doc.Headers, m.header())
	}
	doc.ContentType = &mmsjson.ContentType{Value: "application/vnd.wap.multipart.mixed"}
	doc.Parts = []mmsjson.Part{}
	for range m.IntN(4) {
		data := make([]byte, m.IntN(300))
		for i := range data {
			data[i] = byte(m.Uint32())
		}
		p := mmsjson.Part{ContentType: m.contentType(), Body: mmsjson.Body{Data: &data}}
		for _, h := range [][2]string{{"Content-ID", "<" + m.pick("a", "b.c") + ">"}, {"Content-Location", m.text()}, {"Content-Disposition", "inline; filename=x"},
			{"Content-Length", m.number()}, {"Date", m.date()}, {"X-Own", m.text()}} {
			if m.IntN(2) == 0 {
				p.Headers = append(p.Headers, mmsjson.Header{Name: h[0], Value: &h[1]})
			}
		}
		doc.Parts = append(doc.Parts, p)
	}
	return doc
}

// Whatever document is built, it is told again by the PDU as it was asked for,
// and that tells the same octets.
func TestRoundTripProperty(t *testing.T) {
	for seed := range uint64(3000) {
		doc := maker{rand.New(rand.NewPCG(seed, 1))}.document()
		pdu, err := doc.PDU("")
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		told, err := mmsjson.Describe(pdu, "")
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		compareTold(t, seed, doc, told)
		for i := range told.Parts {
			told.Parts[i].Data = doc.Parts[i].Data
		}
		again, err := told.PDU("")
		if err != nil || !bytes.Equal(again.Encode(), pdu.Encode()) {
			t.Fatalf("seed %d: octets differ, %v", seed, err)
		}
	}
}

func compareTold(t *testing.T, seed uint64, want, got *mmsjson.Document) {
	t.Helper()
	lines := func(doc *mmsjson.Document) (out []string) {
		for _, h := range doc.Headers {
			if h.Name == "X-Mms-Message-Type" || h.Name == "X-Mms-MMS-Version" {
				continue // these two come from the keys of the document
			}
			out = append(out, h.Name+": "+*h.Value)
		}
		for _, p := range doc.Parts {
			b, err := json.Marshal([]any{p.ContentType.Value, p.ContentType.Params})
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(b))
			for _, h := range p.Headers {
				out = append(out, h.Name+": "+*h.Value)
			}
		}
		return out
	}
	a, b := lines(want), lines(got)
	if len(a) != len(b) {
		t.Fatalf("seed %d: %d lines, want %d", seed, len(b), len(a))
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("seed %d: %q, want %q", seed, b[i], a[i])
		}
	}
}
