package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/app"
	"github.com/mmsrouter/mmsrouter/drill/fake"
	"github.com/mmsrouter/mmsrouter/drill/lease"
	"github.com/mmsrouter/mmsrouter/mms"
)

// site is a running system: a router and two MMSCs.
type site struct {
	a       *app.App
	ledgers []string
}

func startSite(t *testing.T, more string) *site {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	dir := t.TempDir()
	s := &site{}
	text := fmt.Sprintf("node: {name: r1, data: %q}\nadmin: {listen: \"127.0.0.1:0\"}\ndns: {listen: [\"127.0.0.1:0\"], zones: [{name: mms.example.net, ttl: 1s, addresses: [\"127.0.0.1\"]}]}\n"+
		"mm1: {listen: [\"127.0.0.1:0\"], ambiguous_wait: 100ms, access_log: {path: \"off\"}}\nlog: {level: error}\n%s\nmmscs:\n", dir, more)
	var ends []chan error
	run := func(f func(context.Context) error) {
		ended := make(chan error, 1)
		go func() { ended <- f(ctx) }()
		ends = append(ends, ended)
	}
	for _, name := range []string{"north", "south"} {
		ledger := filepath.Join(dir, name)
		m, err := fake.New(fake.Options{Name: name, Listen: "127.0.0.1:0", Ledger: ledger})
		if err != nil {
			t.Fatal(err)
		}
		s.ledgers = append(s.ledgers, ledger)
		run(m.Run)
		text += fmt.Sprintf("  - {name: %s, url: \"http://%s/\", probe: {type: http, path: /}}\n", name, m.Addr())
	}
	c, err := app.Parse("site.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if s.a, err = app.New(app.Options{Config: c, Version: "test", LogTo: io.Discard}); err != nil {
		t.Fatal(err)
	}
	run(s.a.Run)
	t.Cleanup(func() {
		cancel()
		for _, e := range ends {
			if err := <-e; err != nil {
				t.Error(err)
			}
		}
	})
	until(t, "ready", func() bool { return s.a.Ready() == nil })
	return s
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(15 * time.Second); !ok(); <-tick.C {
		if time.Now().After(limit) {
			t.Fatalf("no %s within 15 s", what)
		}
	}
}

func (s *site) admin() string { return "http://" + s.a.Listening()["admin.listen"][0] }

func (s *site) console(t *testing.T) console {
	t.Helper()
	c, err := admin.NewClient(s.admin(), "")
	if err != nil {
		t.Fatal(err)
	}
	return console{c}
}

