package socket

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// batch is how many events one look takes.
const batch = 128

// Poller tells its connections when they can be read or written. Events are edges: one comes when something changes, not while it lasts.
type Poller struct {
	file *os.File // the epoll instance, which the runtime's poller knows
	raw  syscall.RawConn
	fd   uintptr
	over atomic.Bool // Close was called

	mu    sync.Mutex
	conns map[uint64]*Conn
	last  uint64 // number of the youngest; none comes twice, so that a late event meets nobody else
}

// NewPoller makes the epoll instance. Run does its work, Close ends it.
func NewPoller() (*Poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll instance: %w", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // the runtime polls only what does not block
		_ = syscall.Close(fd) // the first error is the one to tell
		return nil, fmt.Errorf("make an epoll instance: %w", err)
	}
	p := &Poller{file: os.NewFile(uintptr(fd), "epoll"), fd: uintptr(fd), conns: map[uint64]*Conn{}}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		_ = p.file.Close() // as above
		return nil, fmt.Errorf("make an epoll instance: %w", err)
	}
	return p, nil
}

// Run tells until Close, and then returns nil. Connections that still wait are told nothing after that but deadlines and their own Close.
func (p *Poller) Run() error {
	var events [batch]syscall.EpollEvent
	var errno syscall.Errno
	// One wait for ever: a change during a look wakes it again, so that no look is needed that finds nothing.
	err := p.raw.Read(func(fd uintptr) bool {
		for {
			var n int
			n, errno = look(fd, events[:])
			p.tell(events[:n])
			switch {
			case errno == syscall.EINTR, n == batch:
			case errno != 0:
				return true
			default:
				return false
			}
		}
	})
	switch {
	case p.over.Load():
		return nil
	case err == nil:
		err = os.NewSyscallError("epoll_wait", errno)
	}
	return err
}

// Close ends Run.
func (p *Poller) Close() error {
	p.over.Store(true)
	return p.file.Close()
}

// Len counts the connections that it knows: those that have been waited for.
func (p *Poller) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

func look(fd uintptr, events []syscall.EpollEvent) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

const (
	readable = syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
	writable = syscall.EPOLLOUT | syscall.EPOLLHUP | syscall.EPOLLERR
	over     = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
	edges    = 1 << 31 // EPOLLET: package syscall has it as a negative number
)

// tell wakes those whom events are for.
func (p *Poller) tell(events []syscall.EpollEvent) {
	if len(events) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range events {
		e := &events[i]
		c := p.conns[uint64(uint32(e.Fd))|uint64(uint32(e.Pad))<<32]
		if c == nil {
			continue // closed meanwhile
		}
		c.mu.Lock()
		if e.Events&readable != 0 {
			c.r.told(e.Events&over != 0)
		}
		if e.Events&writable != 0 {
			c.w.told(false)
		}
		c.mu.Unlock()
	}
}

// enter makes a connection known. If there is anything to tell already, its first event comes at once.
func (p *Poller) enter(c *Conn) error {
	p.mu.Lock()
	p.last++
	c.number = p.last
	p.conns[c.number] = c
	p.mu.Unlock()
	e := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | edges,
		Fd: int32(uint32(c.number)), Pad: int32(uint32(c.number >> 32))}
	if errno := p.control(syscall.EPOLL_CTL_ADD, c, &e); errno != 0 {
		p.drop(c)
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// forget is for a connection that is about to be closed.
func (p *Poller) forget(c *Conn) {
	// Closing would take it out too, unless another process has the same socket (a hand-over).
	var e syscall.EpollEvent
	_ = p.control(syscall.EPOLL_CTL_DEL, c, &e) // it fails only if it is not in
	p.drop(c)
}

func (p *Poller) drop(c *Conn) {
	p.mu.Lock()
	delete(p.conns, c.number)
	p.mu.Unlock()
}

func (p *Poller) control(what uintptr, c *Conn, e *syscall.EpollEvent) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, p.fd, what, c.fd, uintptr(unsafe.Pointer(e)), 0, 0)
	return errno
}
