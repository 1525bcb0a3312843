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
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/mmsrouter/mmsrouter/drill"
	"github.com/mmsrouter/mmsrouter/drill/fake"
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
	Log      *slog.Logger
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
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
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
	e := drill.Entry{Mark: l.mark, Numbers: numbers[:], Host: Zone, Port: strconv.Itoa(l.ports["mm1"]), Path: "/"}
	for _, r := range l.routers {
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

// Do implements drill.World.
func (l *Lab) Do(ctx context.Context, s drill.Step) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.mmsc(s.Target); m != nil {
		switch s.Do {
		case drill.Kill:
			return m.kill()
		case drill.Restart:
			return m.start()
		case drill.Freeze:
			return m.signal(syscall.SIGSTOP)
		case drill.Thaw:
			return m.signal(syscall.SIGCONT)
		case drill.Heal:
			return m.behave(fake.Behaviour{})
		case drill.Refuse, drill.Slow, drill.Cut, drill.CutAnswer, drill.BlackHole:
			return m.behave(fake.Behaviour{Kind: string(s.Do), After: int64(s.After), Delay: s.Delay})
		case drill.Drain, drill.Undrain:
			return l.say(ctx, false, s.Target, s.Do == drill.Drain)
		}
	}
	if r := l.router(s.Target); r != nil {
		return l.toRouter(ctx, r, s)
	}
	return fmt.Errorf("the lab can't %s", s)
}

func (l *Lab) toRouter(ctx context.Context, r *router, s drill.Step) error {
	switch s.Do {
	case drill.Kill:
		return r.kill()
	case drill.Restart:
		if err := l.giveBack(ctx, r); err != nil {
			return err
		}
		return r.start(ctx)
	case drill.Freeze:
		return r.signal(syscall.SIGSTOP)
	case drill.Thaw:
		return r.signal(syscall.SIGCONT)
	case drill.Partition:
		return r.console.Break(ctx, l.mark, lease.Fault{Kind: lease.Partition})
	case drill.Unshare:
		return r.console.Break(ctx, l.mark, lease.Fault{Kind: lease.Unshare})
	case drill.Heal:
		return r.console.Break(ctx, l.mark)
	case drill.Withdraw, drill.Restore:
		return l.say(ctx, true, r.name, s.Do == drill.Withdraw)
	case drill.Retire:
		return r.console.Retire(ctx)
	case drill.Takeover:
		return l.takeOver(ctx, r, l.router(s.To))
	case drill.Upgrade:
		return r.upgrade(ctx)
	}
	return fmt.Errorf("the lab can't %s", s)
}

// say tells the first router that answers to drain something, or no longer.
func (l *Lab) say(ctx context.Context, ofRouter bool, name string, on bool) error {
	err := errors.New("no router lives")
	for _, r := range l.routers {
		if !r.alive() {
			continue
		}
		if err = r.console.Drain(ctx, ofRouter, name, on); err == nil {
			return nil
		}
	}
	return err
}

// Calm implements drill.World: all that lives is well again.
func (l *Lab) Calm(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, m := range l.mmscs {
		if m.alive() {
			errs = append(errs, m.signal(syscall.SIGCONT), m.behave(fake.Behaviour{}))
		}
	}
	for _, r := range l.routers {
		if r.alive() {
			errs = append(errs, r.signal(syscall.SIGCONT))
		}
	}
	return errors.Join(errs...)
}

// lookTime is how long a router may take to say what it sees.
const lookTime = 400 * time.Millisecond

// Look implements drill.World.
func (l *Lab) Look(ctx context.Context) []drill.Look {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	out := make([]drill.Look, len(l.routers))
	var wg sync.WaitGroup
	for i, r := range l.routers {
		wg.Go(func() {
			var err error
			if out[i], err = r.console.Look(ctx); err != nil {
				out[i].Err = err
			}
			out[i].Router = r.name
		})
	}
	wg.Wait()
	return out
}

// Copies implements drill.World: it reads the MMSCs' own ledgers.
func (l *Lab) Copies(_ context.Context, began time.Time, _ []drill.Message) ([]drill.Copy, error) {
	var all []drill.Copy
	for _, m := range l.mmscs {
		entries, err := fake.ReadLedger(m.ledger)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			all = append(all, drill.Copy{Transaction: e.Transaction, MMSC: m.name, Size: e.Size, Sum: e.Sum, At: e.At.Sub(began)})
		}
	}
	slices.SortFunc(all, func(a, b drill.Copy) int { return int(a.At - b.At) })
	return all, nil
}

// folder makes a folder of the lab's.
func (l *Lab) folder(name string) (string, error) {
	dir := filepath.Join(l.o.Dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}
