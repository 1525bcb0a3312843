package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/mmsrouter/mmsrouter/fence"
	"github.com/mmsrouter/mmsrouter/proxy/socket"
)

// Pass gives another process a client's connection on which no request is under way; from is the client's address. On an error the
// connection stays here.
type Pass func(c syscall.Conn, from netip.Addr) error

// Listeners gives the open listeners by their text in mm1.listen, for another process to take over.
func (p *Proxy) Listeners() map[string]net.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string]net.Listener, len(p.listeners))
	for at, l := range p.listeners {
		all[at] = l
	}
	return all
}

// HandOver is the end of a proxy whose listeners another process has taken over and accepts on. Connections that were accepted here are
// served: what has begun comes to its end, and between two requests a connection goes over by pass, so that its client notices nothing. One
// that can't (TLS) is closed with its next answer, or when it has been idle for its time. It returns when no client is left, or ctx ends,
// with the number of those left; Run's context aborts them.
func (p *Proxy) HandOver(ctx context.Context, pass Pass) int {
	p.mu.Lock()
	p.pass = pass
	if !p.handing.Swap(true) {
		for a, l := range p.listeners {
			_ = l.Close() // what waits in its queue is the other process's
			delete(p.listeners, a)
		}
		for cl := range p.clients {
			if cl.waiting.Load() && cl.passable() {
				cl.wakeIdle()
			}
		}
		p.lookIdle()
	}
	p.mu.Unlock()
	return p.awaitIdle(ctx)
}

// Shared is the duplicate fence and the learned owners, to be joined with those of another process.
func (p *Proxy) Shared() *fence.Shared { return p.shared }

// Clients counts the connections of clients.
func (p *Proxy) Clients() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.clients)
}

// Adopt serves a connection that another process has accepted and passed on. It takes the connection over, whatever it returns.
func (p *Proxy) Adopt(nc net.Conn, from netip.Addr) error {
	p.mu.Lock()
	if p.started == nil {
		p.mu.Unlock()
		return errors.Join(errors.New("proxy: not serving"), nc.Close())
	}
	p.serving.Add(1) // so that Run does not end meanwhile
	p.mu.Unlock()
	defer p.serving.Done()
	if !p.employ(nc, from.Unmap().WithZone(""), true) {
		return errors.New("proxy: too many connections")
	}
	return nil
}

// passable says that the connection can go on in another process: it has no state but the socket's.
func (cl *client) passable() bool {
	switch cl.nc.(type) {
	case *socket.Conn, *net.TCPConn:
		return !cl.stays.Load()
	}
	return false
}

// passOn gives the connection to the other process; only between two requests, with nothing read ahead.
func (cl *client) passOn() bool {
	if !cl.passable() {
		return false
	}
	cl.p.mu.Lock()
	pass := cl.p.pass
	cl.p.mu.Unlock()
	if pass == nil {
		return false
	}
	if err := pass(cl.nc.(syscall.Conn), cl.remote); err != nil {
		cl.p.log.Debug("a client's connection stays with this process", "client", cl.text, "err", err)
		cl.stays.Store(true)
		return false
	}
	return true
}
