package live_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/drill"
	"github.com/mmsrouter/mmsrouter/drill/lease"
	"github.com/mmsrouter/mmsrouter/drill/live"
)

// router is a router's door as a test wants it.
type router struct {
	door   lease.Door
	look   drill.Look
	given  lease.Lease
	begin  error
	asked  lease.Request
	faults []string // each set of faults that it was told
	ended  int
	fates  map[string][]live.Attempt
}

func (r *router) Look(context.Context) (drill.Look, error) { return r.look, nil }
func (r *router) Lend(context.Context) (lease.Door, error) { return r.door, nil }
func (r *router) Begin(_ context.Context, q lease.Request) (lease.Lease, error) {
	r.asked = q
	l := r.given
	if q.Mark != "" && l.Mark == "" {
		l.Mark = q.Mark
	}
	return l, r.begin
}
func (r *router) Break(_ context.Context, id string, faults []lease.Fault) error {
	if id != r.given.ID {
		return errors.New("another's lease")
	}
	r.faults = append(r.faults, fmt.Sprint(faults))
	return nil
}
func (r *router) End(context.Context, string) error { r.ended++; return nil }
func (r *router) Fate(_ context.Context, transaction string) ([]live.Attempt, error) {
	return r.fates[transaction], nil
}

const mark = "drill-ABCDEFGHIJ"

func honest(members int) *router {
	return &router{door: lease.Door{Numbers: []string{"+46701740601"}, Max: "1m0s"}, given: lease.Lease{ID: "x", Mark: mark},
		look: drill.Look{Router: "r1", Members: members, MMSCs: []drill.Seen{{Name: "down"}, {Name: "north", Up: true}, {Name: "south", Up: true}}}}
}

func scenario(steps ...drill.Step) drill.Scenario {
	s := drill.Defaults()
	s.Name, s.Title, s.Length, s.Steps, s.Lab.Routers = "x", "X", 5*time.Second, steps, 2
	return s
}

func TestNewRefuses(t *testing.T) {
	refuse := drill.Step{Do: drill.Refuse, Target: "mmsc-1"}
	tests := []struct {
		name   string
		step   drill.Step
		real   bool
		change func(r *router)
		says   string // "": it begins
	}{
		{"honest", refuse, false, func(*router) {}, ""},
		{"lab only", drill.Step{Do: drill.Kill, Target: "mmsc-1"}, false, func(*router) {}, "only a lab survives"},
		{"dangerous for real traffic", drill.Step{Do: drill.Cut, Target: "mmsc-1"}, true, func(*router) {}, "could double or lose"},
		{"no numbers", refuse, false, func(r *router) { r.door.Numbers = nil }, "no test numbers"},
		{"numbers that are none", refuse, false, func(r *router) { r.door.Numbers = []string{"+4670\r\nX: y"} }, "for a test number"},
		{"other routers", refuse, false, func(r *router) { r.look.Members = 3 }, "the cluster has 3 routers"},
		{"no such router", drill.Step{Do: drill.Withdraw, Target: "router-2"}, false, func(*router) {}, "not that many"},
		{"too few MMSCs", refuse, false, func(r *router) { r.look.MMSCs = r.look.MMSCs[:1] }, "not that many MMSCs up"},
		{"a lease without a mark", refuse, false, func(r *router) { r.given.Mark = "" }, "can't be used"},
		{"a mark that fits others", refuse, false, func(r *router) { r.given.Mark = "T" }, "can't be used"},
		{"a lease without an id", refuse, false, func(r *router) { r.given.ID = "" }, "can't be used"},
		{"another drill", refuse, false, func(r *router) { r.begin = errors.New("drill y runs") }, "drill y runs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := honest(1)
			tt.change(r)
			l, err := live.New(t.Context(), live.Options{Scenario: scenario(tt.step), Consoles: []live.Console{r}, RealTraffic: tt.real})
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Fatalf("got %v; want %q", err, tt.says)
			}
			if err == nil && (l.Target("mmsc-1") != "north" || l.Entry().Mark != mark || r.asked.For != "1m0s") {
				t.Errorf("%q, %+v, %+v", l.Target("mmsc-1"), l.Entry(), r.asked)
			}
		})
	}
}

// Every router is told what is broken at MMSCs, and of routers what is about itself; when one refuses its lease, those
// given before end.
func TestCluster(t *testing.T) {
	a, b := honest(2), honest(2)
	b.given.Mark = ""
	steps := []drill.Step{{Do: drill.Slow, Target: "mmsc-2", Delay: time.Second}, {Do: drill.Withdraw, Target: "router-2"}, {Do: drill.Refuse, Target: "mmsc-2"},
		{Do: drill.Heal, Target: "mmsc-2"}, {Do: drill.Restore, Target: "router-2"}}
	o := live.Options{Scenario: scenario(steps...), Consoles: []live.Console{a, b}, Names: map[string]string{"mmsc-2": "east"}}
	l, err := live.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if err := l.Do(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Calm(t.Context()), l.Close(t.Context())); err != nil || a.ended+b.ended != 2 {
		t.Errorf("%v, %d leases ended", err, a.ended+b.ended)
	}
	if want := []string{"[slow east 1s]", "[slow east 1s]", "[refuse east]", "[]", "[]", "[]"}; !slices.Equal(a.faults, want) {
		t.Errorf("router-1 was told %q; want %q", a.faults, want)
	}
	if want := []string{"[slow east 1s]", "[slow east 1s withdraw]", "[refuse east withdraw]", "[withdraw]", "[]", "[]"}; !slices.Equal(b.faults, want) {
		t.Errorf("router-2 was told %q; want %q", b.faults, want)
	}
	a.ended, b.begin = 0, errors.New("no")
	if _, err := live.New(t.Context(), o); err == nil || a.ended != 1 {
		t.Errorf("%v, %d leases ended", err, a.ended)
	}
}

func TestCopiesComeFromWhatRoutersRemember(t *testing.T) {
	a, b := honest(2), honest(2)
	b.given.Mark = ""
	a.fates = map[string][]live.Attempt{"t1": {{MMSC: "north", Ambiguous: true}, {MMSC: "south", Accepted: true}}, "t2": {{MMSC: "north"}, {MMSC: "south", Accepted: true}}}
	b.fates = map[string][]live.Attempt{"t2": {{MMSC: "north", Accepted: true}}}
	l, err := live.New(t.Context(), live.Options{Scenario: scenario(drill.Step{Do: drill.Refuse, Target: "mmsc-1"}), Consoles: []live.Console{a, b}})
	if err != nil {
		t.Fatal(err)
	}
	var sent []drill.Message
	for _, id := range []string{"t1", "t2", "t3"} {
		sent = append(sent, drill.Message{Transaction: id, Tries: []drill.Try{{Outcome: drill.Accepted}}})
	}
	copies, err := l.Copies(t.Context(), time.Now(), sent)
	if err != nil {
		t.Fatal(err)
	}
	acc := drill.Account(sent, copies)
	if acc.Copies != 2 || !acc.Doubled[0].Unsure || acc.Doubled[1].Unsure || !slices.Equal(acc.Lost, []string{"t3"}) {
		t.Errorf("%+v", acc)
	}
}
