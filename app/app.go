// Package app is the composition root: it reads the configuration, makes every room, hands them to each
// other, runs them, reloads them, and ends them in order.
//
// It owns the Board's contents, the metrics registry and the order of things. Promises on failure: New binds
// everything or nothing; a Reload with a faulty file changes nothing and names its lines; a drain finishes
// what is in flight within drain.max and ends at once when asked a second time.
//
// States: made (New), starting (Run, until each MMSC has a first verdict), ready, draining, ended.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/cluster"
	"github.com/mmsrouter/mmsrouter/cluster/takeover"
	"github.com/mmsrouter/mmsrouter/cluster/view"
	"github.com/mmsrouter/mmsrouter/dnsserver"
	"github.com/mmsrouter/mmsrouter/drill/lease"
	"github.com/mmsrouter/mmsrouter/healthcheck"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/peer"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push"
	"github.com/mmsrouter/mmsrouter/proxy"
	"github.com/mmsrouter/mmsrouter/router"
)

// Options is what New needs.
type Options struct {
	Config  Config
	File    string           // what Reload reads; "" is the embedded default
	Version string           // shown by status and DNS
	LogTo   io.Writer        // nil: standard error
	Process Process          // starts the process that replaces this one; nil: it can't be replaced
	Clock   func() time.Time // the wall clock that other routers are told, for tests of clocks that are wrong; nil: time.Now
	Elder   *Elder           // the process that this one replaces; nil: none. It is closed by Run, or when New fails
}

// App is one appliance.
type App struct {
	file    string
	version string
	started time.Time
	clock   func() time.Time // as other routers are told it
	log     *slog.Logger
	level   slog.LevelVar
	reg     *prometheus.Registry
	m       metrics

	board     *router.Board
	mm1       *proxy.Proxy
	checker   *healthcheck.Checker
	dns       *dnsserver.Server // nil: no zone
	mmsc      *mmsc.MMSC        // nil: not enabled
	push      *push.Pusher      // nil: as mmsc
	relay     *peer.Relay       // nil: no operator is listed
	ppg       *ppg.PPG          // nil: it has no address
	services  *services         // nil: not enabled
	admin     *admin.Server
	cluster   *cluster.Cluster  // nil: this router is alone
	view      *view.View        // what routers and operators say
	holders   *takeover.Holders // nil: no addresses are taken over
	leases    *lease.Leases     // of drills
	following following
	addresses addresses // how far moves of service addresses have come
	ladder    ladder    // how far the drain has come
	forwarder forwarder // of held messages

	process   Process       // nil: this process can't be replaced
	elder     *Elder        // nil: no process was before this one
	begin     chan struct{} // closed: the elder has let go of what only one process may do
	upgrading sync.Mutex    // held while a new process starts
	handed    chan struct{} // closed: the heir serves
	heir      *heir         // valid after that
	links     sync.WaitGroup

	reload   sync.Mutex // one at a time
	cfg      atomic.Pointer[Config]
	draining atomic.Bool
	ask      chan struct{} // closed: drain
	asked    sync.Once
	now      context.Context // ended: finish nothing more
	endNow   context.CancelFunc
}

// New makes every room and binds every listener; nothing runs before Run. An error names the key that it
// comes from, and then nothing is left bound.
func New(o Options) (*App, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	c := o.Config
	lv, err := c.Log.level()
	if err != nil {
		return nil, err
	}
	if o.LogTo == nil {
		o.LogTo = os.Stderr
	}
	a := &App{file: o.File, version: o.Version, started: time.Now(), reg: prometheus.NewRegistry(), ask: make(chan struct{}),
		process: o.Process, elder: o.Elder, clock: o.Clock, begin: make(chan struct{}), handed: make(chan struct{})}
	a.now, a.endNow = context.WithCancel(context.Background())
	a.cfg.Store(&c)
	a.level.Set(lv)
	a.log = newLog(o.LogTo, c.Log.Format, &a.level).With("node", c.Node.Name)
	own := prometheus.WrapRegistererWithPrefix("mmsrouter_", a.reg)
	own.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a.m = newMetrics(a.reg, o.Version)
	first := uint64(a.started.Unix())
	if a.elder != nil {
		first = max(first, a.elder.said.Generation+1)
	}
	a.board = router.NewBoard(first)
	a.forwarder = forwarder{config: a.cfg.Load, board: a.board, results: a.m.held, sides: tlsSides{log: a.log}}

	var undo []func()
	if err := a.makeRooms(&c, &undo); err != nil {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
		a.endNow()
		return nil, err
	}
	a.succeed()
	a.warn(false)
	return a, nil
}

