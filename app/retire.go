package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// tcpGrace is how long a DNS connection over TCP may outlive the last client.
const tcpGrace = 2 * time.Second

// retire is the end of a process whose heir serves: it lets go of what only one process may do, serves the clients that it has, and ends,
// bounded by upgrade.finish, or by drain.max from when it is asked to end.
func (a *App) retire(rooms []*runner) {
	c := a.cfg.Load()
	began := time.Now()
	a.notify(fmt.Sprintf("MAINPID=%d", a.heir.said.PID))
	ctx, cancel := context.WithTimeout(a.now, c.Upgrade.Finish)
	defer cancel()
	defer context.AfterFunc(asContext(a.ask), func() { time.AfterFunc(c.Drain.Max, cancel) })()

	end := func(names ...string) {
		for _, r := range rooms {
			if slices.Contains(names, r.name) {
				r.end(a.log)
			}
		}
	}
	end("addresses") // nobody is kept waiting at sockets that are the heir's now
	clients := make(chan int, 1)
	go func() { clients <- a.mm1.HandOver(ctx, a.pass) }()
	queries := make(chan struct{})
	go func() {
		defer close(queries)
		if a.dns != nil {
			a.dns.HandOver(ctx)
		}
	}()
	end("admin", "drill") // first: what operators and drills say is the heir's to hear, and what a drill has broken here ends
	a.forgetPlan()
	if a.services != nil {
		a.services.Withdraw()
	}
	if a.mmsc != nil {
		a.mmsc.Withdraw(ctx)
	}
	end("held", "push", "ppg")
	a.mm1.Shared().Part()
	r := released{Overrides: a.view.Overridden()}
	if a.cluster != nil {
		for _, m := range a.cluster.Members() {
			if !m.Self && m.State.Living() {
				r.Routers = append(r.Routers, m.Address)
			}
		}
		a.cluster.HandOver()
	}
	end("peers", "cluster", "view")
	if b, err := json.Marshal(r); err != nil || a.heir.link.Send(noteReleased, b) != nil {
		a.log.Error("upgrade: the new process can't be told that it may begin with what is due; it sees the end of this one", "err", err)
	}
	a.log.Info("upgrade: let go of what is due; finishing with clients", "clients", a.mm1.Clients(), "took", time.Since(began).Round(time.Millisecond))
	if left := a.serveOut(clients); left > 0 {
		a.log.Warn("upgrade: cut off what was still in flight", "clients", left)
	}
	select { // resolvers with a connection of their own
	case <-queries:
	case <-time.After(tcpGrace):
	case <-ctx.Done():
	}
	cancel()
	<-queries
	for _, r := range rooms {
		r.end(a.log)
	}
	_ = a.heir.link.Close() // all has been said
	a.log.Info("ended: another process serves", "pid", a.heir.said.PID, "took", time.Since(began).Round(time.Millisecond))
}

// serveOut waits for the last client; messages that come in meanwhile are the heir's to notify of.
func (a *App) serveOut(clients <-chan int) (left int) {
	var due <-chan struct{}
	if a.mmsc != nil {
		due = a.mmsc.Due()
	}
	for {
		select {
		case left := <-clients:
			return left
		case <-due:
			_ = a.heir.link.Send(noteDue, nil) // it looks by itself every few seconds
		}
	}
}

// pass gives the heir a client's connection.
func (a *App) pass(c syscall.Conn, from netip.Addr) error {
	return a.heir.link.Send(noteConnection, []byte(from.String()), c)
}

// asContext is a context that ends when c is closed.
func asContext(c <-chan struct{}) context.Context { return endOf(c) }

// endOf is a channel as a context.
type endOf <-chan struct{}

func (e endOf) Deadline() (time.Time, bool) { return time.Time{}, false }
func (e endOf) Done() <-chan struct{}       { return e }
func (e endOf) Value(any) any               { return nil }
func (e endOf) Err() error {
	select {
	case <-e:
		return context.Canceled
	default:
		return nil
	}
}
