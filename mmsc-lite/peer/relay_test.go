package peer_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/peer"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// TestRetrieve: fetched once, served to each request from then on, by location and subscriber, also after a restart.
func TestRetrieve(t *testing.T) {
	b, dir := newSender(t), pgtest.TempDir(t)
	a := newServer(t, dir, "", quick(b))
	want := message("to /m/1")
	for _, form := range []string{b.at("/m/1"), "/relay?location=" + url.QueryEscape(b.at("/m/1")), b.at("/m/1")} {
		code, header, got := a.do(t, http.MethodGet, bob, form, nil)
		if code != 200 || !bytes.Equal(got, want) || header.Get("Content-Type") != mediaType {
			t.Errorf("GET %s: %d %q", form, code, got)
		}
	}
	if n := len(b.requests()); n != 1 {
		t.Errorf("the sender's server was asked %d times: %q", n, b.requests())
	}
	if code, got := a.get(t, alice, b.at("/m/1")); code != 200 || !bytes.Equal(got, want) || len(b.requests()) != 2 {
		t.Errorf("for somebody else: %d, asked %q", code, b.requests())
	}
	a.stop()
	a = newServer(t, dir, "", quick(b))
	b.Close()
	if code, got := a.get(t, bob, b.at("/m/1")); code != 200 || !bytes.Equal(got, want) {
		t.Errorf("after a restart, with the sender's server gone: %d %q", code, got)
	}
	if code, header, got := a.do(t, http.MethodHead, bob, b.at("/m/1"), nil); code != 200 || len(got) != 0 || header.Get("Content-Length") != fmt.Sprint(len(want)) {
		t.Errorf("HEAD: %d %v", code, header)
	}
	if got := a.reached(); len(got) != 0 {
		t.Errorf("the MM1 door got %q", got)
	}
}

// TestLarge: many rows, octet for octet.
func TestLarge(t *testing.T) {
	b := newSender(t)
	want := message(strings.Repeat("octets ", 300_000))
	b.set(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(want) }) // chunked: nothing but its form says that it is whole
	a := newServer(t, "", "", quick(b))
	for range 2 {
		if code, got := a.get(t, bob, b.at("/m/1")); code != 200 || !bytes.Equal(got, want) {
			t.Fatalf("%d, %d octets", code, len(got))
		}
	}
	c := quick(b)
	c.MaxMessage = 1 << 20
	if err := a.Reload(c); err != nil {
		t.Fatal(err)
	}
	if code, got := a.get(t, bob, b.at("/m/2")); code != 200 || status(t, got) != mms.RetrievePermanentContentUnsupport {
		t.Errorf("too large: %d", code)
	}
}

// TestNothingElse: a handset can't make us ask for anything but listed operators' locations.
func TestNothingElse(t *testing.T) {
	b := newSender(t)
	a := newServer(t, "", "", quick(b))
	port := ":" + b.port
	for _, location := range []string{
		"http://evil.example" + port + "/m/1", "http://mms.b.example/m/1", "http://mms.b.example:22/m/1", "https://mms.b.example/m/1",
		b.at("/admin"), b.at("/m/../admin"), b.at("/m/%2e%2e/admin"), "http://user@mms.b.example" + port + "/m/1", "http://mms.b.example" + port + "@evil.example/m/1",
		"http://evil.example/?http://mms.b.example" + port + "/m/1", "http://mms.b.example.evil.example" + port + "/m/1", "http://127.0.0.2" + port + "/m/1",
		"http://[::1]" + port + "/m/1", "http://[::ffff:127.0.0.2]" + port + "/m/1", "http://2130706434" + port + "/m/1", "file:///etc/passwd", "gopher://mms.b.example" + port + "/m/1",
		"http:mms.b.example", "//mms.b.example" + port + "/m/1", "/m/1", "", "http://mms.b.example" + port + "\\@evil.example/m/1", b.at("/m/1#f"), b.at("/m/1\r\nX: y"),
		b.at("/relay?location=x"), "http://mms.b.example" + port + "/m/" + strings.Repeat("x", 3000), "http://localhost" + port + "/m/1",
	} {
		if code, got := a.get(t, bob, "/relay?location="+url.QueryEscape(location)); code != http.StatusForbidden {
			t.Errorf("%.80q: %d %q", location, code, got)
		}
	}
	for _, query := range []string{"", "?location=", "?location=" + url.QueryEscape(b.at("/m/1")) + "&location=x", "?location=%zz"} {
		if code, _ := a.get(t, bob, "/relay"+query); code != http.StatusForbidden {
			t.Errorf("%q: %d", query, code)
		}
	}
	if code, got := a.get(t, bob, "http://two.b.example"+port+"/m/1"); code != 200 || status(t, got) != mms.RetrieveTransientNetworkProblem {
		t.Errorf("a listed name outside the operator's networks: %d %q", code, got)
	}
	if got := b.requests(); len(got) != 0 {
		t.Errorf("asked: %q", got)
	}
	// What names nobody's server in absolute form is for us: the MM1 door never asks anybody.
	if code, _ := a.get(t, bob, "http://mms.a.example/m/7"); code != 200 {
		t.Errorf("our own location: %d", code)
	}
	if code, _ := a.get(t, bob, "/relay?location="+url.QueryEscape("http://mms.a.example/m/8?x=1")); code != 200 {
		t.Errorf("our own location by /relay: %d", code)
	}
	if got := fmt.Sprint(a.reached()); got != "[GET http://mms.a.example/m/7  GET /m/8?x=1 ]" && got != "[GET /m/7  GET /m/8?x=1 ]" {
		t.Errorf("the MM1 door got %s", got)
	}
}

