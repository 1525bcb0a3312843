// Package mmsc is mmsc-lite, the embedded MMSC: it accepts messages on MM1, keeps them until their recipients have
// fetched them, and reports. Its doors are Handler (MM1 over HTTP) and, for other rooms, Submit, Retrieve and Acknowledge.
//
// Promise: an M-Send.conf Ok is written only after the message is committed and synced. When the store is not
// available every request that would change something gets a transient status and changes nothing.
//
// States: New has opened the store; Run serves until its context ends, then finishes what is in flight, gives leases
// back and closes the store.
package mmsc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/delivery"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/prometheus/client_golang/prometheus"
)

// Options is what New needs.
type Options struct {
	Config   Config
	DataDir  string               // folder of the SQLite file and of uploads that outgrow memory
	NodeName string               // for people, and for leases in the database
	URL      string               // base of Content-Locations when Config.URL is empty; empty too: http://mms.example.net
	Notifier delivery.Notifier    // carries PDUs to handsets; nil: the log says what it would carry
	Reaches  func(to string) bool // whether Notifier has any way to an address; nil: it has one to each
	// Wrap puts a handler around the MM1 door that Dial reaches (retrieval from peers); nil: none.
	Wrap     func(http.Handler) http.Handler
	Services Services    // takes messages for services' addresses; nil: there are none
	Forward  ForwardFunc // gives held messages to MMSCs; nil: they wait
	// Begin is closed when the work on what is due may begin: until then another process of this node has it. nil: at once.
	Begin   <-chan struct{}
	Metrics prometheus.Registerer // nil: none
	Log     *slog.Logger          // nil: none
}

// MMSC is the embedded MMSC.
type MMSC struct {
	cfg   Config
	base  string // of Content-Locations, without a final slash
	host  string // of Message-IDs
	store *store.Store
	log   *slog.Logger
	met   *metrics
	door  *door

	delivery *delivery.Delivery
	exporter *exporter
	holder   *holder // nil: nothing is forwarded
	reaches  func(to string) bool
	services Services // nil: none
	rates    rates
	versions versions
	listed   map[string]Subscriber

	begin     <-chan struct{}
	withdraw  chan struct{} // closed: another process takes over the work on what is due
	withdrawn chan struct{} // closed: it may
	once      sync.Once
}

// New checks the options, opens the store and brings its schema up to date. It starts nothing.
func New(opt Options) (*MMSC, error) {
	cfg := opt.Config
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.URL == "" {
		cfg.URL = opt.URL
	}
	if cfg.URL == "" {
		cfg.URL = "http://mms.example.net"
	}
	base, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("mmsc.url: %w", err)
	}
	m := &MMSC{cfg: cfg, base: strings.TrimSuffix(cfg.URL, "/"), host: cfg.Host, log: opt.Log, rates: rates{cfg: cfg.Rate}, reaches: opt.Reaches, services: opt.Services,
		listed: make(map[string]Subscriber, len(cfg.Subscribers.List)), begin: opt.Begin, withdraw: make(chan struct{}), withdrawn: make(chan struct{})}
	if m.host == "" {
		m.host = base.Hostname()
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	m.store, err = store.Open(ctx, store.Options{Dir: opt.DataDir, Database: cfg.Database, Node: opt.NodeName,
		Tuning:  store.Tuning{Memory: int64(cfg.UploadMemory), KeepContent: cfg.Keep.Content, KeepMessages: cfg.Keep.Messages, DedupeWindow: cfg.DedupeWindow},
		Metrics: opt.Metrics, Log: m.log})
	if err != nil {
		return nil, fmt.Errorf("mmsc: %w", err)
	}
	if err := m.furnish(opt); err != nil {
		return nil, errors.Join(fmt.Errorf("mmsc: %w", err), m.store.Close())
	}
	return m, nil
}

