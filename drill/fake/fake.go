// Package fake is an MMSC that breaks on request, as the lab of a drill needs it: it takes M-Send.req, writes each into
// its ledger before it says Ok, and keeps nothing else.
//
// It promises that a message it said Ok to stands in the ledger file, also after SIGKILL of its process: the line is
// written, in one write, before the first octet of the answer. It owns its listener and every connection.
//
// States: well, or broken by one Behaviour at a time.
package fake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/mmsrouter/mmsrouter/mms"
)

// Behaviour is how it breaks. Kind is "" (well), refuse, blackhole, slow, cut or cut_answer.
type Behaviour struct {
	Kind  string        `json:"kind"`
	After int64         `json:"after,omitempty"` // octets: cut, cut_answer
	Delay time.Duration `json:"delay,omitempty"` // slow
}

// Options of an MMSC.
type Options struct {
	Name   string
	Listen string        // host:port; port 0 is any
	Ledger string        // file of what was stored; it is appended to
	Answer time.Duration // how long it takes for an answer
}

// maxBody bounds a message.
const maxBody = 64 << 20

// MMSC is a fake one.
type MMSC struct {
	o      Options
	addr   string
	ledger *os.File
	http   *http.Server
	// running is closed when Run has begun.
	running chan struct{}

	mu    sync.Mutex
	ln    *door // nil: refusing
	now   Behaviour
	well  chan struct{} // closed when a black hole ends
	conns map[net.Conn]struct{}
	ended bool
	wg    sync.WaitGroup
}

type connKey struct{}

// New opens the ledger and listens; nothing is answered before Run.
func New(o Options) (*MMSC, error) {
	if o.Name == "" || o.Ledger == "" {
		return nil, errors.New("fake MMSC: want a name and a ledger file")
	}
	f, err := os.OpenFile(o.Ledger, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("fake MMSC: %w", err)
	}
	m := &MMSC{o: o, ledger: f, conns: map[net.Conn]struct{}{}, well: make(chan struct{}), running: make(chan struct{})}
	close(m.well)
	m.http = &http.Server{Handler: http.HandlerFunc(m.serve), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState:   m.track}
	if m.ln, err = listen(o.Listen); err != nil {
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("fake MMSC: %w", err)
	}
	m.addr = m.ln.Addr().String()
	return m, nil
}

// Addr is where it listens, or listened before it refused.
func (m *MMSC) Addr() string { return m.addr }

// Run serves until ctx ends.
func (m *MMSC) Run(ctx context.Context) error {
	m.mu.Lock()
	m.accept()
	m.mu.Unlock()
	close(m.running)
	<-ctx.Done()
	m.mu.Lock()
	m.ended = true
	m.stop()
	m.mu.Unlock()
	_ = m.http.Close() // what is under way is cut: a drill has ended
	m.wg.Wait()
	return m.ledger.Close()
}

// accept serves the listener; the lock is held.
func (m *MMSC) accept() {
	ln := m.ln
	m.wg.Go(func() {
		_ = m.http.Serve(ln) // it ends when the listener is closed
	})
}

// stop closes the listener and resets all connections; the lock is held.
func (m *MMSC) stop() {
	if m.ln != nil {
		_ = m.ln.Close() // nobody waits in it whom the reset does not reach
		m.ln = nil
	}
	m.heal()
	for c := range m.conns {
		reset(c)
	}
}

// heal ends a black hole; the lock is held.
func (m *MMSC) heal() {
	select {
	case <-m.well:
	default:
		close(m.well)
	}
	if m.ln != nil {
		m.ln.open()
	}
}

func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // without it the close is a plain one
	}
	_ = c.Close() // the peer learns it by the reset
}

func (m *MMSC) track(c net.Conn, s http.ConnState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch s {
	case http.StateNew:
		m.conns[c] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(m.conns, c)
	}
}

