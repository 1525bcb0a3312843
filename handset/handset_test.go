package handset_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// TestBySMS: two segments over SMPP, GET, folder, M-NotifyResp.ind.
func TestBySMS(t *testing.T) {
	m := newMMSC(t)
	dir := t.TempDir()
	l := start(t, handset.Options{SMPP: "127.0.0.1:0", Dir: dir, URL: m.URL + "/mms", Header: []string{"X-MSISDN: ##LINE1##"}})
	pdu := message(t, nil, text("Hello, Bob"), wsp.Part{ContentType: wsp.Media("image/jpeg"), Data: []byte("\xFF\xD8picture")})
	push := m.keep("/m/1", pdu, func(n *mms.Notification) { n.Subject = strings.Repeat("A long subject. ", 8) })
	if len(push) < 140 {
		t.Fatal("the push fits into one SMS")
	}
	bind(t, l).push(bob, push)
	l.await(handset.Settled, 1)
	if k := l.kinds(); k != "notified stored indicated settled" {
		t.Errorf("events: %s", k)
	}
	n, s := l.await(handset.Notified, 1), l.await(handset.Stored, 1)
	if n.Number != bob || n.Transaction != "t/m/1" || n.Location != m.URL+"/m/1" || n.From != alice+"/TYPE=PLMN" || n.Size != int64(len(pdu)) || !strings.HasPrefix(n.Subject, "A long") {
		t.Errorf("notified: %+v", n)
	}
	if s.From != alice+"/TYPE=PLMN" || s.Subject != "Hello" || s.Size != int64(len(pdu)) || s.Parts != 2 || s.MessageID != "id1@mmsc.example.net" || filepath.Dir(s.Folder) != filepath.Join(dir, "46701740606") {
		t.Errorf("stored: %+v", s)
	}
	f := files(t, s.Folder)
	if f["message.mms"] != string(pdu) || f["hello.txt"] != "Hello, Bob" || f["part-2.jpg"] != "\xFF\xD8picture" || !strings.Contains(f["message.json"], `"m-retrieve-conf"`) || len(f) != 4 {
		t.Errorf("files: %q", f)
	}
	if r := m.requests(); r != "GET /m/1, POST /mms" {
		t.Errorf("requests: %s", r)
	}
	if h := m.header.Get("X-MSISDN"); h != bob {
		t.Errorf("X-MSISDN %q", h)
	}
	wantPosts(t, m, "m-notifyresp-ind t/m/1 Retrieved")
}

