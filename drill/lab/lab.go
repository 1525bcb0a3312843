// Package lab is a world for drills that is made of processes: fake MMSCs and routers, all of them this program again, on a
// loopback network of their own.
//
// It owns those processes and their folder, and ends them with Close; should the drill's own process die, they die
// with it. Addresses: 127.x.y.(10+n) is router-n, 127.x.y.(100+n) is mmsc-n, and 127.x.y.1 holds the ports for as
// long as the lab lives, so that two labs never meet. That many loopback addresses need no set-up on Linux, which is
// why a lab runs there only.
package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"github.com/mmsrouter/mmsrouter/drill"
	"github.com/mmsrouter/mmsrouter/drill/lease"
)

// Zone is the MMS domain of a lab.
const Zone = "mms.drill.example.net"

// numbers are from the block that Sweden keeps for fiction: nobody's phone rings.
var numbers = [...]string{"+46701740601", "+46701740602", "+46701740603", "+46701740604"}

// Console is the operator's door of a router.
type Console interface {
	Look(ctx context.Context) (drill.Look, error)
	Listening(ctx context.Context) (map[string][]string, error)
	Drain(ctx context.Context, router bool, name string, on bool) error
	Retire(ctx context.Context) error // it drains itself and ends
	// Break makes these the faults that the router lends the lab's mark; none ends the loan.
	Break(ctx context.Context, mark string, faults ...lease.Fault) error
}

// Options of a Lab.
type Options struct {
	Scenario drill.Scenario
	Config   string                         // YAML laid over the routers' configuration, above the scenario's
	Dir      string                         // for configurations, data and logs; it is not removed
	Program  func(args ...string) *exec.Cmd // this program with these arguments
	Console  func(admin string) Console     // of the router whose admin API is there (host:port)
}

// Lab is a running one.
type Lab struct {
	o      Options
	mark   string
	net    string         // 127.x.y.
	ports  map[string]int // of each kind of listener
	claims []func()       // give the ports back

	mu      sync.Mutex
	mmscs   []*mmsc
	routers []*router
	holds   map[string]string // address of router: who listens on it in its stead
}

// New starts MMSCs and routers and waits until they are ready. On an error nothing is left running.
func New(ctx context.Context, o Options) (*Lab, error) {
	if runtime.GOOS != "linux" {
		return nil, errors.New("drill lab: runs on Linux, where 127.0.0.0/8 is there without set-up")
	}
	l := &Lab{o: o, mark: "drill-" + rand.Text()[:10], holds: map[string]string{}}
	err := l.claim()
	for i := 1; err == nil && i <= o.Scenario.Lab.MMSCs; i++ {
		err = l.startMMSC(i)
	}
	for i := 1; err == nil && i <= o.Scenario.Lab.Routers; i++ {
		err = l.makeRouter(i)
	}
	if err == nil {
		err = l.startRouters(ctx)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("drill lab: %w", err)
	}
	return l, nil
}

// claim finds a loopback network and ports that nobody else uses, and holds them.
func (l *Lab) claim() error {
	var b [2]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	l.net = fmt.Sprintf("127.%d.%d.", 16+int(b[0])%200, int(b[1]))
	l.ports = map[string]int{}
	for _, kind := range []string{"mm1", "admin", "gossip", "mmsc", "dns"} {
		for try := 0; ; try++ {
			err := l.claimPort(kind)
			if err == nil {
				break
			}
			if try == 20 {
				return fmt.Errorf("find a port: %w", err)
			}
		}
	}
	return nil
}

func (l *Lab) claimPort(kind string) error {
	t, err := net.Listen("tcp", l.net+"1:0")
	if err != nil {
		return err
	}
	u, err := net.ListenPacket("udp", t.Addr().String())
	if err != nil {
		_ = t.Close() // nothing came in
		return err
	}
	l.ports[kind] = t.Addr().(*net.TCPAddr).Port
	l.claims = append(l.claims, func() {
		_ = t.Close() // nothing is there to lose
		_ = u.Close()
	})
	return nil
}

func (l *Lab) at(host int, kind string) string {
	return net.JoinHostPort(l.net+strconv.Itoa(host), strconv.Itoa(l.ports[kind]))
}

// Close ends all processes and waits for them.
func (l *Lab) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.routers {
		r.end()
	}
	for _, m := range l.mmscs {
		m.end()
	}
	for _, c := range l.claims {
		c()
	}
	l.claims = nil
}

// Entry implements drill.World.
func (l *Lab) Entry() drill.Entry {
	e := drill.Entry{Mark: l.mark, Numbers: numbers[:], Host: Zone, Port: strconv.Itoa(l.ports["mm1"]), Path: "/", Routers: map[string]string{}}
	for i, r := range l.routers {
		e.Routers[l.net+strconv.Itoa(11+i)] = r.name
		e.DNS = append(e.DNS, drill.Server{Router: r.name, Address: r.dns})
	}
	return e
}

// Target implements drill.World: a router's is its address.
func (l *Lab) Target(name string) string {
	if r := l.router(name); r != nil {
		return r.mm1
	}
	return name
}

func (l *Lab) router(name string) *router {
	if i := slices.IndexFunc(l.routers, func(r *router) bool { return r.name == name }); i >= 0 {
		return l.routers[i]
	}
	return nil
}

func (l *Lab) mmsc(name string) *mmsc {
	if i := slices.IndexFunc(l.mmscs, func(m *mmsc) bool { return m.name == name }); i >= 0 {
		return l.mmscs[i]
	}
	return nil
}

// folder makes a folder of the lab's.
func (l *Lab) folder(name string) (string, error) {
	dir := filepath.Join(l.o.Dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}
