// Package proxy is the MM1 front door of the router: it takes a handset's request, streams it to an MMSC
// that passes detection, and brings back the answer.
//
// One goroutine serves one client connection and everything on it: it reads the upload, writes it to the MMSC
// while it comes, reads the answer and writes it back. So an upload has one reader, its copy for another
// attempt one owner, and the common path no hand-over between goroutines.
//
// Promises on failure (design section 3): an attempt that cannot have been committed is repeated at the next MMSC
// at once, from octet 0; one that may have been is repeated by the policy of its PDU and counted; the client's
// upload is read to its end and gets an answer. What comes in is bounded in size, count and time.
package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/fence"
	"github.com/mmsrouter/mmsrouter/proxy/replay"
	"github.com/mmsrouter/mmsrouter/proxy/socket"
	"github.com/mmsrouter/mmsrouter/router"
)

// Options of a Proxy.
type Options struct {
	Config    Config
	Upstreams []Upstream    // every target of the Board, by name
	Board     *router.Board // read only
	Node      string        // this router's name, for Via
	TempDir   string        // folder for uploads that outgrow memory; "" is the system's
	// Ready is closed once every MMSC has a first verdict; no message is routed before.
	Ready <-chan struct{}
	// Observe hears of each attempt: passive detection. It must not block.
	Observe func(mmsc string, ok bool, why string)
	// Relay says that the embedded MMSC fetches from peer operators: requests that name one go to it alone.
	Relay bool
	// Hold accepts a submission durably while all MMSCs are down (when_all_down: hold).
	Hold Holder
	// Faults are what a drill breaks; nil: nothing ever.
	Faults Faults
	// Peers are the other routers, with whom the duplicate fence and the learned owners are shared; nil: none.
	Peers fence.Peers
	// Listener gives a listener that another process has handed over for an address of mm1.listen; nil, or one that it has not: it is bound.
	Listener func(address string) net.Listener
	// Ask is how long a message may wait for another router's word; 0: the fence's default.
	Ask     time.Duration
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// Held is a submission handed to a Holder.
type Held struct {
	Transaction []byte
	Subscriber  string
	Sender      string
	Path        string
	Host        string
	Header      [][2]string // end-to-end fields to send when it is forwarded, identity included
	Size        int64
	Body        io.Reader // valid until the Holder returns
}

// Holder keeps a submission. It returns only after the commit, with the M-Send.conf to answer.
type Holder func(ctx context.Context, h Held) (conf []byte, err error)

// Proxy is the front door.
type Proxy struct {
	opt    Options
	log    *slog.Logger
	m      *metrics
	set    atomic.Pointer[settings]
	ups    atomic.Pointer[map[string]*upstream]
	store  *replay.Store
	fenced bool          // the duplicate fence is on
	shared *fence.Shared // duplicate fence and learned owners
	owners *fence.Owners
	fates  *fates
	access *accessLog
	turn   atomic.Uint64
	crew   crew
	poller *socket.Poller // of the clients' connections

	leaving atomic.Pointer[[]netip.Addr] // addresses of ours that are about to move away
	tls     *certificate

	ambiguities eachSecond // of log lines
	crowds      eachSecond // likewise
	spoilt      eachSecond // likewise
	fair        fair

	mu        sync.Mutex // guards the following
	listeners map[string]net.Listener
	started   func(net.Listener) // begins to accept on a listener that a reload added; nil before Run
	accepting int                // loops that accept
	pass      Pass               // of HandOver
	clients   map[*client]struct{}
	came      uint64 // client connections so far
	perClient map[string]int
	draining  atomic.Bool
	handing   atomic.Bool   // another process accepts
	ended     atomic.Bool   // Run's context is over
	none      bool          // idle is closed
	idle      chan struct{} // closed when draining or handing over, and the last client has gone

	serving sync.WaitGroup // what Run waits for
}

// New checks the options and binds the listeners. Nothing is accepted before Run.
func New(o Options) (*Proxy, error) {
	set, err := o.Config.compile()
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(string, bool, string) {}
	}
	if set.WhenAllDown == "hold" && o.Hold == nil {
		return nil, errors.New("mm1.when_all_down: hold needs the embedded MMSC's store: set mmsc.enabled")
	}
	p := &Proxy{opt: o, log: o.Log, listeners: map[string]net.Listener{}, clients: map[*client]struct{}{},
		perClient: map[string]int{}, idle: make(chan struct{})}
	if p.m, err = newMetrics(o.Metrics); err != nil {
		return nil, err
	}
	p.store, err = replay.NewStore(replay.Options{Message: int64(set.Replay.Message), Total: int64(set.Replay.Total),
		Files: int64(set.Replay.Files), Dir: o.TempDir})
	if err != nil {
		return nil, err
	}
	var guard *fence.Fence
	if p.fenced = set.Fence.Window > 0; p.fenced {
		guard = fence.New(fence.Options{Window: set.Fence.Window, Entries: set.Fence.Entries})
	}
	p.owners = fence.NewOwners(set.Owners.Entries, set.Owners.Keep)
	p.shared, err = fence.NewShared(fence.SharedOptions{Fence: guard, Owners: p.owners, Peers: o.Peers, Node: o.Node,
		Window: set.Fence.Window, Entries: set.Fence.Entries, Cap: o.Ask, Metrics: o.Metrics})
	if err != nil {
		return nil, err
	}
	p.fates = newFates(set.Fate.Entries)
	p.m.inFlight = func(yield func(string, int64)) {
		for name, up := range *p.ups.Load() {
			yield(name, up.outstanding.Load())
		}
	}
	p.m.sizes = func() (int, int, int64, int64) {
		return p.shared.Len(), p.owners.Len(), p.store.Used(), p.store.Spilled()
	}
	ups, err := p.upstreams(o.Upstreams)
	if err != nil {
		return nil, err
	}
	p.ups.Store(&ups)
	p.set.Store(set)
	if p.access, err = openAccessLog(set.AccessLog.Path, p.m, p.log); err != nil {
		return nil, err
	}
	if p.tls, err = p.loadCertificate(set.TLS); err != nil {
		return nil, err
	}
	if p.poller, err = socket.NewPoller(); err != nil {
		return nil, err
	}
	if _, err := p.bind(set.Listen, set.Freebind); err != nil {
		return nil, errors.Join(err, p.poller.Close())
	}
	return p, nil
}

