// Package smsc is an SMSC for tests: it takes what ESMEs submit, answers as it is told to (throttling, errors, silence, a connection
// that dies), sends receipts, and keeps every octet of the link for an independent reader.
package smsc

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/pdu"

	"github.com/mmsrouter/mmsrouter/mms/wappush"
)

// Submit is one submit_sm.
type Submit struct {
	Seq      int    // 1 is the first of the SMSC's life
	Source   string // ton/npi:text
	Number   string // destination
	Octets   []byte // short_message as it stood, with its user data header
	Coding   byte   // data_coding
	Message  *pdu.SubmitSM
	Answered bool   // the SMSC has decided, and writes its answer
	Status   uint32 // of that answer
	ID       string
}

// Answer is what becomes of a submission. The zero value takes it.
type Answer struct {
	Status  uint32
	ID      string        // empty: a decimal number
	Silent  bool          // no answer at all
	Die     bool          // the connection ends instead of an answer
	After   time.Duration // how long the answer takes; others overtake it
	Receipt string        // stat of a receipt that follows: DELIVRD …; ID as ReceiptID says
	// ReceiptID is the id in the receipt; empty: the same. SMSCs are known to change between decimal and hexadecimal.
	ReceiptID string
}

// SMSC is a running SMSC.
type SMSC struct {
	listener net.Listener
	Bind     func(system, password string) uint32 // status of a bind; nil: all are taken
	// Judge says what becomes of a submission; nil: all are taken. It is called in order, under a lock.
	Judge func(Submit) Answer

	mu       sync.Mutex
	submits  []*Submit
	sessions map[*session]struct{}
	binds    int
	unbinds  int
	nacks    int
	enquires int
	mute     bool // enquire_link is not answered
	frames   []Frame
	changed  chan struct{}
	wg       sync.WaitGroup
}

// Frame is what one side wrote at once.
type Frame struct {
	At       time.Time
	FromSMSC bool
	Port     int // of the ESME
	Octets   []byte
}

type session struct {
	smsc  *SMSC
	conn  net.Conn
	write sync.Mutex
	seq   uint32
	bound bool
}

// New listens on a free port of loopback.
func New(t testing.TB) *SMSC {
	t.Helper()
	s, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Listen listens on an address. Set Bind and Judge, then Start; New's caller too.
func Listen(address string) (*SMSC, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return &SMSC{listener: l, sessions: map[*session]struct{}{}, changed: make(chan struct{})}, nil
}

// Start begins to accept and returns the SMSC.
func (s *SMSC) Start() *SMSC {
	s.wg.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			x := &session{smsc: s, conn: conn}
			s.note(func() { s.sessions[x] = struct{}{} })
			s.wg.Go(x.run)
		}
	})
	return s
}

// Address is where ESMEs connect.
func (s *SMSC) Address() string { return s.listener.Addr().String() }

// Close ends the SMSC as a crash does: no unbind.
func (s *SMSC) Close() {
	s.listener.Close()
	s.Cut()
	s.wg.Wait()
}

// Cut ends all connections; ESMEs may come again.
func (s *SMSC) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for x := range s.sessions {
		x.conn.Close()
	}
}

// Mute lets enquire_link go unanswered.
func (s *SMSC) Mute(yes bool) { s.note(func() { s.mute = yes }) }

func (s *SMSC) note(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Submits gives what was submitted so far.
func (s *SMSC) Submits() []Submit {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Submit, len(s.submits))
	for i, x := range s.submits {
		out[i] = *x
	}
	return out
}

// Counts of what happened on the links.
type Counts struct{ Binds, Unbinds, Nacks, Enquires, Sessions int }

// Counts gives them.
func (s *SMSC) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	bound := 0
	for x := range s.sessions {
		if x.bound {
			bound++
		}
	}
	return Counts{s.binds, s.unbinds, s.nacks, s.enquires, bound}
}

// Wait waits until ok says yes, asking whenever something has happened, and now and then.
func (s *SMSC) Wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if err := s.Until(t.Context(), 20*time.Second, ok); err != nil {
		t.Fatalf("%s: %v; counts %+v, %d submissions", what, err, s.Counts(), len(s.Submits()))
	}
}

// Until is Wait without a test.
func (s *SMSC) Until(ctx context.Context, limit time.Duration, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if ok() {
			return nil
		}
		select {
		case <-changed:
		case <-tick.C: // ok may look at the other side, which does not tell us
		case <-ctx.Done():
			return errors.New("it did not happen in time")
		}
	}
}

// Send writes octets to every bound session, whatever they are.
func (s *SMSC) Send(octets []byte) {
	s.mu.Lock()
	var to []*session
	for x := range s.sessions {
		if x.bound {
			to = append(to, x)
		}
	}
	s.mu.Unlock()
	for _, x := range to {
		x.send(octets)
	}
}

func (x *session) send(b []byte) {
	x.write.Lock()
	defer x.write.Unlock()
	x.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	if _, err := x.conn.Write(b); err == nil {
		x.keep(true, b)
	}
}

func (x *session) keep(fromSMSC bool, b []byte) {
	x.smsc.mu.Lock()
	defer x.smsc.mu.Unlock()
	if len(x.smsc.frames) < 5000 {
		x.smsc.frames = append(x.smsc.frames, Frame{time.Now(), fromSMSC, x.conn.RemoteAddr().(*net.TCPAddr).Port, append([]byte(nil), b...)})
	}
}

// Messages puts the user data of taken submissions together: WSP pushes by number, in order of their completion.
func (s *SMSC) Messages() map[string][][]byte {
	out := map[string][][]byte{}
	r := wappush.NewReassembler(0, time.Hour)
	for _, sub := range s.Submits() {
		if !sub.Answered || sub.Status != 0 || sub.Message.EsmClass&0x40 == 0 {
			continue
		}
		whole, _, err := r.Add(sub.Source, sub.Number, sub.Octets, time.Now())
		if err == nil && whole != nil {
			out[sub.Number] = append(out[sub.Number], whole)
		}
	}
	return out
}

// WriteCapture writes the link as a capture file (pcap, raw IP), for an independent reader; it gives the SMSC's port.
func (s *SMSC) WriteCapture(path string) (port int, err error) {
	s.mu.Lock()
	frames := append([]Frame(nil), s.frames...)
	s.mu.Unlock()
	port = s.listener.Addr().(*net.TCPAddr).Port
	return port, os.WriteFile(path, capture(frames, port), 0o600)
}
