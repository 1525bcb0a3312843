package healthcheck_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mmsrouter/mmsrouter/healthcheck"
	"github.com/mmsrouter/mmsrouter/router"
)

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// sinceStart turns dial times into milliseconds from the first on.
func sinceStart(at []time.Time, start time.Time) (ms []int) {
	for _, a := range at {
		ms = append(ms, int(a.Sub(start).Milliseconds()))
	}
	return ms
}

func TestFirstVerdictComesFromOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, steady(), target("a"), target("b"), healthcheck.Target{Name: "local", Check: func(context.Context) error { return nil }})
		r.fakes.set("a:9000", takes)
		if r.row("a").Known || isClosed(r.Ready()) {
			t.Fatal("a verdict before the first probe")
		}
		r.start()
		synctest.Wait()
		if !isClosed(r.Ready()) {
			t.Fatal("not ready after a probe of each")
		}
		for name, want := range map[string]bool{"a": true, "b": false, "local": true} {
			if m := r.row(name); !m.Known || m.Up != want || m.Why == "" || m.Ramp != 0 {
				t.Errorf("%s: %+v, want up %v", name, m.Verdict, want)
			}
		}
		if why := r.row("b").Why; !strings.Contains(why, "connection refused") {
			t.Errorf("b is down because %q", why)
		}
		r.wantMetric(1, "mmsrouter_mmsc_up", "mmsc", "a")
		r.wantMetric(0, "mmsrouter_mmsc_up", "mmsc", "b")
		r.wantMetric(1, "mmsrouter_healthcheck_changes_total", "mmsc", "b", "to", "down")
		r.wantMetric(1, "mmsrouter_healthcheck_probes_total", "mmsc", "a", "result", "up")
		r.end()
	})
}

func TestReadyWithoutTargets(t *testing.T) {
	r := newRig(t, steady())
	if !isClosed(r.Ready()) {
		t.Error("no target, yet not ready")
	}
}

func TestProbesComeFasterWhileTheStateChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, steady(), target("a"))
		r.fakes.set("a:9000", takes)
		start := time.Now()
		r.start()
		time.Sleep(1500 * time.Millisecond)
		r.fakes.set("a:9000", nil) // refuses from now on
		time.Sleep(1500 * time.Millisecond)
		if m := r.row("a"); m.Up || m.Since.Sub(start) != 2250*time.Millisecond {
			t.Errorf("down %v after %s, want after 2.25s", !m.Up, m.Since.Sub(start))
		}
		time.Sleep(500 * time.Millisecond)
		r.fakes.set("a:9000", takes)
		time.Sleep(1900 * time.Millisecond)
		want := []int{0, 1000, 2000, 2250, 3250, 4250, 4500}
		if got := sinceStart(r.fakes.took("a:9000"), start); !slices.Equal(got, want) {
			t.Errorf("probes at %v ms, want %v", got, want)
		}
		if m := r.row("a"); !m.Up || m.Since.Sub(start) != 4500*time.Millisecond {
			t.Errorf("up %v after %s, want after 4.5s", m.Up, m.Since.Sub(start))
		}
		r.end()
	})
}

func TestJitterSpreadsProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := steady()
		cfg.Jitter = 20
		r := newRig(t, cfg, target("a"))
		r.fakes.set("a:9000", takes)
		r.start()
		time.Sleep(60 * time.Second)
		at := r.fakes.took("a:9000")
		if len(at) < 48 || len(at) > 78 {
			t.Errorf("%d probes in a minute", len(at))
		}
		different := map[time.Duration]bool{}
		for i := 1; i < len(at); i++ {
			d := at[i].Sub(at[i-1])
			different[d] = true
			if d < 800*time.Millisecond || d > 1200*time.Millisecond {
				t.Errorf("interval %s is more than 20 %% off", d)
			}
		}
		if len(different) < 10 {
			t.Errorf("only %d different intervals", len(different))
		}
		r.end()
	})
}

func TestTriggerProbesAtOnceButNotInAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := steady()
		cfg.Probe.Interval = 10 * time.Second
		r := newRig(t, cfg, target("a"))
		r.fakes.set("a:9000", takes)
		start := time.Now()
		r.start()
		time.Sleep(3 * time.Second)
		if !r.Trigger("a") || r.Trigger("nobody") {
			t.Error("Trigger does not know its targets")
		}
		synctest.Wait()
		for range 10 {
			r.Trigger("a")
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		if got, want := sinceStart(r.fakes.took("a:9000"), start), []int{0, 3000, 3050}; !slices.Equal(got, want) {
			t.Errorf("probes at %v ms, want %v", got, want)
		}
		r.end()
	})
}

