package kannel_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/test/interop/kannel"
)

// mmsc is an MMSC that keeps what it accepts, by transaction id.
type mmsc struct {
	*httptest.Server
	mu   sync.Mutex
	kept map[string][][]byte
	head http.Header // of the last request
}

func newMMSC(t *testing.T) *mmsc {
	m := &mmsc{kept: map[string][][]byte{}}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func (m *mmsc) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && r.URL.Path == "/m/1" {
		w.Header().Set("Content-Type", "application/vnd.wap.mms-message")
		_, _ = w.Write(stored)
		return
	}
	body, err := io.ReadAll(r.Body)
	var h mms.Head
	if err != nil || h.Peek(body, true) != mms.Complete || h.Type != mms.MSendReq || r.Header.Get("Content-Type") != "application/vnd.wap.mms-message" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	id := string(h.TransactionID)
	m.kept[id], m.head = append(m.kept[id], body), r.Header.Clone()
	m.mu.Unlock()
	w.Header().Set("Content-Type", "application/vnd.wap.mms-message")
	_, _ = w.Write(mms.SendConf{TransactionID: h.TransactionID, Version: h.Version, Status: mms.StatusOk, MessageID: id + "@mmsc.example.net"}.Append(nil))
}

// copies gives what was kept of a transaction.
func (m *mmsc) copies(id string) [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept[id]
}

// message is an M-Send.req with one part of size octets.
func message(transaction string, size int) []byte {
	b := append([]byte("\x8c\x80\x98"+transaction), 0)
	b = append(b, "\x8d\x92\x89\x01\x81\x97+46700000002/TYPE=PLMN\x00\x84\xa3\x01"...) // multipart/mixed, one part
	b = wsp.AppendUintvar(b, 1)
	b = wsp.AppendUintvar(b, uint32(size))
	b = append(b, 0x9E) // image/jpeg
	for i := range size {
		b = append(b, byte(i*7+i>>8))
	}
	return b
}

// stored is what every MMSC here has to fetch: larger than one packet, and than one group of packets.
var stored = append([]byte("\x8c\x84"), message("stored", 50<<10)[2:]...)

// wantFetched checks that the phone gets the stored message octet for octet.
func wantFetched(t *testing.T, s *kannel.Session, uri string) {
	t.Helper()
	r, err := s.Get(uri)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != http.StatusOK || r.Type != "application/vnd.wap.mms-message" || !bytes.Equal(r.Body, stored) {
		t.Errorf("the phone fetched status %d, type %q, %d octets; want %d", r.Status, r.Type, len(r.Body), len(stored))
	}
}

// wantAccepted checks that the phone's answer is an M-Send.conf Ok of its transaction.
func wantAccepted(t *testing.T, r kannel.Reply, transaction string) {
	t.Helper()
	var h mms.Head
	if r.Status != http.StatusOK || r.Type != "application/vnd.wap.mms-message" || h.Peek(r.Body, true) != mms.Complete || h.Type != mms.MSendConf ||
		string(h.TransactionID) != transaction || !h.HasResponse || h.Response != mms.StatusOk {
		t.Fatalf("%s: the phone got status %d, type %q, % x", transaction, r.Status, r.Type, r.Body)
	}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// address finds a loopback address on which the WDP ports are free.
func address(t *testing.T) string {
	t.Helper()
	a, err := kannel.FreeAddress(92)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// start starts a gateway, whose logs are shown when the test fails.
func start(t *testing.T, o kannel.Options) *kannel.Lab {
	t.Helper()
	if _, _, err := kannel.Programs(); err != nil {
		t.Skipf("Kannel not installed: %v", err)
	}
	o.Dir = t.TempDir()
	lab, err := kannel.Start(within(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(lab.Logs())
		}
	})
	return lab
}

// TestGatewayAlone shows that the lab itself works: phone, wapbox, MMSC, without a router.
func TestGatewayAlone(t *testing.T) {
	m := newMMSC(t)
	lab := start(t, kannel.Options{Address: address(t), Map: map[string]string{"http://mms.example.net/": m.URL + "/"}})
	t.Run("connectionless", func(t *testing.T) {
		pdu := message("phone-1", 900)
		r, err := kannel.PostDatagram(within(t), lab.Connectionless(), 0x21, "http://mms.example.net/", pdu)
		if err != nil {
			t.Fatal(err)
		}
		wantAccepted(t, r, "phone-1")
		if c := m.copies("phone-1"); len(c) != 1 || !bytes.Equal(c[0], pdu) {
			t.Errorf("the MMSC has %d copies, or other octets", len(c))
		}
	})
	t.Run("in a session", func(t *testing.T) {
		s, err := kannel.Connect(within(t), lab.Sessions(), 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			id   string
			size int
		}{{"phone-2", 900}, {"phone-3", 30 << 10}, {"phone-4", 100 << 10}} {
			pdu := message(c.id, c.size)
			r, err := s.Post("http://mms.example.net/", pdu)
			if err != nil {
				t.Fatal(c.id, err)
			}
			wantAccepted(t, r, c.id)
			if k := m.copies(c.id); len(k) != 1 || !bytes.Equal(k[0], pdu) {
				t.Errorf("%s: the MMSC has %d copies, or other octets", c.id, len(k))
			}
		}
		wantFetched(t, s, "http://mms.example.net/m/1")
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzReply throws octets at what reads the gateway's answers.
func FuzzReply(f *testing.F) {
	f.Add([]byte("\x04\x20\x01\xbe\x8c\x81"))
	f.Add([]byte("\x04\x20\x20application/vnd.wap.mms-message\x00\x8c\x81"))
	f.Add([]byte("\x04\x44\x03\x02\xa3\x80"))
	f.Add([]byte("\x93\x80\x01\x19\x05\x1f\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := kannel.ParseReply(b)
		if err == nil && (len(r.Body) > len(b) || r.Status < 0) {
			t.Errorf("%+v of % x", r, b)
		}
		kannel.ReadPacket(b)
	})
}
