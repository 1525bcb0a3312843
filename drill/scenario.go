package drill

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mmsrouter/mmsrouter/router"
)

// Scenario is one drill: what is set up, what traffic flows, what is done to it, and what is promised meanwhile.
type Scenario struct {
	Name    string        `yaml:"name"`    // what `mmsrouter drill` calls it: the file's name without .yaml
	Title   string        `yaml:"title"`   // one line
	About   string        `yaml:"about"`   // why, and what is to be seen
	Length  time.Duration `yaml:"length"`  // how long messages are begun
	Lab     Setup         `yaml:"lab"`     // what `drill lab` starts
	Traffic Traffic       `yaml:"traffic"` // the messages that flow all along
	Steps   []Step        `yaml:"steps"`   // what is done, in the order of time
	Expect  Expect        `yaml:"expect"`  // what must hold; lost and damaged messages are never allowed
}

// Setup is what `drill lab` starts: mmsc-1 …, router-1 … .
type Setup struct {
	MMSCs   int           `yaml:"mmscs"`
	Routers int           `yaml:"routers"`
	TTL     time.Duration `yaml:"ttl"`    // of the routers' addresses
	Answer  time.Duration `yaml:"answer"` // how long an MMSC takes for an answer
	Config  string        `yaml:"config"` // YAML that is laid over each router's configuration
}

// Traffic is the load of marked messages.
type Traffic struct {
	Clients  int           `yaml:"clients"`  // WAP gateways, each with one message at a time
	Sticky   int           `yaml:"sticky"`   // of them: those that ask DNS once and never again
	Rate     float64       `yaml:"rate"`     // messages a second, of all clients together
	Sizes    []router.Size `yaml:"sizes"`    // of the messages, in turn
	Tries    int           `yaml:"tries"`    // how often a client posts a message before it gives it up
	Pause    time.Duration `yaml:"pause"`    // between two tries
	Patience time.Duration `yaml:"patience"` // how long a client waits for an answer
	Slow     time.Duration `yaml:"slow"`     // an upload takes at least so long: it comes in ten pieces; 0: at once
}

// Step is one thing that is done.
type Step struct {
	At     time.Duration `yaml:"at"`     // after the beginning
	Do     Action        `yaml:"do"`     //
	Target string        `yaml:"target"` // mmsc-1, router-2
	To     string        `yaml:"to"`     // takeover: the router that gets the address
	After  router.Size   `yaml:"after"`  // cut, cut_answer: octets that pass
	Delay  time.Duration `yaml:"delay"`  // slow: how long an answer is kept back
}

// String is the step in words.
func (s Step) String() string {
	text := string(s.Do) + " " + s.Target
	switch s.Do {
	case Cut, CutAnswer:
		text += " after " + s.After.String()
	case Slow:
		text += " by " + s.Delay.String()
	case Takeover:
		text += " to " + s.To
	}
	return text
}

// Expect is what a drill promises. A time of 0 is not judged.
type Expect struct {
	Failed    int           `yaml:"failed"`    // at most so many messages that their client gave up
	Broken    int           `yaml:"broken"`    // at most so many tries without an answer; -1: not judged
	Silent    int           `yaml:"silent"`    // at most so many DNS queries without an answer, past every cache; -1: not judged
	Doubled   int           `yaml:"doubled"`   // at most so many extra copies
	Detection time.Duration `yaml:"detection"` // from a fault until all living routers hold the MMSC for down, or DNS leaves the router out
	Recovery  time.Duration `yaml:"recovery"`  // from the end of a fault until all of them hold it for up, or DNS names it again
	Disturbed time.Duration `yaml:"disturbed"` // from a fault to the last try that it broke or made slower than a second
	Slowest   time.Duration `yaml:"slowest"`   // the longest that a message took, all tries together
}

// Defaults is what stands for keys that a scenario leaves out.
func Defaults() Scenario {
	return Scenario{
		Lab: Setup{MMSCs: 2, Routers: 1, TTL: 2 * time.Second, Answer: 2 * time.Millisecond},
		Traffic: Traffic{Clients: 12, Sticky: 4, Rate: 60, Sizes: []router.Size{1 << 10, 30 << 10, 150 << 10}, Tries: 1,
			Pause: 500 * time.Millisecond, Patience: 50 * time.Second},
		Expect: Expect{Silent: -1},
	}
}

// Limits of what a scenario may ask for.
const (
	maxLength   = 10 * time.Minute
	maxSteps    = 100
	maxClients  = 1000
	maxRate     = 2000
	maxLabNodes = 8
	maxSize     = 20 << 20
	maxMessages = 200_000
)

