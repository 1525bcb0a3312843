package services_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
	"github.com/mmsrouter/mmsrouter/test/program"
	"github.com/mmsrouter/mmsrouter/test/services/provider"
)

// process is the program as an operator runs it, to be killed.
type process struct {
	t          *testing.T
	bin, file  string
	mm1, admin string
	users      *phones
	log        *bytes.Buffer
	cmd        *exec.Cmd
	done       chan struct{}
}

func newProcess(t *testing.T, s setup) *process {
	t.Helper()
	at, dir := program.Addresses(t, 2), t.TempDir()
	p := &process{t: t, bin: program.Path(t), file: filepath.Join(dir, "mmsrouter.yaml"), mm1: at[0], admin: at[1], users: s.with}
	if p.users == nil {
		p.users = newPhones(t, s.phones)
	}
	if s.name == "" {
		s.name = "r1"
	}
	lines := []string{fmt.Sprintf("node: {name: %s, data: %q}", s.name, filepath.Join(dir, "data")), fmt.Sprintf("admin: {listen: %q}", p.admin), "log: {level: debug, format: json}",
		"dns: {zones: []}", "mm1:", fmt.Sprintf("  listen: [%q]", p.mm1), "  hosts: [mms.example.net]"}
	for _, l := range s.mm1() {
		lines = append(lines, "  "+l)
	}
	lines = append(lines, s.config(p.users)...)
	if err := os.WriteFile(p.file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.users.at.Store(p.mm1)
	p.start()
	t.Cleanup(p.kill)
	return p
}

// start runs it and waits until it is ready.
func (p *process) start() {
	p.t.Helper()
	p.log, p.done = &bytes.Buffer{}, make(chan struct{})
	p.cmd = exec.Command(p.bin, "serve", "-c", p.file)
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	cmd, done := p.cmd, p.done
	go func() {
		_ = cmd.Wait() // it is killed, or its log tells
		close(done)
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		if resp, err := client.Get("http://" + p.admin + "/readyz"); err == nil {
			_ = resp.Body.Close() // only the status counts
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-p.done:
			p.t.Fatalf("the program ended: %s", p.log)
		case <-end.C:
			p.kill()
			p.t.Fatalf("the program is not ready: %s", p.log)
		case <-tick.C:
		}
	}
}

// kill ends it as a power loss does. Killing twice is fine.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
	if p.t.Failed() {
		log := p.log.String()
		p.t.Logf("log of the program:\n%s", log[max(0, len(log)-6000):])
	}
}

// TestKilledInMidSession: the program is killed while the provider thinks about the second turn, and once more when the third was accepted and not
// yet asked. After each start the session goes on where it was: the same key, the same state, one reply a turn.
func TestKilledInMidSession(t *testing.T) {
	t.Parallel()
	w := newProcess(t, setup{delivery: ", timeout: 1s, lease: 2s", services: []string{"lease: 1s"}})
	thinking := make(chan struct{}, 1)
	well := func(a provider.Ask) provider.Answer {
		return provider.Reply{Text: fmt.Sprintf("%d/%s/%s", a.Turn, a.State, a.Text()), State: a.State + "x"}.XML()
	}
	first := true
	var mu sync.Mutex
	p := provider.Start(t, provider.Options{Do: func(a provider.Ask) provider.Answer {
		mu.Lock()
		think := a.Turn == 2 && first
		first = first && !think
		mu.Unlock()
		if think {
			return provider.Answer{Do: func(_ http.ResponseWriter, r *http.Request) {
				thinking <- struct{}{}
				<-r.Context().Done() // whoever asked is dead
			}}
		}
		return well(a)
	}})
	enter(t, "http://"+w.admin, fmt.Sprintf(`{name: quiz, match: {codes: ["7000"]}, provider: {url: "%s", format: xml, retry: {first: 50ms, max: 200ms, for: 1h}}}`, p.URL))
	w.users.say(t, alice, "7000", "a")
	if r := w.users.reply(t, alice, "7000", 1); r.text != "1//a" {
		t.Errorf("first turn: %q", r.text)
	}
	w.users.say(t, alice, "7000", "b")
	<-thinking
	w.kill()
	w.start()
	if r := w.users.reply(t, alice, "7000", 2); r.text != "2/x/b" {
		t.Errorf("the turn that was under way: %q", r.text)
	}
	p.Stop()
	w.users.say(t, alice, "7000", "c")
	w.kill()
	p2 := provider.Start(t, provider.Options{Addr: p.Addr, Do: well})
	w.start()
	if r := w.users.reply(t, alice, "7000", 3); r.text != "3/xx/c" {
		t.Errorf("the turn that was accepted: %q", r.text)
	}
	w.users.say(t, alice, "7000", "d")
	if r := w.users.reply(t, alice, "7000", 4); r.text != "4/xxx/d" {
		t.Errorf("the turn after it: %q", r.text)
	}
	if n := w.users.count(alice); n != 4 || p.Repeats() != 1 {
		t.Errorf("%d replies, want 4; %d keys repeated, want 1", n, p.Repeats())
	}
	p2.Await(2, "for a turn", provider.Turn)
}

