package mmsc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// door serves the connections that Dial makes: the proxy beside us in the same process speaks HTTP to us as to
// any other MMSC, over a line: a connection that does not leave the process.
type door struct {
	server   *http.Server
	listener *lines
}

func newDoor(m *MMSC, handler http.Handler) *door {
	return &door{
		listener: &lines{accept: make(chan net.Conn), closed: make(chan struct{})},
		server: &http.Server{Handler: handler, ConnContext: trustAll, MaxHeaderBytes: 64 << 10, // the other end lets idle lines go
			ErrorLog: slog.NewLogLogger(m.log.Handler(), slog.LevelDebug)},
	}
}

// run serves until ctx ends, then finishes what is in flight.
func (d *door) run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- d.server.Serve(d.listener) }()
	select {
	case <-ctx.Done():
	case err := <-done:
		return fmt.Errorf("MM1 door: %w", err)
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	err := d.server.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = d.server.Close() // a client that never finishes its upload has been told nothing: it may send again
	}
	if serveErr := <-done; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

// Dial makes a connection to the MM1 door. Identity headers on it are believed. It fails when Run is not under way.
func (m *MMSC) Dial(ctx context.Context) (net.Conn, error) {
	near, far := newLine()
	var err error
	select {
	case m.door.listener.accept <- far:
		return near, nil
	case <-m.door.listener.closed:
		err = net.ErrClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(fmt.Errorf("connect to the embedded MMSC: %w", err), near.Close(), far.Close())
}

// lines is a listener whose connections are handed in.
type lines struct {
	accept chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (p *lines) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *lines) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener.
func (p *lines) Addr() net.Addr { return lineAddr }
