package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"crypto/tls"

	"github.com/mmsrouter/mmsrouter/proxy"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// observed counts what detection is told of each MMSC.
type observed struct {
	mu    sync.Mutex
	fails map[string]int
}

func (o *observed) observe(name string, ok bool, _ string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !ok {
		o.fails[name]++
	}
}

func (o *observed) of(name string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fails[name]
}

// One odd message must not put MMSCs out: an answer that nobody can use counts against an MMSC only when another
// one has taken the message, and one message counts against an MMSC once.
func TestOneMessageCountsOnce(t *testing.T) {
	for _, c := range []struct {
		name    string
		a, b    fakemmsc.Behaviour
		wantA   int
		wantB   int
		message string
	}{
		{"both answer 500", fakemmsc.Refuse(500), fakemmsc.Refuse(500), 0, 0, "poison"},
		{"one answers 500", fakemmsc.Refuse(500), fakemmsc.Accept(), 1, 0, "good"},
		{"one answers 404", fakemmsc.Refuse(404), fakemmsc.Accept(), 1, 0, "good"},
		{"both answer 404", fakemmsc.Refuse(404), fakemmsc.Refuse(404), 0, 0, "poison"},
		{"one stores and dies", fakemmsc.StoreAndDie(fakemmsc.RST), fakemmsc.Accept(), 1, 0, "good"},
		{"both die", fakemmsc.StoreAndDie(fakemmsc.RST), fakemmsc.StoreAndDie(fakemmsc.RST), 1, 1, "crash"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := &observed{fails: map[string]int{}}
			b := start(t, 2, func(_ *proxy.Config, opt *proxy.Options) { opt.Observe = o.observe })
			b.mmscs[0].Behave(c.a)
			b.mmscs[1].Behave(c.b)
			b.post(b.handset(), pdu.SendReq("t1", 500))
			if x, y := o.of("a"), o.of("b"); x != c.wantA || y != c.wantB {
				t.Fatalf("failures told: a %d, b %d; want %d, %d", x, y, c.wantA, c.wantB)
			}
		})
	}
}

// A kept connection may end just when a retrieval is sent on it; a retrieval may be repeated at any time.
func TestRetrievalOnAStaleConnection(t *testing.T) {
	b := start(t, 1, nil)
	b.mmscs[0].Put("/m/1", pdu.RetrieveConf("r1", "m1@a", 500))
	var n atomic.Int64
	b.mmscs[0].Script(func(int, *fakemmsc.Request) fakemmsc.Behaviour {
		if n.Add(1) == 2 { // the second request on the kept connection
			return fakemmsc.Behaviour{Break: fakemmsc.RST, At: fakemmsc.AtHead}
		}
		return fakemmsc.Accept()
	})
	h := b.handset()
	for i := range 2 {
		a, err := h.Fetch(context.Background(), "/m/1")
		if err != nil || a.Status != 200 {
			t.Fatalf("retrieval %d: %d, %v", i+1, a.Status, err)
		}
	}
}

// A connection is kept for less time than the MMSC keeps it, whether its answer was held or streamed.
func TestKeepAliveOfTheMMSC(t *testing.T) {
	for _, size := range []int{500, 300 << 10} {
		t.Run(fmt.Sprint(size, " octets"), func(t *testing.T) {
			b := start(t, 1, nil)
			b.mmscs[0].Behave(fakemmsc.Behaviour{Answer: func(*fakemmsc.Request) fakemmsc.Reply {
				return fakemmsc.Reply{Status: 200, Type: pdu.ContentType, Header: [][2]string{{"Keep-Alive", "timeout=1"}}, Body: pdu.RetrieveConf("r1", "m1@a", size)}
			}})
			h := b.handset()
			for range 2 {
				if a, err := h.Fetch(context.Background(), "/m/1"); err != nil || a.Status != 200 || len(a.Body) < size {
					t.Fatalf("%d, %d octets, %v", a.Status, len(a.Body), err)
				}
			}
			if n := b.mmscs[0].Counts().Conns; n != 2 {
				t.Errorf("%d connections: one of a second was used again", n)
			}
		})
	}
}