func TestByUDP(t *testing.T) {
	m := newMMSC(t)
	l := start(t, handset.Options{Numbers: []string{alice, bob}, UDP: []string{"127.0.0.1:0", "127.0.0.1:0"}})
	for i, number := range []string{alice, bob} {
		c, err := net.Dial("udp", l.UDPAddr(i).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(m.keep(fmt.Sprintf("/u/%d", i), message(t, nil, text("by UDP")))); err != nil {
			t.Fatal(err)
		}
		l.await(handset.Settled, i+1)
		if e := l.await(handset.Stored, i+1); e.Number != number || e.Folder != "" {
			t.Errorf("stored: %+v", e)
		}
	}
	// No MMSC is configured: the indications go where the messages were.
	if r := m.requests(); r != "GET /u/0, POST /u/0, GET /u/1, POST /u/1" {
		t.Errorf("requests: %s", r)
	}
}

func TestModes(t *testing.T) {
	t.Run("reject", func(t *testing.T) {
		m := newMMSC(t)
		l := start(t, handset.Options{URL: m.URL, Mode: handset.Reject, DenyReports: true})
		if err := l.Push(bob, m.keep("/m/1", message(t, nil, text("x")))); err != nil {
			t.Fatal(err)
		}
		l.await(handset.Settled, 1)
		p := wantPosts(t, m, "m-notifyresp-ind t/m/1 Rejected")
		if p[0].Flag(mms.FieldReportAllowed, true) || l.kinds() != "notified rejected indicated settled" {
			t.Errorf("reports are allowed, or %s", l.kinds())
		}
	})
	t.Run("deferred, fetched when asked", func(t *testing.T) {
		m := newMMSC(t)
		l := start(t, handset.Options{URL: m.URL, Mode: handset.Deferred})
		push := m.keep("/m/1", message(t, nil, text("x")))
		l.Push(bob, push)
		l.await(handset.Settled, 1)
		l.Push(bob, push) // it waits: nothing happens
		l.await(handset.Duplicate, 1)
		wantPosts(t, m, "m-notifyresp-ind t/m/1 Deferred")
		if err := l.Fetch(t.Context(), bob, "t/m/2"); err == nil {
			t.Error("what nobody knows is fetched")
		}
		if err := l.Fetch(t.Context(), bob, "t/m/1"); err != nil {
			t.Fatal(err)
		}
		wantPosts(t, m, "m-notifyresp-ind t/m/1 Deferred", "m-acknowledge-ind r1")
		if err := l.Fetch(t.Context(), bob, "t/m/1"); err == nil {
			t.Error("fetched twice")
		}
	})
	t.Run("deferred, fetched later", func(t *testing.T) {
		m := newMMSC(t)
		l := start(t, handset.Options{URL: m.URL, Mode: handset.Deferred, FetchAfter: time.Millisecond})
		l.Push(bob, m.keep("/m/1", message(t, func(r *mms.Retrieve) { r.TransactionID = "" }, text("x"))))
		l.await(handset.Settled, 1)
		wantPosts(t, m, "m-notifyresp-ind t/m/1 Deferred") // who sends no transaction id wants no acknowledgement
		l.await(handset.Stored, 1)
	})
}

// TestProxy: an MMS proxy gets the whole URL, of a host that nobody can resolve here.
func TestProxy(t *testing.T) {
	m := newMMSC(t)
	l := start(t, handset.Options{URL: "http://mmsc.example.net/mms", Proxy: m.URL})
	push := m.keep("/m/1", message(t, nil, text("x")), func(n *mms.Notification) { n.ContentLocation = "http://mms.example.org:8002/m/1?id=7" })
	l.Push(bob, push)
	l.await(handset.Settled, 1)
	if r := m.requests(); r != "GET http://mms.example.org:8002/m/1?id=7, POST http://mmsc.example.net/mms" {
		t.Errorf("requests: %s", r)
	}
}

func TestResolve(t *testing.T) {
	m := newMMSC(t)
	host, port, _ := net.SplitHostPort(m.Listener.Addr().String())
	asked := make(chan string, 10)
	l := start(t, handset.Options{Resolve: func(_ context.Context, h string) ([]string, error) {
		asked <- h
		return []string{"127.255.255.254", host}, nil // nobody listens at the first
	}})
	l.Push(bob, m.keep("/m/1", message(t, nil, text("x")), func(n *mms.Notification) { n.ContentLocation = "http://mms.example.net:" + port + "/m/1" }))
	l.await(handset.Stored, 1)
	if h := <-asked; h != "mms.example.net" {
		t.Errorf("asked for %s", h)
	}
}

func TestDuplicates(t *testing.T) {
	m := newMMSC(t)
	dir := t.TempDir()
	push := m.keep("/m/1", message(t, nil, text("x")))
	t.Run("dropped", func(t *testing.T) {
		l := start(t, handset.Options{URL: m.URL, Dir: dir})
		for range 3 {
			l.Push(bob, push)
		}
		l.await(handset.Duplicate, 2)
		l.await(handset.Settled, 1)
		l.Push(bob, push)
		l.await(handset.Duplicate, 3)
		l.Push(bob, m.keep("/m/1", message(t, nil, text("x")), func(n *mms.Notification) { n.TransactionID = "other" })) // the same location, but another transaction
		l.await(handset.Settled, 2)
		wantPosts(t, m, "m-notifyresp-ind t/m/1 Retrieved", "m-notifyresp-ind other Retrieved")
	})
	t.Run("after a restart", func(t *testing.T) {
		l := start(t, handset.Options{URL: m.URL, Dir: dir})
		l.Push(bob, push)
		l.await(handset.Duplicate, 1)
		if k := l.kinds(); k != "duplicate" {
			t.Error(k)
		}
	})
	t.Run("acknowledged again when that failed", func(t *testing.T) {
		m := newMMSC(t)
		push := m.keep("/m/1", message(t, nil, text("x")))
		m.refuse = func(r *http.Request) int {
			if r.Method == http.MethodPost {
				return http.StatusServiceUnavailable
			}
			return 0
		}
		l := start(t, handset.Options{URL: m.URL})
		l.Push(bob, push)
		l.await(handset.Settled, 1)
		if e := l.await(handset.Indicated, 1); e.Err == nil {
			t.Error("the acknowledgement got through")
		}
		m.set(func() { m.refuse = nil })
		l.Push(bob, push)
		l.await(handset.Settled, 2)
		wantPosts(t, m, "m-notifyresp-ind t/m/1 Retrieved")
		if n := l.Count(handset.Stored); n != 1 {
			t.Errorf("fetched %d times", n)
		}
	})
}

func TestReadReport(t *testing.T) {
	m := newMMSC(t)
	l := start(t, handset.Options{URL: m.URL, ReadReport: true})
	l.Push(bob, m.keep("/m/1", message(t, nil, text("x"))))
	l.await(handset.Settled, 1)
	l.Push(bob, m.keep("/m/2", message(t, func(r *mms.Retrieve) { r.ReadReport = mms.Yes }, text("x"))))
	l.await(handset.Settled, 2)
	p := wantPosts(t, m, "m-notifyresp-ind t/m/1 Retrieved", "m-notifyresp-ind t/m/2 Retrieved", "m-read-rec-ind ")[2]
	if from, _ := p.From(); p.MessageID() != "id1@mmsc.example.net" || p.To()[0] != alice+"/TYPE=PLMN" || from != bob+"/TYPE=PLMN" || p.Octet(mms.FieldReadStatus) != mms.Read {
		t.Errorf("%+v", p.Headers)
	}
}

func TestReports(t *testing.T) {
	l := start(t, handset.Options{URL: newMMSC(t).URL})
	l.Push(bob, wappush.AppendMMS(nil, 1, mms.DeliveryReport{MessageID: "id7", To: alice, Date: time.Now(), Status: mms.Expired}.Append(nil)))
	l.Push(bob, wappush.AppendMMS(nil, 1, mms.ReadReport{Type: mms.MReadOrigInd, MessageID: "id7", To: bob, From: alice, Date: time.Now(), Status: mms.Read}.Append(nil)))
	if e := l.await(handset.DeliveryReport, 1); e.MessageID != "id7" || e.From != alice || e.Status != "Expired" {
		t.Errorf("%+v", e)
	}
	if e := l.await(handset.ReadReport, 1); e.MessageID != "id7" || e.From != alice || e.Status != "Read" {
		t.Errorf("%+v", e)
	}
}

func TestCancel(t *testing.T) {
	m := newMMSC(t)
	l := start(t, handset.Options{URL: m.URL})
	pdu := append([]byte{0x8C, byte(mms.MCancelReq)}, "\x98c1\x00\x8D\x93\xBEid7\x00"...)
	l.Push(bob, wappush.AppendMMS(nil, 1, pdu))
	if e := l.await(handset.Cancelled, 1); e.MessageID != "id7" || e.Transaction != "c1" {
		t.Errorf("%+v", e)
	}
	l.await(handset.Indicated, 1)
	if p := wantPosts(t, m, "m-cancel-conf c1"); p[0].Octet(mms.FieldCancelStatus) != 0x80 {
		t.Errorf("%+v", p[0])
	}
}

// TestReply: a message is answered, and two phones that answer each other come to an end.
func TestReply(t *testing.T) {
	m := newMMSC(t)
	l := start(t, handset.Options{URL: m.URL, Replies: []string{"One", "Two"}})
	for i := range 3 {
		l.Push(bob, m.keep(fmt.Sprintf("/m/%d", i), message(t, nil, text("x"))))
		l.await(handset.Settled, i+1)
	}
	if n := l.Count(handset.Sent); n != 2 {
		t.Fatalf("%d answers, want 2", n)
	}
	var said []string
	for _, p := range m.posts() {
		if p.Type != mms.MSendReq {
			continue
		}
		from, _ := p.From()
		if from != bob+"/TYPE=PLMN" || p.To()[0] != alice+"/TYPE=PLMN" || p.Subject() != "Re: Hello" || len(p.Parts) != 1 {
			t.Errorf("answer: %+v", p)
		}
		said = append(said, string(p.Parts[0].Data))
	}
	if strings.Join(said, " ") != "One Two" {
		t.Errorf("said %q", said)
	}
}

func TestSend(t *testing.T) {
	m := newMMSC(t)
	l := start(t, handset.Options{Numbers: []string{alice, bob}, URL: m.URL, InsertAddress: true})
	letter := handset.Letter{To: []string{bob}, Cc: []string{"carol@example.org"}, Subject: "Räksmörgås", DeliveryReport: true,
		Parts: []handset.Part{{Name: "a.txt", Type: "text/plain", Data: []byte("å")}, {Name: "b.jpg", Type: "image/jpeg", Data: []byte("jpeg")}}}
	conf, err := l.Send(t.Context(), alice, letter)
	if err != nil || conf.MessageID() != "m1" {
		t.Fatalf("%v, %+v", err, conf)
	}
	p := m.posts()[0]
	if _, insert := p.From(); !insert || p.To()[0] != bob+"/TYPE=PLMN" || p.Cc()[0] != "carol@example.org" || p.Subject() != "Räksmörgås" || len(p.Parts) != 2 || !p.Flag(mms.FieldDeliveryReport, false) {
		t.Errorf("%+v", p)
	}
	if e := l.await(handset.Sent, 1); e.MessageID != "m1" || e.Status != "Ok" {
		t.Errorf("%+v", e)
	}
	if _, err := l.Send(t.Context(), "+4670", letter); err == nil {
		t.Error("sent from a phone that is not there")
	}
	m.set(func() { m.refuse = func(*http.Request) int { return http.StatusServiceUnavailable } })
	if _, err := l.SendPDU(t.Context(), alice, message(t, nil, text("no M-Send.req, but the MMSC says so"))); err == nil || l.Count(handset.Retrying) != 2 {
		t.Errorf("%v after %d retries", err, l.Count(handset.Retrying))
	}
	l.await(handset.SendFailed, 1)
}

func TestRefusedSend(t *testing.T) {
	srv := newMMSC(t)
	var status mms.Status
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(mms.SendConf{TransactionID: []byte("x"), Status: status}.Append(nil))
	})
	l := start(t, handset.Options{URL: srv.URL})
	for _, tc := range []struct {
		name, transaction, want string
		status                  mms.Status
	}{
		{"permanent", "x", "Error-permanent-service-denied", mms.ErrorPermanentServiceDenied},
		{"another transaction", "y", `answer is to transaction "x"`, mms.StatusOk},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status = tc.status
			pdu, err := wsp.AppendParts(mms.SendReq{TransactionID: tc.transaction, To: []string{alice}, ContentType: wsp.Media(wsp.MultipartMixed)}.AppendHead(nil), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.SendPDU(t.Context(), bob, pdu); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
	if n := l.Count(handset.Retrying); n != 0 {
		t.Errorf("%d retries of what was answered", n)
	}
}

func TestQueue(t *testing.T) {
	m := newMMSC(t)
	hold := make(chan struct{})
	m.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			<-hold
		}
		m.ServeHTTP(w, r)
	})
	l := start(t, handset.Options{SMPP: "127.0.0.1:0", URL: m.URL, Queue: 2})
	e := bind(t, l)
	push := func(path string) uint32 {
		segments, err := wappush.Segmentation{}.Segment(m.keep(path, message(t, nil, text("x"))))
		if err != nil {
			t.Fatal(err)
		}
		return e.submit("46701740606", 0x40, 0x04, segments[0])
	}
	for i, want := range []uint32{0, 0, 0x14, 0x14} {
		if got := push(fmt.Sprintf("/m/%d", i)); got != want {
			t.Errorf("push %d: status %02X, want %02X", i, got, want)
		}
	}
	close(hold)
	l.await(handset.Settled, 2)
	if got := push("/m/2"); got != 0 {
		t.Errorf("status %02X once there is room", got)
	}
	l.await(handset.Settled, 3)
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]handset.Options{
		"no number":         {},
		"a word":            {Numbers: []string{"bob"}},
		"the same twice":    {Numbers: []string{"+46701", "46701"}},
		"too many sockets":  {Numbers: []string{bob}, UDP: []string{":0", ":0"}},
		"a proxy":           {Numbers: []string{bob}, Proxy: "10.0.0.1:8080"},
		"an MMSC":           {Numbers: []string{bob}, URL: "ftp://mmsc"},
		"a header":          {Numbers: []string{bob}, Header: []string{"X-MSISDN"}},
		"an SMPP address":   {Numbers: []string{bob}, SMPP: "nowhere"},
		"a UDP address":     {Numbers: []string{bob}, UDP: []string{"nowhere"}},
		"a mode":            {Numbers: []string{bob}, Mode: 9},
		"a folder's a file": {Numbers: []string{bob}, Dir: file(t)},
	} {
		if p, err := handset.New(o); err == nil {
			p.Close()
			t.Errorf("%s: accepted", name)
		}
	}
	for _, m := range []handset.Mode{handset.Immediate, handset.Deferred, handset.Reject} {
		if got, err := handset.ParseMode(m.String()); got != m || err != nil {
			t.Errorf("%s: %v, %v", m, got, err)
		}
	}
	if _, err := handset.ParseMode("never"); err == nil {
		t.Error("a mode nobody knows")
	}
}

func file(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
