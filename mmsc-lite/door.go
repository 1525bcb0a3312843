package mmsc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// door serves the connections that Dial makes: the proxy beside us in the same process speaks HTTP to us as to
// any other MMSC, over a socket pair, so that nothing about it is special and its system calls stay the same.
type door struct {
	server   *http.Server
	listener *pairs
}

func newDoor(m *MMSC, handler http.Handler) *door {
	return &door{
		listener: &pairs{accept: make(chan net.Conn), closed: make(chan struct{})},
		server: &http.Server{Handler: handler, ConnContext: trustAll, MaxHeaderBytes: 64 << 10, IdleTimeout: 5 * time.Minute,
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
	near, far, err := pair()
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded MMSC: %w", err)
	}
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

// pairs is a listener whose connections are handed in.
type pairs struct {
	accept chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (p *pairs) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pairs) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener.
func (p *pairs) Addr() net.Addr { return &net.UnixAddr{Name: "embedded", Net: "unix"} }

// pair makes two connected sockets.
func pair() (a, b net.Conn, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	conns := [2]net.Conn{}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "embedded mmsc")
		c, err := net.FileConn(f) // has its own duplicate
		err = errors.Join(err, f.Close())
		if err != nil {
			for _, c := range conns[:i] {
				err = errors.Join(err, c.Close())
			}
			if i == 0 {
				err = errors.Join(err, syscall.Close(fds[1]))
			}
			return nil, nil, err
		}
		conns[i] = c
	}
	return conns[0], conns[1], nil
}
