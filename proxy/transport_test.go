package proxy_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/proxy"
	"github.com/mmsrouter/mmsrouter/router"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

func TestUploadBeyondMemoryIsReplayedFromTheFile(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		t.Run(fmt.Sprintf("chunked %v", chunked), func(t *testing.T) {
			b := start(t, 2, func(c *proxy.Config, _ *proxy.Options) {
				c.Replay.Message, c.Replay.Total = 128<<10, 1<<20
			})
			b.mmscs[0].Behave(fakemmsc.Die(fakemmsc.RST, 900_000))
			body := pdu.SendReq("big", 1_500_000)
			nc, err := net.Dial("tcp", b.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			// the last octets are sent only when the first MMSC is gone: its death is before the end for sure
			first, last := body[:1_000_000], body[1_000_000:]
			if chunked {
				fmt.Fprintf(nc, "POST / HTTP/1.1\r\nHost: mms.example.net\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n%x\r\n%s\r\n", len(first), first)
			} else {
				fmt.Fprintf(nc, "POST / HTTP/1.1\r\nHost: mms.example.net\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), first)
			}
			await(t, "the first MMSC dies", func() bool { return b.mmscs[0].Counts().Conns > 0 && b.mmscs[0].Open() == 0 })
			if chunked {
				fmt.Fprintf(nc, "%x\r\n%s\r\n0\r\n\r\n", len(last), last)
			} else if _, err := nc.Write(last); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(nc); err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 200 ")) {
				t.Fatalf("answer %.60q, %v", got, err)
			}
			rec := b.mmscs[1].Records()
			if len(rec) != 1 || rec[0].Size != len(body) {
				t.Fatalf("the second MMSC has %+v", rec)
			}
			f := b.fate("big", 1)
			if len(f[0].Attempts) != 2 || f[0].Attempts[0].Phase != "body" || f[0].Attempts[1].Octets != int64(len(body)) {
				t.Fatalf("fate %+v", f)
			}
		})
	}
}

func TestTooLargeIsRefusedBeforeItIsRead(t *testing.T) {
	for _, c := range []struct {
		name string
		way  handsets.Way
	}{{"length announced", handsets.Fast}, {"chunked", handsets.Chunked}, {"expect", handsets.Way{Name: "expect", Expect: true}}} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, 1, func(c *proxy.Config, _ *proxy.Options) { c.MaxMessage = 100 << 10 })
			a, err := b.handset().Post(context.Background(), pdu.SendReq("t1", 1<<20), c.way)
			if err != nil {
				t.Fatal(err)
			}
			if c.name == "expect" {
				if a.Status != 413 || a.Interim != 0 {
					t.Fatalf("status %d after %d interim answers, want 413 at once", a.Status, a.Interim)
				}
			} else if a.PDU.Response != pdu.TooLarge || a.PDU.Transaction != "t1" {
				t.Fatalf("answer %d %+v, want the PDU's own refusal", a.Status, a.PDU)
			}
			if n := len(b.mmscs[0].Records()); n != 0 {
				t.Fatalf("the MMSC has %d messages", n)
			}
		})
	}
}

func TestLongAnswersStream(t *testing.T) {
	big := pdu.RetrieveConf("r1", "m1@a", 700_000)
	for _, c := range []struct {
		name   string
		answer fakemmsc.Reply
		way    handsets.Way
	}{
		{"with a length", fakemmsc.Reply{}, handsets.Fast},
		{"chunked", fakemmsc.Reply{Chunked: true}, handsets.Fast},
		{"to the end of the connection", fakemmsc.Reply{ToClose: true}, handsets.Fast},
		{"chunked to HTTP/1.0", fakemmsc.Reply{Chunked: true}, handsets.Way{Name: "1.0", HTTP10: true}},
		{"length to HTTP/1.0", fakemmsc.Reply{}, handsets.Way{Name: "1.0", HTTP10: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, 1, nil)
			reply := c.answer
			reply.Status, reply.Type, reply.Body = 200, pdu.ContentType, big
			b.mmscs[0].Behave(fakemmsc.Behaviour{Answer: func(*fakemmsc.Request) fakemmsc.Reply { return reply }})
			a, err := b.handset().Do(context.Background(), "GET", "/m/1", nil, c.way)
			if err != nil {
				t.Fatal(err)
			}
			if a.Status != 200 || !bytes.Equal(a.Body, big) {
				t.Fatalf("status %d with %d octets, want 200 with %d", a.Status, len(a.Body), len(big))
			}
			if c.way.HTTP10 && a.Get("Content-Length") == "" {
				t.Error("HTTP/1.0 got no Content-Length")
			}
			await(t, "the place is given back", func() bool { return b.p.Outstanding("a") == 0 })
		})
	}
}