// upstreams builds the set of a configuration, keeping connections of those that did not change.
func (p *Proxy) upstreams(list []Upstream) (map[string]*upstream, error) {
	ups := make(map[string]*upstream, len(list))
	var old map[string]*upstream
	if m := p.ups.Load(); m != nil {
		old = *m
	}
	for _, u := range list {
		if o := old[u.Name]; o != nil && o.same(u) {
			ups[u.Name] = o
			continue
		}
		up, err := newUpstream(u, p.m.target(u.Name))
		if err != nil {
			return nil, err
		}
		ups[u.Name] = up
	}
	return ups, nil
}

// Outstanding gives the number of requests in flight at an MMSC.
func (p *Proxy) Outstanding(mmsc string) int {
	if up := (*p.ups.Load())[mmsc]; up != nil {
		return int(up.outstanding.Load())
	}
	return 0
}

// Fate tells what became of a transaction or message, the youngest first.
func (p *Proxy) Fate(id string) []Record { return p.fates.find(id) }

// Sizes gives the entries of the fence and of the owner table.
func (p *Proxy) Sizes() (fenceEntries, ownerEntries int) {
	f, o, _, _ := p.m.sizes()
	return f, o
}

// Learned gives the MMSC that earlier traffic taught for a key of a request; "" if none.
func (p *Proxy) Learned(host, path, subscriber string, transaction, messageID string) string {
	return p.shared.FindAny(time.Now(), ownerKeys(host, path, subscriber, []byte(transaction), []byte(messageID))...)
}

// Run accepts and serves until ctx ends, then aborts what is still under way; call Drain first for a gentle
// end. It returns after the last goroutine.
func (p *Proxy) Run(ctx context.Context) error {
	wg := &p.serving
	defer wg.Wait()
	logCtx, logEnd := context.WithCancel(context.WithoutCancel(ctx))
	logDone := make(chan struct{})
	go func() {
		defer close(logDone)
		if p.access != nil {
			p.access.run(logCtx)
		}
	}()
	ctx, end := context.WithCancel(ctx)
	defer end()
	polled := make(chan error, 1)
	go func() {
		polled <- p.poller.Run()
		end() // whoever waits would hear of nothing any more
	}()
	ready := p.opt.Ready
	start := func(l net.Listener) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if ready != nil {
				select { // connections wait in the kernel's queue until there is a first verdict
				case <-ready:
				case <-ctx.Done():
					return
				}
			}
			p.accept(ctx, l)
		}()
	}
	p.mu.Lock()
	p.started = start
	for _, l := range p.listeners {
		start(l)
	}
	p.mu.Unlock()
	sweep := time.NewTicker(time.Second)
	for running := true; running; {
		select {
		case <-ctx.Done():
			running = false
		case now := <-sweep.C:
			for _, up := range *p.ups.Load() {
				up.sweep(now)
			}
			p.crew.thin()
		}
	}
	sweep.Stop()
	p.stop()
	p.crew.end()
	wg.Wait()
	for _, up := range *p.ups.Load() {
		up.close()
	}
	logEnd()
	<-logDone
	return errors.Join(p.poller.Close(), <-polled)
}

// stop closes listeners and aborts every client.
func (p *Proxy) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started = nil
	p.ended.Store(true)
	for a, l := range p.listeners {
		_ = l.Close() // there is nothing to lose on a listener
		delete(p.listeners, a)
	}
	for cl := range p.clients {
		cl.abortAll()
	}
}

func (p *Proxy) stopping() bool { return p.ended.Load() }

// Drain closes the listeners, tells clients to close, and waits for what is in flight within ctx. It gives
// the number of clients left.
func (p *Proxy) Drain(ctx context.Context) int {
	p.mu.Lock()
	if !p.draining.Swap(true) {
		for a, l := range p.listeners {
			_ = l.Close() // there is nothing to lose on a listener
			delete(p.listeners, a)
		}
		for cl := range p.clients {
			cl.wakeIdle()
		}
		p.lookIdle()
	}
	p.mu.Unlock()
	return p.awaitIdle(ctx)
}

// lookIdle closes idle when there is nobody left to serve; mu is held.
func (p *Proxy) lookIdle() {
	if (p.draining.Load() || p.handing.Load()) && len(p.clients) == 0 && p.accepting == 0 && !p.none {
		p.none = true
		close(p.idle)
	}
}

// awaitIdle waits for that and gives the number of clients left.
func (p *Proxy) awaitIdle(ctx context.Context) int {
	select {
	case <-p.idle:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.clients)
}
