package healthcheck

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A script of observations: "u" good probe, "d" failed probe, "x" failed attempt, "o" good attempt, "f" good
// probe with a fault, "s" a good probe that began long ago, and a duration waits. The outcome is told after each as
// up, down, ejected or unknown, with the events that are not quiet.
func TestState(t *testing.T) {
	base := policy{rise: 2, fall: 2, trafficFall: 2, window: 10 * time.Second, hold: time.Second, maxHold: 8 * time.Second}
	with := func(f func(*policy)) policy { p := base; f(&p); return p }
	for _, c := range []struct {
		name, script, want string
		p                  policy
		full               bool // the cap leaves no room
	}{
		{name: "a single good probe is the first verdict", p: base, script: "u", want: "up!"},
		{name: "a single failed probe is the first verdict", p: base, script: "d", want: "down!"},
		{name: "fall failed probes take it out", p: base, script: "u d d", want: "up! up down!"},
		{name: "a good probe between them forgives", p: base, script: "u d u d u d d", want: "up! up up up up up down!"},
		{name: "rise good probes bring it back", p: base, script: "d u u", want: "down! down up!"},
		{name: "a failed probe between them starts over", p: base, script: "d u d u u", want: "down! down down down up!"},
		{name: "fall 3, rise 1", p: with(func(p *policy) { p.fall, p.rise = 3, 1 }), script: "u d d d u", want: "up! up up down! up!"},
		{name: "failed attempts in a row eject", p: base, script: "u x x", want: "up! up? ejected!"},
		{name: "a good attempt between them forgives", p: base, script: "u x o x o x x", want: "up! up? up up? up up? ejected!"},
		{name: "a good probe between them does not", p: base, script: "u x u x", want: "up! up? up ejected!"},
		{name: "an old failed attempt is forgotten", p: base, script: "u x 11s x x", want: "up! up? - up? ejected!"},
		{name: "attempt and probe count together", p: base, script: "u x d", want: "up! up? down!"},
		{name: "probe and attempt count together", p: base, script: "u d x", want: "up! up ejected!"},
		{name: "an old failed attempt does not count with a probe", p: base, script: "u x 11s d d", want: "up! up? - up down!"},
		{name: "a fall of its own for traffic", p: with(func(p *policy) { p.trafficFall = 4 }), script: "u x x x x", want: "up! up? up up ejected!"},
		{name: "traffic fall 1", p: with(func(p *policy) { p.trafficFall = 1 }), script: "u x", want: "up! ejected!"},
		{name: "traffic off", p: with(func(p *policy) { p.trafficFall = 0 }), script: "u x x x d x d", want: "up! up up up up up down!"},
		{name: "the cap spares and says so once", p: base, full: true, script: "u x x x o x x", want: "up! up? upS up up up? upS"},
		{name: "attempts at one that is down say nothing new", p: base, script: "d x x u u", want: "down! down down down up!"},
		{name: "attempts before the first verdict count nothing", p: base, script: "x x x u", want: "unknown unknown unknown up!"},
		{name: "probes bring an ejected one back", p: base, script: "u x x u u", want: "up! up? ejected! ejected up!"},
		{name: "a probe that began before the ejection does not count", p: base, script: "u x x s u u", want: "up! up? ejected! ejected ejected up!"},
		{name: "probes confirm an ejection", p: base, script: "u x x d d u u", want: "up! up? ejected! ejected downC down up!"},
		{name: "ejected again and probes saw nothing: hold", p: base, script: "u x x u u x x u u u 1s u",
			want: "up! up? ejected! ejected up! up? ejected! ejected ejected ejected - up!"},
		{name: "the hold doubles", p: base, script: "u x x u u x x 1s u u x x 1s u u 1s u",
			want: "up! up? ejected! ejected up! up? ejected! - ejected up! up? ejected! - ejected ejected - up!"},
		{name: "no hold when a probe saw it too", p: base, script: "u x x d u u x x u u",
			want: "up! up? ejected! ejected ejected up! up? ejected! ejected up!"},
		{name: "no hold after it was well for long", p: base, script: "u x x u u 9s x x u u",
			want: "up! up? ejected! ejected up! - up? ejected! ejected up!"},
		{name: "a fault comes and goes", p: base, script: "u f f u", want: "up! upF up upF"},
		{name: "a first verdict with a fault", p: base, script: "f d d", want: "up! up down!"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s state
			now := time.Unix(1_000_000, 0)
			var got []string
			for _, word := range strings.Fields(c.script) {
				if d, err := time.ParseDuration(word); err == nil {
					now = now.Add(d)
					got = append(got, "-")
					continue
				}
				e := quiet
				now = now.Add(time.Millisecond)
				switch word {
				case "u":
					e = s.probed(c.p, now, now, Result{Up: true, Why: "fine"})
				case "f":
					e = s.probed(c.p, now, now, Result{Up: true, Why: "fine", Fault: "accepts all"})
				case "s":
					e = s.probed(c.p, now, now.Add(-time.Hour), Result{Up: true, Why: "fine"})
				case "d":
					e = s.probed(c.p, now, now, Result{Why: "refused"})
				case "x":
					e = s.attemptFailed(c.p, now, "reset", func() bool { return !c.full })
				case "o":
					s.attemptPassed()
				default:
					t.Fatalf("no observation is called %q", word)
				}
				got = append(got, look(&s)+map[event]string{cameUp: "!", wentDown: "!", ejected: "!", suspected: "?", spared: "S", confirmed: "C", faulted: "F"}[e])
				if v := s.verdict(c.p, now); v.Up != s.up || v.Known != s.known || (v.Known && (v.Why == "" || v.Since.IsZero())) || (!v.Up && v.Fault != "") {
					t.Errorf("after %q the verdict is %+v", word, v)
				}
			}
			if g := strings.Join(got, " "); g != c.want {
				t.Errorf("script %s\n got %s\nwant %s", c.script, g, c.want)
			}
		})
	}
}