// What handsets are told does not name our MMSCs; the records do.
func TestRefusalsNameNoMMSC(t *testing.T) {
	b := start(t, 2, nil)
	b.verdict("a", false)
	a, err := b.handset().Fetch(context.Background(), "/m/unknown")
	if err != nil || a.Status != 503 || bytes.Contains(a.Body, []byte("down")) || bytes.Contains(a.Body, []byte("a,")) {
		t.Fatalf("answer %d %q, %v", a.Status, a.Body, err)
	}
}

func TestRefusalBeforeTheEndAnnouncesTheClose(t *testing.T) {
	b := start(t, 1, func(c *proxy.Config, _ *proxy.Options) { c.MaxMessage = 100 << 10 })
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	body := pdu.SendReq("t1", 200<<10)
	fmt.Fprintf(nc, "POST / HTTP/1.1\r\nHost: mms.example.net\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:1000])
	if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(nc)
	if err != nil || !bytes.Contains(got, []byte("\r\nConnection: close\r\n")) {
		t.Fatalf("answer %.300q, %v", got, err)
	}
}

// With unreadable: refuse, nothing but what a handset may send reaches an MMSC.
func TestUnreadableRefused(t *testing.T) {
	b := start(t, 1, func(c *proxy.Config, _ *proxy.Options) { c.Unreadable = "refuse" })
	for name, body := range map[string][]byte{
		"garbage": []byte("hello, is this the MMSC?"), "half a head": {0x8c, 0x80}, "an answer": pdu.SendConf("t1", pdu.Ok, "1@x"),
	} {
		a, err := b.handset().Post(context.Background(), body, handsets.Fast)
		if err != nil || a.Status == 200 && a.PDU.Response < 0xE0 {
			t.Errorf("%s: %d %+v, %v", name, a.Status, a.PDU, err)
		}
	}
	if n := len(b.mmscs[0].Records()); n != 0 {
		t.Fatalf("%d bodies reached the MMSC", n)
	}
}

// lines is a log that tests can wait on.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

// A certificate file that was spoilt is told of once, and the old certificate serves on.
func TestSpoiltCertificateIsToldOf(t *testing.T) {
	dir := t.TempDir()
	cert, key, pool := pair(t, dir, "mms.example.net")
	log := &lines{}
	b := start(t, 1, func(c *proxy.Config, o *proxy.Options) {
		c.TLS = proxy.TLSConfig{Cert: cert, Key: key}
		o.Log = slog.New(slog.NewTextHandler(log, nil))
	})
	if err := os.WriteFile(cert, []byte("spoilt"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(cert, time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	post := func() {
		h := handsets.New(handsets.Options{Addr: b.addr, TLS: &tls.Config{RootCAs: pool, ServerName: "mms.example.net"}})
		defer h.Close()
		if a, err := h.Post(context.Background(), pdu.SendReq("t1", 10), handsets.Fast); err != nil || a.Status != 200 {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	await(t, "the warning", func() bool { post(); return log.count("can't be used") > 0 })
	post()
	if n := log.count("can't be used"); n != 1 {
		t.Fatalf("%d warnings", n)
	}
}

// A 403 of the MMSC that has the message is the answer, once the others have been asked.
func TestDenialIsPassedOn(t *testing.T) {
	b := start(t, 2, nil)
	b.mmscs[0].Missing(403)
	a, err := b.handset().Fetch(context.Background(), "/m/1")
	if err != nil || a.Status != 403 {
		t.Fatalf("answer %d, %v, want 403", a.Status, err)
	}
	b.mmscs[1].Put("/m/1", pdu.RetrieveConf("r1", "m1@b", 500))
	if a, err = b.handset().Fetch(context.Background(), "/m/1"); err != nil || a.Status != 200 {
		t.Fatalf("answer %d, %v, want the message of the other", a.Status, err)
	}
	b.mmscs[1].Put("/m/1", nil)
	b.verdict("b", false)
	if a, err = b.handset().Fetch(context.Background(), "/m/2"); err != nil || a.Status != 503 {
		t.Fatalf("answer %d, %v, want 503 while one is down", a.Status, err)
	}
}
