package healthcheck

import (
	"fmt"
	"time"

	"github.com/mmsrouter/mmsrouter/router"
)

// policy is what the state machine of one target goes by.
type policy struct {
	rise, fall  int
	trafficFall int           // failed attempts in a row that eject; 0: live traffic ejects nobody
	window      time.Duration // a failed attempt is forgotten after so long
	hold        time.Duration
	maxHold     time.Duration
	slowStart   time.Duration
}

// event is what an observation brought about.
type event uint8

const (
	quiet     event = iota
	cameUp          // passes detection from now on
	wentDown        // probes took it out
	ejected         // live traffic took it out
	confirmed       // probes now see what live traffic saw
	spared          // live traffic would have ejected it, but too many are out
	suspected       // the first failed attempt of a row
	faulted         // a misconfiguration appeared or went away
)

// state is the state machine of one target. It is pure: times are handed in.
//
//	unknown --first probe--> up or down
//	up --fall failures in a row, of probes and traffic together--> down, or ejected if traffic alone did it
//	ejected --fall failed probes--> down
//	down, ejected --rise good probes (and the hold is over)--> up, with a slow start
type state struct {
	known   bool
	up      bool
	ejected bool
	why     string
	fault   string
	since   time.Time

	good, bad int       // probe results in a row
	failed    int       // failed attempts of live traffic in a row
	failedAt  time.Time // the last of them
	spared    bool      // this row has been spared and said so

	blind   bool          // no probe has failed since the last ejection: probes can't see the trouble
	holdFor time.Duration // how long this ejection lasts at least
	ramp    bool          // slow start under way since `since`
}

// probed takes the result of a probe that began at started.
func (s *state) probed(p policy, now, started time.Time, r Result) event {
	if !s.known {
		s.known = true
		return s.turn(now, r.Up, r.Why, r.Fault)
	}
	if !r.Up {
		s.good, s.bad = 0, min(s.bad+1, maxCount)
		s.blind, s.holdFor = false, 0
		switch {
		case s.up && s.bad+s.recent(p, now) >= p.fall:
			return s.turn(now, false, r.Why, "")
		case s.ejected && s.bad >= p.fall:
			s.ejected, s.why = false, r.Why
			return confirmed
		}
		return quiet
	}
	s.bad = 0
	if s.up {
		if s.fault != r.Fault {
			s.fault = r.Fault
			return faulted
		}
		return quiet
	}
	if s.ejected && started.Before(s.since) {
		return quiet // it looked before the ejection: old news
	}
	s.good = min(s.good+1, p.rise)
	if s.good < p.rise || now.Sub(s.since) < s.holdFor {
		return quiet
	}
	e := s.turn(now, true, r.Why, r.Fault)
	s.ramp = p.slowStart > 0
	return e
}

// attemptFailed takes a failed attempt of live traffic. mayEject says whether the cap leaves room.
func (s *state) attemptFailed(p policy, now time.Time, why string, mayEject func() bool) event {
	if !s.known || !s.up || p.trafficFall == 0 {
		return quiet
	}
	if s.recent(p, now) == 0 {
		s.failed, s.spared = 0, false
	}
	s.failed, s.failedAt = min(s.failed+1, maxCount), now
	if s.failed < p.trafficFall && (s.bad == 0 || s.failed+s.bad < p.fall) {
		if s.failed == 1 {
			return suspected
		}
		return quiet
	}
	if !mayEject() {
		if s.spared {
			return quiet
		}
		s.spared = true
		return spared
	}
	hold := time.Duration(0)
	if s.blind && now.Sub(s.since) <= p.maxHold { // back for a short while only, and no probe knew why
		hold = min(max(p.hold, 2*s.holdFor), p.maxHold)
	}
	if s.failed == 1 {
		why = "a failed attempt: " + why
	} else {
		why = fmt.Sprintf("%d failed attempts in a row: %s", s.failed, why)
	}
	s.turn(now, false, why, "")
	s.ejected, s.blind, s.holdFor = true, true, hold
	return ejected
}

// attemptPassed takes an attempt of live traffic that went well.
func (s *state) attemptPassed() { s.failed, s.spared = 0, false }

func (s *state) turn(now time.Time, up bool, why, fault string) event {
	s.up, s.why, s.fault, s.since = up, why, fault, now
	s.good, s.bad, s.ejected, s.ramp = 0, 0, false, false
	s.attemptPassed()
	if up {
		return cameUp
	}
	return wentDown
}

// recent is how many failed attempts in a row still count.
func (s *state) recent(p policy, now time.Time) int {
	if s.failed > 0 && now.Sub(s.failedAt) <= p.window {
		return s.failed
	}
	return 0
}

// changing says whether an observation speaks against the present state, so that the next should come soon.
func (s *state) changing(p policy, now time.Time) bool {
	if s.up {
		return s.bad > 0 || s.recent(p, now) > 0
	}
	return s.good > 0 && s.good < p.rise
}

// rampSteps is the number of steps of a slow start: 10 %, 20 %, …
const rampSteps = 10

// step gives the present percentage of the slow start (0: none) and when the next step is due.
func (s *state) step(p policy, now time.Time) (percent uint8, next time.Time) {
	if !s.ramp || p.slowStart <= 0 {
		return 0, time.Time{}
	}
	n := int(now.Sub(s.since) * rampSteps / p.slowStart)
	if n < 0 || n >= rampSteps-1 {
		return 0, time.Time{}
	}
	return uint8(n+1) * (100 / rampSteps), s.since.Add(time.Duration(n+1) * p.slowStart / rampSteps)
}

// verdict is what the Board shall show.
func (s *state) verdict(p policy, now time.Time) router.Verdict {
	percent, _ := s.step(p, now)
	return router.Verdict{Known: s.known, Up: s.up, Why: s.why, Since: s.since, Ramp: percent, Ejected: s.ejected, Fault: s.fault}
}
