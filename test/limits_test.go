package test_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// Uploads that outgrow memory are kept in a file, and replayed from there as well as from memory.
func TestReplayFromFile(t *testing.T) {
	for _, c := range []struct {
		name string
		b    fakemmsc.Behaviour
	}{
		{"dies at the end", fakemmsc.SwallowAndDie(fakemmsc.RST)},
		{"dies inside", fakemmsc.Die(fakemmsc.RST, 700_000)},
		{"refuses", fakemmsc.Refuse(503)},
		{"refuses transiently", fakemmsc.Say(pdu.Transient)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, "replay: {message: 64KiB, total: 1MiB}", "ambiguous_wait: 100ms")
			p.a.Behave(c.b)
			l := handsets.Run(t.Context(), handsets.Plan{Handset: handsets.Options{Addr: p.r.MM1, Timeout: 60 * time.Second}, Handsets: 6, Messages: 12,
				Sizes: []int{60_000, 64 << 10, 70_000, 400_000, 1_500_000, 5_000_000}, Prefix: "s",
				Ways: []handsets.Way{handsets.Fast, handsets.Chunked}})
			bal := l.Balance(p.a.Records(), p.b.Records())
			if bal.Accepted != 12 || bal.Copies > 0 || bal.Faults() != "" {
				t.Errorf("balance: %v", bal)
			}
			if n := p.r.Metric("mmsrouter_proxy_replay_spilled_total"); n == 0 {
				t.Error("nothing went to a file: the story tells of memory only")
			}
			p.r.Await("memory given back", func() bool { return p.r.Metric("mmsrouter_proxy_replay_memory_bytes") == 0 })
			left, err := os.ReadDir(filepath.Join(p.r.Dir, "data", "uploads"))
			if err != nil || len(left) > 0 {
				t.Errorf("files are left: %v, %v", left, err)
			}
		})
	}
}

// All attempts together end at mm1.deadline, with an answer that lets the phone try again.
func TestDeadline(t *testing.T) {
	p := newPair(t, "deadline: 1500ms", "timeouts: {answer: 20s}")
	p.a.Behave(fakemmsc.SwallowAndDie(fakemmsc.Stall))
	p.b.Behave(fakemmsc.SwallowAndDie(fakemmsc.Stall))
	h := p.handset()
	defer h.Close()
	start := time.Now()
	a, err := h.Post(t.Context(), pdu.SendReq("late", 30_000), handsets.Fast)
	if o, why := handsets.Judge("late", a, err); o != handsets.Transient {
		t.Errorf("%s %s", o, why)
	}
	if d := time.Since(start); d < 1400*time.Millisecond || d > 15*time.Second {
		t.Errorf("the answer came after %s, the deadline is 1.5 s", d)
	}
}

// Live traffic takes an MMSC out that probes find well, and never the last one.
func TestDetectionFromTraffic(t *testing.T) {
	a, b := fake(t, "mmsc-a"), fake(t, "mmsc-b")
	r := appliance.Start(t, appliance.Setup{
		Detection: []string{"probe: {type: tcp, interval: 1m, timeout: 10s, rise: 1, fall: 3}", "slow_start: 0s", "passive: {fall: 3, hold: 1m, max_hold: 1m}"},
		MMSCs:     []appliance.MMSC{{Name: "mmsc-a", URL: a.URL()}, {Name: "mmsc-b", URL: b.URL()}}})
	a.Behave(fakemmsc.Refuse(404))
	h := handsets.New(handsets.Options{Addr: r.MM1, Timeout: 10 * time.Second})
	defer h.Close()
	for i := range 12 {
		submit(t, h, fmt.Sprint("e", i), 1000)
	}
	if s := r.State("mmsc-a"); s != "down" {
		t.Errorf("mmsc-a is %s after it answered 404 to every message", s)
	}
	// a probe may bring it back once: then it is out again after as many failures, and for long
	for i := range 60 {
		submit(t, h, fmt.Sprint("g", i), 1000)
	}
	if n := a.Counts().Heads; n > 12 {
		t.Errorf("an MMSC that answers 404 got %d of 72 messages", n)
	}
	b.Behave(fakemmsc.Refuse(404))
	for i := range 10 {
		tid := fmt.Sprint("l", i)
		an, err := h.Post(t.Context(), pdu.SendReq(tid, 1000), handsets.Fast)
		if o, why := handsets.Judge(tid, an, err); o != handsets.Transient {
			t.Errorf("%s: %s %s", tid, o, why)
		}
	}
	if s := r.State("mmsc-b"); s != "up" {
		t.Error("live traffic took the last MMSC out")
	}
}

// No more requests than in_flight at one MMSC; the others wait, none fails.
func TestInFlightLimit(t *testing.T) {
	a := fake(t, "mmsc-a")
	r := appliance.Start(t, appliance.Setup{MM1: []string{"timeouts: {queue: 30s}"}, MMSCs: []appliance.MMSC{{Name: "mmsc-a", URL: a.URL(), More: "in_flight: 3"}}})
	var mu sync.Mutex
	now, most := 0, 0
	a.Behave(fakemmsc.Behaviour{Store: true, Answer: func(q *fakemmsc.Request) fakemmsc.Reply {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		time.Sleep(2 * time.Millisecond) // the MMSC's own work
		mu.Lock()
		now--
		mu.Unlock()
		return fakemmsc.Conf(pdu.Ok)(q)
	}})
	l := handsets.Run(t.Context(), handsets.Plan{Handset: handsets.Options{Addr: r.MM1, Timeout: 60 * time.Second}, Handsets: 20, Messages: 100, Sizes: []int{1000, 30_000}, Prefix: "q"})
	if bal := l.Balance(a.Records()); bal.Accepted != 100 || bal.Copies > 0 || bal.Faults() != "" {
		t.Errorf("balance: %v", bal)
	}
	if most > 3 {
		t.Errorf("%d requests at a time, in_flight is 3", most)
	}
}