var (
	nameForm   = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?$`)
	targetForm = regexp.MustCompile(`^(mmsc|router)-([1-9][0-9]?)$`)
)

// Validate gives every mistake; each error begins with its key.
func (s *Scenario) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if !nameForm.MatchString(s.Name) {
		bad("name: %q: want up to 48 small letters, digits and dashes", s.Name)
	}
	if s.Title == "" || len(s.Title) > 100 || strings.ContainsAny(s.Title, "\r\n") {
		bad("title: want one line of up to 100 octets")
	}
	if len(s.About) > 4000 {
		bad("about: want at most 4000 octets")
	}
	if s.Length < time.Second || s.Length > maxLength {
		bad("length: %s: want 1s to %s", s.Length, maxLength)
	}
	s.Lab.validate(bad)
	s.Traffic.validate(bad, s.Length)
	if len(s.Steps) == 0 || len(s.Steps) > maxSteps {
		bad("steps: want 1 to %d", maxSteps)
	}
	for i := range s.Steps {
		st := &s.Steps[i]
		key := fmt.Sprintf("steps[%d].", i)
		if st.At < 0 || st.At > s.Length {
			bad("%sat: %s: want 0s to length, which is %s", key, st.At, s.Length)
		}
		if i > 0 && st.At < s.Steps[i-1].At {
			bad("%sat: %s is before the step above it", key, st.At)
		}
		st.validate(bad, key, &s.Lab)
	}
	s.Expect.validate(bad)
	return errors.Join(errs...)
}

func (l *Setup) validate(bad func(string, ...any)) {
	if l.MMSCs < 1 || l.MMSCs > maxLabNodes {
		bad("lab.mmscs: %d: want 1 to %d", l.MMSCs, maxLabNodes)
	}
	if l.Routers < 1 || l.Routers > maxLabNodes {
		bad("lab.routers: %d: want 1 to %d", l.Routers, maxLabNodes)
	}
	if l.TTL < time.Second || l.TTL > time.Hour || l.TTL%time.Second != 0 {
		bad("lab.ttl: %s: want whole seconds, 1s to 1h", l.TTL)
	}
	if l.Answer < 0 || l.Answer > 10*time.Second {
		bad("lab.answer: %s: want 0s to 10s", l.Answer)
	}
	var over map[string]any
	if err := yaml.Unmarshal([]byte(l.Config), &over); err != nil {
		bad("lab.config: want the text of a YAML mapping: %v", err)
	}
}

func (t *Traffic) validate(bad func(string, ...any), length time.Duration) {
	if t.Clients < 1 || t.Clients > maxClients {
		bad("traffic.clients: %d: want 1 to %d", t.Clients, maxClients)
	}
	if t.Sticky < 0 || t.Sticky > t.Clients {
		bad("traffic.sticky: %d: want 0 to traffic.clients, which is %d", t.Sticky, t.Clients)
	}
	if !(t.Rate > 0 && t.Rate <= maxRate) {
		bad("traffic.rate: %g: want more than 0, at most %d messages a second", t.Rate, maxRate)
	} else if t.Rate*length.Seconds() > maxMessages {
		bad("traffic.rate: %g a second for %s are more than %d messages", t.Rate, length, maxMessages)
	}
	if len(t.Sizes) == 0 || len(t.Sizes) > 32 {
		bad("traffic.sizes: want 1 to 32")
	}
	for i, n := range t.Sizes {
		if n < 1 || n > maxSize {
			bad("traffic.sizes[%d]: %s: want 1B to %s", i, n, router.Size(maxSize))
		}
	}
	if t.Tries < 1 || t.Tries > 20 {
		bad("traffic.tries: %d: want 1 to 20", t.Tries)
	}
	for _, d := range []struct {
		key      string
		v, least time.Duration
	}{{"pause", t.Pause, 0}, {"patience", t.Patience, 100 * time.Millisecond}, {"slow", t.Slow, 0}} {
		if d.v < d.least || d.v > 5*time.Minute {
			bad("traffic.%s: %s: want %s to 5m", d.key, d.v, d.least)
		}
	}
}

func (st *Step) validate(bad func(string, ...any), key string, lab *Setup) {
	a, known := actions[st.Do]
	if !known {
		bad("%sdo: %q: want one of %s", key, st.Do, strings.Join(Actions(), ", "))
		return
	}
	kind, n := targetOf(st.Target)
	switch {
	case kind == "":
		bad("%starget: %q: want mmsc-1, router-1, …", key, st.Target)
	case !slices.Contains(a.targets, kind):
		bad("%starget: %s: %s is for %s", key, st.Target, st.Do, strings.Join(a.targets, " or "))
	case kind == "mmsc" && n > lab.MMSCs || kind == "router" && n > lab.Routers:
		bad("%starget: %s: lab has no such %s", key, st.Target, kind)
	}
	switch kind, n := targetOf(st.To); {
	case st.Do != Takeover && st.To != "":
		bad("%sto: has a meaning for takeover only", key)
	case st.Do == Takeover && (kind != "router" || n > lab.Routers || st.To == st.Target):
		bad("%sto: %q: want another router of the lab", key, st.To)
	}
	if cuts := st.Do == Cut || st.Do == CutAnswer; !cuts && st.After != 0 || st.After < 0 {
		bad("%safter: has a meaning for cut and cut_answer only", key)
	}
	switch {
	case st.Do != Slow && st.Delay != 0:
		bad("%sdelay: has a meaning for slow only", key)
	case st.Do == Slow && (st.Delay < time.Millisecond || st.Delay > time.Minute):
		bad("%sdelay: %s: want 1ms to 1m", key, st.Delay)
	}
}

func (e *Expect) validate(bad func(string, ...any)) {
	for _, n := range []struct {
		key      string
		v, least int
	}{{"failed", e.Failed, 0}, {"broken", e.Broken, -1}, {"silent", e.Silent, -1}, {"doubled", e.Doubled, 0}} {
		if n.v < n.least {
			bad("expect.%s: %d: want %d or more", n.key, n.v, n.least)
		}
	}
	for _, d := range []struct {
		key string
		v   time.Duration
	}{{"detection", e.Detection}, {"recovery", e.Recovery}, {"disturbed", e.Disturbed}, {"slowest", e.Slowest}} {
		if d.v < 0 {
			bad("expect.%s: %s: want a time, or 0s for one that is not judged", d.key, d.v)
		}
	}
}

// targetOf takes mmsc-1 apart; "" if it is not of that form.
func targetOf(name string) (kind string, n int) {
	m := targetForm.FindStringSubmatch(name)
	if m == nil {
		return "", 0
	}
	n, _ = strconv.Atoi(m[2]) // two digits
	return m[1], n
}
