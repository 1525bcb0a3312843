package fence

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// Peers are the other routers, as Shared needs them; the cluster is that.
type Peers interface {
	// Living names the other routers that can be asked. The slice must not be changed.
	Living() []string
	// Request asks one of them and waits for its answer until ctx ends.
	Request(ctx context.Context, node, kind string, payload []byte) ([]byte, error)
	// Send tells one of them something; without reliable it may get lost and does not wait.
	Send(node, kind string, payload []byte, reliable bool) error
	// Handle registers who answers a kind of request or takes a kind of message.
	Handle(kind string, h func(ctx context.Context, from string, payload []byte) ([]byte, error))
}

// The kinds of requests and messages.
const (
	kindHead   = "fence.head"   // request: a submission begins; what is known of its key?
	kindNote   = "fence.note"   // message: it is the sender's now
	kindTake   = "fence.take"   // request to who has it: give it up, if it is still uploading
	kindAsk    = "fence.ask"    // request: what is known?
	kindSettle = "fence.settle" // request: keep this answer
	kindGone   = "fence.gone"   // message: it ended without an answer
	kindLearn  = "owner.learn"  // message: who holds what
	kindFind   = "owner.find"   // request: who holds it?
)

var askKinds = []string{kindHead, kindTake, kindAsk, kindSettle, kindFind}

// How a request ended, label values.
const (
	askOK = iota
	askLate
	askError
	askSkipped
)

var askResults = []string{"answered", "timeout", "failed", "skipped"}

// A peer that let several requests in a row run out is left alone for a moment, so that a dead one costs its
// time-out a few times and not with every message until the cluster has noticed.
const (
	restAfter = 3
	restFor   = time.Second
)

type health struct {
	missed atomic.Int32
	until  atomic.Int64 // Unix nanoseconds
}

func (s *Shared) health(node string) *health {
	if h, ok := s.peersHealth.Load(node); ok {
		return h.(*health)
	}
	h, _ := s.peersHealth.LoadOrStore(node, &health{})
	return h.(*health)
}

// holders are the two living members that a key's entry goes to: those with the highest hash of name and key, so that
// every router finds the same ones, and a router that comes or goes moves as few entries as can be.
func (s *Shared) holders(key string) []string {
	if s.o.Peers == nil || s.parted.Load() {
		return nil
	}
	living := s.o.Peers.Living()
	if len(living) <= 2 {
		return living
	}
	h := xxhash.Sum64String(key)
	var best [2]string
	var score [2]uint64
	for _, node := range living {
		v := mix(xxhash.Sum64String(node) ^ h)
		switch {
		case best[0] == "" || v > score[0]:
			best[1], score[1] = best[0], score[0]
			best[0], score[0] = node, v
		case best[1] == "" || v > score[1]:
			best[1], score[1] = node, v
		}
	}
	return best[:]
}

// mix spreads a value's bits (the finisher of splitmix64).
func mix(v uint64) uint64 {
	v ^= v >> 30
	v *= 0xbf58476d1ce4e5b9
	v ^= v >> 27
	v *= 0x94d049bb133111eb
	return v ^ v>>31
}

// ask puts one request to several routers at once, for at most the cap, and hands each answer to f, in turn; f says
// when it has heard enough.
func (s *Shared) ask(nodes []string, kind string, payload []byte, f func(reply []byte) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), s.o.Cap)
	defer cancel()
	if len(nodes) == 1 {
		if b, err := s.askOne(ctx, nodes[0], kind, payload); err == nil {
			f(b)
		}
		return
	}
	replies := make(chan []byte, len(nodes))
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			b, err := s.askOne(ctx, n, kind, payload)
			if err != nil {
				b = nil
			}
			replies <- b
		})
	}
	defer wg.Wait() // the cap or cancel has ended them
	for range nodes {
		if b := <-replies; b != nil && f(b) {
			cancel()
			return
		}
	}
}

// askOne asks one router, unless it is left alone.
func (s *Shared) askOne(ctx context.Context, node, kind string, payload []byte) ([]byte, error) {
	h := s.health(node)
	if until := h.until.Load(); until != 0 && time.Now().UnixNano() < until {
		s.count(kind, askSkipped)
		return nil, context.DeadlineExceeded
	}
	b, err := s.o.Peers.Request(ctx, node, kind, payload)
	switch {
	case err == nil:
		h.missed.Store(0)
		h.until.Store(0)
		s.count(kind, askOK)
	case ctx.Err() == context.DeadlineExceeded:
		s.count(kind, askLate)
		if h.missed.Add(1) >= restAfter {
			h.until.Store(time.Now().Add(restFor).UnixNano())
		}
	case ctx.Err() != nil: // another one's answer was enough
	default:
		s.count(kind, askError)
	}
	return b, err
}

// tell sends a message that may get lost.
func (s *Shared) tell(nodes []string, kind string, payload []byte) {
	for _, n := range nodes {
		if err := s.o.Peers.Send(n, kind, payload, false); err != nil {
			s.m.unsent.Inc()
		}
	}
}

// sharedMetrics counts what goes between routers.
type sharedMetrics struct {
	asks    map[string][]prometheus.Counter
	found   map[string]prometheus.Counter
	twins   []prometheus.Counter // by result
	unsent  prometheus.Counter
	corrupt prometheus.Counter
}

// What another router knew, label values.
const (
	foundAnswer   = "answer"   // of the same submission, through another router
	foundProgress = "progress" // the same submission is under way there
	foundBroken   = "broken"   // it was still uploading there and was broken off for the newer one
	foundLost     = "lost"     // it was under way at a router that does not answer: its fate is not known
	foundOwner    = "owner"    // of a message
	foundTwin     = "upgrade"  // the same submission was under way, or answered, in the other process of this router
)

func newSharedMetrics(reg prometheus.Registerer, size func() float64) (*sharedMetrics, error) {
	asks := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_fence_peer_requests_total",
		Help: "Requests to other routers about submissions and owners, by how they ended."}, []string{"kind", "result"})
	found := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_fence_peer_found_total",
		Help: "What other routers knew of a submission or message that came here."}, []string{"what"})
	twins := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_fence_upgrade_requests_total",
		Help: "Requests to the other process of this router during an upgrade, by how they ended."}, []string{"result"})
	m := &sharedMetrics{asks: map[string][]prometheus.Counter{}, found: map[string]prometheus.Counter{},
		unsent: prometheus.NewCounter(prometheus.CounterOpts{Name: "mmsrouter_fence_peer_unsent_total",
			Help: "Messages about submissions and owners that did not get out to another router."}),
		corrupt: prometheus.NewCounter(prometheus.CounterOpts{Name: "mmsrouter_fence_peer_corrupt_total",
			Help: "Payloads of other routers that could not be read."})}
	for _, k := range askKinds {
		for _, r := range askResults {
			m.asks[k] = append(m.asks[k], asks.WithLabelValues(k, r))
		}
	}
	for _, r := range askResults {
		m.twins = append(m.twins, twins.WithLabelValues(r))
	}
	for _, w := range []string{foundAnswer, foundProgress, foundBroken, foundLost, foundOwner, foundTwin} {
		m.found[w] = found.WithLabelValues(w)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{asks, found, twins, m.unsent, m.corrupt, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mmsrouter_fence_peer_entries", Help: "Submissions of other routers that this one keeps for them."}, size)} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (s *Shared) count(kind string, result int) { s.m.asks[kind][result].Inc() }
