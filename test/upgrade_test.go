package test_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
	"github.com/mmsrouter/mmsrouter/test/program"
)

// TestUpgradeUnderLoad: three upgrades in a row while handsets send, on connections that they keep and on new ones, some so slowly that
// their uploads last through an upgrade, others fetch, and resolvers ask.
func TestUpgradeUnderLoad(t *testing.T) {
	a, b := fake(t, "mmsc-a"), fake(t, "mmsc-b")
	r := replaceable(t, "", a.URL(), b.URL())
	held := pdu.RetrieveConf("t-held", "held@mmsc-a", 40_000)
	a.Put("/held", held)
	r.start()
	ctx, stop := context.WithCancel(t.Context())
	var all handsets.Ledger
	var wg sync.WaitGroup
	var sent, asked, unanswered, fetched atomic.Int64
	run := func(prefix string, n int, ways ...handsets.Way) {
		wg.Go(func() {
			all.Join(handsets.Run(ctx, handsets.Plan{Handset: handsets.Options{Addr: r.mm1, Timeout: 30 * time.Second}, Handsets: n, Prefix: prefix,
				Sizes: []int{1000, 30_000, 200_000}, Ways: ways, Think: 2 * time.Millisecond, Each: func(int) { sent.Add(1) }}))
		})
	}
	run("kept-", 6, handsets.Fast, handsets.Chunked)
	run("slow-", 4, handsets.Trickle(200_000, 20, 100*time.Millisecond))
	for w := range 3 { // a connection for each message
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				tid := fmt.Sprintf("new-%d-%06d", w, n)
				body := pdu.SendReq(tid, 20_000)
				h := handsets.New(handsets.Options{Addr: r.mm1, Timeout: 30 * time.Second})
				began := time.Now()
				answer, err := h.Post(context.WithoutCancel(ctx), body, handsets.Fast)
				all.Note(tid, body, handsets.Fast, answer, err, time.Since(began))
				sent.Add(1)
				h.Close()
			}
		})
	}
	wg.Go(func() { // fetches on a kept connection
		h := handsets.New(handsets.Options{Addr: r.mm1, Timeout: 30 * time.Second})
		defer h.Close()
		for ctx.Err() == nil {
			answer, err := h.Fetch(context.WithoutCancel(ctx), "/held")
			if err != nil || answer.Status != 200 || !bytes.Equal(answer.Body, held) {
				t.Errorf("fetch: %v, HTTP %d, %d octets", err, answer.Status, len(answer.Body))
			}
			fetched.Add(1)
			time.Sleep(3 * time.Millisecond) // a phone's pause
		}
	})
	for _, network := range []string{"udp", "udp", "tcp"} {
		wg.Go(func() { queries(ctx, t, network, r.name, &asked, &unanswered) })
	}
	last := r.pid()
	for range 3 {
		before := sent.Load()
		r.await("load", func() bool { return sent.Load() > before+100 })
		_, last = r.upgrade()
	}
	before := sent.Load()
	r.await("load", func() bool { return sent.Load() > before+100 })
	stop()
	wg.Wait()
	bal := all.Balance(a.Records(), b.Records())
	t.Logf("%v; %d queries, %d unanswered; %d fetched", bal, asked.Load(), unanswered.Load(), fetched.Load())
	if bal.Accepted != bal.Sent || bal.Faults() != "" || bal.Copies > 0 {
		t.Errorf("balance: %v", bal)
	}
	if r.pid() != last || !lives(last) {
		t.Errorf("process %d serves, %d took over last", r.pid(), last)
	}
}

// TestUpgradeOverTLS: connections that can't pass between processes end with an answer, and no message with them.
func TestUpgradeOverTLS(t *testing.T) {
	a := fake(t, "mmsc-a")
	r := replaceable(t, "", a.URL())
	cert, key := certificate(t, t.TempDir(), "door", 1)
	r.change("  access_log:", fmt.Sprintf("  tls: {cert: %q, key: %q}\n  access_log:", cert, key))
	r.start()
	ctx, stop := context.WithCancel(t.Context())
	finished := make(chan *handsets.Ledger, 1)
	var sent atomic.Int64
	go func() {
		finished <- handsets.Run(ctx, handsets.Plan{Handset: handsets.Options{Addr: r.mm1, Timeout: 30 * time.Second, TLS: &tls.Config{InsecureSkipVerify: true}}, // who it is, is not the question
			Handsets: 8, Prefix: "tls-", Sizes: []int{1000, 100_000}, Think: 5 * time.Millisecond, Each: func(int) { sent.Add(1) }})
	}()
	for range 2 {
		before := sent.Load()
		r.await("load", func() bool { return sent.Load() > before+100 })
		old, _ := r.upgrade()
		r.await("end of the old process", func() bool { return !lives(old) })
	}
	stop()
	bal := (<-finished).Balance(a.Records())
	t.Log(bal)
	if bal.Accepted != bal.Sent || bal.Faults() != "" || bal.Copies > 0 {
		t.Errorf("balance: %v", bal)
	}
}