func TestLiveTrafficEjectsAtOnceAndProbesBringBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, steady(), target("a"), target("b"))
		r.fakes.set("a:9000", takes)
		r.fakes.set("b:9000", takes)
		start := time.Now()
		r.start()
		time.Sleep(1500 * time.Millisecond)
		r.Observe("a", false, "connection reset") // a probe at 1500
		synctest.Wait()
		r.Observe("a", true, "")
		r.Observe("a", false, "connection reset") // a probe at 1550, 50 ms after the one before
		if !r.row("a").Up {
			t.Fatal("ejected although a good attempt stood between two failed ones")
		}
		r.Observe("a", false, "connection reset\r\nby \x00 peer")
		m := r.row("a")
		if m.Up || !m.Ejected || m.Why != "2 failed attempts in a row: connection reset  by   peer" {
			t.Fatalf("not ejected at once: %+v", m.Verdict)
		}
		r.wantMetric(1, "mmsrouter_healthcheck_ejections_total", "mmsc", "a", "result", "done")
		r.wantMetric(3, "mmsrouter_healthcheck_traffic_failures_total", "mmsc", "a")
		time.Sleep(500 * time.Millisecond)
		if m := r.row("a"); !m.Up || m.Ejected || m.Since.Sub(start) != 1800*time.Millisecond {
			t.Errorf("after two good probes: %+v, since %s", m.Verdict, m.Since.Sub(start))
		}
		if got, want := sinceStart(r.fakes.took("a:9000"), start), []int{0, 1000, 1500, 1550, 1800}; !slices.Equal(got, want) {
			t.Errorf("probes at %v ms, want %v: one at once when traffic fails", got, want)
		}
		r.end()
	})
}

func TestTheCapOnEjections(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	for _, c := range []struct {
		name    string
		targets int
		share   int
		drained string
		fail    []string // in turn, each twice
		want    []string // ejected
	}{
		{"half of two", 2, 50, "", []string{"a", "b"}, []string{"a"}},
		{"half of four", 4, 50, "", []string{"a", "b", "c", "d"}, []string{"a", "b"}},
		{"half of three", 3, 50, "", []string{"b", "c"}, []string{"b"}},
		{"all, but never the last one up", 3, 100, "", []string{"a", "b", "c"}, []string{"a", "b"}},
		{"the only one", 1, 100, "", []string{"a"}, nil},
		{"a drained one does not count as left", 2, 100, "b", []string{"a"}, nil},
		{"none", 4, 0, "", []string{"a", "b"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := steady()
				cfg.Passive.MaxEjected = c.share
				var targets []healthcheck.Target
				for _, n := range names[:c.targets] {
					targets = append(targets, target(n))
				}
				targets = append(targets, healthcheck.Target{Name: router.LocalName, Check: func(context.Context) error { return nil }})
				r := newRig(t, cfg, targets...)
				for _, n := range names {
					r.fakes.set(n+":9000", takes)
				}
				r.start()
				synctest.Wait()
				if c.drained != "" {
					if err := r.board.SetDrain(c.drained, &router.Drain{By: "test"}); err != nil {
						t.Fatal(err)
					}
				}
				spared := len(c.fail) - len(c.want)
				for _, n := range c.fail {
					for range 5 {
						r.Observe(n, false, "reset")
					}
				}
				var got []string
				for _, m := range r.board.Load().MMSCs {
					if m.Ejected {
						got = append(got, m.Name)
					}
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("ejected %v, want %v", got, c.want)
				}
				var sum float64
				for _, n := range c.fail {
					v, _ := r.metric("mmsrouter_healthcheck_ejections_total", "mmsc", n, "result", "spared")
					sum += v
				}
				if int(sum) != spared {
					t.Errorf("%v counted as spared, want %d", sum, spared)
				}
				r.end()
			})
		})
	}
}

func TestARecoveredMMSCStartsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := steady()
		cfg.SlowStart = 2 * time.Second
		cfg.Probe.Interval = 10 * time.Second
		up := false
		var mu sync.Mutex
		r := newRig(t, cfg, healthcheck.Target{Name: "local", Check: func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			if up {
				return nil
			}
			return errDown
		}})
		r.start()
		synctest.Wait()
		if m := r.row("local"); m.Up || m.Why != errDown.Error() {
			t.Fatalf("first verdict %+v", m.Verdict)
		}
		mu.Lock()
		up = true
		mu.Unlock()
		time.Sleep(12500*time.Millisecond + time.Millisecond) // probes at 10s and 12.5s (a quarter of the interval)
		var got []uint8
		for range 11 {
			got = append(got, r.row("local").Ramp)
			time.Sleep(200 * time.Millisecond)
		}
		if want := []uint8{10, 20, 30, 40, 50, 60, 70, 80, 90, 0, 0}; !slices.Equal(got, want) {
			t.Errorf("ramp %v, want %v", got, want)
		}
		r.end()
	})
}

func TestRunEndsWhileAProbeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := steady()
		cfg.Probe = healthcheck.ProbeConfig{Type: healthcheck.HTTP, Timeout: time.Minute}
		r := newRig(t, cfg, target("a"))
		r.fakes.set("a:9000", takes) // never answers
		r.start()
		synctest.Wait()
		began := time.Now()
		r.end()
		if took := time.Since(began); took != 0 {
			t.Errorf("Run went on for %s", took)
		}
		if r.row("a").Known {
			t.Error("the broken-off probe became a verdict")
		}
		if err := r.Run(context.Background()); err == nil {
			t.Error("a second Run is allowed")
		}
	})
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, steady(), target("a"), target("b"))
		for _, n := range []string{"a", "b", "c"} {
			r.fakes.set(n+":9000", takes)
		}
		r.start()
		time.Sleep(1500 * time.Millisecond)
		since := r.row("a").Since

		bad := target("c")
		bad.Probe.Type = "ping"
		if err := r.Reload(steady(), []healthcheck.Target{bad}); err == nil || !strings.Contains(err.Error(), `c: probe.type: "ping" is not allowed`) {
			t.Fatalf("a faulty reload says %v", err)
		}
		if _, ok := r.metric("mmsrouter_mmsc_up", "mmsc", "c"); ok || !r.Trigger("b") {
			t.Fatal("a faulty reload changed something")
		}

		r.configure(target("a"), target("c"))
		if err := r.Reload(steady(), []healthcheck.Target{target("a"), target("c")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if m := r.row("a"); !m.Up || !m.Since.Equal(since) {
			t.Errorf("a lost its verdict: %+v", m.Verdict)
		}
		if m := r.row("c"); !m.Up {
			t.Errorf("c has no verdict: %+v", m.Verdict)
		}
		before := len(r.fakes.took("b:9000"))
		r.Observe("b", false, "an attempt that was under way")
		time.Sleep(3 * time.Second)
		if n := len(r.fakes.took("b:9000")); n != before || r.Trigger("b") {
			t.Errorf("b is still probed: %d times after the reload", n-before)
		}
		if _, ok := r.metric("mmsrouter_mmsc_up", "mmsc", "b"); ok {
			t.Error("b still has metrics")
		}

		moved := target("a")
		moved.URL = "http://elsewhere:9000/"
		r.configure(moved, target("c"))
		if err := r.Reload(steady(), []healthcheck.Target{moved, target("c")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if m := r.row("a"); !m.Known || m.Up {
			t.Errorf("a moved to an address that refuses, yet: %+v", m.Verdict)
		}
		r.end()
	})
}

func TestTheVerdictSurvivesAReloadInTheOtherOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, steady(), target("a"))
		r.fakes.set("a:9000", takes)
		r.fakes.set("b:9000", takes)
		r.start()
		synctest.Wait()
		if err := r.Reload(steady(), []healthcheck.Target{target("a"), target("b")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.configure(target("a"), target("b")) // the Board learns of b only now
		time.Sleep(1100 * time.Millisecond)
		if m := r.row("b"); !m.Known || !m.Up {
			t.Errorf("b has no verdict an interval later: %+v", m.Verdict)
		}
		r.end()
	})
}

func TestObserveFromManyGoroutines(t *testing.T) {
	r := newRig(t, steady(), target("a"), target("b"))
	r.fakes.set("a:9000", takes)
	r.fakes.set("b:9000", takes)
	r.start()
	<-r.Ready()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := range 200 {
				r.Observe([]string{"a", "b", "nobody"}[(i+n)%3], n%4 == 0, "reset")
			}
		})
	}
	wg.Wait()
	up := 0
	for _, n := range []string{"a", "b"} {
		if r.row(n).Up {
			up++
		}
	}
	if up == 0 {
		t.Error("live traffic took the last MMSC out")
	}
	r.end()
}

func TestAGoodAttemptCostsNoMemory(t *testing.T) {
	r := newRig(t, steady(), target("a"))
	if n := testing.AllocsPerRun(100, func() { r.Observe("a", true, "") }); n != 0 {
		t.Errorf("%v allocations for a good attempt", n)
	}
}

func TestNewRefuses(t *testing.T) {
	board := router.NewBoard(1)
	for _, c := range []struct {
		name string
		o    healthcheck.Options
		want string
	}{
		{"no board", healthcheck.Options{Config: steady()}, "no Board"},
		{"a faulty section", healthcheck.Options{Board: board, Config: healthcheck.Config{Jitter: 99}}, "detection.jitter: 99"},
		{"a name twice", healthcheck.Options{Board: board, Config: steady(), Targets: []healthcheck.Target{target("a"), target("a")}}, `"a" is empty or given twice`},
		{"no url", healthcheck.Options{Board: board, Config: steady(), Targets: []healthcheck.Target{{Name: "a", URL: "a:80"}}}, "mmscs: a: url:"},
		{"a source that is no address", healthcheck.Options{Board: board, Config: steady(), Targets: []healthcheck.Target{{Name: "a", URL: "http://a/", SourceAddress: "eth0"}}}, ""},
		{"no such file", healthcheck.Options{Board: board, Config: steady(), Targets: []healthcheck.Target{{Name: "a", URL: "http://a/",
			Probe: healthcheck.ProbeConfig{Type: healthcheck.MM1, File: "testdata/absent.mms"}}}}, "mmscs: a: probe.file:"},
		{"a file that is no M-Send.req", healthcheck.Options{Board: board, Config: steady(), Targets: []healthcheck.Target{{Name: "a", URL: "http://a/",
			Probe: healthcheck.ProbeConfig{Type: healthcheck.MM1, File: "mm1_test.go"}}}}, "want an M-Send.req"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want == "" {
				c.want = "source_address: \"eth0\" is not an IP address"
			}
			_, err := healthcheck.New(c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}