// makeRooms makes the rooms in the order in which they need each other. What has to be undone if a later one
// fails is put on undo; the proxy comes last and has nothing to undo.
func (a *App) makeRooms(c *Config, undo *[]func()) error {
	if err := a.makeStore(c); err != nil {
		return err
	}
	if a.mmsc != nil {
		*undo = append(*undo, func() { _ = a.mmsc.Close() }) // the error that led here is the one to tell
	}
	if a.relay != nil {
		*undo = append(*undo, func() { _ = a.relay.Close() }) // likewise
	}
	if a.services != nil {
		*undo = append(*undo, func() { _ = a.services.close() }) // likewise
	}
	if err := a.makePPG(c); err != nil {
		return err
	}
	if a.ppg != nil {
		*undo = append(*undo, func() { _ = a.ppg.Close() }) // likewise
	}
	set, err := a.compose(c)
	if err != nil {
		return err
	}
	if err := a.makeCluster(c, undo); err != nil {
		return err
	}
	if err := a.makeDrill(c); err != nil {
		return err
	}
	if err := a.board.Configure(set.targets, set.zones, set.table); err != nil {
		return err
	}
	a.applyDrains() // those that have outlived the restart, before the first message
	if a.checker, err = healthcheck.New(healthcheck.Options{Config: c.Detection, Targets: set.watched, Board: a.board,
		Metrics: a.reg, Log: a.room("healthcheck")}); err != nil {
		return err
	}
	if a.admin, err = a.makeAdmin(c); err != nil {
		return err
	}
	*undo = append(*undo, func() { _ = a.admin.Close() }) // the error that led here is the one to tell
	if c.ServesDNS() {
		if a.dns, err = dnsserver.New(dnsserver.Options{Config: c.DNS, Board: a.board, Version: a.version,
			NodeName: c.Node.Name, LeaveOut: a.drillLeaveOut, Metrics: a.reg, Log: a.room("dns"), Sockets: a.elder.handedSockets("dns.listen")}); err != nil {
			return err
		}
		*undo = append(*undo, a.dns.Close)
	}
	po := proxy.Options{Config: c.frontDoor(), Relay: a.relay != nil, Upstreams: set.upstreams, Board: a.board, Node: c.Node.Name, TempDir: a.tempDir(c),
		Ready: a.checker.Ready(), Observe: a.checker.Observe, Faults: drillFaults{a.leases}, Metrics: a.reg, Log: a.room("proxy"),
		Listener: a.elder.handedListeners("mm1.listen")}
	if a.mmsc != nil {
		po.Hold = a.hold
	}
	if a.cluster != nil {
		po.Peers, po.Ask = a.leases.Peers(a.cluster), a.cluster.AskTimeout()
	}
	a.mm1, err = proxy.New(po)
	return err
}

func (a *App) room(name string) *slog.Logger { return a.log.With("room", name) }

// makeStore makes the data folder and the embedded MMSC, if it is enabled.
func (a *App) makeStore(c *Config) error {
	if err := os.MkdirAll(c.Node.Data, 0o700); err != nil {
		return fmt.Errorf("node.data: %w", err)
	}
	if err := os.MkdirAll(a.tempDir(c), 0o700); err != nil {
		return fmt.Errorf("node.data: %w", err)
	}
	if !c.MMSC.Enabled {
		return nil
	}
	err := a.makePush(c)
	if err != nil {
		return err
	}
	if err := a.makePeers(c); err != nil {
		return err
	}
	mo := mmsc.Options{Config: c.MMSC, DataDir: c.Node.Data, NodeName: c.Node.Name, URL: c.PublicURL(),
		Notifier: carriers{a.push, a.room("mmsc")}, Reaches: a.push.Reaches,
		Forward: a.forwardHeld, Metrics: a.reg, Log: a.room("mmsc")}
	mo.Wrap, mo.Begin = a.wrapDoor, a.gate()
	if err = a.makeServices(c); err == nil {
		if a.services != nil {
			mo.Services = a.services
		}
		a.mmsc, err = mmsc.New(mo)
	}
	if err != nil { // which is the one to tell
		if a.relay != nil {
			_ = a.relay.Close()
		}
		if a.services != nil {
			_ = a.services.close()
		}
	}
	return err
}

// tempDir holds uploads that outgrow memory, beside the data: /tmp is often memory itself.
func (a *App) tempDir(c *Config) string { return filepath.Join(c.Node.Data, "uploads") }

