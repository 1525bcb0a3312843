package app

import (
	"context"
	"time"
)

// releaseTime is how long the elder may take to let go of what only one process may do: attempts under way at carriers end first. A
// frozen one must not hold the work up for ever.
const releaseTime = 2 * time.Minute

// tablesTime bounds the wait for the elder's tables.
const tablesTime = 30 * time.Second

// succeed joins this process with the one before it, once all rooms are made and before any runs: their fences know each other, and what
// the elder remembers is known here.
func (a *App) succeed() {
	e := a.elder
	if e == nil {
		return
	}
	for _, unused := range e.closeRest() {
		a.log.Info("upgrade: this configuration no longer listens there", "socket", unused)
	}
	e.mu.Lock()
	e.adopt = a.mm1.Adopt
	if a.mmsc != nil {
		e.look = a.mmsc.Look
	}
	e.mu.Unlock()
	if !e.sharesTables() {
		a.log.Warn("upgrade: the program before has tables of another version: the duplicate fence and the learned owners begin empty",
			"before", e.said.Version, "version", a.version)
		return
	}
	began, unread := time.Now(), 0
	shared := a.mm1.Shared()
	e.mu.Lock()
	e.shared = shared
	e.tables = func(piece []byte) {
		if shared.Import(piece) != nil {
			unread++
		}
	}
	e.mu.Unlock()
	shared.Pair(twin{e.link}, true)
	ctx, cancel := context.WithTimeout(context.Background(), tablesTime)
	defer cancel()
	_, err := e.link.Call(ctx, callTables, nil)
	e.mu.Lock()
	e.tables = nil
	e.mu.Unlock()
	if err != nil || unread > 0 {
		a.log.Warn("upgrade: not all of the duplicate fence and of the learned owners came over", "err", err, "unread", unread)
	}
	f, o := a.mm1.Sizes()
	a.log.Info("upgrade: tables taken over", "from", e.said.PID, "before", e.said.Version, "fence", f, "owners", o, "took", time.Since(began).Round(time.Millisecond))
}

// takeOver begins what only one process may do, when the elder has let go of it.
func (a *App) takeOver() {
	e := a.elder
	e.mu.Lock()
	r := e.last
	e.mu.Unlock()
	if len(r.Overrides) > 0 {
		if err := a.view.Override(r.Overrides); err != nil {
			a.log.Error("upgrade: what operators said to the process before", "err", err)
		}
	}
	if a.cluster != nil {
		a.cluster.Introduce(r.Routers)
	}
	close(a.begin)
	a.log.Info("upgrade: taken over", "from", e.said.PID)
}

// ready tells who started this process that it serves. From now on it can itself be replaced.
func (a *App) ready() {
	if a.process == nil {
		return
	}
	if err := a.process.Ready(); err != nil {
		a.log.Warn("tell the process before that this one serves", "err", err) // it has died: then nobody waits
	}
}

// gated makes a room wait until this process may begin with what only one may do; drop is called instead of run if it ends before.
func (a *App) gated(run func(context.Context) error, drop func()) func(context.Context) error {
	if a.elder == nil {
		return run
	}
	return func(ctx context.Context) error {
		select {
		case <-a.begin:
			return run(ctx)
		case <-ctx.Done():
			if drop != nil {
				drop()
			}
			return nil
		}
	}
}

// gate is closed when the work on what is due may begin; nil: at once.
func (a *App) gate() <-chan struct{} {
	if a.elder == nil {
		return nil
	}
	return a.begin
}