// post sends a message of somebody else's and gives the attempts that it took.
func (s *site) post(t *testing.T, transaction, from, to string) []admin.Attempt {
	t.Helper()
	pdu := mms.SendReq{TransactionID: transaction, From: from + "/TYPE=PLMN", To: []string{to + "/TYPE=PLMN"}}.AppendHead(nil)
	resp, err := http.Post("http://"+s.a.Listening()["mm1.listen"][0]+"/", "application/vnd.wap.mms-message", bytes.NewReader(append(pdu, make([]byte, 60_000)...)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	fates, err := s.console(t).Client.Fate(t.Context(), transaction)
	if err != nil || len(fates) != 1 {
		t.Fatalf("%v, %v", fates, err)
	}
	return fates[0].Attempts
}

const numbersOfTests = `drill: {numbers: ["+46701740601", "+46701740602"]}`

// short is a drill of two seconds that does something to mmsc-1.
func short(t *testing.T, name, step string) string {
	return write(t, name+".yaml", "title: X\nlength: 2s\ntraffic: {rate: 40, sizes: [60KiB]}\nsteps:\n  - {at: 200ms, target: mmsc-1, "+step+"}\n  - {at: 1500ms, do: heal, target: mmsc-1}\nexpect: {doubled: 60}\n")
}

// What a drill breaks on a running system befalls its own messages, and no others; real messages go on meanwhile.
func TestDrillRun(t *testing.T) {
	tests := []struct{ name, step, says string }{
		{"cut", "do: cut, after: 20000B", `ok +doubled +0`},
		{"lost-answer", "do: cut_answer", `north and south|north and north`},
		{"refuse", "do: refuse", `ok +doubled +0`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := startSite(t, numbersOfTests)
			done := make(chan struct{})
			var code int
			var out, errOut string
			file := short(t, tt.name, tt.step)
			go func() {
				defer close(done)
				code, out, errOut = cli("drill", "run", "--admin", s.admin(), "--as", "mmsc-1=north", file)
			}()
			others := 0
			until(t, "faults", func() bool {
				d, err := s.console(t).Lend(t.Context())
				return err == nil && d.Lease != nil && len(d.Lease.Faults) > 0
			})
			for north := 0; north < 3 && others < 100; others++ {
				at := s.post(t, fmt.Sprintf("real-%d", others), "+46709999998", "+46709999999")
				if len(at) != 1 || at[0].Phase != "answered" {
					t.Errorf("a real message was befallen: %+v", at)
				}
				if at[0].MMSC == "north" {
					north++
				}
			}
			<-done
			if code != exitFine || !strings.Contains(out, "ok") {
				t.Fatalf("exit %d: %s%s", code, out, errOut)
			}
			if d, err := s.console(t).Lend(t.Context()); err != nil || d.Lease != nil {
				t.Errorf("the lease is held still: %+v, %v", d.Lease, err)
			}
			st, err := s.console(t).Status(t.Context())
			if err != nil || st.MMSCs[0].State != "up" {
				t.Errorf("the drill has told detection that north is broken: %+v, %v", st.MMSCs, err)
			}
			broken := 0
			fates, err := s.console(t).Client.Fate(t.Context(), "real-0")
			if err != nil || len(fates) == 0 {
				t.Error(err)
			}
			for _, ledger := range s.ledgers {
				all, err := fake.ReadLedger(ledger)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range all {
					if strings.HasPrefix(e.Transaction, "drill-") && e.Attempt != "" {
						broken++
					}
				}
			}
			if tt.name == "lost-answer" && broken == 0 {
				t.Error("no answer of the drill's own messages got lost")
			}
		})
	}
}

func TestDrillRunIsRefused(t *testing.T) {
	cut := short(t, "cut", "do: cut, after: 1000B")
	t.Run("no test numbers", func(t *testing.T) {
		s := startSite(t, "")
		if code, out, errOut := cli("drill", "run", "--admin", s.admin(), cut); code != exitFailed || !strings.Contains(errOut, "no test numbers") {
			t.Errorf("exit %d: %s%s", code, out, errOut)
		}
	})
	s := startSite(t, numbersOfTests)
	if code, out, errOut := cli("drill", "run", "--admin", s.admin(), "kill-mmsc"); code != exitFailed || !strings.Contains(errOut, "only a lab survives") {
		t.Errorf("a kill: exit %d: %s%s", code, out, errOut)
	}
	if code, out, errOut := cli("drill", "run", "--admin", s.admin(), "--real-traffic", cut); code != exitFailed || !strings.Contains(errOut, "could double or lose real messages") {
		t.Errorf("cutting real traffic: exit %d: %s%s", code, out, errOut)
	}
	if _, err := s.console(t).Begin(t.Context(), lease.Request{By: "ann", Scenario: "other", For: "1m"}); err != nil {
		t.Fatal(err)
	}
	if _, out, _ := cli("status", "--admin", s.admin()); !strings.Contains(out, "a drill runs: other of ann, on its own messages, until ") {
		t.Errorf("status does not show the drill:\n%s", out)
	}
	if code, out, errOut := cli("drill", "run", "--admin", s.admin(), cut); code != exitFailed || !strings.Contains(errOut, "drill other of ann runs until") {
		t.Errorf("a second drill: exit %d: %s%s", code, out, errOut)
	}
}

// A drill whose process is killed leaves nothing broken for longer than its lease.
func TestKilledDrillsLeaseEndsByItself(t *testing.T) {
	s := startSite(t, `drill: {numbers: ["+46701740601", "+46701740602"], max: 2s}`)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "drill", "run", "--admin", s.admin(), short(t, "cut", "do: cut, after: 1000B"))
	cmd.Env = append(os.Environ(), asProgram+"=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var held *lease.Lease
	until(t, "faults", func() bool {
		d, err := s.console(t).Lend(t.Context())
		held = d.Lease
		return err == nil && held != nil && len(held.Faults) > 0
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed, and says so
	befallen := s.post(t, held.Mark+".x1", "+46701740601", "+46701740602")
	if len(befallen) < 2 && befallen[0].MMSC == "north" {
		t.Errorf("nothing is broken while the lease lasts: %+v", befallen)
	}
	until(t, "end of the lease", func() bool {
		d, err := s.console(t).Lend(t.Context())
		return err == nil && d.Lease == nil
	})
	if late := time.Since(held.Until); late > 2*time.Second {
		t.Errorf("it ended %s after its time", late)
	}
	for i := range 4 {
		if at := s.post(t, fmt.Sprintf("%s.y%d", held.Mark, i), "+46701740601", "+46701740602"); len(at) != 1 {
			t.Errorf("it is broken still: %+v", at)
		}
	}
}

// Real traffic may be refused at one MMSC: the next one takes it, and nobody notices.
func TestDrillRealTraffic(t *testing.T) {
	s := startSite(t, numbersOfTests)
	file := write(t, "real.yaml", "title: X\nlength: 2s\ntraffic: {rate: 20}\nsteps:\n  - {at: 100ms, do: refuse, target: mmsc-1}\n  - {at: 1s, do: heal, target: mmsc-1}\n"+
		"  - {at: 1s, do: drain, target: mmsc-1}\n  - {at: 1800ms, do: undrain, target: mmsc-1}\n")
	done := make(chan struct{})
	var code int
	var out, errOut string
	go func() {
		defer close(done)
		code, out, errOut = cli("drill", "run", "--real-traffic", "--admin", s.admin(), "--as", "mmsc-1=north", file)
	}()
	drained := false
	refused := 0
	for n := 0; ; n++ {
		select {
		case <-done:
		default:
			at := s.post(t, fmt.Sprintf("real-%d", n), "+46709999998", "+46709999999")
			if last := at[len(at)-1]; last.Phase != "answered" || len(at) > 2 || len(at) == 2 && at[0].Phase != "connect" {
				t.Fatalf("a real message suffered: %+v", at)
			}
			if len(at) == 2 {
				refused++
			}
			st, err := s.console(t).Status(t.Context())
			drained = drained || err == nil && st.MMSCs[0].State == "draining"
			continue
		}
		break
	}
	if code != exitFine || !drained || refused == 0 {
		t.Errorf("exit %d, drained %v, %d refused: %s%s", code, drained, refused, out, errOut)
	}
	st, err := s.console(t).Status(t.Context())
	if err != nil || st.MMSCs[0].State != "up" || len(st.Drains) > 1 || len(st.Drains) == 1 && st.Drains[0].On {
		t.Errorf("the drain is there still: %+v, %+v, %v", st.MMSCs[0], st.Drains, err)
	}
}