func look(s *state) string {
	switch {
	case !s.known:
		return "unknown"
	case s.ejected:
		return "ejected"
	case s.up:
		return "up"
	}
	return "down"
}

func TestSlowStart(t *testing.T) {
	p := policy{rise: 1, fall: 1, slowStart: 10 * time.Second}
	now := time.Unix(1_000_000, 0)
	var s state
	s.probed(p, now, now, Result{Up: true, Why: "fine"})
	if v := s.verdict(p, now); v.Ramp != 0 {
		t.Fatalf("the first verdict is no recovery, but the ramp is at %d %%", v.Ramp)
	}
	s.probed(p, now, now, Result{Why: "refused"})
	s.probed(p, now, now, Result{Up: true, Why: "fine"})
	var got []string
	for at := now; ; {
		percent, next := s.step(p, at)
		got = append(got, fmt.Sprintf("%s:%d", at.Sub(now), percent))
		if next.IsZero() {
			break
		}
		if before, _ := s.step(p, next.Add(-1)); before != percent {
			t.Errorf("just before %s the ramp is at %d %%, want %d", next.Sub(now), before, percent)
		}
		at = next
	}
	want := "0s:10 1s:20 2s:30 3s:40 4s:50 5s:60 6s:70 7s:80 8s:90 9s:0"
	if g := strings.Join(got, " "); g != want {
		t.Errorf("got %s\nwant %s", g, want)
	}
	if percent, _ := s.step(p, now.Add(-time.Hour)); percent != 0 {
		t.Errorf("a clock that went back gives a ramp of %d %%", percent)
	}
}

func TestChanging(t *testing.T) {
	p := policy{rise: 3, fall: 3, trafficFall: 3, window: time.Second}
	now := time.Unix(1_000_000, 0)
	up := Result{Up: true, Why: "fine"}
	for _, c := range []struct {
		name   string
		script func(s *state)
		want   bool
	}{
		{"steady up", func(s *state) { s.probed(p, now, now, up); s.probed(p, now, now, up) }, false},
		{"up with a failed probe", func(s *state) { s.probed(p, now, now, up); s.probed(p, now, now, Result{}) }, true},
		{"up with a failed attempt", func(s *state) {
			s.probed(p, now, now, up)
			s.attemptFailed(p, now, "reset", func() bool { return true })
		}, true},
		{"steady down", func(s *state) { s.probed(p, now, now, Result{}); s.probed(p, now, now, Result{}) }, false},
		{"down with a good probe", func(s *state) { s.probed(p, now, now, Result{}); s.probed(p, now, now, up) }, true},
		{"held back", func(s *state) {
			s.probed(p, now, now, Result{})
			s.holdFor = time.Hour
			for range 5 {
				s.probed(p, now, now, up)
			}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s state
			c.script(&s)
			if got := s.changing(p, now); got != c.want {
				t.Errorf("changing is %v, want %v (%+v)", got, c.want, s)
			}
		})
	}
}
