// Package handover is the socket between the old and the new process of one router while an upgrade is under way.
//
// It owns a pair of connected sockets that keep the borders of packets (SOCK_SEQPACKET): the old process makes the pair and gives one end
// to the process that it starts. Over it go calls, their answers, notes, and descriptors (listeners, idle connections of clients). It knows
// nothing of what they mean.
//
// Promises on failure: a packet is bounded, and one that can't be read ends the link, never the process. When the other process ends,
// however that happens, Gone is closed and every call that waits fails. Descriptors that nobody takes are closed.
//
// States: made (Pair, Open), under way (Run), gone.
package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of what passes.
const (
	MaxPacket = 128 << 10 // octets of a packet, below the least send buffer of common systems
	MaxFiles  = 32        // descriptors of a packet
	maxCalls  = 256       // calls of the other side under way
)

// writeTime bounds the wait for a process that reads nothing any more.
const writeTime = 10 * time.Second

// ErrGone says that the other process has closed its end.
var ErrGone = errors.New("the other process has gone")

// Call answers a call of the other side.
type Call func(ctx context.Context, payload []byte) ([]byte, error)

// Note takes a note of the other side, in the order in which they were sent; it must not wait. The payload is its only until it
// returns, the files are its own.
type Note func(payload []byte, files []*os.File)

// Link is one end.
type Link struct {
	conn  *net.UnixConn
	calls map[string]Call
	notes map[string]Note
	slots chan struct{}

	mu    sync.Mutex // guards the following
	next  uint64
	waits map[uint64]chan answer
	gone  chan struct{}
	over  bool
}

// answer is the end of a call.
type answer struct {
	payload []byte
	err     error
}

// Failed is what the other side says of a call that it could not answer.
type Failed struct{ Text string }

func (f *Failed) Error() string { return f.Text }

// Pair makes both ends: a link, and the file of the other end, for a process to be started.
func Pair() (*Link, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make the sockets of the hand-over: %w", err)
	}
	mine, theirs := os.NewFile(uintptr(fds[0]), "handover"), os.NewFile(uintptr(fds[1]), "handover")
	l, err := Open(mine)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return l, theirs, nil
}

// Open makes a link of a file, which it closes.
func Open(f *os.File) (*Link, error) {
	c, err := net.FileConn(f) // has its own duplicate
	err = errors.Join(err, f.Close())
	if err != nil {
		return nil, fmt.Errorf("open the socket of the hand-over: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the socket of the hand-over is a %T", c), c.Close())
	}
	_ = u.SetWriteBuffer(1 << 20) // the system may allow less: then pieces wait for each other
	return &Link{conn: u, calls: map[string]Call{}, notes: map[string]Note{}, slots: make(chan struct{}, maxCalls),
		waits: map[uint64]chan answer{}, gone: make(chan struct{})}, nil
}

// Answer registers who answers a call; Take who takes a note. Both come before Run.
func (l *Link) Answer(name string, c Call) { l.calls[name] = c }

// Take registers who takes a note.
func (l *Link) Take(name string, n Note) { l.notes[name] = n }

// Gone is closed when the link is over.
func (l *Link) Gone() <-chan struct{} { return l.gone }

// Close ends the link; Run returns.
func (l *Link) Close() error { return l.conn.Close() }

// Run reads until the other process or ctx ends, or Close is called, and returns after the last call has been answered.
func (l *Link) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = l.conn.Close() }) // the reader sees it
	var wg sync.WaitGroup
	err := l.read(ctx, &wg)
	l.fail()
	cancel()
	stop()
	_ = l.conn.Close() // closed twice is harmless
	wg.Wait()
	if errors.Is(err, ErrGone) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// fail ends all that waits.
func (l *Link) fail() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over = true
	close(l.gone)
	for id, c := range l.waits {
		delete(l.waits, id)
		c <- answer{err: ErrGone}
	}
}

func (l *Link) read(ctx context.Context, wg *sync.WaitGroup) error {
	buf, oob := make([]byte, MaxPacket+1), make([]byte, unix.CmsgSpace(4*MaxFiles))
	for {
		n, oobn, flags, _, err := l.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			return ErrGone // its end, or a reset: there is nothing more to read
		}
		files, err := filesOf(oob[:oobn])
		if err == nil && (n > MaxPacket || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0) {
			err = errors.New("hand-over: a packet that is too large")
		}
		var p packet
		if err == nil {
			p, err = parse(buf[:n])
		}
		if err != nil {
			closeAll(files)
			return err
		}
		l.take(ctx, wg, p, files)
	}
}

