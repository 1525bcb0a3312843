// Package ppg is a push proxy gateway: the PAP server (WAP-247-PAP, WAP-249-PPG) to which push initiators post, and which carries their pushes
// to handsets as short messages over SMPP or as datagrams.
//
// Promises: 1001 is answered only after the push is committed. Each address of it gets its push, or a final state that status queries and
// result notifications tell. What an SMSC has confirmed to us is not sent again, even if the process dies the next moment; submissions
// whose answer had not been read then, at most the windows of its SMSCs, are, and so is what a machine that lost its power had not synced:
// handsets know the twin by its content. A push id is accepted once per initiator. The content passes untouched, whatever its type.
//
// States: New has opened the journal and bound the listener; Run serves until its context ends, lets deliveries under way end, unbinds and
// closes the journal.
package ppg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/cluster/freebind"
	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mms/smpp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg/journal"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
)

// Journal is what the gateway needs of its memory; package journal has it.
type Journal interface {
	Accept(ctx context.Context, p *journal.Push) error
	Claim(ctx context.Context, n int, lease time.Duration) ([]journal.Delivery, error)
	Finish(ctx context.Context, d *journal.Delivery, state journal.State, code pap.Code, detail string) error
	Retry(ctx context.Context, d *journal.Delivery, next time.Time, code pap.Code, detail string) error
	Await(ctx context.Context, d *journal.Delivery, smsc string, ids []string, until time.Time) error
	Note(d *journal.Delivery, smsc string, ids []string, until time.Time) (committed func(), err error)
	Receipt(ctx context.Context, smsc, id string, state smpp.State, detail string) (bool, error)
	Cancel(ctx context.Context, initiator, pushID string, want func(journal.Address) bool) ([]journal.Delivery, []bool, error)
	Status(ctx context.Context, initiator, pushID string) ([]journal.Delivery, error)
	ClaimResults(ctx context.Context, n int, lease time.Duration) ([]journal.Delivery, error)
	Told(ctx context.Context, d *journal.Delivery, next time.Time) error
	NextDue(ctx context.Context) (time.Time, bool, error)
	Count(ctx context.Context) (int, error)
	Sweep(ctx context.Context, before time.Time) (int, error)
	Own(ctx context.Context) error
	Run(ctx context.Context) error
	Close() error
}

// Options is what New needs.
type Options struct {
	Config   Config
	DataDir  string                // folder of the SQLite file
	Database string                // postgres:// address; empty: SQLite in DataDir
	Listener net.Listener          // instead of binding Config.Listen: another process has handed it over
	Metrics  prometheus.Registerer // nil: none
	Log      *slog.Logger          // nil: none
}

// PPG is the gateway.
type PPG struct {
	cfg          Config
	listener     net.Listener
	server       *http.Server
	journal      Journal
	wakened      <-chan struct{}
	sms          *sms.Client
	guard        *outgoing.Guard // of results
	log          *slog.Logger
	met          *metrics
	capabilities map[string][]byte // by prefix
	requests     chan struct{}     // a token per request under way
	receipts     chan sms.Receipt
}

// openTimeout bounds New: a database server may take its time.
const openTimeout = 2 * time.Minute

// New checks the configuration, opens the journal and binds the listener.
func New(opt Options) (*PPG, error) {
	if err := opt.Config.Validate(); err != nil {
		return nil, err
	}
	if opt.Config.Listen == "" {
		return nil, errors.New("ppg.listen: empty, so there is no gateway to make")
	}
	p := &PPG{cfg: opt.Config, log: opt.Log, capabilities: map[string][]byte{}, requests: make(chan struct{}, opt.Config.MaxRequests), receipts: make(chan sms.Receipt, 1000)}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	for i, k := range p.cfg.Capabilities {
		doc, err := os.ReadFile(k.File)
		if err != nil {
			return nil, fmt.Errorf("ppg.capabilities[%d].file: %w", i, err)
		}
		p.capabilities[k.Prefix] = doc
	}
	var err error
	guard := outgoing.DefaultConfig()
	guard.Redirects = 0
	if p.guard, err = outgoing.New(outgoing.Options{Config: guard, Log: p.log}); err != nil {
		return nil, fmt.Errorf("ppg: %w", err)
	}
	smsMetrics := opt.Metrics
	if smsMetrics != nil {
		smsMetrics = prometheus.WrapRegistererWith(prometheus.Labels{"client": "ppg/smpp"}, smsMetrics)
	}
	if p.sms, err = sms.New(sms.Options{Config: p.cfg.SMPP, At: "ppg.smpp", Receipt: p.receipt, Metrics: smsMetrics, Log: p.log}); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	j, err := journal.Open(ctx, journal.Options{Dir: opt.DataDir, Database: opt.Database, Log: p.log})
	if err != nil {
		return nil, fmt.Errorf("ppg: %w", err)
	}
	p.journal, p.wakened = j, j.Wake
	if p.met, err = newMetrics(opt.Metrics); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	if p.listener = opt.Listener; p.listener != nil {
		// as it is
	} else if p.listener, err = freebind.ListenConfig(p.cfg.Freebind).Listen(ctx, "tcp", p.cfg.Listen); err != nil {
		return nil, errors.Join(fmt.Errorf("ppg.listen: %s%s: %w", p.cfg.Listen, freebind.Hint(err, "ppg.freebind"), err), j.Close())
	}
	p.server = &http.Server{Handler: p.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug)}
	return p, nil
}

// Listener is for another process to take over; it goes on accepting there when Run here has ended.
func (p *PPG) Listener() net.Listener { return p.listener }

// Addr is where initiators post.
func (p *PPG) Addr() net.Addr { return p.listener.Addr() }

// Close frees what New took, for a caller that never calls Run.
func (p *PPG) Close() error { return errors.Join(p.listener.Close(), p.journal.Close()) }

// finishTime bounds how long requests in flight may take when Run ends.
const finishTime = 10 * time.Second

// Run serves until ctx ends and returns after the last of its goroutines.
func (p *PPG) Run(ctx context.Context) error {
	if err := p.journal.Own(ctx); err != nil {
		p.log.Error("take the push journal over", "err", err) // what was sent by a process that died may be sent again
	}
	// The order of the end: no requests, then no deliveries, then no SMSC, then no journal.
	front, stopFront := context.WithCancel(context.WithoutCancel(ctx))
	links, stopLinks := context.WithCancel(context.WithoutCancel(ctx))
	memory, stopMemory := context.WithCancel(context.WithoutCancel(ctx))
	defer stopMemory()
	defer stopLinks()
	defer stopFront()
	var memoryWait, linkWait, frontWait sync.WaitGroup
	var memoryErr, linkErr, serveErr error
	memoryWait.Go(func() { memoryErr = p.journal.Run(memory) })
	linkWait.Go(func() { linkErr = p.sms.Run(links) })
	frontWait.Go(func() { p.deliver(front) })
	linkWait.Go(func() { p.noteReceipts(links) })
	frontWait.Go(func() { p.sweep(front) })
	frontWait.Go(func() {
		if err := p.server.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
			serveErr = fmt.Errorf("ppg: %w", err)
		}
	})
	p.log.Info("push proxy gateway ready", "listen", p.listener.Addr().String(), "initiators", len(p.cfg.Initiators))
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.Background(), finishTime)
	defer cancel()
	if err := p.server.Shutdown(end); err != nil {
		_ = p.server.Close() // their time is over
	}
	stopFront()
	frontWait.Wait()
	stopLinks()
	linkWait.Wait()
	stopMemory()
	memoryWait.Wait()
	return errors.Join(serveErr, linkErr, memoryErr)
}
