package cluster_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
)

func TestMain(m *testing.M) { os.Exit(appliance.Main(m)) }

// zone is the MMS domain of the stories.
const zone = "mms.example.net"

// key is the gossip key of the stories.
const key = "Y2x1c3RlciBvZiB0aGUgc3RvcmllcywgMzIgb2N0ZXQ="

// lab is a cluster and the MMSCs behind it.
type lab struct {
	t       *testing.T
	a, b    *fakemmsc.Server
	routers []*appliance.Router
	setups  []appliance.Setup
}

// node is what differs from router to router.
type node struct {
	mmscs     []appliance.MMSC // default: the lab's two, mmsc-b as the backup
	detection []string         // default: appliance.Alert
	cluster   string           // further keys
	ttl       string           // default 1s
	top       []string         // more sections
	ahead     time.Duration    // how wrong its clock is
}

func fake(t testing.TB, name string) *fakemmsc.Server {
	t.Helper()
	s, err := fakemmsc.New(fakemmsc.Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// start starts a cluster; router i, counted from 1, has the address 192.0.2.i in DNS.
func start(t *testing.T, nodes ...node) *lab {
	t.Helper()
	l := &lab{t: t, a: fake(t, "mmsc-a"), b: fake(t, "mmsc-b")}
	for i, n := range nodes {
		l.setups = append(l.setups, l.setup(i+1, n))
		l.routers = append(l.routers, appliance.Start(t, l.setups[i]))
	}
	t.Cleanup(func() {
		for _, r := range l.routers { // at the end of a story nobody waits until resolvers have forgotten them
			r.App.EndNow()
		}
	})
	for i := range l.routers {
		l.awaitMembers(i, len(nodes))
	}
	return l
}

func (l *lab) setup(i int, n node) appliance.Setup {
	join := ""
	if len(l.routers) > 0 {
		join = fmt.Sprintf("%q", l.gossip(0))
	}
	if n.ttl == "" {
		n.ttl = "1s"
	}
	if n.mmscs == nil {
		n.mmscs = []appliance.MMSC{{Name: "mmsc-a", URL: l.a.URL()}, {Name: "mmsc-b", URL: l.b.URL(), Tier: 1}}
	}
	if n.detection == nil {
		n.detection = appliance.Alert
	}
	clock := func() time.Time { return time.Now().Add(n.ahead) }
	return appliance.Setup{Name: fmt.Sprint("r", i), Dir: l.t.TempDir(), Clock: clock, MMSCs: n.mmscs, Detection: n.detection, Top: append([]string{
		"dns:", `  listen: ["127.0.0.1:0"]`, "  short_ttl: 1s",
		fmt.Sprintf("  zones: [{name: %s, ttl: %s, addresses: [192.0.2.%d]}]", zone, n.ttl, i),
		fmt.Sprintf(`cluster: {listen: "127.0.0.1:0", join: [%s], key: %q, probe_interval: 200ms, probe_timeout: 190ms, sync_interval: 1s, leave_timeout: 600ms%s}`, join, key, n.cluster),
	}, n.top...)}
}

func (l *lab) gossip(i int) string { return l.routers[i].App.Listening()["cluster.listen"][0] }

// again starts a router that has ended, with its folder and configuration, joined to router `to`.
func (l *lab) again(i, to int) {
	l.t.Helper()
	s := l.setups[i]
	for k, line := range s.Top {
		if at := strings.Index(line, "join: ["); at >= 0 {
			end := at + strings.Index(line[at:], "]")
			s.Top[k] = fmt.Sprintf("%sjoin: [%q%s", line[:at], l.gossip(to), line[end:])
		}
	}
	l.routers[i] = appliance.Start(l.t, s)
}

func (l *lab) client(i int) *admin.Client {
	l.t.Helper()
	c, err := admin.NewClient(l.routers[i].API, "")
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

func (l *lab) status(i int) admin.Status {
	l.t.Helper()
	st, err := l.client(i).Status(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return st
}

// awaitMembers waits until a router knows n routers that live and have told of themselves.
func (l *lab) awaitMembers(i, n int) {
	l.t.Helper()
	l.routers[i].Await(fmt.Sprintf("%d routers that live, seen by %d", n, i+1), func() bool {
		living := 0
		for _, m := range l.status(i).Members {
			if m.State == "alive" && m.Known && m.Ready {
				living++
			}
		}
		return living == n
	})
}

// ask asks the name server of a router for the zone's address records.
func (l *lab) ask(i int) (addresses []string, ttl uint32) {
	l.t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(zone+".", dns.TypeA)
	c := dns.Client{Timeout: 5 * time.Second}
	in, _, err := c.Exchange(m, l.routers[i].App.Listening()["dns.listen"][0])
	if err != nil {
		l.t.Fatal(err)
	}
	for _, rr := range in.Answer {
		addresses = append(addresses, rr.(*dns.A).A.String())
		ttl = rr.Header().Ttl
	}
	slices.Sort(addresses)
	return addresses, ttl
}

// awaitDNS waits until a router's name server answers with just these, by their last octet.
func (l *lab) awaitDNS(i int, want ...int) {
	l.t.Helper()
	var all []string
	for _, n := range want {
		all = append(all, fmt.Sprint("192.0.2.", n))
	}
	slices.Sort(all)
	l.routers[i].Await(fmt.Sprintf("answer of router %d with %v", i+1, all), func() bool {
		got, _ := l.ask(i)
		return slices.Equal(got, all)
	})
}

func (l *lab) handset(i int, more ...[2]string) *handsets.Handset {
	return handsets.New(handsets.Options{Addr: l.routers[i].MM1, Timeout: 20 * time.Second, Header: more})
}

// crash ends a router as a power cut does for the others: no farewell.
func (l *lab) crash(i int) {
	c := l.routers[i].App.Cluster()
	c.HandOver()
	c.Sever(func(string) bool { return true }) // not a word comes out, not even that it drains
	l.routers[i].Kill()
}

func await(t testing.TB, s *fakemmsc.Server, what string, want func(fakemmsc.Counts) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Await(ctx, want); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
