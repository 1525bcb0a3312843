package sms

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/smpp"
)

// session is one bound connection. Locks: write and mu are never held together.
type session struct {
	link *link
	conn net.Conn
	r    *bufio.Reader

	window chan struct{} // a token per submission under way
	gone   chan struct{} // closed when nothing can be submitted any more

	write sync.Mutex

	mu       sync.Mutex
	sequence uint32
	pending  map[uint32]submission
	leaving  bool
	empty    chan struct{} // closed when leaving and nothing is pending
	ended    error

	heard   atomic.Int64 // when the last PDU came, in nanoseconds since 1970
	unbound chan struct{}
	once    sync.Once
}

// submission is one whose answer is awaited. Its place in the window is given on with the answer, or, with keep, by
// whoever has the answer and has written it down.
type submission struct {
	ch   chan answer
	keep bool
}

// answer is what became of a submission.
type answer struct {
	status smpp.Status
	id     string
	err    error // no answer came: nobody knows
}

const (
	writeTimeout = 10 * time.Second
	bindTimeout  = 10 * time.Second
	leaveTime    = 3 * time.Second // until submissions under way have been answered
	unbindTime   = time.Second
)

func newSession(l *link, conn net.Conn) *session {
	return &session{link: l, conn: conn, r: bufio.NewReaderSize(conn, 16<<10), window: make(chan struct{}, l.client.opt.Config.Window), gone: make(chan struct{}),
		pending: map[uint32]submission{}, empty: make(chan struct{}), unbound: make(chan struct{})}
}

// statusError is a bind that was refused.
type statusError struct{ status smpp.Status }

func (e *statusError) Error() string { return "bind refused: " + e.status.String() }

// bind says who we are. Whatever is no answer to it is left unread or refused.
func (s *session) bind() error {
	if err := s.conn.SetDeadline(time.Now().Add(bindTimeout)); err != nil {
		return err
	}
	if err := s.send(bindPDU(s.link.cfg, s.next())); err != nil {
		return err
	}
	for {
		h, whole, err := s.read()
		if err != nil {
			return err
		}
		switch {
		case h.command == bindResp, h.command == response:
			if h.status != 0 {
				return &statusError{smpp.Status(h.status)}
			}
			if h.command == response {
				return errors.New("bind answered by generic_nack")
			}
			return s.conn.SetDeadline(time.Time{})
		case h.command == enquireLink:
			err = s.send(bare(enquireLink|response, 0, h.sequence))
		default:
			err = fmt.Errorf("before the bind's answer came command %08X of %d octets", h.command, len(whole))
		}
		if err != nil {
			return err
		}
	}
}

func (s *session) next() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nextLocked()
}

func (s *session) nextLocked() uint32 {
	if s.sequence++; s.sequence > 0x7FFFFFFF {
		s.sequence = 1
	}
	return s.sequence
}

// send writes one PDU.
func (s *session) send(b []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return err
}

// read reads one PDU, its header included. What is no SMPP is answered with generic_nack.
func (s *session) read() (head, []byte, error) {
	b := make([]byte, headSize)
	if _, err := io.ReadFull(s.r, b); err != nil {
		return head{}, nil, err
	}
	h := readHead(b)
	if h.length < headSize || h.length > maxPDU {
		_ = s.send(bare(response, smpp.InvalidLength, h.sequence)) // the session ends whether it arrives or not
		return h, nil, fmt.Errorf("a PDU of %d octets", h.length)
	}
	b = append(b, make([]byte, h.length-headSize)...)
	_, err := io.ReadFull(s.r, b[headSize:])
	return h, b, err
}

// serve runs a bound session until it breaks or ctx ends. It returns after the last of its goroutines.
func (s *session) serve(ctx context.Context) error {
	var wg sync.WaitGroup
	s.heard.Store(time.Now().UnixNano())
	done := make(chan struct{})
	wg.Go(func() { s.keep(done) })
	wg.Go(func() { s.leave(ctx, done) })
	err := s.receive()
	s.end(err)
	close(done)
	wg.Wait()
	return err
}

