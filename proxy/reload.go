package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/mmsrouter/mmsrouter/cluster/freebind"
	"github.com/mmsrouter/mmsrouter/proxy/socket"
)

// listen opens a listener. Connections of clients end by our own time-outs, so the kernel's keep-alive, four calls for
// each of them, is off; so is multipath TCP, which makes every connection dearer and no gateway speaks.
func listen(address string, free bool) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1, Control: freebind.Control(free)}
	lc.SetMultipathTCP(false)
	return lc.Listen(context.Background(), "tcp", address)
}

// handedOr gives the listener that another process has handed over, or opens one.
func (p *Proxy) handedOr(address string, free bool) (l net.Listener, err error) {
	if p.opt.Listener != nil {
		l = p.opt.Listener(address)
	}
	if l == nil {
		if l, err = listen(address, free); err != nil {
			return nil, err
		}
	}
	t, ok := l.(*net.TCPListener)
	if !ok {
		return l, nil // it accepts in its own way
	}
	ours, err := socket.Listen(t, p.poller)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return ours, nil
}

// bind opens listeners for the addresses that have none yet, and gives them.
func (p *Proxy) bind(addrs []string, free bool) ([]net.Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var fresh []net.Listener
	for _, a := range addrs {
		if p.listeners[a] != nil {
			continue
		}
		l, err := p.handedOr(a, free)
		if err != nil {
			for _, f := range fresh {
				err = errors.Join(err, f.Close())
			}
			for k, v := range p.listeners {
				for _, f := range fresh {
					if v == f {
						delete(p.listeners, k)
					}
				}
			}
			return nil, fmt.Errorf("mm1.listen: %s%s: %w", a, freebind.Hint(err, "mm1.freebind"), err)
		}
		p.listeners[a] = l
		fresh = append(fresh, l)
	}
	return fresh, nil
}

// Addrs gives the addresses that the proxy listens on, in the order of the configuration.
func (p *Proxy) Addrs() []net.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []net.Addr
	for _, a := range p.set.Load().Listen {
		if l := p.listeners[a]; l != nil {
			out = append(out, l.Addr())
		}
	}
	return out
}

// Reload swaps configuration and MMSCs in without dropping a connection. On error nothing has changed. The
// sizes of fence, owner table, fate index and replay memory, and the path of the access log, stay as
// they were at the start; its file is opened again, for log rotation.
func (p *Proxy) Reload(c Config, list []Upstream) error {
	set, err := c.compile()
	if err != nil {
		return err
	}
	if set.WhenAllDown == "hold" && p.opt.Hold == nil {
		return errors.New("mm1.when_all_down: hold needs the embedded MMSC's store: set mmsc.enabled")
	}
	ups, err := p.upstreams(list)
	if err != nil {
		return err
	}
	cert, err := p.loadCertificate(set.TLS)
	if err != nil {
		return err
	}
	reopen, err := p.access.reopen()
	if err != nil {
		return err
	}
	fresh, err := p.bind(set.Listen, set.Freebind)
	reopen() // the same path: it does no harm even if the rest fails
	if err != nil {
		return err
	}
	// from here on nothing fails
	old := *p.ups.Swap(&ups)
	p.set.Store(set)
	p.mu.Lock()
	p.tls = cert
	wanted := map[string]bool{}
	for _, a := range set.Listen {
		wanted[a] = true
	}
	for a, l := range p.listeners {
		if !wanted[a] {
			_ = l.Close() // what was accepted on it goes on
			delete(p.listeners, a)
		}
	}
	start := p.started
	p.mu.Unlock()
	if start != nil {
		for _, l := range fresh {
			start(l)
		}
	}
	for name, o := range old {
		if ups[name] != o {
			o.close()
		}
	}
	return nil
}
