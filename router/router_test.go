package router_test

import (
	"net/netip"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/mmsrouter/mmsrouter/router"
)

// row is one MMSC of a test's Board; the zero values are an MMSC that is up with weight 1.
type row struct {
	name   string
	url    string
	weight int // 0 means 1, -1 means 0
	tier   int
	down   bool
	drain  bool
	local  bool
	spare  bool
	ramp   uint8
}

// snapshot makes a Board of the rows and gives its Snapshot.
func snapshot(t testing.TB, cfg router.Config, rows ...row) *router.Snapshot {
	t.Helper()
	names := make([]string, len(rows))
	targets := make([]router.Target, len(rows))
	for i, r := range rows {
		names[i] = r.name
		switch r.weight {
		case 0:
			r.weight = 1
		case -1:
			r.weight = 0
		}
		targets[i] = router.Target{Name: r.name, URL: r.url, Weight: r.weight, Tier: r.tier, Local: r.local, Spare: r.spare}
	}
	table, err := router.Compile(cfg, names)
	if err != nil {
		t.Fatalf("Compile: %v", err)
	}
	b := router.NewBoard(0)
	if err := b.Configure(targets, nil, table); err != nil {
		t.Fatalf("Configure: %v", err)
	}
	for _, r := range rows {
		v := router.Verdict{Known: true, Up: !r.down, Ramp: r.ramp}
		if r.down {
			v.Why = "connection refused"
		}
		b.SetVerdict(r.name, v)
		if r.drain {
			if err := b.SetDrain(r.name, &router.Drain{By: "test"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b.Load()
}

// named spells indexes as names, in order.
func named(s *router.Snapshot, order []int) string {
	var names []string
	for _, i := range order {
		names = append(names, s.MMSCs[i].Name)
	}
	return strings.Join(names, " ")
}

func TestParseAddress(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"IPv4", "192.0.2.1", "192.0.2.1"},
		{"IPv6", "2001:db8::1", "2001:db8::1"},
		{"IPv4 in IPv6 becomes IPv4", "::ffff:192.0.2.1", "192.0.2.1"},
		{"EUI-48 with dashes", "00-00-5e-00-53-2a", "00-00-5e-00-53-2a"},
		{"EUI-48 with colons", "00:00:5E:00:53:2A", "00-00-5e-00-53-2a"},
		{"EUI-64 with dashes", "00-00-5E-EF-10-00-00-2A", "00-00-5e-ef-10-00-00-2a"},
		{"eight groups with colons are IPv6", "00:00:5e:ef:10:00:00:2a", "::5e:ef:10:0:0:2a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := router.ParseAddress(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if a.String() != c.want {
				t.Fatalf("got %s, want %s", a, c.want)
			}
			again, err := router.ParseAddress(a.String())
			if err != nil || again != a {
				t.Fatalf("its own text reads as %v (%v), want the same address", again, err)
			}
			if (a.EUI != "") == a.IP.IsValid() {
				t.Fatalf("%+v is not exactly one of IP and EUI", a)
			}
		})
	}
	for _, c := range []struct{ name, in string }{
		{"empty", ""},
		{"a name", "mms.example.net"},
		{"a port behind it", "192.0.2.1:80"},
		{"a prefix", "192.0.2.0/24"},
		{"zone index", "fe80::1%eth0"},
		{"five groups", "00-00-5e-00-53"},
		{"seven groups", "00-00-5e-00-53-2a-11"},
		{"a digit that is none", "0g-00-5e-00-53-2a"},
		{"half a group that is none", "1g-00-5e-00-53-2a"},
		{"a space for a digit", "00- 1-5e-00-53-2a"},
		{"a sign for a digit", "00-+1-5e-00-53-2a"},
		{"a group of one digit", "00-0-5e-00-53-2a0"},
		{"an empty group", "00--00-5e-00-53-2a"},
		{"a dash at the end", "00-00-5e-00-53-2a-"},
		{"mixed separators", "00-00:5e-00:53-2a"},
		{"dots", "00.00.5e.00.53.2a"},
	} {
		t.Run("refused: "+c.name, func(t *testing.T) {
			a, err := router.ParseAddress(c.in)
			if err == nil {
				t.Fatalf("%q was read as %s", c.in, a)
			}
			if !strings.Contains(err.Error(), "address") {
				t.Fatalf("the error %q does not say what it is about", err)
			}
		})
	}
	if a := (router.Address{IP: netip.MustParseAddr("192.0.2.1")}); a != (router.Address{IP: netip.MustParseAddr("192.0.2.1")}) {
		t.Fatal("equal addresses do not compare equal")
	}
}

