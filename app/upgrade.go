package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/app/handover"
	"github.com/mmsrouter/mmsrouter/fence"
)

// UpgradeConfig is the `upgrade` section.
type UpgradeConfig struct {
	Timeout time.Duration `yaml:"timeout"` // how long the new process may take until it serves; then it is killed and the old one goes on
	Finish  time.Duration `yaml:"finish"`  // how long the old process may take to finish what it has; what is then in flight is cut
}

// Errors of Upgrade that are not a fault of the new process.
var (
	ErrNoUpgrade   = errors.New("this process was not started in a way that it can be replaced")
	ErrUpgrading   = errors.New("an upgrade is under way")
	ErrElderLives  = errors.New("the process before this one still finishes what it has")
	ErrEnding      = errors.New("this router is about to end")
	ErrNotReadyYet = errors.New("this router is not ready yet: not every MMSC has a first verdict")
)

// Upgraded says who has taken over.
type Upgraded struct {
	PID     int           // of the new process
	Version string        // of its program
	Took    time.Duration // until it served
	Clients int           // connections that the old process still has
}

// heir is the process that takes over from this one.
type heir struct {
	a    *App
	link *handover.Link

	mu     sync.Mutex // guards the following
	said   hello
	reason string // why it can't begin
	tables bool   // it has asked for them
}

// Upgrade starts the program that now stands at this one's path, with the same arguments, hands it the sockets and the tables, and makes Run
// finish what it has and return once the new process serves. If that refuses its configuration, crashes or takes longer than
// upgrade.timeout, nothing has changed here and the error says why.
func (a *App) Upgrade() (Upgraded, error) {
	began := time.Now()
	switch {
	case a.process == nil:
		return Upgraded{}, ErrNoUpgrade
	case !a.upgrading.TryLock():
		return Upgraded{}, ErrUpgrading
	}
	defer a.upgrading.Unlock()
	switch {
	case a.draining.Load() || a.heir != nil:
		return Upgraded{}, ErrEnding
	case !a.hasVerdicts():
		return Upgraded{}, ErrNotReadyYet
	case a.elder.lives():
		return Upgraded{}, fmt.Errorf("%w (process %d)", ErrElderLives, a.elder.said.PID)
	}
	if err := a.awaitElder(); err != nil {
		return Upgraded{}, err
	}
	a.log.Info("upgrade: starting the program anew", "program", os.Args[0])
	h, err := a.bear()
	if err != nil {
		a.m.upgrades.WithLabelValues("refused").Inc()
		a.log.Error("upgrade refused: this process goes on", "err", err)
		return Upgraded{}, err
	}
	a.m.upgrades.WithLabelValues("ok").Inc()
	out := Upgraded{PID: h.said.PID, Version: h.said.Version, Took: time.Since(began), Clients: a.mm1.Clients()}
	a.log.Info("upgrade: another process serves; this one finishes what it has", "pid", out.PID, "version", out.Version, "took", out.Took.Round(time.Millisecond))
	if !h.tables {
		a.log.Warn("upgrade: the two programs share no version of the tables: the duplicate fence and the learned owners begin empty",
			"version", a.version, "new", out.Version)
	}
	a.heir = h
	close(a.handed)
	return out, nil
}

// lives says that the process before this one has not ended.
func (e *Elder) lives() bool {
	if e == nil {
		return false
	}
	select {
	case <-e.link.Gone():
		return false
	default:
		return true
	}
}

// bear starts the new process and returns when it serves.
func (a *App) bear() (*heir, error) {
	link, theirs, err := handover.Pair()
	if err != nil {
		return nil, err
	}
	h := &heir{a: a, link: link}
	link.Answer(callHello, h.onHello)
	link.Answer(callRefused, h.onRefused)
	link.Answer(callSockets, h.onSockets)
	link.Answer(callTables, h.onTables)
	link.Answer(callLeft, func(context.Context, []byte) ([]byte, error) { return json.Marshal(a.mm1.Clients()) })
	hearTwin(link, func() *fence.Shared { return a.mm1.Shared() })
	err = errors.Join(a.process.AddFile(handoverFile, theirs), theirs.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pass the socket on: %w", err), link.Close())
	}
	a.links.Go(func() { _ = link.Run(context.Background()) }) // it ends with the new process, or by Close
	began, limit := time.Now(), a.cfg.Load().Upgrade.Timeout
	err = a.process.Upgrade()
	took := time.Since(began)
	h.mu.Lock()
	if err == nil && h.said.PID == 0 {
		h.reason, err = "the new process has not said who it is", errors.New("no hello")
	}
	h.mu.Unlock()
	if err == nil {
		return h, nil
	}
	a.mm1.Shared().Pair(nil, false)
	_ = link.Close() // there is nothing to lose on it
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.reason != "":
		err = errors.New(h.reason)
	case took >= limit:
		err = fmt.Errorf("the new process did not serve within upgrade.timeout (%s) and was killed", limit)
	default:
		err = fmt.Errorf("the new process ended before it served; its words stand in the log: %w", err)
	}
	return nil, err
}