func TestBrokenLongAnswerAbortsTheClient(t *testing.T) {
	b := start(t, 1, nil)
	b.mmscs[0].Put("/m/1", pdu.RetrieveConf("r1", "m1@a", 700_000))
	for _, how := range []fakemmsc.Break{fakemmsc.FIN, fakemmsc.RST} {
		b.mmscs[0].Behave(fakemmsc.CutAnswer(how, 300_000))
		if a, err := b.handset().Fetch(context.Background(), "/m/1"); err == nil {
			t.Fatalf("%v: the handset took %d octets for whole", how, len(a.Body))
		}
		await(t, "the place is given back", func() bool { return b.p.Outstanding("a") == 0 })
	}
}

func TestShortAnswerCutIsNeverPassedOn(t *testing.T) {
	b := start(t, 1, nil)
	b.mmscs[0].Put("/m/1", pdu.RetrieveConf("r1", "m1@a", 20_000))
	b.mmscs[0].Behave(fakemmsc.CutAnswer(fakemmsc.FIN, 5_000))
	a, err := b.handset().Fetch(context.Background(), "/m/1")
	if err != nil || a.Status != 503 || a.Get("Retry-After") == "" {
		t.Fatalf("answer %d, %v: want 503 with Retry-After", a.Status, err)
	}
}

func TestStaleConnectionIsReplaced(t *testing.T) {
	b := start(t, 1, nil)
	h := b.handset()
	b.post(h, pdu.SendReq("t1", 100))
	b.mmscs[0].Hangup()
	body := pdu.SendReq("t2", 100)
	if a := b.post(h, body); a.PDU.Response != pdu.Ok {
		t.Fatalf("status %x", a.PDU.Response)
	}
	if f := b.fate("t2", 1); len(f[0].Attempts) != 1 || f[0].Attempts[0].Octets != int64(len(body)) || b.fails.Load() != 0 {
		t.Fatalf("attempts %+v, %d failures told to detection", f[0].Attempts, b.fails.Load())
	}
}

func TestPlacesAndQueue(t *testing.T) {
	b := start(t, 1, func(c *proxy.Config, _ *proxy.Options) {
		c.Limits.InFlight, c.Limits.Queue, c.Timeouts.Queue = 1, 1, 20*time.Second
	})
	hold := make(chan struct{})
	slow := fakemmsc.Accept()
	slow.Hold = hold
	b.mmscs[0].Behave(slow)
	answers := make(chan handsets.Answer, 3)
	post := func(id string) {
		a, err := b.handset().Post(context.Background(), pdu.SendReq(id, 100), handsets.Fast)
		if err != nil {
			t.Error(err)
		}
		answers <- a
	}
	go post("t1")
	await(t, "one in flight", func() bool { return b.mmscs[0].Counts().Wholes == 1 })
	go post("t2")
	go post("t3")
	a := <-answers // one of the two finds the queue full
	if a.PDU.Response != pdu.TransientNet {
		t.Fatalf("status %x, want a transient one", a.PDU.Response)
	}
	if n := b.p.Outstanding("a"); n != 1 {
		t.Fatalf("%d in flight, the limit is 1", n)
	}
	close(hold)
	for range 2 {
		if a := <-answers; a.PDU.Response != pdu.Ok {
			t.Fatalf("status %x", a.PDU.Response)
		}
	}
}

func TestSlowUploadIsEnded(t *testing.T) {
	b := start(t, 1, func(c *proxy.Config, _ *proxy.Options) { c.Timeouts.Body = 100 * time.Millisecond })
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	body := pdu.SendReq("t1", 10_000)
	fmt.Fprintf(nc, "POST / HTTP/1.1\r\nHost: mms.example.net\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:2000])
	got, err := io.ReadAll(nc)
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 408 ") {
		t.Fatalf("got %.40q, %v", got, err)
	}
	await(t, "the MMSC sees a broken upload", func() bool { return b.mmscs[0].Counts().Broken == 1 })
	if n := len(b.mmscs[0].Records()); n != 0 {
		t.Fatalf("the MMSC has %d messages", n)
	}
}