// TestKilledAnywhere kills the program at moments that nobody picks while users write, and counts: each message that was accepted has one reply, no
// more and no less. Alone on SQLite; then two on one PostgreSQL, of which one is killed and the other goes on.
func TestKilledAnywhere(t *testing.T) {
	if os.Getenv("MMSROUTER_LONG") == "" {
		t.Skip("MMSROUTER_LONG not set: no rounds of kills")
	}
	quick := setup{delivery: ", timeout: 1s, lease: 2s", services: []string{"lease: 1s"}}
	t.Run("alone", func(t *testing.T) { killAnywhere(t, newProcess(t, quick)) })
	t.Run("two on one database", func(t *testing.T) {
		a := quick
		a.mmsc = []string{fmt.Sprintf("database: %q", pgtest.DSN(t))}
		first := newProcess(t, a)
		b := a
		b.name, b.with = "r2", first.users
		killAnywhere(t, first, newProcess(t, b))
	})
}

// killAnywhere writes to the nodes in turn, of which one after the other is killed and started again.
func killAnywhere(t *testing.T, nodes ...*process) {
	users := nodes[0].users
	var calls atomic.Int64
	p := provider.Start(t, provider.Options{Do: func(a provider.Ask) provider.Answer {
		switch calls.Add(1) % 10 { // the provider has its own troubles
		case 3:
			return provider.Answer{Status: http.StatusServiceUnavailable}
		case 6:
			return provider.Cut("application/json")
		}
		return provider.Reply{Text: "re " + a.Text()}.JSON()
	}})
	enter(t, "http://"+nodes[0].admin, fmt.Sprintf(`{name: echo, match: {codes: ["7000"]}, provider: {url: "%s", retry: {first: 50ms, max: 200ms, for: 1h}, breaker: {failures: 1000}}}`, p.URL))
	accepted, n := map[string]bool{}, 0
	for round := range 20 {
		victim, killed := nodes[round%len(nodes)], make(chan struct{})
		pause := time.AfterFunc(time.Duration(20+37*round%300)*time.Millisecond, func() {
			victim.kill()
			close(killed)
		})
		for alive := true; alive; n++ {
			text := fmt.Sprint("m", n)
			users.at.Store(nodes[n%len(nodes)].mm1)
			if _, err := users.Send(t.Context(), alice, letter("7000", text)); err == nil {
				accepted["re "+text] = true
			}
			select {
			case <-killed:
				alive = false
			default:
			}
		}
		pause.Stop()
		victim.start()
	}
	if len(accepted) == 0 {
		t.Fatal("nothing was accepted")
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	got := texts(users)
	for end := time.Now().Add(2 * patience); time.Now().Before(end) && !covers(got, accepted); got = texts(users) {
		<-tick.C
	}
	for text := range accepted {
		if got[text] == 0 {
			t.Errorf("%q did not come", text)
		}
	}
	for text, k := range got {
		if k > 1 {
			t.Errorf("%q came %d times", text, k)
		}
	}
	t.Logf("%d messages sent, %d accepted, %d replies", n, len(accepted), len(got))
}

// texts counts the texts that alice has got.
func texts(users *phones) map[string]int {
	got := map[string]int{}
	for _, e := range users.All() {
		if e.Kind != handset.Stored || e.Number != alice {
			continue
		}
		for i := range e.Message.Parts {
			if part := &e.Message.Parts[i]; part.ContentType.Is("text/plain") {
				got[string(part.Data)]++
			}
		}
	}
	return got
}

func covers(got map[string]int, want map[string]bool) bool {
	for text := range want {
		if got[text] == 0 {
			return false
		}
	}
	return true
}