// take does what a packet asks for.
func (l *Link) take(ctx context.Context, wg *sync.WaitGroup, p packet, files []*os.File) {
	if p.kind == kindNote {
		if h := l.notes[p.name]; h != nil {
			h(p.payload, files)
			return
		}
	}
	closeAll(files)
	switch p.kind {
	case kindAnswer, kindFailure:
		l.mu.Lock()
		c := l.waits[p.id]
		delete(l.waits, p.id)
		l.mu.Unlock()
		if c == nil {
			return // its caller had no more time
		}
		a := answer{payload: append([]byte(nil), p.payload...)}
		if p.kind == kindFailure {
			a = answer{err: &Failed{string(p.payload)}}
		}
		c <- a
	case kindCall:
		payload, id, name := append([]byte(nil), p.payload...), p.id, p.name
		select {
		case l.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		wg.Go(func() {
			defer func() { <-l.slots }()
			l.reply(ctx, id, name, payload)
		})
	}
}

// reply answers one call.
func (l *Link) reply(ctx context.Context, id uint64, name string, payload []byte) {
	var b []byte
	err := fmt.Errorf("hand-over: a call %q that this version does not know", name)
	if h := l.calls[name]; h != nil {
		b, err = h(ctx, payload)
	}
	p := packet{kind: kindAnswer, id: id, payload: b}
	if err != nil {
		text := err.Error()
		p = packet{kind: kindFailure, id: id, payload: []byte(text[:min(len(text), MaxPacket/2)])}
	}
	_ = l.write(p, nil) // the caller has gone, or will have no more time
}

// Call asks the other side and waits until ctx ends. What the other side answers with an error is a *Failed.
func (l *Link) Call(ctx context.Context, name string, payload []byte) ([]byte, error) {
	c := make(chan answer, 1)
	l.mu.Lock()
	if l.over {
		l.mu.Unlock()
		return nil, ErrGone
	}
	l.next++
	id := l.next
	l.waits[id] = c
	l.mu.Unlock()
	forget := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.waits, id)
	}
	if err := l.write(packet{kind: kindCall, id: id, name: name, payload: payload}, nil); err != nil {
		forget()
		return nil, err
	}
	select {
	case a := <-c:
		return a.payload, a.err
	case <-ctx.Done():
		forget()
		return nil, ctx.Err()
	}
}

// Send sends a note, with descriptors if there are some; the caller keeps its own.
func (l *Link) Send(name string, payload []byte, files ...syscall.Conn) error {
	if len(files) > MaxFiles {
		return fmt.Errorf("hand-over: %d descriptors in a packet, allowed are %d", len(files), MaxFiles)
	}
	return l.write(packet{kind: kindNote, name: name, payload: payload}, files)
}

func (l *Link) write(p packet, files []syscall.Conn) error {
	b, err := p.append(make([]byte, 0, 16+len(p.name)+len(p.payload)))
	if err != nil {
		return err
	}
	return withDescriptors(files, nil, func(fds []int) error {
		var oob []byte
		if len(fds) > 0 {
			oob = unix.UnixRights(fds...)
		}
		if err := l.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
			return ErrGone
		}
		if _, _, err := l.conn.WriteMsgUnix(b, oob, nil); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("hand-over: the other process does not read: %w", err)
			}
			return ErrGone
		}
		return nil
	})
}

// withDescriptors calls f with the descriptors of all files, which stay open until it returns.
func withDescriptors(files []syscall.Conn, fds []int, f func([]int) error) error {
	if len(files) == 0 {
		return f(fds)
	}
	raw, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = withDescriptors(files[1:], append(fds, int(fd)), f) }); err != nil {
		return err
	}
	return inner
}

// filesOf takes descriptors out of control messages.
func filesOf(oob []byte) (files []*os.File, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("hand-over: control message: %w", err)
	}
	for i := range all {
		fds, err := unix.ParseUnixRights(&all[i])
		if err != nil {
			continue // something else, such as credentials
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "handed over"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // nobody wanted it
	}
}