func TestProxyProtocol(t *testing.T) {
	b := start(t, 1, func(c *proxy.Config, _ *proxy.Options) {
		c.ProxyProtocol = []string{"127.0.0.0/8"}
		c.Identity.Trusted = []string{"198.51.100.0/24"}
	})
	v2 := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), 198, 51, 100, 7, 192, 0, 2, 7, 0x30, 0x39, 0, 80)
	for _, c := range []struct {
		name    string
		prelude []byte
		client  string
	}{
		{"v1", []byte("PROXY TCP4 198.51.100.7 192.0.2.7 12345 80\r\n"), "198.51.100.7"},
		{"v1 of a stranger", []byte("PROXY TCP4 203.0.113.9 192.0.2.7 12345 80\r\n"), "203.0.113.9"},
		{"v2", v2, "198.51.100.7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := strings.ReplaceAll(c.name, " ", "-")
			h := handsets.New(handsets.Options{Addr: b.addr, Prelude: c.prelude, Header: [][2]string{me("+46701111111")}})
			defer h.Close()
			if a := b.post(h, pdu.SendReq(id, 100)); a.PDU.Response != pdu.Ok {
				t.Fatalf("status %x", a.PDU.Response)
			}
			f := b.fate(id, 1)[0]
			trusted := strings.HasPrefix(c.client, "198.")
			if f.Client != c.client || (f.Identity != "") != trusted {
				t.Fatalf("client %q, identity %q", f.Client, f.Identity)
			}
		})
	}
	for _, prelude := range []string{"", "PROXY TCP4 junk\r\n", "GET / HTTP/1.1\r\n"} {
		h := handsets.New(handsets.Options{Addr: b.addr, Prelude: []byte(prelude)})
		if _, err := h.Post(context.Background(), pdu.SendReq("bad", 10), handsets.Fast); err == nil {
			t.Errorf("prelude %q: served", prelude)
		}
		h.Close()
	}
}

// pair writes a self-signed certificate for this name.
func pair(t testing.TB, dir, name string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kd, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: kd}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return cert, key, pool
}

func TestTLSOnBothSides(t *testing.T) {
	dir := t.TempDir()
	cert, key, pool := pair(t, dir, "mms.example.net")
	server, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	// an MMSC behind TLS: a TLS relay before the fake
	mmsc, err := fakemmsc.New(fakemmsc.Options{Name: "s"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mmsc.Close)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{server}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp", mmsc.Addr())
				if err != nil {
					return
				}
				defer out.Close()
				go func() { io.Copy(out, in); out.Close() }()
				io.Copy(in, out)
			}()
		}
	}()
	b := start(t, 0, func(c *proxy.Config, o *proxy.Options) {
		c.TLS = proxy.TLSConfig{Cert: cert, Key: key}
		o.Upstreams = []proxy.Upstream{{Name: "s", URL: "https://" + l.Addr().String(), TLS: &tls.Config{RootCAs: pool, ServerName: "mms.example.net"}}}
		if err := o.Board.Configure([]router.Target{{Name: "s", Weight: 1}}, o.Board.Load().Zones, nil); err != nil {
			t.Fatal(err)
		}
	})
	b.verdict("s", true)
	post := func(id string, size int, way handsets.Way, roots *x509.CertPool) (handsets.Answer, error) {
		h := handsets.New(handsets.Options{Addr: b.addr, TLS: &tls.Config{RootCAs: roots, ServerName: "mms.example.net"}})
		defer h.Close()
		return h.Post(context.Background(), pdu.SendReq(id, size), way)
	}
	for i, way := range []handsets.Way{handsets.Fast, handsets.Chunked, handsets.Trickle(50_000, 20, time.Millisecond)} {
		a, err := post(fmt.Sprint("t", i), 50_000, way, pool)
		if err != nil || a.PDU.Response != pdu.Ok {
			t.Fatalf("%s: %+v, %v", way.Name, a, err)
		}
	}
	// the files are replaced: a client that trusts only the new pair is served soon, without a reload
	_, _, fresh := pair(t, dir, "mms.example.net")
	await(t, "the new certificate", func() bool {
		a, err := post("new", 100, handsets.Fast, fresh)
		return err == nil && a.Status == 200
	})
}