// furnish makes what stands on the store.
func (m *MMSC) furnish(opt Options) (err error) {
	if m.met, err = newMetrics(opt.Metrics); err != nil {
		return err
	}
	notifier := opt.Notifier
	if notifier == nil {
		notifier = LogNotifier{m.log}
	}
	do := delivery.Options{Config: m.cfg.Delivery, Store: m.store, Notifier: notifier, Composer: composer{m}, Metrics: opt.Metrics, Log: m.log}
	if opt.Services != nil {
		do.Services = serving{m}
	}
	m.delivery, err = delivery.New(do)
	if err != nil {
		return err
	}
	dir := m.cfg.CDR.Dir
	if dir == "" {
		dir = filepath.Join(opt.DataDir, "cdr")
	}
	if m.exporter, err = newExporter(m.cfg.CDR, dir, m.store, m.log); err != nil {
		return err
	}
	if opt.Forward != nil {
		m.holder = &holder{m: m, forward: opt.Forward}
	}
	for _, s := range m.cfg.Subscribers.List {
		m.listed[m.home(normal(s.Number))] = s
	}
	handler := m.Handler()
	if opt.Wrap != nil {
		handler = opt.Wrap(handler)
	}
	m.door = newDoor(m, handler)
	return nil
}

// openTimeout bounds New: a database server may take its time to accept us, and a schema to be brought up to date.
const openTimeout = 2 * time.Minute

// finishTime bounds how long requests in flight may take when Run ends.
const finishTime = 10 * time.Second

// Run serves until ctx ends, then finishes what is in flight and closes the store. It returns after the last of its goroutines.
func (m *MMSC) Run(ctx context.Context) error {
	storeCtx, stopStore := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStore()
	var wg sync.WaitGroup
	var storeErr, doorErr, deliveryErr error
	wg.Go(func() { storeErr = m.store.Run(storeCtx) })
	var front sync.WaitGroup
	front.Go(func() { doorErr = m.door.run(ctx) })
	front.Go(func() { deliveryErr = m.work(ctx) })
	m.log.Info("embedded MMSC ready", "database", m.store.Name(), "locations", m.base+locationPath)
	front.Wait()
	stopStore()
	wg.Wait()
	return errors.Join(doorErr, deliveryErr, storeErr)
}

// work does what is due, until ctx ends or another process takes over, and returns after the last attempt.
func (m *MMSC) work(ctx context.Context) error {
	claims, stop := context.WithCancel(ctx)
	defer stop()
	attempts, cut := context.WithCancel(context.WithoutCancel(ctx)) // cut off, an attempt may be made twice
	defer cut()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(finishTime, cut) })()
	if m.begin != nil {
		select {
		case <-m.begin:
		case <-m.withdraw:
		case <-ctx.Done():
		}
	}
	var err error
	var wg, held sync.WaitGroup
	wg.Go(func() { err = m.delivery.Run(claims) })
	wg.Go(func() { m.exporter.run(claims) })
	if m.holder != nil {
		held.Go(func() { m.holder.run(claims, attempts) })
	}
	select {
	case <-ctx.Done():
	case <-m.withdraw:
	}
	stop()
	wg.Wait()
	if ctx.Err() == nil { // else the store does it
		if err := m.store.GiveBack(ctx); err != nil {
			m.log.Warn("give back leases; they run out by themselves", "err", err)
		}
	}
	close(m.withdrawn)
	held.Wait() // each of them is leased, so it disturbs no other process
	return err
}

// Withdraw ends the work on what is due, so that another process of this node can do it, while the door and the store go on. It returns when
// no notification is under way, or ctx ends.
func (m *MMSC) Withdraw(ctx context.Context) {
	m.once.Do(func() { close(m.withdraw) })
	select {
	case <-m.withdrawn:
	case <-ctx.Done():
	}
}

// Due receives when the door has brought work that is due, once Withdraw has returned: it is the other process's, which Look tells.
func (m *MMSC) Due() <-chan struct{} { return m.store.Wake.Delivery }

// Look makes the work on what is due begin at once, and not with the next look into the store: another process has put something there.
func (m *MMSC) Look() { m.store.Wake.Delivery.Set() }

// Close frees what New took, for a caller that never calls Run.
func (m *MMSC) Close() error {
	m.exporter.close()
	return errors.Join(m.door.listener.Close(), m.store.Close())
}

// Healthy says whether the store can be read and, if its last write failed, whether one works now.
func (m *MMSC) Healthy(ctx context.Context) error { return m.store.Healthy(ctx) }

// Handler gives the MM1 door. It takes any path: a POST is a PDU, a GET of a Content-Location fetches.
func (m *MMSC) Handler() http.Handler { return http.HandlerFunc(m.serve) }

// MessageID gives the text of a Message-ID.
func (m *MMSC) messageID(ref store.Ref) string { return ref.String() + "@" + m.host }

// locationPath is the path of Content-Locations.
const locationPath = "/m/"

func (m *MMSC) location(ref store.Ref) string { return m.base + locationPath + ref.String() }