// TestAnswers: what the sender's server says, and what the handset is told.
func TestAnswers(t *testing.T) {
	ok := message("hello")
	pdu := func(s mms.Status) []byte { return mms.RetrieveError{Status: s, Text: "theirs"}.Append(nil) }
	for _, c := range []struct {
		name  string
		serve http.HandlerFunc
		want  mms.Status
		asked int // 0: more than once
	}{
		{"404", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }, mms.RetrievePermanentMessageNotFound, 1},
		{"410", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(410) }, mms.RetrievePermanentMessageNotFound, 1},
		{"403", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) }, mms.RetrievePermanentServiceDenied, 1},
		{"503", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }, mms.RetrieveTransientNetworkProblem, 0},
		{"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://evil.example/m/1", 302) }, mms.RetrieveTransientNetworkProblem, 1},
		{"a page", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("<html>")) }, mms.RetrieveTransientNetworkProblem, 0},
		{"empty", func(w http.ResponseWriter, r *http.Request) {}, mms.RetrieveTransientNetworkProblem, 0},
		{"another PDU", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(mms.NotifyResp{TransactionID: "x", Status: mms.Retrieved}.Append(nil))
		}, mms.RetrieveTransientNetworkProblem, 0},
		{"cut", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(ok)))
			_, _ = w.Write(ok[:len(ok)-3])
			panic(http.ErrAbortHandler)
		}, mms.RetrieveTransientNetworkProblem, 0},
		{"cut without a length", func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(ok[:len(ok)-3])
		}, mms.RetrieveTransientNetworkProblem, 0},
		{"its own permanent status", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(pdu(mms.RetrievePermanentContentUnsupport))
		}, mms.RetrievePermanentContentUnsupport, 1},
		{"its own transient status", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(pdu(mms.RetrieveTransientMessageNotFound))
		}, mms.RetrieveTransientMessageNotFound, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newSender(t)
			b.set(c.serve)
			cfg := quick(b)
			cfg.Timeout, cfg.Deadline, cfg.Pause = 100*time.Millisecond, 300*time.Millisecond, 20*time.Millisecond
			a := newServer(t, "", "", cfg)
			code, got := a.get(t, bob, b.at("/m/1"))
			if code != 200 || status(t, got) != c.want {
				t.Errorf("%d, status %s", code, status(t, got).RetrieveString())
			}
			if n := len(b.requests()); c.asked == 1 && n != 1 || c.asked == 0 && n < 2 {
				t.Errorf("asked %d times", n)
			}
			b.set(nil) // none of that was kept
			if code, got := a.get(t, bob, b.at("/m/1")); code != 200 || !bytes.Equal(got, message("to /m/1")) {
				t.Errorf("afterwards: %d %q", code, got)
			}
		})
	}
}

// TestDownAndBack: the sender's server answers the second attempt; the handset notices nothing.
func TestDownAndBack(t *testing.T) {
	b := newSender(t)
	b.set(func(w http.ResponseWriter, r *http.Request) {
		b.set(nil)
		panic(http.ErrAbortHandler)
	})
	a := newServer(t, "", "", quick(b))
	if code, got := a.get(t, bob, b.at("/m/1")); code != 200 || !bytes.Equal(got, message("to /m/1")) {
		t.Errorf("%d %q", code, got)
	}
	if n := len(b.requests()); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

// TestTogether: who asks for the same at the same time waits for the one retrieval; others beyond the limit are told to try again.
func TestTogether(t *testing.T) {
	b := newSender(t)
	release := make(chan struct{})
	b.set(func(w http.ResponseWriter, r *http.Request) {
		<-release
		_, _ = w.Write(message("one"))
	})
	cfg := quick(b)
	cfg.InFlight, cfg.PerSubscriber = 2, 1
	a := newServer(t, "", "", cfg)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if code, got := a.get(t, bob, b.at("/m/1")); code != 200 || !bytes.Equal(got, message("one")) {
				t.Errorf("%d %q", code, got)
			}
		})
	}
	for len(b.requests()) == 0 {
		<-time.After(time.Millisecond)
	}
	if code, got := a.get(t, bob, b.at("/m/2")); code != 200 || mms.RetrieveClass(status(t, got)) != mms.Transient {
		t.Errorf("a second one of the same subscriber: %d %q", code, got)
	}
	close(release)
	wg.Wait()
	if n := len(b.requests()); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestPassedBack: what the handset says reaches the sender's server, wherever it was posted, even if that is down meanwhile.