func TestSize(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     router.Size
		text     string
	}{
		{"plain octets", "100", 100, "100B"},
		{"octets with unit", "100B", 100, "100B"},
		{"zero", "0", 0, "0B"},
		{"KiB", "64KiB", 64 << 10, "64KiB"},
		{"MiB", "5MiB", 5 << 20, "5MiB"},
		{"GiB", "2GiB", 2 << 30, "2GiB"},
		{"space before the unit", "5 MiB", 5 << 20, "5MiB"},
		{"space around", " 5MiB ", 5 << 20, "5MiB"},
		{"shortest exact form", "1024KiB", 1 << 20, "1MiB"},
		{"no larger unit fits", "1536KiB", 1536 << 10, "1536KiB"},
		{"no unit fits", "1025", 1025, "1025B"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := router.ParseSize(c.in)
			if err != nil || got != c.want {
				t.Fatalf("got %d (%v), want %d", got, err, c.want)
			}
			if got.String() != c.text {
				t.Fatalf("text is %s, want %s", got, c.text)
			}
			again, err := router.ParseSize(got.String())
			if err != nil || again != got {
				t.Fatalf("its own text reads as %d (%v)", again, err)
			}
			var s struct{ Size router.Size }
			if err := yaml.Unmarshal([]byte("size: \""+c.in+"\""), &s); err != nil || s.Size != c.want {
				t.Fatalf("yaml gives %d (%v), want %d", s.Size, err, c.want)
			}
			out, err := yaml.Marshal(s)
			if err != nil || strings.TrimSpace(string(out)) != "size: "+c.text {
				t.Fatalf("yaml writes %q (%v)", out, err)
			}
		})
	}
	for _, in := range []string{"", "MiB", "-1", "1.5MiB", "5MB", "5mib", "5 M", "0x10", "1e6", "9223372036854775808", "8589934592GiB", "five"} {
		if got, err := router.ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) gave %d, want an error", in, got)
		} else if !strings.Contains(err.Error(), "5MiB") {
			t.Errorf("ParseSize(%q): the error %q shows no example", in, err)
		}
	}
	for _, in := range []string{"size: [1]", "size: {a: 1}", "\n\nsize: five"} {
		var s struct{ Size router.Size }
		if err := yaml.Unmarshal([]byte(in), &s); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("yaml %q gave %v, want an error that names the line", in, err)
		}
	}
}

func TestState(t *testing.T) {
	for _, c := range []struct {
		name      string
		m         router.MMSC
		state     router.State
		qualifies bool
	}{
		{"no verdict yet", router.MMSC{}, router.StateDown, false},
		{"up", router.MMSC{Verdict: router.Verdict{Known: true, Up: true}}, router.StateUp, true},
		{"draining hides up", router.MMSC{Verdict: router.Verdict{Up: true}, Drain: &router.Drain{}}, router.StateDraining, false},
		{"draining hides down", router.MMSC{Drain: &router.Drain{}}, router.StateDraining, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.m.State() != c.state || c.m.Qualifies() != c.qualifies {
				t.Fatalf("state %s qualifies %v, want %s %v", c.m.State(), c.m.Qualifies(), c.state, c.qualifies)
			}
		})
	}
}
