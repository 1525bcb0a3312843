package mmsd_test

import (
	"bytes"
	"context"
	"encoding/binary"
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
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/test/interop/mmsd"
)

const alice, bob = "+46701740605", "+46701740606"

// handsetOf runs mmsd-tng, bob's unless the options say otherwise.
func handsetOf(t *testing.T, o mmsd.Options) (*mmsd.Handset, context.Context) {
	t.Helper()
	if o.Number == "" {
		o.Number = bob
	}
	return mmsd.Run(t, o)
}

// mmsc keeps what it is asked and told, and serves one message.
type mmsc struct {
	*httptest.Server
	message []byte
	mu      sync.Mutex
	asked   []string
	told    []*mms.PDU
	news    chan struct{}
}

func newMMSC(t *testing.T) *mmsc {
	m := &mmsc{news: make(chan struct{}, 1)}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func (m *mmsc) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, r.Method+" "+r.RequestURI)
	w.Header().Set("Content-Type", wsp.MMSMessage)
	if r.Method == http.MethodGet {
		_, _ = w.Write(m.message)
		return
	}
	pdu, err2 := mms.Decode(body)
	if err != nil || err2 != nil {
		m.asked = append(m.asked, fmt.Sprintf("no PDU: %v %v", err, err2))
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	m.told = append(m.told, pdu)
	if pdu.Type == mms.MSendReq {
		_, _ = w.Write(mms.SendConf{TransactionID: pdu.TransactionID(), Version: pdu.Version(), Status: mms.StatusOk, MessageID: "id1@mmsc.example.net"}.Append(nil))
	}
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// await waits for a post of a type.
func (m *mmsc) await(ctx context.Context, t *testing.T, want mms.Type) *mms.PDU {
	t.Helper()
	for {
		m.mu.Lock()
		told, asked := m.told, m.asked
		m.mu.Unlock()
		for _, p := range told {
			if p.Type == want {
				return p
			}
		}
		select {
		case <-m.news:
		case <-ctx.Done():
			t.Fatalf("no %s; asked: %q", want, asked)
		}
	}
}

func message(t *testing.T, parts ...wsp.Part) []byte {
	for i := range parts {
		parts[i].Size = int64(len(parts[i].Data))
	}
	b, err := wsp.AppendParts(mms.Retrieve{TransactionID: "r1", MessageID: "id1@mmsc.example.net", Date: time.Now(), From: alice + "/TYPE=PLMN",
		To: []string{bob + "/TYPE=PLMN"}, Subject: "Räksmörgås", Status: mms.StatusOk, ContentType: wsp.Media(wsp.MultipartMixed)}.AppendHead(nil), parts)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReceive: a push; mmsd-tng fetches by itself and acknowledges.
func TestReceive(t *testing.T) {
	m := newMMSC(t)
	picture := bytes.Repeat([]byte("\xFF\xD8 picture "), 3000)
	m.message = message(t, wsp.Part{ContentType: wsp.Media("text/plain", "charset", "utf-8", "name", "a.txt"), Data: []byte("Hallå, Bob")},
		wsp.Part{ContentType: wsp.Media("image/jpeg", "name", "b.jpg"), Data: picture})
	h, ctx := handsetOf(t, mmsd.Options{MMSC: m.URL + "/mms"})
	push := wappush.AppendMMS(nil, 1, mms.Notification{TransactionID: "t1", From: alice + "/TYPE=PLMN", Size: uint64(len(m.message)),
		Expiry: mms.When{After: time.Hour}, ContentLocation: m.URL + "/m/1"}.Append(nil))
	if err := h.Push(ctx, push); err != nil {
		t.Fatal(err)
	}
	got, err := h.Await(ctx, "the message", func(m mmsd.Message) bool { return m.Status == "received" })
	if err != nil {
		t.Fatal(err)
	}
	wantMessage(t, got, "Hallå, Bob", picture)
	if r := m.await(ctx, t, mms.MNotifyRespInd); string(r.TransactionID()) != "t1" || r.Status() != mms.Retrieved {
		t.Errorf("acknowledged with %+v", r)
	}
}

// wantMessage checks what the handset has of the message.
func wantMessage(t *testing.T, m mmsd.Message, parts ...any) {
	t.Helper()
	if m.Sender != alice || m.Subject != "Räksmörgås" || len(m.Attachments) != len(parts) {
		t.Fatalf("received %+v", m)
	}
	for i, want := range parts {
		got, err := m.Attachments[i].Data()
		if err != nil || string(got) != fmt.Sprintf("%s", want) {
			t.Errorf("part %d: %d octets, %v", i+1, len(got), err)
		}
	}
}

// TestBySMS: the push comes in two short messages, by SMPP.
func TestBySMS(t *testing.T) {
	m := newMMSC(t)
	m.message = message(t, wsp.Part{ContentType: wsp.Media("text/plain", "charset", "utf-8"), Data: []byte("Hi")})
	h, ctx := handsetOf(t, mmsd.Options{MMSC: m.URL + "/mms"})
	smsc := h.RunSMSC(ctx, t)
	push := wappush.AppendMMS(nil, 1, mms.Notification{TransactionID: "t1", From: alice + "/TYPE=PLMN", Subject: strings.Repeat("A long subject. ", 6), Size: uint64(len(m.message)),
		Expiry: mms.When{After: time.Hour}, ContentLocation: m.URL + "/m/1"}.Append(nil))
	segments, err := wappush.Segmentation{}.Segment(push)
	if err != nil || len(segments) != 2 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	submit(t, smsc, segments...)
	got, err := h.Await(ctx, "the message", func(m mmsd.Message) bool { return m.Status == "received" })
	if err != nil {
		t.Fatal(err)
	}
	wantMessage(t, got, "Hi")
	m.await(ctx, t, mms.MNotifyRespInd)
}

// submit is an ESME that binds and submits to bob.
func submit(t *testing.T, at string, segments ...[]byte) {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(command uint32, body string) {
		t.Helper()
		b := binary.BigEndian.AppendUint32(nil, uint32(16+len(body)))
		for _, v := range []uint32{command, 0, 1} {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		c.SetDeadline(time.Now().Add(30 * time.Second))
		head := make([]byte, 16)
		_, err := c.Write(append(b, body...))
		if err == nil {
			_, err = io.ReadFull(c, head)
		}
		if err == nil {
			_, err = io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head))-16)
		}
		if err != nil || binary.BigEndian.Uint32(head[4:]) != command|0x80000000 || binary.BigEndian.Uint32(head[8:]) != 0 {
			t.Fatalf("command %x: %v, answer %x", command, err, head)
		}
	}
	ask(9, "ppg\x00\x00\x00\x34\x00\x00\x00")
	for _, ud := range segments {
		ask(4, "WAP\x00\x05\x00MMSC\x00\x01\x01"+bob[1:]+"\x00\x40\x00\x00\x00\x00\x00\x00\xF5\x00"+string([]byte{byte(len(ud))})+string(ud))
	}
}

