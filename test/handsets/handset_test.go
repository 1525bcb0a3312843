package handsets_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// asMMSC makes the test program a fake MMSC process.
const asMMSC = "MMSROUTER_TEST_AS_FAKE_MMSC"

func TestMain(m *testing.M) {
	if os.Getenv(asMMSC) != "" {
		os.Exit(fakemmsc.Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func fake(t *testing.T, opt fakemmsc.Options) *fakemmsc.Server {
	t.Helper()
	s, err := fakemmsc.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

var ways = []handsets.Way{
	handsets.Fast,
	handsets.Chunked,
	{Name: "trickling", Piece: 100, Gap: time.Microsecond},
	{Name: "trickling chunked", Piece: 100, Gap: time.Microsecond, Chunked: true},
	{Name: "100-continue", Expect: true},
	{Name: "HTTP/1.0", HTTP10: true},
	{Name: "absolute-form", Absolute: true},
	{Name: "one-shot", OneShot: true},
}

func TestEveryWayArrivesWhole(t *testing.T) {
	for _, way := range ways {
		for _, size := range []int{200, 5000, 300_000} {
			t.Run(fmt.Sprintf("%s/%d", way.Name, size), func(t *testing.T) {
				if size > 100_000 {
					way.Piece *= 100
				}
				s := fake(t, fakemmsc.Options{})
				h := handsets.New(handsets.Options{Addr: s.Addr(), Timeout: 10 * time.Second})
				defer h.Close()
				for i := range 3 {
					tid := fmt.Sprintf("t%d", i)
					body := pdu.SendReq(tid, size)
					a, err := h.Post(t.Context(), body, way)
					if o, why := handsets.Judge(tid, a, err); o != handsets.Accepted {
						t.Fatalf("message %d: %s %s", i, o, why)
					}
					if r := s.Records()[i]; !r.Stored || r.Transaction != tid || r.Size != size || r.Digest != xxhash.Sum64(body) {
						t.Errorf("message %d was recorded as %+v", i, r)
					}
					if way.Expect != (a.Interim > 0) {
						t.Errorf("message %d: %d interim answers", i, a.Interim)
					}
				}
				wantConns := 1
				if way.OneShot || way.HTTP10 {
					wantConns = 3
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if err := s.Await(ctx, func(k fakemmsc.Counts) bool { return k.Answers == 3 }); err != nil {
					t.Fatal(err)
				}
				if c := s.Counts(); c.Conns != wantConns {
					t.Errorf("counts %+v, want %d connections", c, wantConns)
				}
			})
		}
	}
}

// What each behaviour looks like from the outside, without a router between.
func TestBehaviours(t *testing.T) {
	const size = 100_000
	for _, c := range []struct {
		name    string
		b       fakemmsc.Behaviour
		want    handsets.Outcome
		detail  string
		stored  bool
		arrived bool // whole at the MMSC
	}{
		{"accepts", fakemmsc.Accept(), handsets.Accepted, "", true, true},
		{"resets at the head", fakemmsc.Behaviour{Break: fakemmsc.RST, At: fakemmsc.AtHead}, handsets.Failed, "", false, false},
		{"closes after 1000 octets", fakemmsc.Die(fakemmsc.FIN, 1000), handsets.Failed, "", false, false},
		{"resets after 1000 octets", fakemmsc.Die(fakemmsc.RST, 1000), handsets.Failed, "", false, false},
		{"stalls after 1000 octets", fakemmsc.Die(fakemmsc.Stall, 1000), handsets.Failed, "timeout", false, false},
		{"reads all and closes", fakemmsc.SwallowAndDie(fakemmsc.FIN), handsets.Failed, "EOF", false, true},
		{"stores and closes", fakemmsc.StoreAndDie(fakemmsc.FIN), handsets.Failed, "EOF", true, true},
		{"stores and resets", fakemmsc.StoreAndDie(fakemmsc.RST), handsets.Failed, "reset", true, true},
		{"cuts its answer", fakemmsc.CutAnswer(fakemmsc.FIN, 100), handsets.Failed, "EOF", true, true},
		{"says 503", fakemmsc.Refuse(503), handsets.Transient, "503", false, true},
		{"says 404", fakemmsc.Refuse(404), handsets.Failed, "404", false, true},
		{"says 204", fakemmsc.Refuse(204), handsets.Failed, "204", false, true},
		{"redirects", fakemmsc.Refuse(302), handsets.Failed, "302", false, true},
		{"transient", fakemmsc.Say(pdu.Transient), handsets.Transient, "C0", false, true},
		{"permanent", fakemmsc.Say(pdu.PermanentDenied), handsets.Refused, "E1", false, true},
		{"partial", fakemmsc.Say(pdu.Partial), handsets.Accepted, "", true, true},
		{"HTML", fakemmsc.Behaviour{Answer: fakemmsc.HTML()}, handsets.Failed, "without an M-Send.conf", false, true},
		{"empty", fakemmsc.Behaviour{Answer: fakemmsc.Empty()}, handsets.Failed, "without an M-Send.conf", false, true},
		{"another transaction", fakemmsc.Behaviour{Answer: fakemmsc.WrongTransaction()}, handsets.Failed, "not-", false, true},
		{"garbage", fakemmsc.Behaviour{Answer: fakemmsc.Raw("\x00\x01\x02garbage\r\n\r\n")}, handsets.Failed, "", false, true},
		{"chunked answer", fakemmsc.Behaviour{Store: true, Answer: fakemmsc.Chunked()}, handsets.Accepted, "", true, true},
		{"answer to close", fakemmsc.Behaviour{Store: true, Answer: fakemmsc.ToClose()}, handsets.Failed, "delimited by the end", true, true},
		{"interim answers", fakemmsc.Behaviour{Store: true, Answer: fakemmsc.Interim(3)}, handsets.Accepted, "", true, true},
		{"octet by octet", fakemmsc.Behaviour{Store: true, Pace: time.Microsecond}, handsets.Accepted, "", true, true},
		{"answers early", fakemmsc.Behaviour{Store: true, Early: true, EarlyAt: 500}, handsets.Accepted, "", false, false},
		{"answers early, cut", fakemmsc.Behaviour{Early: true, EarlyAt: 500, Break: fakemmsc.FIN, At: fakemmsc.AtAnswer, After: 50}, handsets.Failed, "", false, false},
		{"sips", fakemmsc.Behaviour{Store: true, Sip: 4096, SipEvery: time.Microsecond}, handsets.Accepted, "", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := fake(t, fakemmsc.Options{})
			s.Behave(c.b)
			h := handsets.New(handsets.Options{Addr: s.Addr(), Timeout: 500 * time.Millisecond})
			defer h.Close()
			a, err := h.Post(t.Context(), pdu.SendReq("t1", size), handsets.Fast)
			got, detail := handsets.Judge("t1", a, err)
			if got != c.want || !strings.Contains(detail, c.detail) {
				t.Errorf("outcome %s %q, want %s %q", got, detail, c.want, c.detail)
			}
			h.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if c.arrived {
				if err := s.Await(ctx, func(k fakemmsc.Counts) bool { return k.Wholes == 1 }); err != nil {
					t.Fatal(err)
				}
			}
			if c.b.Early {
				return // how much of the upload arrives besides the answer is up to the two
			}
			recs := s.Records()
			if arrived := len(recs) == 1; arrived != c.arrived {
				t.Fatalf("records %+v, want arrived %v", recs, c.arrived)
			}
			if c.arrived && recs[0].Stored != c.stored {
				t.Errorf("stored %v, want %v", recs[0].Stored, c.stored)
			}
		})
	}
}

func TestDownRefusesAndComesBack(t *testing.T) {
	s := fake(t, fakemmsc.Options{})
	h := handsets.New(handsets.Options{Addr: s.Addr(), Timeout: 2 * time.Second})
	defer h.Close()
	post := func(tid string) handsets.Outcome {
		a, err := h.Post(t.Context(), pdu.SendReq(tid, 300), handsets.Fast)
		o, _ := handsets.Judge(tid, a, err)
		return o
	}
	if o := post("a"); o != handsets.Accepted {
		t.Fatalf("up: %s", o)
	}
	s.Down()
	s.Down()
	h.Close()
	if o := post("b"); o != handsets.Failed {
		t.Fatalf("down: %s", o)
	}
	if err := s.Up(); err != nil {
		t.Fatal(err)
	}
	if o := post("c"); o != handsets.Accepted {
		t.Fatalf("up again: %s", o)
	}
	if n := s.Counts().Stored; n != 2 {
		t.Errorf("stored %d, want 2", n)
	}
}

func TestStallEndsWithTheServer(t *testing.T) {
	s := fake(t, fakemmsc.Options{})
	s.OnAccept(func(int) fakemmsc.Break { return fakemmsc.Stall })
	h := handsets.New(handsets.Options{Addr: s.Addr(), Timeout: 10 * time.Second})
	defer h.Close()
	done := make(chan error, 1)
	go func() {
		_, err := h.Post(t.Context(), pdu.SendReq("a", 300), handsets.Fast)
		done <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := s.Await(ctx, func(k fakemmsc.Counts) bool { return k.Conns == 1 }); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := <-done; err == nil {
		t.Error("a stalled exchange had an answer")
	}
}

func TestFetch(t *testing.T) {
	s := fake(t, fakemmsc.Options{})
	want := pdu.RetrieveConf("t1", "m1@x", 30_000)
	s.Put("/m/1?k=2", want)
	h := handsets.New(handsets.Options{Addr: s.Addr(), Timeout: 2 * time.Second})
	defer h.Close()
	a, err := h.Fetch(t.Context(), "/m/1?k=2")
	if err != nil || a.Status != 200 || !bytes.Equal(a.Body, want) || a.PDU.MessageID != "m1@x" {
		t.Errorf("status %d, %d octets, %v, %v", a.Status, len(a.Body), a.PDU, err)
	}
	for _, status := range []int{404, 410, 503} {
		s.Missing(status)
		if a, err := h.Fetch(t.Context(), "/m/2"); err != nil || a.Status != status {
			t.Errorf("missing: status %d, %v; want %d", a.Status, err, status)
		}
	}
	if c := s.Counts(); c.Stored != 0 || c.Heads != 4 {
		t.Errorf("counts %+v", c)
	}
}

// The ledger must see each kind of fault, else a story that passes says nothing.
func TestBalanceSeesFaults(t *testing.T) {
	var l handsets.Ledger
	ok := func(tid string) handsets.Answer {
		c := pdu.SendConf(tid, pdu.Ok, "1@x")
		f, is := pdu.Read(c)
		return handsets.Answer{Status: 200, Body: c, PDU: f, IsPDU: is}
	}
	rec := func(tid, body string) fakemmsc.Record {
		return fakemmsc.Record{Transaction: tid, Size: len(body), Digest: xxhash.Sum64String(body), Stored: true}
	}
	for _, tid := range []string{"fine", "lost", "twice", "corrupt"} {
		l.Note(tid, []byte(tid), handsets.Fast, ok(tid), nil, 0)
	}
	l.Note("ghost", []byte("ghost"), handsets.Fast, handsets.Answer{}, errors.New("reset"), 0)
	b := l.Balance([]fakemmsc.Record{rec("fine", "fine"), rec("twice", "twice"), rec("ghost", "ghost"), {Transaction: "lost"}},
		[]fakemmsc.Record{rec("twice", "twice"), rec("corrupt", "corrupX"), rec("stranger", "s")})
	if b.Sent != 5 || b.Accepted != 4 || b.Failed != 1 || b.Copies != 1 || b.Stored != 6 || len(b.Lost) != 1 || b.Lost[0] != "lost" ||
		len(b.Corrupt) != 1 || len(b.Strangers) != 1 || len(b.Ghosts) != 1 || b.Faults() == "" {
		t.Errorf("balance %v", b)
	}
}

func TestProcessKilledAndBack(t *testing.T) {
	p, err := fakemmsc.StartProcess("p1", t.TempDir(), func(args []string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = append(os.Environ(), asMMSC+"=1")
		return cmd
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	run := func(prefix string, n int) handsets.Balance {
		l := handsets.Run(t.Context(), handsets.Plan{Handset: handsets.Options{Addr: p.Addr(), Timeout: 5 * time.Second}, Handsets: 4, Messages: n,
			Sizes: []int{1000, 30_000}, Prefix: prefix})
		recs, err := p.Records()
		if err != nil {
			t.Fatal(err)
		}
		return l.Balance(recs)
	}
	if b := run("a", 20); b.Accepted != 20 || b.Stored != 20 || b.Faults() != "" {
		t.Errorf("first life: %v", b)
	}
	p.Kill()
	if b := run("b", 2); b.Failed != 2 {
		t.Errorf("killed: %v", b)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if b := run("c", 20); b.Accepted != 20 || b.Stored != 40 || len(b.Lost) != 0 || len(b.Corrupt) != 0 {
		t.Errorf("second life: %v", b)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	s := fake(t, fakemmsc.Options{})
	for _, c := range []struct{ name, raw string }{
		{"nothing", ""},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"cut chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"},
		{"short body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"},
		{"status", "HTTP/1.1 20 OK\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.Behave(fakemmsc.Behaviour{Answer: fakemmsc.Raw(c.raw)})
			h := handsets.New(handsets.Options{Addr: s.Addr(), Timeout: 2 * time.Second})
			defer h.Close()
			if a, err := h.Post(t.Context(), pdu.SendReq("x", 200), handsets.Fast); err == nil {
				t.Errorf("taken for an answer: %+v", a)
			} else if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "proper") && !strings.Contains(err.Error(), "reset") {
				t.Errorf("error %v", err)
			}
		})
	}
}