func TestPassedBack(t *testing.T) {
	b := newSender(t)
	a := newServer(t, "", "", quick(b))
	for _, path := range []string{"/m/1", "/m/2"} {
		if code, _ := a.get(t, bob, b.at(path)); code != 200 {
			t.Fatal(code)
		}
	}
	notifyResp := func(tid string, s mms.MessageStatus) []byte {
		return mms.NotifyResp{TransactionID: tid, Status: s}.Append(nil)
	}
	// To the location, before it was ever asked for.
	if code := a.post(t, bob, b.at("/m/3"), notifyResp("n3", mms.Rejected)); code != 200 {
		t.Errorf("to the location: %d", code)
	}
	if p := b.await(t, 1); string(p.TransactionID()) != "n3" || p.Status() != mms.Rejected {
		t.Errorf("passed back %+v", p)
	}
	if got := b.requests(); got[len(got)-1] != "POST /m/3" {
		t.Errorf("asked %q", got)
	}
	if code := a.post(t, bob, "/relay?location="+url.QueryEscape(b.at("/m/2")), notifyResp("n2", mms.Retrieved)); code != 200 {
		t.Errorf("to the location by /relay: %d", code)
	}
	b.await(t, 2)
	// To our own URL, with the id of the M-Retrieve.conf, while the sender's server is down.
	failures := 0
	b.set(func(w http.ResponseWriter, r *http.Request) {
		if failures++; failures == 3 {
			b.set(nil)
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	ack := mms.Acknowledge{TransactionID: "r1"}.Append(nil)
	for range 2 { // the second one is heard no more than once
		if code := a.post(t, bob, "/", ack); code != 200 {
			t.Errorf("to our own URL: %d", code)
		}
	}
	if p := b.await(t, 3); p.Type != mms.MAcknowledgeInd || string(p.TransactionID()) != "r1" {
		t.Errorf("passed back %+v", p)
	}
	read := mms.ReadReport{Type: mms.MReadRecInd, MessageID: "id1@mms.b.example", To: alice, From: bob, Date: time.Now(), Status: mms.Read}.Append(nil)
	if code := a.post(t, bob, "/", read); code != 200 {
		t.Errorf("read report: %d", code)
	}
	if p := b.await(t, 4); p.Type != mms.MReadRecInd || p.MessageID() != "id1@mms.b.example" {
		t.Errorf("passed back %+v", p)
	}
	if got := a.reached(); len(got) != 0 {
		t.Errorf("the MM1 door got %q", got)
	}
}

// TestQueueOutlivesRestart: what was confirmed is passed back by the next process.
func TestQueueOutlivesRestart(t *testing.T) {
	b, dir := newSender(t), pgtest.TempDir(t)
	b.set(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	a := newServer(t, dir, "", quick(b))
	const n = 50
	for i := range n {
		if code := a.post(t, bob, b.at(fmt.Sprint("/m/", i)), mms.NotifyResp{TransactionID: fmt.Sprint("t", i), Status: mms.Rejected}.Append(nil)); code != 200 {
			t.Fatal(code)
		}
	}
	a.stop()
	b.set(nil)
	newServer(t, dir, "", quick(b))
	seen := map[string]int{}
	for i := range n {
		seen[string(b.await(t, i+1).TransactionID())]++
	}
	if len(seen) != n {
		t.Errorf("%d of %d passed back: %v", len(seen), n, seen)
	}
}

// TestOtherIDs: where notification and M-Retrieve.conf have different ids, the one message that the subscriber has just got is meant; the MM1 door is
// asked too, since the indication may be its own.
func TestOtherIDs(t *testing.T) {
	b := newSender(t)
	a := newServer(t, "", "", quick(b))
	if code, _ := a.get(t, bob, b.at("/m/1")); code != 200 {
		t.Fatal(code)
	}
	resp := mms.NotifyResp{TransactionID: "other", Status: mms.Retrieved}.Append(nil)
	if code := a.post(t, alice, "/", resp); code != 200 || len(a.reached()) != 1 {
		t.Errorf("somebody else's: %d, MM1 door %q", code, a.reached())
	}
	if code := a.post(t, bob, "/", resp); code != 200 || len(a.reached()) != 2 || a.reached()[1] != "POST / "+string(resp) {
		t.Errorf("%d, MM1 door %q", code, a.reached())
	}
	if p := b.await(t, 1); string(p.TransactionID()) != "other" {
		t.Errorf("passed back %+v", p)
	}
	if code := a.post(t, bob, "/", mms.NotifyResp{TransactionID: "next", Status: mms.Retrieved}.Append(nil)); code != 200 || len(a.reached()) != 3 {
		t.Errorf("one more: %d", code)
	}
	if got := b.requests(); len(got) != 2 {
		t.Errorf("asked %q: the message was answered already", got)
	}
}

// TestOthers: everything else reaches the MM1 door as it came.
func TestOthers(t *testing.T) {
	b := newSender(t)
	a := newServer(t, "", "", quick(b))
	send := append(mms.SendReq{TransactionID: "t", To: []string{bob}}.AppendHead(nil), bytes.Repeat([]byte("x"), 300_000)...)
	long := mms.NotifyResp{TransactionID: strings.Repeat("t", 70_000), Status: mms.Retrieved}.Append(nil)
	for _, c := range []struct {
		name string
		body []byte
	}{
		{"M-Send.req", send}, {"unknown M-NotifyResp.ind", mms.NotifyResp{TransactionID: "t", Status: mms.Retrieved}.Append(nil)},
		{"too long an indication", long}, {"broken", []byte{0x8C, 0x83, 0x98}}, {"one octet", []byte{0x8C}}, {"empty", nil},
	} {
		before := len(a.reached())
		if code := a.post(t, bob, "/path?q", c.body); code != 200 {
			t.Errorf("%s: %d", c.name, code)
		}
		if got := a.reached(); len(got) != before+1 || got[before] != "POST /path?q "+string(c.body) {
			t.Errorf("%s: MM1 door got %d octets", c.name, len(got[before]))
		}
		if c.name == "unknown M-NotifyResp.ind" {
			continue
		}
		if code := a.post(t, bob, b.at("/m/1"), c.body); code/100 != 4 {
			t.Errorf("%s to a peer: %d", c.name, code)
		}
	}
	if got := b.requests(); len(got) != 0 {
		t.Errorf("asked %q", got)
	}
}

// TestBetweenPeers: tokens both ways.
func TestBetweenPeers(t *testing.T) {
	b := newSender(t)
	cfg := quick(b)
	cfg.Operators[0].Token, cfg.Operators[0].Expect = "ours", "theirs"
	from := netip.MustParseAddr("10.1.1.1")
	a := newServer(t, "", "", cfg, func(o *peer.Options) { o.Client = func(*http.Request) netip.Addr { return from } })
	if code, _ := a.get(t, bob, b.at("/m/1")); code != 200 || b.header.Get("Authorization") != "Bearer ours" || b.header.Get(identity) != "" {
		t.Errorf("%d, sent %v", code, b.header)
	}
	from = netip.MustParseAddr("127.0.0.1")
	for token, want := range map[string]int{"": 403, "Bearer ours": 403, "theirs": 403, "Bearer theirs": 200} {
		r := httptest.NewRequest(http.MethodGet, "/m/1", nil)
		r.Header.Set("Authorization", token)
		w := httptest.NewRecorder()
		a.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d", token, w.Code)
		}
	}
}

// TestIdentity: with require_identity nobody fetches without a name.
func TestIdentity(t *testing.T) {
	b := newSender(t)
	cfg := quick(b)
	a := newServer(t, "", "", cfg)
	if code, got := a.get(t, "", b.at("/m/1")); code != 200 || !bytes.Equal(got, message("to /m/1")) {
		t.Errorf("%d", code)
	}
	cfg.RequireIdentity = true
	if err := a.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if code, _ := a.get(t, "", b.at("/m/1")); code != 403 {
		t.Errorf("without a name: %d", code)
	}
}

// TestStoreGone: nothing is served that is not kept, nothing confirmed that is not queued.
func TestStoreGone(t *testing.T) {
	b := newSender(t)
	dir := pgtest.TempDir(t)
	var st peer.Store
	a := newServer(t, dir, "", quick(b), func(o *peer.Options) { st = o.Store })
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if code, _ := a.get(t, bob, b.at("/m/1")); code != 503 {
		t.Errorf("GET: %d", code)
	}
	if code := a.post(t, bob, b.at("/m/1"), mms.NotifyResp{TransactionID: "t", Status: mms.Retrieved}.Append(nil)); code != 503 {
		t.Errorf("POST: %d", code)
	}
	if _, err := os.Stat(dir + "/peer.db"); err != nil {
		t.Error(err)
	}
}
