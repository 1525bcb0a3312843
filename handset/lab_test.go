package handset_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/test/phone"
)

const alice, bob = "+46701740605", "+46701740606"

// mmsc is an MMSC that serves what it is given and keeps what it is told.
type mmsc struct {
	*httptest.Server
	mu       sync.Mutex
	messages map[string][]byte // by path
	asked    []string          // request lines
	header   http.Header       // of the last request
	told     []*mms.PDU        // posts, in order
	refuse   func(r *http.Request) int
}

func newMMSC(t testing.TB) *mmsc {
	m := &mmsc{messages: map[string][]byte{}}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func (m *mmsc) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked, m.header = append(m.asked, r.Method+" "+r.RequestURI), r.Header.Clone()
	if m.refuse != nil {
		if status := m.refuse(r); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	w.Header().Set("Content-Type", wsp.MMSMessage)
	if r.Method == http.MethodGet {
		b, ok := m.messages[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write(b)
		return
	}
	pdu, err2 := mms.Decode(body)
	if err != nil || err2 != nil || r.Header.Get("Content-Type") != wsp.MMSMessage || r.ContentLength != int64(len(body)) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	m.told = append(m.told, pdu)
	if pdu.Type == mms.MSendReq {
		_, _ = w.Write(mms.SendConf{TransactionID: pdu.TransactionID(), Version: pdu.Version(), Status: mms.StatusOk, MessageID: "m" + fmt.Sprint(len(m.told))}.Append(nil))
	}
}

func (m *mmsc) posts() []*mms.PDU {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.told)
}

func (m *mmsc) requests() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.asked, ", ")
}

func (m *mmsc) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// keep stores a message and gives the push that notifies of it.
func (m *mmsc) keep(path string, message []byte, more ...func(*mms.Notification)) []byte {
	m.set(func() { m.messages[path] = message })
	n := mms.Notification{TransactionID: "t" + path, From: alice + "/TYPE=PLMN", Subject: "Hello", Size: uint64(len(message)),
		Expiry: mms.When{After: 48 * time.Hour}, ContentLocation: m.URL + path}
	for _, f := range more {
		f(&n)
	}
	return wappush.AppendMMS(nil, 1, n.Append(nil))
}

// message is an M-Retrieve.conf from alice.
func message(t testing.TB, change func(*mms.Retrieve), parts ...wsp.Part) []byte {
	t.Helper()
	r := mms.Retrieve{TransactionID: "r1", MessageID: "id1@mmsc.example.net", Date: time.Unix(1700000000, 0), From: alice + "/TYPE=PLMN", To: []string{bob + "/TYPE=PLMN"},
		Subject: "Hello", ContentType: wsp.Media(wsp.MultipartMixed)}
	if change != nil {
		change(&r)
	}
	for i := range parts {
		parts[i].Size = int64(len(parts[i].Data))
	}
	b, err := wsp.AppendParts(r.AppendHead(nil), parts)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func text(s string) wsp.Part {
	return wsp.Part{ContentType: wsp.Media("text/plain", "charset", "utf-8", "name", "hello.txt"), Data: []byte(s)}
}

// lab is phones that run until the test ends, and what happened to them.
type lab struct {
	t testing.TB
	*phone.Phones
}

var quick = handset.Retry{Attempts: 3, Pause: time.Millisecond, Schedule: []time.Duration{}}

func start(t testing.TB, o handset.Options) *lab {
	t.Helper()
	if o.Numbers == nil {
		o.Numbers = []string{bob}
	}
	if o.Retry.Attempts == 0 {
		o.Retry = quick
	}
	return &lab{t, phone.Start(t, o)}
}

// await waits for the n-th event of a kind.
func (l *lab) await(k handset.Kind, n int) handset.Event {
	l.t.Helper()
	return l.AwaitKind(l.t, k, n)
}

func (l *lab) kinds() string {
	var out []string
	for _, e := range l.All() {
		if e.Kind != handset.Bound && e.Kind != handset.Unbound {
			out = append(out, e.Kind.String())
		}
	}
	return strings.Join(out, " ")
}

// esme is a PPG that submits one short message after another, its octets written by hand.
type esme struct {
	t testing.TB
	net.Conn
	sequence uint32
}

func bind(t testing.TB, l *lab) *esme {
	t.Helper()
	c, err := net.Dial("tcp", l.SMPPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	e := &esme{t: t, Conn: c}
	if s := e.ask(9, "ppg\x00secret\x00\x00\x34\x00\x00\x00"); s != 0 {
		t.Fatalf("bind: status %02X", s)
	}
	return e
}

func (e *esme) ask(command uint32, body string) (status uint32) {
	e.t.Helper()
	e.sequence++
	b := binary.BigEndian.AppendUint32(nil, uint32(16+len(body)))
	for _, v := range []uint32{command, 0, e.sequence} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	e.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := e.Write(append(b, body...)); err != nil {
		e.t.Fatal(err)
	}
	head := make([]byte, 16)
	if _, err := io.ReadFull(e, head); err != nil {
		e.t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, e, int64(binary.BigEndian.Uint32(head))-16); err != nil {
		e.t.Fatal(err)
	}
	if got := binary.BigEndian.Uint32(head[4:]); got != command|0x80000000 || binary.BigEndian.Uint32(head[12:]) != e.sequence {
		e.t.Fatalf("answer %x to command %x", got, command)
	}
	return binary.BigEndian.Uint32(head[8:])
}

func (e *esme) submit(to string, esm, coding byte, ud []byte) (status uint32) {
	e.t.Helper()
	return e.ask(4, "WAP\x00\x05\x00MMSC\x00\x01\x01"+to+"\x00"+string([]byte{esm, 0, 0, 0, 0, 0, 0, coding, 0, byte(len(ud))})+string(ud))
}

// push sends a WSP push as one or more segments.
func (e *esme) push(to string, push []byte) {
	e.t.Helper()
	segments, err := wappush.Segmentation{Reference: uint16(e.sequence)}.Segment(push)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, ud := range segments {
		if s := e.submit(strings.TrimPrefix(to, "+"), 0x40, 0xF5, ud); s != 0 {
			e.t.Fatalf("submit_sm to %s: status %02X", to, s)
		}
	}
}

// files gives what a folder holds.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(b)
	}
	return out
}

func wantPosts(t testing.TB, m *mmsc, want ...string) []*mms.PDU {
	t.Helper()
	posts := m.posts()
	var got []string
	for _, p := range posts {
		s := p.Type.String() + " " + string(p.TransactionID())
		if p.Has(mms.FieldStatus) {
			s += " " + p.Status().String()
		}
		got = append(got, s)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("the MMSC was told %q\nwant %q", got, want)
	}
	return posts
}