// TestUpgradeRefused: whatever is wrong with the new process, the old one goes on, and says why.
func TestUpgradeRefused(t *testing.T) {
	a := fake(t, "mmsc-a")
	r := replaceable(t, "upgrade: {timeout: 3s}\n", a.URL())
	r.start()
	h := handsets.New(handsets.Options{Addr: r.mm1, Timeout: 20 * time.Second})
	defer h.Close()
	submit(t, h, "before", 3000)
	r.change("mmscs:\n", "mmscs_: []\nmmscs:\n")
	r.refused("mmscs_", "unknown key")
	r.change("mmscs_: []\n", "")
	submit(t, h, "config", 3000)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	one, two := "  listen: [\""+r.mm1, "  listen: [\""+taken.Addr().String()+"\", \""+r.mm1
	r.change(one, two)
	r.refused("mm1.listen", taken.Addr().String())
	r.change(two, one)
	submit(t, h, "port", 3000)
	r.installScript("echo no such library >&2; exit 127")
	r.refused("ended before it served")
	submit(t, h, "crash", 3000)
	r.installScript("exec sleep 60")
	r.refused("upgrade.timeout")
	submit(t, h, "hang", 3000)
	r.install(r.good)
	r.upgrade()
	submit(t, h, "after", 3000)
	if n := a.Counts().Wholes; n != 6 {
		t.Errorf("%d messages at the MMSC, want 6", n)
	}
	log, err := os.ReadFile(r.logFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"upgrade refused", "unknown key", "no such library"} {
		if !bytes.Contains(log, []byte(want)) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

// TestUpgradeOfOtherListeners: a new process that listens on more, or less, than the old one.
func TestUpgradeOfOtherListeners(t *testing.T) {
	a := fake(t, "mmsc-a")
	r := replaceable(t, "", a.URL())
	r.start()
	more := program.Addresses(t, 1)[0]
	one, two := "  listen: [\""+r.mm1, "  listen: [\""+more+"\", \""+r.mm1
	r.change(one, two)
	old, _ := r.upgrade()
	for i, at := range []string{r.mm1, more} {
		h := handsets.New(handsets.Options{Addr: at, Timeout: 20 * time.Second})
		submit(t, h, fmt.Sprint("more", i), 3000)
		h.Close()
	}
	r.await("end of the old process", func() bool { return !lives(old) })
	r.change(two, one)
	old, _ = r.upgrade()
	r.await("end of the old process", func() bool { return !lives(old) })
	if c, err := net.Dial("tcp", more); err == nil {
		c.Close()
		t.Error("the address that was taken out still listens")
	}
	h := handsets.New(handsets.Options{Addr: r.mm1, Timeout: 20 * time.Second})
	defer h.Close()
	submit(t, h, "less", 3000)
}

// TestUpgradeTellsTheServiceManager: it follows from the old process to the new one, before that says that it is ready.
func TestUpgradeTellsTheServiceManager(t *testing.T) {
	a := fake(t, "mmsc-a")
	r := replaceable(t, "", a.URL())
	dir, err := os.MkdirTemp("", "n") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	at := filepath.Join(dir, "s")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	r.env = []string{"NOTIFY_SOCKET=" + at}
	next := func(want string) {
		t.Helper()
		b := make([]byte, 4096)
		_ = manager.SetReadDeadline(time.Now().Add(30 * time.Second)) // it fails only on a closed socket
		n, err := manager.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), want) {
			t.Fatalf("the manager was told %q, %v; want %s", b[:n], err, want)
		}
	}
	r.start()
	next("READY=1")
	for _, how := range []string{"command", "signal"} {
		old, now := r.pid(), 0
		if how == "command" {
			_, now = r.upgrade()
		} else {
			if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
				t.Fatal(err)
			}
			r.await("another process", func() bool { now = r.pid(); return now > 0 && now != old })
		}
		next(fmt.Sprintf("MAINPID=%d", now))
		next("READY=1")
		r.await("end of the old process", func() bool { return !lives(old) })
	}
}