func (a *App) makeAdmin(c *Config) (*admin.Server, error) {
	o := admin.Options{
		Config: c.Admin, Node: c.Node.Name, Version: a.version, Started: a.started, Board: a.board,
		Gatherer: a.reg, Metrics: a.reg, Log: a.room("admin"),
		Traffic: traffic{a}, Ready: a.Ready, Keeps: a.Keeps, Draining: a.draining.Load, Listen: a.Listening,
		DrainSelf: func(why admin.Reason, in time.Duration) error { return a.DrainIn(in, why.By, why.Reason) },
		CallOff:   a.CallOff, Progress: a.ladder.progress,
		Members: a.members, Verdicts: a.verdicts, Operators: operators{a}, Upgrade: a.upgrade, Before: a.elder.before,
		Listener: a.elder.listener("admin.listen", c.Admin.Listen),
	}
	if a.holders != nil {
		o.Takeover = a.holders
	}
	o.Drill, o.Drilling = a.leases, a.drilling
	if a.mmsc != nil {
		o.Messages = messages{a.mmsc}
	}
	if a.services != nil {
		o.Services = a.services.API()
	}
	return admin.New(o)
}

// Ready says why the appliance does not want traffic yet; nil when it does.
func (a *App) Ready() error {
	if err := a.Keeps(); err != nil {
		return err
	}
	if o, ok := a.view.Drained(view.RouterDrain, a.cfg.Load().Node.Name); ok {
		return fmt.Errorf("drained by %s", o.By)
	}
	return nil
}

// Keeps says whether service addresses may stay here: not while it would refuse what comes. A drain is no reason; it
// gives them up by itself.
func (a *App) Keeps() error {
	if !a.hasVerdicts() {
		return errors.New("not every MMSC has a first verdict yet")
	}
	if a.view.Blind() {
		return errors.New("no MMSC can be reached from here, while other routers reach one")
	}
	return nil
}

// Listening gives the bound addresses by configuration key.
func (a *App) Listening() map[string][]string {
	all := map[string][]string{"admin.listen": {a.admin.Addr().String()}}
	for _, at := range a.mm1.Addrs() {
		all["mm1.listen"] = append(all["mm1.listen"], at.String())
	}
	if a.cluster != nil {
		all["cluster.listen"] = []string{a.cluster.Addr()}
	}
	if a.dns != nil {
		for _, at := range a.dns.Addrs() {
			all["dns.listen"] = append(all["dns.listen"], at.String())
		}
	}
	if a.ppg != nil {
		all["ppg.listen"] = []string{a.ppg.Addr().String()}
	}
	return all
}

// Config is the configuration in force.
func (a *App) Config() Config { return *a.cfg.Load() }

// Board gives the Board, for tests and for rooms above.
func (a *App) Board() *router.Board { return a.board }

// Log gives the appliance's logger.
func (a *App) Log() *slog.Logger { return a.log }

// Registry holds every metric of the appliance.
func (a *App) Registry() *prometheus.Registry { return a.reg }

// Drain asks Run to finish what is in flight and to end. It returns at once; asking again changes nothing.
func (a *App) Drain() { a.asked.Do(func() { close(a.ask) }) }

// EndNow asks Run to end without finishing anything.
func (a *App) EndNow() { a.endNow() }

// traffic gives the admin room what the proxy knows, in the admin room's words.
type traffic struct{ a *App }

func (t traffic) Outstanding(name string) int { return t.a.mm1.Outstanding(name) }

func (t traffic) Ours(host string) bool { return t.a.mm1.Ours(host) }

func (t traffic) Learned(host, path, subscriber, transaction, messageID string) string {
	return t.a.mm1.Learned(host, path, subscriber, transaction, messageID)
}

func (t traffic) Fate(id string) []admin.Fate {
	records := t.a.mm1.Fate(id)
	out := make([]admin.Fate, 0, len(records))
	for _, r := range records {
		f := admin.Fate{Time: r.Time, TransactionID: r.Transaction, MessageID: r.MessageID, Client: r.Client, Subscriber: r.Identity,
			PDU: r.PDU, Target: r.Target, Octets: r.Octets, Whole: r.Whole, Result: r.Result, HTTPStatus: r.Status, Answer: r.Answer,
			Milliseconds: r.MS, Attempts: []admin.Attempt{}}
		for _, at := range r.Attempts {
			f.Attempts = append(f.Attempts, admin.Attempt{MMSC: at.MMSC, Phase: at.Phase, Result: at.Result, Octets: at.Octets,
				Milliseconds: at.MS})
		}
		out = append(out, f)
	}
	return append(out, t.a.heldFates(id)...)
}