func TestHold(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		status mms.Status
		result string
		want   byte
	}{{"accepted", nil, 0x80, "held", pdu.Ok}, {"store down", errors.New("disk"), 0, "refused", pdu.TransientNet}} {
		t.Run(c.name, func(t *testing.T) {
			type holding struct {
				h    proxy.Held
				body []byte
			}
			calls := make(chan holding, 1)
			b := start(t, 1, func(cfg *proxy.Config, o *proxy.Options) {
				cfg.WhenAllDown = "hold"
				o.Hold = func(_ context.Context, h proxy.Held) ([]byte, error) {
					got, err := io.ReadAll(h.Body)
					if err != nil {
						return nil, err
					}
					calls <- holding{h, got}
					return mms.SendConf{TransactionID: h.Transaction, Version: 0x92, Status: c.status, MessageID: "h1@r1"}.Append(nil), c.err
				}
			})
			b.verdict("a", false)
			body := pdu.SendReq("t1", 200_000)
			a := b.post(b.handset(me("+46701111111")), body)
			if held := <-calls; a.PDU.Response != c.want || !bytes.Equal(held.body, body) || held.h.Subscriber != "+46701111111" {
				t.Fatalf("answer %+v, %d octets held for %q", a.PDU, len(held.body), held.h.Subscriber)
			}
			if f := b.fate("t1", 1); f[0].Result != c.result {
				t.Fatalf("fate %+v", f)
			}
		})
	}
}

func TestReloadKeepsConnections(t *testing.T) {
	b := start(t, 2, nil)
	h := b.handset()
	b.post(h, pdu.SendReq("t1", 100))
	cfg := b.cfg
	cfg.MaxMessage = 50 << 10
	cfg.RefuseWith = "503"
	cfg.Listen = append(cfg.Listen, "127.0.0.2:0")
	if err := b.p.Reload(cfg, b.ups[:1]); err != nil {
		t.Fatal(err)
	}
	if n := len(b.p.Addrs()); n != 2 {
		t.Fatalf("%d listeners", n)
	}
	if a := b.post(h, pdu.SendReq("t2", 100)); a.PDU.Response != pdu.Ok || a.Close {
		t.Fatalf("the old connection got %+v", a)
	}
	other := handsets.New(handsets.Options{Addr: b.p.Addrs()[1].String()})
	defer other.Close()
	if a, err := other.Post(context.Background(), pdu.SendReq("t3", 60<<10), handsets.Fast); err != nil || a.PDU.Response != pdu.TooLarge && a.Status != 413 {
		t.Fatalf("on the new listener: %+v, %v", a, err)
	}
	bad := cfg
	bad.Listen = []string{"127.0.0.1:0", "192.0.2.1:80"}
	if err := b.p.Reload(bad, b.ups); err == nil || !strings.Contains(err.Error(), "mm1.listen: 192.0.2.1:80") {
		t.Fatalf("error %v", err)
	}
	bad = cfg
	bad.WhenAllDown = "wait"
	if err := b.p.Reload(bad, b.ups); err == nil {
		t.Fatal("a faulty configuration was taken")
	}
	if a := b.post(h, pdu.SendReq("t4", 100)); a.PDU.Response != pdu.Ok {
		t.Fatalf("after faulty reloads: %+v", a)
	}
}

func TestDrainFinishesWhatIsInFlight(t *testing.T) {
	b := start(t, 1, nil)
	idle := b.handset()
	b.post(idle, pdu.SendReq("t0", 100))
	hold := make(chan struct{})
	slow := fakemmsc.Accept()
	slow.Hold = hold
	b.mmscs[0].Behave(slow)
	answers := make(chan handsets.Answer, 1)
	go func() {
		a, err := b.handset().Post(context.Background(), pdu.SendReq("t1", 100), handsets.Fast)
		if err != nil {
			t.Error(err)
		}
		answers <- a
	}()
	await(t, "one in flight", func() bool { return b.mmscs[0].Counts().Wholes == 2 })
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if n := b.p.Drain(ended); n == 0 {
		t.Fatal("nothing is left while a message is in flight")
	}
	left := make(chan int, 1)
	go func() { left <- b.p.Drain(context.Background()) }()
	close(hold)
	if a := <-answers; a.PDU.Response != pdu.Ok || !a.Close {
		t.Fatalf("the last answer: %+v", a)
	}
	if n := <-left; n != 0 {
		t.Fatalf("%d clients left", n)
	}
	if nc, err := net.Dial("tcp", b.addr); err == nil {
		nc.Close()
		t.Fatal("a drained router accepts")
	}
}

func TestStopEndsAtOnce(t *testing.T) {
	b := start(t, 1, nil)
	b.mmscs[0].Behave(fakemmsc.Behaviour{Break: fakemmsc.Stall, At: fakemmsc.AtWhole})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = b.handset().Post(context.Background(), pdu.SendReq("t1", 100), handsets.Fast) // it breaks
	}()
	await(t, "one in flight", func() bool { return b.mmscs[0].Counts().Wholes == 1 })
	begun := time.Now()
	b.end()
	<-b.done
	<-gone
	if d := time.Since(begun); d > 3*time.Second {
		t.Fatalf("it took %s", d)
	}
}