// Break begins a behaviour, ending the one before; it is in effect when Break returns. It waits for Run to have begun.
func (m *MMSC) Break(b Behaviour) error {
	<-m.running
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return errors.New("fake MMSC: ended")
	}
	m.heal()
	if m.ln == nil && b.Kind != "refuse" {
		ln, err := listen(m.addr)
		if err != nil {
			return fmt.Errorf("fake MMSC: listen again: %w", err)
		}
		m.ln = ln
		m.accept()
	}
	m.now = b
	switch b.Kind {
	case "", "slow", "cut", "cut_answer":
	case "refuse":
		m.stop()
	case "blackhole":
		m.well = make(chan struct{})
		if err := m.ln.close(); err != nil {
			m.heal()
			m.now = Behaviour{}
			return err
		}
	default:
		m.now = Behaviour{}
		return fmt.Errorf("fake MMSC: unknown behaviour %.40q", b.Kind)
	}
	return nil
}

func (m *MMSC) behaviour() (Behaviour, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now, m.well
}

// serve answers one request. GET is the probe's: a healthy MMSC has a page.
func (m *MMSC) serve(w http.ResponseWriter, r *http.Request) {
	conn, _ := r.Context().Value(connKey{}).(net.Conn)
	b, well := m.behaviour()
	<-well // in a black hole nothing is heard
	if r.Method != http.MethodPost {
		_, _ = io.WriteString(w, "fake MMSC "+m.o.Name+"\n") // the prober has gone; there is nobody to tell
		return
	}
	sum, head, kept := xxhash.New(), mms.Head{}, make([]byte, 0, 4096)
	src := io.Reader(http.MaxBytesReader(w, r.Body, maxBody))
	if b.Kind == "cut" {
		src = io.LimitReader(src, b.After)
	}
	size, err := io.Copy(io.MultiWriter(sum, &first{&kept}), src)
	if b.Kind == "cut" || err != nil {
		reset(conn)
		return
	}
	_, well = m.behaviour() // it may have begun while the upload came
	<-well
	if head.Peek(kept, int64(len(kept)) == size) == mms.Garbage || head.Type != mms.MSendReq || len(head.TransactionID) == 0 {
		http.Error(w, "want an M-Send.req", http.StatusBadRequest)
		return
	}
	if err := m.store(Entry{At: time.Now(), Transaction: string(head.TransactionID), Size: size, Sum: sum.Sum64(), Attempt: r.Header.Get("X-Mmsrouter-Attempt")}); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	wait := m.o.Answer
	if b.Kind == "slow" {
		wait += b.Delay
	}
	select {
	case <-time.After(wait):
	case <-r.Context().Done(): // it is stored all the same
	}
	conf := mms.SendConf{TransactionID: head.TransactionID, Version: mms.Version12, Status: mms.StatusOk, MessageID: fmt.Sprintf("%x@%s", sum.Sum64(), m.o.Name)}.Append(nil)
	if b.Kind == "cut_answer" {
		cutAnswer(w, conf, int(b.After))
		return
	}
	w.Header().Set("Content-Type", mmsType)
	_, _ = w.Write(conf) // the router has gone; it will find out what it can
}

const mmsType = "application/vnd.wap.mms-message"

// first keeps the first octets, in which the PDU's head stands.
type first struct{ kept *[]byte }

func (f *first) Write(p []byte) (int, error) {
	*f.kept = append(*f.kept, p[:min(len(p), cap(*f.kept)-len(*f.kept))]...)
	return len(p), nil
}

// cutAnswer sends no more than n octets of the answer, then resets.
func cutAnswer(w http.ResponseWriter, conf []byte, n int) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // the connection has broken by itself
	}
	var answer strings.Builder
	fmt.Fprintf(&answer, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", mmsType, len(conf), conf)
	if n = min(n, answer.Len()); n > 0 {
		_, _ = io.WriteString(c, answer.String()[:n]) // it is to be broken anyway
	}
	reset(c)
}