// TestResubmissionDuringUpgrade: a message whose first post is still in flight at the old process is posted again at the new one: one
// message, the same answer.
func TestResubmissionDuringUpgrade(t *testing.T) {
	for _, c := range []struct {
		name string
		kill bool
	}{{"the old process finishes", false}, {"the old process is killed", true}} {
		t.Run(c.name, func(t *testing.T) {
			a := fake(t, "mmsc-a")
			hold := make(chan struct{})
			a.Script(func(n int, _ *fakemmsc.Request) fakemmsc.Behaviour {
				if n == 1 {
					return fakemmsc.Behaviour{Store: true, Hold: hold}
				}
				return fakemmsc.Accept()
			})
			r := replaceable(t, "", a.URL())
			r.change("  access_log:", "  identity: {headers: [X-MSISDN], trusted: [\"127.0.0.0/8\"]}\n  access_log:")
			r.start()
			body := pdu.SendReq("again", 20_000)
			post := func(result chan<- handsets.Answer) {
				h := handsets.New(handsets.Options{Addr: r.mm1, Timeout: 20 * time.Second, Header: [][2]string{{"X-MSISDN", "+46701740605"}}})
				defer h.Close()
				answer, _ := h.Post(t.Context(), body, handsets.Fast) // no answer is an empty one
				result <- answer
			}
			first, second := make(chan handsets.Answer, 1), make(chan handsets.Answer, 1)
			go post(first)
			await(t, a, "the message at the MMSC", func(k fakemmsc.Counts) bool { return k.Wholes == 1 })
			old, _ := r.upgrade()
			if out := r.run(0, "status", "--admin", r.admin); !strings.Contains(out, fmt.Sprintf("process %d (version devel) still finishes what it has, 1 connections", old)) {
				t.Errorf("status does not tell of the old process: %s", out)
			}
			go post(second)
			if c.kill {
				if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				if answer := <-second; !answer.IsPDU || answer.PDU.Response != pdu.Ok {
					t.Errorf("the second post got %+v", answer)
				}
				close(hold)
				return
			}
			select {
			case answer := <-second:
				t.Errorf("answered %+v while the first is in flight", answer.PDU)
			case <-time.After(300 * time.Millisecond):
			}
			close(hold)
			x, y := <-first, <-second
			if !x.IsPDU || !bytes.Equal(x.Body, y.Body) {
				t.Errorf("first %x\nsecond %x", x.Body, y.Body)
			}
			r.await("end of the old process", func() bool { return !lives(old) })
			third := make(chan handsets.Answer, 1)
			post(third)
			if z := <-third; !bytes.Equal(x.Body, z.Body) {
				t.Errorf("third %x", z.Body)
			}
			if n := a.Counts().Wholes; n != 1 {
				t.Errorf("%d messages at the MMSC, want 1", n)
			}
		})
	}
}

// TestKilledDuringUpgrade: SIGKILL of the new process before it serves leaves the old one at work; after that, what the old one had in
// flight still comes to its end.
func TestKilledDuringUpgrade(t *testing.T) {
	a := fake(t, "mmsc-a")
	r := replaceable(t, "", a.URL())
	r.start()
	h := handsets.New(handsets.Options{Addr: r.mm1, Timeout: 20 * time.Second})
	defer h.Close()
	t.Run("the new one while it starts", func(t *testing.T) {
		r.installScript("sleep 0.3; kill -9 $$")
		r.refused("ended before it served")
		submit(t, h, "start", 3000)
		r.install(r.good)
	})
	t.Run("the old one while the new one starts", func(t *testing.T) {
		began := filepath.Join(t.TempDir(), "began")
		r.installScript("touch " + began + "; sleep 1; exec " + r.good + " \"$@\"")
		old := r.pid()
		asked := make(chan error, 1)
		go func() { asked <- exec.Command(r.good, "upgrade", "--admin", r.admin).Run() }()
		r.await("start of the new process", func() bool {
			_, err := os.Stat(began)
			return err == nil
		})
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-asked // nobody was left to answer
		r.await("a process that serves", func() bool { return r.pid() != old })
		h := handsets.New(handsets.Options{Addr: r.mm1, Timeout: 20 * time.Second})
		defer h.Close()
		submit(t, h, "afresh", 3000)
		r.install(r.good)
	})
	t.Run("the old one behind the switch", func(t *testing.T) {
		old, now := r.upgrade()
		_ = syscall.Kill(old, syscall.SIGKILL) // it may have ended
		h := handsets.New(handsets.Options{Addr: r.mm1, Timeout: 20 * time.Second})
		defer h.Close()
		submit(t, h, "switched", 3000)
		if !lives(now) {
			t.Error("the new process went with it")
		}
		r.upgrade()
	})
	t.Run("the new one behind the switch", func(t *testing.T) {
		hold := make(chan struct{})
		a.Behave(fakemmsc.Behaviour{Store: true, Hold: hold})
		before := a.Counts().Wholes
		answered := make(chan handsets.Outcome, 1)
		go func() {
			h := handsets.New(handsets.Options{Addr: r.mm1, Timeout: 20 * time.Second})
			defer h.Close()
			answer, err := h.Post(t.Context(), pdu.SendReq("inflight", 20_000), handsets.Fast)
			o, _ := handsets.Judge("inflight", answer, err)
			answered <- o
		}()
		await(t, a, "the message at the MMSC", func(k fakemmsc.Counts) bool { return k.Wholes == before+1 })
		_, now := r.upgrade()
		if err := syscall.Kill(now, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		close(hold)
		if o := <-answered; o != handsets.Accepted {
			t.Errorf("in flight at the old process: %s", o)
		}
	})
}
