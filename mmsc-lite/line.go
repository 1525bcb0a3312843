package mmsc

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// line is one end of a connection within this process. Octets go from the writer's memory to the reader's with one copy and without the
// system. It behaves as a socket does: a bounded part of what is written waits for its reader, the rest makes the writer wait;
// what was written before a Close can still be read, then comes the end; deadlines end a wait under way.
type line struct {
	in, out *lane
}

// Octets that wait for a reader without a writer waiting too. Requests go straight from one to the other, but for their heads; an answer
// may be given before the request's end, to somebody who is still writing.
const (
	requestRoom = 4 << 10
	answerRoom  = 64 << 10
)

// newLine gives the two ends of a connection: of who asks, and of who answers.
func newLine() (asker, answerer *line) {
	requests, answers := newLane(requestRoom), newLane(answerRoom)
	return &line{in: answers, out: requests}, &line{in: requests, out: answers}
}

func (l *line) Read(p []byte) (int, error)  { return l.in.read(p) }
func (l *line) Write(p []byte) (int, error) { return l.out.write(p) }

// CloseWrite ends what is sent; answers can still be read.
func (l *line) CloseWrite() error {
	l.out.end(&l.out.ended)
	return nil
}

// Close ends both directions. It is harmless twice.
func (l *line) Close() error {
	l.out.end(&l.out.ended)
	l.in.end(&l.in.closed)
	return nil
}

func (l *line) LocalAddr() net.Addr  { return lineAddr }
func (l *line) RemoteAddr() net.Addr { return lineAddr }

var lineAddr = &net.UnixAddr{Name: "embedded", Net: "unix"}

func (l *line) SetDeadline(t time.Time) error {
	l.in.reading.set(l.in, t)
	l.out.writing.set(l.out, t)
	return nil
}

func (l *line) SetReadDeadline(t time.Time) error {
	l.in.reading.set(l.in, t)
	return nil
}

func (l *line) SetWriteDeadline(t time.Time) error {
	l.out.writing.set(l.out, t)
	return nil
}

// lane is one direction of a line.
type lane struct {
	writer sync.Mutex // held through a write: one at a time; taken before mu

	mu      sync.Mutex
	kept    []byte // waits for a reader, from read on
	at      int
	room    int
	direct  []byte // of a writer that waits until it has been read; it comes behind kept
	ended   bool   // by the writer
	closed  bool   // by the reader
	reading waiting
	writing waiting
}

func newLane(room int) *lane {
	l := &lane{room: room}
	l.reading.cond.L, l.writing.cond.L = &l.mu, &l.mu
	return l
}

// waiting is how one side of a lane waits.
type waiting struct {
	cond     sync.Cond
	deadline time.Time
	timer    *time.Timer // wakes at the time below, if that is not zero: the deadline or one before it
	wakes    time.Time
}

// set sets the deadline; who waits looks at it again.
func (w *waiting) set(l *lane, t time.Time) {
	l.mu.Lock()
	w.deadline = t
	w.cond.Broadcast()
	l.mu.Unlock()
}

// wait waits for a change; false when the deadline has passed. The lock is held.
func (w *waiting) wait(l *lane) bool {
	if d := w.deadline; !d.IsZero() {
		left := time.Until(d)
		if left <= 0 {
			return false
		}
		if w.wakes.IsZero() || d.Before(w.wakes) { // else the timer that runs is early enough: to stop it and set it each time costs more
			w.wakes = d
			if w.timer == nil {
				w.timer = time.AfterFunc(left, func() {
					l.mu.Lock()
					w.wakes = time.Time{}
					w.cond.Broadcast()
					l.mu.Unlock()
				})
			} else {
				w.timer.Reset(left)
			}
		}
	}
	w.cond.Wait()
	return true
}

// end sets one of the two flags and wakes both sides.
func (l *lane) end(flag *bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*flag = true
	if l.closed {
		l.kept, l.at = nil, 0
	}
	for _, w := range []*waiting{&l.reading, &l.writing} {
		if w.timer != nil {
			w.timer.Stop()
			w.wakes = time.Time{} // a wait that comes after all sets it again
		}
		w.cond.Broadcast()
	}
}

func (l *lane) read(p []byte) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch d := l.reading.deadline; {
		case l.closed:
			return 0, net.ErrClosed
		case !d.IsZero() && !time.Now().Before(d):
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		}
		if l.at < len(l.kept) {
			n = copy(p, l.kept[l.at:])
			if l.at += n; l.at == len(l.kept) {
				l.kept, l.at = l.kept[:0], 0
			}
		}
		if len(l.direct) > 0 && n < len(p) {
			m := copy(p[n:], l.direct)
			n += m
			if l.direct = l.direct[m:]; len(l.direct) == 0 {
				l.writing.cond.Signal()
			}
		}
		if n > 0 {
			return n, nil
		}
		if l.ended {
			return 0, io.EOF
		}
		if !l.reading.wait(l) {
			return 0, os.ErrDeadlineExceeded
		}
	}
}

func (l *lane) write(p []byte) (n int, err error) {
	l.writer.Lock()
	defer l.writer.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch d := l.writing.deadline; {
	case l.ended:
		return 0, net.ErrClosed
	case l.closed:
		return 0, syscall.EPIPE
	case !d.IsZero() && !time.Now().Before(d):
		return 0, os.ErrDeadlineExceeded
	}
	if len(p) <= l.room-(len(l.kept)-l.at) {
		if l.at > 0 {
			l.kept, l.at = append(l.kept[:0], l.kept[l.at:]...), 0
		}
		l.kept = append(l.kept, p...)
		l.reading.cond.Signal()
		return len(p), nil
	}
	l.direct = p
	l.reading.cond.Signal()
	for len(l.direct) > 0 && err == nil {
		switch {
		case l.ended:
			err = net.ErrClosed
		case l.closed:
			err = syscall.EPIPE
		case !l.writing.wait(l):
			err = os.ErrDeadlineExceeded
		}
	}
	n = len(p) - len(l.direct)
	l.direct = nil
	if n == len(p) {
		err = nil
	}
	return n, err
}
