package test_test

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
)

// mmscProcess starts a fake MMSC in a process of its own.
func mmscProcess(t testing.TB, name, dir string) *fakemmsc.Process {
	t.Helper()
	p, err := fakemmsc.StartProcess(name, dir, func(args []string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], append(args, "-delay", "5ms")...) // so that a kill finds messages stored but not answered
		cmd.Env = append(os.Environ(), asMMSC+"=1")
		return cmd
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// The drill: 64 clients, two MMSCs; one is killed by SIGKILL in the middle, comes back, and the other one dies. Nobody
// sees a failure, every accepted message is stored, and there are no more copies than ambiguous retries were counted.
func TestDrillKill(t *testing.T) {
	dir := t.TempDir()
	a, b := mmscProcess(t, "mmsc-a", dir), mmscProcess(t, "mmsc-b", dir)
	r := appliance.Start(t, appliance.Setup{Detection: appliance.Alert,
		MM1:   []string{"timeouts: {connect: 10s}"},
		MMSCs: []appliance.MMSC{{Name: "mmsc-a", URL: a.URL()}, {Name: "mmsc-b", URL: b.URL()}}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	progress := make(chan int, 100_000)
	finished := make(chan *handsets.Ledger, 1)
	go func() {
		finished <- handsets.Run(ctx, handsets.Plan{Handset: handsets.Options{Addr: r.MM1, Timeout: 60 * time.Second}, Handsets: 64, Think: 20 * time.Millisecond,
			Sizes: []int{1000, 30_000, 300_000}, Ways: []handsets.Way{handsets.Fast, handsets.Chunked, handsets.Trickle(30_000, 10, time.Millisecond)},
			Prefix: "d", Each: func(n int) { progress <- n }})
	}()
	// each step waits until another so many messages have come to their end
	more := func(n int) {
		t.Helper()
		limit := time.After(60 * time.Second)
		for range n {
			select {
			case <-progress:
			case <-limit:
				t.Fatal("the clients have come to a halt")
			}
		}
	}
	type victim struct {
		name string
		p    *fakemmsc.Process
	}
	victims := []victim{{"mmsc-a", a}, {"mmsc-b", b}, {"mmsc-a", a}}
	if os.Getenv("MMSROUTER_LONG") != "" {
		for range 20 {
			victims = append(victims, victim{"mmsc-b", b}, victim{"mmsc-a", a})
		}
	}
	for _, m := range victims {
		more(300)
		m.p.Kill()
		r.AwaitState(m.name, "down")
		more(300)
		if err := m.p.Start(); err != nil {
			t.Fatal(err)
		}
		r.AwaitState(m.name, "up")
	}
	more(300)
	cancel()
	l := <-finished
	ra, err := a.Records()
	if err != nil {
		t.Fatal(err)
	}
	rb, err := b.Records()
	if err != nil {
		t.Fatal(err)
	}
	bal := l.Balance(ra, rb)
	retries := r.Metric("mmsrouter_proxy_ambiguous_retries_total")
	t.Logf("%v; %v ambiguous retries counted", bal, retries)
	if bal.Failed+bal.Refused+bal.Transient > 0 {
		t.Errorf("clients saw failures: %v", bal)
		for _, s := range l.Sent() {
			if s.Outcome != handsets.Accepted {
				line := r.AwaitLine(s.Transaction)
				t.Logf("%s %s after %s: %+v", s.Transaction, s.Outcome, s.Took, line.Attempts)
			}
		}
	}
	if f := bal.Faults(); f != "" {
		t.Error(f)
	}
	if float64(bal.Copies) > retries {
		t.Errorf("%d copies, but only %v ambiguous retries were counted", bal.Copies, retries)
	}
}
