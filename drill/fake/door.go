package fake

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// door is a listener that can let nobody in: connection attempts then get no answer at all, as if their packets had
// vanished on the way.
type door struct {
	*net.TCPListener
	mu     sync.Mutex
	opened chan struct{} // closed while open
	ended  chan struct{}
	once   sync.Once
	stuck  []net.Conn // our own, that fill the queue
}

func listen(addr string) (*door, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	d := &door{TCPListener: ln.(*net.TCPListener), opened: make(chan struct{}), ended: make(chan struct{})}
	close(d.opened)
	return d, nil
}

// Accept waits while the door is closed.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.TCPListener.Accept()
		if err != nil {
			return nil, err
		}
		d.mu.Lock()
		opened := d.opened
		d.mu.Unlock()
		select {
		case <-opened:
			return c, nil
		case <-d.ended:
			_ = c.Close() // nobody will serve it
			return nil, net.ErrClosed
		}
	}
}

// Close implements net.Listener.
func (d *door) Close() error {
	d.once.Do(func() { close(d.ended) })
	d.open()
	return d.TCPListener.Close()
}

// The backlog of an open door, and how long a connection attempt must go unheard before the door counts as closed.
const (
	backlog  = 1024
	unheard  = 150 * time.Millisecond
	mostFill = 64
)

// close shrinks the queue of connections that wait to be accepted, and fills it.
func (d *door) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opened = make(chan struct{})
	if err := d.setBacklog(0); err != nil {
		close(d.opened)
		return fmt.Errorf("fake MMSC: black hole: %w", err)
	}
	for silent := 0; len(d.stuck) < mostFill; {
		c, err := net.DialTimeout("tcp", d.Addr().String(), unheard)
		if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
			if silent++; silent == 2 { // the one who accepts may just have taken one out of the queue
				return nil
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("fake MMSC: black hole: %w", err)
		}
		d.stuck = append(d.stuck, c)
		silent = 0
	}
	return errors.New("fake MMSC: black hole: this system takes connections beyond the queue")
}

// open lets everybody in again.
func (d *door) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.stuck {
		_ = c.Close() // nothing was ever said on it
	}
	d.stuck = nil
	_ = d.setBacklog(backlog) // it fails only on a closed listener
	select {
	case <-d.opened:
	default:
		close(d.opened)
	}
}

// setBacklog calls listen(2) again, which changes the queue's length.
func (d *door) setBacklog(n int) error {
	raw, err := d.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = unix.Listen(int(fd), n) }); err != nil {
		return err
	}
	if inner != nil {
		return os.NewSyscallError("listen", inner)
	}
	return nil
}