// certificate writes a certificate for the MMS domain that is its own authority, and its key.
func certificate(t *testing.T, dir, name string, serial int64) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"mms.example.net"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for f, b := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: kb}} {
		if err := os.WriteFile(f, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// Over TLS on both sides, certificates read again when the files change.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert := func(name string, serial int64) (certFile, keyFile string) { return certificate(t, dir, name, serial) }
	doorCert, doorKey := cert("door", 1)
	mmscCert, mmscKey := cert("mmsc", 2)
	back := fake(t, "mmsc-a")
	pair, err := tls.LoadX509KeyPair(mmscCert, mmscKey)
	if err != nil {
		t.Fatal(err)
	}
	front, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	go terminate(front, back.Addr())
	r := appliance.Start(t, appliance.Setup{MM1: []string{fmt.Sprintf("tls: {cert: %q, key: %q}", doorCert, doorKey)},
		MMSCs: []appliance.MMSC{{Name: "mmsc-a", URL: "https://" + front.Addr().String() + "/", More: fmt.Sprintf("ca: %q, server_name: mms.example.net", mmscCert)}}})
	serial := func() int64 {
		c, err := tls.Dial("tcp", r.MM1, &tls.Config{InsecureSkipVerify: true}) // which certificate it is, is the question
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	ca := x509.NewCertPool()
	text, err := os.ReadFile(doorCert)
	if err != nil || !ca.AppendCertsFromPEM(text) {
		t.Fatal("no authority", err)
	}
	h := handsets.New(handsets.Options{Addr: r.MM1, Timeout: 20 * time.Second, TLS: &tls.Config{RootCAs: ca, ServerName: "mms.example.net"}})
	defer h.Close()
	var l handsets.Ledger
	for i, size := range []int{300, 30_000, 300_000, 2_000_000} {
		for _, way := range []handsets.Way{handsets.Fast, handsets.Chunked} {
			tid := fmt.Sprintf("t%d%s", i, way.Name)
			body := pdu.SendReq(tid, size)
			a, err := h.Post(t.Context(), body, way)
			if s := l.Note(tid, body, way, a, err, 0); s.Outcome != handsets.Accepted {
				t.Errorf("%d octets, %s: %s %s", size, way.Name, s.Outcome, s.Detail)
			}
		}
	}
	if b := l.Balance(back.Records()); b.Stored != 8 || b.Faults() != "" || b.Copies > 0 {
		t.Errorf("balance: %v", b)
	}
	if n := serial(); n != 1 {
		t.Errorf("certificate %d", n)
	}
	cert("door", 3) // the same files, another certificate
	later := time.Now().Add(5 * time.Second)
	for _, f := range []string{doorCert, doorKey} {
		if err := os.Chtimes(f, later, later); err != nil { // a coarse clock must not hide the change
			t.Fatal(err)
		}
	}
	r.Await("the new certificate", func() bool { return serial() == 3 })
}

// terminate takes TLS off and passes everything on, until its listener closes.
func terminate(ln net.Listener, to string) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			up, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer up.Close()
			go func() {
				defer up.Close()
				io.Copy(up, c) // ends with either side
			}()
			io.Copy(c, up) // likewise
		}()
	}
}

// When every MMSC is down the embedded one takes over, if it is told to.
func TestEmbeddedTakesOver(t *testing.T) {
	for _, mode := range []string{"local", "hold"} {
		t.Run(mode, func(t *testing.T) {
			a := fake(t, "mmsc-a")
			r := appliance.Start(t, appliance.Setup{MM1: []string{"when_all_down: " + mode}, Detection: appliance.Alert,
				MMSCs: []appliance.MMSC{{Name: "mmsc-a", URL: a.URL()}}, Top: []string{"mmsc: {enabled: true}"}})
			h := handsets.New(handsets.Options{Addr: r.MM1, Timeout: 30 * time.Second, Header: [][2]string{{"X-MSISDN", "46701234567"}}})
			defer h.Close()
			submit(t, h, "before", 30_000)
			if n := a.Counts().Stored; n != 1 {
				t.Errorf("the MMSC stored %d", n)
			}
			a.Down()
			r.AwaitState("mmsc-a", "down")
			for i, size := range []int{1000, 30_000, 300_000, 3_000_000} {
				submit(t, h, fmt.Sprint(mode, i), size)
			}
			if err := a.Up(); err != nil {
				t.Fatal(err)
			}
			r.AwaitState("mmsc-a", "up")
			if mode == "hold" { // what was held goes to the MMSC that is back
				await(t, a, "the held messages", func(k fakemmsc.Counts) bool { return k.Stored >= 5 })
				if n := a.Counts().Stored; n != 5 {
					t.Errorf("the MMSC stored %d messages, want 5", n)
				}
			}
			submit(t, h, "after", 30_000)
		})
	}
}
