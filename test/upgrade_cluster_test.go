package test_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
	"github.com/mmsrouter/mmsrouter/test/program"
)

// members asks a router who lives, by name.
func (r *replaced) members() map[string]admin.Member {
	r.t.Helper()
	out, err := exec.Command(r.good, "status", "--json", "--admin", r.admin).Output()
	if err != nil {
		return nil // between two processes of a router that was told to end
	}
	var st admin.Status
	if err := json.Unmarshal(out, &st); err != nil {
		r.t.Fatalf("status: %v: %s", err, out)
	}
	all := map[string]admin.Member{}
	for _, m := range st.Members {
		all[m.Name] = m
	}
	return all
}

// TestUpgradeInACluster: a router that nobody told of the others keeps its place among them, its drains, and what it knows for them: a
// message in flight at its old process, posted again at another router, is sent once.
func TestUpgradeInACluster(t *testing.T) {
	a := fake(t, "mmsc-a")
	hold := make(chan struct{})
	a.Script(func(n int, _ *fakemmsc.Request) fakemmsc.Behaviour {
		if n == 1 {
			return fakemmsc.Behaviour{Store: true, Hold: hold}
		}
		return fakemmsc.Accept()
	})
	var all []*replaced
	join := ""
	for i := range 2 {
		at := program.Addresses(t, 1)[0]
		r := replaceable(t, fmt.Sprintf("cluster: {listen: %q, join: [%s], key: Y2x1c3RlciBvZiB0aGUgc3RvcmllcywgMzIgb2N0ZXQ=, probe_interval: 200ms, probe_timeout: 190ms, ask_timeout: 500ms}\n",
			at, join), a.URL())
		r.change("name: r1", fmt.Sprint("name: r", i+1))
		r.change("  access_log:", "  identity: {headers: [X-MSISDN], trusted: [\"127.0.0.0/8\"]}\n  access_log:")
		r.start()
		join = fmt.Sprintf("%q", at)
		all = append(all, r)
	}
	r1, r2 := all[0], all[1]
	both := func(r *replaced) func() bool {
		return func() bool {
			m := r.members()
			return m["r1"].State == "alive" && m["r1"].Known && m["r2"].State == "alive" && m["r2"].Known
		}
	}
	r1.await("r2 at r1", both(r1))
	r2.await("r1 at r2", both(r2))
	r1.run(0, "drain", "--admin", r1.admin, "--router", "r2", "--reason", "to be kept")

	body := pdu.SendReq("again", 20_000)
	post := func(at string, result chan<- handsets.Answer) {
		h := handsets.New(handsets.Options{Addr: at, Timeout: 20 * time.Second, Header: [][2]string{{"X-MSISDN", "+46701740605"}}})
		defer h.Close()
		answer, _ := h.Post(t.Context(), body, handsets.Fast) // no answer is an empty one
		result <- answer
	}
	first, second := make(chan handsets.Answer, 1), make(chan handsets.Answer, 1)
	go post(r1.mm1, first)
	await(t, a, "the message at the MMSC", func(k fakemmsc.Counts) bool { return k.Wholes == 1 })
	var seen []string
	watch, done := make(chan struct{}), make(chan struct{})
	go func() { // how r2 sees r1 all the while
		defer close(done)
		for {
			select {
			case <-watch:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if s := r2.members()["r1"].State; s != "alive" {
				seen = append(seen, s)
			}
		}
	}()
	old, _ := r1.upgrade()
	r1.await("r2 at the new process", both(r1))
	r2.await("r1 at r2", both(r2))
	if m := r1.members()["r2"]; m.Drain == nil || m.Drain.Reason != "to be kept" {
		t.Errorf("the new process knows of no drain of r2: %+v", m.Drain)
	}
	go post(r2.mm1, second)
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
	r1.await("end of the old process", func() bool { return !lives(old) })
	third := make(chan handsets.Answer, 1)
	post(r2.mm1, third)
	if z := <-third; !bytes.Equal(x.Body, z.Body) {
		t.Errorf("third %x", z.Body)
	}
	if n := a.Counts().Wholes; n != 1 {
		t.Errorf("%d messages at the MMSC, want 1", n)
	}
	close(watch)
	<-done
	if len(seen) > 0 {
		t.Errorf("r2 saw r1 as %s", strings.Join(seen, ", "))
	}
}