// elderGone is how long the Process may take to hear of an end that our own link to the process before has told already.
const elderGone = 5 * time.Second

// awaitElder returns when the Process, too, knows that the one before has ended: it starts no other one before that.
func (a *App) awaitElder() error {
	ctx, cancel := context.WithTimeout(a.now, elderGone)
	defer cancel()
	if err := a.process.WaitForParent(ctx); err != nil && ctx.Err() != nil {
		return ErrElderLives
	}
	return nil // an error of its own is how the other one has ended, and that it has
}

func (h *heir) onHello(_ context.Context, b []byte) ([]byte, error) {
	var said hello
	if err := json.Unmarshal(b, &said); err != nil {
		return nil, errors.New("a hello that can't be read")
	}
	h.mu.Lock()
	h.said = said
	h.mu.Unlock()
	return json.Marshal(hello{Base: handoverBase, Tables: []int{handoverTables}, PID: os.Getpid(), Version: h.a.version,
		Node: h.a.cfg.Load().Node.Name, Generation: h.a.board.Load().Generation})
}

// maxReason bounds what is shown of the new process's words.
const maxReason = 4000

func (h *heir) onRefused(_ context.Context, b []byte) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reason = strings.ToValidUTF8(string(b[:min(len(b), maxReason)]), "?")
	return nil, nil
}

// onSockets sends all sockets.
func (h *heir) onSockets(context.Context, []byte) ([]byte, error) {
	names, conns := h.a.sockets()
	for len(names) > 0 {
		n := min(len(names), handover.MaxFiles)
		b, err := json.Marshal(names[:n])
		if err == nil {
			err = h.link.Send(noteSocket, b, conns[:n]...)
		}
		if err != nil {
			return nil, err
		}
		names, conns = names[n:], conns[n:]
	}
	return nil, nil
}

// onTables joins the duplicate fences of both processes and sends what is known here.
func (h *heir) onTables(context.Context, []byte) ([]byte, error) {
	h.mu.Lock()
	h.tables = true
	h.mu.Unlock()
	shared := h.a.mm1.Shared()
	shared.Pair(twin{h.link}, false)
	return nil, shared.Export(func(piece []byte) error { return h.link.Send(noteTable, piece) })
}

// hearTwin lets the other process ask our fence; nil: there is none yet.
func hearTwin(link *handover.Link, ours func() *fence.Shared) {
	asks, notes := fence.TwinKinds()
	for _, kind := range asks {
		link.Answer(kind, func(_ context.Context, b []byte) ([]byte, error) {
			if s := ours(); s != nil {
				return s.Hear(kind, b)
			}
			return nil, errors.New("not yet")
		})
	}
	for _, kind := range notes {
		link.Take(kind, func(b []byte, files []*os.File) {
			closeFiles(files)
			if s := ours(); s != nil {
				_, _ = s.Hear(kind, b) // it has counted what it could not read
			}
		})
	}
}

// sockets lists every socket that this process listens on.
func (a *App) sockets() (names []socketName, conns []syscall.Conn) {
	add := func(key, at, network string, x any) {
		if c, ok := x.(syscall.Conn); ok {
			names, conns = append(names, socketName{key, at, network}), append(conns, c)
		}
	}
	c := a.cfg.Load()
	for at, l := range a.mm1.Listeners() {
		add("mm1.listen", at, "tcp", l)
	}
	if a.dns != nil {
		for at, s := range a.dns.Sockets() {
			add("dns.listen", at, "tcp", s.TCP)
			for _, u := range s.UDP {
				add("dns.listen", at, "udp", u)
			}
		}
	}
	add("admin.listen", c.Admin.Listen, "tcp", a.admin.Listener())
	if a.ppg != nil {
		add("ppg.listen", c.PPG.Listen, "tcp", a.ppg.Listener())
	}
	if a.cluster != nil {
		tcp, udp := a.cluster.Sockets()
		add("cluster.listen", c.Cluster.Listen, "tcp", tcp)
		add("cluster.listen", c.Cluster.Listen, "udp", udp)
	}
	return names, conns
}

// upgrade is Upgrade in the admin room's words.
func (a *App) upgrade() (admin.Upgraded, error) {
	up, err := a.Upgrade()
	if errors.Is(err, ErrUpgrading) || errors.Is(err, ErrElderLives) || errors.Is(err, ErrNotReadyYet) {
		err = fmt.Errorf("%w: %w", admin.ErrBusy, err)
	}
	return admin.Upgraded{PID: up.PID, Version: up.Version, Took: up.Took.Seconds(), Old: os.Getpid(), Clients: up.Clients}, err
}