// TestSend: mmsd-tng submits messages.
func TestSend(t *testing.T) {
	m := newMMSC(t)
	h, ctx := handsetOf(t, mmsd.Options{MMSC: m.URL + "/mms"})
	path, err := h.Send(ctx, []string{alice, "+46701740607"}, "Hello", true, mmsd.File{ID: "text", Type: "text/plain", Data: []byte("Hello, Alice")},
		mmsd.File{ID: "picture", Type: "image/jpeg", Data: bytes.Repeat([]byte("jpeg"), 10_000)})
	if err != nil {
		t.Fatal(err)
	}
	r := m.await(ctx, t, mms.MSendReq)
	if _, insert := r.From(); !insert || fmt.Sprint(r.To()) != fmt.Sprint([]string{alice + "/TYPE=PLMN", "+46701740607/TYPE=PLMN"}) || r.Subject() != "Hello" ||
		!r.Flag(mms.FieldDeliveryReport, false) || len(r.Parts) != 2 || string(r.Parts[0].Data) != "Hello, Alice" || r.Parts[1].Size != 40_000 {
		t.Errorf("submitted %+v", r)
	}
	if _, err := h.Await(ctx, "the message to be sent", func(m mmsd.Message) bool { return m.Path == path && m.Status == "sent" }); err != nil {
		t.Errorf("%v: %+v", err, h.Messages())
	}
}