// end fails what is pending. The first reason stays.
func (s *session) end(err error) {
	s.once.Do(func() {
		if err == nil {
			err = errors.New("unbound")
		}
		s.mu.Lock()
		s.ended = err
		waiting := s.pending
		s.pending = map[uint32]submission{}
		s.mu.Unlock()
		close(s.gone)
		s.conn.Close() // nothing is read or written any more
		for _, w := range waiting {
			w.ch <- answer{err: err}
		}
	})
}

// receive handles what the SMSC sends, until it unbinds or the connection ends.
func (s *session) receive() error {
	for {
		h, whole, err := s.read()
		if err != nil {
			return err
		}
		s.heard.Store(time.Now().UnixNano())
		if end, err := s.handle(h, whole); end || err != nil {
			return err
		}
	}
}

func (s *session) handle(h head, whole []byte) (end bool, err error) {
	switch h.command {
	case submitResp, response:
		s.settle(h.sequence, answer{status: smpp.Status(h.status), id: messageID(whole[headSize:])}, h.command == response)
	case enquireLink:
		return false, s.send(bare(enquireLink|response, 0, h.sequence))
	case deliverSM:
		return false, s.deliver(h, whole)
	case unbind:
		return true, s.send(bare(unbind|response, 0, h.sequence))
	case unbind | response:
		close(s.unbound)
		return true, nil
	case enquireLink | response, alert:
	default:
		if h.command&response == 0 {
			return false, s.send(bare(response, smpp.InvalidCommand, h.sequence))
		}
	}
	return false, nil
}

// settle gives an answer to whom it belongs.
func (s *session) settle(sequence uint32, a answer, nack bool) {
	s.mu.Lock()
	w, ok := s.pending[sequence]
	if ok {
		delete(s.pending, sequence)
		s.emptyLocked()
	}
	s.mu.Unlock()
	if !ok {
		s.link.client.met.late(s.link.name)
		return // its time was over; what it says comes too late
	}
	if nack && a.status == smpp.Ok {
		a.status = smpp.SystemError
	}
	if !w.keep {
		<-s.window
	}
	w.ch <- a
}

func (s *session) emptyLocked() {
	if s.leaving && len(s.pending) == 0 {
		select {
		case <-s.empty:
		default:
			close(s.empty)
		}
	}
}

func (s *session) deliver(h head, whole []byte) error {
	d, err := readDelivery(whole)
	if err != nil {
		_ = s.send(bare(response, smpp.InvalidLength, h.sequence)) // the session ends whether it arrives or not
		return err
	}
	status := smpp.Ok
	if d.receipt {
		status = s.link.client.receipt(Receipt{SMSC: s.link.name, ID: d.id, State: d.state, Error: d.err})
	}
	return s.send(bare(deliverSM|response, status, h.sequence, 0))
}

// keep asks a silent SMSC whether it lives.
func (s *session) keep(done <-chan struct{}) {
	every := s.link.client.opt.Config.Enquire
	tick := time.NewTicker(every)
	defer tick.Stop()
	asked := 0
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if time.Since(time.Unix(0, s.heard.Load())) < every {
			asked = 0
			continue
		}
		if asked++; asked > 2 {
			s.end(errors.New("two enquire_link without an answer"))
			return
		}
		if err := s.send(bare(enquireLink, 0, s.next())); err != nil {
			s.end(err)
			return
		}
	}
}

// leave ends the session in good order when ctx ends: answers are waited for, then unbind.
func (s *session) leave(ctx context.Context, done <-chan struct{}) {
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	s.mu.Lock()
	s.leaving = true
	s.emptyLocked()
	s.mu.Unlock()
	limit := time.NewTimer(leaveTime)
	defer limit.Stop()
	select {
	case <-s.empty:
	case <-limit.C:
	case <-done:
		return
	}
	if err := s.send(bare(unbind, 0, s.next())); err != nil {
		s.end(err)
		return
	}
	answered := time.NewTimer(unbindTime)
	defer answered.Stop()
	select {
	case <-s.unbound:
	case <-done:
	case <-answered.C:
		s.end(errors.New("unbind without an answer"))
	}
}
